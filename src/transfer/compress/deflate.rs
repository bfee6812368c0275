//! Compresses on several cores: to a gzip file of many members, which gunzip and docker read as
//! one, or to a zstd file of many frames, which zstd reads as one.

use std::{
    io::{self, Read, Write},
    num::NonZero,
    thread,
};

use libdeflater::CompressionLvl;

use o3r_core::compression::Compression;
use o3r_core::digest::{Digest, DigestWriter};

/// Uncompressed bytes of a member. Smaller ones compress worse (level 1: a ratio of .285 at 256
/// KiB, .283 at 1 MiB and at 4 MiB, of Python's library), larger ones take more memory.
const MEMBER: usize = 1 << 20;

/// Members that are compressed between two writes: few enough for some 20 MiB of memory whatever
/// the number of cores, enough that starting threads costs nothing.
const MEMBERS: usize = 8;

/// More cores would wait for the one that hashes.
const MOST_CORES: usize = 4;

/// Compresses members one after the other.
pub(crate) enum Compressor {
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Compressor {
    /// Creates a compressor. Measured on Python's library with one core: gzip 126 MB/s at a ratio
    /// of .283 (level 1), and 66 MB/s at .260 (level 6).
    ///
    /// # Errors
    /// zstd rejects the parameters.
    pub(crate) fn new(level: Compression) -> io::Result<Self> {
        let gzip = |level| {
            let level = CompressionLvl::new(level).unwrap_or_default();
            Self::Gzip(libdeflater::Compressor::new(level))
        };
        Ok(match level {
            Compression::GZIP_FAST => gzip(1),
            Compression::GZIP_SMALL => gzip(6),
            Compression::ZSTD_FAST => Self::Zstd(zstd::bulk::Compressor::new(3)?),
            // Level 12 takes four times as long and twice the memory for 1.3 % less.
            Compression::ZSTD_SMALL => Self::Zstd(zstd::bulk::Compressor::new(6)?),
        })
    }

    fn bound(&mut self, len: usize) -> usize {
        match self {
            Self::Gzip(gzip) => gzip.gzip_compress_bound(len),
            Self::Zstd(_) => zstd::zstd_safe::compress_bound(len),
        }
    }

    /// Returns the compressed size of a member in bytes.
    ///
    /// # Errors
    /// The library fails.
    pub(crate) fn len(&mut self, member: &[u8]) -> io::Result<usize> {
        let mut room = vec![0; self.bound(member.len())];
        self.compress(member, &mut room)
    }

    fn compress(&mut self, member: &[u8], out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(gzip) => gzip.gzip_compress(member, out).map_err(io::Error::other),
            Self::Zstd(zstd) => zstd.compress_to_buffer(member, out),
        }
    }
}

/// The result of [`pack`].
#[derive(Debug)]
pub(crate) struct Packed {
    /// The digest of the bytes read.
    pub(crate) digest: Digest,
    /// The number of bytes read.
    pub(crate) read: u64,
}

/// The side that failed.
#[derive(Debug)]
pub(crate) enum Error {
    Read(io::Error),
    Write(io::Error),
}

/// Compresses all of `read` to `out`. Calls `progress` with the bytes read so far, every few
/// megabytes.
pub(crate) fn pack(
    read: &mut dyn Read,
    level: Compression,
    out: &mut dyn Write,
    progress: &dyn Fn(u64),
) -> Result<Packed, Error> {
    let cores = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(MOST_CORES);
    let mut hash = DigestWriter::new(io::sink());
    let compressors = (0..cores).map(|_| Compressor::new(level));
    let mut compressors: Vec<_> = compressors
        .collect::<Result<_, _>>()
        .map_err(Error::Write)?;
    let mut members = vec![vec![]; MEMBERS];
    let mut total = 0;
    loop {
        let mut filled = 0;
        for member in &mut members {
            member.clear();
            let mut next = read.take(MEMBER as u64);
            next.read_to_end(member).map_err(Error::Read)?;
            total += member.len() as u64;
            if member.is_empty() {
                break;
            }
            filled += 1;
        }
        // Empty input also yields one member.
        let round = &members[..filled.max(usize::from(total == 0))];
        let each = filled.div_ceil(cores).max(1);
        let packed = thread::scope(|scope| {
            let workers: Vec<_> = round
                .chunks(each)
                .zip(&mut compressors)
                .map(|(members, compressor)| scope.spawn(move || compress(members, compressor)))
                .collect();
            for member in round {
                hash.write_all(member)?;
            }
            let results = workers.into_iter().map(|worker| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            results.collect::<io::Result<Vec<_>>>()
        });
        for bytes in packed.map_err(Error::Write)? {
            out.write_all(&bytes).map_err(Error::Write)?;
        }
        progress(total);
        if filled < members.len() {
            break;
        }
    }
    out.flush().map_err(Error::Write)?;
    let (_, digest, read) = hash.finish();
    Ok(Packed { digest, read })
}

fn compress(members: &[Vec<u8>], compressor: &mut Compressor) -> io::Result<Vec<u8>> {
    let mut out = vec![];
    let mut room = vec![0; compressor.bound(MEMBER)];
    for member in members {
        let len = compressor.compress(member, &mut room)?;
        out.extend_from_slice(&room[..len]);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_data_of_any_length_is_read_back() {
        let text: Vec<u8> = (0..9 * MEMBER + 5)
            .map(|n| ((n * n) >> 7).to_le_bytes()[0])
            .collect();
        for len in [0, 1, MEMBER - 1, MEMBER, MEMBER + 1, 8 * MEMBER, text.len()] {
            for level in [
                Compression::GZIP_FAST,
                Compression::GZIP_SMALL,
                Compression::ZSTD_FAST,
                Compression::ZSTD_SMALL,
            ] {
                let mut out = vec![];
                let seen = std::cell::Cell::new(0);
                let packed = pack(&mut &text[..len], level, &mut out, &|n| seen.set(n)).unwrap();
                assert_eq!(packed.read, len as u64);
                assert_eq!(seen.get(), len as u64);
                assert_eq!(packed.digest, Digest::of(&text[..len]));
                let mut back = vec![];
                if matches!(level, Compression::GZIP_FAST | Compression::GZIP_SMALL) {
                    let mut gunzip = flate2::read::MultiGzDecoder::new(out.as_slice());
                    gunzip.read_to_end(&mut back).unwrap();
                } else {
                    back = zstd::decode_all(out.as_slice()).unwrap();
                }
                assert!(back == text[..len], "{len}");
            }
        }
    }
}
