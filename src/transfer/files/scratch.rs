//! Creates unnamed temporary files, which vanish with the process.

use std::fs::File;

use camino::{Utf8Path, Utf8PathBuf};

use crate::error::ImageError;

/// A directory for temporary files, created when first needed.
///
/// Its files are unlinked right after they are opened, so none remains however the process ends.
/// Prefer the user's cache directory over `/tmp`, which is often in memory.
#[derive(Debug, Clone)]
pub struct ScratchDir {
    dir: Utf8PathBuf,
}

impl ScratchDir {
    /// Uses `dir`, which need not exist yet.
    pub fn new(dir: impl Into<Utf8PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory.
    pub fn path(&self) -> &Utf8Path {
        &self.dir
    }

    /// Creates an empty unnamed file.
    pub(crate) fn file(&self) -> Result<File, ImageError> {
        fs_err::create_dir_all(&self.dir)
            .and_then(|()| tempfile::tempfile_in(&self.dir))
            .map_err(|source| self.error(source))
    }

    pub(crate) fn error(&self, source: std::io::Error) -> ImageError {
        ImageError::Scratch {
            dir: self.dir.clone(),
            source,
        }
    }
}
