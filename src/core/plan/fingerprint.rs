//! Computes the digest of the facts that a plan depends on:
//! canonical, sorted, and without readings.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    desired::{self, Desired},
    digest::Digest,
    facts::{Container, Facts, Image, Network, Probed, Volume},
    plan::autostart,
};

/// The facts about desired resources alone: a container of another tool that is started or removed
/// does not make a plan stale.
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
    // What docker-compose makes of local files changes with them, and shows in the steps; the
    // login's environment may differ when another machine connects.
    rest.system.environment_sha256 = None;
    rest.resolved.clear();
    rest.volumes = emptied(&facts.volumes);
    rest.images = emptied(&facts.images);
    rest.containers = emptied(&facts.containers);
    rest.networks = emptied(&facts.networks);
    // A port that another program takes or frees blocks or
    // unblocks a project, which shows in the plan.
    rest.listeners = emptied(&facts.listeners);
    rest.autostart = autostart::relevant(desired, &facts.autostart);
    let names: Vec<&String> = desired.images.iter().map(|image| &image.name).collect();
    let digests: Vec<String> = desired
        .images
        .iter()
        .filter_map(|image| Some(image.content.as_ref()?.config_digest.to_string()))
        .collect();
    // Images that share their lowest layer with a desired one: layers that they have are not sent.
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
                // Which other containers are on docker's own networks changes no plan.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::{ImageContent, Service},
        facts::Attachment,
        testing,
    };

    fn layers(letters: &str) -> Vec<Digest> {
        letters.bytes().map(|letter| Digest::of([letter])).collect()
    }

    /// A project with a network of its own, one of others
    /// that its container is on, a volume and an image.
    fn desired() -> Desired {
        let mut project = testing::project("app", [("main", Service::default())]);
        project.networks = vec![desired::Network {
            name: "expected".into(),
            older_name: Some("older".into()),
            used: true,
            declared: crate::compose::Network::default(),
        }];
        let mut desired = testing::desired(vec![project]);
        desired.volumes = vec![desired::Volume {
            name: "share".parse().unwrap(),
            path: "~/share".parse().unwrap(),
            replace: false,
            source: None,
        }];
        desired.images = vec![desired::Image {
            name: "app:1".into(),
            content: Some(ImageContent {
                config_digest: Digest::of(b"app"),
                layers: layers("ab"),
                staging_tag: "o3r-deploy/app:1".into(),
            }),
            found: None,
            source: None,
        }];
        desired
    }

    /// Whether this change of the observed facts changes the fingerprint.
    fn depends(change: impl FnOnce(&mut Facts)) -> bool {
        let (desired, mut facts) = (desired(), testing::observed().facts);
        let container = Container {
            name: "app_main_1".into(),
            project: "app".into(),
            volumes: ["mounted".to_owned()].into(),
            networks: [(
                "attached".to_owned(),
                Attachment {
                    id: "attached".into(),
                    ..Attachment::default()
                },
            )]
            .into(),
            ..Container::default()
        };
        facts.containers = Probed::Known([("1".to_owned(), container)].into());
        let before = fingerprint(&desired, &facts);
        change(&mut facts);
        before != fingerprint(&desired, &facts)
    }

    #[test]
    fn a_plan_depends_on_networks_that_it_declares_owns_or_attaches_to() {
        let network = |id: &str, name: &str, project: &str| {
            let network = Network {
                name: name.into(),
                project: project.into(),
                ..Network::default()
            };
            let added = [(id.to_owned(), network)];
            depends(|facts| facts.networks = Probed::Known(added.into()))
        };
        assert!(network("1", "front", "app"));
        assert!(network("1", "expected", ""));
        assert!(network("1", "older", ""));
        assert!(network("attached", "front", ""));
        assert!(!network("1", "front", "other"));
        assert!(depends(
            |facts| facts.networks = Probed::Unknown("no".into())
        ));
    }

    #[test]
    fn a_plan_depends_on_volumes_that_it_declares_owns_or_mounts() {
        let volume = |name: &str, owner: Option<&str>, project: &str| {
            let volume = Volume {
                driver: "local".into(),
                options: [].into(),
                owner: owner.map(str::to_owned),
                project: project.into(),
                key: String::new(),
                anonymous: false,
            };
            let added = [(name.to_owned(), volume)];
            depends(|facts| facts.volumes = Probed::Known(added.into()))
        };
        assert!(volume("share", None, ""));
        assert!(volume("mounted", None, ""));
        assert!(volume("any", Some("app"), ""));
        assert!(volume("any", None, "app"));
        assert!(!volume("any", Some("other"), "other"));
    }

    #[test]
    fn a_plan_depends_on_images_that_match_by_id_name_or_lowest_layer() {
        let image = |id: &str, tag: &str, layers: Vec<Digest>| {
            let image = Image {
                tags: [tag.to_owned()].into(),
                layers,
                arch: "arm64".into(),
                os: "linux".into(),
            };
            let added = [(id.to_owned(), image)];
            depends(|facts| facts.images = Probed::Known(added.into()))
        };
        let id = Digest::of(b"app").to_string();
        assert!(image(&id, "any:1", layers("x")));
        assert!(image("any", "app:1", layers("x")));
        assert!(image("any", "o3r-deploy/app:0", layers("x")));
        assert!(image("any", "any:1", layers("ay")));
        assert!(!image("any", "o3r-deploy/apple:0", layers("xb")));
        assert!(!image("any", "any:1", vec![]));
    }

    #[test]
    fn who_else_is_on_a_network_matters_where_the_network_is_a_projects() {
        let depends_on_user = |project: &str, id: &str| {
            let network = |used_by: &[&str]| Network {
                name: "expected".into(),
                project: project.into(),
                used_by: used_by.iter().map(|id| (*id).to_owned()).collect(),
                ..Network::default()
            };
            let (desired, mut facts) = (desired(), testing::observed().facts);
            let own = Container {
                project: "app".into(),
                ..Container::default()
            };
            facts.containers = Probed::Known([("1".to_owned(), own)].into());
            let mut with = |network| {
                facts.networks = Probed::Known([("net".to_owned(), network)].into());
                fingerprint(&desired, &facts)
            };
            with(network(&[])) != with(network(&[id]))
        };
        assert!(depends_on_user("app", "2"));
        assert!(depends_on_user("", "1"));
        assert!(!depends_on_user("", "2"));
    }
}
