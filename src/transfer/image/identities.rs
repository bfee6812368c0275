//! Remembers what is in files that are dear to open: compressed as a whole, with zstd layers, or bare
//! file systems, which all have to be read to the end.
//!
//! Likewise what an engine's image is that has to be saved for that.
//!
//! `images/KEY.json` in the cache directory says what was found for a source, name and platform, and which file it
//! was by the numbers that change with any change of a file: device, inode, size, times of change. What is not
//! read again is checked when it is sent, for it is found by digest.

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

/// Files that were changed less than this ago may be changed again within one tick of their clock.
const SETTLED: Duration = Duration::from_secs(2);

/// Most files that are remembered; each is some kilobytes.
const MOST: usize = 200;

/// The memory.
#[derive(Debug, Clone)]
pub(crate) struct IdentityCache {
    dir: Utf8PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    file: FileId,
    image: Identity,
}

/// What tells a file from all others, and from itself after a change.
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

/// A file as it was before it was read.
#[derive(Debug)]
pub(crate) struct Seen {
    path: Utf8PathBuf,
    file: FileId,
}

impl Seen {
    /// Remembers what was found in a file.
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
        // The whole source: a bare file system's image is made of its options, too.
        let key = Digest::of(format!("{source:?}\n{name}\n{platform}"));
        self.dir.join("images").join(format!("{}.json", key.hex()))
    }

    /// The image of this source as it was last time, if the file is still that one; what to remember it
    /// by, otherwise.
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

    /// The image for a platform in an engine's store that knows it by this id, as it was when it was saved: an id is
    /// the digest of a manifest, or of an index of those, which never changes.
    pub(crate) fn find_stored(&self, id: Digest, platform: &Platform) -> Option<Identity> {
        documents::read(&self.stored_path(id, platform))
    }

    /// Remembers what was saved.
    pub(crate) fn keep_stored(&self, id: Digest, platform: &Platform, image: &Identity) {
        if let Err(error) = documents::write(&self.stored_path(id, platform), image, MOST) {
            tracing::warn!(%error, "the cache cannot be written");
        }
    }
}
