//! Makes the commands that start a project, and those that bring back what ran before.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::Found;
use crate::{
    desired::{COMPOSE_FILE, Project, ProjectState},
    plan::{Command, Payload, builder::Builder},
    remote,
};

/// Which services compose would not recreate by itself, though what they use changed.
pub(super) enum Recreate {
    /// Compose sees all that changed.
    None,
    /// These.
    Services(BTreeSet<String>),
    /// These, which the compose file may not know any more or not yet.
    Left(BTreeSet<String>),
    /// It cannot be told which.
    All,
}

impl Recreate {
    /// These services, too; `None` means that it cannot be told which.
    pub(super) fn and(self, more: Option<BTreeSet<String>>) -> Self {
        match (self, more) {
            (Self::All, _) | (_, None) => Self::All,
            (one, Some(more)) if more.is_empty() => one,
            (Self::None, Some(more)) => Self::Services(more),
            (Self::Services(mut services), Some(more)) => {
                services.extend(more);
                Self::Services(services)
            }
            (Self::Left(mut services), Some(more)) => {
                services.extend(more);
                Self::Left(services)
            }
        }
    }
}

/// Compose's own hash covers the compose file, what is interpolated into it, and images; it does
/// not cover the contents of other files, nor volumes.
pub(super) fn services_to_recreate(
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
    // Of `.env` compose sees what became of its variables, unless a service reads the file itself.
    let is_seen = |file: &str| file == COMPOSE_FILE || (file == ".env" && !project.uses(file));
    for file in files.into_iter().filter(|file| !is_seen(file)) {
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
pub(super) fn start(
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

/// The commands that make the project's containers.
pub(super) fn up(project: &Project, state: ProjectState, recreate: &Recreate) -> Vec<Command> {
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
        Recreate::Left(services) if services.is_empty() => {}
        Recreate::Left(services) => {
            let services = services.iter().map(String::as_str);
            commands.push(Command::new(remote::remove_services(name, services)));
        }
    }
    commands.push(Command::new(remote::compose(name, up)));
    commands
}

/// The command that records what the project's containers were started from.
pub(super) fn record(
    builder: &Builder<'_>,
    project: &str,
    inputs: &BTreeMap<String, String>,
) -> Command {
    let mut lines = String::new();
    for (name, digest) in inputs {
        let _ = writeln!(lines, "input {name}\t{digest}");
    }
    let path = builder.state().started(project);
    Command::with(
        remote::record_started(project, &path),
        Payload::inline(lines),
    )
}
