//! docker-compose reads a project's files before they are in place, and leaves nothing behind.

use std::{collections::BTreeSet, path::Path};

use camino::Utf8PathBuf;
use o3r_deploy::internal::{
    compose::MountSource,
    digest::Digest,
    observe::{Answer, Question, QuestionFile, resolve},
};

use super::{Query, SHELLS, Sandbox, observe_in, sandbox, shells};

/// A docker-compose that reports its directory and input; without `good.env` it refuses.
const COMPOSE: &str = r#"#!/bin/sh
[ "$1" = config ] || exit 2
pwd >"$HOME/worked"
echo "COMPOSE_FILE is ${COMPOSE_FILE-not set}." >&2
[ "$(cat conf/good.env)" = A=secret ] || { echo "services.web.env_file: $PWD/conf/good.env has $(cat conf/good.env)" >&2; exit 1; }
echo "services: {web: {image: 'app:1', volumes: ['$PWD/data:/data']}}"
echo "version: '2.4'"
"#;

fn question(vpu: &Sandbox, env: &str) -> Question {
    let file = |name: &str, text: &str| {
        let local = vpu.path().join(name.replace('/', "-"));
        std::fs::write(&local, text).unwrap();
        QuestionFile {
            relative: name.to_owned(),
            local: Utf8PathBuf::try_from(local).unwrap(),
            sha256: Digest::of(text),
            rendered: None,
        }
    };
    let compose =
        "version: '2.4'\nservices:\n  web:\n    image: app:1\n    env_file: conf/good.env\n";
    Question {
        project: "app".to_owned(),
        asked: Digest::of(env),
        is_complete: true,
        files: vec![
            file("docker-compose.yml", compose),
            file("conf/good.env", env),
        ],
        awaited: BTreeSet::new(),
        apart: BTreeSet::new(),
    }
}

/// Whether the directory that docker-compose worked in is removed.
fn is_clean(vpu: &Sandbox) -> bool {
    let worked = std::fs::read_to_string(vpu.home().join("worked")).unwrap();
    worked.starts_with("/dev/shm/") && !Path::new(worked.trim()).exists()
}

#[tokio::test]
async fn a_project_is_read_at_its_future_place_and_nothing_is_left() {
    for shell in shells() {
        let vpu = sandbox(shell, &["tar"]);
        vpu.program("docker-compose", COMPOSE);
        let resolved = resolve(&vpu.host, &question(&vpu, "A=secret"))
            .await
            .unwrap();
        let Answer::Project(file) = &resolved.answer else {
            panic!("{resolved:?}");
        };
        let data = "/usr/share/oem/docker/compose/app/data";
        let mount = &file.services[0].mounts[0].source;
        assert_eq!(*mount, MountSource::Bind(data.into()));
        // The login's variables for docker-compose's files do not count.
        assert_eq!(resolved.warnings, ["COMPOSE_FILE is not set."]);

        let resolved = resolve(&vpu.host, &question(&vpu, "A=secrets"))
            .await
            .unwrap();
        let words = "COMPOSE_FILE is not set.\nservices.web.env_file: \
                     /usr/share/oem/docker/compose/app/conf/good.env has A=***";
        let place = Some("docker-compose.yml:5".to_owned());
        let refused = Answer::Refused {
            words: words.to_owned(),
            place,
        };
        assert_eq!(resolved.answer, refused);
        assert!(is_clean(&vpu));
    }
}

#[tokio::test]
async fn without_the_tools_or_the_files_it_is_not_asked() {
    let vpu = sandbox(SHELLS[0], &[]);
    vpu.program("docker-compose", COMPOSE);
    let mut question = question(&vpu, "A=secret");
    for (program, reason) in [
        ("no-such-program", "tar: not found"),
        ("tar", "changed while it was read"),
    ] {
        if program == "tar" {
            question.files[0].sha256 = Digest::of("other");
        }
        let resolved = resolve(&vpu.host, &question).await.unwrap();
        let Answer::Unknown(said) = &resolved.answer else {
            panic!("{resolved:?}");
        };
        assert!(said.contains(reason), "{said}");
    }
}

#[tokio::test]
async fn the_probe_reports_environment_files_and_the_logins_environment() {
    for shell in shells() {
        let vpu = sandbox(shell, &["sha256sum"]);
        let path = vpu.home().join("a b.env");
        std::fs::write(&path, "A=1\n").unwrap();
        let query = Query {
            environment_files: ["~/a b.env".to_owned(), "~/none.env".to_owned()].into(),
            ..Query::default()
        };
        let observed = observe_in(&vpu, &query).await;
        let files = &observed.facts.environment_files;
        let hash = format!("{:?}", files["~/a b.env"]);
        assert!(hash.contains(&Digest::of("A=1\n").hex()), "{hash}");
        let missing = format!("{:?}", files["~/none.env"]);
        assert!(missing.contains("Missing"), "{missing}");

        let login = observed.facts.system.environment_sha256.unwrap();
        let again = observe_in(&vpu, &query).await;
        assert_eq!(again.facts.system.environment_sha256, Some(login));
        let mut other = vpu;
        let bin = other.bin();
        let home = other.home();
        other.host = other.host.with_env([
            ("PATH", bin.as_os_str()),
            ("HOME", home.as_os_str()),
            ("COMPOSE_FILE", "a b.yml".as_ref()),
            ("ROBOT", "r1".as_ref()),
        ]);
        let other = observe_in(&other, &query).await;
        assert_ne!(other.facts.system.environment_sha256, Some(login));
    }
}
