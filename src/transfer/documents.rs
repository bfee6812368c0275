//! Stores small JSON documents in the cache directory and keeps the newest.

use std::{io, io::Write as _, time::SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Serialize, de::DeserializeOwned};

/// Reads a document; `None` if it is missing or cannot be parsed.
pub fn read<T: DeserializeOwned>(path: &Utf8Path) -> Option<T> {
    serde_json::from_slice(&fs_err::read(path).ok()?).ok()
}

/// Writes a document atomically, then removes the oldest files of its directory until at most
/// `most` are left.
///
/// # Errors
/// The directory cannot be created, written or cleaned.
pub fn write(path: &Utf8Path, document: &impl Serialize, most: usize) -> io::Result<()> {
    let directory = path
        .parent()
        .ok_or_else(|| io::Error::other(format!("{path} is in no directory")))?;
    fs_err::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&serde_json::to_vec(document)?)?;
    file.persist(path).map_err(|error| error.error)?;
    let entries = directory.read_dir_utf8()?.filter_map(Result::ok);
    let mut files: Vec<(SystemTime, Utf8PathBuf)> = entries
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.into_path())))
        .collect();
    files.sort();
    for (_, old) in files.iter().take(files.len().saturating_sub(most)) {
        fs_err::remove_file(old)?;
    }
    Ok(())
}
