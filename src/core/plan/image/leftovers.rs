//! Removes what an interrupted apply left while it sent an image.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    digest::Digest,
    facts,
    offers::PART_REPOSITORY,
    plan::{
        Action, Address, Cause, Command, Phase,
        builder::{Builder, Draft},
    },
    remote,
};

/// Whether the name of an image is one that an apply gave it.
pub fn is_ours(name: &str) -> bool {
    let repository = super::repository(name);
    repository == PART_REPOSITORY || repository.starts_with("o3r-deploy/")
}

/// Returns the release whose apply gave an image this name, if it is such a name.
pub fn release_of(name: &str) -> Option<&str> {
    let (release, _) = name.strip_prefix("o3r-deploy/")?.split_once(':')?;
    Some(release)
}

/// Plans the removal of images of ours that docker cannot inspect, before any image is loaded: docker takes their damaged
/// layers for present. Declared ones count as missing, and are loaded again.
pub(super) fn unusable(builder: &mut Builder<'_>) {
    let declared = builder.desired.config_digests();
    let declared: BTreeSet<String> = declared.map(|id| id.to_string()).collect();
    let all = builder.facts.unusable_images.iter();
    let ours =
        all.filter(|(id, names)| names.iter().any(|name| is_ours(name)) && !declared.contains(*id));
    let ids: Vec<&str> = ours.map(|(id, _)| id.as_str()).collect();
    if ids.is_empty() {
        return;
    }
    let address = Address::damaged_images();
    let found = "damaged by a power cut, docker cannot inspect them";
    let cause = Cause::differs("images of earlier applies", found, "removed");
    let draft = Draft::new(address, Action::Remove, Phase::Stage, cause);
    builder.step(draft.run([Command::new(remote::remove_images(ids))]));
}

/// Plans the removal of image parts that this plan does not resume from; it removes the others
/// itself, once they are loaded.
pub(super) fn plan(
    builder: &mut Builder<'_>,
    images: &BTreeMap<String, facts::Image>,
    to_send: &BTreeMap<String, BTreeSet<Digest>>,
) {
    let offers = builder.offers.images.iter();
    let sent = offers.filter(|(name, _)| to_send.contains_key(*name));
    let parts: Vec<_> = sent.flat_map(|(_, offer)| &offer.parts).collect();
    let wanted = |file: &str| {
        let mut arriving = parts.iter().filter_map(|part| part.arriving.as_ref());
        arriving.any(|arriving| arriving.name == file)
    };
    let arrived = builder.facts.arrived.keys();
    let files: Vec<String> = arrived
        .filter(|name| !wanted(name))
        .map(|name| format!("{}/{name}", builder.state().arriving()))
        .collect();
    let planned = |tag: &String| parts.iter().any(|part| part.tag.as_ref() == Some(tag));
    let is_part = |tag: &&String| super::repository(tag) == PART_REPOSITORY;
    let tags = images.values().flat_map(|image| &image.tags);
    let tags: Vec<&str> = tags
        .filter(is_part)
        .filter(|tag| !planned(tag))
        .map(String::as_str)
        .collect();
    if files.is_empty() && tags.is_empty() {
        return;
    }
    let files = (!files.is_empty()).then(|| remote::remove_paths(files));
    let tags = (!tags.is_empty()).then(|| remote::forget_parts(tags));
    let address = Address::unfinished_images();
    let cause = Cause::Undeclared;
    let draft = Draft::new(address, Action::Remove, Phase::Settle, cause);
    let draft = draft.detail("left by an interrupted apply".to_owned());
    builder.step(draft.run([files, tags].into_iter().flatten().map(Command::new)));
}
