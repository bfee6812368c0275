//! Tests plans for containers of which there is no record.

use super::*;
use crate::{
    desired::{COMPOSE_FILE, ProjectFile, Service},
    digest::Digest,
    facts::{self, PathFact, Probed},
    offers::Offers,
    testing,
};

/// How the containers differ from the project, beside the record that is missing.
#[derive(Clone, Copy, PartialEq)]
enum Differs {
    No,
    Image,
    File,
}

fn file(relative: &str) -> ProjectFile {
    ProjectFile {
        relative: relative.into(),
        local: relative.into(),
        sha256: Digest::of(relative),
        bytes: 0,
        mode: 0o644,
    }
}

/// A project of a service that mounts a file, and one that does not.
fn project() -> Project {
    let service = |files: &[&str]| Service {
        image: Some("app:1".into()),
        replicas: 1,
        files: files.iter().map(|file| (*file).to_owned()).collect(),
        ..Service::default()
    };
    Project {
        files: vec![file(COMPOSE_FILE), file("web.conf")],
        ..testing::project(
            "app",
            [("db", service(&[])), ("web", service(&["web.conf"]))],
        )
    }
}

/// Returns the services that are recreated, and the commands.
fn planned(differs: Differs) -> (Vec<String>, String) {
    let project = project();
    let desired = testing::desired(vec![project.clone()]);
    let mut observed = testing::observed();
    let facts = &mut observed.facts;
    for file in &project.files {
        let is_other = differs == Differs::File && file.relative == COMPOSE_FILE;
        let there = PathFact::File {
            mode: 0o644,
            uid: facts.system.uid,
            size: 0,
            sha256: (!is_other).then_some(file.sha256),
        };
        facts.paths.insert(project.path(file), Probed::Known(there));
    }
    let container = |service: &str| Container {
        name: format!("app_{service}_1"),
        project: "app".into(),
        service: service.into(),
        number: 1,
        working_dir: project.directory(),
        image: if differs == Differs::Image { "2" } else { "1" }.into(),
        status: facts::ContainerState::Running,
        ..Container::default()
    };
    let containers = ["db", "web"].map(|service| (service.to_owned(), container(service)));
    facts.containers = Probed::Known(containers.into());
    let image = |name: &str| facts::Image {
        tags: [name.to_owned()].into(),
        layers: vec![],
        arch: "arm64".into(),
        os: "linux".into(),
    };
    let images = [("1", image("app:1")), ("2", image("app:2"))];
    facts.images = Probed::Known(images.map(|(id, image)| (id.to_owned(), image)).into());
    facts.records = Probed::Known(facts::Records::default());
    let offers = Offers::default();
    let mut builder = Builder::new(&desired, &observed, &offers);
    plan(&mut builder);
    let steps = builder.finish("host").steps;
    let step = steps
        .into_iter()
        .find(|step| step.address == address("app"));
    let step = step.expect("containers without a record are a reason");
    let restarts = step.restarts.iter().map(|restart| restart.service.clone());
    (restarts.collect(), step.commands.join("\n"))
}

#[test]
fn containers_that_match_in_all_but_the_record_stay_unless_they_mount_files() {
    let (recreated, commands) = planned(Differs::No);
    assert_eq!(recreated, ["web"]);
    assert!(commands.contains("o3r-record-started"), "{commands}");
    assert!(commands.contains("--force-recreate web"), "{commands}");
}

#[test]
fn containers_without_a_record_that_differ_are_all_set_aside_first() {
    for differs in [Differs::Image, Differs::File] {
        let (recreated, commands) = planned(differs);
        assert_eq!(recreated, ["db", "web"]);
        assert!(commands.contains("o3r-step-aside"), "{commands}");
    }
}
