//! Makes the layers ready that a VPU lacks: compressed, so that a plan can say how much is sent.

use std::collections::BTreeSet;

use super::{Desired, ImageContent};
use crate::{
    digest::Digest,
    image::{Base, ImageError, LayerCache, Level, Offer, Prepared},
    observe::Facts,
    plan::{cost, delta_bases, layers_to_send},
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

/// Makes ready what a VPU with these facts lacks, and takes over its sizes. `progress` is told the
/// image and how far its layer is. Blocks.
pub fn prepare(
    desired: &mut Desired,
    facts: &Facts,
    cache: &LayerCache,
    level: Level,
    progress: &dyn Fn(&str, Prepared),
) -> Result<(), PrepareError> {
    let to_send = layers_to_send(desired, facts);
    let bases = delta_bases(desired, facts);
    let link = desired.link_bytes_per_second;
    for image in &mut desired.images {
        let (Some(wanted), Some(content)) = (to_send.get(&image.name), &mut image.content) else {
            continue;
        };
        let Some(local) = content.local.clone() else {
            continue;
        };
        let name = &image.name;
        local
            .prepare_layers(wanted, cache, level, &|prepared| progress(name, prepared))
            .map_err(|source| PrepareError {
                name: name.clone(),
                source: Box::new(source),
            })?;
        content.measure();
        let bases = bases.get(name).map_or(&[][..], Vec::as_slice);
        content.delta = delta(content, wanted, bases, cache, link);
    }
    Ok(())
}

/// How the image could be built on the VPU, if that may be quicker than sending its layers.
fn delta(
    content: &ImageContent,
    missing: &BTreeSet<Digest>,
    bases: &[Base],
    cache: &LayerCache,
    link: Option<u64>,
) -> Option<Offer> {
    if bases.is_empty() || !cost::may_pay(link, content.archive_bytes(missing)) {
        return None;
    }
    let (tag, local) = (&content.staging_tag, content.local.as_ref()?);
    match local.prepare_delta(missing, bases, tag, cache, cost::grain(link)) {
        Ok(offer) => offer,
        Err(error) => {
            tracing::warn!(%error, "no delta could be made; layers are sent whole");
            None
        }
    }
}
