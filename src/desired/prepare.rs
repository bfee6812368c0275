//! Makes ready what a VPU lacks, layers packed for the link and patches of files, so that a plan can say how much
//! is sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Desired, Division, Image, ImageContent, parts, patches};
use crate::{
    compression::{Codec, Compression},
    digest::Digest,
    image::{self, Base, ImageError, LayerCache, Making, Manner, Offer, Prepared},
    observe::{Facts, Observed},
    plan::{cost, delta_bases, layers_to_send, takes_parts},
    speeds::Speeds,
};

/// A layer that cannot be made ready.
#[derive(Debug, thiserror::Error)]
#[error("image {name} cannot be sent")]
pub struct PrepareError {
    /// The image, as declared.
    pub name: String,
    /// Why.
    pub source: Box<ImageError>,
}

/// How well a plan has to know what will be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// To the byte: all layers are compressed.
    Exact,
    /// About: it is carried out at once, and what is large is compressed while it is sent.
    About,
}

impl PrepareError {
    fn new(name: &str, source: ImageError) -> Self {
        Self {
            name: name.to_owned(),
            source: Box::new(source),
        }
    }
}

/// Makes ready what the observed VPU lacks, takes over its sizes, and divides what is large. `progress` is told the image and
/// how far its layer is. Blocks.
pub fn prepare(
    desired: &mut Desired,
    observed: &Observed,
    cache: &LayerCache,
    division: Division,
    sizes: Sizes,
    progress: &dyn Fn(&str, Prepared),
) -> Result<(), PrepareError> {
    let to_send = layers_to_send(desired, &observed.facts);
    let bases = delta_bases(desired, &observed.facts);
    let speeds = observed.readings.speeds;
    let way = Way {
        observed,
        cache,
        division,
        progress,
    };
    let takes_parts = takes_parts(&observed.facts);
    for image in &mut desired.images {
        let Some((name, wanted, content, local)) = sent(image, &to_send) else {
            continue;
        };
        let bases = bases.get(name).filter(|_| takes_parts);
        let bases = bases.map_or(&[][..], Vec::as_slice);
        if !bases.is_empty() && cost::may_pay(speeds, content.archive_bytes(wanted)) {
            local
                .fetch_layers(wanted, cache, &|prepared| progress(name, prepared))
                .map_err(|source| PrepareError::new(name, source))?;
            content.delta = delta(content, wanted, bases, cache, speeds);
        }
        // Compressing hard takes longer than many a delta: it is done when that failed.
        content.packed = !content
            .delta
            .as_ref()
            .is_some_and(|offer| cost::surely_pays(speeds, offer));
        let at_once = sizes == Sizes::About
            && content.delta.is_none()
            // What has arrived of a part is compared with how it begins.
            && observed.facts.arrived.is_empty();
        let manner = if !takes_parts {
            Manner::Layers
        } else if at_once || !content.packed {
            Manner::OnTheWay
        } else {
            Manner::Whole
        };
        way.make_ready(name, content, &local, wanted, manner)?;
    }
    if !has_room(desired, &to_send, observed) {
        for image in &mut desired.images {
            if let Some((name, wanted, content, local)) = sent(image, &to_send)
                && content.framing == Some(Codec::Gzip)
                && content.packed
            {
                way.make_ready(name, content, &local, wanted, Manner::Layers)?;
            }
        }
    }
    patches::prepare(desired, observed);
    Ok(())
}

/// An image of which something is sent: its name, the layers, what is to be said of it, and where it comes from.
fn sent<'a>(
    image: &'a mut Image,
    to_send: &'a BTreeMap<String, BTreeSet<Digest>>,
) -> Option<(
    &'a str,
    &'a BTreeSet<Digest>,
    &'a mut ImageContent,
    Arc<image::Image>,
)> {
    let wanted = to_send.get(&image.name)?;
    let content = image.content.as_mut()?;
    let local = content.local.clone()?;
    Some((&image.name, wanted, content, local))
}

/// What all images have in common that are made ready.
struct Way<'a> {
    observed: &'a Observed,
    cache: &'a LayerCache,
    division: Division,
    progress: &'a dyn Fn(&str, Prepared),
}

impl Way<'_> {
    /// Makes layers ready, takes over their sizes, and divides what is large.
    fn make_ready(
        &self,
        name: &str,
        content: &mut ImageContent,
        local: &image::Image,
        wanted: &BTreeSet<Digest>,
        manner: Manner,
    ) -> Result<(), PrepareError> {
        let failed = |source| PrepareError::new(name, source);
        let compression = compression(self.observed);
        let making = Making {
            compression,
            manner,
        };
        content.framing = making.framing();
        // A damaged layer of the cache, which is met where it is compared with what has arrived, is made again.
        let mut damaged = 0;
        loop {
            let progress = |prepared| (self.progress)(name, prepared);
            local
                .prepare_layers(wanted, self.cache, making, &progress)
                .map_err(failed)?;
            content.measure();
            // What is hardly needed is not divided: its files would have to be looked for.
            if !takes_parts(&self.observed.facts) || !content.packed {
                return Ok(());
            }
            match parts::divide(content, wanted, self.observed, self.division) {
                Err(ImageError::DamagedCache { .. }) if damaged < wanted.len() => damaged += 1,
                parts => {
                    content.parts = parts.map_err(failed)?;
                    return Ok(());
                }
            }
        }
    }
}

/// How layers are compressed for this VPU.
fn compression(observed: &Observed) -> Option<Compression> {
    let readings = &observed.readings;
    Compression::best(readings.speeds, readings.zstd)
}

/// Whether docker's disk surely takes what it writes down of an archive beside all layers, and what arrives before that.
fn has_room(
    desired: &Desired,
    to_send: &BTreeMap<String, BTreeSet<Digest>>,
    observed: &Observed,
) -> bool {
    let unpacked = desired.images.iter().filter_map(|image| {
        let (missing, content) = (to_send.get(&image.name)?, image.content.as_ref()?);
        Some(content.unpacked_bytes(missing))
    });
    let (all, most) = unpacked.fold((0_u64, 0), |(all, most), bytes| {
        (all.saturating_add(bytes), bytes.max(most))
    });
    let needed = all.saturating_add(most.saturating_mul(2));
    // What has arrived may lie on the same disk.
    let arrived = observed.facts.arrived.values();
    let arrived: u64 = arrived.map(|arrived| arrived.bytes).sum();
    let free = observed.readings.docker_free;
    free.is_none_or(|free| free.saturating_add(arrived) >= needed)
}

/// How the image could be built on the VPU.
fn delta(
    content: &ImageContent,
    missing: &BTreeSet<Digest>,
    bases: &[Base],
    cache: &LayerCache,
    speeds: Speeds,
) -> Option<Offer> {
    let (tag, local) = (&content.staging_tag, content.local.as_ref()?);
    match local.prepare_delta(missing, bases, tag, cache, cost::grain(speeds)) {
        Ok(offer) => offer,
        Err(error) => {
            tracing::warn!(%error, "no delta could be made; layers are sent whole");
            None
        }
    }
}

/// About how many bytes of images this VPU lacks, before they are packed.
pub fn bytes_to_send(desired: &Desired, facts: &Facts, cache: &LayerCache) -> u64 {
    let to_send = layers_to_send(desired, facts);
    let images = desired.images.iter().filter_map(|image| {
        let (missing, content) = (to_send.get(&image.name)?, image.content.as_ref()?);
        // An engine does not say how large a layer is.
        let guess = || content.archive_bytes(missing);
        let known = missing.iter().map(|layer| cache.unpacked(*layer));
        Some(known.sum::<Option<u64>>().unwrap_or_else(guess))
    });
    images.sum()
}
