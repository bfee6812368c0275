//! Digests the facts that a plan depends on: canonical, sorted, and no reading among them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    desired::Desired,
    digest::Digest,
    observe::{Container, Facts, Image, Probed, Volume},
    plan::autostart,
};

/// Only what the desired resources touch: another tool's container that comes or goes does not
/// make a plan stale.
#[derive(Serialize)]
struct Relevant<'a> {
    facts: &'a Facts,
    volumes: BTreeMap<&'a String, &'a Volume>,
    images: BTreeMap<&'a String, &'a Image>,
    containers: BTreeMap<&'a String, &'a Container>,
}

pub(super) fn fingerprint(desired: &Desired, facts: &Facts) -> Digest {
    let mut rest = facts.clone();
    rest.volumes = emptied(&facts.volumes);
    rest.images = emptied(&facts.images);
    rest.containers = emptied(&facts.containers);
    // A port that another program takes or frees shows as a blocked project.
    rest.listeners = emptied(&facts.listeners);
    rest.autostart = autostart::relevant(desired, &facts.autostart);
    let names: Vec<&String> = desired.images.iter().map(|image| &image.name).collect();
    let digests: Vec<String> = desired
        .images
        .iter()
        .filter_map(|image| Some(image.content.as_ref()?.config_digest.to_string()))
        .collect();
    // Images that share layers with ours: what they have need not be sent.
    let contents = desired
        .images
        .iter()
        .filter_map(|image| image.content.as_ref());
    let bottoms: Vec<Option<&Digest>> = contents
        .filter_map(|content| content.layers.first())
        .map(|layer| Some(&layer.diff_id))
        .collect();
    let relevant = Relevant {
        facts: &rest,
        volumes: relevant(&facts.volumes, |name, volume| {
            desired.volumes.iter().any(|volume| volume.name == *name)
                || volume.owner.as_ref() == Some(&desired.release.name)
        }),
        images: relevant(&facts.images, |id, image| {
            let staged = || image.tags.iter().any(|tag| desired.release.staged(tag));
            digests.contains(id)
                || staged()
                || names.iter().any(|name| image.tags.contains(*name))
                || bottoms.contains(&image.layers.first())
        }),
        containers: relevant(&facts.containers, |_, container| {
            desired
                .projects
                .iter()
                .any(|project| project.touches(container))
                || desired
                    .disabled
                    .iter()
                    .any(|disabled| disabled.project() == container.project)
                || desired
                    .volumes
                    .iter()
                    .any(|volume| container.volumes.contains(&volume.name))
        }),
    };
    // Maps with string keys always serialise.
    Digest::of(serde_json::to_vec(&relevant).unwrap_or_default())
}

fn emptied<T: Default>(probed: &Probed<T>) -> Probed<T> {
    match probed {
        Probed::Known(_) => Probed::Known(T::default()),
        Probed::Unknown(reason) => Probed::Unknown(reason.clone()),
    }
}

fn relevant<T>(
    probed: &Probed<BTreeMap<String, T>>,
    keep: impl Fn(&String, &T) -> bool,
) -> BTreeMap<&String, &T> {
    probed
        .known()
        .into_iter()
        .flatten()
        .filter(|(key, value)| keep(key, value))
        .collect()
}
