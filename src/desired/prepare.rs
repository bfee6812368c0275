//! Makes the layers ready that a VPU lacks: packed for the link, so that a plan can say how much is sent.

use super::{Desired, Division, parts};
use crate::{
    image::{ImageError, LayerCache, Packing, Prepared},
    link,
    observe::{Facts, Observed},
    plan::layers_to_send,
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

/// Makes ready what the observed VPU lacks, takes over its sizes, and divides what is large. `progress` is told the image and
/// how far its layer is. Blocks.
pub fn prepare(
    desired: &mut Desired,
    observed: &Observed,
    cache: &LayerCache,
    division: Division,
    progress: &dyn Fn(&str, Prepared),
) -> Result<(), PrepareError> {
    let packing = Packing::for_link(observed.readings.link.unwrap_or(link::ASSUMED));
    let to_send = layers_to_send(desired, &observed.facts);
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
        local
            .prepare_layers(wanted, cache, packing, &|prepared| progress(name, prepared))
            .map_err(failed)?;
        content.measure();
        content.parts = parts::divide(content, wanted, observed, division).map_err(failed)?;
    }
    Ok(())
}

/// About how many bytes of images this VPU lacks, before they are packed.
pub fn bytes_to_send(desired: &Desired, facts: &Facts) -> u64 {
    let to_send = layers_to_send(desired, facts);
    let images = desired.images.iter().filter_map(|image| {
        let missing = to_send.get(&image.name)?;
        Some(image.content.as_ref()?.archive_bytes(missing))
    });
    images.sum()
}
