//! Runs the commands of plans on the in-memory VPU.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    between, blocks, delta, files, generations, images, projects, transfers,
    world::{Container, Mount, World, parent},
};
use o3r_deploy::internal::shell::Argv;

/// Standard output, or exit code and standard error.
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
        ["mkdir", "-p", "--", path] => {
            let mut above = *path;
            while !above.is_empty() {
                if world.files.contains_key(above) {
                    return fail(format!("mkdir: cannot create directory {path}"));
                }
                above = parent(above);
            }
            world.make_directory(path);
        }
        ["chmod", mode, "--", path] => {
            let mode = u32::from_str_radix(mode, 8).map_err(|e| (1, e.to_string()))?;
            match (world.directories.get_mut(*path), world.files.get_mut(*path)) {
                (Some(entry), _) => entry.0 = mode,
                (None, Some(file)) => file.mode = mode,
                (None, None) => return fail(format!("chmod: {path}: No such file or directory")),
            }
        }
        ["rm", "-rf", "--", paths @ ..] => paths.iter().for_each(|path| drop(world.take(path))),
        ["docker", "image", "tag", image, name] => return world.tag_image(image, name),
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
        ["docker", "container", "rename", id, name] => return world.rename_container(id, name),
        ["docker", "container", "update", policy, ids @ ..] => {
            return world.update_restart_policy(ids, policy.trim_start_matches("--restart="));
        }
        _ => return Err((127, format!("{}: not understood", command.to_display()))),
    }
    Ok(String::new())
}

fn script(world: &mut World, name: &str, args: &[&str], stdin: &[u8]) -> Ran {
    if generations::SCRIPTS.contains(&name) {
        return generations::script(world, name, args, stdin);
    }
    match (name, args) {
        ("o3r-restored", kept) => forget_kept(world, kept),
        ("o3r-note-attempt", [_, _, projects @ ..]) => {
            let kept = |project: &&str| format!("{}/.o3r-deploy/previous/{project}", world.home);
            let kept: Vec<String> = projects.iter().map(kept).collect();
            forget_kept(world, &kept.iter().map(String::as_str).collect::<Vec<_>>());
        }
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
        (
            "o3r-step-aside"
            | "o3r-put-back"
            | "o3r-recreate"
            | "o3r-remove-containers"
            | "o3r-set-aside"
            | "o3r-restart-policy",
            _,
        ) => {
            return projects::script(world, name, args);
        }
        (
            "o3r-remove-networks"
            | "o3r-earlier-networks"
            | "o3r-stand-in"
            | "o3r-uncover-mounts"
            | "o3r-bring-volumes-back",
            _,
        ) => {
            return between::script(world, name, args);
        }
        ("o3r-put-file" | "o3r-remove-file" | "o3r-restore-file", _) => {
            return files::script(world, name, args, stdin);
        }
        ("o3r-remove-data", [directory, how, volumes @ ..]) => {
            return remove_data(world, directory, how, volumes);
        }
        ("o3r-remove-files", [directory, files @ ..]) => remove_files(world, directory, files),
        ("o3r-load-delta", [_, base, how]) => return delta::run(world, base, how, stdin),
        ("o3r-patch-file", _) => return blocks::patch(world, args, stdin),
        ("o3r-stage-files", [staging]) => return transfers::stage(world, staging, stdin),
        ("o3r-move-files", [target, new, old, marker, how, records @ ..]) => {
            if parent(target).contains('/') {
                world.make_directory(parent(target));
            }
            transfers::mark(world, marker, how, records);
            let moved = transfers::move_files(world, [target, new, old], stdin);
            if moved.is_ok() {
                transfers::unmark(world, marker, how, records);
            }
            return moved;
        }
        ("o3r-in", [directory, "docker-compose", compose @ ..]) => {
            let project = directory.rsplit('/').next().unwrap_or_default().to_owned();
            return projects::docker_compose(world, &project, compose);
        }
        ("o3r-wait-healthy", [project, _, _, _, text, _, command @ ..]) => {
            return wait_healthy(world, project, text, command);
        }
        ("o3r-record-started", [project, record]) => record_started(world, project, record, stdin),
        ("o3r-take-over", [path]) => note_taken(world, path, stdin),
        ("o3r-record-release" | "o3r-recorded", [history, rest @ ..]) => {
            return record(world, name, history, rest, stdin);
        }
        ("o3r-arm", [release, nonce, _, _, _, _]) => {
            let home = &world.home;
            let path = format!("{home}/.o3r-deploy/watchdog/{release}/{nonce}.armed");
            world.write_privately(&path, b"", 0o600);
        }
        ("o3r-disarm", [release, _, ..]) => {
            let directory = format!("{}/.o3r-deploy/watchdog", world.home);
            drop(world.take(&format!("{directory}/{release}")));
            world.remove_empty(&directory);
        }
        ("o3r-remove-project", [project, record]) => {
            world.files.remove(*record);
            return remove_project(world, project);
        }
        _ => return Err((127, format!("{name}: not understood"))),
    }
    Ok(String::new())
}

fn remove_data(world: &mut World, directory: &str, how: &str, volumes: &[&str]) -> Ran {
    for volume in volumes {
        world.volumes.remove(*volume);
    }
    if world.directories.contains_key(directory) {
        if *how == *"empty" && !world.below(directory).is_empty() {
            return fail(format!("{directory}: Directory not empty"));
        }
        drop(world.take(directory));
    }
    Ok(String::new())
}

fn note_taken(world: &mut World, path: &str, projects: &[u8]) {
    if projects.is_empty() {
        world.files.remove(path);
    } else {
        world.write_privately(path, projects, 0o600);
    }
}

fn remove_files(world: &mut World, directory: &str, files: &[&str]) {
    for file in files {
        world.remove_below(file);
    }
    for file in files {
        world.remove_empty_above(file, directory);
    }
    world.remove_empty(directory);
}

/// Records what the containers of a project were started from.
fn record_started(world: &mut World, project: &str, record: &str, stdin: &[u8]) {
    let mut text = String::from_utf8_lossy(stdin).into_owned();
    let _ = writeln!(text, "boot {}", world.boot_id);
    for (id, container) in &world.containers {
        if container.project == project && !projects::is_aside(id, container) {
            let _ = writeln!(text, "container {id} {}", container.config_hash.hex());
        }
    }
    world.write_privately(record, text.as_bytes(), 0o600);
}

/// Removes a project's containers, then its networks by name.
fn remove_project(world: &mut World, project: &str) -> Ran {
    world
        .containers
        .retain(|_, container| container.project != project);
    let networks = world.networks.iter();
    let own = networks.filter(|(_, network)| network.project == project);
    let mut own: Vec<(String, String)> = own
        .map(|(id, network)| (network.name.clone(), id.clone()))
        .collect();
    own.sort();
    for (_, id) in own {
        world.remove_network(&id)?;
    }
    Ok(String::new())
}

/// Checks that a project's containers run, or have exited and their restart policy leaves them so.
/// Time does not pass on the in-memory VPU, and containers print nothing.
fn wait_healthy(world: &mut World, project: &str, text: &str, command: &[&str]) -> Ran {
    let own = projects::of_project(world, project);
    let own = own.iter().map(|id| (id, &world.containers[id]));
    let mut own = own.filter(|(id, container)| !projects::is_aside(id, container));
    if own.clone().next().is_none() {
        return fail(format!("project {project} has no container"));
    }
    let is_done = |container: &Container| {
        let policy = container.restart_policy.split(':').next();
        let may_end = matches!(policy, None | Some("" | "no" | "on-failure"));
        container.status == "exited" && container.details.exit_code == 0 && may_end
    };
    let down = own.find(|(_, container)| container.status != "running" && !is_done(container));
    if let Some((_, container)) = down {
        return fail(format!(
            "container {} is {}",
            container.name, container.status
        ));
    }
    if !text.is_empty() {
        return fail(format!("no log of its containers contains: {text}"));
    }
    match command {
        [] => Ok(String::new()),
        [program, words @ ..] => {
            let command = Argv::new(*program).args(words.iter().copied());
            run(world, &command, b"")
        }
    }
}

/// Records a release, or checks whether it is recorded; removes what was kept for the previous one.
fn record(world: &mut World, name: &str, history: &str, rest: &[&str], stdin: &[u8]) -> Ran {
    if !stdin.ends_with(b"\n") {
        return fail("the record was cut short");
    }
    let file = world.files.get(history);
    let bytes = file.map(|file| file.bytes.clone()).unwrap_or_default();
    let record = String::from_utf8_lossy(stdin);
    let text = String::from_utf8_lossy(&bytes);
    let taken = format!("{}.taken", history.trim_end_matches(".jsonl"));
    if name == "o3r-recorded" {
        let members = record.trim_end().get(1..).unwrap_or_default();
        let is_it =
            |line: &str| line == record.trim_end() || line.ends_with(&format!(",{members}"));
        if !text.lines().next_back().is_some_and(is_it) {
            return fail("");
        }
        world.files.remove(&taken);
        forget_kept(world, rest);
        return Ok(String::new());
    }
    let [
        lines,
        _version,
        projects,
        keep,
        _reserve,
        "", // no limit: the images have no sizes
        directory,
        note,
        kept @ ..,
    ] = rest
    else {
        return fail("words are missing");
    };
    let lines = lines
        .parse()
        .map_err(|_| (1, format!("{lines}: not a number")))?;
    let old: Vec<&str> = text.lines().collect();
    let old = &old[old.len().saturating_sub(lines)..];
    let volumes = anonymous_volumes(world, projects);
    let owner = format!("{}/.o3r-deploy/lock/owner", world.home);
    let owner = world.files.get(&owner);
    let owner = owner.map(|file| String::from_utf8_lossy(&file.bytes).into_owned());
    let who = owner.as_deref().and_then(|text| text.lines().nth(2));
    let who = who.map(|who| format!("{who},")).unwrap_or_default();
    let record = record
        .trim_end()
        .replacen('{', &format!("{{{who}{volumes},"), 1);
    let all = [old, &[&record, ""]].concat().join("\n");
    world.write_privately(history, all.as_bytes(), 0o600);
    world.files.remove(&taken);
    forget_kept(world, kept);
    let release = history.rsplit('/').next().unwrap_or_default();
    let release = release.trim_end_matches(".jsonl");
    generations::prune(world, release, keep.parse().unwrap_or_default());
    if !directory.is_empty() {
        generations::stamp(
            world,
            directory,
            &note.replacen('{', &format!("{{{who}"), 1),
        );
    }
    Ok(String::new())
}

/// Returns the member of the record that lists the anonymous volumes of projects.
fn anonymous_volumes(world: &World, projects: &str) -> String {
    let projects: Vec<&str> = projects.split_whitespace().collect();
    let own = world.containers.iter();
    let own = own.filter(|(_, container)| projects.contains(&container.project.as_str()));
    let mut volumes = vec![];
    for (id, container) in own {
        for (destination, mount) in &container.details.mounts {
            if let Mount::Volume(volume) = mount
                && between::is_anonymous(mount)
            {
                volumes.push(serde_json::json!({
                    "container": id,
                    "project": container.project,
                    "service": container.service,
                    "number": container.details.number.to_string(),
                    "working_dir": container.working_dir,
                    "image": container.image,
                    "destination": destination,
                    "volume": volume,
                }));
            }
        }
    }
    format!("\"anonymous_volumes\":{}", serde_json::Value::from(volumes))
}

/// Removes what was kept for a rollback, and its directory
/// if that is empty; and the files that dead commands left.
fn forget_kept(world: &mut World, kept: &[&str]) {
    files::forget_unfinished(world);
    for directory in kept {
        drop(world.take(directory));
    }
    let previous = format!("{}/.o3r-deploy/previous", world.home);
    world.remove_empty(&previous);
}

/// Returns the options of a volume that bind it to a directory.
fn bound(device: &str) -> BTreeMap<String, String> {
    let options = [("type", "none"), ("o", "bind"), ("device", device)];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    options.into()
}

fn create_volume(world: &mut World, name: &str, device: &str, owner: Option<String>) -> Ran {
    world.create_volume(name, bound(device), owner);
    let found = world
        .volumes
        .get(name)
        .and_then(|v| v.options.get("device"));
    if found.map(String::as_str) != Some(device) {
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
    let options = bound(device);
    if let Some(found) = world.volumes.get(name) {
        if found.options == options {
            return Ok(String::new());
        }
        let users = world.newest(|container| container.volumes.contains(name));
        let is_ours = |id: &String| projects.contains(&world.containers[id].project.as_str());
        if !users.iter().all(is_ours) {
            return fail("a container that is not of this release has the volume");
        }
        for id in &users {
            world.stop_container(id)?;
        }
        for id in &users {
            if world.images.contains_key(&world.containers[id].image) {
                between::leave_stand_in(world, id, None, |_, mount| between::is_anonymous(mount))?;
            } else {
                world.remove_container(id)?;
            }
        }
        world.remove_volume(name)?;
    }
    world.create_volume(name, options, owner);
    Ok(String::new())
}
