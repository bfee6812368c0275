//! Compares the rules about compose files with the verdicts of docker-compose 1.25.4 and 1.29.2, as
//! recorded in `compose/verdicts.tsv` by `compose/oracle.sh`.

use std::{collections::BTreeMap, fs, path::Path};

use o3r_deploy::internal::compose::{Environment, Reading, Release, read_project};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compose");

/// The verdict of a release on a case.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    /// `takes`, `config` or `start`.
    verdict: String,
    words: String,
}

fn verdicts() -> BTreeMap<String, [Verdict; 2]> {
    let table = fs::read_to_string(format!("{DIRECTORY}/verdicts.tsv")).unwrap();
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [case, old, new, old_words, new_words] = columns.as_slice() else {
                panic!("{line}");
            };
            let verdict = |verdict: &str, words: &str| Verdict {
                verdict: verdict.to_owned(),
                words: words.to_owned(),
            };
            let both = [verdict(old, old_words), verdict(new, new_words)];
            ((*case).to_owned(), both)
        })
        .collect()
}

fn read(case: &str, release: Release) -> Reading {
    let path = Path::new(DIRECTORY).join("cases").join(case);
    let login = [
        ("HOME", "/home/oem"),
        ("USER", "oem"),
        ("LOGNAME", "oem"),
        ("PATH", "/bin"),
    ];
    let login: Environment = login
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let is_directory = path.is_dir();
    let main = if is_directory {
        path.join("docker-compose.yml")
    } else {
        path.clone()
    };
    let text = fs::read_to_string(main).unwrap();
    let find = |name: &str| {
        fs::read_to_string(path.join(name))
            .ok()
            .filter(|_| is_directory)
    };
    read_project(text, &login, release, &find)
}

/// Cases that docker-compose accepts and the rules refuse, and why.
const POLICY: &[(&str, &str)] = &[
    ("container-name-blank.yml", DOCKER),
    ("container-name-short.yml", DOCKER),
    ("container-name-underscore.yml", DOCKER),
    ("extra-host-equals.yml", UP),
    (
        "format-1.yml",
        "the first format knows no external volumes and no networks",
    ),
    ("healthcheck-interval-word.yml", UP),
    ("healthcheck-unit.yml", UP),
    ("image-empty.yml", DOCKER),
    (
        "key-twice.yml",
        "a key that is there twice is a slip, of which docker-compose drops the first",
    ),
    (
        "net-host-and-ports.yml",
        "1.25.4 publishes nothing on the host's network",
    ),
    ("ipc-unknown.yml", DOCKER),
    ("one-name-twice.yml", DOCKER),
    (
        "override-makes-port-and-host",
        "1.25.4 publishes nothing on the host's network",
    ),
    ("port-base-60-three.yml", DOCKER),
    ("port-not-quoted.yml", DOCKER),
    ("port-too-large.yml", DOCKER),
    ("replicas-and-name.yml", UP),
    ("port-three-colons.yml", DOCKER),
    ("restart-always-count.yml", DOCKER),
    ("restart-word.yml", DOCKER),
    ("scale-and-name.yml", UP),
    ("stop-grace-word.yml", UP),
    ("volume-long-bind-no-source.yml", DOCKER),
    ("volume-long-no-target.yml", DOCKER),
    ("volume-long-type.yml", DOCKER),
    ("volume-mode-rwx.yml", DOCKER),
    ("volume-mode-upper.yml", DOCKER),
    ("volume-relative-target.yml", DOCKER),
    ("volume-trailing-colon.yml", DOCKER),
];

/// The daemon refuses it when the container is created.
const DOCKER: &str = "docker refuses it";
/// docker-compose refuses it after its first request to docker, where the oracle stops.
const UP: &str = "`up` refuses it, later than the oracle goes";

/// Cases that only docker-compose itself refuses.
const ONLY_THERE: &[(&str, &str)] = &[(
    "build-missing-directory.yml",
    "whether a build's directory exists; `check` refuses every `build:`",
)];

fn reason(list: &[(&'static str, &'static str)], case: &str) -> Option<&'static str> {
    list.iter()
        .find(|(name, _)| *name == case)
        .map(|(_, why)| *why)
}

#[test]
fn the_rules_refuse_what_docker_compose_refuses() {
    let mut differences = Vec::new();
    let mut used = Vec::new();
    for (case, both) in verdicts() {
        for (release, said) in Release::ALL.into_iter().zip(both) {
            let reading = read(&case, release);
            let refused = !reading.refusals.is_empty();
            let should = said.verdict != "takes";
            let known = match (refused, should) {
                (true, false) => reason(POLICY, &case),
                (false, true) => reason(ONLY_THERE, &case),
                _ => continue,
            };
            if known.is_some() {
                used.push(case.clone());
                continue;
            }
            let rules: Vec<&str> = reading
                .refusals
                .iter()
                .map(|r| r.message.as_str())
                .collect();
            differences.push(format!(
                "{case} by {release}: docker-compose {} ({}); the rules say {rules:?}",
                said.verdict, said.words
            ));
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
    let listed = POLICY.iter().chain(ONLY_THERE).map(|(case, _)| case);
    let idle: Vec<_> = listed
        .filter(|case| !used.iter().any(|u| u == *case))
        .collect();
    assert!(
        idle.is_empty(),
        "these are no differences any more: {idle:?}"
    );
}

#[test]
fn every_case_is_in_the_table() {
    let mut cases: Vec<String> = fs::read_dir(format!("{DIRECTORY}/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    cases.sort();
    let known: Vec<String> = verdicts().into_keys().collect();
    assert_eq!(cases, known);
}
