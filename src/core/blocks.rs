//! Checksums of the blocks of a file on a VPU.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{cksum, digest::Digest};

/// The number of blocks that a file is divided into: enough for a changed one to be a small part of
/// the file, and few enough to be summed quickly on the VPU.
const BLOCKS: u64 = 4096;

/// The smallest block size, in bytes.
const SMALLEST: u64 = 8 << 10;

/// The largest block size, in bytes: several blocks must fit into a small `/tmp`.
const LARGEST: u64 = 256 << 10;

/// Bytes that are written to `/tmp` on the VPU at a time, to be summed.
const BATCH: u64 = 4 << 20;

/// The checksums of a file's blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockSums {
    /// Bytes of a block; the last one may be shorter.
    pub block: u64,
    /// Bytes of the file.
    pub size: u64,
    /// The value that `cksum` prints for each block, and its sha256.
    pub sums: Vec<(u32, Digest)>,
}

/// Returns the block size, in bytes, for a file of `size` bytes.
pub fn block_size(size: u64) -> u64 {
    (size / BLOCKS).next_power_of_two().clamp(SMALLEST, LARGEST)
}

/// Returns the number of blocks that are summed at a time.
pub fn batch(block: u64) -> u64 {
    BATCH / block.max(1)
}

impl BlockSums {
    /// Parses the output of `block-sums.sh` for a file of `size` bytes; `None` if it does not
    /// describe such a file.
    pub fn parse(said: &str, block: u64, size: u64) -> Option<Self> {
        let (mut weak, mut strong) = (vec![], vec![]);
        let mut lines = said.lines();
        for line in lines.by_ref().take_while(|line| *line != "end") {
            if let Some(digest) = line.get(..64).and_then(Digest::from_hex) {
                strong.push(digest);
                continue;
            }
            // Other lines are a login shell's; without one of ours, the lengths would not add up.
            let mut words = line.split(' ');
            let mut number = || words.next()?.parse::<u64>().ok();
            if let Some((sum, len)) = number().zip(number())
                && let Ok(sum) = sum.try_into()
            {
                weak.push((sum, len));
            }
        }
        let all = said.lines().next_back() == Some("end");
        let expected = (0..size.div_ceil(block)).map(|number| block.min(size - number * block));
        let as_long = weak.iter().map(|(_, len)| *len).eq(expected);
        if !all || !as_long || strong.len() != weak.len() {
            return None;
        }
        let weak = weak.into_iter().map(|(sum, _)| sum);
        Some(Self {
            block,
            size,
            sums: weak.zip(strong).collect(),
        })
    }

    /// Returns the sums of these bytes, as a VPU would report them.
    pub fn of(bytes: &[u8], block: u64) -> Self {
        let blocks = bytes.chunks(usize::try_from(block).unwrap_or(usize::MAX).max(1));
        let sums = blocks.map(|bytes| {
            let weak = cksum::cksum(cksum::remainder(bytes), bytes.len() as u64);
            (weak, Digest::of(bytes))
        });
        Self {
            block,
            size: bytes.len() as u64,
            sums: sums.collect(),
        }
    }

    /// Returns the digest of all sums.
    pub fn digest(&self) -> Digest {
        let mut text = format!("{} {}", self.block, self.size);
        for (weak, strong) in &self.sums {
            // Writing to a String cannot fail.
            let _ = write!(text, " {weak} {strong}");
        }
        Digest::of(text)
    }

    /// Returns the index and size in bytes of the last block if it is shorter than the others.
    pub fn short(&self) -> Option<(usize, u64)> {
        let len = self.size % self.block.max(1);
        (len > 0)
            .then_some(self.sums.len().checked_sub(1)?)
            .map(|last| (last, len))
    }
}
