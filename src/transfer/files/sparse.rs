//! Restores the holes of a sparse member, as `tar -S` and bsdtar pack it.
//!
//! Of the formats in GNU tar's manual ("Storing Sparse Files"), those with extended headers are
//! read: Go reads them, and so does docker. The old GNU format has a header of its own, which
//! docker refuses.

use std::io::{Seek as _, SeekFrom};

use crate::error::ImageError;
use crate::files::{ScratchDir, Slice};

/// The most pieces of a file; a layer of 4 GiB in which every other block is a hole has half of
/// that.
const MAX_PIECES: usize = 1 << 20;

/// The longest list of pieces before a file's bytes, in bytes.
const MAX_MAP: u64 = 64 << 20;

/// A tar block.
const BLOCK: u64 = 512;

/// The largest file including holes; the limit of everything that is unpacked.
const MAX_LEN: u64 = 32 << 30;

/// What extended headers state about a sparse member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Holes {
    /// Its own name, if the header has a made-up one.
    pub(crate) name: Option<Vec<u8>>,
    /// Its length including the holes.
    len: Option<u64>,
    /// Its pieces as alternating offsets and lengths. `None` if the list precedes the file's bytes.
    map: Option<Vec<u64>>,
}

impl Holes {
    /// Parses the value of a record `GNU.sparse.KEY`; returns false if it is invalid.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) -> bool {
        let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"realsize" | b"size" => self.len = number(),
            // The first format: one record for each number, alternating.
            b"offset" | b"numbytes" => match number() {
                Some(number) => self.map.get_or_insert_default().push(number),
                None => return false,
            },
            b"map" => {
                let text = std::str::from_utf8(value).unwrap_or("?");
                let numbers = text.split(',').map(|number| number.parse().ok());
                self.map = numbers.collect();
                return self.map.is_some();
            }
            _ => {}
        }
        true
    }

    /// Expands the member to a file with holes; `None` if its description is invalid.
    ///
    /// # Errors
    /// The member cannot be read, or a scratch file cannot be written.
    pub(crate) fn fill(
        &self,
        stored: &Slice,
        scratch: &ScratchDir,
    ) -> Result<Option<Slice>, ImageError> {
        let failed = |error| scratch.error(error);
        let (map, mut at) = match &self.map {
            Some(map) => (map.clone(), 0),
            None => match leading(stored).map_err(failed)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        let Some(len) = self.len.filter(|len| *len <= MAX_LEN) else {
            return Ok(None);
        };
        let mut file = scratch.file()?;
        file.set_len(len).map_err(failed)?;
        for piece in map.chunks(2) {
            let &[offset, bytes] = piece else {
                return Ok(None);
            };
            let within = offset.checked_add(bytes).is_some_and(|end| end <= len);
            if !within || bytes > stored.len().saturating_sub(at) {
                return Ok(None);
            }
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
            let mut reader = stored.part(at, bytes).reader();
            std::io::copy(&mut reader, &mut file).map_err(failed)?;
            at += bytes;
        }
        Slice::whole(file).map(Some).map_err(failed)
    }
}

/// Parses the list that precedes a file's bytes and returns the offset of the bytes. The list has a
/// decimal number a line: the number of pairs, then the pairs, padded to whole blocks.
fn leading(stored: &Slice) -> std::io::Result<Option<(Vec<u64>, u64)>> {
    let mut text = vec![];
    let mut numbers: Vec<u64> = vec![];
    let mut begin = 0;
    loop {
        let at = text.len() as u64;
        let block = stored.part(at, BLOCK).start(BLOCK)?;
        if (block.len() as u64) < BLOCK || at >= MAX_MAP {
            return Ok(None);
        }
        text.extend_from_slice(&block);
        while let Some(end) = text[begin..].iter().position(|byte| *byte == b'\n') {
            let number = std::str::from_utf8(&text[begin..begin + end]).ok();
            let Some(number) = number.and_then(|text| text.parse().ok()) else {
                return Ok(None);
            };
            numbers.push(number);
            begin += end + 1;
            let pairs = usize::try_from(numbers[0]).unwrap_or(usize::MAX);
            if pairs > MAX_PIECES {
                return Ok(None);
            }
            if numbers.len() == 1 + 2 * pairs {
                numbers.remove(0);
                return Ok(Some((numbers, text.len() as u64)));
            }
        }
    }
}
