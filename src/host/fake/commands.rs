//! Runs the commands of plans on the in-memory VPU.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    delta, files, images, transfers,
    world::{Container, Details, Mount, Network, Volume, World},
};
use crate::{
    compose::{self, ComposeFile, MountSource, parse_env},
    digest::Digest,
    remote,
    shell::Argv,
};

/// stdout, or exit code and stderr.
pub(super) type Ran = Result<String, (i32, String)>;

pub(super) fn fail<T>(reason: impl Into<String>) -> Result<T, (i32, String)> {
    Err((1, reason.into()))
}

pub(super) fn run(world: &mut World, command: &Argv, stdin: &[u8]) -> Ran {
    let words: Vec<&str> = command.words().iter().map(String::as_str).collect();
    if let Some(name) = command.script_name() {
        return script(world, name, &words[4..], stdin);
    }
    let docker = matches!(words.first(), Some(&"docker"));
    if docker && !world.docker_runs {
        return fail("Cannot connect to the Docker daemon");
    }
    match words.as_slice() {
        ["mkdir", "-p", "--", path] => world.make_directory(path),
        ["chmod", mode, "--", path] => {
            let mode = u32::from_str_radix(mode, 8).map_err(|e| (1, e.to_string()))?;
            match world.directories.get_mut(*path) {
                Some(entry) => entry.0 = mode,
                None => return fail(format!("chmod: {path}: No such file or directory")),
            }
        }
        ["rm", "-rf", "--", paths @ ..] => paths.iter().for_each(|path| drop(world.take(path))),
        ["docker", "image", "tag", image, name] => {
            let Some(id) = world.image_id(image) else {
                return fail("no such image");
            };
            for image in world.images.values_mut() {
                image.tags.remove(*name);
            }
            world
                .images
                .entry(id)
                .or_default()
                .tags
                .insert((*name).to_owned());
        }
        ["sync"] => {}
        [
            "systemctl",
            "--user",
            verb @ ("enable" | "disable"),
            "--",
            unit,
        ] => {
            if !world.autostart.set(unit, *verb == "enable") {
                return fail(format!("Unit file {unit} does not exist."));
            }
        }
        ["docker", "container", "update", policy, ids @ ..] => {
            let policy = policy.trim_start_matches("--restart=");
            for id in ids {
                match world.containers.get_mut(*id) {
                    Some(container) => policy.clone_into(&mut container.restart_policy),
                    None => return fail(format!("No such container: {id}")),
                }
            }
        }
        _ => return Err((127, format!("{}: not understood", command.to_display()))),
    }
    Ok(String::new())
}

fn script(world: &mut World, name: &str, args: &[&str], stdin: &[u8]) -> Ran {
    match (name, args) {
        ("o3r-create-volume", [name, device, label]) => {
            let owner = label.split_once('=').map(|(_, release)| release.to_owned());
            return create_volume(world, name, device, owner);
        }
        ("o3r-replace-volume", [name, device, label, projects @ ..]) => {
            let owner = label.split_once('=').map(|(_, release)| release.to_owned());
            return replace_volume(world, name, device, owner, projects);
        }
        (
            "o3r-untag-image" | "o3r-forget-parts" | "o3r-receive-part" | "o3r-load-part"
            | "o3r-load-zstd" | "o3r-load-image",
            _,
        ) => {
            return images::script(world, name, args, stdin);
        }
        ("o3r-remove-services", [project, services @ ..]) => {
            world.containers.retain(|_, container| {
                container.project != *project || !services.contains(&container.service.as_str())
            });
        }
        ("o3r-put-file" | "o3r-remove-file" | "o3r-restore-file", _) => {
            return files::script(world, name, args, stdin);
        }
        ("o3r-remove-files", [directory, files @ ..]) => {
            for file in files {
                world.remove_below(file);
            }
            if world.files_below(directory).is_empty() {
                world.directories.remove(*directory);
            }
        }
        ("o3r-load-delta", [_, base, how]) => return delta::run(world, base, how, stdin),
        ("o3r-stage-files", [staging]) => return transfers::stage(world, staging, stdin),
        ("o3r-move-files", [target, new, old, marker, how, records @ ..]) => {
            transfers::mark(world, marker, how, records);
            let moved = transfers::move_files(world, [target, new, old], stdin);
            if moved.is_ok() {
                transfers::unmark(world, marker, how, records);
            }
            return moved;
        }
        ("o3r-in", [directory, "docker-compose", compose @ ..]) => {
            let project = directory.rsplit('/').next().unwrap_or_default().to_owned();
            return docker_compose(world, &project, compose);
        }
        ("o3r-settle", [project, _]) => {
            let down = world
                .containers
                .values()
                .find(|container| container.project == *project && container.status != "running");
            if let Some(container) = down {
                return fail(format!(
                    "container {} is {}",
                    container.name, container.status
                ));
            }
        }
        ("o3r-record-started", [project, record]) => {
            let mut text = String::from_utf8_lossy(stdin).into_owned();
            let _ = writeln!(text, "boot {}", world.boot_id);
            for (id, container) in &world.containers {
                if container.project == *project {
                    let _ = writeln!(text, "container {id}");
                }
            }
            world.write(record, text.as_bytes(), 0o600);
        }
        ("o3r-record-release", _) if !stdin.ends_with(b"\n") => {
            return fail("the record was cut short");
        }
        ("o3r-record-release", [history, _, _, kept @ ..]) => {
            let mut bytes = world
                .files
                .get(*history)
                .map(|f| f.bytes.clone())
                .unwrap_or_default();
            bytes.extend_from_slice(stdin);
            world.write(history, &bytes, 0o600);
            for directory in kept {
                drop(world.take(directory));
            }
        }
        ("o3r-restart-policy", [project, service, policy]) => {
            for container in world.containers.values_mut() {
                if container.project == *project && container.service == *service {
                    (*policy).clone_into(&mut container.restart_policy);
                }
            }
        }
        ("o3r-remove-project", [project, record]) => {
            world.files.remove(*record);
            world
                .containers
                .retain(|_, container| container.project != *project);
        }
        _ => return Err((127, format!("{name}: not understood"))),
    }
    Ok(String::new())
}

fn create_volume(world: &mut World, name: &str, device: &str, owner: Option<String>) -> Ran {
    let options = [("type", "none"), ("o", "bind"), ("device", device)];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let wanted = Volume {
        options: BTreeMap::from(options),
        owner,
    };
    let found = world.volumes.entry(name.to_owned()).or_insert(wanted);
    if found.options.get("device").map(String::as_str) != Some(device) {
        return fail("volume exists already");
    }
    Ok(String::new())
}

fn replace_volume(
    world: &mut World,
    name: &str,
    device: &str,
    owner: Option<String>,
    projects: &[&str],
) -> Ran {
    let options = [("type", "none"), ("o", "bind"), ("device", device)];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let options = BTreeMap::from(options);
    let found = world.volumes.get(name);
    if found.is_some_and(|found| found.options == options) {
        return Ok(String::new());
    }
    let has_it = |container: &Container| container.volumes.contains(name);
    let mut users = world.containers.values().filter(|c| has_it(c));
    if users.any(|container| !projects.contains(&container.project.as_str())) {
        return fail("a container that is not of this release has the volume");
    }
    world.containers.retain(|_, container| !has_it(container));
    let volume = Volume { options, owner };
    world.volumes.insert(name.to_owned(), volume);
    Ok(String::new())
}

fn docker_compose(world: &mut World, project: &str, args: &[&str]) -> Ran {
    match args {
        ["rm", "--stop", "--force", services @ ..] => {
            let known = compose_file(world, project)?.services;
            let known = |name: &&&str| known.iter().any(|service| service.name == **name);
            if let Some(unknown) = services.iter().find(|name| !known(name)) {
                return fail(format!("No such service: {unknown}"));
            }
            world.containers.retain(|_, container| {
                container.project != project || !services.contains(&container.service.as_str())
            });
            Ok(String::new())
        }
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
        ["up", how, "--remove-orphans", force @ ..] => compose_up(
            world,
            project,
            *how == "-d",
            force.contains(&"--force-recreate"),
        ),
        _ => Err((127, format!("docker-compose {args:?}: not understood"))),
    }
}

/// The files that a container made now sees: those of the project's directory, and what it mounts.
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

/// The project's compose file, its variables replaced.
fn compose_file(world: &World, project: &str) -> Result<ComposeFile, (i32, String)> {
    let (text, env) = compose_texts(world, project)?;
    ComposeFile::parse_with(&text, &parse_env(&env)).map_err(|error| (1, error.to_string()))
}

/// The texts of the project's compose file and of its `.env`.
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

/// `docker-compose up`, with containers recreated where the compose file or the image changed.
pub(super) fn compose_up(world: &mut World, project: &str, start: bool, force: bool) -> Ran {
    let directory = remote::project_directory(project);
    let (text, _) = compose_texts(world, project)?;
    let parsed = compose_file(world, project)?;
    world.containers.retain(|_, container| {
        container.project != project
            || parsed
                .services
                .iter()
                .any(|service| service.name == container.service)
    });
    let network = format!("{project}_default");
    let on_network = |service: &compose::Service| service.network_mode.is_none();
    let default = parsed.services.iter().any(on_network);
    let default = default.then(|| (network.clone(), default_network(world, project, &network)));
    for service in &parsed.services {
        let networks = default.iter().filter(|_| on_network(service)).cloned();
        let networks: BTreeMap<String, String> = networks.collect();
        let name = service
            .image
            .as_ref()
            .map(|image| image.value.clone())
            .unwrap_or_default();
        let Some(image) = world.image_id(&name) else {
            return fail(format!("no image {name}"));
        };
        // The values of `.env` are not in it: no test's compose file has variables.
        let config_hash = Digest::of(format!("{text}{image}"));
        let volumes = service
            .mounts
            .iter()
            .filter_map(|mount| match &mount.source {
                MountSource::Volume(key) => Some(key.clone()),
                _ => None,
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
        let extra = |c: &Container| own(c) && !(1..=wanted).any(|n| name_of(n) == c.name);
        world.containers.retain(|_, container| !extra(container));
        for number in 1..=wanted {
            let fresh = Container {
                name: name_of(number),
                image: image.clone(),
                status: status.to_owned(),
                restart_policy: service.restart.clone().unwrap_or_else(|| "no".to_owned()),
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
                    network_mode: service.network_mode.clone().unwrap_or(network.clone()),
                    mounts: volumes
                        .iter()
                        .map(|volume| (format!("/{volume}"), Mount::Volume(volume.clone())))
                        .collect(),
                },
            };
            make(world, fresh, start, force)?;
        }
    }
    Ok(String::new())
}

/// The id of a project's network, which is created where it is missing.
fn default_network(world: &mut World, project: &str, name: &str) -> String {
    let found = world.networks.iter().find(|(_, found)| found.name == name);
    if let Some((id, _)) = found {
        return id.clone();
    }
    let id = world.fresh_id();
    let network = Network {
        name: name.to_owned(),
        project: project.to_owned(),
        key: "default".into(),
        ..Network::default()
    };
    world.networks.insert(id.clone(), network);
    id
}

/// Makes a container, unless one is there that is to be kept. Its successor takes its anonymous volumes over.
fn make(
    world: &mut World,
    mut fresh: Container,
    start: bool,
    force: bool,
) -> Result<(), (i32, String)> {
    let same = |c: &Container| c.project == fresh.project && c.name == fresh.name;
    let found = world.containers.values_mut().find(|c| same(c));
    match found {
        Some(found) if found.config_hash == fresh.config_hash && !force => {
            let mut networks = found.details.networks.values();
            let gone = networks.find(|id| !world.networks.contains_key(*id));
            if let (true, Some(id)) = (start && found.status != "running", gone) {
                return fail(format!("network {id} not found"));
            }
            if start {
                found.status = fresh.status;
            }
            return Ok(());
        }
        _ => {}
    }
    let old = world.containers.values().find(|c| same(c));
    let old = old
        .map(|old| old.details.mounts.clone())
        .unwrap_or_default();
    let wanted = world
        .images
        .get(&fresh.image)
        .map(|image| image.volumes.clone());
    for destination in wanted.unwrap_or_default() {
        if !fresh.details.mounts.contains_key(&destination) {
            let name = match old.get(&destination) {
                Some(Mount::Volume(name)) => name.clone(),
                _ => world.fresh_id(),
            };
            let volume = Volume {
                options: BTreeMap::new(),
                owner: None,
            };
            world.volumes.entry(name.clone()).or_insert(volume);
            fresh.volumes.insert(name.clone());
            fresh
                .details
                .mounts
                .insert(destination, Mount::Volume(name));
        }
    }
    let same = |c: &Container| c.project == fresh.project && c.name == fresh.name;
    world.containers.retain(|_, container| !same(container));
    let id = world.fresh_id();
    world.containers.insert(id, fresh);
    Ok(())
}
