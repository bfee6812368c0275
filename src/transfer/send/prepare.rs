//! Prepares an image's layers for one VPU: finds them in the cache, or compresses them into it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cache::LayerCache;
use crate::compress::Encoding;
use crate::error::ImageError;
use crate::files::Slice;
use crate::image::Contents;
use crate::image::Image;
use crate::layer::LayerBytes;
use crate::send::{Making, Manner};
use crate::work::{Work, WorkProgress};
use crate::{layer, load_archive};
use o3r_core::compression::{Codec, Compression};
use o3r_core::digest::Digest;

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the layer's uncompressed tar.
    pub diff_id: Digest,
    /// Bytes to send, exact or estimated ([`ImageSender::is_exact`]); unknown for an engine's image
    /// before [`Image::prepare`].
    pub size: Option<u64>,
    /// Bytes of the uncompressed tar, if known without reading it; for a gzip layer, as its trailer
    /// states.
    pub unpacked: Option<u64>,
    /// Bytes that docker writes to its temporary directory before it loads the layer, if `size` is
    /// known.
    pub spooled: Option<u64>,
}

/// The size in bytes from which layers may be compressed while they are sent: smaller ones take
/// less than a tenth of a second.
const ON_THE_WAY_FROM: u64 = 16 << 20;

/// A local image and its layers that are ready to be sent to one VPU. Preparing changes it; sending
/// does not: layers that are compressed while they are sent are in the cache afterwards.
#[derive(Debug)]
pub struct ImageSender {
    pub(super) image: Arc<Image>,
    /// Where layers are cached; without a cache, nothing is prepared.
    pub(super) cache: Option<LayerCache>,
    pub(super) config: Option<Vec<u8>>,
    /// The compressed file that wraps archives, if any.
    pub(super) framing: Option<Codec>,
    pub(crate) layers: BTreeMap<Digest, LayerBytes>,
    /// Deltas by the digest of their bytes.
    pub(super) deltas: BTreeMap<Digest, Slice>,
}

impl ImageSender {
    /// Sends layers in the form the image's source has, and caches nothing.
    pub fn new(image: impl Into<Arc<Image>>) -> Self {
        Self {
            image: image.into(),
            cache: None,
            config: None,
            framing: None,
            layers: BTreeMap::new(),
            deltas: BTreeMap::new(),
        }
    }

    /// Uses layers from `cache`, and caches layers that are prepared or sent.
    #[must_use]
    pub fn with_cache(mut self, cache: &LayerCache) -> Self {
        self.cache = Some(cache.clone());
        self
    }

    /// The image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The layers, lowest first; one diff ID may occur twice.
    pub fn layers(&self) -> Vec<Layer> {
        let here = self.image.at_hand();
        let here = here.map(Contents::by_diff_id).unwrap_or_default();
        let layer = |diff_id: &Digest| {
            let ready = self.layers.get(diff_id);
            let bytes = ready.or_else(|| here.get(diff_id).copied());
            Layer {
                diff_id: *diff_id,
                size: bytes.map(|bytes| bytes.size),
                unpacked: bytes.and_then(|bytes| bytes.unpacked.or(bytes.told)),
                spooled: bytes.map(|bytes| load_archive::spooled(bytes, self.framing)),
            }
        };
        self.image.diff_ids().iter().map(layer).collect()
    }

    /// Prepares these layers with this compression, from the cache if possible. Runs `docker save`
    /// for an engine's image only if the cache lacks a layer. Blocks.
    ///
    /// # Errors
    /// The source cannot be read, or a layer does not match its diff ID. A cache that cannot be
    /// written is no error: the layers are then sent uncompressed.
    pub fn prepare_layers(
        &mut self,
        wanted: &BTreeSet<Digest>,
        making: impl Into<Making>,
        progress: &dyn Fn(WorkProgress),
    ) -> Result<(), ImageError> {
        let Some(cache) = self.cache.clone() else {
            return Ok(());
        };
        let making = making.into();
        let compression = making.compression;
        let on_the_way = making.manner == Manner::OnTheWay;
        self.framing = making.framing();
        // Layers that were prepared in another manner before.
        let level = compression.filter(|_| on_the_way);
        self.layers.retain(|diff_id, layer| {
            layer.on_the_way.is_none() || layer.on_the_way == level && wanted.contains(diff_id)
        });
        let done = |diff_id: &Digest| {
            self.layers.contains_key(diff_id)
                || compression.is_none() && self.image.is_plain_here(diff_id)
        };
        let mut missing = vec![];
        let mut cached = vec![];
        for diff_id in wanted.iter().filter(|diff_id| !done(diff_id)) {
            match cache.layer(*diff_id, compression) {
                Some(layer) => cached.push(layer),
                None => missing.push(*diff_id),
            }
        }
        for layer in cached {
            self.make_ready(layer);
        }
        self.prepare_config(&cache, progress)?;
        let image = Arc::clone(&self.image);
        let mut from_source = BTreeSet::new();
        let mut found = vec![];
        for diff_id in missing {
            match cache.unpacked_or_source(diff_id) {
                Some(layer) => found.push((layer, "the layer cache")),
                None => _ = from_source.insert(diff_id),
            }
        }
        if !from_source.is_empty() {
            let contents = image.contents_while(progress)?;
            let layers = contents.by_diff_id().into_values();
            let layers = layers.filter(|layer| from_source.contains(&layer.diff_id));
            found.extend(layers.map(|layer| (layer.clone(), contents.origin.as_str())));
        }
        let bytes: u64 = found.iter().map(|(layer, _)| layer.size).sum();
        let on_the_way = on_the_way && bytes >= ON_THE_WAY_FROM;
        for (layer, origin) in found {
            let packed = match compression {
                Some(level) if on_the_way && layer.encoding == Encoding::Plain => {
                    self.pack_on_the_way(&layer, origin, &cache, level)
                }
                _ => self.pack(&layer, origin, &cache, compression, progress),
            };
            if let (Err(error), Some(path)) = (&packed, &layer.cached) {
                // Fetches it from the source instead.
                tracing::debug!(%error, "a cached layer cannot be used");
                cache.discard(path);
                let contents = image.contents_while(progress)?;
                if let Some(layer) = contents.by_diff_id().get(&layer.diff_id) {
                    self.pack(layer, &contents.origin, &cache, compression, progress)?;
                }
            } else {
                packed?;
            }
        }
        Ok(())
    }

    /// Forgets a damaged layer, so that the next [`ImageSender::prepare_layers`] fetches it again.
    pub fn forget(&mut self, diff_id: Digest) {
        self.layers.remove(&diff_id);
    }

    /// Whether the sizes of all layers are exact; otherwise, a layer is still to be compressed
    /// while it is sent.
    pub fn is_exact(&self) -> bool {
        let mut layers = self.layers.values();
        layers.all(|layer| layer.on_the_way.is_none() || self.sent(layer).is_some())
    }

    /// Makes the bytes of these layers and the configuration available. Runs `docker save` for an
    /// engine's image only if the cache lacks one. Blocks.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn fetch_layers(
        &mut self,
        wanted: &BTreeSet<Digest>,
        progress: &dyn Fn(WorkProgress),
    ) -> Result<(), ImageError> {
        let Some(cache) = self.cache.clone() else {
            return self.image.contents_while(progress).map(drop);
        };
        let is_there = |diff_id: &Digest| {
            self.layers.contains_key(diff_id) || cache.layer(*diff_id, None).is_some()
        };
        if !wanted.iter().all(is_there) {
            self.image.contents_while(progress)?;
        }
        self.prepare_config(&cache, progress)
    }

    /// Registers an uncompressed layer to be compressed while it is sent, if compression pays.
    fn pack_on_the_way(
        &mut self,
        layer: &LayerBytes,
        origin: &str,
        cache: &LayerCache,
        level: Compression,
    ) -> Result<(), ImageError> {
        match layer::estimate(layer, origin, level)? {
            Some(size) => {
                if layer.cached.is_none() && !self.image.is_cheap(layer) {
                    cache.copy_unless_sent(layer, origin);
                }
                self.make_ready(LayerBytes {
                    size,
                    on_the_way: Some(level),
                    ..layer.clone()
                });
            }
            None if layer.cached.is_some() => self.make_ready(layer.clone()),
            None => self.pack(layer, origin, cache, None, &|_| {})?,
        }
        Ok(())
    }

    /// Compresses a layer, if it is to be compressed, and registers it as ready.
    fn pack(
        &mut self,
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
                if !self.image.is_cheap(layer) {
                    cache.copy(layer, origin);
                }
                self.make_ready(layer.clone());
            }
        }
        Ok(())
    }

    /// Reads the configuration from the cache; otherwise from the source, and caches it.
    fn prepare_config(
        &mut self,
        cache: &LayerCache,
        progress: &dyn Fn(WorkProgress),
    ) -> Result<(), ImageError> {
        if self.config.is_some() {
            return Ok(());
        }
        self.config = cache.config(self.image.config_digest());
        if self.config.is_none() {
            let config = &self.image.contents_while(progress)?.config;
            if let Err(error) = cache.add_config(config) {
                tracing::warn!(%error, "the layer cache cannot be written");
            }
            self.config = Some(config.clone());
        }
        Ok(())
    }

    fn make_ready(&mut self, layer: LayerBytes) {
        self.layers.insert(layer.diff_id, layer);
    }
}
