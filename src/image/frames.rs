//! Writes an archive as a zstd file, of frames that are there already: layers as they are kept, and the rest
//! uncompressed.
//!
//! A zstd file may be many frames, one after the other, and a frame's blocks may be raw (RFC 8878). So nothing is
//! compressed while it is sent, and its length is known beforehand.

use std::io::{self, Write};

use super::ImageError;
use super::LayerSelection;
use super::compress::Encoding;
use super::contents::LayerBytes;
use super::write::{self, Parts, Piece};

/// Magic number, a descriptor without content size, dictionary or checksum, and a window of 128 KiB.
const HEADER: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 7 << 3];

/// Bytes of a block, at the most: those of the window.
const BLOCK: u64 = 128 << 10;

/// Bytes of a block's header.
const BLOCK_HEADER: u64 = 3;

/// Whether a layer's bytes are frames whose digest is known.
fn is_framed(layer: &LayerBytes) -> bool {
    layer.encoding == Encoding::Zstd && layer.stored_digest.is_some()
}

/// Bytes of a frame that holds so many.
fn raw_len(len: u64) -> u64 {
    HEADER.len() as u64 + len + BLOCK_HEADER * len.div_ceil(BLOCK).max(1)
}

/// The exact number of bytes that [`write`] writes.
///
/// # Errors
/// A name that fits no tar.
pub(super) fn len(parts: &Parts<'_>, tag: &str, include: &LayerSelection) -> io::Result<u64> {
    let pieces = write::pieces(parts, tag, include)?;
    Ok(pieces.iter().map(|piece| piece_len(parts, piece)).sum())
}

/// The bytes that a piece is sent as.
pub(super) fn piece_len(parts: &Parts<'_>, piece: &Piece) -> u64 {
    match piece {
        Piece::Bytes(bytes) => raw_len(bytes.len() as u64),
        Piece::Layer(diff_id) => parts.layers.get(diff_id).map_or(0, |layer| {
            if is_framed(layer) {
                layer.stored.len()
            } else {
                raw_len(layer.size)
            }
        }),
    }
}

/// Writes what `zstd -d` makes the archive of that [`write::write`] writes; checks layers as that does.
///
/// # Errors
/// As [`write::write`].
pub(super) fn write(
    parts: &Parts<'_>,
    tag: &str,
    include: &LayerSelection,
    out: &mut dyn Write,
) -> Result<(), ImageError> {
    let pieces = write::pieces(parts, tag, include).map_err(write::output)?;
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => {
                let mut frame = Raw::new(bytes.len() as u64, out).map_err(write::output)?;
                frame.write_all(&bytes).map_err(write::output)?;
            }
            Piece::Layer(diff_id) => {
                let Some(layer) = parts.layers.get(&diff_id) else {
                    continue;
                };
                if is_framed(layer) {
                    write::stored(parts, layer, out)?;
                } else {
                    let mut frame = Raw::new(layer.size, out).map_err(write::output)?;
                    write::layer(parts, layer, &mut frame)?;
                }
            }
        }
    }
    out.flush().map_err(write::output)
}

/// A frame of raw blocks, which has to get all of its bytes.
struct Raw<'a> {
    out: &'a mut dyn Write,
    /// Bytes that are still to come.
    left: u64,
    /// Of those, the bytes of the block that was begun.
    in_block: u64,
}

impl<'a> Raw<'a> {
    fn new(len: u64, out: &'a mut dyn Write) -> io::Result<Self> {
        out.write_all(&HEADER)?;
        let mut frame = Self {
            out,
            left: len,
            in_block: 0,
        };
        if len == 0 {
            frame.block()?;
        }
        Ok(frame)
    }

    /// Begins a block: whether it is the last one, its type, which is 0, and its bytes.
    fn block(&mut self) -> io::Result<()> {
        self.in_block = self.left.min(BLOCK);
        let last = u64::from(self.in_block == self.left);
        let header = (self.in_block << 3 | last).to_le_bytes();
        self.out.write_all(&header[..3])
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        if self.in_block == 0 {
            self.block()?;
        }
        let most = usize::try_from(self.in_block).unwrap_or(usize::MAX);
        let count = bytes.len().min(most);
        self.out.write_all(&bytes[..count])?;
        self.in_block -= count as u64;
        self.left -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_frames_are_read_back_one_after_the_other() {
        let bytes: Vec<u8> = (0..400_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let lens = [0, 1, 5, 131_071, 131_072, 131_073, 400_000];
        let (mut out, mut expected) = (vec![], vec![]);
        for len in lens {
            let before = out.len();
            Raw::new(len as u64, &mut out)
                .unwrap()
                .write_all(&bytes[..len])
                .unwrap();
            assert_eq!((out.len() - before) as u64, raw_len(len as u64));
            expected.extend_from_slice(&bytes[..len]);
        }
        assert!(zstd::decode_all(out.as_slice()).unwrap() == expected);
    }
}
