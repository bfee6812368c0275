//! Runs docker-compose on the in-memory VPU, and the scripts around it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
};

use super::{
    between::networks_up,
    commands::{Ran, fail},
    world::{Container, Details, Mount, Volume, World},
};
use o3r_deploy::internal::{
    compose::{self, ComposeFile, MountSource, parse_env},
    digest::Digest,
    remote,
};

pub(super) fn script(world: &mut World, name: &str, args: &[&str]) -> Ran {
    match (name, args) {
        ("o3r-restart-policy", [project, service, policy]) => {
            let ids = of_service(world, project, service);
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            world.update_restart_policy(&ids, policy)
        }
        ("o3r-set-aside", [verb, path, found, record]) => {
            world.files.remove(*record);
            let aside = format!("{path}{found}");
            let (from, to) = match *verb {
                "undo" => (aside.as_str(), *path),
                _ => (*path, aside.as_str()),
            };
            world.rename(from, to);
            Ok(String::new())
        }
        ("o3r-remove-containers", ids) => {
            world.containers.retain(|id, _| !ids.contains(&id.as_str()));
            Ok(String::new())
        }
        ("o3r-step-aside", [project, services @ ..]) => {
            let services = services.iter().filter_map(|word| word.split_once('='));
            let ids = services.flat_map(|(service, _)| of_service(world, project, service));
            let ids: Vec<String> = ids.collect();
            for id in &ids {
                world.stop_container(id)?;
            }
            for id in &ids {
                step_aside(world, id)?;
            }
            Ok(String::new())
        }
        ("o3r-put-back", [project, how, words @ ..]) => {
            let mut words = words.split(|word| *word == "--");
            let mut pairs = || -> Vec<(&str, &str)> {
                let words = words.next().unwrap_or_default();
                words.iter().filter_map(|w| w.split_once('=')).collect()
            };
            let before = pairs();
            put_back(world, project, *how == "-d", &before, &pairs())
        }
        ("o3r-recreate", [project, _, how, words @ ..]) => {
            let before: Vec<&str> = words
                .iter()
                .filter_map(|w| Some(w.split_once('=')?.0))
                .collect();
            let all: Vec<&str> = words.iter().filter(|w| !w.contains('=')).copied().collect();
            let services = to_recreate(world, project, &all, &before);
            let start = *how == "-d";
            if services.is_empty() {
                return Ok(String::new());
            }
            services_up(world, project, (start, false), |name| {
                all.contains(&name) && !services.iter().any(|service| service == name)
            })?;
            services_up(world, project, (start, true), |name| {
                services.iter().any(|service| service == name)
            })
        }
        _ => Err((127, format!("{name}: not understood"))),
    }
}

/// Returns those of a project's services that have no container, a
/// container that is not a former one, or one that cannot start: its
/// network is gone, or the owner of its namespace is recreated or gone.
fn to_recreate(world: &World, project: &str, services: &[&str], before: &[&str]) -> Vec<String> {
    let of = |service: &str| {
        let all = world.containers.iter();
        let own = all.filter(|(_, c)| c.project == project && c.service == service);
        own.collect::<Vec<_>>()
    };
    let is_new = |(id, c): &(&String, &Container)| {
        let mut networks = c.details.networks.values();
        !before.contains(&id.as_str()) || networks.any(|id| !world.networks.contains_key(id))
    };
    let is_newer = |service: &&&str| {
        let own = of(service);
        own.is_empty() || own.iter().any(is_new)
    };
    let newer: Vec<&str> = services.iter().filter(is_newer).copied().collect();
    let lost_its_owner = |(_, c): &(&String, &Container)| {
        let owner = c.details.network_mode.strip_prefix("container:");
        owner.is_some_and(|id| {
            let owner = world.containers.get(id);
            owner.is_none_or(|owner| newer.contains(&owner.service.as_str()))
        })
    };
    let is_meant =
        |service: &&&str| newer.contains(*service) || of(service).iter().any(lost_its_owner);
    services
        .iter()
        .filter(is_meant)
        .map(|service| (*service).to_owned())
        .collect()
}

/// Returns the container's name, or the one before it was renamed aside.
fn own_name<'a>(id: &str, container: &'a Container) -> &'a str {
    let aside = id
        .get(..12)
        .and_then(|short| container.name.strip_prefix(short));
    aside
        .and_then(|name| name.strip_prefix('_'))
        .unwrap_or(&container.name)
}

/// Whether a container was renamed for its replacement.
pub(super) fn is_aside(id: &str, container: &Container) -> bool {
    own_name(id, container) != container.name
}

/// Renames a container aside.
fn step_aside(world: &mut World, id: &str) -> Ran {
    let name = own_name(id, &world.containers[id]);
    let aside = format!("{}_{name}", &id[..12]);
    rename(world, id, &aside)
}

/// Renames a container, unless it has the name already.
fn rename(world: &mut World, id: &str, name: &str) -> Ran {
    if world.containers.get(id).is_some_and(|c| c.name == name) {
        return Ok(String::new());
    }
    world.rename_container(id, name)
}

/// Returns the IDs of a project's containers, without those of `docker-compose run`.
pub(super) fn of_project(world: &World, project: &str) -> Vec<String> {
    world.newest(|c| c.project == project && !c.details.one_off)
}

/// Returns the same for a service.
pub(super) fn of_service(world: &World, project: &str, service: &str) -> Vec<String> {
    world.newest(|c| c.project == project && c.service == service && !c.details.one_off)
}

fn put_back(
    world: &mut World,
    project: &str,
    start: bool,
    before: &[(&str, &str)],
    images: &[(&str, &str)],
) -> Ran {
    let held = |(name, image): &&(&str, &str)| {
        let id = world.image_id(name);
        id.is_some() && id == world.image_id(image)
    };
    let gone = images.iter().find(|image| !held(image));
    let lacks = gone.map(|(name, _)| format!("the image {name} of the release before is gone"));
    let ids = of_project(world, project);
    let is_old = |id: &&String| before.iter().any(|(old, _)| old == id);
    let service = |id: &String| world.containers[id].service.clone();
    let services: BTreeSet<String> = ids.iter().filter(is_old).map(service).collect();
    let newer = ids.iter().filter(|id| !is_old(id));
    let (superseded, mut alone): (Vec<_>, Vec<_>) =
        newer.partition(|id| services.contains(&service(id)));
    if lacks.is_some() {
        alone.clear();
    }
    for id in superseded.iter().chain(&alone) {
        world.stop_container(id)?;
    }
    for id in superseded {
        world.remove_container(id)?;
    }
    for id in alone {
        let name = own_name(id, &world.containers[id]).to_owned();
        rename(world, id, &name)?;
    }
    let before = before
        .iter()
        .filter(|(old, _)| ids.iter().any(|id| id == old));
    for (id, name) in before.clone() {
        rename(world, id, name)?;
    }
    let Some(lacks) = lacks else {
        return Ok(String::new());
    };
    if start {
        // Some need others to run first, whose network they use.
        for _ in 0..2 {
            for (id, _) in before.clone() {
                let _ = world.start_container(id);
            }
        }
    }
    fail(lacks)
}

pub(super) fn docker_compose(world: &mut World, project: &str, args: &[&str]) -> Ran {
    match args {
        ["stop"] => {
            for container in world
                .containers
                .values_mut()
                .filter(|c| c.project == project)
            {
                "exited".clone_into(&mut container.status);
            }
            Ok(String::new())
        }
        ["up", how] => compose_up(world, project, *how == "-d", false),
        ["up", how, "--force-recreate"] => compose_up(world, project, *how == "-d", true),
        ["up", how, "--remove-orphans", force @ ..] => {
            let parsed = compose_file(world, project)?;
            world.containers.retain(|_, container| {
                let mut services = parsed.services.iter();
                container.project != project || services.any(|s| s.name == container.service)
            });
            let force = force.contains(&"--force-recreate");
            compose_up(world, project, *how == "-d", force)
        }
        ["up", how, "--no-deps", services @ ..]
            if services.first() != Some(&"--force-recreate") =>
        {
            let start = *how == "-d";
            services_up(world, project, (start, false), |name| {
                services.contains(&name)
            })
        }
        ["up", how, "--no-deps", "--force-recreate", services @ ..] => {
            let start = *how == "-d";
            services_up(world, project, (start, true), |name| {
                services.contains(&name)
            })
        }
        _ => Err((127, format!("docker-compose {args:?}: not understood"))),
    }
}

/// Returns the files that a container created now sees:
/// those of the project's directory, and its mounts.
fn seen(world: &World, directory: &str, service: &compose::Service) -> BTreeMap<String, Vec<u8>> {
    let mut seen = world.files_below(directory);
    for mount in &service.mounts {
        if let MountSource::Bind(path) = &mount.source
            && let Some(rest) = path.strip_prefix('~')
        {
            let path = format!("{}{rest}", world.home);
            seen.extend(world.files_below(&path));
            if let Some(file) = world.files.get(&path) {
                seen.insert(path, file.bytes.clone());
            }
        }
    }
    seen
}

/// Runs `docker-compose config` on the files of a tar:
/// returns the compose file with its variables replaced.
pub(super) fn config(archive: &[u8]) -> Ran {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(archive);
    let unreadable = |error: std::io::Error| (78, error.to_string());
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let name = entry.path().map_err(unreadable)?.display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).map_err(unreadable)?;
        files.insert(name, text);
    }
    let text = files.get("docker-compose.yml").cloned().unwrap_or_default();
    let env = files.get(".env").map(|text| parse_env(text));
    let env = env.unwrap_or_default();
    let find = |name: &str| files.get(name).cloned();
    let reading = compose::read_project(text.clone(), &env, compose::Release::V1_29, &find);
    if let Some(refusal) = reading.refusals.iter().find(|refusal| refusal.by_config) {
        return fail(format!("ERROR: the file {}", refusal.message));
    }
    let replace = |text: String, (name, value): (&String, &String)| {
        text.replace(&format!("${{{name}}}"), value)
    };
    let resolved = env.iter().fold(text, replace);
    Ok(format!("o3r-resolved /dev/shm/o3r-config-fake\n{resolved}"))
}

/// Returns the project's compose file with its variables replaced.
fn compose_file(world: &World, project: &str) -> Result<ComposeFile, (i32, String)> {
    let (text, env) = compose_texts(world, project)?;
    ComposeFile::parse_with(&text, &parse_env(&env)).map_err(|error| (1, error.to_string()))
}

/// Returns the texts of the project's compose file and of its `.env`.
fn compose_texts(world: &World, project: &str) -> Result<(String, String), (i32, String)> {
    let directory = remote::project_directory(project);
    let text = |name: &str| {
        let file = world.files.get(&format!("{directory}/{name}"))?;
        Some(String::from_utf8_lossy(&file.bytes).into_owned())
    };
    let Some(compose) = text("docker-compose.yml") else {
        return fail("no docker-compose.yml");
    };
    Ok((compose, text(".env").unwrap_or_default()))
}

/// Runs `docker-compose up`, which recreates containers whose compose file or image changed.
pub(super) fn compose_up(world: &mut World, project: &str, start: bool, force: bool) -> Ran {
    services_up(world, project, (start, force), |_| true)
}

fn services_up(
    world: &mut World,
    project: &str,
    (start, force): (bool, bool),
    is_meant: impl Fn(&str) -> bool,
) -> Ran {
    let directory = remote::project_directory(project);
    let (text, _) = compose_texts(world, project)?;
    let parsed = compose_file(world, project)?;
    let meant = || parsed.services.iter().filter(|s| is_meant(&s.name));
    let up = networks_up(world, project, &parsed, meant())?;
    let mut renewed = BTreeSet::new();
    for service in meant() {
        let networks = service
            .networks
            .iter()
            .filter_map(|key| up.get(key).cloned());
        let networks: BTreeMap<String, String> = networks.collect();
        let mode = networks.keys().next().cloned().unwrap_or_default();
        let name = service
            .image
            .as_ref()
            .map(|image| image.value.clone())
            .unwrap_or_default();
        let Some(image) = world.image_id(&name) else {
            // docker-compose pulls from a registry, which may have another image of that name.
            world.pulls.insert(name.clone());
            return fail(format!("Pulling {} ({name})...", service.name));
        };
        let mode = match service.network_mode.as_deref() {
            Some(mode) => namespace(world, project, mode),
            None => mode,
        };
        // Without the values of `.env`: no test's compose file has variables.
        let config_hash = Digest::of(format!("{text}{image}"));
        let mounts = mounts(world, project, &parsed, service);
        let volumes = mounts.values().filter_map(|mount| match mount {
            Mount::Volume(name) => Some(name.clone()),
            Mount::Bind(_) => None,
        });
        let volumes: BTreeSet<String> = volumes.collect();
        let mut mounted = BTreeMap::new();
        for volume in &volumes {
            let Some(found) = world.volumes.get(volume) else {
                return fail("no such volume");
            };
            let device = found.options.get("device").cloned().unwrap_or_default();
            mounted.insert(volume.clone(), device);
        }
        let status = match (start, world.crashing.contains(&image)) {
            (true, true) => "restarting",
            (true, false) => "running",
            (false, _) => "created",
        };
        let own = |c: &Container| c.project == project && c.service == service.name;
        let wanted = service.scale.unwrap_or(1);
        let name_of = |number: usize| format!("{project}_{}_{number}", service.name);
        let extra = |c: &Container| own(c) && !(1..=wanted).contains(&c.details.number);
        world.containers.retain(|_, container| !extra(container));
        for number in 1..=wanted {
            let fresh = Container {
                name: name_of(number),
                image: image.clone(),
                status: status.to_owned(),
                restart_policy: service.restart.clone().unwrap_or_default().to_string(),
                project: project.to_owned(),
                service: service.name.clone(),
                working_dir: directory.clone(),
                volumes: volumes.clone(),
                host_network: service.network_mode.as_deref() == Some("host"),
                config_hash,
                made_from: seen(world, &directory, service),
                mounted: mounted.clone(),
                details: Details {
                    image_ref: name.clone(),
                    number,
                    networks: networks.clone(),
                    network_mode: mode.clone(),
                    mounts: mounts.clone(),
                    links: BTreeSet::new(),
                    memory: service.limits.as_ref().map_or(0, |limits| limits.memory),
                    one_off: false,
                    exit_code: 0,
                },
            };
            // docker-compose recreates a stopped container that uses the namespace of a recreated
            // one; it leaves a running one.
            let owner = service.network_mode.as_deref();
            let owner = owner.and_then(|mode| mode.strip_prefix("service:"));
            let stands = |c: &Container| c.status != "running" && c.service == service.name;
            let follows = owner.is_some_and(|owner| renewed.contains(owner))
                && world
                    .containers
                    .values()
                    .any(|c| c.project == project && stands(c));
            let before: BTreeSet<String> = world.containers.keys().cloned().collect();
            make(world, fresh, start, force || follows)?;
            if world.containers.keys().any(|id| !before.contains(id)) {
                renewed.insert(service.name.clone());
            }
        }
    }
    Ok(String::new())
}

/// Returns docker's word for a network mode: docker-compose takes the first container of the
/// service whose namespace is used; if there is none, it warns and takes docker's default.
fn namespace(world: &World, project: &str, mode: &str) -> String {
    let Some(service) = mode.strip_prefix("service:") else {
        return mode.to_owned();
    };
    let owners = world.containers.iter();
    let owner = owners
        .filter(|(_, c)| c.project == project && c.service == service)
        .min_by_key(|(_, c)| c.details.number);
    owner.map_or_else(|| "default".to_owned(), |(id, _)| format!("container:{id}"))
}

/// Returns a service's mounts by destination; docker chooses the rest.
fn mounts(
    world: &World,
    project: &str,
    file: &ComposeFile,
    service: &compose::Service,
) -> BTreeMap<String, Mount> {
    let mounts = service.mounts.iter().filter_map(|mount| {
        let source = match &mount.source {
            MountSource::Bind(path) => Mount::Bind(path.replacen('~', &world.home, 1)),
            MountSource::Volume(key) => {
                let declared = file.volumes.iter().find(|volume| volume.key == *key)?;
                Mount::Volume(declared.docker_names(project).0)
            }
            MountSource::Anonymous | MountSource::Memory => return None,
        };
        Some((mount.target.clone()?, source))
    });
    mounts.collect()
}

/// Checks the owner of a container's namespace: docker starts no container in the namespace of one
/// that is gone or stopped.
pub(super) fn may_start(there: &BTreeMap<String, Container>, container: &Container) -> Ran {
    let Some(id) = container.details.network_mode.strip_prefix("container:") else {
        return Ok(String::new());
    };
    match there.get(id).map(|owner| owner.status.as_str()) {
        None => fail(format!("No such container: {id}")),
        Some("running" | "restarting") => Ok(String::new()),
        Some(_) => fail(format!(
            "cannot join network of a non running container: {id}"
        )),
    }
}

/// Creates a container, unless an existing one is kept. A
/// replacement takes over its anonymous volumes.
fn make(world: &mut World, mut fresh: Container, start: bool, force: bool) -> Ran {
    let own = |(_, c): &(&String, &mut Container)| {
        c.project == fresh.project
            && c.service == fresh.service
            && c.details.number == fresh.details.number
    };
    let there = world.containers.clone();
    let mut old = BTreeMap::new();
    let mut replaced = vec![];
    for (id, found) in world.containers.iter_mut().filter(own) {
        if found.config_hash == fresh.config_hash && !force {
            let mut networks = found.details.networks.values();
            let gone = networks.find(|id| !world.networks.contains_key(*id));
            if let (true, Some(id)) = (start && found.status != "running", gone) {
                return fail(format!("network {id} not found"));
            }
            if start && found.status != "running" {
                may_start(&there, found)?;
                found.status = fresh.status;
            }
            return Ok(String::new());
        }
        if !world.images.contains_key(&found.image) {
            return fail(format!("no such image: {}", found.image));
        }
        old.extend(found.details.mounts.clone());
        replaced.push(id.clone());
    }
    let image = world.images.get(&fresh.image);
    let wanted = image.map(|image| image.volumes.clone());
    for destination in wanted.unwrap_or_default() {
        let mounts = &mut fresh.details.mounts;
        let name = match (old.get(&destination), mounts.get(&destination)) {
            // It covers the service's mount.
            (Some(Mount::Volume(name)), _) => name.clone(),
            (_, None) => world.fresh_id(),
            (_, Some(_)) => continue,
        };
        let volume = Volume {
            options: BTreeMap::new(),
            owner: None,
        };
        world.volumes.entry(name.clone()).or_insert(volume);
        mounts.insert(destination, Mount::Volume(name));
        let names = mounts.values().filter_map(|mount| match mount {
            Mount::Volume(name) => Some(name.clone()),
            Mount::Bind(_) => None,
        });
        fresh.volumes = names.collect();
    }
    world.containers.retain(|id, _| !replaced.contains(id));
    if world.containers.values().any(|c| c.name == fresh.name) {
        return fail(format!(
            "The container name \"/{}\" is already in use",
            fresh.name
        ));
    }
    let may_start = if start {
        may_start(&world.containers, &fresh)
    } else {
        Ok(String::new())
    };
    if may_start.is_err() {
        "created".clone_into(&mut fresh.status);
    }
    let id = world.fresh_id();
    world.containers.insert(id, fresh);
    may_start
}
