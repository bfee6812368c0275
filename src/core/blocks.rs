//! Checksums of the blocks of a file on a VPU.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{cksum, digest::Digest};

/// Blocks that a file is looked at in: enough that a changed one is a small part of it, and no more than
/// are quickly summed there.
const BLOCKS: u64 = 4096;

/// The blocks of a small file, in bytes.
const SMALLEST: u64 = 8 << 10;

/// The blocks of a very large file, in bytes: several of them are to fit a small `/tmp`.
const LARGEST: u64 = 256 << 10;

/// Bytes that are put into `/tmp` there at a time, to be summed.
const BATCH: u64 = 4 << 20;

/// The sums of a file's blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockSums {
    /// Bytes of a block; the last one may be shorter.
    pub block: u64,
    /// Bytes of the file.
    pub size: u64,
    /// What `cksum` says of each block, and its sha256.
    pub sums: Vec<(u32, Digest)>,
}

/// Bytes of the blocks in which a file of `size` bytes is looked at.
pub fn block_size(size: u64) -> u64 {
    (size / BLOCKS).next_power_of_two().clamp(SMALLEST, LARGEST)
}

/// Blocks that are summed at a time.
pub fn batch(block: u64) -> u64 {
    BATCH / block.max(1)
}

impl BlockSums {
    /// Reads what `block-sums.sh` printed of a file of `size` bytes; none if it is not that file's.
    pub fn parse(said: &str, block: u64, size: u64) -> Option<Self> {
        let (mut weak, mut strong) = (vec![], vec![]);
        let mut lines = said.lines();
        for line in lines.by_ref().take_while(|line| *line != "end") {
            if let Some(digest) = line.get(..64).and_then(Digest::from_hex) {
                strong.push(digest);
                continue;
            }
            // Another line is a login shell's; if it were one of ours, the lengths would not fit.
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

    /// The sums of these bytes, as a VPU would say them.
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

    /// Digest of all of it.
    pub fn digest(&self) -> Digest {
        let mut text = format!("{} {}", self.block, self.size);
        for (weak, strong) in &self.sums {
            // Writing to a String cannot fail.
            let _ = write!(text, " {weak} {strong}");
        }
        Digest::of(text)
    }

    /// Bytes of the last block where it is shorter than the others, else none.
    pub fn short(&self) -> Option<(usize, u64)> {
        let len = self.size % self.block.max(1);
        (len > 0)
            .then_some(self.sums.len().checked_sub(1)?)
            .map(|last| (last, len))
    }
}
