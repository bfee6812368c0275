//! What a VPU says of the blocks of a file that it has.

use std::{collections::HashMap, fmt::Write as _};

use serde::{Deserialize, Serialize};

use super::crc;
use o3r_core::digest::Digest;

/// Blocks that a file is looked at in: so many that a changed one is a small part of it, and no more than
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
            let weak = crc::cksum(crc::remainder(bytes), bytes.len() as u64);
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
    pub(super) fn short(&self) -> Option<(usize, u64)> {
        let len = self.size % self.block.max(1);
        (len > 0)
            .then_some(self.sums.len().checked_sub(1)?)
            .map(|last| (last, len))
    }
}

/// Finds blocks by their bytes.
#[derive(Debug)]
pub(super) struct Blocks<'a> {
    sums: &'a BlockSums,
    by_remainder: HashMap<u32, Vec<usize>>,
    /// A bit for some bits of each remainder: nearly all that is asked for is not there.
    filter: Vec<u64>,
}

/// Bits of a remainder that the filter tells apart.
const FILTER_BITS: u32 = 20;

fn filter_bit(remainder: u32) -> (usize, u64) {
    let bit = (remainder >> (32 - FILTER_BITS)) as usize;
    (bit / 64, 1 << (bit % 64))
}

impl<'a> Blocks<'a> {
    pub(super) fn new(sums: &'a BlockSums) -> Self {
        let mut blocks = Self {
            sums,
            by_remainder: HashMap::new(),
            filter: vec![0; (1 << FILTER_BITS) / 64],
        };
        let whole = usize::try_from(sums.size / sums.block.max(1)).unwrap_or(usize::MAX);
        for (number, (weak, _)) in sums.sums.iter().enumerate().take(whole) {
            let remainder = crc::remainder_of(*weak, sums.block);
            blocks
                .by_remainder
                .entry(remainder)
                .or_default()
                .push(number);
            let (word, bit) = filter_bit(remainder);
            blocks.filter[word] |= bit;
        }
        blocks
    }

    /// Whether a block with this remainder may be there.
    pub(super) fn may_have(&self, remainder: u32) -> bool {
        let (word, bit) = filter_bit(remainder);
        self.filter[word] & bit != 0
    }

    /// The number of the block with these bytes; `likely` if that is one.
    pub(super) fn find(&self, remainder: u32, bytes: &[u8], likely: usize) -> Option<usize> {
        let numbers = self.by_remainder.get(&remainder)?;
        let digest = Digest::of(bytes);
        let mut same = numbers
            .iter()
            .copied()
            .filter(|number| self.sums.sums[*number].1 == digest);
        let first = same.next()?;
        Some(same.find(|number| *number == likely).unwrap_or(first))
    }

    /// Whether these bytes are the block with this number.
    pub(super) fn is(&self, number: usize, bytes: &[u8]) -> bool {
        self.sums
            .sums
            .get(number)
            .is_some_and(|(_, digest)| *digest == Digest::of(bytes))
    }
}
