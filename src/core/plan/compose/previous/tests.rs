use super::*;
use crate::{
    desired::ProjectFile,
    facts::{self, ContainerState},
    offers::Offers,
    plan::{Cause, Phase, builder::Draft},
    testing,
};

#[test]
fn a_rollback_removes_projects_that_the_plan_created() {
    let stopped = |name| Project {
        state: ProjectState::Stopped,
        ..testing::project(name, [])
    };
    let gone = Project {
        state: ProjectState::Absent,
        ..testing::project("gone", [])
    };
    let mut projects = vec![gone];
    projects.extend(["begun", "new", "old", "theirs"].map(stopped));
    let desired = testing::desired(projects);
    let mut observed = testing::observed();
    let of = |project: &str| Container {
        project: project.into(),
        ..Container::default()
    };
    let containers = ["begun", "theirs"].map(|name| (name.to_owned(), of(name)));
    observed.facts.containers = Probed::Known(containers.into());
    let offers = Offers::default();
    let removed = |observed: &facts::Observed| {
        let builder = Builder::new(&desired, observed, &offers);
        let commands = make_room(&builder);
        let names = ["begun", "gone", "new", "old", "theirs"].into_iter();
        let names = names.filter(|name| {
            let record = builder.state().started(name);
            commands.contains(&Command::new(remote::remove_project(name, &record)))
        });
        let names: Vec<&str> = names.collect();
        assert_eq!(names.len(), commands.len());
        names
    };
    let all = ["begun", "new", "old", "theirs"];
    assert_eq!(removed(&testing::observed()), all, "nothing was there");
    assert_eq!(removed(&observed), ["new", "old"]);
    let release = facts::Release {
        version: "0".into(),
        desired: Digest::of(b""),
        projects: [].into(),
        autostart: [].into(),
        removed: [].into(),
        leaving: [].into(),
        left: facts::Left::default(),
        adopted_images: [].into(),
        keep: None,
        made: [("old".to_owned(), Made::default())].into(),
    };
    let records = facts::Records {
        releases: [("app".to_owned(), release)].into(),
        // An interrupted apply put its file there: the running containers are its own.
        added: [("begun".to_owned(), [COMPOSE_FILE.to_owned()].into())].into(),
        ..facts::Records::default()
    };
    observed.facts.records = Probed::Known(records);
    assert_eq!(removed(&observed), ["begun", "new"]);
}

#[test]
fn the_images_of_containers_are_listed_by_name_and_id() {
    let (desired, observed) = (testing::desired(vec![]), testing::observed());
    let offers = Offers::default();
    let builder = Builder::new(&desired, &observed, &offers);
    let of = |image_ref: &str, image: &str| Container {
        image_ref: image_ref.into(),
        image: image.into(),
        ..Container::default()
    };
    let containers = [
        of("app:1", "sha256:a"),
        of("app:1", "sha256:a"),
        of("web:2", "sha256:b"),
        of("", "sha256:c"),
    ];
    let ids: Vec<String> = (0..containers.len()).map(|id| id.to_string()).collect();
    let found = Found {
        containers: ids.iter().zip(&containers).collect(),
        started: None,
    };
    assert_eq!(
        images_of(&builder, &found),
        ["app:1=sha256:a", "web:2=sha256:b"]
    );
}

/// A release that has the project `web`, made and started from these inputs with container `1`.
fn recorded(made: Made) -> facts::Records {
    let started = facts::Started {
        inputs: made.inputs.clone(),
        containers: ["1".to_owned()].into(),
        ..facts::Started::default()
    };
    let release = testing::release("web", made);
    facts::Records {
        started: [("web".to_owned(), started)].into(),
        releases: [("app".to_owned(), release)].into(),
        ..facts::Records::default()
    }
}

fn containers(all: &[(&str, ContainerState)]) -> Probed<BTreeMap<String, Container>> {
    let all = all.iter().map(|(id, status)| {
        let container = Container {
            project: "web".into(),
            status: status.clone(),
            ..Container::default()
        };
        ((*id).to_owned(), container)
    });
    Probed::Known(all.collect())
}

/// Whether something of the project `web` was begun since the release.
fn is_touched(observed: &facts::Observed) -> bool {
    let desired = testing::desired(vec![testing::project("web", [])]);
    let offers = Offers::default();
    let builder = Builder::new(&desired, observed, &offers);
    let (project, facts) = (&desired.projects[0], builder.facts);
    let started = &facts.records.known().unwrap().started;
    let found = Found::of(project, facts.containers.known().unwrap(), started);
    Previous::of(&builder, project, &found).is_touched()
}

#[test]
fn a_project_is_untouched_where_the_same_containers_are_as_recorded() {
    let (up, down) = (ContainerState::Running, ContainerState::Exited);
    let touched = |running: bool, there: &[(&str, ContainerState)]| {
        let mut observed = testing::observed();
        let inputs = [].into();
        observed.facts.records = Probed::Known(recorded(Made { running, inputs }));
        observed.facts.containers = containers(there);
        is_touched(&observed)
    };
    assert!(!touched(true, &[("1", up.clone())]));
    assert!(!touched(true, &[("1", down.clone())]), "it may have ended");
    assert!(!touched(false, &[("1", down.clone())]));
    assert!(touched(false, &[("1", up.clone())]));
    assert!(touched(true, &[("2", up.clone())]));
    assert!(touched(true, &[]));
    assert!(touched(true, &[("1", up.clone()), ("2", up)]));
}

#[test]
fn a_project_is_touched_where_another_image_has_a_name_of_the_release() {
    let touched = |images: &[(&str, &str)]| {
        let mut observed = testing::observed();
        let image = (Input::Image("web:1".into()), "sha256:a".to_owned());
        observed.facts.records = Probed::Known(recorded(Made {
            running: true,
            inputs: [image].into(),
        }));
        observed.facts.containers = containers(&[("1", ContainerState::Running)]);
        let images = images.iter().map(|(id, tag)| {
            let image = facts::Image {
                tags: [(*tag).to_owned()].into(),
                layers: vec![],
                arch: "arm64".into(),
                os: "linux".into(),
            };
            ((*id).to_owned(), image)
        });
        observed.facts.images = Probed::Known(images.collect());
        is_touched(&observed)
    };
    assert!(!touched(&[("sha256:a", "web:1")]));
    assert!(!touched(&[("sha256:b", "web:2")]), "somebody removed it");
    assert!(touched(&[("sha256:b", "web:1")]));
    assert!(touched(&[("sha256:a", "web:2"), ("sha256:b", "web:1")]));
}

#[test]
fn a_project_that_the_release_had_not_is_removed_unless_it_is_somebody_elses() {
    let removed = |there: &[(&str, ContainerState)], is_begun: bool| {
        let desired = testing::desired(vec![testing::project("new", [])]);
        let mut observed = testing::observed();
        let mut records = recorded(Made::default());
        if is_begun {
            let added = [COMPOSE_FILE.to_owned()].into();
            records.added = [("new".to_owned(), added)].into();
        }
        observed.facts.records = Probed::Known(records);
        let there = containers(there);
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        let project = &desired.projects[0];
        let found = Found {
            containers: there.known().unwrap().iter().collect(),
            started: None,
        };
        let previous = Previous::of(&builder, project, &found);
        let between = Between::of(&builder, project, &found);
        let switch = (&Recreate::None, &between);
        let commands = previous.restore(&mut builder, project, &found, &BTreeSet::new(), switch);
        let removed = remote::remove_project("new", &builder.state().started("new"));
        commands.contains(&Command::new(removed))
    };
    let theirs = [("1", ContainerState::Running)];
    assert!(removed(&[], false));
    assert!(removed(&[], true));
    assert!(removed(&theirs, true));
    assert!(!removed(&theirs, false));
}

#[test]
fn a_mount_that_may_have_replaced_an_anonymous_volume_is_noted_once() {
    let mount = |anonymous| facts::Mount {
        kind: facts::MountKind::Volume,
        name: String::new(),
        source: String::new(),
        read_write: true,
        anonymous,
        shown: facts::Shown::default(),
    };
    let mounts = [
        ("/anonymous", mount(true)),
        ("/new", mount(false)),
        ("/recorded", mount(false)),
        ("/run/secrets/key", mount(false)),
    ];
    let id = "1".to_owned();
    let container = Container {
        service: "main".into(),
        mounts: mounts.map(|(to, mount)| (to.to_owned(), mount)).into(),
        ..Container::default()
    };
    let found = Found {
        containers: [(&id, &container)].into(),
        started: None,
    };
    let recorded = Input::Mount {
        service: "main".into(),
        destination: "/recorded".into(),
    };
    let made = Made {
        running: true,
        inputs: [(recorded, "path /x".to_owned())].into(),
    };
    let notes = covered_meanwhile("web", &found, &made);
    let [note] = &notes[..] else {
        panic!("{notes:?}")
    };
    assert!(note.to_string().contains(" at /new of "), "{note}");
}

#[test]
fn what_the_releases_anonymous_volumes_were_is_doubted_where_it_was_not_recorded() {
    let noted = |is_touched: bool, is_recorded: bool| {
        let desired = testing::desired(vec![testing::project("web", [])]);
        let mut observed = testing::observed();
        let mut records = recorded(Made {
            running: true,
            inputs: [].into(),
        });
        if is_recorded {
            records.anonymous_volumes = [("app".to_owned(), vec![])].into();
        }
        observed.facts.records = Probed::Known(records);
        let mount = facts::Mount {
            kind: facts::MountKind::Bind,
            name: String::new(),
            source: "/x".into(),
            read_write: true,
            anonymous: false,
            shown: facts::Shown::default(),
        };
        let container = Container {
            project: "web".into(),
            status: ContainerState::Running,
            mounts: [("/new".to_owned(), mount)].into(),
            ..Container::default()
        };
        let id = if is_touched { "2" } else { "1" };
        observed.facts.containers = Probed::Known([(id.to_owned(), container)].into());
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        let (project, facts) = (&desired.projects[0], builder.facts);
        let started = &facts.records.known().unwrap().started;
        let found = Found::of(project, facts.containers.known().unwrap(), started);
        let previous = Previous::of(&builder, project, &found);
        let between = Between::of(&builder, project, &found);
        let switch = (&Recreate::None, &between);
        previous.restore(&mut builder, project, &found, &BTreeSet::new(), switch);
        !builder.finish("host").notes.is_empty()
    };
    assert!(noted(true, false));
    assert!(!noted(true, true));
    assert!(!noted(false, false));
}

#[test]
fn a_restore_leaves_files_alone_that_the_release_has_and_that_have_steps() {
    let file = |text: &str| ProjectFile {
        relative: "a.conf".into(),
        local: "a.conf".into(),
        sha256: Digest::of(text),
        bytes: 1,
        mode: 0o644,
    };
    let restored = |now: &str, changed: &[&str]| {
        let project = Project {
            files: vec![file(now)],
            ..testing::project("web", [])
        };
        let desired = testing::desired(vec![project]);
        let recorded = recorded(Made {
            running: true,
            inputs: [(Input::File("a.conf".into()), Digest::of(b"a").to_string())].into(),
        });
        let mut observed = testing::observed();
        observed.facts.records = Probed::Known(recorded);
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let project = &desired.projects[0];
        let found = Found {
            containers: BTreeMap::new(),
            started: None,
        };
        let previous = Previous::of(&builder, project, &found);
        let changed = changed.iter().map(|file| (*file).to_owned()).collect();
        previous.files_put_before(&builder, project, &changed).len()
    };
    assert_eq!(restored("a", &[]), 0);
    assert_eq!(restored("b", &[]), 1);
    assert_eq!(restored("b", &["a.conf"]), 0);
}

#[test]
fn containers_of_an_untouched_project_come_back_themselves() {
    let comes_back = |id: &str| {
        let desired = testing::desired(vec![testing::project("web", [])]);
        let mut observed = testing::observed();
        let mut records = recorded(Made {
            running: true,
            inputs: [].into(),
        });
        let started = records.started.get_mut("web").unwrap();
        started.containers = ["c0ffee".to_owned()].into();
        observed.facts.records = Probed::Known(records);
        observed.facts.containers = containers(&[(id, ContainerState::Running)]);
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        let (project, facts) = (&desired.projects[0], builder.facts);
        let started = &facts.records.known().unwrap().started;
        let found = Found::of(project, facts.containers.known().unwrap(), started);
        let previous = Previous::of(&builder, project, &found);
        let between = Between::of(&builder, project, &found);
        let switch = (&Recreate::None, &between);
        let commands = previous.restore(&mut builder, project, &found, &BTreeSet::new(), switch);
        format!("{commands:?}").contains(id)
    };
    assert!(comes_back("c0ffee"));
    assert!(!comes_back("beef"), "it is not the release's");
}

#[test]
fn images_and_volumes_that_an_apply_before_moved_are_moved_back() {
    let image = |tag: &str| facts::Image {
        tags: [tag.to_owned()].into(),
        layers: vec![],
        arch: "arm64".into(),
        os: "linux".into(),
    };
    let mut desired = testing::desired(vec![]);
    desired.volumes = vec![crate::desired::Volume {
        name: "share".parse().unwrap(),
        path: "~/new".parse().unwrap(),
        replace: true,
        source: None,
    }];
    let project = testing::project("web", []);
    let moved_back = |tag: &str, device: &str, planned: bool| {
        let mut observed = testing::observed();
        let there = [("sha256:a".to_owned(), image(tag))];
        observed.facts.images = Probed::Known(there.into());
        let inputs = [
            (Input::Image("web:1".into()), "sha256:a".to_owned()),
            (Input::Volume("share".into()), device.to_owned()),
        ];
        let made = Made {
            running: true,
            inputs: inputs.into(),
        };
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        let own = [image::tag_address("web:1"), volume::address("share")];
        for address in own.into_iter().filter(|_| planned) {
            let (action, phase) = (Action::Replace, Phase::Switch);
            builder.step(Draft::new(address, action, phase, Cause::Missing));
        }
        let images = images(&mut builder, &project, &made).len();
        (images, volumes(&builder, &project, &made).len())
    };
    assert_eq!(moved_back("web:1", "/home/oem/new", false), (0, 0));
    assert_eq!(moved_back("web:2", "/home/oem/old", false), (1, 1));
    let own_undo = moved_back("web:2", "/home/oem/old", true);
    assert_eq!(own_undo, (0, 0), "their steps have an undo of their own");
}

#[test]
fn a_file_that_the_release_has_not_is_somebody_elses_unless_an_apply_put_it_there() {
    let previous_file = |there: PathFact, added: &[&str]| {
        let desired = testing::desired(vec![testing::project("web", [])]);
        let project = &desired.projects[0];
        let mut records = recorded(Made::default());
        let added = added.iter().map(|file| (*file).to_owned());
        records.added = [("web".to_owned(), added.collect())].into();
        let mut observed = testing::observed();
        observed.facts.records = Probed::Known(records);
        let path = format!("{}/a.conf", project.directory());
        observed.facts.paths.insert(path, Probed::Known(there));
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let found = Found {
            containers: BTreeMap::new(),
            started: None,
        };
        let previous = Previous::of(&builder, project, &found);
        previous.file(&builder, project, "a.conf")
    };
    let theirs = previous_file(PathFact::Other, &[]);
    assert!(matches!(theirs, PreviousFile::Whatever));
    for none in [
        previous_file(PathFact::Other, &["a.conf"]),
        previous_file(PathFact::Missing, &[]),
    ] {
        assert!(matches!(none, PreviousFile::None));
    }
}
