//! Writes a first `deploy.toml` from what is found in a folder: compose file, image archives.
//!
//! [`find`] reads the folder, [`text`] renders the manifest.

mod find;
mod text;

use camino::Utf8PathBuf;

pub use find::{archives_in, compose, find, name_of};
pub use text::{holds, quoted, text};

/// The relevant content of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// A name for the release.
    pub name: String,
    /// The compose file.
    pub compose: Option<Compose>,
    /// Image archives, sorted by path.
    pub archives: Vec<Archive>,
    /// Directories here that have the name of a directory on the VPU that a service mounts, with that one.
    pub copied: Vec<(String, String)>,
    /// Whether there is a Dockerfile.
    pub has_dockerfile: bool,
    /// What could not be read, to be shown to the user.
    pub notes: Vec<String>,
}

impl Found {
    /// Returns the images of the compose file that are in no archive, each once: their source is
    /// unknown.
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
    /// Its file name.
    pub file: String,
    /// Images that its services use, each once, in order.
    pub images: Vec<String>,
    /// Docker volumes that it expects to exist.
    pub volumes: Vec<String>,
    /// Directories below the home directory that it mounts, as `~/data`.
    pub directories: Vec<String>,
    /// Files next to it that its services read, in the form of `extra_files`.
    pub extra_files: Vec<String>,
    /// Variables of its images that are not set, and are probably meant to be the release's version.
    pub versions: Vec<String>,
}

/// An image archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The path relative to the folder.
    pub file: Utf8PathBuf,
    /// The names of the images in it.
    pub names: Vec<String>,
    /// Architecture in docker's terms, e.g. `arm64`.
    pub arch: String,
}
