//! Makes the layers ready that a VPU lacks: compressed, so that a plan can say how much is sent.

use super::Desired;
use crate::{
    image::{ImageError, LayerCache, Level, Prepared},
    observe::Facts,
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
    }
    Ok(())
}
