//! Writes the files that a command line asks for.

use std::io::Write as _;

use camino::Utf8Path;

use super::{CommandError, ErrorCode};

/// Writes a file; the mode applies if it is created.
pub(super) fn write(path: &Utf8Path, bytes: &[u8], mode: u32) -> Result<(), CommandError> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    options
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|error| cannot_write(&error))
}

/// Replaces the content of a file, which keeps its permissions; a reader finds the old or the new one.
pub(super) fn replace(path: &Utf8Path, text: &str) -> std::io::Result<()> {
    let permissions = fs_err::metadata(path)?.permissions();
    let folder = path.parent().filter(|folder| !folder.as_str().is_empty());
    let folder = folder.unwrap_or(Utf8Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(permissions)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

pub(super) fn cannot_write(error: &std::io::Error) -> CommandError {
    CommandError::message(
        ErrorCode::NotWritten,
        error.to_string(),
        Some("choose another -o".into()),
    )
}
