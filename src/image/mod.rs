//! Reads local images of every kind and streams them as archives that any `docker load` takes.
//!
//! An [`Image`] is opened from a [`Source`]; that reads metadata only, except where the bytes must
//! be seen to know them (a compressed file, a zstd layer, a bare file system). What is inside an
//! archive is found by position in the file: nothing is ever extracted under a name that an archive
//! chose, and memory does not grow with the image.

mod error;
mod platform;
mod scratch;

use std::collections::BTreeSet;
use std::io::Write;

use camino::Utf8PathBuf;

pub use self::error::ImageError;
pub use self::platform::Platform;
pub use self::scratch::ScratchDir;
use crate::digest::Digest;

/// Where a local image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file: `docker save` or OCI archive, plain or compressed with gzip or zstd.
    Archive(Utf8PathBuf),
    /// An image of this machine's docker, by any name that docker takes.
    Engine(String),
    /// A bare file system, wrapped into an image.
    Rootfs(Rootfs),
}

/// A tar of a file system (`docker build -o type=tar`) and how to start what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rootfs {
    /// The tar, plain or compressed with gzip or zstd.
    pub file: Utf8PathBuf,
    /// Default arguments.
    pub cmd: Vec<String>,
    /// The program that is always run.
    pub entrypoint: Vec<String>,
    /// `NAME=value` pairs; a `PATH` is added where none is given.
    pub env: Vec<String>,
    /// Working directory, `/` where none is given.
    pub working_dir: Option<String>,
    /// User that the program runs as, root where none is given.
    pub user: Option<String>,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the layer's uncompressed tar.
    pub diff_id: Digest,
    /// Bytes as they are sent (a gzip layer stays compressed); not known for an engine's image
    /// before [`Image::prepare`].
    pub size: Option<u64>,
}

/// Which layers go into an archive.
///
/// `docker load` of a classic image store accepts an archive without the layers it has, as long as
/// everything below them is there too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerSelection {
    /// The whole image.
    All,
    /// Only the layers with these diff ids.
    Only(BTreeSet<Digest>),
}

impl LayerSelection {
    /// Whether the layer goes into the archive.
    pub fn contains(&self, diff_id: &Digest) -> bool {
        match self {
            Self::All => true,
            Self::Only(diff_ids) => diff_ids.contains(diff_id),
        }
    }
}

/// A local image, opened.
#[derive(Debug)]
pub struct Image {
    config_digest: Digest,
    platform: Platform,
    repo_tags: Vec<String>,
    layers: Vec<Layer>,
}

impl Image {
    /// Opens the image `name` of `source`, for `platform`.
    ///
    /// An archive with one image is that image, whatever it is called; `name` chooses among several.
    /// Blocks; compressed input is unpacked into `scratch`.
    pub fn open(
        source: &Source,
        name: &str,
        platform: &Platform,
        scratch: &ScratchDir,
    ) -> Result<Self, ImageError> {
        let _ = (source, name, platform, scratch);
        todo!("readers follow")
    }

    /// The digest of the configuration: what identifies the image everywhere.
    pub fn config_digest(&self) -> Digest {
        self.config_digest
    }

    /// What the image runs on.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The names found with the image.
    pub fn repo_tags(&self) -> &[String] {
        &self.repo_tags
    }

    /// The layers, lowest first; one diff id may occur twice.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The exact bytes of the configuration; runs `docker save` for an engine's image.
    pub fn config(&self) -> Result<Vec<u8>, ImageError> {
        todo!("readers follow")
    }

    /// Fetches what is needed to send: runs `docker save` into scratch for an engine's image, once.
    ///
    /// Not necessary before [`Image::write_archive`], but sizes are exact after it.
    pub fn prepare(&self) -> Result<(), ImageError> {
        todo!("readers follow")
    }

    /// How many bytes [`Image::write_archive`] writes: exact, except that it is an estimate from
    /// docker's image size for an engine's image before [`Image::prepare`].
    pub fn archive_len(&self, tag: &str, include: &LayerSelection) -> u64 {
        let _ = (tag, include);
        todo!("readers follow")
    }

    /// Streams the image as `docker save` writes it, named `tag`, with the layers of `include`.
    ///
    /// The same image, tag and selection give the same bytes. Every layer is checked against its
    /// digest on the way; a mismatch ends the stream inside that layer, so that a loader which is
    /// handed the incomplete stream fails too.
    pub fn write_archive(
        &self,
        tag: &str,
        include: &LayerSelection,
        out: &mut dyn Write,
    ) -> Result<(), ImageError> {
        let _ = (tag, include, out);
        todo!("readers follow")
    }
}
