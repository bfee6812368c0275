//! Creates patches, from which a VPU builds a large file out of its old version with only its
//! shell.
//!
//! The VPU reports the checksums of the old version's blocks ([`BlockSums`]). It receives the bytes
//! that no block has and a recipe that combines them with blocks of the old file. The sha256 of the
//! result is verified before it is moved into place.

mod index;
mod matching;

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read, Seek as _, Write},
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};

use self::matching::{Pieces, divide};
use o3r_core::{blocks::BlockSums, digest::DigestWriter, offers::PatchOffer};

/// The most pieces of a recipe: each costs the VPU a process of some milliseconds. A file with more
/// has changed throughout.
const MAX_PIECES: u64 = 4000;

/// The most bytes that are copied from the new ones at a time: `dd` holds them in memory.
const MAX_LITERAL: u64 = 1 << 20;

/// A finished patch.
#[derive(Debug, Clone)]
pub struct Patch {
    /// Its block size, length, digest and number of pieces.
    pub offer: PatchOffer,
    file: Arc<File>,
}

impl Patch {
    /// Creates the patch from the file with these checksums to the file that `new` reads. `None` if
    /// it would have too many pieces.
    ///
    /// # Errors
    /// The new file cannot be read, or a temporary file cannot be written.
    pub fn make(new: impl Read, sums: &BlockSums) -> io::Result<Option<Self>> {
        let mut recipe = Recipe {
            text: String::new(),
            pieces: 0,
            literals: tempfile::tempfile()?,
            literal: 0,
            blocks: None,
        };
        match divide(new, sums, &mut recipe).and_then(|()| recipe.end()) {
            Err(_) if recipe.pieces > MAX_PIECES => return Ok(None),
            other => other?,
        }
        let Recipe {
            text,
            pieces,
            mut literals,
            ..
        } = recipe;
        let out = DigestWriter::new(tempfile::tempfile()?);
        let mut tar = tar::Builder::new(GzEncoder::new(out, Compression::default()));
        let len = literals.stream_position()?;
        literals.rewind()?;
        tar.append_data(&mut header(len), "bytes", literals.take(len))?;
        // The recipe is last: if it arrived, everything did.
        tar.append_data(&mut header(text.len() as u64), "recipe", text.as_bytes())?;
        let (file, sha256, bytes) = tar.into_inner()?.finish()?.finish();
        let offer = PatchOffer {
            block: sums.block,
            bytes,
            sha256,
            pieces,
        };
        Ok(Some(Self {
            offer,
            file: Arc::new(file),
        }))
    }

    /// Writes the patch.
    ///
    /// # Errors
    /// The temporary file cannot be read, or `out` fails.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut chunk = vec![0; 256 << 10];
        let mut at = 0;
        while at < self.offer.bytes {
            let got = self.file.read_at(&mut chunk, at)?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out.write_all(&chunk[..got])?;
            at += got as u64;
        }
        Ok(())
    }
}

fn header(len: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(len);
    header.set_mode(0o600);
    // A fixed time: the clock of a VPU may be years behind.
    header.set_mtime(1);
    header
}

/// A recipe in progress: `l BYTES` takes the next of the new bytes, `c FIRST COUNT` copies old
/// blocks.
struct Recipe {
    text: String,
    pieces: u64,
    literals: File,
    /// New bytes that no line takes yet.
    literal: u64,
    /// Old blocks that no line copies yet: the first and their number.
    blocks: Option<(usize, usize)>,
}

impl Recipe {
    fn line(&mut self, line: std::fmt::Arguments<'_>) -> io::Result<()> {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
        self.pieces += 1;
        if self.pieces > MAX_PIECES {
            return Err(io::Error::other("too many pieces"));
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some((first, count)) = self.blocks.take() {
            self.line(format_args!("c {first} {count}"))?;
        }
        while self.literal > 0 {
            let len = self.literal.min(MAX_LITERAL);
            self.line(format_args!("l {len}"))?;
            self.literal -= len;
        }
        Ok(())
    }
}

impl Pieces for Recipe {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.blocks.is_some() {
            self.end()?;
        }
        self.literals.write_all(bytes)?;
        self.literal += bytes.len() as u64;
        Ok(())
    }

    fn block(&mut self, number: usize) -> io::Result<()> {
        if let Some((first, count)) = &mut self.blocks
            && *first + *count == number
        {
            *count += 1;
            return Ok(());
        }
        self.end()?;
        self.blocks = Some((number, 1));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use o3r_core::digest::Digest;

    use super::*;

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_le_bytes()[6]
        };
        (0..len).map(|_| next()).collect()
    }

    /// Builds the new file from the old one, like the script on a VPU.
    fn build(old: &[u8], block: u64, patch: &[u8]) -> io::Result<Vec<u8>> {
        let damaged = || io::Error::other("no patch of this file");
        let (mut bytes, mut recipe) = (vec![], String::new());
        for entry in tar::Archive::new(flate2::read::GzDecoder::new(patch)).entries()? {
            let mut entry = entry?;
            match entry.path()?.to_str() {
                Some("bytes") => drop(entry.read_to_end(&mut bytes)?),
                Some("recipe") => drop(entry.read_to_string(&mut recipe)?),
                _ => return Err(damaged()),
            }
        }
        let (mut new, mut bytes) = (vec![], bytes.as_slice());
        for line in recipe.lines() {
            let mut words = line.split(' ');
            let op = words.next();
            let mut number = || words.next()?.parse::<usize>().ok();
            let piece = if op == Some("l") {
                let split = number().and_then(|len| bytes.split_at_checked(len));
                let (piece, rest) = split.ok_or_else(damaged)?;
                bytes = rest;
                piece
            } else {
                let block = usize::try_from(block).map_err(io::Error::other)?;
                let (first, count) = number().zip(number()).ok_or_else(damaged)?;
                let end = ((first + count) * block).min(old.len());
                old.get(first * block..end).ok_or_else(damaged)?
            };
            new.extend_from_slice(piece);
        }
        Ok(new)
    }

    /// Creates a patch and checks that it builds the new file.
    fn patched(new: &[u8], old: &[u8], block: u64) -> Option<Patch> {
        let sums = BlockSums::of(old, block);
        let patch = Patch::make(new, &sums).unwrap()?;
        let mut bytes = vec![];
        patch.write(&mut bytes).unwrap();
        assert_eq!(
            (bytes.len() as u64, Digest::of(&bytes)),
            (patch.offer.bytes, patch.offer.sha256)
        );
        assert!(build(old, block, &bytes).unwrap() == new);
        Some(patch)
    }

    #[test]
    fn unchanged_blocks_are_not_sent() {
        let old = noise(1, 3_000_003);
        let bytes = |new: &[u8]| patched(new, &old, 8192).unwrap().offer.bytes;
        assert!(bytes(&old) < 400, "the same file, its short end too");
        let mut new = old.clone();
        new.splice(1_000_000..1_000_000, noise(2, 100));
        new[2_500_000] ^= 1;
        new.drain(700_000..750_000);
        let sent = bytes(&new);
        assert!(sent < 5 * 8192, "{sent}");
        new.rotate_left(1_234_567);
        let sent = bytes(&new);
        assert!(sent < 8 * 8192, "{sent}");
        new.extend(noise(3, 100_000));
        let sent = bytes(&new);
        assert!(sent < 100_000 + 8 * 8192, "{sent}");
        let patch = patched(&noise(4, 2_500_000), &old, 8192).unwrap();
        assert_eq!(patch.offer.pieces, 3, "a mebibyte at a time");
        assert_eq!(patched(&[], &old, 8192).unwrap().offer.pieces, 0);
    }

    #[test]
    fn a_file_that_changed_throughout_has_no_patch() {
        let old = noise(1, 5000 * 16);
        let mut new = vec![];
        for block in old.chunks(16) {
            new.extend_from_slice(block);
            new.push(7);
        }
        assert!(patched(&new, &old, 16).is_none());
    }

    #[test]
    fn repetitive_files_have_small_patches() {
        let zeros = vec![0; 5 << 20];
        let mut new = zeros.clone();
        new[3 << 20] = 1;
        let sent = patched(&new, &zeros, 8192).unwrap();
        assert!(
            sent.offer.bytes < 1000 && sent.offer.pieces < 10,
            "{sent:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_file_is_rebuilt_from_any_other(
            old in prop::collection::vec((0..4u64, 1..900usize), 0..12),
            new in prop::collection::vec((0..4u64, 1..900usize), 0..12),
            block in 1..200u64,
        ) {
            let pieces = |list: &[(u64, usize)]| -> Vec<u8> {
                list.iter().flat_map(|(seed, len)| noise(*seed, *len)).collect()
            };
            let _ = patched(&pieces(&new), &pieces(&old), block);
        }

        #[test]
        fn printed_sums_are_parsed(len in 0..5000usize, block in 1..700u64) {
            let bytes = noise(5, len);
            let sums = BlockSums::of(&bytes, block);
            let mut said = String::new();
            for (number, batch) in bytes.chunks(usize::try_from(block).unwrap() * 7).enumerate() {
                let (mut weak, mut strong) = (String::new(), String::new());
                for (index, bytes) in batch.chunks(usize::try_from(block).unwrap()).enumerate() {
                    let (sum, digest) = sums.sums[number * 7 + index];
                    writeln!(weak, "{sum} {} baa", bytes.len()).unwrap();
                    writeln!(strong, "{}  baa", digest.hex()).unwrap();
                }
                said += &weak;
                said += &strong;
            }
            let size = len as u64;
            prop_assert_eq!(BlockSums::parse(&said, block, size), None, "no end");
            said += "end\n";
            prop_assert_eq!(BlockSums::parse(&said, block, size + 1), None);
            prop_assert_eq!(BlockSums::parse(&said, block, size), Some(sums));
        }
    }
}
