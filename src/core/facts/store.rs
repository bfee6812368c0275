//! Identifies images in the containerd image store, whose IDs are manifest digests that
//! `docker load` generates, instead of config digests as in the classic store.

use std::collections::BTreeMap;

use super::{Facts, Probed};
use crate::digest::Digest;

/// Replaces image IDs with config digests, as in the classic store, where possible: each image was
/// loaded under a name that ends in the first digits of its config digest. `wanted` are the digests
/// of the declared images; those of earlier releases are in the records.
pub fn identify(facts: &mut Facts, wanted: impl IntoIterator<Item = Digest>) {
    if !facts
        .docker
        .known()
        .is_some_and(|docker| docker.containerd_store)
    {
        return;
    }
    let records = facts.records.known().into_iter();
    let releases = records.flat_map(|records| records.releases.values());
    let made = releases.flat_map(|release| release.made.values());
    let recorded = made.flat_map(|made| made.inputs.values());
    let recorded = recorded.filter_map(|input| input.parse::<Digest>().ok());
    let digests = wanted.into_iter().chain(recorded);
    let digests: BTreeMap<String, Digest> =
        digests.map(|digest| (digest.short(), digest)).collect();
    let Probed::Known(images) = &mut facts.images else {
        return;
    };
    let mut names = BTreeMap::new();
    for (id, image) in &*images {
        let mut staged = image.tags.iter().filter_map(|tag| staged(tag));
        if let Some(digest) = staged.find_map(|short| digests.get(short)) {
            names.insert(id.clone(), digest.to_string());
        }
    }
    *images = std::mem::take(images)
        .into_iter()
        .map(|(id, image)| (names.get(&id).cloned().unwrap_or(id), image))
        .collect();
    if let Probed::Known(containers) = &mut facts.containers {
        for container in containers.values_mut() {
            if let Some(name) = names.get(&container.image) {
                container.image.clone_from(name);
            }
        }
    }
    if let Probed::Known(records) = &mut facts.records {
        for volume in records.anonymous_volumes.values_mut().flatten() {
            if let Some(name) = names.get(&volume.image) {
                volume.image.clone_from(name);
            }
        }
    }
}

/// The digits in the name that an image is loaded under: `o3r-deploy/RELEASE:DIGITS`.
fn staged(tag: &str) -> Option<&str> {
    let (_, digits) = tag.strip_prefix("o3r-deploy/")?.rsplit_once(':')?;
    Some(digits)
}
