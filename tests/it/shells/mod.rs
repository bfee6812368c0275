//! The quoter and every script, run by the shells that a VPU may have: dash and busybox.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use o3r_deploy::{
    digest::Digest,
    host::{Host as _, LocalHost, Output, Stdin},
    observe::{self, PathFact, Probed, Query, Readings},
    remote::{self, Claim, PreviousFile},
    shell::Argv,
};
use proptest::prelude::*;

mod boot;
mod lock;
mod parts;
mod probe;
mod project_files;
mod records;
mod resolved;

const SHELLS: [&[&str]; 2] = [&["dash"], &["busybox", "sh"]];

/// The tools that every VPU has, from busybox, so that nothing of this machine is relied on.
const TOOLS: &[&str] = &[
    "cat", "chmod", "cp", "date", "df", "grep", "id", "kill", "ls", "mkdir", "mktemp", "mv", "od",
    "printf", "rm", "rmdir", "sed", "sleep", "sync", "tail", "tr", "uname",
];

/// A home directory, and a `PATH` of `TOOLS`, a stub of docker and whatever else is asked for.
struct Box {
    directory: tempfile::TempDir,
    host: LocalHost,
}

impl Box {
    fn new(shell: &[&str], more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (bin, home) = (directory.path().join("bin"), directory.path().join("home"));
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir_all(&home).unwrap();
        let busybox = find("busybox");
        for tool in TOOLS.iter().chain(more) {
            std::os::unix::fs::symlink(&busybox, bin.join(tool)).unwrap();
        }
        std::os::unix::fs::symlink(find("dash"), bin.join("dash")).unwrap();
        // Scripts are run by `sh`, whatever the login shell.
        std::os::unix::fs::symlink(find(shell[0]), bin.join("sh")).unwrap();
        // The login shell is found before the environment is cleared.
        let mut shell: Vec<String> = shell.iter().map(ToString::to_string).collect();
        shell[0] = find(&shell[0]).to_string_lossy().into_owned();
        let host = LocalHost::with_shell(shell).with_env([
            ("PATH", bin.as_os_str()),
            ("HOME", home.as_os_str()),
            ("COMPOSE_FILE", "a b.yml".as_ref()),
        ]);
        Self { directory, host }
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.directory.path().join("bin").join(name);
        // Never through a link to a tool of this machine.
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    async fn run(&self, argv: &Argv, stdin: &[u8]) -> Output {
        self.host
            .run(argv, Stdin::Bytes(stdin.to_vec()))
            .await
            .unwrap()
    }
}

fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.exists())
        .unwrap_or_else(|| panic!("{program} is needed: apt-get install dash busybox-static"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Words made of what shells care about.
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
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_word_survives_every_shell(words in prop::collection::vec(hostile_word(), 1..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for shell in SHELLS {
            let script = "for word; do printf '%s\\0' \"$word\"; done";
            let argv = Argv::script(script, "name", words.clone());
            let host = LocalHost::with_shell(shell.to_vec());
            let output = runtime.block_on(host.run(&argv, Stdin::Empty)).unwrap();
            let wanted = words.join("\0") + "\0";
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), wanted);
            prop_assert_eq!(output.code, 0);
            // As it goes over ssh, to a login shell that need not be a POSIX one.
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

async fn observe_in(fixture: &Box, query: &Query) -> observe::Observed {
    fixture.program("docker", EMPTY_DOCKER);
    fixture.program("docker-compose", "#!/bin/sh\necho 1.29.2\n");
    observe::observe(&fixture.host, query).await.unwrap()
}
