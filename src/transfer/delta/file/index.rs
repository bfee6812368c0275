//! Looks up blocks of an old file by their bytes.

use std::collections::HashMap;

use o3r_core::{blocks::BlockSums, cksum, digest::Digest};

/// The blocks of an old file by their checksums.
#[derive(Debug)]
pub(crate) struct Blocks<'a> {
    sums: &'a BlockSums,
    by_remainder: HashMap<u32, Vec<usize>>,
    /// A bitmap of the top bits of all remainders: nearly all lookups miss.
    filter: Vec<u64>,
}

/// Bits of a remainder that the filter uses.
const FILTER_BITS: u32 = 20;

fn filter_bit(remainder: u32) -> (usize, u64) {
    let bit = (remainder >> (32 - FILTER_BITS)) as usize;
    (bit / 64, 1 << (bit % 64))
}

impl<'a> Blocks<'a> {
    pub(crate) fn new(sums: &'a BlockSums) -> Self {
        let mut blocks = Self {
            sums,
            by_remainder: HashMap::new(),
            filter: vec![0; (1 << FILTER_BITS) / 64],
        };
        let whole = usize::try_from(sums.size / sums.block.max(1)).unwrap_or(usize::MAX);
        for (number, (weak, _)) in sums.sums.iter().enumerate().take(whole) {
            let remainder = cksum::remainder_of(*weak, sums.block);
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

    /// Whether a block may have this remainder.
    pub(crate) fn may_have(&self, remainder: u32) -> bool {
        let (word, bit) = filter_bit(remainder);
        self.filter[word] & bit != 0
    }

    /// Returns the number of a block with these bytes; `likely` if that is one of them.
    pub(crate) fn find(&self, remainder: u32, bytes: &[u8], likely: usize) -> Option<usize> {
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
    pub(crate) fn is(&self, number: usize, bytes: &[u8]) -> bool {
        self.sums
            .sums
            .get(number)
            .is_some_and(|(_, digest)| *digest == Digest::of(bytes))
    }
}
