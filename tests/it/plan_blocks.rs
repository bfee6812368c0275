//! Plans find what the VPU lacks before anything is touched.

use std::collections::BTreeMap;

use o3r_deploy::internal::{
    compose::{self, ComposeFile},
    desired::{
        Desired, Directory, Image, ImageContent, Project, ProjectState, ProjectVolume, Service,
    },
    digest::Digest,
    health::HealthGate,
    observe::{
        self, Answer, Container, Disk, Observed, PathFact, Podman, Probed, Query, Resolved, parse,
    },
    offers::{Arriving, ImageOffer, LayerOffer, Offers, Part, PartOffer},
    plan::{BlockCode, Note, NoteCode, Plan, plan},
    status::{self, Drift},
};
use o3r_testing::desired::nothing;

const NONCE: &str = "o3r-0123456789abcdef";
const DOCKER_20: &str = include_str!("../fixtures/probe/docker-20.10.24.txt");

/// Returns a recorded VPU, with none of the paths that were observed then.
pub(crate) fn observed() -> Observed {
    let query = Query::default();
    let mut observed = parse(DOCKER_20, NONCE, &query).unwrap();
    observed.facts.records = Probed::Known(o3r_deploy::internal::observe::Records::default());
    observed
}

/// A file system of its own with `free` bytes.
pub(crate) fn disk(free: u64) -> Disk {
    Disk {
        total: free * 2,
        free,
        mount: format!("/{free}"),
        ..Disk::default()
    }
}

pub(crate) fn service(ports: &[&str]) -> Service {
    Service {
        replicas: 1,
        ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
        ..Service::default()
    }
}

pub(crate) fn project(name: &str, services: &[(&str, Service)]) -> Project {
    let services = services
        .iter()
        .map(|(name, service)| ((*name).to_owned(), service.clone()));
    Project {
        name: name.into(),
        state: ProjectState::Running,
        files: vec![],
        services: services.collect(),
        read: [].into(),
        networks: vec![],
        volumes: vec![],
        refused_by_old_compose: None,
        undeclared: false,
        health: HealthGate::default(),
        autostart: None,
        source: None,
    }
}

pub(crate) fn desired(projects: Vec<Project>) -> Desired {
    Desired {
        projects,
        ..nothing("amd64")
    }
}

pub(crate) fn planned(desired: &Desired, observed: &Observed) -> Plan {
    plan(desired, observed, &Offers::default(), "192.168.0.69")
}

/// Plans with this offer for the image.
pub(crate) fn planned_with(desired: &Desired, observed: &Observed, offer: &ImageOffer) -> Plan {
    let offers = Offers {
        images: BTreeMap::from([("app:1".to_owned(), offer.clone())]),
        ..Offers::default()
    };
    plan(desired, observed, &offers, "192.168.0.69")
}

/// Returns reasons, codes and remedies.
fn blocked(plan: &Plan) -> String {
    let blocked = plan.blocked.iter();
    let lines = blocked.map(|b| {
        format!(
            "{}: {} [{}]\n  help: {}",
            b.address, b.reason, b.code, b.remedy
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn notes(plan: &Plan) -> String {
    let notes = plan.notes.iter();
    let lines = notes.map(|note| format!("{note} [{}]", note.code));
    lines.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn is_free(desired: &Desired, observed: &Observed) {
    assert_eq!(blocked(&planned(desired, observed)), "");
}

/// Returns a running container of another project that has port 9000 of one address.
pub(crate) fn foreign(project: &str) -> Container {
    Container {
        name: "camera-test".into(),
        image: "sha256:0".into(),
        status: "running".into(),
        exit_code: 0,
        restart_policy: "no".into(),
        project: project.into(),
        service: "web".into(),
        working_dir: format!("/usr/share/oem/docker/compose/{project}"),
        one_off: false,
        volumes: [].into(),
        host_network: false,
        ports: ["127.0.0.1:9000/tcp".parse().unwrap()].into(),
        ..Container::default()
    }
}

fn with_container(container: Container) -> Observed {
    let mut observed = observed();
    observed.facts.containers = Probed::Known(BTreeMap::from([("1".to_owned(), container)]));
    observed
}

#[test]
fn podmans_own_program_does_not_support_compose_projects() {
    let mut observed = observed();
    let Probed::Known(docker) = &mut observed.facts.docker else {
        panic!()
    };
    docker.podman = Some(Podman::Program);
    let wanted = desired(vec![project("app", &[("web", service(&[]))])]);
    insta::assert_snapshot!(blocked(&planned(&wanted, &observed)), @r"
    vpu.docker-compose: `docker` on the VPU is podman's program, but docker-compose talks to another engine, with other images and containers [compose-unavailable]
      help: on the VPU, install docker, or docker's program (docker-cli) with podman's service on /var/run/docker.sock
    ");
    is_free(&desired(vec![]), &observed);
    let Probed::Known(docker) = &mut observed.facts.docker else {
        panic!()
    };
    docker.podman = Some(Podman::Service);
    is_free(&wanted, &observed);
}

#[test]
fn port_of_another_container() {
    let observed = with_container(foreign("other"));
    let wants = |port| desired(vec![project("app", &[("web", service(&[port]))])]);
    insta::assert_snapshot!(blocked(&planned(&wants("9000/tcp"), &observed)), @"
    compose.app: service web publishes 9000/tcp, which is taken by container camera-test [port-taken]
      help: stop that container (docker stop camera-test), or publish another port
    ");
    let two = project(
        "app",
        &[
            ("ssh", service(&["22/tcp", "80/tcp"])),
            ("web", service(&["9000/tcp"])),
        ],
    );
    insta::assert_snapshot!(blocked(&planned(&desired(vec![two]), &observed)), @"
    compose.app: service ssh publishes 22/tcp, which is taken by sshd; service ssh publishes 80/tcp, which is taken by a program on the VPU; service web publishes 9000/tcp, which is taken by container camera-test [port-taken]
      help: stop that program and stop that container (docker stop camera-test), or publish other ports
    ");
    is_free(&wants("9001/tcp"), &observed);
    is_free(&wants("9000/udp"), &observed);
    is_free(&wants("127.0.0.2:9000/tcp"), &observed);

    let mut ended = foreign("other");
    ended.status = "exited".into();
    is_free(&wants("9000/tcp"), &with_container(ended));
}

#[test]
fn port_of_an_own_container_may_move_in_this_plan() {
    let mut own = foreign("app");
    own.name = "app_web_1".into();
    let mut observed = with_container(own);
    observed.facts.listeners = Probed::Known(["9000/tcp".parse().unwrap()].into());
    let both = vec![
        project("app", &[("web", service(&["9001/tcp"]))]),
        project("new", &[("web", service(&["9000/tcp"]))]),
    ];
    is_free(&desired(both), &observed);
}

#[test]
fn port_of_a_program() {
    // Recorded on a twin: sshd and the device's API.
    let wants = |port| desired(vec![project("app", &[("web", service(&[port]))])]);
    insta::assert_snapshot!(blocked(&planned(&wants("22/tcp"), &observed())), @"
    compose.app: service web publishes 22/tcp, which is taken by sshd [port-taken]
      help: publish another port
    ");
    let mut blind = observed();
    blind.facts.listeners = Probed::Unknown("no /proc".into());
    is_free(&wants("22/tcp"), &blind);
}

#[test]
fn port_of_an_own_container_with_host_networking() {
    let container = |project| Container {
        host_network: true,
        ports: [].into(),
        ..foreign(project)
    };
    let wants = desired(vec![project("app", &[("web", service(&["22/tcp"]))])]);
    let with = |container| {
        let mut observed = with_container(container);
        observed.facts.listeners = Probed::Known(["22/tcp".parse().unwrap()].into());
        blocked(&planned(&wants, &observed))
    };
    assert_eq!(with(container("app")), "");
    let taken = "compose.app: service web publishes 22/tcp, which is taken by sshd";
    let mut ended = container("app");
    ended.status = "exited".into();
    assert!(with(ended).starts_with(taken));
    assert!(with(container("other")).starts_with(taken));
}

#[test]
fn port_that_two_services_publish() {
    let same = vec![
        project("app", &[("web", service(&["9000/tcp"]))]),
        project("other", &[("api", service(&["9000/tcp"]))]),
    ];
    insta::assert_snapshot!(blocked(&planned(&desired(same.clone()), &observed())), @"
    compose.other: service api publishes 9000/tcp, which is taken by service web of project app [port-taken]
      help: change one of them, or publish another port
    ");
    let mut stopped = same;
    stopped[0].state = ProjectState::Stopped;
    is_free(&desired(stopped), &observed());
}

#[test]
fn compose_file_for_a_newer_docker_compose() {
    let mut app = project("app", &[("web", service(&[]))]);
    app.refused_by_old_compose = Some("has no `version:`".into());
    let desired = desired(vec![app]);
    is_free(&desired, &observed());
    let mut old = observed();
    old.facts.compose = Probed::Known("1.25.4".into());
    insta::assert_snapshot!(blocked(&planned(&desired, &old)), @r#"
    compose.app: the compose file has no `version:`, which docker-compose 1.25.4 rejects [compose-too-old]
      help: write `version: "2.4"`, which every firmware supports
    "#);
}

#[test]
fn runtime_that_docker_does_not_have() {
    let mut gpu = service(&[]);
    gpu.runtime = Some("nvidia".into());
    let desired = desired(vec![project("app", &[("gpu", gpu)])]);
    let mut observed = observed();
    let Probed::Known(docker) = &mut observed.facts.docker else {
        panic!("{:?}", observed.facts.docker);
    };
    docker.runtimes = ["runc".to_owned()].into();
    insta::assert_snapshot!(blocked(&planned(&desired, &observed)), @"
    compose.app: service gpu needs the container runtime nvidia, but docker on the VPU has runc [runtime-missing]
      help: remove `runtime: nvidia` from the compose file, or use a VPU that has it
    ");
}

/// Returns an image of 448 MiB with these layers.
pub(crate) fn large_image(layers: Vec<LayerOffer>) -> (Desired, ImageOffer) {
    let mut desired = desired(vec![]);
    desired.images.push(Image {
        name: "app:1".into(),
        content: Some(ImageContent {
            config_digest: Digest::of("config"),
            layers: layers.iter().map(|layer| layer.diff_id).collect(),
            staging_tag: "o3r-deploy/app:0".into(),
        }),
        found: None,
        source: None,
    });
    let offer = ImageOffer {
        layers,
        base_bytes: 448 << 20,
        whole_bytes: 448 << 20,
        packed: true,
        ..ImageOffer::default()
    };
    (desired, offer)
}

#[test]
fn image_that_does_not_fit() {
    let (desired, offer) = large_image(vec![]);
    let mut observed = observed();
    let mut with = |free| {
        observed.readings.docker_disk = Some(disk(free));
        planned_with(&desired, &observed, &offer)
    };
    insta::assert_snapshot!(blocked(&with(300 << 20)), @"
    vpu.space: docker's disk has 300 MiB free, but needs 456 MiB: 448 MiB to receive images, 8.00 MiB to start containers, also after a rollback [no-space]
      help: check on the VPU: df -h; df -i; docker system df; du -sh ~/*; free space, for example by applying the deployed release with a lower `keep_releases` in [apply], or with docker image prune -a, which removes images that no container uses: also those that `o3r-deploy rollback` needs
    ");
    // `status` prepares no layers, so these sizes are not the ones that would be sent.
    let full = with(300 << 20);
    let status = status::status("192.168.0.69", &observed, Ok(&full));
    let Drift::Known {
        blocked, summary, ..
    } = status.drift
    else {
        unreachable!("there is a plan")
    };
    assert_eq!((blocked, summary.blocked), (vec![], 0));
}

#[test]
fn image_that_does_not_fit_beside_what_was_received() {
    let (desired, offer) = large_image(vec![LayerOffer {
        diff_id: Digest::of("layer"),
        bytes: 100 << 20,
        unpacked: Some(300 << 20),
        spooled: 100 << 20,
        inodes: None,
    }]);
    let mut observed = observed();
    let mut with = |free| {
        observed.readings.docker_disk = Some(disk(free));
        planned_with(&desired, &observed, &offer)
    };
    insta::assert_snapshot!(blocked(&with(600 << 20)), @"
    vpu.space: docker's disk has 600 MiB free, but needs 856 MiB: 300 MiB for unpacked layers, 548 MiB to receive images, 8.00 MiB to start containers, also after a rollback [no-space]
      help: check on the VPU: df -h; df -i; docker system df; du -sh ~/*; free space, for example by applying the deployed release with a lower `keep_releases` in [apply], or with docker image prune -a, which removes images that no container uses: also those that `o3r-deploy rollback` needs
    ");
    assert_eq!(with(900 << 20).blocked, []);
}

#[test]
fn home_directory_without_room_for_our_records() {
    // Recording the release is a step as well.
    let desired = desired(vec![]);
    let mut observed = observed();
    observed.readings.home_disk = Some(disk(1 << 20));
    assert_eq!(planned(&desired, &observed).blocked, []);
    observed.readings.home_disk = Some(disk(4096));
    insta::assert_snapshot!(blocked(&planned(&desired, &observed)), @"
    vpu.space: the home directory's disk has 4.00 KiB free, but needs 16.0 KiB: 16.0 KiB for records and the rollback [no-space]
      help: check on the VPU: df -h; df -i; docker system df; du -sh ~/*; free space, for example by applying the deployed release with a lower `keep_releases` in [apply], or with docker image prune -a, which removes images that no container uses: also those that `o3r-deploy rollback` needs
    ");
}

/// A part that is loaded from a file while docker receives the next one.
#[test]
fn image_of_which_two_parts_do_not_fit_together() {
    let layer = |name: &str, mib: u64| LayerOffer {
        diff_id: Digest::of(name),
        bytes: mib << 20,
        unpacked: Some(mib << 20),
        spooled: mib << 20,
        inodes: None,
    };
    let (desired, mut offer) = large_image(vec![layer("one", 100), layer("two", 60)]);
    let part = |up_to, name: &str, mib: u64, arriving| PartOffer {
        part: Part {
            up_to,
            layers: [Digest::of(name)].into(),
        },
        bytes: mib << 20,
        tag: None,
        arriving,
    };
    let arriving = Arriving {
        name: "one".into(),
        have: 0,
    };
    offer.base_bytes = 0;
    offer.parts = vec![
        part(1, "one", 100, Some(arriving)),
        part(2, "two", 60, None),
    ];
    let mut observed = observed();
    observed.readings.docker_disk = Some(disk(300 << 20));
    observed.readings.home_disk = Some(disk(1 << 30));
    insta::assert_snapshot!(blocked(&planned_with(&desired, &observed, &offer)), @"
    vpu.space: docker's disk has 300 MiB free, but needs 328 MiB: 160 MiB for unpacked layers, 160 MiB to receive images, 8.00 MiB to start containers, also after a rollback [no-space]
      help: check on the VPU: df -h; df -i; docker system df; du -sh ~/*; free space, for example by applying the deployed release with a lower `keep_releases` in [apply], or with docker image prune -a, which removes images that no container uses: also those that `o3r-deploy rollback` needs
    ");
}

#[test]
fn directory_that_cannot_be_created() {
    let mut desired = desired(vec![]);
    desired.directories.push(Directory {
        path: "/opt/app".parse().unwrap(),
        mode: None,
        source: None,
    });
    let mut observed = observed();
    let fact = PathFact::Unwritable {
        parent: "/opt".into(),
        uid: 0,
    };
    observed
        .facts
        .paths
        .insert("/opt/app".into(), Probed::Known(fact));
    insta::assert_snapshot!(blocked(&planned(&desired, &observed)), @"
    directory./opt/app: /opt/app cannot be created: /opt belongs to user 0, and only that user can write there [not-writable]
      help: choose another path, or make it writable in a container that runs as its owner: docker run --rm --user 0 -v /opt:/d IMAGE chmod o+w /d
    ");
}

#[test]
fn clock_of_a_vpu_without_a_time_server() {
    let mut observed = observed();
    observed.readings.clock = Some(1_581_090_786);
    let plan = planned(&desired(vec![]), &observed);
    insta::assert_snapshot!(notes(&plan), @"
    name, serial and firmware are unknown: not probed [device-unknown]
    the VPU's clock says 2020-02-07: dates in its logs and in docker's lists are wrong until it has a time server [wrong-clock]
    ");
    observed.readings.clock = Some(1_795_646_007);
    let plan = planned(&desired(vec![]), &observed);
    assert!(!plan.notes.iter().any(|note| note.text.contains("clock")));
}

/// Adds the answer of docker-compose on the VPU about the project `app`.
fn answered(wanted: &Desired, answer: Answer) -> Observed {
    let mut observed = observed();
    let question = wanted.questions(&observed.facts).remove(0);
    let resolved = Resolved {
        asked: question.asked,
        answer,
        warnings: vec!["The ROBOT variable is not set.".into()],
    };
    observed.facts.resolved = BTreeMap::from([("app".to_owned(), resolved)]);
    observed
}

#[test]
fn answers_of_docker_compose_on_the_vpu_count() {
    let wanted = desired(vec![project("app", &[("web", service(&[]))])]);
    let mut refusing = answered(
        &wanted,
        Answer::Refused {
            words: "services.web.foo is wrong".into(),
            place: Some("docker-compose.yml:4".into()),
        },
    );
    let code = planned(&wanted, &refusing).blocked[0].code;
    assert_eq!(code, BlockCode::ComposeRefused);
    insta::assert_snapshot!(blocked(&planned(&wanted, &refusing)), @r"
    compose.app: docker-compose 1.29.2 on the VPU rejects the project (docker-compose.yml:4): services.web.foo is wrong [compose-refused]
      help: correct the files, then run: o3r-deploy check
    ");
    // Nothing was asked about other files, or of another docker-compose.
    refusing.facts.compose = Probed::Known("1.25.4".into());
    is_free(&wanted, &refusing);

    // Another service, another port, and two containers:
    // the plan follows what docker-compose resolved.
    let config = "services:\n  web:\n    image: app\n    ports: ['9000:80/tcp']\n    scale: 2\nversion: '2.4'\n";
    let file = ComposeFile::parse_config(config, &[].into()).unwrap();
    let mut resolving = answered(&wanted, Answer::Project(Box::new(file)));
    let refused = blocked(&planned(&wanted, &resolving));
    assert!(
        refused.contains("runs from app:latest") && refused.contains("[image-undeclared]"),
        "{refused}"
    );
    let mut wanted = wanted;
    wanted.images = vec![Image {
        name: "app:latest".into(),
        content: None,
        found: None,
        source: None,
    }];
    let image = observe::Image {
        tags: ["app:latest".to_owned()].into(),
        layers: vec![],
        arch: "amd64".into(),
        os: "linux".into(),
    };
    resolving.facts.images = Probed::Known(BTreeMap::from([("sha256:1".to_owned(), image)]));
    let plan = planned(&wanted, &resolving);
    assert_eq!(blocked(&plan), "");
    let warned = |note: &Note| note.code == NoteCode::ComposeWarning && note.text.contains("ROBOT");
    assert!(plan.notes.iter().any(warned));
    let foreign = foreign("other");
    resolving.facts.containers = Probed::Known(BTreeMap::from([("1".to_owned(), foreign)]));
    let refused = blocked(&planned(&wanted, &resolving));
    assert!(refused.contains("publishes 9000/tcp"), "{refused}");

    let unknown = answered(&wanted, Answer::Unknown("it did not answer".into()));
    let plan = planned(&wanted, &unknown);
    let unasked = |note: &Note| {
        note.code == NoteCode::ComposeNotAsked && note.text.contains("it did not answer")
    };
    assert!(plan.notes.iter().any(unasked));
}

/// Plans a project with a volume that its compose file declares, and these volumes in docker.
fn with_volume(declared: compose::Volume, there: &[(&str, observe::Volume)]) -> String {
    let mut app = project("app", &[("web", service(&[]))]);
    let (name, older_name) = declared.docker_names("app");
    app.volumes = vec![ProjectVolume {
        name,
        older_name,
        declared,
    }];
    let mut observed = observed();
    let there = there
        .iter()
        .map(|(name, volume)| ((*name).to_owned(), volume.clone()));
    observed.facts.volumes = Probed::Known(there.collect());
    blocked(&planned(&desired(vec![app]), &observed))
}

#[test]
fn volumes_of_the_compose_file_that_differ_or_are_missing() {
    let bound = |device: &str| {
        BTreeMap::from([
            ("type".to_owned(), "none".to_owned()),
            ("device".to_owned(), device.to_owned()),
        ])
    };
    let declared = compose::Volume {
        key: "data".into(),
        options: bound("/home/oem/b"),
        ..compose::Volume::default()
    };
    let there = |device: &str| observe::Volume {
        driver: "local".into(),
        options: bound(device),
        owner: None,
        project: "app".into(),
        key: "data".into(),
        anonymous: false,
    };
    assert_eq!(with_volume(declared.clone(), &[]), "");
    let same = ("app_data", there("/home/oem/b"));
    assert_eq!(with_volume(declared.clone(), &[same]), "");
    let other = ("app_data", there("/home/oem/a"));
    let refused = with_volume(declared.clone(), &[other]);
    let reason = "volume app_data exists and differs: option device is /home/oem/a, and the compose file says \
                  /home/oem/b";
    assert!(
        refused.contains(&format!("{reason} [volume-differs]")),
        "{refused}"
    );

    let external = compose::Volume {
        external: true,
        options: BTreeMap::new(),
        ..declared
    };
    let refused = with_volume(external.clone(), &[]);
    assert!(
        refused.contains("docker volume create data") && refused.contains("[volume-missing]"),
        "{refused}"
    );
    assert_eq!(with_volume(external, &[("data", there("/x"))]), "");
}
