//! Whatever is desired and whatever is there: after an apply a second plan is empty, what runs was
//! really made from what is declared, and a crash or failure at any command is made good by a
//! second apply. On the in-memory VPU.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use camino::Utf8PathBuf;
use o3r_deploy::{
    apply::{self, Event, Log, Observer, Options, Outcome, Payloads, Report, Restored},
    desired::{
        Desired, Directory, Guards, Image, ImageContent, Project, ProjectFile, ProjectState,
        Release, Service, Volume,
    },
    digest::Digest,
    host::fake::{FakeVpu, Fault, World},
    image::{self, LayerSelection, Platform, ScratchDir},
    observe::{PathFact, Probed, observe},
    plan::{self, ManifestRef, Plan},
    remote, render,
};
use proptest::prelude::*;
use tokio::sync::watch;

/// Local files of all tests: images and project files, by content.
fn store() -> &'static tempfile::TempDir {
    static STORE: OnceLock<tempfile::TempDir> = OnceLock::new();
    STORE.get_or_init(|| tempfile::tempdir().unwrap())
}

fn local(bytes: &[u8]) -> Utf8PathBuf {
    let path = store().path().join(Digest::of(bytes).hex());
    if !path.exists() {
        std::fs::write(&path, bytes).unwrap();
    }
    Utf8PathBuf::from_path_buf(path).unwrap()
}

/// One of a few images, each with one file.
fn image_content(version: u8) -> ImageContent {
    static IMAGES: OnceLock<Vec<ImageContent>> = OnceLock::new();
    let make = |version: u8| {
        let mut builder = tar::Builder::new(vec![]);
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, "version", &[b'0' + version][..])
            .unwrap();
        let file = local(&builder.into_inner().unwrap());
        let source = image::Source::Rootfs(image::Rootfs {
            file,
            ..image::Rootfs::default()
        });
        let scratch = ScratchDir::new(Utf8PathBuf::from_path_buf(store().path().into()).unwrap());
        let image =
            image::Image::open(&source, "app", &Platform::linux("arm64"), &scratch).unwrap();
        let config_digest = image.config_digest();
        let staging_tag = format!("o3r-deploy/app:{}", config_digest.short());
        ImageContent {
            config_digest,
            diff_ids: image.layers().iter().map(|layer| layer.diff_id).collect(),
            archive_bytes: image.archive_len(&staging_tag, &LayerSelection::All),
            staging_tag,
            local: Some(Arc::new(image)),
        }
    };
    IMAGES.get_or_init(|| (0..3).map(make).collect())[usize::from(version)].clone()
}

/// What a test varies.
#[derive(Debug, Clone, PartialEq)]
struct Shape {
    image: u8,
    /// Contents of the extra file.
    extra: u8,
    /// A comment in the compose file.
    comment: u8,
    /// What the volume is bound to.
    bound: u8,
    mode: Option<u32>,
    state: ProjectState,
    two_services: bool,
    dotenv: Option<u8>,
    /// Whether the service reads `.env` itself, too.
    mounts_dotenv: bool,
    /// Containers of the service.
    scale: usize,
}

fn shapes() -> impl Strategy<Value = Shape> {
    (
        0..3u8,
        0..3u8,
        0..2u8,
        0..2u8,
        prop_oneof![Just(None), Just(Some(0o700)), Just(Some(0o775))],
        prop_oneof![
            4 => Just(ProjectState::Running),
            1 => Just(ProjectState::Stopped),
            1 => Just(ProjectState::Absent),
        ],
        any::<bool>(),
        prop_oneof![Just(None), (0..2u8).prop_map(Some)],
        any::<bool>(),
        1..3usize,
    )
        .prop_map(
            |(
                image,
                extra,
                comment,
                bound,
                mode,
                state,
                two_services,
                dotenv,
                mounts_dotenv,
                scale,
            )| Shape {
                image,
                extra,
                comment,
                bound,
                mode,
                state,
                two_services,
                dotenv,
                mounts_dotenv,
                scale,
            },
        )
}

const BASE: Shape = Shape {
    image: 0,
    extra: 0,
    comment: 0,
    bound: 0,
    mode: Some(0o775),
    state: ProjectState::Running,
    two_services: true,
    dotenv: Some(0),
    mounts_dotenv: false,
    scale: 1,
};

fn file(relative: &str, bytes: &[u8]) -> ProjectFile {
    ProjectFile {
        relative: relative.to_owned(),
        local: local(bytes),
        sha256: Digest::of(bytes),
        bytes: bytes.len() as u64,
        mode: 0o644,
    }
}

fn desired(shape: &Shape) -> Desired {
    let second = if shape.two_services {
        "  side:\n    image: app:1\n"
    } else {
        ""
    };
    let compose = format!(
        "# {}\nversion: \"2.4\"\nservices:\n  main:\n    image: app:1\n    env_file: conf/app.conf\n    \
         scale: {}\n    volumes: [\"share:/share\"]\n{second}volumes:\n  share:\n    external: true\n",
        shape.comment, shape.scale
    );
    let extra = format!("value={}\n", shape.extra);
    let mut files = vec![
        file("docker-compose.yml", compose.as_bytes()),
        file("conf/app.conf", extra.as_bytes()),
    ];
    if let Some(value) = shape.dotenv {
        files.push(file(".env", format!("UNUSED={value}\n").as_bytes()));
    }
    let mut main = Service {
        image: Some("app:1".into()),
        files: vec!["conf/app.conf".into()],
        volumes: vec!["share".into()],
        replicas: shape.scale,
        ..Service::default()
    };
    if shape.dotenv.is_some() && shape.mounts_dotenv {
        main.files.push(".env".into());
    }
    let side = Service {
        image: Some("app:1".into()),
        replicas: 1,
        ..Service::default()
    };
    let mut services = BTreeMap::from([("main".to_owned(), main)]);
    if shape.two_services {
        services.insert("side".to_owned(), side);
    }
    Desired {
        manifest: ManifestRef {
            path: "deploy.toml".into(),
            sha256: "0".repeat(64),
        },
        release: Release {
            name: "app".into(),
            version: "1".into(),
            source: None,
        },
        guards: Guards {
            arch: "arm64".into(),
            serial: None,
            firmware: None,
            api_port: 80,
        },
        directories: vec![Directory {
            path: "~/data".parse().unwrap(),
            mode: shape.mode,
            source: None,
        }],
        volumes: vec![Volume {
            name: "share".into(),
            path: format!("~/share{}", shape.bound).parse().unwrap(),
            replace: true,
            source: None,
        }],
        images: vec![Image {
            name: "app:1".into(),
            content: Some(image_content(shape.image)),
            source: None,
        }],
        projects: vec![Project {
            name: "app".into(),
            state: shape.state,
            files,
            services,
            source: None,
        }],
    }
}

struct Silent;
impl Observer for Silent {
    fn event(&self, _: Event<'_>) {}
}

async fn plan_for(vpu: &FakeVpu, desired: &Desired) -> Plan {
    let observed = observe(vpu, &desired.query()).await.unwrap();
    let plan = plan::plan(desired, &observed, "fake");
    assert_eq!(
        plan::lint::lint(&plan),
        Vec::<String>::new(),
        "{}",
        render::json(&plan)
    );
    assert_eq!(
        render::json(&plan),
        render::json(&plan::plan(desired, &observed, "fake")),
        "same input, same bytes"
    );
    plan
}

async fn execute(vpu: &FakeVpu, desired: &Desired, plan: &Plan) -> Report {
    let (_sender, interrupts) = watch::channel(0);
    let payloads = Payloads::new(desired);
    let options = Options { rollback: true };
    apply::execute(
        vpu,
        plan,
        &payloads,
        options,
        &Log::none(),
        Arc::new(Silent),
        interrupts,
    )
    .await
}

/// Applies and checks that nothing is left to do, and that what runs is what is declared.
async fn converge(vpu: &FakeVpu, desired: &Desired) {
    let plan = plan_for(vpu, desired).await;
    assert_eq!(plan.blocked, vec![]);
    let report = execute(vpu, desired, &plan).await;
    assert!(
        matches!(report.outcome, Outcome::Done),
        "{report:?}\n{}",
        render::json(&plan)
    );
    converged(vpu, desired).await;
}

async fn converged(vpu: &FakeVpu, desired: &Desired) {
    let plan = plan_for(vpu, desired).await;
    assert!(
        plan.is_empty(),
        "a second plan is not empty:\n{}",
        render::json(&plan)
    );
    vpu.world(|world| is_real(world, desired));
}

/// What the tool cannot see and users care about: containers were made from the declared files,
/// image and volume.
fn is_real(world: &mut World, desired: &Desired) {
    let project = &desired.projects[0];
    let containers: Vec<_> = world
        .containers
        .values()
        .filter(|c| c.project == "app")
        .collect();
    let there = world.files_below(&remote::project_directory("app"));
    let there: Vec<&String> = there.keys().collect();
    if project.state == ProjectState::Absent {
        assert!(containers.is_empty() && there.is_empty(), "{there:?}");
        return;
    }
    let mut declared: Vec<String> = project.files.iter().map(|f| project.path(f)).collect();
    declared.sort();
    assert_eq!(there, declared.iter().collect::<Vec<_>>());
    let wanted: usize = project
        .services
        .values()
        .map(|service| service.replicas)
        .sum();
    assert_eq!(containers.len(), wanted);
    let image = desired.images[0]
        .content
        .as_ref()
        .unwrap()
        .config_digest
        .to_string();
    let directory = remote::project_directory("app");
    for container in containers {
        assert_eq!(container.image, image);
        assert_eq!(
            container.status == "running",
            project.state == ProjectState::Running
        );
        let service = &project.services[&container.service];
        for file in project.files.iter().filter(|file| {
            file.relative == "docker-compose.yml" || service.files.contains(&file.relative)
        }) {
            let path = format!("{directory}/{}", file.relative);
            let seen = container.made_from.get(&path).map(Digest::of);
            assert_eq!(
                seen,
                Some(file.sha256),
                "{} was made from another {path}",
                container.name
            );
        }
        if service.volumes.contains(&"share".to_owned()) {
            let bound = desired.volumes[0].path.resolve(&world.home);
            assert_eq!(container.mounted.get("share"), Some(&bound));
        }
    }
}

/// What can happen to a VPU between two applies.
#[derive(Debug, Clone)]
enum Drift {
    RemoveDirectory,
    ChangeMode,
    RemoveVolume,
    Untag,
    RemoveImage,
    EditCompose,
    EditExtra,
    RemoveExtra,
    StopContainers,
    RemoveContainers,
    RemoveOneContainer,
    RemakeContainers,
    Reboot,
    ForgetStarted,
    ForgetAll,
}

fn drifts() -> impl Strategy<Value = Drift> {
    use Drift as D;
    prop::sample::select(vec![
        D::RemoveDirectory,
        D::ChangeMode,
        D::RemoveVolume,
        D::Untag,
        D::RemoveImage,
        D::EditCompose,
        D::EditExtra,
        D::RemoveExtra,
        D::StopContainers,
        D::RemoveContainers,
        D::RemoveOneContainer,
        D::RemakeContainers,
        D::Reboot,
        D::ForgetStarted,
        D::ForgetAll,
    ])
}

fn drift(world: &mut World, drift: &Drift) {
    let directory = remote::project_directory("app");
    let extra = format!("{directory}/conf/app.conf");
    let compose = format!("{directory}/docker-compose.yml");
    match drift {
        Drift::RemoveDirectory => drop(world.directories.remove("/home/oem/data")),
        Drift::ChangeMode => drop(
            world
                .directories
                .insert("/home/oem/data".into(), (0o711, 989)),
        ),
        Drift::RemoveVolume => {
            world.containers.clear();
            world.volumes.clear();
        }
        Drift::Untag => world
            .images
            .values_mut()
            .for_each(|image| image.tags.clear()),
        Drift::RemoveImage => {
            world.containers.clear();
            world.images.clear();
        }
        Drift::EditCompose => {
            if let Some(file) = world.files.get_mut(&compose) {
                file.bytes.extend_from_slice(b"# edited\n");
            }
        }
        Drift::EditExtra => {
            if let Some(file) = world.files.get_mut(&extra) {
                file.bytes.push(b'#');
            }
        }
        Drift::RemoveExtra => drop(world.files.remove(&extra)),
        Drift::StopContainers => {
            world
                .containers
                .values_mut()
                .for_each(|c| c.status = "exited".into());
        }
        Drift::RemoveContainers => world.containers.clear(),
        Drift::RemoveOneContainer => drop(world.containers.pop_first()),
        Drift::RemakeContainers => {
            // Someone edits, makes the containers anew, and takes the edit back.
            let before = world.files.get(&extra).cloned();
            // After a reboot it cannot be told from what the boot unit makes: a known limit.
            let rebooted = world.boot_id.contains('+');
            if let (Some(before), false) = (before, world.containers.is_empty() || rebooted) {
                world.write(&extra, b"value=edited\n", 0o644);
                let ids: Vec<String> = world.containers.keys().cloned().collect();
                for id in ids {
                    let mut container = world.containers.remove(&id).unwrap();
                    container.made_from = world.files_below(&directory);
                    world.containers.insert(format!("f{}", &id[1..]), container);
                }
                world.files.insert(extra, before);
            }
        }
        Drift::Reboot => world.reboot(),
        Drift::ForgetStarted => {
            world
                .files
                .retain(|path, _| !path.contains("/.o3r-deploy/started/"));
        }
        Drift::ForgetAll => {
            // That of `.env` nobody knows any more whose it was is a known limit.
            let known = |path: &String| !path.contains("/.o3r-deploy/") && !path.ends_with("/.env");
            world.files.retain(|path, _| known(path));
        }
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Enough cases to meet every pair of shapes' attributes, few enough for the inner loop.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn after_an_apply_a_second_plan_is_empty(
        first in shapes(),
        drifted in prop::collection::vec(drifts(), 0..4),
        second in prop::option::of(shapes()),
    ) {
        run(async {
            let vpu = FakeVpu::default();
            converge(&vpu, &desired(&first)).await;
            for one in &drifted {
                vpu.world(|world| drift(world, one));
            }
            // Often the same again: then drift is all that there is to find.
            converge(&vpu, &desired(second.as_ref().unwrap_or(&first))).await;
        });
    }

}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn a_fault_at_any_command_is_made_good_by_a_second_apply(
        first in prop::option::of(shapes()),
        second in shapes(),
        reboots in any::<bool>(),
        back in any::<bool>(),
    ) {
        run(async {
            let fresh = || async {
                let vpu = FakeVpu::default();
                if let Some(first) = &first {
                    converge(&vpu, &desired(first)).await;
                }
                vpu.inject(None);
                vpu
            };
            let wanted = desired(&second);
            let vpu = fresh().await;
            let plan = plan_for(&vpu, &wanted).await;
            let count: usize = plan.steps.iter().map(|step| step.actions.len()).sum();
            for at in 0..count {
                for fault in [Fault::Fails(at), Fault::LinkLostBefore(at), Fault::LinkLostAfter(at)] {
                    let vpu = fresh().await;
                    vpu.inject(Some(fault));
                    let report = execute(&vpu, &wanted, &plan_for(&vpu, &wanted).await).await;
                    assert!(!matches!(report.outcome, Outcome::Done), "{fault:?}: {report:?}");
                    vpu.inject(None);
                    if reboots {
                        vpu.world(World::reboot);
                    }
                    // Going on, or back to what was there before, must both work.
                    match &first {
                        Some(first) if back => converge(&vpu, &desired(first)).await,
                        _ => converge(&vpu, &wanted).await,
                    }
                }
            }
        });
    }
}

/// What a user would see of a release, as lines: files, containers, whatever their ids, and the names
/// and volumes that they use.
fn seen(world: &World) -> Vec<String> {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let root = format!("{}/", remote::COMPOSE_ROOT);
    let files = world.files.iter();
    let files = files.filter(|(path, _)| path.starts_with(&root));
    let files = files.map(|(path, file)| format!("{path} {:o} {}", file.mode, text(&file.bytes)));
    let in_use = |id: &&String| world.containers.values().any(|c| c.image == **id);
    let names = world.images.iter().filter(|(id, _)| in_use(id));
    let names = names.flat_map(|(id, image)| {
        let tags = image.tags.iter();
        let tags = tags.filter(|tag| !tag.starts_with("o3r-deploy/"));
        tags.map(move |tag| format!("{tag} {id}"))
    });
    let has_it = |name: &String| world.containers.values().any(|c| c.volumes.contains(name));
    let volumes = world.volumes.iter().filter(|(name, _)| has_it(name));
    let volumes = volumes.map(|(name, volume)| format!("{name} {volume:?}"));
    let containers = world.containers.values().map(|container| {
        let runs = container.status == "running";
        let made_from = container.made_from.iter();
        let made_from: Vec<String> = made_from.map(|(path, b)| path.clone() + &text(b)).collect();
        let (name, image, mounted) = (&container.name, &container.image, &container.mounted);
        format!("{name} runs={runs} {image} {mounted:?} {made_from:?}")
    });
    let mut lines: Vec<String> = files
        .chain(names)
        .chain(volumes)
        .chain(containers)
        .collect();
    lines.sort();
    lines
}

/// Applies `wanted`, whose command number `at` fails, and checks that what was there is restored.
/// False where the plan has no such command.
async fn fails_and_restores(vpu: &FakeVpu, wanted: &Desired, at: usize, before: &World) -> bool {
    let plan = plan_for(vpu, wanted).await;
    vpu.inject(Some(Fault::Fails(at)));
    let report = execute(vpu, wanted, &plan).await;
    let commands = vpu.commands();
    vpu.inject(None);
    let Outcome::Failed(failure) = report.outcome else {
        return false;
    };
    let untouched = plan.steps[..=report.completed]
        .iter()
        .all(|step| step.phase != plan::Phase::Switch);
    let wanted = if untouched {
        Restored::NotNeeded
    } else {
        Restored::Previous
    };
    assert_eq!(failure.restored, wanted, "command {at} of {commands:#?}");
    if !untouched {
        let now = vpu.world(|world| seen(world));
        assert_eq!(now, seen(before), "command {at} of {commands:#?}");
    }
    true
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn what_is_called_restored_is_what_was_there(
        first in shapes(),
        cut_off in prop::option::of((shapes(), 0..20usize)),
        second in shapes(),
    ) {
        run(async {
            let vpu = FakeVpu::default();
            converge(&vpu, &desired(&first)).await;
            let before = vpu.world(|world| world.clone());
            // Another apply may have been cut off on the way to this or to another release.
            let mut begun = false;
            if let Some((shape, at)) = &cut_off {
                vpu.inject(Some(Fault::LinkLostBefore(*at)));
                let halfway = desired(shape);
                let report = execute(&vpu, &halfway, &plan_for(&vpu, &halfway).await).await;
                vpu.inject(None);
                begun = !matches!(report.outcome, Outcome::Done);
            }
            if cut_off.is_some() && !begun {
                return; // it came to its end, and is the release to go back to
            }
            let start = vpu.world(|world| world.clone());
            for at in 0.. {
                vpu.world(|world| *world = start.clone());
                if !fails_and_restores(&vpu, &desired(&second), at, &before).await {
                    break;
                }
            }
        });
    }
}

/// Applies a release whose containers exit at once.
async fn apply_crashing(vpu: &FakeVpu, desired: &Desired) -> apply::Failure {
    let content = desired.images[0].content.as_ref().unwrap();
    let image = content.config_digest.to_string();
    vpu.world(|world| world.crashing.insert(image));
    let report = execute(vpu, desired, &plan_for(vpu, desired).await).await;
    match report.outcome {
        Outcome::Failed(failure) => *failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_release_that_crashes_is_taken_back() {
    run(async {
        let vpu = FakeVpu::default();
        let old = desired(&BASE);
        converge(&vpu, &old).await;
        let new = Shape {
            image: 1,
            extra: 1,
            comment: 1,
            ..BASE
        };
        let failure = apply_crashing(&vpu, &desired(&new)).await;
        assert_eq!(failure.restored, Restored::Previous, "{failure:?}");
        assert_eq!(failure.address, "compose.app");
        converged(&vpu, &old).await;
    });
}

#[test]
fn regression_a_put_that_fails_leaves_the_file_and_the_release() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        let next = Shape { comment: 1, ..BASE };
        converge(&vpu, &desired(&next)).await;
        let before = vpu.world(|world| world.clone());
        let third = Shape { extra: 2, ..next };
        // The first command is the file's; what the first release had there was once kept.
        assert!(fails_and_restores(&vpu, &desired(&third), 0, &before).await);
    });
}

#[test]
fn regression_a_release_that_adds_a_service_is_taken_back() {
    run(async {
        let vpu = FakeVpu::default();
        let old = desired(&Shape {
            two_services: false,
            ..BASE
        });
        converge(&vpu, &old).await;
        let failure = apply_crashing(
            &vpu,
            &desired(&Shape {
                image: 1,
                bound: 1,
                ..BASE
            }),
        )
        .await;
        assert_eq!(failure.restored, Restored::Previous, "{failure:?}");
        converged(&vpu, &old).await;
    });
}

#[test]
fn regression_what_someone_stopped_is_not_started_by_a_restore() {
    run(async {
        let vpu = FakeVpu::default();
        let stopped = Shape {
            state: ProjectState::Stopped,
            ..BASE
        };
        converge(&vpu, &desired(&BASE)).await;
        converge(&vpu, &desired(&stopped)).await;
        apply_crashing(&vpu, &desired(&Shape { image: 1, ..BASE })).await;
        vpu.world(|world| assert!(world.containers.values().all(|c| c.status != "running")));
        converged(&vpu, &desired(&stopped)).await;
    });
}

#[test]
fn regression_an_apply_that_goes_on_with_a_crashing_release_goes_back_to_the_one_before() {
    run(async {
        let new = Shape {
            image: 1,
            extra: 1,
            comment: 1,
            bound: 1,
            dotenv: None,
            ..BASE
        };
        let vpu = FakeVpu::default();
        let old = desired(&BASE);
        converge(&vpu, &old).await;
        let steps = plan_for(&vpu, &desired(&new)).await.steps;
        let count: usize = steps.iter().map(|step| step.actions.len()).sum();
        let before = vpu.world(|world| world.clone());
        for at in 0..count {
            vpu.world(|world| *world = before.clone());
            vpu.inject(Some(Fault::LinkLostBefore(at)));
            let _ = execute(&vpu, &desired(&new), &plan_for(&vpu, &desired(&new)).await).await;
            vpu.inject(None);
            // The container's own record was written last: then it did not crash.
            if at + 1 == count {
                continue;
            }
            let failure = apply_crashing(&vpu, &desired(&new)).await;
            assert_eq!(failure.restored, Restored::Previous, "{at}: {failure:?}");
            converged(&vpu, &old).await;
        }
    });
}

#[test]
fn regression_a_release_that_no_longer_starts_is_not_called_restored() {
    run(async {
        for status in ["exited", "restarting"] {
            let vpu = FakeVpu::default();
            converge(&vpu, &desired(&BASE)).await;
            vpu.world(|world| {
                for container in world.containers.values_mut() {
                    status.clone_into(&mut container.status);
                }
            });
            let failure = apply_crashing(&vpu, &desired(&BASE)).await;
            let failed = matches!(failure.restored, Restored::Failed { .. });
            assert!(failed, "{failure:?}");
        }
    });
}

#[test]
fn a_first_release_that_crashes_has_nothing_to_go_back_to() {
    run(async {
        let failure = apply_crashing(&FakeVpu::default(), &desired(&BASE)).await;
        assert_eq!(failure.restored, Restored::NoPrevious);
    });
}

#[test]
fn with_docker_down_everything_is_blocked_and_nothing_planned_away() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        vpu.world(|world| world.docker_runs = false);
        let plan = plan_for(
            &vpu,
            &desired(&Shape {
                state: ProjectState::Absent,
                ..BASE
            }),
        )
        .await;
        assert!(plan.steps.is_empty(), "{}", render::json(&plan));
        assert!(
            plan.blocked
                .iter()
                .any(|blocked| blocked.address.as_str() == "vpu.docker")
        );
    });
}

#[test]
fn a_container_of_others_on_a_needed_name_blocks_unless_the_project_goes() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        vpu.world(|world| {
            let (_, mut foreign) = world.containers.pop_first().unwrap();
            foreign.project = String::new();
            foreign.working_dir = String::new();
            world.containers.insert("f".repeat(64), foreign);
        });
        let plan = plan_for(&vpu, &desired(&BASE)).await;
        assert_eq!(plan.blocked.len(), 1, "{}", render::json(&plan));
        assert!(plan.blocked[0].reason.contains("is in the way"));
        let gone = desired(&Shape {
            state: ProjectState::Absent,
            ..BASE
        });
        converge(&vpu, &gone).await;
        vpu.world(|world| assert!(world.containers.contains_key(&"f".repeat(64))));
    });
}

#[test]
fn regression_what_cannot_be_looked_at_of_a_project_that_goes_blocks_and_what_is_odd_goes() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        let gone = desired(&Shape {
            state: ProjectState::Absent,
            ..BASE
        });
        let compose = format!("{}/docker-compose.yml", remote::project_directory("app"));
        let mut observed = observe(&vpu, &gone.query()).await.unwrap();
        let paths = &mut observed.facts.paths;
        paths.insert(compose.clone(), Probed::Unknown("no permission".into()));
        let plan = plan::plan(&gone, &observed, "fake");
        assert_eq!(plan.blocked[0].reason, "no permission");
        // Such as a symbolic link, which a boot would start.
        observed
            .facts
            .paths
            .insert(compose.clone(), Probed::Known(PathFact::Other));
        let plan = plan::plan(&gone, &observed, "fake");
        let removed = format!("o3r-remove-file {compose} ");
        let commands = plan.steps.iter().flat_map(|step| &step.commands);
        assert!(
            commands
                .into_iter()
                .any(|command| command.starts_with(&removed))
        );
    });
}

#[test]
fn regression_a_directory_in_two_spellings_is_one() {
    run(async {
        let mut twice = desired(&BASE);
        let mut other = twice.directories[0].clone();
        other.path = "/home/oem/data".parse().unwrap();
        other.mode = None;
        twice.directories.insert(0, other.clone());
        let vpu = FakeVpu::default();
        converge(&vpu, &twice).await;
        vpu.world(|world| assert_eq!(world.directories["/home/oem/data"].0, 0o775));

        twice.directories[0].mode = Some(0o700);
        let plan = plan_for(&vpu, &twice).await;
        assert_eq!(plan.blocked[0].address.as_str(), "directory.~/data");
        assert_eq!(
            plan.blocked[0].reason,
            "it is declared twice, with modes 0700 and 0775"
        );
    });
}

#[test]
fn regression_a_project_takes_the_place_of_one_that_goes() {
    run(async {
        let vpu = FakeVpu::default();
        let old = desired(&BASE);
        converge(&vpu, &old).await;
        let mut renamed = desired(&Shape { extra: 1, ..BASE });
        let mut new = renamed.projects[0].clone();
        new.name = "new".into();
        // A fixed name that the old one's container has.
        let main = new.services.get_mut("main").unwrap();
        main.container_name = Some("app_main_1".into());
        renamed.projects.insert(0, new);
        renamed.projects[1].state = ProjectState::Absent;
        let plan = plan_for(&vpu, &renamed).await;
        assert_eq!(plan.blocked, vec![]);
        let at = |address: &str| {
            let mut steps = plan.steps.iter();
            steps
                .position(|step| step.address.as_str() == address)
                .unwrap()
        };
        assert!(at("compose.app") < at("compose.new"));
        let before = vpu.world(|world| world.clone());
        for number in 0.. {
            vpu.world(|world| *world = before.clone());
            if !fails_and_restores(&vpu, &renamed, number, &before).await {
                break;
            }
        }
    });
}

#[test]
fn regression_where_containers_survive_a_boot_a_strange_one_is_noticed() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        vpu.world(|world| world.boot_id.push('+'));
        converged(&vpu, &desired(&BASE)).await;
        vpu.world(|world| {
            let (_, container) = world.containers.pop_first().unwrap();
            world.containers.insert("f".repeat(64), container);
        });
        let plan = plan_for(&vpu, &desired(&BASE)).await;
        assert_eq!(plan.steps.len(), 1, "{}", render::json(&plan));
    });
}

#[test]
fn regression_remedies_are_words_of_a_shell() {
    run(async {
        let mut odd = desired(&BASE);
        odd.directories[0].path = "~/it's; reboot".parse().unwrap();
        let vpu = FakeVpu::default();
        vpu.world(|world| world.write("/home/oem/it's; reboot", b"", 0o644));
        let plan = plan_for(&vpu, &odd).await;
        let quoted = r"mv '/home/oem/it'\''s; reboot' '/home/oem/it'\''s; reboot.old'";
        let remedy = &plan.blocked[0].remedy;
        assert!(remedy.ends_with(quoted), "{remedy}");
    });
}

#[test]
fn regression_images_of_releases_before_are_listed() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        let next = desired(&Shape { image: 1, ..BASE });
        converge(&vpu, &next).await;
        let old = image_content(0).staging_tag;
        let plan = plan_for(&vpu, &next).await;
        let unmanaged: Vec<&str> = plan.unmanaged.iter().map(plan::Address::as_str).collect();
        assert_eq!(unmanaged, [format!("image.{old}")]);
    });
}

#[test]
fn a_command_that_no_shell_takes_is_found_by_the_lint() {
    run(async {
        let mut plan = plan_for(&FakeVpu::default(), &desired(&BASE)).await;
        let words = vec!["'"; 20_000];
        let long = o3r_deploy::shell::Argv::new("echo").args(words);
        plan.steps[0].actions[0].argv = long;
        let findings = plan::lint::lint(&plan);
        assert!(
            findings[0].ends_with("a command of 128 KiB or more"),
            "{findings:?}"
        );
    });
}
