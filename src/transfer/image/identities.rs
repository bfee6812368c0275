//! Caches the identity of images that are expensive to open: compressed files, zstd layers and bare
//! file systems must be read to the end.
//!
//! Likewise for engine images that must be saved to learn their identity.
//!
//! `images/KEY.json` in the cache directory has the identity for a source, name and platform, and
//! identifies the file by numbers that change with every change to it: device, inode, size,
//! modification and change time. Content is still verified when it is sent, because it is looked up
//! by digest.

use std::{
    os::unix::fs::MetadataExt as _,
    time::{Duration, SystemTime},
};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::documents;
use crate::image::{Identity, Source};
use crate::platform::Platform;
use o3r_core::digest::Digest;

/// A file that changed less than this ago may change again within one tick of its clock.
const SETTLED: Duration = Duration::from_secs(2);

/// The most entries that are kept; each has some kilobytes.
const MOST: usize = 200;

/// The cache of identities.
#[derive(Debug, Clone)]
pub(crate) struct IdentityCache {
    dir: Utf8PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    file: FileId,
    image: Identity,
}

/// Identifies a file and its version.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileId {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileId {
    fn of(path: &Utf8Path) -> Option<Self> {
        let metadata = path.metadata().ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().saturating_sub(SETTLED).as_secs();
        let last = self.modified.0.max(self.changed.0);
        u64::try_from(last).is_ok_and(|last| last < now)
    }
}

/// A file's state before it was read.
#[derive(Debug)]
pub(crate) struct Seen {
    path: Utf8PathBuf,
    file: FileId,
}

impl Seen {
    /// Caches the identity of the image in the file.
    pub(crate) fn keep(self, image: &Identity) {
        if !self.file.is_settled() {
            return;
        }
        let entry = Entry {
            file: self.file,
            image: image.clone(),
        };
        if let Err(error) = documents::write(&self.path, &entry, MOST) {
            tracing::warn!(%error, "the cache cannot be written");
        }
    }
}

impl IdentityCache {
    /// Uses `dir`, which need not exist yet.
    pub(crate) fn new(dir: impl Into<Utf8PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn entry_path(&self, source: &Source, name: &str, platform: &Platform) -> Utf8PathBuf {
        // The whole source: a bare file system's options are part of its image.
        let key = Digest::of(format!("{source:?}\n{name}\n{platform}"));
        self.dir.join("images").join(format!("{}.json", key.hex()))
    }

    /// Returns the cached identity if the file is unchanged; otherwise what is needed to cache it.
    pub(crate) fn find(
        &self,
        source: &Source,
        name: &str,
        platform: &Platform,
    ) -> Result<Identity, Option<Seen>> {
        let file = match source {
            Source::Archive(path) => path,
            Source::Rootfs(rootfs) => &rootfs.file,
            Source::Engine(_) => return Err(None),
        };
        let Some(file) = FileId::of(file) else {
            return Err(None);
        };
        let path = self.entry_path(source, name, platform);
        match documents::read::<Entry>(&path) {
            Some(entry) if entry.file == file => Ok(entry.image),
            _ => Err(Some(Seen { path, file })),
        }
    }

    fn stored_path(&self, id: Digest, platform: &Platform) -> Utf8PathBuf {
        let key = Digest::of(format!("engine {id}\n{platform}"));
        self.dir.join("images").join(format!("{}.json", key.hex()))
    }

    /// Returns the cached identity of an engine's image by ID and platform. In a containerd store,
    /// an ID is the digest of a manifest or an index, so its content never changes.
    pub(crate) fn find_stored(&self, id: Digest, platform: &Platform) -> Option<Identity> {
        documents::read(&self.stored_path(id, platform))
    }

    /// Caches the identity of a saved image.
    pub(crate) fn keep_stored(&self, id: Digest, platform: &Platform, image: &Identity) {
        if let Err(error) = documents::write(&self.stored_path(id, platform), image, MOST) {
            tracing::warn!(%error, "the cache cannot be written");
        }
    }
}
