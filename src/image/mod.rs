//! Reads local images of every kind and streams them as archives that any `docker load` takes.
//!
//! An [`Image`] is opened from a [`Source`]; that reads metadata only, except where the bytes must
//! be seen to know them (a compressed file, a zstd layer, a bare file system). What is inside an
//! archive is found by position in the file: nothing is ever extracted under a name that an archive
//! chose, and memory does not grow with the image.

mod archive;
mod cache;
mod compress;
mod contents;
mod copying;
mod deflate;
mod delta;
mod docker;
mod engine;
mod error;
mod frames;
mod index;
mod names;
mod oci;
mod packing;
mod platform;
mod rootfs;
mod scratch;
mod send;
mod slice;
mod tarindex;
mod tarwalk;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

pub use self::cache::LayerCache;
use self::compress::Encoding;
use self::contents::{Contents, LayerBytes};
use self::copying::Copying;
pub use self::delta::{Base, Grain, Offer, Reach};
use self::engine::Engine;
pub use self::error::ImageError;
pub use self::index::ImageIndex;
pub use self::packing::Packing;
pub use self::platform::Platform;
pub use self::scratch::ScratchDir;
pub use self::send::{LayerSelection, LayerSpan, PART_REPOSITORY, Part};
use self::slice::Slice;
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
    /// Bytes as they are sent; not known for an engine's image before [`Image::prepare`].
    pub size: Option<u64>,
    /// Bytes of its uncompressed tar, where that is known without reading it.
    pub unpacked: Option<u64>,
}

/// How far [`Image::prepare_layers`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepared {
    /// The layer that is being compressed.
    pub diff_id: Digest,
    /// Its bytes that are done.
    pub done: u64,
    /// All its bytes.
    pub total: u64,
}

/// A local image, opened.
#[derive(Debug)]
pub struct Image {
    identity: Identity,
    bytes: Bytes,
    ready: Mutex<Ready>,
    copying: Copying,
}

/// What is ready to be sent without asking the source.
#[derive(Debug, Default)]
struct Ready {
    config: Option<Vec<u8>>,
    /// Whether archives are zstd files.
    framed: bool,
    /// Where what is sent is kept.
    cache: Option<LayerCache>,
    layers: BTreeMap<Digest, LayerBytes>,
    /// Layers that the cache had and that were damaged: should it not be possible to remove them, they are passed over.
    distrusted: BTreeSet<Digest>,
    /// Deltas by the digest of their bytes.
    deltas: BTreeMap<Digest, Slice>,
}

/// Where an image's bytes are.
#[derive(Debug)]
enum Bytes {
    /// In a file that is open.
    Here(Contents),
    /// With the engine, or in a file that was looked into before, until they are needed.
    Later(Box<Fetch>),
}

/// What is known of an image without its bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Identity {
    config_digest: Digest,
    platform: Platform,
    repo_tags: Vec<String>,
    diff_ids: Vec<Digest>,
    /// Bytes of all files, as far as docker says, or of all layers.
    estimate: u64,
}

/// Gets an image's bytes once, whoever asks first.
#[derive(Debug)]
struct Fetch {
    from: From,
    scratch: ScratchDir,
    running: Mutex<()>,
    fetched: OnceLock<Contents>,
}

impl Fetch {
    fn contents(&self, identity: &Identity) -> Result<&Contents, ImageError> {
        // A poisoned lock only means that another thread failed to fetch.
        let _running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(contents) = self.fetched.get() {
            return Ok(contents);
        }
        let Identity {
            config_digest,
            platform,
            ..
        } = identity;
        let contents = match &self.from {
            From::Engine(engine) => engine.save_id(*config_digest, platform, &self.scratch)?,
            From::File(source, name, wanted) => {
                let contents = open_file(source, name, wanted, &self.scratch)?;
                let part = "the image's configuration";
                let found = contents.config_digest;
                contents::check(&contents.origin, part, *config_digest, found)?;
                contents
            }
        };
        Ok(self.fetched.get_or_init(|| contents))
    }
}

/// Where the bytes are that were not read so far.
#[derive(Debug)]
enum From {
    Engine(Engine),
    File(Source, String, Platform),
}

/// Opens an image that is in a file.
fn open_file(
    source: &Source,
    name: &str,
    platform: &Platform,
    scratch: &ScratchDir,
) -> Result<Contents, ImageError> {
    match source {
        Source::Archive(path) => archive::open(path, name, platform, scratch),
        Source::Rootfs(rootfs) => rootfs::open(rootfs, platform),
        Source::Engine(image) => Engine::default().save(image, platform, scratch),
    }
}

/// Whether opening it reads all of it: then what was found is remembered.
fn is_dear(source: &Source, contents: &Contents) -> bool {
    let is_packed = |path| {
        let file = archive::open_file(path).and_then(|file| archive::format(&file, ""));
        file.is_ok_and(|encoding| encoding != Encoding::Plain)
    };
    let mut layers = contents.layers.iter();
    match source {
        Source::Rootfs(_) => true,
        Source::Archive(path) => {
            is_packed(path) || layers.any(|layer| layer.encoding == Encoding::Zstd)
        }
        Source::Engine(_) => false,
    }
}

impl Image {
    /// Opens the image `name` of `source`, for `platform`.
    ///
    /// An archive with one image is that image, whatever it is called; `name` chooses among several.
    /// Blocks. A file that is compressed as a whole is unpacked into `scratch`; of an engine's image
    /// only the identity is asked for, unless its store does not know it (containerd's).
    pub fn open(
        source: &Source,
        name: &str,
        platform: &Platform,
        scratch: &ScratchDir,
    ) -> Result<Self, ImageError> {
        match source {
            Source::Engine(image) => Self::open_engine(Engine::default(), image, platform, scratch),
            file => open_file(file, name, platform, scratch).map(Self::ready),
        }
    }

    /// Opens it; a file that has to be read to the end for that, only when its bytes are needed and it is not
    /// the one of the last time.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open_remembered(
        source: &Source,
        name: &str,
        platform: &Platform,
        scratch: &ScratchDir,
        index: &ImageIndex,
    ) -> Result<Self, ImageError> {
        let seen = match index.find(source, name, platform) {
            Ok(identity) => {
                let from = From::File(source.clone(), name.to_owned(), platform.clone());
                return Ok(Self::later(identity, from, scratch));
            }
            Err(seen) => seen,
        };
        let image = Self::open(source, name, platform, scratch)?;
        if let (Some(seen), Bytes::Here(contents)) = (seen, &image.bytes)
            && is_dear(source, contents)
        {
            index.keep(seen, &image.identity);
        }
        Ok(image)
    }

    fn later(identity: Identity, from: From, scratch: &ScratchDir) -> Self {
        let fetch = Fetch {
            from,
            scratch: scratch.clone(),
            running: Mutex::new(()),
            fetched: OnceLock::new(),
        };
        Self {
            identity,
            bytes: Bytes::Later(Box::new(fetch)),
            ready: Mutex::default(),
            copying: Copying::default(),
        }
    }

    fn ready(contents: Contents) -> Self {
        let identity = Identity {
            config_digest: contents.config_digest,
            platform: contents.platform.clone(),
            repo_tags: contents.repo_tags.clone(),
            diff_ids: contents.layers.iter().map(|layer| layer.diff_id).collect(),
            estimate: contents.layers.iter().map(|layer| layer.size).sum(),
        };
        Self {
            identity,
            bytes: Bytes::Here(contents),
            ready: Mutex::default(),
            copying: Copying::default(),
        }
    }

    fn open_engine(
        engine: Engine,
        image: &str,
        platform: &Platform,
        scratch: &ScratchDir,
    ) -> Result<Self, ImageError> {
        let inspected = engine.inspect(image)?;
        let Some(config_digest) = inspected.id().filter(|_| !inspected.diff_ids().is_empty())
        else {
            return engine.save(image, platform, scratch).map(Self::ready);
        };
        if !engine.has_classic_store()? {
            return engine.save(image, platform, scratch).map(Self::ready);
        }
        if !inspected.platform().fits(platform) {
            return Err(ImageError::WrongPlatform {
                origin: engine::origin(image),
                found: vec![inspected.platform()],
                wanted: platform.clone(),
            });
        }
        let identity = Identity {
            config_digest,
            platform: inspected.platform(),
            repo_tags: inspected.repo_tags().to_vec(),
            diff_ids: inspected.diff_ids().to_vec(),
            estimate: inspected.size(),
        };
        Ok(Self::later(identity, From::Engine(engine), scratch))
    }

    /// The bytes, fetched at the first call.
    fn contents(&self) -> Result<&Contents, ImageError> {
        match &self.bytes {
            Bytes::Here(contents) => Ok(contents),
            Bytes::Later(fetch) => fetch.contents(&self.identity),
        }
    }

    /// The bytes if they are at hand.
    fn at_hand(&self) -> Option<&Contents> {
        match &self.bytes {
            Bytes::Here(contents) => Some(contents),
            Bytes::Later(fetch) => fetch.fetched.get(),
        }
    }

    /// The digest of the configuration: what identifies the image everywhere.
    pub fn config_digest(&self) -> Digest {
        self.identity.config_digest
    }

    /// What the image runs on.
    pub fn platform(&self) -> &Platform {
        &self.identity.platform
    }

    /// The names found with the image.
    pub fn repo_tags(&self) -> &[String] {
        &self.identity.repo_tags
    }

    fn ready_parts(&self) -> MutexGuard<'_, Ready> {
        // What is in it is whole whenever it is seen.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The layers, lowest first; one diff id may occur twice.
    pub fn layers(&self) -> Vec<Layer> {
        let ready = self.ready_parts();
        let here = self.at_hand().map(Contents::by_diff_id).unwrap_or_default();
        let layer = |diff_id: &Digest| {
            let ready = ready.layers.get(diff_id);
            let bytes = ready.or_else(|| here.get(diff_id).copied());
            Layer {
                diff_id: *diff_id,
                size: bytes.map(|bytes| bytes.size),
                unpacked: bytes.and_then(|bytes| bytes.unpacked),
            }
        };
        self.identity.diff_ids.iter().map(layer).collect()
    }

    /// Makes these layers ready to be sent: packed as wanted, from the cache where it has them. Runs
    /// `docker save` for an engine's image only if the cache lacks one. Blocks.
    ///
    /// # Errors
    /// The source cannot be read, or a layer is not what it should be. A cache that cannot be
    /// written is no error: then the layers are sent as they are.
    pub fn prepare_layers(
        &self,
        wanted: &BTreeSet<Digest>,
        cache: &LayerCache,
        packing: Packing,
        progress: &dyn Fn(Prepared),
    ) -> Result<(), ImageError> {
        {
            let mut ready = self.ready_parts();
            ready.cache = Some(cache.clone());
            ready.framed = packing.is_zstd();
        }
        let mut missing = vec![];
        let done = |diff_id: &Digest| {
            self.ready_parts().layers.contains_key(diff_id)
                || packing == Packing::Plain && self.is_plain_here(diff_id)
        };
        for diff_id in wanted.iter().filter(|diff_id| !done(diff_id)) {
            let distrusted = self.ready_parts().distrusted.contains(diff_id);
            match cache.layer(*diff_id, packing) {
                Some(layer) if !distrusted => self.make_ready(layer),
                _ => missing.push((*diff_id, distrusted)),
            }
        }
        self.prepare_config(cache)?;
        for (diff_id, distrusted) in missing {
            let plain = cache.plain(diff_id).filter(|_| !distrusted);
            if let Some(layer) = plain {
                match self.pack(&layer, "the layer cache", cache, packing, progress) {
                    Ok(()) => continue,
                    Err(_) => layer.cached.iter().for_each(|path| cache::discard(path)),
                }
            }
            let contents = self.contents()?;
            let mut layers = contents.layers.iter();
            if let Some(layer) = layers.find(|layer| layer.diff_id == diff_id) {
                self.pack(layer, &contents.origin, cache, packing, progress)?;
            }
        }
        Ok(())
    }

    /// Has the bytes of these layers at hand, and the configuration: runs `docker save` for an engine's image only
    /// if the cache lacks one. Blocks.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn fetch_layers(
        &self,
        wanted: &BTreeSet<Digest>,
        cache: &LayerCache,
    ) -> Result<(), ImageError> {
        let is_there = |diff_id: &Digest| {
            self.ready_parts().layers.contains_key(diff_id)
                || cache.layer(*diff_id, Packing::Plain).is_some()
        };
        if !wanted.iter().all(is_there) {
            self.contents()?;
        }
        self.prepare_config(cache)
    }

    /// Makes a layer ready whose bytes are at hand.
    fn pack(
        &self,
        layer: &LayerBytes,
        origin: &str,
        cache: &LayerCache,
        packing: Packing,
        progress: &dyn Fn(Prepared),
    ) -> Result<(), ImageError> {
        let told = |done| {
            progress(Prepared {
                diff_id: layer.diff_id,
                done,
                total: layer.unpacked.unwrap_or(layer.size),
            });
        };
        match packing.level() {
            _ if layer.encoding == Encoding::Gzip => self.make_ready(layer.clone()),
            Some(_) if packing.is_zstd() && layer.encoding == Encoding::Zstd => {
                self.make_ready(layer.clone());
            }
            Some(level) => match cache.add(layer, origin, level, &told) {
                Ok(layer) => self.make_ready(layer),
                Err(error @ ImageError::Scratch { .. }) => {
                    tracing::warn!(%error, "the layer cache cannot be written");
                    self.make_ready(layer.clone());
                }
                Err(error) => return Err(error),
            },
            None => {
                if !self.is_cheap(layer) {
                    self.copying.copy(cache.clone(), layer.clone(), origin);
                }
                self.make_ready(layer.clone());
            }
        }
        Ok(())
    }

    /// Takes the configuration from the cache, and from the source, into the cache, where it lacks it.
    fn prepare_config(&self, cache: &LayerCache) -> Result<(), ImageError> {
        if self.ready_parts().config.is_some() {
            return Ok(());
        }
        let known = cache.config(self.config_digest());
        if known.is_some() {
            self.ready_parts().config = known;
            return Ok(());
        }
        let config = &self.contents()?.config;
        if let Err(error) = cache.add_config(config) {
            tracing::warn!(%error, "the layer cache cannot be written");
        }
        self.ready_parts().config = Some(config.clone());
        Ok(())
    }

    /// Whether a layer that was got can be sent from where it is, for it is no dearer next time.
    fn is_cheap(&self, layer: &LayerBytes) -> bool {
        let bare = match &self.bytes {
            Bytes::Later(fetch) => matches!(fetch.from, From::File(Source::Rootfs(_), ..)),
            Bytes::Here(_) => false,
        };
        layer.encoding == Encoding::Plain && (bare || self.is_plain_here(&layer.diff_id))
    }

    /// Whether a layer is in a file here, uncompressed.
    fn is_plain_here(&self, diff_id: &Digest) -> bool {
        let Bytes::Here(contents) = &self.bytes else {
            return false;
        };
        let mut layers = contents.layers.iter();
        layers.any(|layer| layer.diff_id == *diff_id && layer.encoding == Encoding::Plain)
    }

    fn make_ready(&self, layer: LayerBytes) {
        self.ready_parts().layers.insert(layer.diff_id, layer);
    }

    /// The exact bytes of the configuration; runs `docker save` for an engine's image.
    pub fn config(&self) -> Result<&[u8], ImageError> {
        self.contents().map(|contents| contents.config.as_slice())
    }

    /// Fetches what is needed to send: runs `docker save` into scratch for an engine's image, once.
    ///
    /// Not necessary before [`Image::write_archive`], but sizes are exact after it.
    pub fn prepare(&self) -> Result<(), ImageError> {
        self.contents().map(|_| ())
    }

    /// Whether [`Image::archive_len`] and the layers' sizes are exact.
    pub fn is_prepared(&self) -> bool {
        self.at_hand().is_some()
    }
}
