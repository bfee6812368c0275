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
mod deflate;
mod delta;
mod docker;
mod engine;
mod error;
mod names;
mod oci;
mod platform;
mod rootfs;
mod scratch;
mod slice;
mod tarindex;
mod tarwalk;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use camino::Utf8PathBuf;

pub use self::cache::LayerCache;
use self::compress::Encoding;
use self::contents::{Contents, LayerBytes};
pub use self::deflate::Level;
pub use self::delta::{Base, Grain, Offer, Reach};
use self::engine::Engine;
pub use self::error::ImageError;
pub use self::platform::Platform;
pub use self::scratch::ScratchDir;
use self::slice::Slice;
use self::write::Parts;
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
    identity: Identity,
    bytes: Bytes,
    ready: Mutex<Ready>,
}

/// What is ready to be sent without asking the source.
#[derive(Debug, Default)]
struct Ready {
    config: Option<Vec<u8>>,
    layers: BTreeMap<Digest, LayerBytes>,
    /// Deltas by the digest of their bytes.
    deltas: BTreeMap<Digest, Slice>,
}

/// Where an image's bytes are.
#[derive(Debug)]
enum Bytes {
    /// In a file that is open.
    Here(Contents),
    /// With the engine, until they are needed.
    Engine(Fetch),
}

/// What is known of an image without its bytes.
#[derive(Debug)]
struct Identity {
    config_digest: Digest,
    platform: Platform,
    repo_tags: Vec<String>,
    diff_ids: Vec<Digest>,
    /// Bytes of all files, as far as docker says.
    estimate: u64,
}

/// Saves an image of the engine once, whoever asks first.
#[derive(Debug)]
struct Fetch {
    engine: Engine,
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
        let contents = self
            .engine
            .save_id(*config_digest, platform, &self.scratch)?;
        Ok(self.fetched.get_or_init(|| contents))
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
            Source::Archive(path) => archive::open(path, name, platform, scratch).map(Self::ready),
            Source::Rootfs(rootfs) => rootfs::open(rootfs, platform).map(Self::ready),
            Source::Engine(image) => Self::open_engine(Engine::default(), image, platform, scratch),
        }
    }

    fn ready(contents: Contents) -> Self {
        let identity = Identity {
            config_digest: contents.config_digest,
            platform: contents.platform.clone(),
            repo_tags: contents.repo_tags.clone(),
            diff_ids: contents.layers.iter().map(|layer| layer.diff_id).collect(),
            estimate: 0,
        };
        Self {
            identity,
            bytes: Bytes::Here(contents),
            ready: Mutex::default(),
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
        let fetch = Fetch {
            engine,
            scratch: scratch.clone(),
            running: Mutex::new(()),
            fetched: OnceLock::new(),
        };
        Ok(Self {
            identity,
            bytes: Bytes::Engine(fetch),
            ready: Mutex::default(),
        })
    }

    /// The bytes, fetched from the engine at the first call.
    fn contents(&self) -> Result<&Contents, ImageError> {
        match &self.bytes {
            Bytes::Here(contents) => Ok(contents),
            Bytes::Engine(fetch) => fetch.contents(&self.identity),
        }
    }

    /// The bytes if they are at hand.
    fn at_hand(&self) -> Option<&Contents> {
        match &self.bytes {
            Bytes::Here(contents) => Some(contents),
            Bytes::Engine(fetch) => fetch.fetched.get(),
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
        let sizes = |diff_id: &Digest| {
            let bytes = ready
                .layers
                .get(diff_id)
                .or_else(|| here.get(diff_id).copied());
            bytes.map(|bytes| bytes.size)
        };
        let diff_ids = self.identity.diff_ids.iter();
        diff_ids
            .map(|diff_id| Layer {
                diff_id: *diff_id,
                size: sizes(diff_id),
            })
            .collect()
    }

    /// Makes these layers ready to be sent: compressed, from the cache where it has them. Runs
    /// `docker save` for an engine's image only if the cache lacks one. Blocks.
    ///
    /// # Errors
    /// The source cannot be read, or a layer is not what it should be. A cache that cannot be
    /// written is no error: then the layers are sent as they are.
    pub fn prepare_layers(
        &self,
        wanted: &BTreeSet<Digest>,
        cache: &LayerCache,
        level: Level,
        progress: &dyn Fn(Prepared),
    ) -> Result<(), ImageError> {
        let mut missing = vec![];
        let has = |diff_id: &Digest| self.ready_parts().layers.contains_key(diff_id);
        for diff_id in wanted.iter().filter(|diff_id| !has(diff_id)) {
            match cache.layer(*diff_id) {
                Some(layer) => self.make_ready(layer),
                None => missing.push(*diff_id),
            }
        }
        if self.ready_parts().config.is_none() {
            let config = cache.config(self.config_digest());
            self.ready_parts().config = config;
        }
        if missing.is_empty() && self.ready_parts().config.is_some() {
            return Ok(());
        }
        let contents = self.contents()?;
        if self.ready_parts().config.is_none() {
            if let Err(error) = cache.add_config(&contents.config) {
                tracing::warn!(%error, "the layer cache cannot be written");
            }
            self.ready_parts().config = Some(contents.config.clone());
        }
        let here = contents.by_diff_id();
        for diff_id in missing {
            let Some(layer) = here.get(&diff_id) else {
                continue;
            };
            if layer.encoding == Encoding::Gzip {
                self.make_ready((*layer).clone());
                continue;
            }
            let total = layer.unpacked.unwrap_or(layer.size);
            let told = |done| {
                progress(Prepared {
                    diff_id,
                    done,
                    total,
                });
            };
            match cache.add(layer, &contents.origin, level, &told) {
                Ok(layer) => self.make_ready(layer),
                Err(error @ ImageError::Scratch { .. }) => {
                    tracing::warn!(%error, "the layer cache cannot be written");
                    self.make_ready((*layer).clone());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
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

    /// How many bytes [`Image::write_archive`] writes: exact, except that it is an estimate from
    /// docker's image size for an engine's image before [`Image::prepare`].
    pub fn archive_len(&self, tag: &str, include: &LayerSelection) -> u64 {
        let ready = self.ready_parts();
        let here = self.at_hand();
        let config = ready
            .config
            .as_deref()
            .or_else(|| here.map(|c| c.config.as_slice()));
        let layers = merged(&ready, here);
        let diff_ids = &self.identity.diff_ids;
        let known = |diff_id: &&Digest| layers.contains_key(*diff_id) || !include.contains(diff_id);
        if let (Some(config), true) = (config, diff_ids.iter().all(|diff_id| known(&diff_id))) {
            let parts = Parts {
                origin: "",
                config,
                config_digest: self.config_digest(),
                diff_ids,
                layers,
            };
            return write::len(&parts, tag, include);
        }
        let selected = diff_ids
            .iter()
            .filter(|diff_id| include.contains(diff_id))
            .count();
        let share =
            u128::from(self.identity.estimate) * selected as u128 / (diff_ids.len().max(1) as u128);
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// Streams the image as `docker save` writes it, named `tag`, with the layers of `include`.
    ///
    /// The same image, tag and selection give the same bytes. Every layer is checked against its
    /// digest on the way; a mismatch ends the stream inside that layer, so that a loader which is
    /// handed the incomplete stream fails too. Memory does not grow with the image.
    pub fn write_archive(
        &self,
        tag: &str,
        include: &LayerSelection,
        out: &mut dyn Write,
    ) -> Result<(), ImageError> {
        let (config, layers) = {
            let ready = self.ready_parts();
            (ready.config.clone(), ready.layers.clone())
        };
        let diff_ids = &self.identity.diff_ids;
        let needed = |diff_id: &Digest| include.contains(diff_id);
        let mut parts = Parts {
            origin: "the layer cache",
            config: config.as_deref().unwrap_or_default(),
            config_digest: self.config_digest(),
            diff_ids,
            layers,
        };
        let mut diff_ids = diff_ids.iter().filter(|diff_id| needed(diff_id));
        if config.is_none() || !diff_ids.all(|diff_id| parts.layers.contains_key(diff_id)) {
            let contents = self.contents()?;
            parts.origin = &contents.origin;
            parts.config = &contents.config;
            parts.layers = merged(&self.ready_parts(), Some(contents));
        }
        write::write(&parts, tag, include, out)
    }
}

/// All layers whose bytes are known, those first that are ready.
fn merged(ready: &Ready, here: Option<&Contents>) -> BTreeMap<Digest, LayerBytes> {
    let mut layers = ready.layers.clone();
    for layer in here.iter().flat_map(|contents| &contents.layers) {
        layers.entry(layer.diff_id).or_insert_with(|| layer.clone());
    }
    layers
}
