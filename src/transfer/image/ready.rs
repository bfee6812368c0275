//! Makes layers ready to be sent: from the cache, or packed into it.

use std::collections::{BTreeMap, BTreeSet};

use super::cache;
use super::compress::Encoding;
use super::contents::LayerBytes;
use super::fetch::From;
use super::slice::Slice;
use super::{Bytes, Image, ImageError, LayerCache, Making, Manner, Source, on_the_way};
use o3r_core::compression::{Codec, Compression};
use o3r_core::digest::Digest;

/// What takes a while before anything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The engine saves the image; it begins to write when it has it together.
    Fetching,
    /// The layer with this diff id is compressed.
    Compressing(Digest),
}

/// How far [`Image::prepare_layers`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkProgress {
    /// What is being done.
    pub work: Work,
    /// The bytes of it that are done.
    pub done: u64,
    /// All of them; about as many, of what is fetched.
    pub total: u64,
}

/// From this size on, in bytes, layers may be compressed while they are sent: of fewer that takes no tenth of a second.
const ON_THE_WAY_FROM: u64 = 16 << 20;

/// What is ready to be sent without asking the source.
#[derive(Debug, Default)]
pub(super) struct Ready {
    pub(super) config: Option<Vec<u8>>,
    /// What archives are wrapped into.
    pub(super) framing: Option<Codec>,
    /// Where what is sent is kept.
    pub(super) cache: Option<LayerCache>,
    pub(super) layers: BTreeMap<Digest, LayerBytes>,
    /// Layers that the cache had and that were damaged: should it not be possible to remove them, they are passed over.
    pub(super) distrusted: BTreeSet<Digest>,
    /// Deltas by the digest of their bytes.
    pub(super) deltas: BTreeMap<Digest, Slice>,
}

impl Image {
    /// Makes these layers ready to be sent: packed as wanted, from the cache where it has them. Runs
    /// `docker save` for an engine's image only if the cache lacks one. Blocks.
    ///
    /// # Errors
    /// The source cannot be read, or a layer is not what it should be. A cache that cannot be
    /// written is no error: then the layers are sent uncompressed.
    pub fn prepare_layers(
        &self,
        wanted: &BTreeSet<Digest>,
        cache: &LayerCache,
        making: impl Into<Making>,
        progress: &dyn Fn(WorkProgress),
    ) -> Result<(), ImageError> {
        let making = making.into();
        let compression = making.compression;
        let on_the_way = making.manner == Manner::OnTheWay;
        {
            let mut ready = self.ready_parts();
            ready.cache = Some(cache.clone());
            ready.framing = making.framing();
            // Those of a plan before that this one does not make so.
            let level = compression.filter(|_| on_the_way);
            ready.layers.retain(|diff_id, layer| {
                layer.on_the_way.is_none() || layer.on_the_way == level && wanted.contains(diff_id)
            });
        }
        let done = |diff_id: &Digest| {
            self.ready_parts().layers.contains_key(diff_id)
                || compression.is_none() && self.is_plain_here(diff_id)
        };
        let mut missing = vec![];
        for diff_id in wanted.iter().filter(|diff_id| !done(diff_id)) {
            let distrusted = self.ready_parts().distrusted.contains(diff_id);
            match cache.layer(*diff_id, compression) {
                Some(layer) if !distrusted => self.make_ready(layer),
                _ => missing.push((*diff_id, distrusted)),
            }
        }
        self.prepare_config(cache, progress)?;
        let mut from_source = BTreeSet::new();
        let mut found = vec![];
        for (diff_id, distrusted) in missing {
            match cache.unpacked_or_source(diff_id).filter(|_| !distrusted) {
                Some(layer) => found.push((layer, "the layer cache")),
                None => _ = from_source.insert(diff_id),
            }
        }
        if !from_source.is_empty() {
            let contents = self.contents_while(progress)?;
            let layers = contents.by_diff_id().into_values();
            let layers = layers.filter(|layer| from_source.contains(&layer.diff_id));
            found.extend(layers.map(|layer| (layer.clone(), contents.origin.as_str())));
        }
        let bytes: u64 = found.iter().map(|(layer, _)| layer.size).sum();
        let on_the_way = on_the_way && bytes >= ON_THE_WAY_FROM;
        for (layer, origin) in found {
            let packed = match compression {
                Some(level) if on_the_way && layer.encoding == Encoding::Plain => {
                    self.pack_on_the_way(&layer, origin, cache, level)
                }
                _ => self.pack(&layer, origin, cache, compression, progress),
            };
            if let (Err(error), Some(path)) = (&packed, &layer.cached) {
                // Then it is got from the source.
                tracing::debug!(%error, "a cached layer cannot be used");
                cache::discard(path);
                let contents = self.contents_while(progress)?;
                if let Some(layer) = contents.by_diff_id().get(&layer.diff_id) {
                    self.pack(layer, &contents.origin, cache, compression, progress)?;
                }
            } else {
                packed?;
            }
        }
        Ok(())
    }

    /// Whether all layers that are ready have the sizes that they are sent with; else one of them is compressed on the
    /// way.
    pub fn is_exact(&self) -> bool {
        let ready = self.ready_parts();
        ready
            .layers
            .values()
            .all(|layer| layer.on_the_way.is_none())
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
        progress: &dyn Fn(WorkProgress),
    ) -> Result<(), ImageError> {
        let is_there = |diff_id: &Digest| {
            self.ready_parts().layers.contains_key(diff_id) || cache.layer(*diff_id, None).is_some()
        };
        if !wanted.iter().all(is_there) {
            self.contents_while(progress)?;
        }
        self.prepare_config(cache, progress)
    }

    /// Makes an uncompressed layer ready that is to be compressed while it is sent, where that pays.
    fn pack_on_the_way(
        &self,
        layer: &LayerBytes,
        origin: &str,
        cache: &LayerCache,
        level: Compression,
    ) -> Result<(), ImageError> {
        match on_the_way::about(layer, origin, level)? {
            Some(size) => self.make_ready(LayerBytes {
                size,
                on_the_way: Some(level),
                ..layer.clone()
            }),
            None if layer.cached.is_some() => self.make_ready(layer.clone()),
            None => self.pack(layer, origin, cache, None, &|_| {})?,
        }
        Ok(())
    }

    /// Makes a layer ready whose bytes are at hand.
    fn pack(
        &self,
        layer: &LayerBytes,
        origin: &str,
        cache: &LayerCache,
        compression: Option<Compression>,
        progress: &dyn Fn(WorkProgress),
    ) -> Result<(), ImageError> {
        let told = |done| {
            progress(WorkProgress {
                work: Work::Compressing(layer.diff_id),
                done,
                total: layer.unpacked.unwrap_or(layer.size),
            });
        };
        match compression {
            _ if layer.encoding == Encoding::Gzip => self.make_ready(layer.clone()),
            Some(Compression {
                codec: Codec::Zstd, ..
            }) if layer.encoding == Encoding::Zstd => {
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
    fn prepare_config(
        &self,
        cache: &LayerCache,
        progress: &dyn Fn(WorkProgress),
    ) -> Result<(), ImageError> {
        if self.ready_parts().config.is_some() {
            return Ok(());
        }
        let known = cache.config(self.config_digest());
        if known.is_some() {
            self.ready_parts().config = known;
            return Ok(());
        }
        let config = &self.contents_while(progress)?.config;
        if let Err(error) = cache.add_config(config) {
            tracing::warn!(%error, "the layer cache cannot be written");
        }
        self.ready_parts().config = Some(config.clone());
        Ok(())
    }

    /// Whether a layer that was got can be sent from where it is, for it is no dearer next time.
    pub(super) fn is_cheap(&self, layer: &LayerBytes) -> bool {
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
}
