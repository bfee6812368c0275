//! Recorded answers of the probe: how they are parsed, also when damaged.

use std::collections::BTreeMap;

use o3r_deploy::internal::{
    observe::{Facts, Observed, ParseError, PathFact, Podman, Probed, Query, parse},
    plan,
};
use proptest::prelude::*;

const NONCE: &str = "o3r-0123456789abcdef";
/// Recorded on a twin: docker 20.10.24, docker-compose 1.29.2.
const DOCKER_20: &str = include_str!("../fixtures/probe/docker-20.10.24.txt");
/// The same VPU in the output of docker 19.03.8 and
/// docker-compose 1.25.4; see the README beside it.
const DOCKER_19: &str = include_str!("../fixtures/probe/docker-19.03.8.txt");

/// Recorded later, with readings for `status`.
const HEALTH: &str = include_str!("../fixtures/probe/docker-20.10.24-health.txt");

/// Recorded with the networks, mounts, namespaces and ports of docker-compose 1.29.2.
const COMPOSE: &str = include_str!("../fixtures/probe/docker-20.10.24-compose.txt");

/// Recorded with docker 26.1.5, which stores images in the containerd store.
const CONTAINERD: &str = include_str!("../fixtures/probe/docker-26.1.5-containerd.txt");
/// Recorded with podman 4.3.1: its service as docker's program shows it, and its own program.
const PODMAN_SERVICE: &str = include_str!("../fixtures/probe/podman-4.3.1-service.txt");
const PODMAN_PROGRAM: &str = include_str!("../fixtures/probe/podman-4.3.1-program.txt");

fn query() -> Query {
    let compose = "/usr/share/oem/docker/compose/hello/docker-compose.yml";
    Query {
        paths: BTreeMap::from([
            ("/root/secret".into(), None),
            (compose.into(), Some(263)),
            ("~/none".into(), None),
            ("~/share".into(), None),
            ("~/share/logs".into(), None),
        ]),
        api_port: 80,
        ..Query::default()
    }
}

fn observed(text: &str) -> Observed {
    parse(text, NONCE, &query()).unwrap()
}

#[test]
fn docker_20_10() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&observed(DOCKER_20)).unwrap());
}

#[test]
fn docker_19_03() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&observed(DOCKER_19)).unwrap());
}

#[test]
fn readings() {
    let query = Query {
        paths: query()
            .paths
            .into_iter()
            .filter(|(path, _)| path != "~/share/logs")
            .collect(),
        ..query()
    };
    let Observed { facts, readings } = parse(HEALTH, NONCE, &query).unwrap();
    assert_eq!(facts.containers.known().unwrap().len(), 2);
    insta::assert_snapshot!(serde_json::to_string_pretty(&readings).unwrap());
}

#[test]
fn both_generations_report_the_same_volumes_images_and_containers() {
    let (old, new) = (observed(DOCKER_19).facts, observed(DOCKER_20).facts);
    assert_eq!(old.volumes, new.volumes);
    assert_eq!(old.images, new.images);
    assert_eq!(old.containers, new.containers);
    assert_eq!(old.paths, new.paths);
}

#[test]
fn compose_projects() {
    let link = "/usr/share/oem/docker/compose/cam/docker-compose.yml";
    let query = Query {
        paths: BTreeMap::from([
            ("/root/secret".into(), None),
            (link.into(), Some(263)),
            ("~/none".into(), None),
            ("~/share".into(), None),
        ]),
        projects: ["app", "cam", "none"].map(str::to_owned).into(),
        ..Query::default()
    };
    let Observed { facts, .. } = parse(COMPOSE, NONCE, &query).unwrap();
    let target = "/home/oem/example_dc.yml".to_owned();
    assert_eq!(facts.paths[link], Probed::Known(PathFact::Link { target }));
    let environment = &facts.system.environment;
    assert_eq!(environment["COMPOSE_FILE"], "a.yml:b.yml");
    assert_eq!(environment["COMPOSE_HTTP_TIMEOUT"], "(several lines)");
    let shown = (
        &facts.projects,
        &facts.volumes,
        &facts.containers,
        &facts.networks,
    );
    let shown = serde_json::to_string_pretty(&shown).unwrap();
    assert!(
        !shown.contains("s3cret"),
        "labels and environments may be secret"
    );
    insta::assert_snapshot!(shown);
}

#[test]
fn older_recordings_have_no_networks_and_projects() {
    let facts = observed(DOCKER_20).facts;
    assert!(matches!(facts.networks, Probed::Unknown(_)));
    assert!(facts.projects.is_empty());
}

fn facts_of_store(text: &str) -> Facts {
    let paths = ["~/none", "~/share"].map(|path| (path.to_owned(), None));
    let query = Query {
        paths: BTreeMap::from(paths),
        ..Query::default()
    };
    parse(text, NONCE, &query).unwrap().facts
}

#[test]
fn the_containerd_store_is_recognised() {
    let facts = facts_of_store(CONTAINERD);
    let docker = facts.docker.known().unwrap();
    assert!(docker.containerd_store && docker.podman.is_none());
    assert!(!plan::takes_parts(&facts));
}

#[test]
fn podman_says_the_same_by_its_service_and_its_program() {
    let (service, program) = (
        facts_of_store(PODMAN_SERVICE),
        facts_of_store(PODMAN_PROGRAM),
    );
    let podman = |facts: &Facts| facts.docker.known().unwrap().podman;
    assert_eq!(podman(&service), Some(Podman::Service));
    assert_eq!(podman(&program), Some(Podman::Program));
    assert!(!plan::takes_parts(&service) && !plan::takes_parts(&program));
    assert_eq!(service.images, program.images);
    assert_eq!(service.containers, program.containers);
    assert_eq!(service.volumes, program.volumes);
    insta::assert_snapshot!(
        serde_json::to_string_pretty(&(&service.docker, &service.images, &service.containers))
            .unwrap()
    );
}

#[test]
fn a_missing_permission_is_unknown_and_not_missing() {
    let facts = observed(DOCKER_20).facts;
    assert!(matches!(&facts.paths["/root/secret"], Probed::Unknown(_)));
    assert_eq!(facts.paths["~/none"], Probed::Known(PathFact::Missing));
}

#[test]
fn a_truncated_answer_is_an_error_wherever_it_is_cut() {
    let end = DOCKER_20.rfind("end compose").unwrap();
    for (index, _) in DOCKER_20
        .char_indices()
        .take_while(|(index, _)| *index < end)
    {
        let result = parse(&DOCKER_20[..index], NONCE, &query());
        assert!(result.is_err(), "cut at {index}");
    }
}

#[test]
fn frames_of_another_run_are_not_accepted() {
    let result = parse(DOCKER_20, "o3r-fedcba9876543210", &query());
    assert_eq!(result.unwrap_err(), ParseError::Section("system"));
}

#[test]
fn a_failed_section_is_unknown_with_its_last_words() {
    let failed = DOCKER_20.replace(
        &format!("{NONCE} end volumes 0"),
        &format!("Error: connection reset\n{NONCE} end volumes 1"),
    );
    let reason = observed(&failed).facts.volumes;
    let wanted = "docker volume inspect: Error: connection reset".to_owned();
    assert_eq!(reason, Probed::Unknown(wanted));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(o3r_testing::cases(300)))]

    #[test]
    fn hostile_answers_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = DOCKER_20.as_bytes().to_vec();
        for (index, byte) in edits {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        bytes.truncate(cut.index(bytes.len() * 4).max(bytes.len() / 2));
        let _ = parse(&String::from_utf8_lossy(&bytes), NONCE, &query());
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,400}", section in "[a-z]{4,10}") {
        let framed = format!("{NONCE} begin {section}\n{text}\n{NONCE} end {section} 0\n");
        let _ = parse(&framed, NONCE, &query());
    }
}
