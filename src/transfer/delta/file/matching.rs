//! Finds blocks of an old file in a new one at any offset, as rsync does. Only the checksums of the
//! old file's blocks are needed.

use std::io::{self, Read};

use super::index::Blocks;
use o3r_core::{
    blocks::BlockSums,
    cksum::{self, Rolling},
};

/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;

/// Receives the new file as pieces, in order.
pub(crate) trait Pieces {
    /// Bytes that are not in the old file.
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// The block of the old file with this number.
    fn block(&mut self, number: usize) -> io::Result<()>;
}

/// Divides a file into blocks of the old file and other bytes.
///
/// # Errors
/// The file cannot be read, or `pieces` fails.
pub(crate) fn divide(
    read: impl Read,
    sums: &BlockSums,
    pieces: &mut impl Pieces,
) -> io::Result<()> {
    let window = usize::try_from(sums.block).map_err(io::Error::other)?;
    let mut buffer = Buffer {
        read,
        bytes: vec![],
        given: 0,
        ended: false,
    };
    let (blocks, rolling) = (Blocks::new(sums), Rolling::new(window));
    let mut at = 0;
    let mut sum = None;
    let mut next = 0;
    while buffer.has(&mut at, window, pieces)? {
        let bytes = &buffer.bytes;
        let mut remainder = sum.unwrap_or_else(|| cksum::remainder(&bytes[at..at + window]));
        let found = loop {
            if blocks.may_have(remainder)
                && let Some(number) = blocks.find(remainder, &bytes[at..at + window], next)
            {
                break Some(number);
            }
            let Some(entering) = bytes.get(at + window) else {
                break None;
            };
            remainder = rolling.on(remainder, bytes[at], *entering);
            at += 1;
        };
        if let Some(number) = found {
            buffer.give(at, pieces)?;
            pieces.block(number)?;
            at += window;
            buffer.given = at;
            next = number + 1;
            sum = None;
        } else {
            // All bytes read so far are processed; the next byte is not read yet.
            sum = Some(remainder);
            if !buffer.has(&mut at, window + 1, pieces)? {
                break;
            }
        }
    }
    let rest = buffer.bytes.len();
    if let Some((number, len)) = sums.short() {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let start = rest.saturating_sub(len);
        let is_there = start >= buffer.given && start + len == rest;
        if is_there && blocks.is(number, &buffer.bytes[start..]) {
            buffer.give(start, pieces)?;
            return pieces.block(number);
        }
    }
    buffer.give(rest, pieces)
}

/// The part of the file in memory.
struct Buffer<R> {
    read: R,
    bytes: Vec<u8>,
    /// The number of bytes that were passed on.
    given: usize,
    ended: bool,
}

impl<R: Read> Buffer<R> {
    /// Whether there are `len` bytes at `at`. If not, reads more and drops the bytes before `at`.
    fn has(&mut self, at: &mut usize, len: usize, pieces: &mut impl Pieces) -> io::Result<bool> {
        if self.bytes.len() < *at + len && !self.ended {
            self.give(*at, pieces)?;
            self.bytes.drain(..*at);
            self.given = 0;
            *at = 0;
            while self.bytes.len() < len + CHUNK && !self.ended {
                let filled = self.bytes.len();
                self.bytes.resize(filled + CHUNK, 0);
                let got = match self.read.read(&mut self.bytes[filled..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                        self.bytes.truncate(filled);
                        continue;
                    }
                    got => got?,
                };
                self.bytes.truncate(filled + got);
                self.ended = got == 0;
            }
        }
        Ok(self.bytes.len() >= *at + len)
    }

    /// Passes on the bytes before `until`.
    fn give(&mut self, until: usize, pieces: &mut impl Pieces) -> io::Result<()> {
        if until > self.given {
            pieces.bytes(&self.bytes[self.given..until])?;
            self.given = until;
        }
        Ok(())
    }
}
