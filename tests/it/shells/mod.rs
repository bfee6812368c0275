//! The quoter and every script, run by the shells that a VPU may have: dash and busybox.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use o3r_deploy::internal::{
    digest::Digest,
    host::{Host as _, LocalHost, Output, Stdin},
    observe::{self, PathFact, Probed, Query, Readings},
    remote::{self, Claim, PreviousFile},
    shell::Argv,
};
use o3r_testing::sandbox::{Sandbox, Tools, needed};
use proptest::prelude::*;

mod boot;
mod generations;
mod health;
mod keys;
mod lock;
mod parts;
mod probe;
mod project_files;
mod records;
mod resolved;
mod watchdog;

const SHELLS: [&[&str]; 2] = [&["dash"], &["busybox", "sh"]];

/// Returns the shells of a test: both, or dash alone in the quick inner loop.
fn shells() -> impl Iterator<Item = &'static [&'static str]> {
    o3r_testing::variants(SHELLS, 1)
}

/// The tools that every VPU has, from busybox, so that the tests do not depend on this machine's.
const TOOLS: &[&str] = &[
    "cat", "chmod", "cp", "date", "df", "grep", "id", "kill", "ls", "mkdir", "mktemp", "mv", "od",
    "printf", "rm", "rmdir", "sed", "sleep", "sync", "tail", "tr", "uname",
];

/// Returns a sandbox with `TOOLS`, dash, and `more`.
fn sandbox(shell: &[&str], more: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new(shell, Tools::Busybox, TOOLS.iter().chain(more).copied())
        .with_environment([("COMPOSE_FILE", "a b.yml")]);
    sandbox.link("dash", &needed("dash"));
    sandbox
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Generates words from pieces that are special in a shell.
fn hostile_word() -> impl Strategy<Value = String> {
    let pieces = vec![
        "a",
        "'",
        "\"",
        "$",
        "`",
        "\\",
        " ",
        "\n",
        "\t",
        "$(touch canary)",
        "`touch canary`",
        ";",
        "&",
        "|",
        ">",
        "<",
        "*",
        "?",
        "[",
        "]",
        "{",
        "}",
        "(",
        ")",
        "~",
        "#",
        "!",
        "=",
        "-",
        "--",
        "%",
        "^",
        "é",
        "\u{202e}",
        "$HOME",
        "${IFS}",
        "\\'",
        "'\\''",
        "\u{1b}[31m",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(o3r_testing::cases(150)))]

    #[test]
    fn every_word_survives_every_shell(words in prop::collection::vec(hostile_word(), 1..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for shell in shells() {
            let script = "for word; do printf '%s\\0' \"$word\"; done";
            let argv = Argv::script(script, "name", words.clone());
            let host = LocalHost::with_shell(shell.to_vec());
            let output = runtime.block_on(host.run(&argv, Stdin::Empty)).unwrap();
            let wanted = words.join("\0") + "\0";
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), wanted);
            prop_assert_eq!(output.code, 0);
            // As ssh passes it to a login shell, which may not be a POSIX shell.
            let any = std::process::Command::new(shell[0])
                .args(&shell[1..])
                .args(["-c", &argv.to_any_shell()])
                .output()
                .unwrap();
            let wanted = words.join("\0") + "\0";
            prop_assert_eq!(String::from_utf8(any.stdout).unwrap(), wanted);
        }
        prop_assert!(!Path::new("canary").exists());
    }
}

/// Answers the probe's queries as docker 20.10 did on a VPU with nothing on it.
const EMPTY_DOCKER: &str = "#!/bin/sh\ncase $1 in info) \
    echo '{\"version\":\"20.10.25\",\"arch\":\"aarch64\",\"status\":null,\"root\":\"/\"}';; esac\n";

async fn observe_in(fixture: &Sandbox, query: &Query) -> observe::Observed {
    fixture.program("docker", EMPTY_DOCKER);
    fixture.program("docker-compose", "#!/bin/sh\necho 1.29.2\n");
    observe::observe(&fixture.host, query).await.unwrap()
}
