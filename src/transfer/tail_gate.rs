//! Passes bytes through but holds back the last ones until they are released.

use std::io::{self, Write};

/// A writer that holds back the last bytes that are written to it.
pub struct TailGate<'a> {
    out: &'a mut dyn Write,
    held: Vec<u8>,
    most: usize,
}

impl<'a> TailGate<'a> {
    /// Holds back the last `most` bytes.
    pub fn new(out: &'a mut dyn Write, most: usize) -> Self {
        let held = Vec::with_capacity(most);
        Self { out, held, most }
    }

    /// Writes the bytes that are held back.
    ///
    /// # Errors
    /// The underlying writer fails.
    pub fn release(self) -> io::Result<()> {
        self.out.write_all(&self.held)?;
        self.out.flush()
    }
}

impl Write for TailGate<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let over = (self.held.len() + bytes.len()).saturating_sub(self.most);
        let of_held = over.min(self.held.len());
        self.out.write_all(&self.held[..of_held])?;
        self.held.drain(..of_held);
        let (over, kept) = bytes.split_at(over - of_held);
        self.out.write_all(over)?;
        self.held.extend_from_slice(kept);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_last_bytes_are_passed_on_however_they_come() {
        let bytes: Vec<u8> = (0..200).collect();
        for (most, pieces) in [(0, 7), (1, 1), (10, 3), (10, 10), (10, 150), (300, 7)] {
            let mut out = vec![];
            let mut held = TailGate::new(&mut out, most);
            for piece in bytes.chunks(pieces) {
                held.write_all(piece).unwrap();
            }
            assert_eq!(held.held.len(), most.min(200));
            held.release().unwrap();
            assert_eq!(out, bytes);
        }
        let mut out = vec![];
        TailGate::new(&mut out, 10).write_all(&bytes).unwrap();
        assert_eq!(out, &bytes[..190]);
    }
}
