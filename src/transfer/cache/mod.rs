//! Caches layers in the user's cache directory, so that none is compressed twice or exported from
//! this machine's docker twice, across VPUs and releases.
//!
//! `layers/` holds the layers, in files whose names describe their content (`name.rs`);
//! `layers/DIFF_ID.STORED_DIGEST.idx` lists the content of a layer that a delta was computed from.
//! `configs/DIGEST.json` holds an image's configuration. Files appear complete under their names,
//! and a process that has one open can read it to the end even after it is removed. So processes
//! share the directory without locks.

mod background;
mod name;

use std::{
    collections::BTreeSet,
    io::{self, Read as _, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use camino::{Utf8Path, Utf8PathBuf};

use self::background::{Background, Once};
use self::name::{Form, Name};
use crate::compress::{Encoding, deflate};
use crate::error::ImageError;
use crate::files::{ScratchDir, Slice};
use crate::layer::LayerBytes;
use crate::{compress, layer};
use o3r_core::compression::Compression;
use o3r_core::digest::{Digest, DigestWriter};

/// Largest configuration in bytes; real ones have some kilobytes, including labels and history.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;

/// The most bytes that the cache keeps: several releases of the largest applications that fit a
/// VPU, whose flash has 8 GB for the user.
const LIMIT: u64 = 8 << 30;

/// The cache. Clones share their state.
///
/// Some layers are copied in the background while the same bytes are sent: call
/// [`LayerCache::finish`] before the program ends.
#[derive(Debug, Clone)]
pub struct LayerCache {
    dir: Utf8PathBuf,
    limit: u64,
    background: Arc<Background>,
    /// Damaged files that could not be removed; they are ignored.
    distrusted: Arc<Mutex<BTreeSet<Utf8PathBuf>>>,
}

impl LayerCache {
    /// Uses `dir`, which need not exist yet.
    pub fn new(dir: impl Into<Utf8PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            limit: LIMIT,
            background: Arc::default(),
            distrusted: Arc::default(),
        }
    }

    /// Waits for the background work. Without this call, unfinished work is repeated next time.
    /// Blocks.
    pub fn finish(&self) {
        self.background.finish(self);
    }

    /// Copies a layer uncompressed in the background, as [`LayerCache::add_plain`].
    pub(crate) fn copy(&self, layer: &LayerBytes, origin: &str) {
        self.background.copy(self, layer, origin);
    }

    /// Copies a layer uncompressed in [`Self::finish`], if sending has not cached it by then.
    pub(crate) fn copy_unless_sent(&self, layer: &LayerBytes, origin: &str) {
        self.background.copy_unless_sent(layer, origin);
    }

    /// Caches a layer in the background, once, as [`LayerCache::add_stored`].
    pub(crate) fn keep_stored(&self, layer: &LayerBytes, origin: &str) {
        let (cache, layer, origin) = (self.clone(), layer.clone(), origin.to_owned());
        self.background.once(Once::Keep, layer.diff_id, move || {
            if let Err(error) = cache.add_stored(&layer, &origin) {
                tracing::warn!(%error, "the layer is not cached");
            }
        });
    }

    /// Lists a layer's content in the background, once.
    pub(crate) fn once_listed(&self, diff_id: Digest, list: impl FnOnce() + Send + 'static) {
        self.background.once(Once::List, diff_id, list);
    }

    /// Removes a file whose content does not match its name.
    pub(crate) fn discard(&self, path: &Utf8Path) {
        tracing::warn!(file = %path, "damaged, removed from the cache");
        match fs_err::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.distrusted().insert(path.to_owned());
            }
            _ => {}
        }
    }

    fn distrusted(&self) -> MutexGuard<'_, BTreeSet<Utf8PathBuf>> {
        let distrusted = self.distrusted.lock();
        distrusted.unwrap_or_else(PoisonError::into_inner)
    }

    /// The cache directory.
    pub fn dir(&self) -> &Utf8Path {
        &self.dir
    }

    /// Sets the most bytes that are kept.
    #[must_use]
    pub fn with_limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// The directory of the layers and their lists.
    pub(crate) fn layers(&self) -> Utf8PathBuf {
        self.dir.join("layers")
    }

    fn config_path(&self, digest: Digest) -> Utf8PathBuf {
        self.dir
            .join("configs")
            .join(format!("{}.json", digest.hex()))
    }

    /// Returns a layer in the form that is best to send. Readers verify the bytes, not this
    /// function: hashing a large image takes longer than preparing its first part.
    pub(crate) fn layer(
        &self,
        diff_id: Digest,
        packing: Option<Compression>,
    ) -> Option<LayerBytes> {
        self.first_of(diff_id, Form::wanted(packing))
    }

    /// The uncompressed size of a cached layer in bytes.
    pub fn unpacked(&self, diff_id: Digest) -> Option<u64> {
        self.layer(diff_id, None)?.unpacked
    }

    /// Returns a layer that was compressed with exactly this level.
    pub(crate) fn packed(&self, diff_id: Digest, level: Compression) -> Option<LayerBytes> {
        self.first_of(diff_id, &[Form::of(level)])
    }

    /// Returns a layer that is cached uncompressed or in its source's zstd form, and is still to be
    /// compressed.
    pub(crate) fn unpacked_or_source(&self, diff_id: Digest) -> Option<LayerBytes> {
        self.first_of(diff_id, &[Form::PlainTar, Form::SourceZstd])
    }

    fn first_of(&self, diff_id: Digest, forms: &[Form]) -> Option<LayerBytes> {
        let prefix = format!("{}.", diff_id.hex());
        let entries = self.layers().read_dir_utf8().ok()?;
        let mut found: Vec<(usize, Name, Utf8PathBuf)> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().starts_with(&prefix))
            .filter_map(|entry| {
                let name = Name::parse(entry.file_name())?;
                let rank = forms.iter().position(|form| *form == name.form)?;
                Some((rank, name, entry.into_path()))
            })
            .collect();
        found.retain(|(.., path)| !self.distrusted().contains(path));
        found.sort_by_key(|(rank, ..)| *rank);
        for (_, name, path) in found {
            match self.open(path, &name) {
                Ok(Some(layer)) => return Some(layer),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "a cached layer cannot be read"),
            }
        }
        None
    }

    fn open(&self, path: Utf8PathBuf, name: &Name) -> io::Result<Option<LayerBytes>> {
        let file = fs_err::File::open(&path)?.into_file();
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        // `prune` removes the least recently used first.
        let _ = file.set_modified(SystemTime::now());
        let stored = Slice::whole(file)?;
        let whole = match name.form.encoding() {
            Encoding::Plain => stored.len() == name.unpacked,
            _ => stored.len() > 0,
        };
        if !whole {
            self.discard(&path);
        }
        Ok(whole.then(|| name.bytes(stored, path)))
    }

    /// Compresses a layer into the cache, or copies it uncompressed if compression does not pay,
    /// and returns it from there. Calls `progress` with the bytes read so far.
    ///
    /// # Errors
    /// The layer cannot be read or does not match its diff ID; the cache cannot be written.
    pub(crate) fn add(
        &self,
        layer: &LayerBytes,
        origin: &str,
        level: Compression,
        progress: &dyn Fn(u64),
    ) -> Result<LayerBytes, ImageError> {
        let layers = self.layers();
        let failed = |source| ImageError::Scratch {
            dir: layers.clone(),
            source,
        };
        if layer.encoding == Encoding::Plain && layer::estimate(layer, origin, level)?.is_none() {
            return self.add_as(layer, origin, Form::Tar);
        }
        let file = self.layer_file().map_err(failed)?;
        let mut out = DigestWriter::new(file);
        let packed = layer::compress_to(layer, origin, level, &mut out, progress);
        let packed = packed.map_err(|error| match error {
            ImageError::Output { source } => failed(source),
            error => error,
        })?;
        let (file, stored, _) = out.finish();
        self.keep_packed(layer.diff_id, file, stored, &packed, level)
    }

    /// Compresses a layer to `out` and into the cache. If the cache cannot be written, only warns.
    ///
    /// # Errors
    /// The layer cannot be read or does not match its diff ID; `out` fails.
    pub(crate) fn add_while(
        &self,
        layer: &LayerBytes,
        origin: &str,
        level: Compression,
        out: &mut dyn Write,
    ) -> Result<(), ImageError> {
        let layers = self.layers();
        let file = self.layer_file().map(DigestWriter::new);
        let mut copying = Copying { out, file };
        let packed = layer::compress_to(layer, origin, level, &mut copying, &|_| {})?;
        let failed = |source| ImageError::Scratch {
            dir: layers.clone(),
            source,
        };
        let kept = copying.file.map_err(failed).and_then(|file| {
            let (file, stored, _) = file.finish();
            self.keep_packed(layer.diff_id, file, stored, &packed, level)
        });
        if let Err(error) = kept {
            tracing::warn!(%error, "the layer is not cached");
        }
        Ok(())
    }

    fn keep_packed(
        &self,
        diff_id: Digest,
        file: tempfile::NamedTempFile,
        stored: Digest,
        packed: &deflate::Packed,
        level: Compression,
    ) -> Result<LayerBytes, ImageError> {
        let name = Name {
            diff_id,
            stored,
            unpacked: packed.read,
            form: Form::of(level),
        };
        self.keep(file, &name)
    }

    /// Copies a layer uncompressed into the cache and returns it from there, for layers that are
    /// expensive to fetch again.
    ///
    /// # Errors
    /// As [`LayerCache::add`].
    pub(crate) fn add_plain(
        &self,
        layer: &LayerBytes,
        origin: &str,
    ) -> Result<LayerBytes, ImageError> {
        self.add_as(layer, origin, Form::PlainTar)
    }

    /// Copies a layer into the cache in the form its source has, unless the cache already has the
    /// layer in any form.
    ///
    /// # Errors
    /// As [`LayerCache::add`].
    pub(crate) fn add_stored(&self, layer: &LayerBytes, origin: &str) -> Result<(), ImageError> {
        let form = match layer.encoding {
            _ if self.layer(layer.diff_id, None).is_some() => return Ok(()),
            Encoding::Plain => return self.add_plain(layer, origin).map(drop),
            Encoding::Gzip => Form::SourceGzip,
            Encoding::Zstd => Form::SourceZstd,
        };
        let layers = self.layers();
        let failed = |source| ImageError::Scratch {
            dir: layers.clone(),
            source,
        };
        let part = format!("layer {}", layer.diff_id);
        let name = format!("{origin}: {part}");
        let (found, unpacked) = layer::measure(&layer.stored, layer.encoding, &name)?;
        layer::check(origin, &part, layer.diff_id, found)?;
        let mut out = DigestWriter::new(self.layer_file().map_err(failed)?);
        compress::copy_unpacked(&layer.stored, Encoding::Plain, &name, &mut out, failed)?;
        let (file, stored, _) = out.finish();
        let name = Name {
            diff_id: layer.diff_id,
            stored,
            unpacked,
            form,
        };
        self.keep(file, &name).map(drop)
    }

    fn add_as(
        &self,
        layer: &LayerBytes,
        origin: &str,
        form: Form,
    ) -> Result<LayerBytes, ImageError> {
        let layers = self.layers();
        let failed = |source| ImageError::Scratch {
            dir: layers.clone(),
            source,
        };
        let part = format!("layer {}", layer.diff_id);
        let mut out = DigestWriter::new(self.layer_file().map_err(failed)?);
        let name = format!("{origin}: {part}");
        compress::copy_unpacked(&layer.stored, layer.encoding, &name, &mut out, failed)?;
        let (file, found, unpacked) = out.finish();
        layer::check(origin, &part, layer.diff_id, found)?;
        let name = Name {
            diff_id: layer.diff_id,
            stored: layer.diff_id,
            unpacked,
            form,
        };
        self.keep(file, &name)
    }

    /// Creates a file for a new layer. Tags the cache directory for backup programs to skip: it may
    /// hold gigabytes.
    fn layer_file(&self) -> io::Result<tempfile::NamedTempFile> {
        let layers = self.layers();
        fs_err::create_dir_all(&layers)?;
        if let Err(error) = cachedir::ensure_tag(&self.dir) {
            tracing::debug!(%error, "the cache cannot be marked as one");
        }
        tempfile::NamedTempFile::new_in(&layers)
    }

    /// Renames a complete file to its name in the cache.
    fn keep(&self, file: tempfile::NamedTempFile, name: &Name) -> Result<LayerBytes, ImageError> {
        let layers = self.layers();
        let failed = |source| ImageError::Scratch {
            dir: layers.clone(),
            source,
        };
        let path = layers.join(name.text());
        let file = file.persist(&path).map_err(|error| failed(error.error))?;
        self.distrusted().remove(&path);
        self.prune(&path);
        Ok(name.bytes(Slice::whole(file).map_err(failed)?, path))
    }

    /// Returns an image's configuration.
    pub(crate) fn config(&self, digest: Digest) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = fs_err::File::open(self.config_path(digest)).ok()?;
        file.take(MAX_CONFIG).read_to_end(&mut bytes).ok()?;
        (Digest::of(&bytes) == digest).then_some(bytes)
    }

    /// Caches an image's configuration.
    pub(crate) fn add_config(&self, bytes: &[u8]) -> io::Result<()> {
        let path = self.config_path(Digest::of(bytes));
        let dir = path.parent().unwrap_or(&self.dir);
        fs_err::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.persist(&path).map(drop).map_err(|error| error.error)
    }

    /// The directory for temporary files.
    pub fn scratch(&self) -> ScratchDir {
        ScratchDir::new(self.dir.join("scratch"))
    }

    /// Removes the least recently used files until the rest fits the limit; never the one at `but`.
    pub(crate) fn prune(&self, but: &Utf8Path) {
        let Ok(entries) = self.layers().read_dir_utf8() else {
            return;
        };
        let mut files: Vec<(SystemTime, u64, Utf8PathBuf)> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.into_path()))
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, len, _)| len).sum();
        for (_, len, path) in files {
            if total <= self.limit {
                break;
            }
            if path == but {
                continue;
            }
            total -= len;
            let _ = fs_err::remove_file(path);
        }
    }
}

/// Writes to `out`, and to a file until that fails.
struct Copying<'a> {
    out: &'a mut dyn Write,
    file: io::Result<DigestWriter<tempfile::NamedTempFile>>,
}

impl Write for Copying<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Ok(file) = &mut self.file
            && let Err(error) = file.write_all(bytes)
        {
            self.file = Err(error);
        }
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_that_cannot_be_removed_is_ignored_until_it_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        let cache = LayerCache::new(&dir);
        let bytes = [0; 1024];
        let diff_id = Digest::of(bytes);
        let source = dir.join("layer.tar");
        fs_err::write(&source, bytes).unwrap();
        let stored = Slice::whole(fs_err::File::open(&source).unwrap().into_file()).unwrap();
        let layer = LayerBytes::new(diff_id, stored, None, "a file", "layer").unwrap();
        let path = cache.add_plain(&layer, "a file").unwrap().cached.unwrap();

        cache.distrusted().insert(path.clone());
        assert!(cache.layer(diff_id, None).is_none());
        assert!(
            cache.clone().layer(diff_id, None).is_none(),
            "a clone is the same cache"
        );
        cache.add_plain(&layer, "a file").unwrap();
        assert!(cache.layer(diff_id, None).is_some());
        cache.discard(&path);
        assert!(cache.layer(diff_id, None).is_none());
        assert!(cache.distrusted().is_empty(), "it could be removed");
    }
}
