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
