//! Opens local images of every kind and locates their layers.
//!
//! An [`Image`] is opened from a [`Source`]. That reads only metadata, unless the content is needed
//! to identify the image (a compressed file, a zstd layer, a bare file system). Members of an
//! archive are located by their position in the file: nothing is extracted under a name from the
//! archive, and memory use does not grow with the image.

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

/// The source of a local image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file: `docker save` or OCI archive, plain or compressed with gzip, zstd, xz or bzip2.
    Archive(Utf8PathBuf),
    /// An image in this machine's docker, by any name that docker accepts.
    Engine(String),
    /// A bare file system, wrapped in an image.
    Rootfs(Rootfs),
}

/// The tar of a file system (`docker build -o type=tar`) and how to start a program in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rootfs {
    /// The tar, plain or compressed with gzip, zstd, xz or bzip2.
    pub file: Utf8PathBuf,
    /// Default arguments.
    pub cmd: Vec<String>,
    /// The program that is always run.
    pub entrypoint: Vec<String>,
    /// `NAME=value` pairs; a default `PATH` is added if there is none.
    pub env: Vec<String>,
    /// Working directory; `/` if `None`.
    pub working_dir: Option<String>,
    /// The user that runs the program; root if `None`.
    pub user: Option<String>,
}

/// An opened local image: its identity and where its bytes are. An
/// [`ImageSender`](crate::ImageSender) sends it.
#[derive(Debug)]
pub struct Image {
    identity: Identity,
    bytes: Bytes,
}

/// Where the bytes of an image are.
#[derive(Debug)]
enum Bytes {
    /// In an open file.
    Here(Contents),
    /// In the engine, or in a file whose identity is cached; fetched when they are needed.
    Later(Box<Fetch>),
}

/// What is known about an image without its bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Identity {
    config_digest: Digest,
    platform: Platform,
    repo_tags: Vec<String>,
    diff_ids: Vec<Digest>,
    /// Bytes of all files as docker reports them, or of all layers.
    estimate: u64,
}

impl Image {
    /// Opens the image `name` from `source` for `platform`.
    ///
    /// The only image of an archive is opened whatever its name; `name` selects one among several.
    /// Blocks. Unpacks a file that is compressed as a whole into `scratch`. Asks an engine only for
    /// the identity of an image; a containerd image store does not know it, so the image is saved.
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

    /// Opens the image from its cached identity, if possible. A file that must be read to the end,
    /// or an engine's image that must be saved, is then read only when its bytes are needed.
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
            // The name may refer to another image by now.
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

    /// Caches everything that is available: saving it again would take as long as the first time.
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

    /// Returns the content, fetched by the first call.
    pub(crate) fn contents(&self) -> Result<&Contents, ImageError> {
        self.contents_while(&|_| {})
    }

    /// As [`Image::contents`]; reports the progress.
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

    /// Returns the content if it has been fetched.
    pub(crate) fn at_hand(&self) -> Option<&Contents> {
        match &self.bytes {
            Bytes::Here(contents) => Some(contents),
            Bytes::Later(fetch) => fetch.fetched.get(),
        }
    }

    /// The digest of the configuration, which identifies the image everywhere.
    pub fn config_digest(&self) -> Digest {
        self.identity.config_digest
    }

    /// The platform that the image is built for.
    pub fn platform(&self) -> &Platform {
        &self.identity.platform
    }

    /// The names that the source has for the image.
    pub fn repo_tags(&self) -> &[String] {
        &self.identity.repo_tags
    }

    /// Bytes of all files as docker reports them, or of all layers.
    pub(crate) fn estimate(&self) -> u64 {
        self.identity.estimate
    }

    /// The diff IDs of the layers, lowest first; one may occur twice.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.identity.diff_ids
    }

    /// The configuration, byte for byte. Runs `docker save` for an engine's image.
    pub fn config(&self) -> Result<&[u8], ImageError> {
        self.contents().map(|contents| contents.config.as_slice())
    }

    /// Fetches what sending needs: runs `docker save` into the scratch directory for an engine's
    /// image, once.
    ///
    /// [`ImageSender::write_archive`](crate::ImageSender::write_archive) does not require it, but
    /// sizes are exact after it.
    pub fn prepare(&self) -> Result<(), ImageError> {
        self.contents().map(|_| ())
    }

    /// Whether [`ImageSender::archive_len`](crate::ImageSender::archive_len) and the layers' sizes are exact.
    pub fn is_prepared(&self) -> bool {
        self.at_hand().is_some()
    }

    /// Whether a layer can be sent directly from its source, because reading it again costs no more
    /// than a cached copy.
    pub(crate) fn is_cheap(&self, layer: &LayerBytes) -> bool {
        let bare = match &self.bytes {
            Bytes::Later(fetch) => matches!(fetch.from, From::File(Source::Rootfs(_), ..)),
            Bytes::Here(_) => false,
        };
        layer.encoding == Encoding::Plain && (bare || self.is_plain_here(&layer.diff_id))
    }

    /// Whether a layer is uncompressed in an open file.
    pub(crate) fn is_plain_here(&self, diff_id: &Digest) -> bool {
        let Bytes::Here(contents) = &self.bytes else {
            return false;
        };
        let mut layers = contents.layers.iter();
        layers.any(|layer| layer.diff_id == *diff_id && layer.encoding == Encoding::Plain)
    }
}
