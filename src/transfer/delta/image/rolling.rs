//! Finds ranges of an old file in a new one at any offset, as rsync does.
//!
//! Both files are available, so a hit of the rolling hash is compared byte by byte and extended in
//! both directions: the ranges are exact.

use std::collections::HashMap;
use std::io;

use crate::files::Slice;

/// The most blocks of the old file that are indexed: 65 536 take 1.5 MB.
const MAX_BLOCKS: u64 = 1 << 16;

/// The smallest block in bytes; it finds ranges that are at least twice as long.
const MIN_BLOCK: u64 = 1024;

/// Bytes that are read at a time.
const WINDOW: usize = 256 * 1024;

/// The multiplier of the hash: odd, with bits in all places (Knuth's, of his MMIX generator).
const FACTOR: u64 = 6_364_136_223_846_793_005;

/// Bytes of the new file that occur in the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) new: u64,
    pub(crate) old: u64,
    pub(crate) len: u64,
}

/// Returns the ranges of at least `shortest` bytes in the order of the new file, without overlaps
/// there.
pub(crate) fn ranges(new: &Slice, old: &Slice, shortest: u64) -> io::Result<Vec<Range>> {
    let block = (old.len() / MAX_BLOCKS).next_power_of_two().max(MIN_BLOCK);
    let Ok(size) = usize::try_from(block) else {
        return Ok(vec![]);
    };
    let blocks = blocks(old, size)?;
    let power = (1..size).fold(1_u64, |power, _| power.wrapping_mul(FACTOR));
    let mut found = vec![];
    // The end of the last range, and the earliest start of the next.
    let (mut done, mut at) = (0, 0);
    let mut window = vec![0; WINDOW + size];
    'windows: while at + block <= new.len() {
        let got = new.read_at(&mut window, at)?;
        let bytes = &window[..got];
        let mut sum = hash(bytes.get(..size).unwrap_or_default());
        let mut start = 0;
        while start + size <= got {
            if let Some(old_at) = blocks.get(&sum) {
                let here = at + start as u64;
                let range = extended(new, old, (here, *old_at), done)?;
                if range.len >= shortest {
                    found.push(range);
                    done = range.new + range.len;
                }
                if range.len >= block {
                    // Continues after the range even if it is too short; otherwise the time would
                    // be quadratic.
                    at = (range.new + range.len).max(here + 1);
                    continue 'windows;
                }
            }
            if let Some(next) = bytes.get(start + size) {
                let gone = u64::from(bytes[start]).wrapping_add(1);
                sum = sum
                    .wrapping_sub(gone.wrapping_mul(power))
                    .wrapping_mul(FACTOR)
                    .wrapping_add(u64::from(*next).wrapping_add(1));
            }
            start += 1;
        }
        at += start.max(1) as u64;
    }
    Ok(found)
}

/// Returns the offset of each block of the old file by its hash; the first of equal ones.
fn blocks(old: &Slice, size: usize) -> io::Result<HashMap<u64, u64>> {
    let mut blocks = HashMap::new();
    let mut window = vec![0; WINDOW.next_multiple_of(size)];
    let mut at = 0;
    loop {
        let got = old.read_at(&mut window, at)?;
        for (number, block) in window[..got].chunks_exact(size).enumerate() {
            let place = at + (number * size) as u64;
            blocks.entry(hash(block)).or_insert(place);
        }
        if got < window.len() {
            return Ok(blocks);
        }
        at += got as u64;
    }
}

/// Evaluates a polynomial in [`FACTOR`]; adds one to each byte, because zeros would not count.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0_u64, |sum, byte| {
        let byte = u64::from(*byte).wrapping_add(1);
        sum.wrapping_mul(FACTOR).wrapping_add(byte)
    })
}

/// Extends a match in both directions, in the new file not before `from`.
fn extended(new: &Slice, old: &Slice, (at, old_at): (u64, u64), from: u64) -> io::Result<Range> {
    let forward = same_after(new, old, (at, old_at))?;
    let back = same_before(new, old, (at, old_at), (at - from).min(old_at))?;
    Ok(Range {
        new: at - back,
        old: old_at - back,
        len: if forward == 0 { 0 } else { back + forward },
    })
}

fn same_after(new: &Slice, old: &Slice, (at, old_at): (u64, u64)) -> io::Result<u64> {
    let (mut one, mut other) = (vec![0; WINDOW / 4], vec![0; WINDOW / 4]);
    let mut same = 0;
    loop {
        let got = new.read_at(&mut one, at + same)?;
        let got = got.min(old.read_at(&mut other, old_at + same)?);
        let equal = equal(one[..got].iter(), other[..got].iter());
        same += equal as u64;
        if equal < one.len() {
            return Ok(same);
        }
    }
}

fn same_before(new: &Slice, old: &Slice, (at, old_at): (u64, u64), most: u64) -> io::Result<u64> {
    let (mut one, mut other) = ([0; 4096], [0; 4096]);
    let mut same = 0;
    while same < most {
        let step = usize::try_from(most - same).map_or(one.len(), |left| left.min(one.len()));
        let back = same + step as u64;
        let got = new.read_at(&mut one[..step], at - back)?;
        if got < step || old.read_at(&mut other[..step], old_at - back)? < step {
            break;
        }
        let equal = equal(one[..step].iter().rev(), other[..step].iter().rev());
        same += equal as u64;
        if equal < step {
            break;
        }
    }
    Ok(same)
}

fn equal<'a>(one: impl Iterator<Item = &'a u8>, other: impl Iterator<Item = &'a u8>) -> usize {
    one.zip(other)
        .take_while(|(one, other)| one == other)
        .count()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn slice(bytes: &[u8]) -> Slice {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Slice::whole(file).unwrap()
    }

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        let mut next = || {
            state = state.wrapping_mul(FACTOR).wrapping_add(1);
            state.to_le_bytes()[6]
        };
        (0..len).map(|_| next()).collect()
    }

    /// Returns the number of bytes of `new` that no range covers; checks the ranges.
    fn literal(new: &[u8], old: &[u8], shortest: u64) -> usize {
        let found = ranges(&slice(new), &slice(old), shortest).unwrap();
        let mut end = 0;
        let mut covered = 0;
        for Range {
            new: at,
            old: from,
            len,
        } in found
        {
            assert!(at >= end && len >= shortest);
            let [at, from, len] = [at, from, len].map(|n| usize::try_from(n).unwrap());
            assert_eq!(new[at..at + len], old[from..from + len]);
            end = (at + len) as u64;
            covered += len;
        }
        new.len() - covered
    }

    #[test]
    fn moved_ranges_are_found() {
        let old = noise(1, 600_000);
        let mut new = old.clone();
        new.splice(300_000..300_000, noise(2, 1000));
        assert_eq!(literal(&new, &old, 1), 1000);
        new[7] ^= 1;
        assert!(literal(&new, &old, 1) <= 1001 + 7);
        new.drain(400_000..450_000);
        assert!(literal(&new, &old, 1) <= 1001 + 7);
        new.rotate_left(123_456);
        assert!(literal(&new, &old, 1) <= 1001 + 7 + 2048);
        assert_eq!(literal(&new, &noise(3, 600_000), 1), new.len());
        // The 16 bytes in which compiled Python files differ.
        let mut compiled = old.clone();
        compiled[..16].copy_from_slice(&noise(4, 16));
        assert!(literal(&compiled, &old, 1) <= 16);
    }

    #[test]
    fn repetitive_files_take_no_longer() {
        let zeros = vec![0; 5 << 20];
        let mut new = zeros.clone();
        new[3 << 20] = 1;
        assert!(literal(&new, &zeros, 1 << 20) <= 1 << 21);
        let short = [vec![7; 3000], noise(1, 500)].concat().repeat(300);
        let _ = literal(&short, &vec![7; 3000], 1 << 20);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn ranges_are_exact(
            old in prop::collection::vec((0..4u64, 1..5000usize), 0..12),
            new in prop::collection::vec((0..4u64, 1..5000usize), 0..12),
            shortest in 1..4000u64,
        ) {
            let pieces = |list: &[(u64, usize)]| -> Vec<u8> {
                list.iter().flat_map(|(seed, len)| noise(*seed, *len)).collect()
            };
            let _ = literal(&pieces(&new), &pieces(&old), shortest);
        }
    }
}
