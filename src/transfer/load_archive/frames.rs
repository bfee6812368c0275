//! Assembles a gzip or zstd file from existing frames: layers in their cached form, everything else
//! uncompressed.
//!
//! A gzip file may consist of several members, and a member's blocks may be stored uncompressed
//! (RFC 1952, RFC 1951). Likewise, a zstd file may consist of several frames, with raw blocks (RFC
//! 8878). So nothing is compressed while it is sent, and the length is known in advance.

use std::io::{self, Write};

use flate2::Crc;

use o3r_core::compression::Codec;

/// Magic number, deflate; no flags, no time, no extra flags, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Magic number, a descriptor without content size, dictionary or checksum, and a window of 128 KiB.
const ZSTD_HEADER: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 7 << 3];

/// How the files of a format are assembled.
pub(crate) trait Framing: Copy {
    /// The length of a frame that holds `len` uncompressed bytes.
    fn raw_len(self, len: u64) -> u64;

    /// The header of a frame.
    fn header(self) -> &'static [u8];

    /// The most bytes of a block: for gzip, the limit of its length field; for zstd, its window.
    fn block(self) -> u64;

    /// The header of a block of `len` uncompressed bytes.
    fn block_header(self, len: u64, is_last: bool) -> Vec<u8>;
}

impl Framing for Codec {
    fn header(self) -> &'static [u8] {
        match self {
            Self::Gzip => &GZIP_HEADER,
            Self::Zstd => &ZSTD_HEADER,
        }
    }

    fn block(self) -> u64 {
        match self {
            Self::Gzip => 0xffff,
            Self::Zstd => 128 << 10,
        }
    }

    fn block_header(self, len: u64, is_last: bool) -> Vec<u8> {
        let last = u8::from(is_last);
        let len = len.to_le_bytes();
        match self {
            Self::Gzip => vec![last, len[0], len[1], !len[0], !len[1]],
            // The last-block flag, the type (0: raw), and the length.
            Self::Zstd => {
                let header = (u64::from_le_bytes(len) << 3 | u64::from(last)).to_le_bytes();
                header[..3].to_vec()
            }
        }
    }

    fn raw_len(self, len: u64) -> u64 {
        let blocks = len.div_ceil(self.block()).max(1);
        let headers = self.header().len() as u64 + blocks * self.block_header(0, true).len() as u64;
        let checksum = match self {
            Self::Gzip => 8,
            Self::Zstd => 0,
        };
        headers + len + checksum
    }
}

/// A frame of uncompressed bytes. Its whole announced length must be written.
pub(crate) struct Raw<'a> {
    framing: Codec,
    out: &'a mut dyn Write,
    /// Bytes still to be written.
    left: u64,
    /// Bytes of the current block still to be written.
    in_block: u64,
    sum: Crc,
}

impl<'a> Raw<'a> {
    /// Starts a frame of `len` bytes.
    pub(crate) fn new(framing: Codec, len: u64, out: &'a mut dyn Write) -> io::Result<Self> {
        out.write_all(framing.header())?;
        let mut frame = Self {
            framing,
            out,
            left: len,
            in_block: 0,
            sum: Crc::new(),
        };
        if len == 0 {
            frame.block()?;
            frame.end()?;
        }
        Ok(frame)
    }

    fn block(&mut self) -> io::Result<()> {
        self.in_block = self.left.min(self.framing.block());
        let is_last = self.in_block == self.left;
        let header = self.framing.block_header(self.in_block, is_last);
        self.out.write_all(&header)
    }

    fn end(&mut self) -> io::Result<()> {
        if self.framing == Codec::Gzip {
            self.out.write_all(&self.sum.sum().to_le_bytes())?;
            self.out.write_all(&self.sum.amount().to_le_bytes())?;
        }
        Ok(())
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 || bytes.is_empty() {
            return Ok(0);
        }
        if self.in_block == 0 {
            self.block()?;
        }
        let most = usize::try_from(self.in_block).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(most)];
        self.out.write_all(bytes)?;
        self.sum.update(bytes);
        self.in_block -= bytes.len() as u64;
        self.left -= bytes.len() as u64;
        if self.left == 0 {
            self.end()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn raw_frames_are_read_back_one_after_the_other() {
        let bytes: Vec<u8> = (0..400_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let lens = [
            0, 1, 5, 65_534, 65_535, 65_536, 131_071, 131_072, 131_073, 400_000,
        ];
        for framing in [Codec::Gzip, Codec::Zstd] {
            let (mut out, mut expected) = (vec![], vec![]);
            for len in lens {
                let before = out.len();
                Raw::new(framing, len as u64, &mut out)
                    .unwrap()
                    .write_all(&bytes[..len])
                    .unwrap();
                assert_eq!((out.len() - before) as u64, framing.raw_len(len as u64));
                expected.extend_from_slice(&bytes[..len]);
            }
            let mut read = vec![];
            match framing {
                Codec::Gzip => {
                    let mut gunzip = flate2::read::MultiGzDecoder::new(out.as_slice());
                    gunzip.read_to_end(&mut read).unwrap();
                }
                Codec::Zstd => read = zstd::decode_all(out.as_slice()).unwrap(),
            }
            assert!(read == expected);
        }
    }
}
