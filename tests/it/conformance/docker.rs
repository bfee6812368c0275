//! Commands whose effect depends on docker's answers: the scripts run on a docker with the same
//! state as the in-memory VPU.

use std::collections::BTreeSet;

use o3r_deploy::internal::{
    digest::Digest,
    health::HealthGate,
    remote::{self, StandIn},
    restart_policy::RestartPolicy,
};
use o3r_testing::{
    docker::Docker,
    vpu::{Container, Details, Image, Mount, Network, Volume},
};

use super::*;

/// A gate that looks once: nothing changes while a script runs in these tests.
fn at_once() -> HealthGate {
    HealthGate {
        timeout: Some(std::time::Duration::ZERO),
        settle: std::time::Duration::ZERO,
        ..HealthGate::default()
    }
}

const RECORD: &str = ".o3r-deploy/started/app";
const PROJECTS: &[&str] = &["app", "other", ""];
const SERVICES: &[&str] = &["main", "side"];
const NAMES: &[&str] = &["app:1", "app:2", "base:1", "o3r-part:1", "none:1"];

/// Destinations of mounts.
const MOUNTS: &[&str] = &["/share", "/db", "/cache", "/etc/it's conf"];

/// The maximum number of containers.
const MOST: usize = 5;

/// An existing container.
#[derive(Debug, Clone)]
struct Planned {
    project: usize,
    service: usize,
    number: usize,
    status: &'static str,
    exit_code: i32,
    restart_policy: &'static str,
    one_off: bool,
    /// Whether it was renamed.
    aside: bool,
    mounts: Vec<&'static str>,
    /// Indices of networks: two of `app`, and one of `other`.
    networks: BTreeSet<usize>,
    image: usize,
}

fn planned() -> impl Strategy<Value = Planned> {
    let who = (
        prop::sample::select(vec![0, 0, 0, 0, 0, 0, 1, 1, 2]),
        0..SERVICES.len(),
        1..3_usize,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.25),
    );
    let status = vec![
        "running",
        "running",
        "exited",
        "created",
        "paused",
        "restarting",
    ];
    let state = (
        prop::sample::select(status),
        prop::sample::select(vec![0, 0, 1]),
        prop::sample::select(vec!["no", "", "always", "on-failure:3", "unless-stopped"]),
    );
    let has = (
        prop::sample::subsequence(MOUNTS, 0..=MOUNTS.len()),
        prop::collection::btree_set(0..3_usize, 0..3),
        0..2_usize,
    );
    (who, state, has).prop_map(|(who, state, has)| {
        let (project, service, number, one_off, aside) = who;
        let (status, exit_code, restart_policy) = state;
        let (mounts, networks, image) = has;
        Planned {
            project,
            service,
            number,
            status,
            exit_code: if status == "exited" { exit_code } else { 0 },
            restart_policy,
            one_off,
            aside,
            mounts,
            networks,
            image,
        }
    })
}

/// The state of docker.
#[derive(Debug, Clone)]
struct There {
    containers: Vec<Planned>,
    /// The directory that the volume is bound to, and whether a release owns it.
    share: Option<(Option<&'static str>, bool)>,
    /// The names of the two images, by index.
    names: [Vec<&'static str>; 2],
    /// The destinations at which the images declare volumes.
    declared: Vec<&'static str>,
}

fn there() -> impl Strategy<Value = There> {
    let device = prop::sample::select(vec![None, Some("share"), Some("elsewhere")]);
    let names = prop::collection::vec(0..3_usize, NAMES.len());
    (
        prop::collection::vec(planned(), 1..=MOST),
        prop::option::weighted(0.8, (device, any::<bool>())),
        names,
        prop::sample::subsequence(vec!["/db", "/cache/", "/log"], 0..=3),
    )
        .prop_map(|(containers, share, images, declared)| {
            let of = |number: usize| {
                let names = NAMES.iter().zip(&images);
                let names = names.filter(|(name, image)| **image == number && **name != "none:1");
                names.map(|(name, _)| *name).collect()
            };
            There {
                containers,
                share,
                names: [of(0), of(1)],
                declared,
            }
        })
}

fn image(number: usize) -> String {
    Digest::of(format!("image {number}")).to_string()
}

fn id(number: usize) -> String {
    format!("{:012x}{:052x}", 0xc0_0000 + number, 0)
}

fn network(number: usize) -> String {
    format!("{:012x}{:052x}", 0xe0_0000 + number, 0)
}

fn anonymous(number: usize, at: &str) -> String {
    Digest::of(format!("{at} of {number}")).hex()
}

impl Planned {
    /// Returns the name that docker-compose gives it.
    fn name(&self, number: usize) -> String {
        let (project, service) = (PROJECTS[self.project], SERVICES[self.service]);
        match (project, self.one_off) {
            ("", _) => format!("own_{number}"),
            (_, true) => format!("{project}_{service}_run_{number}"),
            (_, false) => format!("{project}_{service}_{}", self.number),
        }
    }

    fn mounts(&self, number: usize) -> BTreeMap<String, Mount> {
        let mounts = self.mounts.iter().map(|at| {
            let mount = match *at {
                "/share" => Mount::Volume("share".to_owned()),
                "/db" | "/cache" => Mount::Volume(anonymous(number, at)),
                _ => Mount::Bind("/somewhere".to_owned()),
            };
            ((*at).to_owned(), mount)
        });
        mounts.collect()
    }

    fn container(&self, number: usize, name: String) -> Container {
        let project = PROJECTS[self.project];
        let mounts = self.mounts(number);
        let volumes = mounts.values().filter_map(|mount| match mount {
            Mount::Volume(name) => Some(name.clone()),
            Mount::Bind(_) => None,
        });
        let networks = self.networks.iter();
        let networks = networks.map(|one| (network_name(*one).to_owned(), network(*one)));
        Container {
            name,
            image: image(self.image),
            status: self.status.to_owned(),
            restart_policy: self.restart_policy.to_owned(),
            project: project.to_owned(),
            service: if project.is_empty() {
                ""
            } else {
                SERVICES[self.service]
            }
            .to_owned(),
            working_dir: remote::project_directory(project),
            volumes: volumes.collect(),
            host_network: false,
            config_hash: Digest::of(id(number)),
            made_from: BTreeMap::new(),
            mounted: BTreeMap::new(),
            details: Details {
                number: self.number,
                networks: networks.collect(),
                mounts,
                one_off: self.one_off,
                exit_code: self.exit_code,
                ..Details::default()
            },
        }
    }
}

fn network_name(number: usize) -> &'static str {
    ["app_default", "app_more", "other_default"][number]
}

impl There {
    fn fill(&self, world: &mut World) {
        for (number, names) in self.names.iter().enumerate() {
            let is_used = |container: &Planned| container.image == number;
            if names.is_empty() && !self.containers.iter().any(is_used) {
                continue;
            }
            let image_there = Image {
                tags: names.iter().map(|name| (*name).to_owned()).collect(),
                volumes: self.declared.iter().map(|at| (*at).to_owned()).collect(),
                ..Image::default()
            };
            world.images.insert(image(number), image_there);
        }
        for number in 0..3 {
            let project = if number == 2 { "other" } else { "app" };
            let network_there = Network {
                name: network_name(number).to_owned(),
                project: project.to_owned(),
                ..Network::default()
            };
            world.networks.insert(network(number), network_there);
        }
        let plain = Volume {
            options: BTreeMap::new(),
            owner: None,
        };
        if let Some((device, is_ours)) = self.share {
            let device = device.map(|name| format!("{}/{name}", world.home));
            let options = device.map(|device| bound(&device)).unwrap_or_default();
            let owner = is_ours.then(|| "app".to_owned());
            world
                .volumes
                .insert("share".to_owned(), Volume { options, owner });
        }
        for (number, planned) in self.containers.iter().enumerate() {
            let mut name = planned.name(number);
            let is_taken = world.containers.values().any(|there| there.name == name);
            if planned.aside || is_taken {
                name = format!("{}_{name}", &id(number)[..12]);
            }
            let container = planned.container(number, name);
            for volume in &container.volumes {
                world.volumes.entry(volume.clone()).or_insert(plain.clone());
            }
            world.containers.insert(id(number), container);
        }
        world.next_id = 0xf0_0000;
    }
}

fn bound(device: &str) -> BTreeMap<String, String> {
    let options = [("type", "none"), ("o", "bind"), ("device", device)];
    options
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[derive(Debug, Clone)]
enum Do {
    BringVolumesBack(usize, Vec<&'static str>, usize),
    CreateVolume(&'static str, &'static str),
    EarlierNetworks(&'static str, Vec<usize>),
    ForgetParts(Vec<&'static str>),
    /// Whether it starts; the former containers; images by name.
    PutBack(bool, Vec<usize>, Vec<(&'static str, usize)>),
    RemoveContainers(Vec<usize>),
    RemoveNetworks(Vec<usize>),
    RemoveProject(&'static str),
    Rename(usize, &'static str),
    ReplaceVolume(&'static str, bool, Vec<&'static str>),
    RestartPolicy(Vec<usize>),
    ServiceRestartPolicy(&'static str),
    WaitHealthy(&'static str),
    StandIn(usize, usize),
    StepAside(Vec<&'static str>, &'static str),
    Tag(usize, &'static str),
    /// The volume that the service mounts at each destination.
    UncoverMounts(&'static str, Vec<(&'static str, &'static str)>),
    Untag(&'static str),
}

fn commands() -> impl Strategy<Value = Do> {
    // One more than exist, so that one is missing.
    let one = || 0..=MOST;
    let all: Vec<usize> = (0..=MOST).collect();
    let some = || prop::sample::subsequence(all.clone(), 0..4);
    let project = || prop::sample::select(vec!["app", "app", "app", "other", "none"]);
    let service = || prop::sample::select(SERVICES);
    let name = || prop::sample::select(NAMES);
    let device = || prop::sample::select(vec!["share", "elsewhere"]);
    let before = prop::sample::subsequence(all.clone(), 0..=MOST);
    let volume = prop::sample::select(vec!["share", "another", ""]);
    let mounts = (
        prop::sample::select(vec!["/share", "/db", "/cache"]),
        volume,
    );
    let networks = || prop::sample::subsequence(vec![0, 1, 2, 3], 0..3);
    let projects = vec![
        vec!["app", "other"],
        vec!["app", "other"],
        vec!["app"],
        vec![],
    ];
    let projects = prop::sample::select(projects);
    prop_oneof![
        2 => (one(), prop::sample::subsequence(vec!["/share", "/db", "/none"], 0..=3), 0..3_usize)
            .prop_map(|(one, volumes, image)| Do::BringVolumesBack(one, volumes, image)),
        1 => (prop::sample::select(vec!["share", "another"]), device())
            .prop_map(|(name, device)| Do::CreateVolume(name, device)),
        1 => (project(), networks()).prop_map(|(project, keep)| Do::EarlierNetworks(project, keep)),
        1 => prop::sample::subsequence(NAMES, 0..4).prop_map(Do::ForgetParts),
        4 => (any::<bool>(), before, prop::collection::vec((name(), 0..3_usize), 0..2))
            .prop_map(|(start, before, images)| Do::PutBack(start, before, images)),
        1 => some().prop_map(Do::RemoveContainers),
        1 => networks().prop_map(Do::RemoveNetworks),
        1 => project().prop_map(Do::RemoveProject),
        1 => (one(), prop::sample::select(vec!["app_main_1", "fresh"]))
            .prop_map(|(one, name)| Do::Rename(one, name)),
        3 => (device(), any::<bool>(), projects)
            .prop_map(|(device, ours, projects)| Do::ReplaceVolume(device, ours, projects)),
        1 => some().prop_map(Do::RestartPolicy),
        1 => service().prop_map(Do::ServiceRestartPolicy),
        3 => project().prop_map(Do::WaitHealthy),
        4 => (prop::sample::subsequence(SERVICES, 0..=2), prop::sample::select(vec!["", "5"]))
            .prop_map(|(services, seconds)| Do::StepAside(services, seconds)),
        1 => (0..3_usize, name()).prop_map(|(image, name)| Do::Tag(image, name)),
        2 => (service(), prop::collection::vec(mounts, 0..3))
            .prop_map(|(service, mounts)| Do::UncoverMounts(service, mounts)),
        1 => name().prop_map(Do::Untag),
        2 => (one(), 0..3_usize).prop_map(|(one, image)| Do::StandIn(one, image)),
    ]
}

impl Do {
    fn command(&self, both: &Both, there: &There) -> Argv {
        let ids = |numbers: &[usize]| numbers.iter().map(|one| id(*one)).collect::<Vec<_>>();
        let networks =
            |numbers: &[usize]| numbers.iter().map(|one| network(*one)).collect::<Vec<_>>();
        let policy = RestartPolicy::new("unless-stopped", 0);
        match self {
            Self::BringVolumesBack(..) => self.bring_volumes_back(there),
            Self::CreateVolume(name, device) => {
                remote::create_volume(name, &both.at(device), "app")
            }
            Self::EarlierNetworks(project, keep) => {
                remote::earlier_networks(project, networks(keep).iter().map(String::as_str))
            }
            Self::ForgetParts(names) => remote::forget_parts(names.iter().copied()),
            Self::PutBack(start, before, images) => {
                let name = |number: usize| {
                    let planned = there.containers.get(number);
                    planned.map_or("gone_1".to_owned(), |planned| planned.name(number))
                };
                let before = before.iter();
                let before = before.map(|one| format!("{}={}", id(*one), name(*one)));
                let images = images.iter();
                let images = images.map(|(name, of)| format!("{name}={}", image(*of)));
                let how = if *start { "-d" } else { "--no-start" };
                let before: Vec<String> = before.collect();
                remote::put_back("app", how, &before, &images.collect::<Vec<_>>())
            }
            Self::RemoveContainers(some) => {
                remote::remove_containers(ids(some).iter().map(String::as_str))
            }
            Self::RemoveNetworks(some) => {
                remote::remove_networks(networks(some).iter().map(String::as_str))
            }
            Self::RemoveProject(project) => remote::remove_project(project, &both.at(RECORD)),
            Self::Rename(one, name) => remote::rename_container(&id(*one), name),
            Self::ReplaceVolume(device, is_ours, projects) => remote::replace_volume(
                "share",
                &both.at(device),
                is_ours.then_some("app"),
                projects.iter().copied(),
            ),
            Self::RestartPolicy(some) => {
                remote::restart_policy(&policy, ids(some).iter().map(String::as_str))
            }
            Self::ServiceRestartPolicy(service) => {
                remote::service_restart_policy("app", service, &policy)
            }
            Self::WaitHealthy(project) => remote::wait_healthy(project, &at_once()),
            Self::StandIn(one, of) => remote::stand_in(&id(*one), &image(*of)),
            Self::StepAside(services, seconds) => {
                let services = services.iter();
                remote::step_aside("app", services.map(|name| format!("{name}={seconds}")))
            }
            Self::Tag(of, name) => remote::tag_image(&image(*of), name),
            Self::UncoverMounts(service, mounts) => {
                remote::uncover_mounts("app", service, mounts.iter().copied())
            }
            Self::Untag(name) => remote::untag_image(name),
        }
    }

    fn bring_volumes_back(&self, there: &There) -> Argv {
        let Self::BringVolumesBack(one, volumes, of) = self else {
            unreachable!();
        };
        let planned = there.containers.get(*one);
        let (project, service, number) = planned.map_or(("app", "main", 1), |planned| {
            let project = PROJECTS[planned.project];
            (project, SERVICES[planned.service], planned.number)
        });
        let name = |at: &str| match at {
            "/share" => "share".to_owned(),
            _ => anonymous(*one, at),
        };
        let volumes: Vec<_> = volumes.iter().map(|at| (name(at), *at)).collect();
        let container = StandIn {
            id: &id(*one),
            project,
            service,
            number: &number.to_string(),
            working_dir: &remote::project_directory(project),
            image: &image(*of),
        };
        let volumes = volumes.iter();
        remote::bring_volumes_back(&container, volumes.map(|(name, at)| (name.as_str(), *at)))
    }
}

/// Runs a command on both and compares exit code, docker's state, and the home directory.
async fn follow(both: &Both, docker: &Docker, there: &There, command: &Do) -> TestCaseResult {
    let before = docker.world(|world| world.clone());
    let argv = command.command(both, there);
    let real = both.sandbox.run(&argv, b"").await;
    let memory = both.vpu.run(&argv, Stdin::Empty).await.unwrap();
    let shown = format!("{command:?} before {:#?}", before.containers);
    prop_assert_eq!(real.code, memory.code, "{:?} {:?} {}", real, memory, shown);
    let (real, memory) = (
        docker.world(|world| world.clone()),
        both.vpu.world(|world| world.clone()),
    );
    for id in real.containers.keys().chain(memory.containers.keys()) {
        let (real, memory) = (real.containers.get(id), memory.containers.get(id));
        prop_assert_eq!(real, memory, "container {} after {}", id, shown);
    }
    prop_assert_eq!(&real.volumes, &memory.volumes, "after {}", shown);
    prop_assert_eq!(&real.networks, &memory.networks, "after {}", shown);
    prop_assert_eq!(&real.images, &memory.images, "after {}", shown);
    both.same(&shown)
}

/// Runs commands on an initial state, with every shell.
async fn follow_all(there: &There, commands: &[Do]) -> TestCaseResult {
    for kind in o3r_testing::variants(KINDS, 1) {
        let record = Node::File(0o600, "image 1\n".to_owned());
        let both = Both::new(kind, &Tree::from([(RECORD.to_owned(), record)]));
        both.vpu.world(|world| there.fill(world));
        let docker = Docker::new(&both.sandbox, both.vpu.world(|world| world.clone()));
        for command in commands {
            follow(&both, &docker, there, command).await?;
        }
    }
    Ok(())
}

/// A running container of a project's first service.
const RUNNING: Planned = Planned {
    project: 0,
    service: 0,
    number: 1,
    status: "running",
    exit_code: 0,
    restart_policy: "no",
    one_off: false,
    aside: false,
    mounts: vec![],
    networks: BTreeSet::new(),
    image: 0,
};

/// Runs all commands with these containers.
fn these_are_the_same(containers: Vec<Planned>, commands: &[Do]) {
    let there = There {
        containers,
        share: None,
        names: [vec!["app:1"], vec![]],
        declared: vec![],
    };
    run(follow_all(&there, commands)).unwrap();
}

#[test]
fn a_failed_one_off_container_is_not_waited_for() {
    let one_off = Planned {
        one_off: true,
        status: "exited",
        exit_code: 1,
        ..RUNNING
    };
    these_are_the_same(vec![RUNNING, one_off], &[Do::WaitHealthy("app")]);
}

/// Docker knows the networks of a container that never ran by name alone.
#[test]
fn a_network_of_another_projects_container_that_never_ran_stays() {
    let created = Planned {
        project: 1,
        status: "created",
        networks: [0].into(),
        ..RUNNING
    };
    these_are_the_same(vec![created], &[Do::EarlierNetworks("app", vec![])]);
}

proptest! {
    #![proptest_config(config(30))]

    #[test]
    fn docker_has_the_same_state_in_both(
        there in there(),
        commands in prop::collection::vec(commands(), 1..6),
    ) {
        run(follow_all(&there, &commands))?;
    }
}
