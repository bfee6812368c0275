//! Reads bytes in chunks and classifies read errors.

use std::io::{self, Read};

use crate::error::ImageError;

/// The size of a chunk in bytes.
pub(crate) const CHUNK: usize = 256 * 1024;

/// Reads once; retries if interrupted.
pub(crate) fn read_some(reader: &mut dyn Read, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Distinguishes damaged packed bytes, found at `offset` of the unpacked ones, from a failing disk.
pub(crate) fn read_error(origin: &str, offset: u64, error: io::Error) -> ImageError {
    let origin = origin.to_owned();
    if error.raw_os_error().is_some() {
        return ImageError::Unreadable {
            origin,
            source: error,
        };
    }
    let problem = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the compressed data is truncated".to_owned(),
        _ => error.to_string(),
    };
    ImageError::Damaged {
        origin,
        offset,
        problem,
    }
}
