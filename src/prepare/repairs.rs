//! Prepares the files of images that are damaged on a VPU.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{PrepareError, Senders, each};
use crate::{
    desired::Desired,
    digest::Digest,
    image::{ImageSender, LayerCache, WorkProgress},
    observe::Facts,
    offers::RepairOffer,
    resolve::LocalImages,
};

/// Prepares the files of each damaged image, for a plan that is only shown. Blocks.
///
/// # Errors
/// A layer cannot be read.
pub fn repairs(
    desired: &Desired,
    local: &LocalImages,
    facts: &Facts,
    cache: &LayerCache,
) -> Result<BTreeMap<String, Vec<RepairOffer>>, PrepareError> {
    let mut senders = each(desired, local)
        .map(|(image, _, local)| {
            let sender = ImageSender::new(Arc::clone(local)).with_cache(cache);
            (image.name.clone(), sender)
        })
        .collect();
    prepared(&mut senders, facts, &|_, _| {})
}

/// Prepares the files of each damaged image, by layer. An image of which not all can be prepared is missing in the
/// result.
///
/// # Errors
/// A layer cannot be read.
pub(super) fn prepared(
    senders: &mut Senders,
    facts: &Facts,
    progress: &dyn Fn(&str, WorkProgress),
) -> Result<BTreeMap<String, Vec<RepairOffer>>, PrepareError> {
    let mut repairs = BTreeMap::new();
    let verified = facts.verified.iter();
    let damaged = verified.filter_map(|(name, found)| Some((name, &found.known()?.damaged)));
    for (name, damaged) in damaged.filter(|(_, damaged)| !damaged.is_empty()) {
        let Some(sender) = senders.get_mut(name) else {
            continue;
        };
        let mut layers: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
        for file in damaged {
            layers
                .entry(file.layer)
                .or_default()
                .insert(file.path.clone());
        }
        let offers = layers.iter().map(|(layer, paths)| {
            let told = |work| progress(name, work);
            sender.prepare_repair(*layer, paths, &told)
        });
        let offers: Result<Option<Vec<_>>, _> = offers.collect();
        let offers = offers.map_err(|source| PrepareError::new(name, source))?;
        repairs.extend(offers.map(|offers| (name.clone(), offers)));
    }
    Ok(repairs)
}
