//! Digests the facts that a plan depends on: canonical, sorted, and no reading among them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    desired::{self, Desired},
    digest::Digest,
    facts::{Container, Facts, Image, Network, Probed, Volume},
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
    networks: BTreeMap<&'a String, Network>,
}

pub(super) fn fingerprint(desired: &Desired, facts: &Facts) -> Digest {
    let mut rest = facts.clone();
    // What docker-compose makes of local files changes with them, and shows in the steps; what a login sets may be
    // another from another machine.
    rest.system.environment_sha256 = None;
    rest.resolved.clear();
    rest.volumes = emptied(&facts.volumes);
    rest.images = emptied(&facts.images);
    rest.containers = emptied(&facts.containers);
    rest.networks = emptied(&facts.networks);
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
        .filter(|content| !content.layers.is_empty())
        .map(|content| content.layers.first())
        .collect();
    let is_declared = |project: &str| desired.projects.iter().any(|p| p.name == project);
    let containers = relevant(&facts.containers, |_, container| {
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
                .any(|volume| container.volumes.contains(volume.name.as_str()))
    });
    let attached: BTreeSet<&String> = containers
        .values()
        .flat_map(|container| container.networks.values())
        .map(|attachment| &attachment.id)
        .collect();
    let mounted: BTreeSet<&String> = containers
        .values()
        .flat_map(|container| &container.volumes)
        .collect();
    let networks = desired
        .projects
        .iter()
        .flat_map(|project| &project.networks);
    let names_of =
        |network: &desired::Network| [Some(network.name.clone()), network.older_name.clone()];
    let expected: BTreeSet<String> = networks.flat_map(names_of).flatten().collect();
    let networks = relevant(&facts.networks, |id, network| {
        is_declared(&network.project) || attached.contains(id) || expected.contains(&network.name)
    });
    let relevant = Relevant {
        facts: &rest,
        volumes: relevant(&facts.volumes, |name, volume| {
            desired.volumes.iter().any(|volume| volume.name == *name)
                || volume.owner.as_deref() == Some(desired.release.name.as_str())
                || is_declared(&volume.project)
                || mounted.contains(name)
        }),
        images: relevant(&facts.images, |id, image| {
            let staged = || image.tags.iter().any(|tag| desired.release.staged(tag));
            digests.contains(id)
                || staged()
                || names.iter().any(|name| image.tags.contains(*name))
                || bottoms.contains(&image.layers.first())
        }),
        networks: networks
            .into_iter()
            .map(|(id, network)| {
                let mut network = network.clone();
                // Who else is on docker's own networks concerns nobody.
                if !is_declared(&network.project) {
                    network.used_by.retain(|id| containers.contains_key(id));
                }
                (id, network)
            })
            .collect(),
        containers,
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
