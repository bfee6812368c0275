//! Reads ranges of a file by position, so that readers share no cursor.

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
    /// A slice of the whole file.
    pub(crate) fn whole(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(file),
            offset: 0,
            len,
        })
    }

    /// Returns the range at `offset`, truncated at the end of this slice.
    pub(crate) fn part(&self, offset: u64, len: u64) -> Self {
        let offset = offset.min(self.len);
        let len = len.min(self.len - offset);
        Self {
            file: Arc::clone(&self.file),
            offset: self.offset + offset,
            len,
        }
    }

    /// The length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Returns a reader that starts at the beginning.
    pub(crate) fn reader(&self) -> SliceReader {
        SliceReader {
            slice: self.clone(),
            position: 0,
        }
    }

    /// Reads bytes at `offset`: as many as fit the buffer, fewer at the end.
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

    /// Reads the first bytes, at most `len`.
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

/// A reader that can skip bytes.
pub(crate) trait Skip: Read {
    /// Skips `len` bytes, fewer if the input ends; returns the number skipped.
    fn skip(&mut self, len: u64) -> io::Result<u64>
    where
        Self: Sized,
    {
        io::copy(&mut self.by_ref().take(len), &mut io::sink())
    }
}

impl<R: Read> Skip for io::BufReader<R> {}

impl Skip for SliceReader {
    fn skip(&mut self, len: u64) -> io::Result<u64> {
        let skipped = len.min(self.slice.len - self.position);
        self.position += skipped;
        Ok(skipped)
    }
}
