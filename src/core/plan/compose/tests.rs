use super::*;
use crate::{
    desired::{COMPOSE_FILE, ProjectFile, Service},
    digest::Digest,
    facts::{self, ContainerState, PathFact, Probed},
    offers::Offers,
    plan::{ChangeKind, Plan},
    remote, testing,
};

#[test]
fn running_services_that_are_recreated_are_listed_with_the_time_they_were_down() {
    let service = Service::default;
    let project = testing::project(
        "app",
        [("db", service()), ("job", service()), ("web", service())],
    );
    let container = |service: &str, status| Container {
        service: service.into(),
        status,
        ..Container::default()
    };
    let (up, down) = (ContainerState::Running, ContainerState::Exited);
    let all = [
        container("db", up.clone()),
        container("gone", up.clone()),
        container("job", down),
        container("web", up),
    ];
    let ids = ["1", "2", "3", "4"].map(str::to_owned);
    let started = Started {
        down: [("web".to_owned(), 850)].into(),
        ..Started::default()
    };
    let found = Found {
        containers: ids.iter().zip(&all).collect(),
        started: Some(&started),
    };
    let restarts = |recreate: &Recreate| {
        let restarts = found.restarts(&project, recreate).into_iter();
        let restarts = restarts.map(|one| (one.service, one.milliseconds));
        restarts.collect::<Vec<_>>()
    };
    assert_eq!(restarts(&Recreate::None), []);
    let all = [("db".to_owned(), None), ("web".to_owned(), Some(850))];
    assert_eq!(restarts(&Recreate::All), all);
    let web = Recreate::Services(["job", "web"].map(str::to_owned).into());
    assert_eq!(restarts(&web), all[1..]);
}

#[test]
fn a_project_is_taken_down_with_the_files_that_it_was_created_from() {
    let mut container = Container {
        project: "cam".into(),
        working_dir: "/home/oem/my cam".into(),
        ..Container::default()
    };
    assert_eq!(
        take_down(&container),
        "cd '/home/oem/my cam' && docker-compose -p cam down"
    );
    container.config_files = "a.yml,/etc/b c.yml".into();
    assert_eq!(
        take_down(&container),
        "cd '/home/oem/my cam' && docker-compose -f a.yml -f '/etc/b c.yml' -p cam down"
    );
}

#[test]
fn a_container_is_renamed_aside_if_its_name_begins_with_its_id() {
    let id = "0123456789abcdef".to_owned();
    let aside = |name: &str| {
        let container = Container {
            name: name.into(),
            service: "main".into(),
            ..Container::default()
        };
        let found = Found {
            containers: [(&id, &container)].into(),
            started: None,
        };
        left_aside(&found)
    };
    assert_eq!(aside("0123456789ab_app_main_1"), ["main".to_owned()].into());
    for name in ["app_main_1", "0123456789ac_app_main_1", "0123456789ab"] {
        assert_eq!(aside(name), BTreeSet::new(), "{name}");
    }
}

#[test]
fn a_container_of_another_project_on_a_needed_name_conflicts_unless_that_project_goes() {
    let service = Service {
        container_name: Some("camera".into()),
        ..Service::default()
    };
    let app = testing::project("app", [("main", service)]);
    let is_conflict = |state: ProjectState, name: &str, working_dir: Option<&str>| {
        let other = Project {
            state,
            ..testing::project("other", [])
        };
        let own = other.directory();
        let container = Container {
            name: name.into(),
            project: "other".into(),
            working_dir: working_dir.map_or(own, str::to_owned),
            ..Container::default()
        };
        let desired = testing::desired(vec![app.clone(), other]);
        let containers = [("1".to_owned(), container)].into();
        conflict(&desired, &desired.projects[0], &containers).is_some()
    };
    assert!(is_conflict(ProjectState::Running, "camera", None));
    assert!(!is_conflict(ProjectState::Running, "app_main_1", None));
    assert!(!is_conflict(ProjectState::Absent, "camera", None));
    assert!(is_conflict(
        ProjectState::Absent,
        "camera",
        Some("/home/oem")
    ));
}

#[test]
fn services_differ_whose_own_containers_are_of_another_image() {
    let service = |image: &str| Service {
        image: Some(image.into()),
        ..Service::default()
    };
    let services = [("a", service("web:1")), ("b", service("web:2"))];
    let project = testing::project("app", services);
    let desired = testing::desired(vec![project.clone()]);
    let mut observed = testing::observed();
    let image = |tag: &str| facts::Image {
        tags: [tag.to_owned()].into(),
        layers: vec![],
        arch: "arm64".into(),
        os: "linux".into(),
    };
    let images = [("sha256:1", "web:1"), ("sha256:2", "web:2")];
    let images = images.map(|(id, tag)| (id.to_owned(), image(tag)));
    observed.facts.images = Probed::Known(images.into());
    let container = |service: &str, image: &str| Container {
        name: format!("app_{service}_1"),
        service: service.into(),
        image: image.into(),
        ..Container::default()
    };
    let containers = [container("a", "sha256:0"), container("b", "sha256:2")];
    let ids = ["1".to_owned(), "2".to_owned()];
    let found = Found {
        containers: ids.iter().zip(&containers).collect(),
        started: None,
    };
    let offers = Offers::default();
    let builder = Builder::new(&desired, &observed, &offers);
    let changed = ["web:1".to_owned(), "web:2".to_owned()].into();
    let services = differing(&builder, &project, &found, &changed, &[].into());
    assert_eq!(services, ["a".to_owned()].into());
}

#[test]
fn a_volume_that_is_replaced_takes_its_containers_along() {
    let (desired, observed) = (testing::desired(vec![]), testing::observed());
    let offers = Offers::default();
    let id = "1".to_owned();
    let container = Container {
        volumes: ["share".to_owned()].into(),
        ..Container::default()
    };
    let found = Found {
        containers: [(&id, &container)].into(),
        started: None,
    };
    let loses = |name: &str, action: Action| {
        let mut builder = Builder::new(&desired, &observed, &offers);
        let address = volume::address(name);
        builder.step(Draft::new(address, action, Phase::Switch, Cause::Missing));
        loses_containers(&builder, &found)
    };
    assert!(loses("share", Action::Replace));
    assert!(!loses("share", Action::Create));
    assert!(!loses("other", Action::Replace));
}

#[test]
fn what_is_left_of_a_project_that_goes_is_removed_as_it_is_present() {
    let gone = Project {
        state: ProjectState::Absent,
        ..testing::project("app", [])
    };
    let (desired, observed) = (testing::desired(vec![gone]), testing::observed());
    let offers = Offers::default();
    let mut builder = Builder::new(&desired, &observed, &offers);
    let cause = Cause::differs("state", "present", "absent");
    let draft = Draft::new(address("app"), Action::Remove, Phase::Switch, cause.clone());
    builder.step(draft);
    remove_stopped(&mut builder);
    let step = builder.finish("host").steps.pop().unwrap();
    assert_eq!(step.address, Address::new(ResourceKind::Containers, "app"));
    assert_eq!(step.cause, cause);
}

/// The plan of a project `app` that goes, where the change says what is there of it.
fn plan_of_absent(change: impl FnOnce(&mut facts::Facts, &Project)) -> Plan {
    let file = ProjectFile {
        relative: COMPOSE_FILE.into(),
        local: COMPOSE_FILE.into(),
        sha256: Digest::of(b""),
        bytes: 0,
        mode: 0o644,
    };
    let project = Project {
        state: ProjectState::Absent,
        files: vec![file],
        ..testing::project("app", [])
    };
    let mut observed = testing::observed();
    let path = project.path(&project.files[0]);
    let missing = Probed::Known(PathFact::Missing);
    observed.facts.paths.insert(path, missing);
    change(&mut observed.facts, &project);
    let desired = testing::desired(vec![project]);
    let offers = Offers::default();
    let mut builder = Builder::new(&desired, &observed, &offers);
    let facts = builder.facts;
    let started = &facts.records.known().unwrap().started;
    let containers = facts.containers.known().unwrap();
    let found = Found::of(&desired.projects[0], containers, started);
    removal::plan(&mut builder, &desired.projects[0], &found);
    builder.finish("host")
}

/// A release that has the project or not, which was started or not.
fn records(has_it: bool, started: bool) -> Probed<facts::Records> {
    let made = has_it.then(|| ("app".to_owned(), facts::Made::default()));
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
        made: made.into_iter().collect(),
    };
    let started = started.then(|| ("app".to_owned(), Started::default()));
    Probed::Known(facts::Records {
        started: started.into_iter().collect(),
        releases: [("app".to_owned(), release)].into(),
        ..facts::Records::default()
    })
}

#[test]
fn a_project_that_goes_is_removed_while_anything_of_it_is_left() {
    let is_planned = |plan: &Plan| plan.steps.iter().any(|step| step.action == Action::Remove);
    assert!(!is_planned(&plan_of_absent(|_, _| {})));
    assert!(is_planned(&plan_of_absent(|facts, _| {
        facts.records = records(true, true);
    })));
    assert!(is_planned(&plan_of_absent(|facts, project| {
        let path = project.path(&project.files[0]);
        facts.paths.insert(path, Probed::Known(PathFact::Other));
    })));
}

#[test]
fn the_files_of_a_project_that_goes_are_listed() {
    let changes = |plan: Plan| plan.steps.into_iter().flat_map(|step| step.changes);
    let there = plan_of_absent(|facts, project| {
        let path = project.path(&project.files[0]);
        facts.paths.insert(path, Probed::Known(PathFact::Other));
    });
    let files: Vec<(String, ChangeKind)> = changes(there).map(|c| (c.path, c.change)).collect();
    assert_eq!(files, [(COMPOSE_FILE.to_owned(), ChangeKind::Deleted)]);
    let only_started = plan_of_absent(|facts, _| facts.records = records(true, true));
    assert_eq!(changes(only_started).count(), 0, "no file is there");
}

#[test]
fn a_project_that_went_before_is_not_restorable_where_the_release_has_it() {
    for has_it in [true, false] {
        let plan = plan_of_absent(|facts, _| facts.records = records(has_it, false));
        assert_eq!(plan.steps, []);
        let lost = plan.not_restorable.iter().map(|lost| &lost.address);
        let lost: Vec<&Address> = lost.collect();
        assert_eq!(lost, Vec::from_iter(has_it.then_some(&address("app"))));
    }
}

#[test]
fn a_project_that_goes_is_rolled_back_always_where_it_was_touched_before() {
    for (container, is_always) in [("1", false), ("2", true)] {
        let plan = plan_of_absent(|facts, project| {
            let mut known = records(true, true).known().unwrap().clone();
            let started = known.started.get_mut("app").unwrap();
            started.containers = ["1".to_owned()].into();
            facts.records = Probed::Known(known);
            let there = Container {
                project: "app".into(),
                working_dir: project.directory(),
                status: facts::ContainerState::Exited,
                ..Container::default()
            };
            facts.containers = Probed::Known([(container.to_owned(), there)].into());
        });
        let [step] = &plan.steps[..] else {
            panic!("{:?}", plan.steps)
        };
        assert_eq!(step.rollback_always, is_always, "{container}");
    }
}

#[test]
fn what_docker_compose_makes_of_a_service_is_a_reason_where_no_file_says_it() {
    let file = |text: &str| ProjectFile {
        relative: COMPOSE_FILE.into(),
        local: COMPOSE_FILE.into(),
        sha256: Digest::of(text),
        bytes: 0,
        mode: 0o644,
    };
    let service = Service {
        image: Some("app:1".into()),
        replicas: 1,
        resolved: Some(Digest::of(b"now")),
        ..Service::default()
    };
    let project = Project {
        files: vec![file("now")],
        ..testing::project("app", [("main", service)])
    };
    let desired = testing::desired(vec![project.clone()]);
    let digest = |text: &str| Digest::of(text).to_string();
    let image = Input::Image("app:1".into());
    let reasons = |on_disk: &str, resolved: &str, started_image: Option<&str>| {
        let mut observed = testing::observed();
        let path = project.path(&project.files[0]);
        let there = PathFact::File {
            mode: 0o644,
            uid: observed.facts.system.uid,
            size: 0,
            sha256: Some(Digest::of(on_disk)),
        };
        observed.facts.paths.insert(path, Probed::Known(there));
        let container = Container {
            name: "app_main_1".into(),
            project: "app".into(),
            service: "main".into(),
            number: 1,
            working_dir: project.directory(),
            image: "1".into(),
            status: facts::ContainerState::Running,
            ..Container::default()
        };
        observed.facts.containers = Probed::Known([("1".to_owned(), container)].into());
        let there = facts::Image {
            tags: ["app:1".to_owned()].into(),
            layers: vec![],
            arch: "arm64".into(),
            os: "linux".into(),
        };
        observed.facts.images = Probed::Known([("1".to_owned(), there)].into());
        let offers = Offers::default();
        let inputs = [
            (Input::File(COMPOSE_FILE.into()), digest(on_disk)),
            (Input::Resolved("main".into()), digest(resolved)),
        ];
        let image = started_image.map(|id| (image.clone(), id.to_owned()));
        let started = Started {
            inputs: inputs.into_iter().chain(image).collect(),
            containers: ["1".to_owned()].into(),
            ..Started::default()
        };
        observed.facts.records = Probed::Known(facts::Records {
            started: [("app".to_owned(), started)].into(),
            ..facts::Records::default()
        });
        let mut builder = Builder::new(&desired, &observed, &offers);
        let facts = builder.facts;
        let started = &facts.records.known().unwrap().started;
        let containers = facts.containers.known().unwrap();
        let found = Found::of(&project, containers, started);
        diff_present(&mut builder, &project, &found);
        let steps = builder.finish("host").steps;
        let step = steps
            .into_iter()
            .find(|step| step.address == address("app"));
        let causes = step.map(|step| [vec![step.cause], step.further_causes].concat());
        let attributes = causes.into_iter().flatten().map(|cause| match cause {
            Cause::DependsOn { address } => address.to_string(),
            Cause::Differs { attribute, .. } => attribute,
            other => format!("{other:?}"),
        });
        attributes.collect::<Vec<_>>()
    };
    let one = Some("1");
    assert_eq!(reasons("now", "now", one), [""; 0]);
    let resolved = format!("started from {}", Input::Resolved("main".into()));
    assert_eq!(reasons("now", "before", one), [resolved]);
    let changed = file_address("app", COMPOSE_FILE).to_string();
    for resolved in ["before", "now"] {
        assert_eq!(reasons("before", resolved, one).join(" "), changed);
    }
    // Nor is an image that the new file names; one of the same name with another content is.
    assert_eq!(reasons("before", "now", None).join(" "), changed);
    let other = format!("started from {image}");
    assert_eq!(
        reasons("before", "now", Some("2")).join(" "),
        format!("{changed} {other}")
    );
    assert_eq!(reasons("now", "now", None), [other]);
}

#[test]
fn containers_of_services_that_are_gone_are_removed_and_no_others() {
    let project = testing::project("app", [("main", Service::default())]);
    let desired = testing::desired(vec![project]);
    let mut observed = testing::observed();
    let container = |project: &str, service: &str, one_off: bool| Container {
        project: project.into(),
        service: service.into(),
        one_off,
        ..Container::default()
    };
    let containers = [
        ("1", container("app", "main", false)),
        ("2", container("app", "gone", false)),
        ("3", container("app", "gone", true)),
        ("4", container("other", "gone", false)),
    ];
    let containers = containers.map(|(id, container)| (id.to_owned(), container));
    observed.facts.containers = Probed::Known(containers.into());
    let offers = Offers::default();
    let mut builder = Builder::new(&desired, &observed, &offers);
    let draft = Draft::new(
        address("app"),
        Action::Update,
        Phase::Switch,
        Cause::Missing,
    );
    builder.step(draft);
    remove_stopped(&mut builder);
    let step = builder.finish("host").steps.pop().unwrap();
    assert_eq!(
        step.actions,
        [Command::new(remote::remove_containers(["2"]))]
    );
}

#[test]
fn projects_without_steps_of_their_own_are_restored_where_they_were_touched() {
    let restored = |state: ProjectState, change: fn(&mut Builder<'_>)| {
        let project = Project {
            state,
            ..testing::project("app", [])
        };
        let desired = testing::desired(vec![project]);
        let mut observed = testing::observed();
        let mut known = records(false, false).known().unwrap().clone();
        // An apply that was cut off began it.
        let added = [COMPOSE_FILE.to_owned()].into();
        known.added = [("app".to_owned(), added)].into();
        observed.facts.records = Probed::Known(known);
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        change(&mut builder);
        !restore_unchanged(&mut builder).is_empty()
    };
    let running = ProjectState::Running;
    assert!(restored(running, |_| {}));
    assert!(!restored(ProjectState::Absent, |_| {}));
    assert!(!restored(running, |builder| {
        let (action, phase) = (Action::Update, Phase::Switch);
        builder.step(Draft::new(address("app"), action, phase, Cause::Missing));
    }));
    assert!(!restored(running, |builder| {
        builder.block(address("app"), Obstacle::not_probed());
    }));
}
