//! Reads local images of every kind and streams them as archives that any `docker load` takes.
//!
//! An [`Image`] is opened from a [`Source`]; that reads metadata only, except where the bytes must
//! be seen to know them (a compressed file, a zstd layer, a bare file system). What is inside an
//! archive is found by position in the file: nothing is ever extracted under a name that an archive
//! chose, and memory does not grow with the image.

mod archive;
mod contents;
mod daemon;
mod docker;
mod fetch;
mod identities;
mod names;
mod oci;
mod programs;
mod rootfs;

use std::sync::{Mutex, OnceLock};

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

pub(crate) use self::contents::Contents;
use self::daemon::{Engine, Reference};
use self::fetch::{Fetch, From, is_dear, open_file};
use self::identities::IdentityCache;
use crate::{
    cache::LayerCache,
    compress::Encoding,
    error::ImageError,
    files::ScratchDir,
    layer::LayerBytes,
    platform::Platform,
    work::{Work, WorkProgress},
};
use o3r_core::digest::Digest;

/// Where a local image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file: `docker save` or OCI archive, plain or compressed with gzip, zstd, xz or bzip2.
    Archive(Utf8PathBuf),
    /// An image of this machine's docker, by any name that docker takes.
    Engine(String),
    /// A bare file system, wrapped into an image.
    Rootfs(Rootfs),
}

/// A tar of a file system (`docker build -o type=tar`) and how to start what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rootfs {
    /// The tar, plain or compressed with gzip, zstd, xz or bzip2.
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

/// A local image, opened: what it is, and where its bytes are. An [`ImageSender`](crate::ImageSender) sends it.
#[derive(Debug)]
pub struct Image {
    identity: Identity,
    bytes: Bytes,
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

impl Image {
    /// Opens the image `name` of `source`, for `platform`.
    ///
    /// An archive with one image is that image, whatever it is called; `name` chooses among several.
    /// Blocks. A file that is compressed as a whole is unpacked into `scratch`; of an engine's image
    /// only the identity is asked for, unless its store does not know it (containerd's): then it is saved.
    pub fn open(
        source: &Source,
        name: &str,
        platform: &Platform,
        scratch: &ScratchDir,
    ) -> Result<Self, ImageError> {
        match source {
            Source::Engine(image) => {
                Self::open_engine(Engine::default(), image, platform, scratch, None)
            }
            file => open_file(file, name, platform, scratch).map(Self::ready),
        }
    }

    /// Opens it; a file that has to be read to the end for that, or an engine's image that has to be saved, only when
    /// its bytes are needed and it is not the one of the last time.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open_remembered(
        source: &Source,
        name: &str,
        platform: &Platform,
        cache: &LayerCache,
    ) -> Result<Self, ImageError> {
        let scratch = &cache.scratch();
        if let Source::Engine(image) = source {
            let engine = Engine::default();
            return Self::open_engine(engine, image, platform, scratch, Some(cache));
        }
        let index = IdentityCache::new(cache.dir());
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
            seen.keep(&image.identity);
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
        }
    }

    fn open_engine(
        engine: Engine,
        image: &str,
        platform: &Platform,
        scratch: &ScratchDir,
        cache: Option<&LayerCache>,
    ) -> Result<Self, ImageError> {
        let inspected = engine.inspect(image)?;
        let id = inspected.id();
        let index = cache.map(|cache| IdentityCache::new(cache.dir()));
        if let (Some(id), Some(index)) = (id, &index)
            && let Some(identity) = index.find_stored(id, platform)
        {
            let reference = Reference::Name(image.to_owned());
            return Ok(Self::later(
                identity,
                From::Engine(engine, reference),
                scratch,
            ));
        }
        let config_digest = id.filter(|_| !inspected.diff_ids().is_empty());
        let Some(config_digest) = config_digest.filter(|_| engine.has_classic_store()) else {
            let opened = Self::ready(engine.save(image, platform, scratch, &|_| {})?);
            // The name may have moved on meanwhile.
            if let (Some(id), Some(cache), Some(index)) = (id, cache, index)
                && engine.inspect(image)?.id() == Some(id)
            {
                index.keep_stored(id, platform, &opened.identity);
                opened.keep(cache);
            }
            return Ok(opened);
        };
        if !inspected.platform().fits(platform) {
            return Err(ImageError::WrongPlatform {
                origin: daemon::origin(image),
                found: vec![inspected.platform()],
                wanted: platform.clone(),
            });
        }
        let identity = Identity {
            config_digest,
            platform: inspected.platform().or(platform),
            repo_tags: inspected.repo_tags().to_vec(),
            diff_ids: inspected.diff_ids().to_vec(),
            estimate: inspected.size(),
        };
        let from = From::Engine(engine, Reference::Id(config_digest));
        Ok(Self::later(identity, from, scratch))
    }

    /// Keeps all that is at hand for the next time: saving it again would take as long.
    fn keep(&self, cache: &LayerCache) {
        let Some(contents) = self.at_hand() else {
            return;
        };
        if let Err(error) = cache.add_config(&contents.config) {
            tracing::warn!(%error, "the layer cache cannot be written");
        }
        for layer in contents.by_diff_id().into_values() {
            cache.keep_stored(layer, &contents.origin);
        }
    }

    /// The bytes, fetched at the first call.
    pub(crate) fn contents(&self) -> Result<&Contents, ImageError> {
        self.contents_while(&|_| {})
    }

    /// The same, telling how far that is.
    pub(crate) fn contents_while(
        &self,
        progress: &dyn Fn(WorkProgress),
    ) -> Result<&Contents, ImageError> {
        match &self.bytes {
            Bytes::Here(contents) => Ok(contents),
            Bytes::Later(fetch) => fetch.contents(&self.identity, &|done| {
                let total = self.identity.estimate;
                progress(WorkProgress {
                    work: Work::Fetching,
                    done,
                    total,
                });
            }),
        }
    }

    /// The bytes if they are at hand.
    pub(crate) fn at_hand(&self) -> Option<&Contents> {
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

    /// Bytes of all files, as far as docker says, or of all layers.
    pub(crate) fn estimate(&self) -> u64 {
        self.identity.estimate
    }

    /// What identifies the layers, lowest first; one may occur twice.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.identity.diff_ids
    }

    /// The exact bytes of the configuration; runs `docker save` for an engine's image.
    pub fn config(&self) -> Result<&[u8], ImageError> {
        self.contents().map(|contents| contents.config.as_slice())
    }

    /// Fetches what is needed to send: runs `docker save` into scratch for an engine's image, once.
    ///
    /// Not necessary before [`ImageSender::write_archive`](crate::ImageSender::write_archive), but sizes are exact after it.
    pub fn prepare(&self) -> Result<(), ImageError> {
        self.contents().map(|_| ())
    }

    /// Whether [`ImageSender::archive_len`](crate::ImageSender::archive_len) and the layers' sizes are exact.
    pub fn is_prepared(&self) -> bool {
        self.at_hand().is_some()
    }

    /// Whether a layer can be sent from where it is, because it costs no more to get next time.
    pub(crate) fn is_cheap(&self, layer: &LayerBytes) -> bool {
        let bare = match &self.bytes {
            Bytes::Later(fetch) => matches!(fetch.from, From::File(Source::Rootfs(_), ..)),
            Bytes::Here(_) => false,
        };
        layer.encoding == Encoding::Plain && (bare || self.is_plain_here(&layer.diff_id))
    }

    /// Whether a layer is in a file here, uncompressed.
    pub(crate) fn is_plain_here(&self, diff_id: &Digest) -> bool {
        let Bytes::Here(contents) = &self.bytes else {
            return false;
        };
        let mut layers = contents.layers.iter();
        layers.any(|layer| layer.diff_id == *diff_id && layer.encoding == Encoding::Plain)
    }
}
