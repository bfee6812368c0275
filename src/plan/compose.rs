//! Plans compose projects: their files, and what their containers were started from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    Action, Address, Cause, Command, Payload, PayloadSource, Phase,
    builder::{Builder, Draft},
    image, volume,
};
use crate::{
    desired::{COMPOSE_FILE, Project, ProjectFile, ProjectState, Service},
    digest::Digest,
    observe::{Container, PathFact, Probed, Started},
    remote,
};

pub(super) fn address(project: &str) -> Address {
    Address::new("compose", project)
}

fn file_address(project: &str, relative: &str) -> Address {
    Address::new("file", format_args!("{project}/{relative}"))
}

impl Project {
    /// Whether a container is of this project, or sits on a name that it needs.
    pub(super) fn touches(&self, container: &Container) -> bool {
        container.project == self.name
            || self.services.iter().any(|(name, service)| {
                let needed = service.container_name.clone();
                // docker-compose 1.x joins the words of a name by `_`.
                needed.unwrap_or_else(|| format!("{}_{name}_1", self.name)) == container.name
            })
    }
}

pub(super) fn plan(builder: &mut Builder<'_>) {
    let desired = builder.desired;
    if desired.projects.is_empty() {
        return;
    }
    let facts = builder.facts;
    let (containers, started) = match (facts.containers.as_result(), facts.records.as_result()) {
        (Ok(containers), Ok(records)) => (containers, &records.started),
        (Err(reason), _) | (_, Err(reason)) => {
            for project in &desired.projects {
                let remedy = "see on the VPU: docker container ls -a";
                builder.block(address(&project.name), reason, remedy);
            }
            return;
        }
    };
    for project in &desired.projects {
        if let Some((reason, remedy)) = conflict(project, containers) {
            builder.block(address(&project.name), reason, remedy);
            continue;
        }
        let own = containers
            .iter()
            .filter(|(_, c)| c.project == project.name && !c.one_off);
        let found = Found {
            containers: own.collect(),
            started: started.get(&project.name),
        };
        match project.state {
            ProjectState::Absent => absent(builder, project, &found),
            ProjectState::Running | ProjectState::Stopped => present(builder, project, &found),
        }
    }
}

/// What is there of a project.
struct Found<'a> {
    containers: BTreeMap<&'a String, &'a Container>,
    started: Option<&'a Started>,
}

/// Containers of others that are in the way: why, and what to do.
fn conflict(
    project: &Project,
    containers: &BTreeMap<String, Container>,
) -> Option<(String, String)> {
    let foreign = containers.values().find(|container| {
        project.touches(container)
            && !(container.project == project.name && container.working_dir == project.directory())
    })?;
    let (origin, remedy) = if foreign.working_dir.is_empty() {
        (
            "was not made by docker-compose".to_owned(),
            format!("look at it and remove it: docker rm -f {}", foreign.name),
        )
    } else {
        (
            format!(
                "belongs to project {} in {}",
                foreign.project, foreign.working_dir
            ),
            format!(
                "take that project down (cd {} && docker-compose down), or choose another name",
                foreign.working_dir
            ),
        )
    };
    Some((
        format!("container {} is in the way: it {origin}", foreign.name),
        remedy,
    ))
}

fn present(builder: &mut Builder<'_>, project: &Project, found: &Found<'_>) {
    let address = address(&project.name);
    let Ok(changed_files) = files(builder, project) else {
        return;
    };
    let inputs = inputs(builder, project);
    let mut causes = vec![];
    for relative in &changed_files {
        causes.push(Cause::DependsOn {
            address: file_address(&project.name, relative),
        });
    }
    let changed_images = changed_images(builder, project);
    for name in &changed_images {
        causes.push(Cause::DependsOn {
            address: image::tag_address(name),
        });
    }
    let volumes = project
        .services
        .values()
        .flat_map(|service| &service.volumes);
    let replaced: BTreeSet<&String> = volumes
        .filter(|name| builder.changes(&volume::address(name)))
        .collect();
    for name in &replaced {
        causes.push(Cause::DependsOn {
            address: volume::address(name),
        });
    }
    let none_yet = found.containers.is_empty();
    let stale = if none_yet {
        BTreeMap::new()
    } else {
        stale_inputs(builder, found, &inputs)
    };
    let known: BTreeSet<String> = causes
        .iter()
        .filter_map(|cause| covered_input(project, cause))
        .collect();
    for (input, (was, is)) in stale.iter().filter(|(input, _)| !known.contains(*input)) {
        causes.push(Cause::differs(format!("started from {input}"), was, is));
    }
    for cause in states(builder, project, found, &changed_images) {
        causes.push(cause);
    }
    let mut causes = causes.into_iter();
    let Some(first) = causes.next() else {
        return builder.unchanged();
    };

    let recreate = if none_yet {
        Recreate::None
    } else {
        services_to_recreate(project, &changed_files, &replaced, &stale)
    };
    let (action, first) = if none_yet {
        (Action::Create, Cause::Missing)
    } else {
        (Action::Update, first)
    };
    let mut draft = Draft::new(address, action, Phase::Switch, first.clone());
    draft.also = if none_yet { vec![] } else { causes.collect() };
    draft.depends_on = std::iter::once(first)
        .chain(draft.also.iter().cloned())
        .filter_map(|cause| match cause {
            Cause::DependsOn { address } => Some(address),
            _ => None,
        })
        .collect();
    if none_yet {
        // The same resources, though the cause is that nothing is there yet.
        let files = changed_files
            .iter()
            .map(|relative| file_address(&project.name, relative));
        let tags = changed_images.iter().map(|name| image::tag_address(name));
        let volumes = replaced.iter().map(|name| volume::address(name));
        draft.depends_on = files.chain(tags).chain(volumes).collect();
    }
    let draft = draft.source(project.source.as_ref());
    let draft = draft.run(start(builder, project, found, &recreate, &inputs));
    let undo = restore(builder, project, found, &recreate);
    builder.step(draft.undo(undo));
}

/// Plans the project's files; gives the relative paths of those that change.
fn files(builder: &mut Builder<'_>, project: &Project) -> Result<BTreeSet<String>, ()> {
    let mut changed = BTreeSet::new();
    let mut blocked = false;
    for file in &project.files {
        let address = file_address(&project.name, &file.relative);
        let path = project.path(file);
        match file_cause(builder.facts.paths.get(&path), file, &path) {
            Ok(None) => builder.unchanged(),
            Ok(Some(cause)) => {
                changed.insert(file.relative.clone());
                put(builder, project, file, address, cause);
            }
            Err((reason, remedy)) => {
                builder.block(address, reason, remedy);
                blocked = true;
            }
        }
    }
    if blocked { Err(()) } else { Ok(changed) }
}

/// Why a file has to be written, or why and how it cannot be.
fn file_cause(
    fact: Option<&Probed<PathFact>>,
    file: &ProjectFile,
    path: &str,
) -> Result<Option<Cause>, (String, String)> {
    let look = || format!("look at it and move it away: mv {path} {path}.old");
    match fact {
        Some(Probed::Known(PathFact::Missing)) => Ok(Some(Cause::Missing)),
        Some(Probed::Known(PathFact::File {
            sha256, mode, size, ..
        })) => Ok(if *sha256 == Some(file.sha256) {
            (*mode != file.mode).then(|| {
                Cause::differs("mode", format!("{mode:04o}"), format!("{:04o}", file.mode))
            })
        } else if let Some(found) = sha256 {
            Some(Cause::differs(
                "content",
                found.short(),
                file.sha256.short(),
            ))
        } else {
            // Of another size: its hash was not asked for.
            let bytes = |count: u64| format!("{count} bytes");
            Some(Cause::differs("size", bytes(*size), bytes(file.bytes)))
        }),
        Some(Probed::Known(PathFact::Directory { .. })) => {
            Err((format!("{path} is a directory"), look()))
        }
        Some(Probed::Known(PathFact::Other)) => {
            Err((format!("{path} is neither a file nor a directory"), look()))
        }
        Some(Probed::Unknown(reason)) => {
            Err((reason.clone(), format!("see on the VPU: ls -l {path}")))
        }
        None => Err((
            "it was not probed".to_owned(),
            "report this as a bug".to_owned(),
        )),
    }
}

fn put(
    builder: &mut Builder<'_>,
    project: &Project,
    file: &ProjectFile,
    address: Address,
    cause: Cause,
) {
    let path = project.path(file);
    let kept = builder.state().kept(&project.name, &file.relative);
    let record = builder.state().started(&project.name);
    let payload = Payload {
        from: PayloadSource::File(file.local.to_string()),
        sha256: file.sha256,
        bytes: file.bytes,
    };
    let action = if cause == Cause::Missing {
        Action::Create
    } else {
        Action::Update
    };
    let put = remote::put_file(&path, &file.sha256.hex(), file.mode, &kept, &record);
    let draft = Draft::new(address, action, Phase::Switch, cause);
    let draft = draft.source(project.source.as_ref());
    builder.step(
        draft
            .run([Command::with(put, payload)])
            .undo([Command::new(remote::restore_file(&path, &kept))]),
    );
}

/// Names of images whose tag moves in this plan and which the project uses.
fn changed_images(builder: &Builder<'_>, project: &Project) -> BTreeSet<String> {
    let images = project
        .services
        .values()
        .filter_map(|service| service.image.as_ref());
    images
        .filter(|name| builder.changes(&image::tag_address(name)))
        .cloned()
        .collect()
}

/// What the project's containers are started from, as recorded after they are up.
fn inputs(builder: &Builder<'_>, project: &Project) -> BTreeMap<String, String> {
    let mut inputs = BTreeMap::new();
    for file in &project.files {
        inputs.insert(format!("file {}", file.relative), file.sha256.to_string());
    }
    for service in project.services.values() {
        if let Some(name) = &service.image
            && let Some(id) = image_id(builder, name)
        {
            inputs.insert(format!("image {name}"), id);
        }
        for name in &service.volumes {
            let declared = builder
                .desired
                .volumes
                .iter()
                .find(|volume| volume.name == *name);
            if let Some(volume) = declared {
                let path = volume.path.resolve(&builder.facts.system.home);
                inputs.insert(format!("volume {name}"), Digest::of(path).to_string());
            }
        }
    }
    inputs
}

/// The id that an image name has after the plan.
fn image_id(builder: &Builder<'_>, name: &str) -> Option<String> {
    let declared = builder
        .desired
        .images
        .iter()
        .find(|image| image.name == name);
    if let Some(content) = declared.and_then(|image| image.content.as_ref()) {
        return Some(content.config_digest.to_string());
    }
    let images = builder.facts.images.known()?;
    images
        .iter()
        .find(|(_, image)| image.tags.contains(name))
        .map(|(id, _)| id.clone())
}

/// Inputs that differ from the recorded ones: `(recorded, wanted)`.
///
/// Containers that were not there when the record was written were made by someone else from
/// files that may have been others; after another boot it was the boot unit, from the files that
/// the record speaks of (whoever writes one of them removes the record first).
fn stale_inputs(
    builder: &Builder<'_>,
    found: &Found<'_>,
    inputs: &BTreeMap<String, String>,
) -> BTreeMap<String, (String, String)> {
    let Some(started) = found.started else {
        return BTreeMap::from([(
            "record".to_owned(),
            (
                "nothing recorded".to_owned(),
                "a start by this tool".to_owned(),
            ),
        )]);
    };
    let mut stale = BTreeMap::new();
    for (input, wanted) in inputs {
        let recorded = started
            .inputs
            .get(input)
            .map(String::as_str)
            .unwrap_or_default();
        if recorded != wanted {
            stale.insert(input.clone(), (brief(recorded), brief(wanted)));
        }
    }
    if started.boot_id == builder.facts.system.boot_id {
        for (id, container) in &found.containers {
            if !started.containers.contains(*id) {
                let what = (container.name.clone(), "a start by this tool".to_owned());
                stale.insert("record".to_owned(), what);
            }
        }
    }
    stale
}

fn brief(digest: &str) -> String {
    match digest.parse::<Digest>() {
        Ok(digest) => digest.short(),
        Err(_) if digest.is_empty() => "nothing".to_owned(),
        Err(_) => digest.to_owned(),
    }
}

/// The input that a dependency already speaks of.
fn covered_input(project: &Project, cause: &Cause) -> Option<String> {
    let Cause::DependsOn { address } = cause else {
        return None;
    };
    let address = address.as_str();
    if let Some(file) = address.strip_prefix(&format!("file.{}/", project.name)) {
        return Some(format!("file {file}"));
    }
    let (kind, name) = address.split_once('.')?;
    let kind = if kind == "tag" { "image" } else { kind };
    Some(format!("{kind} {name}"))
}

/// How the containers differ from what the services and the state ask for.
fn states(
    builder: &Builder<'_>,
    project: &Project,
    found: &Found<'_>,
    changed_images: &BTreeSet<String>,
) -> Vec<Cause> {
    let mut causes = vec![];
    for (name, service) in &project.services {
        let own: Vec<&Container> = found
            .containers
            .values()
            .filter(|c| c.service == *name)
            .copied()
            .collect();
        if own.len() < service.replicas {
            let count = if own.is_empty() {
                "no container".into()
            } else {
                own.len().to_string()
            };
            causes.push(Cause::differs(
                format!("service {name}"),
                count,
                format!(
                    "{} container{}",
                    service.replicas,
                    if service.replicas == 1 { "" } else { "s" }
                ),
            ));
        }
        for container in own {
            if let Some(cause) = state(project, container) {
                causes.push(cause);
            }
            causes.extend(image_cause(builder, service, container, changed_images));
        }
    }
    for container in found.containers.values() {
        if !project.services.contains_key(&container.service) {
            causes.push(Cause::differs(
                format!("container {}", container.name),
                format!("of service {}", container.service),
                "no such service",
            ));
        }
    }
    causes
}

/// Satisfied means: running and not restarting, or done with exit code 0 where the restart policy
/// lets it be; or, where the project is to be stopped, simply not running.
fn state(project: &Project, container: &Container) -> Option<Cause> {
    let running = container.status == "running";
    let done = container.status == "exited"
        && container.exit_code == 0
        && matches!(container.restart_policy.as_str(), "no" | "on-failure" | "");
    let (satisfied, wanted) = match project.state {
        ProjectState::Running => (running || done, "running"),
        ProjectState::Stopped | ProjectState::Absent => (
            matches!(container.status.as_str(), "created" | "exited"),
            "stopped",
        ),
    };
    if satisfied {
        return None;
    }
    let found = match container.status.as_str() {
        "exited" | "restarting" => {
            format!(
                "{} with exit code {}",
                container.status, container.exit_code
            )
        }
        status => status.to_owned(),
    };
    Some(Cause::differs(
        format!("container {}", container.name),
        found,
        wanted,
    ))
}

/// A container of another image than the one that its service names, where the plan does not
/// change that image anyway.
fn image_cause(
    builder: &Builder<'_>,
    service: &Service,
    container: &Container,
    changed_images: &BTreeSet<String>,
) -> Option<Cause> {
    let name = service.image.as_ref()?;
    let wanted = image_id(builder, name)?;
    if container.image == wanted || changed_images.contains(name) {
        return None;
    }
    let attribute = format!("container {}: image", container.name);
    Some(Cause::differs(
        attribute,
        brief(&container.image),
        brief(&wanted),
    ))
}

/// Which services compose would not recreate by itself, though what they use changed.
enum Recreate {
    /// Compose sees all that changed.
    None,
    /// These.
    Services(BTreeSet<String>),
    /// It cannot be told which.
    All,
}

/// Compose's own hash covers the compose file, what is interpolated into it, and images; it does
/// not cover the contents of other files, nor volumes.
fn services_to_recreate(
    project: &Project,
    changed_files: &BTreeSet<String>,
    replaced: &BTreeSet<&String>,
    stale: &BTreeMap<String, (String, String)>,
) -> Recreate {
    let mut services = BTreeSet::new();
    let stale_files = stale.keys().filter_map(|input| input.strip_prefix("file "));
    let files: BTreeSet<&str> = changed_files
        .iter()
        .map(String::as_str)
        .chain(stale_files)
        .collect();
    let stale_volumes = stale
        .keys()
        .filter_map(|input| input.strip_prefix("volume "));
    let volumes: BTreeSet<&str> = replaced
        .iter()
        .map(|name| name.as_str())
        .chain(stale_volumes)
        .collect();
    if stale.contains_key("record") {
        return Recreate::All;
    }
    for file in files
        .into_iter()
        .filter(|file| *file != COMPOSE_FILE && *file != ".env")
    {
        let users = project
            .services
            .iter()
            .filter(|(_, s)| s.files.iter().any(|f| f == file));
        let before = services.len();
        services.extend(users.map(|(name, _)| name.clone()));
        if services.len() == before && !project.uses(file) {
            return Recreate::All;
        }
    }
    for (name, service) in &project.services {
        if service
            .volumes
            .iter()
            .any(|volume| volumes.contains(volume.as_str()))
        {
            services.insert(name.clone());
        }
    }
    if services.is_empty() {
        Recreate::None
    } else {
        Recreate::Services(services)
    }
}

impl Project {
    /// Whether some service names the file.
    fn uses(&self, file: &str) -> bool {
        self.services
            .values()
            .any(|service| service.files.iter().any(|used| used == file))
    }
}

/// The commands that bring the project up (or create it, stopped) and record it.
fn start(
    builder: &Builder<'_>,
    project: &Project,
    found: &Found<'_>,
    recreate: &Recreate,
    inputs: &BTreeMap<String, String>,
) -> Vec<Command> {
    let name = &project.name;
    let mut commands = vec![];
    if found.containers.values().any(|c| c.status == "paused") {
        // `up` leaves a paused container paused.
        commands.push(Command::new(remote::compose(name, ["unpause"])));
    }
    commands.extend(up(project, project.state, recreate));
    match project.state {
        ProjectState::Running => commands.push(Command::new(remote::settle(name))),
        ProjectState::Stopped | ProjectState::Absent => {
            commands.push(Command::new(remote::compose(name, ["stop"])));
        }
    }
    commands.push(record(builder, name, inputs));
    commands
}

fn up(project: &Project, state: ProjectState, recreate: &Recreate) -> Vec<Command> {
    let name = &project.name;
    let mut up = match state {
        ProjectState::Running => vec!["up", "-d", "--remove-orphans"],
        ProjectState::Stopped | ProjectState::Absent => {
            vec!["up", "--no-start", "--remove-orphans"]
        }
    };
    let mut commands = vec![];
    match recreate {
        Recreate::None => {}
        Recreate::All => up.push("--force-recreate"),
        Recreate::Services(services) => {
            let remove = ["rm", "--stop", "--force"].into_iter();
            let words = remove.chain(services.iter().map(String::as_str));
            commands.push(Command::new(remote::compose(name, words)));
        }
    }
    commands.push(Command::new(remote::compose(name, up)));
    commands
}

fn record(builder: &Builder<'_>, project: &str, inputs: &BTreeMap<String, String>) -> Command {
    let mut lines = String::new();
    for (name, digest) in inputs {
        let _ = writeln!(lines, "input {name}\t{digest}");
    }
    let payload = Payload {
        sha256: Digest::of(&lines),
        bytes: lines.len() as u64,
        from: PayloadSource::Inline(lines),
    };
    let path = builder.state().started(project);
    Command::with(remote::record_started(project, &path), payload)
}

/// The commands that, once files, names and volumes are restored, bring back what ran before.
fn restore(
    builder: &Builder<'_>,
    project: &Project,
    found: &Found<'_>,
    recreate: &Recreate,
) -> Vec<Command> {
    let record_path = builder.state().started(&project.name);
    if found.containers.is_empty() {
        return vec![Command::new(remote::remove_project(
            &project.name,
            &record_path,
        ))];
    }
    let ran = found
        .containers
        .values()
        .any(|container| container.status != "created");
    let state = if ran {
        ProjectState::Running
    } else {
        ProjectState::Stopped
    };
    let mut commands = up(project, state, recreate);
    if let Some(started) = found.started {
        commands.push(record(builder, &project.name, &started.inputs));
    }
    commands
}

fn absent(builder: &mut Builder<'_>, project: &Project, found: &Found<'_>) {
    let files: Vec<String> = project
        .files
        .iter()
        .map(|file| project.path(file))
        .filter(|path| {
            let fact = builder.facts.paths.get(path);
            matches!(
                fact,
                Some(Probed::Known(
                    PathFact::File { .. } | PathFact::Directory { .. }
                ))
            )
        })
        .collect();
    if found.containers.is_empty() && files.is_empty() && found.started.is_none() {
        return builder.unchanged();
    }
    let record = builder.state().started(&project.name);
    let mut actions = vec![Command::new(remote::remove_project(&project.name, &record))];
    if !files.is_empty() {
        actions.push(Command::new(remote::remove_files(
            &project.directory(),
            files,
        )));
    }
    let cause = Cause::NoLongerDeclared;
    let draft = Draft::new(address(&project.name), Action::Remove, Phase::Switch, cause);
    builder.step(draft.source(project.source.as_ref()).run(actions));
}
