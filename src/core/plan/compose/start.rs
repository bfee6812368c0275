//! Builds the commands that start a project, and those that restore what ran before.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    Found,
    between::Between,
    shown::with_dependants,
    started::{Stale, Unrecorded},
    states::misnamed,
};
use crate::{
    desired::{COMPOSE_FILE, Project, ProjectState},
    facts::{Container, ContainerState, Input},
    plan::{Command, Payload, builder::Builder},
    remote,
    shell::Argv,
};

/// The services whose containers are recreated.
pub(super) enum Recreate {
    /// None known in advance: docker-compose recreates where it sees a reason.
    None,
    /// These services.
    Services(BTreeSet<String>),
    /// All services, as it is unknown which ones are affected.
    All,
}

impl Recreate {
    /// Whether a service's containers are recreated.
    pub(super) fn replaces(&self, service: &str) -> bool {
        match self {
            Self::None => false,
            Self::Services(services) => services.contains(service),
            Self::All => true,
        }
    }

    /// Adds the services whose containers share a namespace with a recreated one.
    pub(super) fn with_dependants(self, found: &Found<'_>) -> Self {
        match self {
            Self::Services(services) => Self::Services(with_dependants(found, services)),
            other => other,
        }
    }

    /// Adds these services; `None` means that it is unknown which ones are affected.
    pub(super) fn and(self, more: Option<BTreeSet<String>>) -> Self {
        match (self, more) {
            (Self::All, _) | (_, None) => Self::All,
            (one, Some(more)) if more.is_empty() => one,
            (Self::None, Some(more)) => Self::Services(more),
            (Self::Services(mut services), Some(more)) => {
                services.extend(more);
                Self::Services(services)
            }
        }
    }
}

/// Returns the services that docker-compose would not recreate on its
/// own. Its hash covers the compose file, what is interpolated into
/// it, and images; not the contents of other files, nor volumes.
pub(super) fn services_to_recreate(
    project: &Project,
    changed_files: &BTreeSet<String>,
    replaced: &BTreeSet<&String>,
    stale: &Stale,
) -> Recreate {
    if matches!(stale.unrecorded, Some(Unrecorded::One(_))) {
        return Recreate::All;
    }
    let mut services = BTreeSet::new();
    let mut files: BTreeSet<&str> = changed_files.iter().map(String::as_str).collect();
    let mut volumes: BTreeSet<&str> = replaced.iter().map(|name| name.as_str()).collect();
    for input in stale.doubtful() {
        match input {
            Input::File(path) => _ = files.insert(path),
            Input::Volume(name) => _ = volumes.insert(name),
            _ => {}
        }
    }
    // The hash covers `.env` through its variables, unless a service reads the file itself.
    let is_seen = |file: &str| file == COMPOSE_FILE || (file == ".env" && !project.uses(file));
    for file in files.into_iter().filter(|file| !is_seen(file)) {
        let users = project
            .services
            .iter()
            .filter(|(_, s)| s.files.iter().any(|f| f == file));
        // A file that no service reads affects none; files
        // named by `extends` are part of the definitions.
        services.extend(users.map(|(name, _)| name.clone()));
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
    /// Whether any service names the file.
    fn uses(&self, file: &str) -> bool {
        self.services
            .values()
            .any(|service| service.files.iter().any(|used| used == file))
    }
}

/// Returns the commands that bring the project up (or create it, stopped) and record it.
pub(super) fn start(
    builder: &Builder<'_>,
    project: &Project,
    found: &Found<'_>,
    switch: (&Recreate, &Between<'_>),
    inputs: &BTreeMap<Input, String>,
) -> Vec<Command> {
    let name = &project.name;
    let mut commands = vec![];
    if found
        .containers
        .values()
        .any(|c| c.status == ContainerState::Paused)
    {
        // `docker-compose up` leaves a paused container paused.
        commands.push(Command::new(remote::compose(name, ["unpause"])));
    }
    for (id, container) in &found.containers {
        if !switch.0.replaces(&container.service)
            && let Some(wanted) = misnamed(builder, project, id, container)
        {
            commands.push(Command::new(remote::rename_container(id, &wanted)));
        }
    }
    commands.extend(up(project, project.state, found, switch));
    match project.state {
        // A project that is scaled to zero has nothing to wait for.
        ProjectState::Running if project.services.values().all(|s| s.replicas == 0) => {}
        ProjectState::Running => {
            commands.push(Command::new(remote::wait_healthy(name, &project.health)));
        }
        ProjectState::Stopped | ProjectState::Absent => {
            commands.push(Command::new(remote::compose(name, ["stop"])));
        }
    }
    commands.push(record(builder, name, inputs));
    commands
}

/// Returns the commands that create the project's containers;
/// those to be recreated are stopped and renamed first.
pub(super) fn up(
    project: &Project,
    state: ProjectState,
    found: &Found<'_>,
    (recreate, between): (&Recreate, &Between<'_>),
) -> Vec<Command> {
    let name = &project.name;
    let how = how(state);
    let there: BTreeSet<&str> = found.services().collect();
    let is_replaced = |service: &&str| recreate.replaces(service);
    // Containers of removed services may hold a port or name that is needed,
    // so they are renamed as well. They are removed after everything else,
    // so that an earlier failure can restore them with their data.
    let is_gone = |service: &&str| !project.services.contains_key(*service);
    let is_aside = |service: &&str| is_replaced(service) || is_gone(service);
    let aside: Vec<&str> = there.iter().copied().filter(is_aside).collect();
    let mut up = vec!["up", how];
    if !there.iter().any(is_gone) {
        up.push("--remove-orphans");
    }
    let mut commands = vec![];
    let is_none_aside = aside.is_empty();
    if !is_none_aside {
        let aside = aside.iter().map(|service| project.stop_word(service));
        commands.push(Command::new(remote::step_aside(name, aside)));
    }
    commands.extend(between.forward(project));
    if !is_none_aside {
        let services = project.services.keys().map(String::as_str);
        let replaced = services.filter(|service| there.contains(service) && is_replaced(service));
        let mut replaced: Vec<&str> = replaced.collect();
        if replaced.len() == project.services.len() {
            up.push("--force-recreate");
        } else if !replaced.is_empty() {
            let owners = project.owners(&replaced, found);
            if !owners.is_empty() {
                let words = ["up", how, "--no-deps"].into_iter().chain(owners);
                commands.push(Command::new(remote::compose(name, words)));
            }
            let mut words = vec!["up", how, "--no-deps", "--force-recreate"];
            words.append(&mut replaced);
            commands.push(Command::new(remote::compose(name, words)));
        }
    }
    commands.push(Command::new(remote::compose(name, up)));
    together(commands)
}

impl Project {
    /// Returns the services that must run before these are created, because
    /// these use their namespaces, and that do not run: docker starts no
    /// container in the namespace of a stopped one, and if that one does not
    /// exist, docker-compose gives the new container a namespace of its own.
    fn owners<'a>(&'a self, services: &[&'a str], found: &Found<'_>) -> Vec<&'a str> {
        let runs = |service: &str| {
            let mut containers = found.containers.values();
            containers.any(|container| container.service == service && container.runs())
        };
        let mut all = services.to_vec();
        let mut at = 0;
        while let Some(service) = all.get(at).and_then(|name| self.services.get(*name)) {
            for owner in service.network_of.iter().chain(&service.processes_of) {
                if !all.contains(&owner.as_str()) && !runs(owner) {
                    all.push(owner);
                }
            }
            at += 1;
        }
        all.split_off(services.len())
    }
}

/// Joins commands that need no input from this machine into one: if the connection is lost after
/// the first has stopped containers, the last still starts others.
fn together(commands: Vec<Command>) -> Vec<Command> {
    let is_alone = |command: &Command| {
        command.stdin.is_none() && command.fallback.is_none() && command.transport.is_shell()
    };
    let mut together: Vec<Vec<Command>> = vec![];
    for command in commands {
        match together.last_mut() {
            Some(group) if is_alone(&command) && group.iter().all(is_alone) => group.push(command),
            _ => together.push(vec![command]),
        }
    }
    let joined = together.into_iter().map(|mut group| {
        if group.len() == 1 {
            return group.remove(0);
        }
        let commands: Vec<Argv> = group.into_iter().map(|command| command.argv).collect();
        Command::new(remote::in_turn(&commands))
    });
    joined.collect()
}

/// Returns the commands that restore a project's former containers if they still exist, and have
/// docker-compose recreate all others of the services that `recreate` names. `images` are the
/// former ones, each as `NAME=IMAGE`: docker-compose runs only if they exist. `then` runs once all
/// containers have stopped.
pub(super) fn restore_project(
    project: &Project,
    state: ProjectState,
    before: &BTreeMap<&String, &Container>,
    images: &[String],
    recreate: &Recreate,
    then: Vec<Command>,
) -> Vec<Command> {
    let name = &project.name;
    let before: Vec<String> = before
        .iter()
        .map(|(id, container)| format!("{id}={}", container.own_name(id)))
        .collect();
    let how = how(state);
    let put_back = remote::put_back(name, how, &before, images);
    let mut commands = vec![Command::new(put_back)];
    commands.extend(then);
    let up = ["up", how, "--remove-orphans"];
    match recreate {
        Recreate::None => commands.push(Command::new(remote::compose(name, up))),
        Recreate::Services(services) => {
            let services = services.iter().map(String::as_str);
            let recreate = remote::recreate(name, how, services, &before);
            commands.push(Command::new(recreate));
            commands.push(Command::new(remote::compose(name, up)));
        }
        Recreate::All => {
            let up = up.into_iter().chain(["--force-recreate"]);
            commands.push(Command::new(remote::compose(name, up)));
        }
    }
    together(commands)
}

fn how(state: ProjectState) -> &'static str {
    match state {
        ProjectState::Running => "-d",
        ProjectState::Stopped | ProjectState::Absent => "--no-start",
    }
}

impl Project {
    /// Returns a service and the seconds that its containers may take to stop, in the form that
    /// [`remote::step_aside`] takes.
    pub(super) fn stop_word(&self, service: &str) -> String {
        let seconds = self.services.get(service).and_then(|s| s.stop_seconds);
        let seconds = seconds
            .map(|seconds| seconds.to_string())
            .unwrap_or_default();
        format!("{service}={seconds}")
    }
}

/// Returns the command that records what the project's containers were started from.
pub(super) fn record(
    builder: &Builder<'_>,
    project: &str,
    inputs: &BTreeMap<Input, String>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired::Service, testing};

    #[test]
    fn services_whose_namespaces_are_shared_start_first_unless_they_run() {
        let service = |network_of: Option<&str>, processes_of: Option<&str>| Service {
            network_of: network_of.map(str::to_owned),
            processes_of: processes_of.map(str::to_owned),
            ..Service::default()
        };
        let project = testing::project(
            "app",
            [
                ("alone", service(None, None)),
                ("main", service(None, Some("root"))),
                ("root", service(None, None)),
                ("side", service(Some("main"), Some("root"))),
            ],
        );
        let owners = |services: &[&'static str], containers: &[(&str, ContainerState)]| {
            let containers = containers.iter().map(|(service, status)| Container {
                service: (*service).to_owned(),
                status: status.clone(),
                ..Container::default()
            });
            let containers: Vec<(String, Container)> = containers
                .enumerate()
                .map(|(id, container)| (id.to_string(), container))
                .collect();
            let found = Found {
                containers: containers.iter().map(|(id, c)| (id, c)).collect(),
                started: None,
            };
            project.owners(services, &found).join(" ")
        };
        let (up, down) = (ContainerState::Running, ContainerState::Exited);
        assert_eq!(owners(&["side"], &[]), "main root");
        assert_eq!(owners(&["alone", "root"], &[]), "");
        assert_eq!(owners(&["side", "main"], &[]), "root");
        assert_eq!(owners(&["side"], &[("main", up.clone())]), "root");
        assert_eq!(
            owners(&["side"], &[("main", down.clone()), ("root", up.clone())]),
            "main"
        );
        assert_eq!(owners(&["side"], &[("main", up.clone()), ("root", up)]), "");
        assert_eq!(owners(&["main"], &[("alone", down)]), "root");
    }

    #[test]
    fn commands_are_joined_if_they_need_no_input() {
        let echo = |word: &str| Command::new(Argv::new("echo").arg(word));
        let fed = || Command::with(Argv::new("cat"), Payload::inline("text".into()));
        let doubtful = || echo("x").or_else(echo("y"));
        let call = || Command::device_api(80, Argv::new("set").arg("{}"));
        let joined = |commands: &[Command]| {
            let argvs: Vec<Argv> = commands.iter().map(|one| one.argv.clone()).collect();
            Command::new(remote::in_turn(&argvs))
        };
        let pair = || vec![echo("a"), echo("b")];
        assert_eq!(together(vec![echo("a")]), [echo("a")]);
        assert_eq!(together(pair()), [joined(&pair())]);
        for alone in [fed(), doubtful(), call()] {
            let all = [pair(), vec![alone.clone()], pair()].concat();
            assert_eq!(
                together(all),
                [joined(&pair()), alone.clone(), joined(&pair())]
            );
            let two = vec![alone.clone(), alone];
            assert_eq!(together(two.clone()), two);
        }
    }

    #[test]
    fn services_of_a_volume_that_was_recreated_before_are_recreated() {
        let service = |volume: &str| Service {
            volumes: vec![volume.to_owned()],
            ..Service::default()
        };
        let project = testing::project("app", [("a", service("share")), ("b", service("other"))]);
        let values = || ("old".to_owned(), "new".to_owned());
        let stale = |inputs: Vec<Input>| Stale {
            unrecorded: None,
            inputs: inputs.into_iter().map(|input| (input, values())).collect(),
        };
        let recreated = |replaced: &[&String], inputs| {
            let replaced = replaced.iter().copied().collect();
            match services_to_recreate(&project, &BTreeSet::new(), &replaced, &stale(inputs)) {
                Recreate::Services(services) => Vec::from_iter(services),
                _ => vec![],
            }
        };
        let share = "share".to_owned();
        assert_eq!(recreated(&[&share], vec![]), ["a"]);
        assert_eq!(recreated(&[], vec![Input::Volume(share)]), ["a"]);
        assert_eq!(recreated(&[], vec![]), [""; 0]);
    }

    #[test]
    fn services_that_read_a_changed_file_are_recreated_and_compose_sees_the_rest() {
        let service = |files: &[&str]| Service {
            files: files.iter().map(|file| (*file).to_owned()).collect(),
            ..Service::default()
        };
        let recreated_of = |changed: &[&str], before: &[&str], (of_a, of_b): (&[&str], &[&str])| {
            let services = [("a", service(of_a)), ("b", service(of_b))];
            let project = testing::project("app", services);
            let changed = changed.iter().map(|file| (*file).to_owned()).collect();
            let inputs = before.iter().map(|file| {
                let values = ("old".to_owned(), "new".to_owned());
                (Input::File((*file).to_owned()), values)
            });
            let stale = Stale {
                unrecorded: None,
                inputs: inputs.collect(),
            };
            match services_to_recreate(&project, &changed, &BTreeSet::new(), &stale) {
                Recreate::None => String::new(),
                Recreate::Services(services) => Vec::from_iter(services).join(" "),
                Recreate::All => "all".to_owned(),
            }
        };
        let recreated = |changed: &[&str], before: &[&str], of_a: &[&str]| {
            recreated_of(changed, before, (of_a, &["b.conf"]))
        };
        let reads = ["a.conf", ".env", COMPOSE_FILE];
        assert_eq!(recreated(&["a.conf"], &[], &reads), "a");
        assert_eq!(recreated(&[], &["a.conf"], &reads), "a");
        assert_eq!(recreated(&["a.conf"], &["b.conf"], &reads), "a b");
        assert_eq!(recreated(&["unused"], &[], &reads), "");
        assert_eq!(recreated(&[".env"], &[], &reads), "a");
        assert_eq!(recreated(&[".env"], &[], &["a.conf"]), "");
        assert_eq!(recreated_of(&[".env"], &[], (&[".env"], &[])), "a");
        assert_eq!(recreated(&[COMPOSE_FILE], &[], &reads), "");
    }

    #[test]
    fn nothing_more_to_recreate_leaves_nothing_to_recreate() {
        let none = Recreate::None.and(Some(BTreeSet::new()));
        assert!(matches!(none, Recreate::None));
    }

    #[test]
    fn orphans_are_left_to_docker_compose_unless_they_were_set_aside() {
        let project = testing::project("app", [("main", Service::default())]);
        let removes_orphans = |services: &[&str]| {
            let containers = services.iter().map(|service| Container {
                service: (*service).to_owned(),
                ..Container::default()
            });
            let containers: Vec<(String, Container)> = containers
                .enumerate()
                .map(|(id, container)| (id.to_string(), container))
                .collect();
            let found = Found {
                containers: containers.iter().map(|(id, c)| (id, c)).collect(),
                started: None,
            };
            let how = (&Recreate::None, &Between::default());
            let commands = up(&project, ProjectState::Running, &found, how);
            format!("{commands:?}").contains("--remove-orphans")
        };
        assert!(removes_orphans(&[]));
        assert!(removes_orphans(&["main"]));
        assert!(!removes_orphans(&["main", "gone"]));
    }
}
