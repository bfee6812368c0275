//! Reads parts of a file by position, without a cursor shared between readers.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A byte range of an open file.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    file: Arc<File>,
    offset: u64,
    len: u64,
}

impl Slice {
    /// The whole file.
    pub(crate) fn whole(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(file),
            offset: 0,
            len,
        })
    }

    /// The part at `offset`, cut where this slice ends.
    pub(crate) fn part(&self, offset: u64, len: u64) -> Self {
        let offset = offset.min(self.len);
        let len = len.min(self.len - offset);
        Self {
            file: Arc::clone(&self.file),
            offset: self.offset + offset,
            len,
        }
    }

    /// Bytes in it.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Reads from its start.
    pub(crate) fn reader(&self) -> SliceReader {
        SliceReader {
            slice: self.clone(),
            position: 0,
        }
    }

    /// Bytes at `offset`, as many as fit and are there.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.len.saturating_sub(offset);
        let want = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let mut filled = 0;
        while filled < want {
            let at = self.offset + offset + filled as u64;
            match self.file.read_at(&mut buffer[filled..want], at) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Its first bytes, at most `len`.
    pub(crate) fn start(&self, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().take(len).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A cursor over a [`Slice`].
#[derive(Debug)]
pub(crate) struct SliceReader {
    slice: Slice,
    position: u64,
}

impl Read for SliceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.slice.len - self.position;
        let want = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let at = self.slice.offset + self.position;
        let got = self.slice.file.read_at(&mut buffer[..want], at)?;
        self.position += got as u64;
        Ok(got)
    }
}

/// Something whose bytes can be passed over.
pub(crate) trait Skip: Read {
    /// Passes over `len` bytes, fewer where the input ends; tells how many there were.
    fn skip(&mut self, len: u64) -> io::Result<u64>
    where
        Self: Sized,
    {
        io::copy(&mut self.by_ref().take(len), &mut io::sink())
    }
}

impl Skip for SliceReader {
    fn skip(&mut self, len: u64) -> io::Result<u64> {
        let skipped = len.min(self.slice.len - self.position);
        self.position += skipped;
        Ok(skipped)
    }
}
