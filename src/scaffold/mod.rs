//! Writes a first `deploy.toml` for what is found in a folder: compose file, image archives.
//!
//! [`find`] reads the folder, [`text`] makes the text of what was found.

mod find;
mod text;

use camino::Utf8PathBuf;

pub use find::find;
use text::holds;
pub use text::text;

/// What a folder has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What the release may be called.
    pub name: String,
    /// The compose file.
    pub compose: Option<Compose>,
    /// Image archives, sorted by path.
    pub archives: Vec<Archive>,
    /// Whether there is a Dockerfile.
    pub has_dockerfile: bool,
    /// What could not be read, for the user.
    pub notes: Vec<String>,
}

impl Found {
    /// The images of the compose file that are in no archive, each once: the manifest cannot say where they come from.
    pub fn images_without_source(&self) -> Vec<&str> {
        let images = self.compose.iter().flat_map(|compose| &compose.images);
        let is_found = |image: &str| self.archives.iter().any(|archive| holds(archive, image));
        let images = images.map(String::as_str);
        images.filter(|image| !is_found(image)).collect()
    }
}

/// A compose file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compose {
    /// Its name.
    pub file: String,
    /// Images that its services use, each once, in their order.
    pub images: Vec<String>,
    /// Docker volumes that it expects to exist.
    pub volumes: Vec<String>,
    /// Directories of the home directory that it mounts, as `~/data`.
    pub directories: Vec<String>,
    /// What its services read beside it, as `extra_files` has it.
    pub extra_files: Vec<String>,
}

/// An image archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Relative to the folder.
    pub file: Utf8PathBuf,
    /// The images in it.
    pub names: Vec<String>,
    /// Docker's word, e.g. `arm64`.
    pub arch: String,
}
