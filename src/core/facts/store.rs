//! Knows images again in a store that names them otherwise than the classic one: containerd's gives them the
//! digest of their manifest, which `docker load` makes up there.

use std::collections::BTreeMap;

use super::{Facts, Probed};
use crate::digest::Digest;

/// Gives images the digests of their configurations for ids, as the classic store does, where they can be told:
/// each was loaded under a name that ends in the first digits of it. `wanted` are those of images that are
/// declared; those of earlier releases are in the records.
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

/// The digits in a name that an image is loaded under: `o3r-deploy/RELEASE:DIGITS`.
fn staged(tag: &str) -> Option<&str> {
    let (_, digits) = tag.strip_prefix("o3r-deploy/")?.rsplit_once(':')?;
    Some(digits)
}
