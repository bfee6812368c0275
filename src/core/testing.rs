//! Fixtures of the core's unit tests: a VPU that has nothing, and a release that declares nothing.

use crate::{
    desired::{Desired, Guards, Project, ProjectState, Release, Service, Volume},
    digest::Digest,
    facts::{self, Facts, Made, Observed, Probed, Readings, Records, System, Trees, Undeclared},
    health::HealthGate,
};

/// Returns a running project of these services.
pub(crate) fn project<'a>(
    name: &str,
    services: impl IntoIterator<Item = (&'a str, Service)>,
) -> Project {
    let services = services.into_iter();
    Project {
        name: name.into(),
        state: ProjectState::Running,
        files: vec![],
        services: services
            .map(|(name, service)| (name.to_owned(), service))
            .collect(),
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

/// Returns version 1 of a release called `app`, with these projects.
pub(crate) fn desired(projects: Vec<Project>) -> Desired {
    let release = Release {
        name: "app".parse().unwrap(),
        version: "1".into(),
        source: None,
    };
    let guards = Guards {
        arch: "arm64".into(),
        serial: None,
        firmware: None,
        api_port: 80,
    };
    Desired {
        projects,
        ..Desired::nothing(release, guards)
    }
}

/// A volume that is not replaced.
pub(crate) fn volume(name: &str, path: &str) -> Volume {
    Volume {
        name: name.parse().unwrap(),
        path: path.parse().unwrap(),
        replace: false,
        source: None,
    }
}

/// A recorded release of one project.
pub(crate) fn release(project: &str, made: Made) -> facts::Release {
    facts::Release {
        version: "0".into(),
        desired: Digest::of(b""),
        projects: [].into(),
        autostart: [].into(),
        removed: [].into(),
        leaving: [].into(),
        left: facts::Left::default(),
        adopted_images: [].into(),
        keep: None,
        made: [(project.to_owned(), made)].into(),
    }
}

fn unknown<T>() -> Probed<T> {
    Probed::Unknown("it was not asked".into())
}

/// Returns the observation of a VPU with docker and
/// docker-compose that have nothing in them; no device answers.
pub(crate) fn observed() -> Observed {
    let facts = Facts {
        system: System {
            home: "/home/oem".into(),
            uid: 1000,
            arch: "arm64".into(),
            boot_id: String::new(),
            load_interrupted: false,
            environment: [].into(),
            environment_sha256: Some(Digest::of(b"")),
            home_refuses: None,
        },
        device: unknown(),
        device_help: None,
        docker: unknown(),
        compose: Probed::Known("1.29.2".into()),
        paths: [].into(),
        trees: Trees::default(),
        arrived: [].into(),
        volumes: Probed::Known([].into()),
        images: Probed::Known([].into()),
        unusable_images: [].into(),
        containers: Probed::Known([].into()),
        networks: Probed::Known([].into()),
        projects: [].into(),
        environment_files: [].into(),
        resolved: [].into(),
        records: Probed::Known(Records::default()),
        kept: [].into(),
        lost_files: [].into(),
        undeclared: Undeclared::default(),
        data: [].into(),
        verified: [].into(),
        listeners: unknown(),
        autostart: unknown(),
    };
    Observed {
        facts,
        readings: Readings::default(),
    }
}
