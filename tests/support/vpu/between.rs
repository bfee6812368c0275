//! Networks and stand-ins of the in-memory VPU, between
//! stopping containers and starting their replacements.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    commands::{Ran, fail},
    docker::Wanted,
    projects,
    world::{Container, Mount, Network, World},
};
use o3r_deploy::internal::compose::{self, ComposeFile};

pub(super) fn script(world: &mut World, name: &str, args: &[&str]) -> Ran {
    match (name, args) {
        ("o3r-remove-networks", ids) => {
            for id in ids {
                if world.networks.contains_key(*id) {
                    world.remove_network(id)?;
                }
            }
        }
        ("o3r-earlier-networks", [project, keep @ ..]) => {
            let own = world.networks.iter();
            let own = own.filter(|(id, network)| {
                network.project == *project && !keep.contains(&id.as_str())
            });
            let is_free = |(id, network): &(&String, &Network)| {
                users(world, id, &network.name).all(|c| c.project == *project && !c.is_up())
            };
            let free = own.filter(is_free);
            let ids: Vec<String> = free.map(|(id, _)| id.clone()).collect();
            for id in ids {
                world.remove_network(&id)?;
            }
        }
        ("o3r-uncover-mounts", [project, service, mounts @ ..]) => {
            let wanted: Vec<(&str, &str)> =
                mounts.iter().filter_map(|m| m.split_once(' ')).collect();
            let is_another = |at: &str, mount: &Mount| {
                let mut wanted = wanted.iter().filter(|(_, destination)| *destination == at);
                wanted.any(|(volume, _)| matches!(mount, Mount::Volume(name) if name != volume))
            };
            for id in projects::of_service(world, project, service) {
                let mut mounts = world.containers[&id].details.mounts.iter();
                if mounts.any(|(at, mount)| is_another(at, mount)) {
                    leave_stand_in(world, &id, None, |at, mount| {
                        !is_another(at, mount) && is_anonymous(mount)
                    })?;
                }
            }
        }
        ("o3r-stand-in", [id, image]) => {
            if world.containers.contains_key(*id) {
                world.stop_container(id)?;
            }
            leave_stand_in(world, id, Some(image), |_, mount| is_anonymous(mount))?;
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
            let service_ids = projects::of_service(world, project, service);
            let is_it = |id: &String| world.containers[id].details.number.to_string() == *number;
            let ids: Vec<String> = service_ids.into_iter().filter(is_it).collect();
            if ids.iter().any(|id| id == old) {
                return Ok(String::new());
            }
            let volumes = volumes.iter().filter_map(|word| word.split_once(' '));
            let there = volumes.filter(|(name, _)| world.volumes.contains_key(*name));
            let volumes = there.map(|(name, at)| (at.to_owned(), name.to_owned()));
            let volumes: BTreeMap<String, String> = volumes.collect();
            if volumes.is_empty() {
                return Ok(String::new());
            }
            let wanted = Wanted {
                image: (*image).to_owned(),
                labels: labels([project, service, number, directory], false),
                volumes,
                ..Wanted::default()
            };
            stand_in(world, old, wanted)?;
            for id in ids {
                world.remove_container(&id)?;
            }
        }
        _ => return Err((127, format!("{name}: not understood"))),
    }
    Ok(String::new())
}

pub(super) fn is_anonymous(mount: &Mount) -> bool {
    matches!(mount, Mount::Volume(name) if name.len() == 64)
}

/// Returns the containers on a network, as docker finds
/// them: those that never ran refer to it by name alone.
fn users<'a>(world: &'a World, id: &'a str, name: &'a str) -> impl Iterator<Item = &'a Container> {
    let containers = world.containers.values();
    containers.filter(move |c| {
        let mut networks = c.details.networks.iter();
        networks.any(|(its_name, its_id)| its_name == name || its_id == id)
    })
}

/// Removes a container, leaving a stand-in with those of its mounts that are kept: from this image,
/// or else from its own.
pub(super) fn leave_stand_in(
    world: &mut World,
    id: &str,
    image: Option<&str>,
    is_kept: impl Fn(&String, &Mount) -> bool,
) -> Ran {
    let Some(old) = world.containers.get(id) else {
        return Ok(String::new());
    };
    let mounts = old.details.mounts.iter();
    let kept = mounts.filter(|(at, mount)| is_kept(at, mount));
    let volumes = kept.filter_map(|(at, mount)| match mount {
        Mount::Volume(name) => Some((at.clone(), name.clone())),
        Mount::Bind(_) => None,
    });
    let volumes: BTreeMap<String, String> = volumes.collect();
    if !volumes.is_empty() {
        let number = old.details.number.to_string();
        let words = [&old.project, &old.service, &number, &old.working_dir];
        // A container that docker-compose did not create has none of them.
        let labels = if old.project.is_empty() {
            BTreeMap::new()
        } else {
            labels(words.map(String::as_str), old.details.one_off)
        };
        let wanted = Wanted {
            image: image.unwrap_or(&old.image).to_owned(),
            labels,
            volumes,
            ..Wanted::default()
        };
        stand_in(world, id, wanted)?;
    }
    world.remove_container(id)
}

/// Returns the labels by which docker-compose recognises a container.
fn labels(
    [project, service, number, directory]: [&str; 4],
    is_one_off: bool,
) -> BTreeMap<String, String> {
    let labels = [
        ("project", project),
        ("service", service),
        ("container-number", number),
        ("project.working_dir", directory),
        ("oneoff", if is_one_off { "True" } else { "False" }),
    ];
    let labels =
        labels.map(|(name, value)| (format!("com.docker.compose.{name}"), value.to_owned()));
    labels.into()
}

/// Creates a container that never runs and has the volumes of a removed one.
fn stand_in(world: &mut World, old: &str, wanted: Wanted) -> Ran {
    let image = world.image_id(&wanted.image);
    let declared = image.map(|image| world.images[&image].volumes.clone());
    let declared = declared.unwrap_or_default().into_iter();
    let in_memory = declared.map(|path| path.trim_end_matches('/').to_owned());
    let id = world.create_container(Wanted {
        network_mode: "none".to_owned(),
        in_memory: in_memory.collect(),
        ..wanted
    })?;
    let name = format!("{}_o3r-placeholder-{}", &id[..12], &old[..12]);
    world.rename_container(&id, &name)
}

/// Returns the networks of these services, by key: docker's name and the ID. docker-compose creates
/// missing ones and refuses those with other options.
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
