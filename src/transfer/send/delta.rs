//! Sends an image as a delta against an image that the VPU has.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use super::ImageSender;
use crate::{cache::LayerCache, delta::image as delta, error::ImageError, layer::LayerBytes};
use o3r_core::{
    digest::Digest,
    offers::{Base, DeltaOffer, Grain},
};

impl ImageSender {
    /// Creates a delta for the layers `missing` against the best of the images `bases` that the VPU
    /// has; the more promising ones should come first. `None` if no image has anything to copy.
    /// Blocks. Caches the lists of the layers that it reads.
    ///
    /// # Errors
    /// A layer of this image cannot be read, or scratch files cannot be written.
    pub fn prepare_delta(
        &mut self,
        missing: &BTreeSet<Digest>,
        bases: &[Base],
        tag: &str,
        grain: Grain,
    ) -> Result<Option<DeltaOffer>, ImageError> {
        let (Some(config), Some(cache)) = (&self.config, &self.cache) else {
            return Ok(None);
        };
        let making = delta::Making {
            config,
            config_digest: self.image.config_digest(),
            diff_ids: self.image.diff_ids(),
            layer: &|diff_id| self.layer_bytes(diff_id, cache),
            cache,
            grain,
        };
        let made = making.make(missing, bases, tag)?;
        Ok(made.map(|(offer, bytes)| {
            self.deltas.insert(offer.sha256, bytes);
            offer
        }))
    }

    /// Writes the bytes of a [`DeltaOffer`].
    ///
    /// # Errors
    /// This process created no such delta, or its file cannot be read.
    pub fn write_delta(&self, sha256: Digest, out: &mut dyn Write) -> io::Result<()> {
        let delta = self.deltas.get(&sha256).cloned();
        let delta = delta.ok_or_else(|| io::Error::other(format!("there is no delta {sha256}")))?;
        io::copy(&mut delta.reader(), out).map(drop)
    }

    /// Returns a layer's bytes from the sender, the image or the cache; does not fetch them from
    /// the engine.
    pub(super) fn layer_bytes(&self, diff_id: Digest, cache: &LayerCache) -> Option<LayerBytes> {
        let ready = self.layers.get(&diff_id).cloned();
        let ready = ready.filter(|layer| layer.on_the_way.is_none());
        let here = || Some((*self.image.at_hand()?.by_diff_id().get(&diff_id)?).clone());
        // In any form, because it is only read.
        ready.or_else(here).or_else(|| cache.layer(diff_id, None))
    }
}
