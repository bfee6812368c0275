//! Makes ready what a VPU lacks, layers packed for the link and patches of files, so that a plan can say how much
//! is sent.

use std::collections::BTreeSet;

use super::{Desired, Division, ImageContent, parts, patches};
use crate::{
    digest::Digest,
    image::{Base, ImageError, LayerCache, Making, Manner, Offer, Packing, Prepared},
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
    let packing = packing(observed);
    let to_send = layers_to_send(desired, &observed.facts);
    let bases = delta_bases(desired, &observed.facts);
    let speeds = observed.readings.speeds;
    for image in &mut desired.images {
        let (Some(wanted), Some(content)) = (to_send.get(&image.name), &mut image.content) else {
            continue;
        };
        let Some(local) = content.local.clone() else {
            continue;
        };
        let name = &image.name;
        let failed = |source| PrepareError {
            name: name.clone(),
            source: Box::new(source),
        };
        let takes_parts = takes_parts(&observed.facts);
        let bases = bases.get(name).filter(|_| takes_parts);
        let bases = bases.map_or(&[][..], Vec::as_slice);
        let progress = |prepared| progress(name, prepared);
        if !bases.is_empty() && cost::may_pay(speeds, content.archive_bytes(wanted)) {
            local
                .fetch_layers(wanted, cache, &progress)
                .map_err(failed)?;
            content.delta = delta(content, wanted, bases, cache, speeds);
        }
        // Compressing hard takes longer than many a delta.
        content.packed = !content
            .delta
            .as_ref()
            .is_some_and(|offer| cost::surely_pays(speeds, offer));
        let manner = if !takes_parts || !has_room(content, wanted, observed) {
            Manner::Layers
        } else if sizes == Sizes::About
            && content.delta.is_none()
            // What has arrived of a part is compared with how it begins.
            && observed.facts.arrived.is_empty()
        {
            Manner::OnTheWay
        } else {
            Manner::Whole
        };
        let making = Making { packing, manner };
        // A damaged layer of the cache, which is met where it is compared with what has arrived, is made again.
        let mut damaged = 0;
        loop {
            if content.packed {
                content.framing = making.framing();
                local
                    .prepare_layers(wanted, cache, making, &progress)
                    .map_err(failed)?;
            }
            content.measure();
            if !content.packed || !takes_parts {
                break;
            }
            match parts::divide(content, wanted, observed, division) {
                Err(ImageError::DamagedCache { .. }) if damaged < wanted.len() => damaged += 1,
                parts => {
                    content.parts = parts.map_err(failed)?;
                    break;
                }
            }
        }
    }
    patches::prepare(desired, observed);
    Ok(())
}

/// How layers are packed for this VPU.
fn packing(observed: &Observed) -> Packing {
    let readings = &observed.readings;
    Packing::best(readings.speeds, readings.zstd)
}

/// Whether docker's disk surely takes what it unpacks of an archive beside the layers, and what arrives before that.
fn has_room(content: &ImageContent, missing: &BTreeSet<Digest>, observed: &Observed) -> bool {
    let needed = content.unpacked_bytes(missing).saturating_mul(3);
    let free = observed.readings.docker_free;
    free.is_none_or(|free| free >= needed)
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
