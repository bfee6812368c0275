//! Networks and stand-ins of the in-memory VPU: what happens between stopping containers and starting others.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    commands::{Ran, fail},
    world::{Container, Details, Mount, Network, World},
};
use o3r_deploy::internal::{
    compose::{self, ComposeFile},
    digest::Digest,
};

pub(super) fn script(world: &mut World, name: &str, args: &[&str]) -> Ran {
    match (name, args) {
        ("o3r-remove-networks", ids) => {
            for id in ids {
                if users(world, id).any(|container| container.status == "running") {
                    return fail(format!("network {id} has active endpoints"));
                }
                world.networks.remove(*id);
            }
        }
        ("o3r-earlier-networks", [project, keep @ ..]) => {
            let own = world.networks.iter();
            let own = own.filter(|(id, network)| {
                network.project == *project && !keep.contains(&id.as_str())
            });
            let is_free = |id: &&String| {
                users(world, id).all(|c| c.project == *project && c.status != "running")
            };
            let ids: Vec<String> = own.map(|(id, _)| id).filter(is_free).cloned().collect();
            world.networks.retain(|id, _| !ids.contains(id));
        }
        ("o3r-uncover-mounts", [project, service, mounts @ ..]) => {
            let wanted: Vec<(&str, &str)> =
                mounts.iter().filter_map(|m| m.split_once(' ')).collect();
            let is_another = |at: &str, mount: &Mount| {
                let mut wanted = wanted.iter().filter(|(_, destination)| *destination == at);
                wanted.any(|(volume, _)| matches!(mount, Mount::Volume(name) if name != volume))
            };
            let is_meant = |(_, container): &(&String, &Container)| {
                let mut mounts = container.details.mounts.iter();
                container.project == *project
                    && container.service == *service
                    && mounts.any(|(at, mount)| is_another(at, mount))
            };
            let meant = world.containers.iter().filter(is_meant);
            let meant: Vec<String> = meant.map(|(id, _)| id.clone()).collect();
            for id in meant {
                leave_stand_in(world, &id, |at, mount| {
                    !is_another(at, mount) && is_anonymous(mount)
                });
            }
        }
        (
            "o3r-bring-volumes-back",
            [
                old,
                project,
                service,
                number,
                directory,
                image,
                volumes @ ..,
            ],
        ) => {
            if world.containers.contains_key(*old) {
                return Ok(String::new());
            }
            let number: usize = number.parse().unwrap_or_default();
            let volumes = volumes.iter().filter_map(|word| word.split_once(' '));
            let there = volumes.filter(|(name, _)| world.volumes.contains_key(*name));
            let mounts = there.map(|(name, at)| (at.to_owned(), Mount::Volume(name.to_owned())));
            let mounts: BTreeMap<String, Mount> = mounts.collect();
            if !mounts.is_empty() && world.image_id(image).is_none() {
                return Err((1, format!("No such image: {image}")));
            }
            world.containers.retain(|_, c| {
                c.project != *project || c.service != *service || c.details.number != number
            });
            let of = Container {
                name: format!("{project}_{service}_{number}"),
                image: (*image).to_owned(),
                status: "created".to_owned(),
                restart_policy: "no".to_owned(),
                project: (*project).to_owned(),
                service: (*service).to_owned(),
                working_dir: (*directory).to_owned(),
                volumes: BTreeSet::new(),
                host_network: false,
                config_hash: Digest::of(b"a stand-in"),
                made_from: BTreeMap::new(),
                mounted: BTreeMap::new(),
                details: Details {
                    number,
                    ..Details::default()
                },
            };
            stand_in(world, of, mounts);
        }
        _ => return Err((127, format!("{name}: not understood"))),
    }
    Ok(String::new())
}

pub(super) fn is_anonymous(mount: &Mount) -> bool {
    matches!(mount, Mount::Volume(name) if name.len() == 64)
}

/// The containers on a network.
fn users<'a>(world: &'a World, id: &'a str) -> impl Iterator<Item = &'a Container> {
    let containers = world.containers.values();
    containers.filter(move |c| c.details.networks.values().any(|network| network == id))
}

/// Removes a container; a stand-in has those of its mounts that are kept.
pub(super) fn leave_stand_in(
    world: &mut World,
    id: &str,
    is_kept: impl Fn(&String, &Mount) -> bool,
) {
    if let Some(old) = world.containers.remove(id) {
        let mounts = old.details.mounts.clone().into_iter();
        let kept = mounts.filter(|(at, mount)| is_kept(at, mount));
        stand_in(world, old, kept.collect());
    }
}

/// A container that never runs and has these volumes, where there are any.
fn stand_in(world: &mut World, of: Container, mounts: BTreeMap<String, Mount>) {
    if mounts.is_empty() {
        return;
    }
    let id = world.fresh_id();
    let names = mounts.values().filter_map(|mount| match mount {
        Mount::Volume(name) => Some(name.clone()),
        Mount::Bind(_) => None,
    });
    let container = Container {
        name: format!(
            "{}_{}_{}_{}",
            &id[..12],
            of.project,
            of.service,
            of.details.number
        ),
        volumes: names.collect(),
        status: "created".to_owned(),
        config_hash: Digest::of(b"a stand-in"),
        mounted: BTreeMap::new(),
        details: Details {
            networks: BTreeMap::new(),
            network_mode: "none".to_owned(),
            mounts,
            ..of.details.clone()
        },
        ..of
    };
    world.containers.insert(id, container);
}

/// The networks of these services, by key: docker's name and the id. docker-compose creates those that are missing
/// and refuses those whose options are others.
pub(super) fn networks_up<'a>(
    world: &mut World,
    project: &str,
    file: &ComposeFile,
    services: impl Iterator<Item = &'a compose::Service>,
) -> Result<BTreeMap<String, (String, String)>, (i32, String)> {
    let keys: BTreeSet<&String> = services.flat_map(|service| &service.networks).collect();
    let mut up = BTreeMap::new();
    for key in keys {
        let declared = file.networks.iter().find(|network| network.key == *key);
        let declared = declared.cloned().unwrap_or_else(|| compose::Network {
            key: key.clone(),
            ..compose::Network::default()
        });
        let (name, _) = declared.docker_names(project);
        let found = world.networks.iter().find(|(_, found)| found.name == name);
        let id = match found {
            Some((id, found)) => {
                let differs = found.options != declared.options
                    || declared
                        .internal
                        .is_some_and(|internal| internal != found.internal)
                    || declared
                        .driver
                        .as_ref()
                        .is_some_and(|driver| *driver != found.driver);
                if differs && !declared.external {
                    return fail(format!("Network \"{name}\" needs to be recreated"));
                }
                id.clone()
            }
            None if declared.external => {
                return fail(format!(
                    "Network {name} declared as external, but could not be found"
                ));
            }
            None => {
                let pool = declared.pools.first();
                let network = Network {
                    name: name.clone(),
                    project: project.to_owned(),
                    key: key.clone(),
                    driver: declared.driver.unwrap_or_default(),
                    options: declared.options,
                    subnet: pool
                        .and_then(|pool| pool.subnet.clone())
                        .unwrap_or_default(),
                    internal: declared.internal == Some(true),
                };
                let id = world.fresh_id();
                world.networks.insert(id.clone(), network);
                id
            }
        };
        up.insert(key.clone(), (name, id));
    }
    Ok(up)
}
