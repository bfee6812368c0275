//! The checksum that POSIX `cksum` prints, in a form that can roll over a file.
//!
//! It is a CRC-32 with the generator polynomial 0x04C11DB7 over the bytes, highest bit first, and then over
//! their number, lowest byte first, inverted (The Open Group Base Specifications, `cksum`).

/// The generator polynomial without its highest term.
const POLYNOMIAL: u32 = 0x04c1_1db7;

/// The CRC table: the remainder of each byte value.
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut remainder = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            let carry = remainder & 0x8000_0000 != 0;
            remainder <<= 1;
            if carry {
                remainder ^= POLYNOMIAL;
            }
            bit += 1;
        }
        table[index] = remainder;
        index += 1;
    }
    table
}

const fn add(remainder: u32, byte: u8) -> u32 {
    (remainder << 8) ^ TABLE[((remainder >> 24) as u8 ^ byte) as usize]
}

/// Returns the CRC remainder of these bytes, without their number.
pub fn remainder(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |remainder, byte| add(remainder, *byte))
}

/// Returns the value that `cksum` prints for `len` bytes with this remainder.
pub fn cksum(remainder: u32, len: u64) -> u32 {
    let (length, used) = length(len);
    !length[..used]
        .iter()
        .fold(remainder, |sum, byte| add(sum, *byte))
}

/// Returns the remainder of `len` bytes for which `cksum` prints this value.
pub fn remainder_of(cksum: u32, len: u64) -> u32 {
    let (length, used) = length(len);
    length[..used]
        .iter()
        .rev()
        .fold(!cksum, |sum, byte| take(sum, *byte))
}

/// Returns the bytes of a length that `cksum` includes, lowest first, and their number.
fn length(len: u64) -> ([u8; 8], usize) {
    let bytes = len.to_le_bytes();
    let last = bytes.iter().rposition(|byte| *byte != 0);
    (bytes, last.map_or(0, |last| last + 1))
}

/// Returns the remainder before this byte was added.
fn take(remainder: u32, byte: u8) -> u32 {
    // Each entry has a different lowest byte, because the polynomial has a constant term.
    let same_end = |entry: &u32| entry.to_le_bytes()[0] == remainder.to_le_bytes()[0];
    let index = TABLE.iter().position(same_end).unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "an index of a byte")]
    let first = index as u8 ^ byte;
    (remainder ^ TABLE[index]) >> 8 | u32::from(first) << 24
}

/// Updates the remainder of a window that moves over a file.
#[derive(Debug)]
pub struct Rolling {
    /// The contribution of the byte that leaves the window, by its value.
    leaving: [u32; 256],
}

impl Rolling {
    /// Creates one for windows of `window` bytes.
    pub fn new(window: usize) -> Self {
        // A CRC with a start value of zero is linear: a
        // byte contributes as if only zeros followed it.
        let mut bits = [0; 8];
        for (bit, remainder) in bits.iter_mut().enumerate() {
            *remainder = (0..window).fold(add(0, 1 << bit), |remainder, _| add(remainder, 0));
        }
        let mut leaving = [0; 256];
        for (byte, entry) in leaving.iter_mut().enumerate() {
            let set = bits
                .iter()
                .enumerate()
                .filter(|(bit, _)| byte >> bit & 1 == 1);
            *entry = set.fold(0, |sum, (_, remainder)| sum ^ remainder);
        }
        Self { leaving }
    }

    /// Returns the remainder after the window has moved by one byte.
    pub fn on(&self, remainder: u32, leaving: u8, entering: u8) -> u32 {
        add(remainder, entering) ^ self.leaving[usize::from(leaving)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_equals_that_of_posix_cksum() {
        // `printf 123456789 | cksum` and `printf '' | cksum`.
        assert_eq!(cksum(remainder(b"123456789"), 9), 930_766_865);
        assert_eq!(cksum(remainder(b""), 0), 4_294_967_295);
        for len in [1, 255, 256, 8192, 70_000] {
            let sum = remainder(&vec![7; len]);
            assert_eq!(remainder_of(cksum(sum, len as u64), len as u64), sum);
        }
    }

    #[test]
    fn a_rolling_window_has_the_remainder_of_its_bytes() {
        let bytes: Vec<u8> = (0..2000_u32)
            .map(|n| (n * n % 251).to_le_bytes()[0])
            .collect();
        for window in [1, 7, 512] {
            let rolling = Rolling::new(window);
            let mut sum = remainder(&bytes[..window]);
            for at in 1..bytes.len() - window {
                sum = rolling.on(sum, bytes[at - 1], bytes[at + window - 1]);
                assert_eq!(sum, remainder(&bytes[at..at + window]), "{window} {at}");
            }
        }
    }
}
