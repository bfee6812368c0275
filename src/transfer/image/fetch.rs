//! Fetches the bytes of an image of which only the identity was known.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::daemon::{Engine, Reference};
use super::{archive, rootfs};
use crate::compress::Encoding;
use crate::error::ImageError;
use crate::files::ScratchDir;
use crate::image::contents::Contents;
use crate::image::{Identity, Source};
use crate::layer;
use crate::platform::Platform;

/// Fetches an image's bytes once, for the first caller.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) from: From,
    pub(crate) scratch: ScratchDir,
    pub(crate) running: Mutex<()>,
    pub(crate) fetched: OnceLock<Contents>,
}

impl Fetch {
    pub(crate) fn contents(
        &self,
        identity: &Identity,
        saved: &dyn Fn(u64),
    ) -> Result<&Contents, ImageError> {
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
            From::Engine(engine, reference) => {
                engine.save_same(reference, *config_digest, platform, &self.scratch, saved)?
            }
            From::File(source, name, wanted) => {
                let contents = open_file(source, name, wanted, &self.scratch)?;
                let part = "the image's configuration";
                let found = contents.config_digest;
                layer::check(&contents.origin, part, *config_digest, found)?;
                contents
            }
        };
        Ok(self.fetched.get_or_init(|| contents))
    }
}

/// Where bytes are fetched from.
#[derive(Debug)]
pub(crate) enum From {
    Engine(Engine, Reference),
    File(Source, String, Platform),
}

/// Opens an image from a file.
pub(crate) fn open_file(
    source: &Source,
    name: &str,
    platform: &Platform,
    scratch: &ScratchDir,
) -> Result<Contents, ImageError> {
    match source {
        Source::Archive(path) => archive::open(path, name, platform, scratch),
        Source::Rootfs(rootfs) => rootfs::open(rootfs, platform, scratch),
        Source::Engine(image) => Engine::default().save(image, platform, scratch, &|_| {}),
    }
}

/// Whether opening the image reads all of it, so that its identity is worth caching.
pub(crate) fn is_dear(source: &Source, contents: &Contents) -> bool {
    let is_packed = |path| archive::open_file(path).is_ok_and(|file| archive::is_compressed(&file));
    let mut layers = contents.layers.iter();
    match source {
        Source::Rootfs(_) => true,
        Source::Archive(path) => {
            is_packed(path) || layers.any(|layer| layer.encoding == Encoding::Zstd)
        }
        Source::Engine(_) => false,
    }
}
