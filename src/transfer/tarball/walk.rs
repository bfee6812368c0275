//! Walks the headers of a tar file or stream without trusting them.
//!
//! The `tar` crate's own iterator keeps extended headers of any length in memory and does not
//! report where an archive was truncated; only its header parsing is used.

use std::io::Read;

use tar::{EntryType, Header, PaxExtensions};

use crate::error::ImageError;
use crate::files::{self, Holes, Skip};

/// Size of a tar block.
pub(crate) const BLOCK: u64 = 512;

/// Largest extended header; Go's reader, and so docker, has the same bound.
const MAX_EXTENDED: u64 = 1024 * 1024;

/// Bytes of a member that are read at a time.
const PIECE: usize = 64 * 1024;

/// The type of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    /// The target, relative to the member's directory.
    Symlink(String),
    /// The target, relative to the archive's root.
    Hardlink(String),
    /// A sparse file, whose stored bytes are not its content; with the extended headers about its
    /// holes, `None` in the old GNU format.
    Sparse(Option<Holes>),
    Other,
}

/// One member of a tar.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// The raw name, which need not be UTF-8.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Offset of the member's first header.
    pub(crate) start: u64,
    /// Offset of the member's bytes in the archive.
    pub(crate) offset: u64,
    /// The number of stored bytes.
    pub(crate) len: u64,
}

/// What extended headers state about the member that follows.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<String>,
    size: Option<u64>,
    holes: Option<Holes>,
}

/// An iterator over the members of a tar.
pub(crate) struct Walker<'a, R> {
    input: R,
    origin: &'a str,
    position: u64,
    /// Unread bytes of the current member and the padding after it.
    body: u64,
    padding: u64,
    name: String,
    /// Whether the end marker has been seen.
    ended: bool,
}

impl<'a, R: Skip> Walker<'a, R> {
    /// Walks `input` from its start; `origin` names it in errors.
    pub(crate) fn new(input: R, origin: &'a str) -> Self {
        Self {
            input,
            origin,
            position: 0,
            body: 0,
            padding: 0,
            name: String::new(),
            ended: false,
        }
    }

    /// Whether the walk reached an end marker: without one, members may be missing.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns the input, positioned after the end marker or where the walk stopped.
    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    /// Returns the next member; `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, ImageError> {
        self.pass_body()?;
        let mut extended = Extended::default();
        let start = self.position;
        loop {
            let at = self.position;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = header
                .entry_size()
                .map_err(|_| self.damaged(at, "a tar header without a readable size"))?;
            let kind = header.entry_type();
            match kind {
                EntryType::GNULongName => extended.name = Some(self.text(size)?),
                EntryType::GNULongLink => extended.link = Some(lossy(&self.text(size)?)),
                EntryType::XHeader => self.pax(size, &mut extended)?,
                EntryType::XGlobalHeader => {
                    self.extended_body(size)?;
                }
                _ => {
                    let mut entry = self.member(&header, kind, size, extended)?;
                    entry.start = start;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Reads at most `len` bytes from the start of the current member.
    pub(crate) fn peek(&mut self, len: u64) -> Result<Vec<u8>, ImageError> {
        let len = len.min(self.body);
        let bytes = self.read(len)?;
        self.body -= len;
        Ok(bytes)
    }

    /// Passes all bytes of the current member to `take`, piece by piece.
    pub(crate) fn pass_to(&mut self, take: &mut dyn FnMut(&[u8])) -> Result<(), ImageError> {
        let want = |body: u64| usize::try_from(body).map_or(PIECE, |body| body.min(PIECE));
        let mut piece = vec![0; want(self.body)];
        while self.body > 0 {
            let want = want(self.body);
            let got = files::read_some(&mut self.input, &mut piece[..want])
                .map_err(|error| self.failed(error))?;
            if got == 0 {
                return Err(self.truncated(self.position.saturating_add(self.body)));
            }
            take(&piece[..got]);
            self.position += got as u64;
            self.body -= got as u64;
        }
        Ok(())
    }

    fn member(
        &mut self,
        header: &Header,
        kind: EntryType,
        size: u64,
        mut extended: Extended,
    ) -> Result<Entry, ImageError> {
        // A sparse file has a made-up name in the header, for old readers.
        let own = extended.holes.as_mut().and_then(|holes| holes.name.take());
        let path = own
            .or(extended.name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let name = lossy(&path);
        let link = extended
            .link
            .or_else(|| header.link_name_bytes().map(|link| lossy(&link)))
            .unwrap_or_default();
        let mut stored = extended.size.unwrap_or(size);
        let kind = match (kind, extended.holes) {
            (EntryType::Regular | EntryType::Continuous, Some(holes)) => Kind::Sparse(Some(holes)),
            // Before POSIX, a directory was a file whose name ends in a slash.
            (EntryType::Regular, None) if name.ends_with('/') => Kind::Directory,
            (EntryType::Regular | EntryType::Continuous, None) => Kind::File,
            (EntryType::Directory, _) => Kind::Directory,
            (EntryType::Symlink, _) => Kind::Symlink(link),
            (EntryType::Link, _) => Kind::Hardlink(link),
            (EntryType::GNUSparse, _) => Kind::Sparse(None),
            _ => Kind::Other,
        };
        // These types have no bytes, whatever their size field states (as Go reads them).
        if header.entry_type().is_dir()
            || header.entry_type().is_symlink()
            || header.entry_type().is_hard_link()
            || header.entry_type().is_character_special()
            || header.entry_type().is_block_special()
            || header.entry_type().is_fifo()
        {
            stored = 0;
        }
        self.name.clone_from(&name);
        if header.as_gnu().is_some_and(tar::GnuHeader::is_extended) && kind == Kind::Sparse(None) {
            self.pass_sparse_map()?;
        }
        self.body = stored;
        self.padding = stored.wrapping_neg() % BLOCK;
        Ok(Entry {
            name,
            path,
            kind,
            start: self.position,
            offset: self.position,
            len: stored,
        })
    }

    /// Skips the map blocks that old GNU sparse files have after the header, outside their size.
    fn pass_sparse_map(&mut self) -> Result<(), ImageError> {
        loop {
            let block = self.read(BLOCK)?;
            if block[504] != 1 {
                return Ok(());
            }
        }
    }

    fn header(&mut self) -> Result<Option<Header>, ImageError> {
        let at = self.position;
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut have = 0;
        while have < block.len() {
            match self.input.read(&mut block[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        self.position += have as u64;
        if have == 0 {
            return Ok(None); // some writers omit the end marker
        }
        if have < block.len() {
            "the next tar header".clone_into(&mut self.name);
            return Err(self.truncated(at + BLOCK));
        }
        if block.iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        if !is_header(header.as_bytes()) {
            return Err(self.damaged(at, "a tar header with a wrong checksum"));
        }
        Ok(Some(header))
    }

    fn pax(&mut self, size: u64, extended: &mut Extended) -> Result<(), ImageError> {
        let at = self.position;
        let body = self.extended_body(size)?;
        for record in PaxExtensions::new(&body) {
            let record =
                record.map_err(|_| self.damaged(at, "an extended header that cannot be read"))?;
            let value = record.value_bytes();
            match record.key_bytes() {
                b"path" => extended.name = Some(value.to_vec()),
                b"linkpath" => extended.link = Some(lossy(value)),
                b"size" => {
                    let size = std::str::from_utf8(value)
                        .ok()
                        .and_then(|text| text.parse().ok());
                    extended.size =
                        Some(size.ok_or_else(|| self.damaged(at, "an extended header's size"))?);
                }
                key => {
                    if let Some(key) = key.strip_prefix(b"GNU.sparse.")
                        && !extended.holes.get_or_insert_default().take(key, value)
                    {
                        return Err(self.damaged(at, "an extended header's holes"));
                    }
                }
            }
        }
        Ok(())
    }

    fn text(&mut self, size: u64) -> Result<Vec<u8>, ImageError> {
        let mut body = self.extended_body(size)?;
        let end = body
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(body.len());
        body.truncate(end);
        Ok(body)
    }

    /// Reads the bytes of an extended header and skips the padding.
    fn extended_body(&mut self, size: u64) -> Result<Vec<u8>, ImageError> {
        if size > MAX_EXTENDED {
            return Err(ImageError::TooMuch {
                origin: self.origin.to_owned(),
                part: format!("the extended header at byte {}", self.position),
                found: format!("{size} bytes"),
                limit: MAX_EXTENDED,
            });
        }
        "an extended header".clone_into(&mut self.name);
        let mut body = self.read(size.next_multiple_of(BLOCK))?;
        // At most MAX_EXTENDED, so it fits.
        body.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(body)
    }

    /// Reads exactly `len` bytes; only for lengths that are bounded.
    fn read(&mut self, len: u64) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        let at = self.position;
        let result = self.input.by_ref().take(len).read_to_end(&mut bytes);
        self.position += bytes.len() as u64;
        result.map_err(|error| self.failed(error))?;
        if (bytes.len() as u64) < len {
            return Err(self.truncated(at.saturating_add(len)));
        }
        Ok(bytes)
    }

    fn pass_body(&mut self) -> Result<(), ImageError> {
        let needed = self.position.saturating_add(self.body);
        let passed = self
            .input
            .skip(self.body)
            .map_err(|error| self.failed(error))?;
        self.position += passed;
        if passed < self.body {
            return Err(self.truncated(needed));
        }
        // Truncated padding loses no content.
        self.position += self
            .input
            .skip(self.padding)
            .map_err(|error| self.failed(error))?;
        (self.body, self.padding) = (0, 0);
        Ok(())
    }

    fn truncated(&self, needed: u64) -> ImageError {
        ImageError::Truncated {
            origin: self.origin.to_owned(),
            part: self.name.escape_debug().take(MAX_SHOWN).collect(),
            needed,
            len: self.position,
        }
    }

    fn damaged(&self, offset: u64, problem: &str) -> ImageError {
        ImageError::Damaged {
            origin: self.origin.to_owned(),
            offset,
            problem: problem.to_owned(),
        }
    }

    fn failed(&self, error: std::io::Error) -> ImageError {
        files::read_error(self.origin, self.position, error)
    }
}

/// The most characters of a name that an error shows.
const MAX_SHOWN: usize = 200;

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether a block has the checksum of a tar header.
pub(crate) fn is_header(block: &[u8]) -> bool {
    let Some(block) = block.get(..512) else {
        return false;
    };
    let sum: u32 = block[..148]
        .iter()
        .chain(&block[156..])
        .map(|byte| u32::from(*byte))
        .sum();
    Header::from_byte_slice(block).cksum().ok() == Some(sum + 8 * u32::from(b' '))
}
