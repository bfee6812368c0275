//! The quoter and every script, run by the shells that a VPU may have: dash and busybox.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

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

#[path = "shells/boot.rs"]
mod boot;
#[path = "shells/lock.rs"]
mod lock;
#[path = "shells/parts.rs"]
mod parts;
#[path = "shells/resolved.rs"]
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

#[tokio::test]
async fn the_probe_works_with_every_shell_and_every_hashing_tool() {
    for shell in SHELLS {
        for tools in [&["sha256sum"][..], &["busybox"], &[]] {
            let fixture = Box::new(shell, tools);
            let home = fixture.home();
            std::fs::create_dir(home.join("dir")).unwrap();
            let odd = "odd 'name' $(touch canary) \\ \"*\"";
            std::fs::write(home.join(odd), b"hello").unwrap();
            std::fs::set_permissions(home.join(odd), std::fs::Permissions::from_mode(0o640))
                .unwrap();
            std::os::unix::fs::symlink("no where", home.join("dangling")).unwrap();
            let odd_path = format!("~/{odd}");
            let query = Query {
                paths: BTreeMap::from([
                    ("~".into(), None),
                    ("~/dir".into(), None),
                    ("~/none".into(), None),
                    ("~/dangling".into(), None),
                    (odd_path.clone(), Some(5)),
                    (format!("{}/{odd}/below a file", text(&home)), Some(6)),
                ]),
                api_port: 1,
                ..Query::default()
            };
            let facts = observe_in(&fixture, &query).await.facts;
            assert_eq!(facts.system.home, text(&home));
            assert_eq!(facts.docker.known().unwrap().version, "20.10.25");
            assert_eq!(facts.docker.known().unwrap().arch, "arm64");
            assert_eq!(facts.compose, Probed::Known("1.29.2".into()));
            assert_eq!(facts.containers, Probed::Known(BTreeMap::new()));
            let known = |path: &str| facts.paths[path].known().unwrap().clone();
            assert!(matches!(known("~"), PathFact::Directory { .. }));
            assert!(matches!(
                known("~/dir"),
                PathFact::Directory {
                    mode: 0o755 | 0o775,
                    ..
                }
            ));
            assert_eq!(known("~/none"), PathFact::Missing);
            let target = "no where".to_owned();
            assert_eq!(known("~/dangling"), PathFact::Link { target });
            let environment = &facts.system.environment;
            assert_eq!(environment["HOME"], text(&home));
            assert_eq!(environment["COMPOSE_FILE"], "a b.yml");
            assert_eq!(environment.get("DOCKER_HOST"), None);
            assert!(facts.networks.known().unwrap().is_empty());
            let PathFact::File {
                mode, size, sha256, ..
            } = known(&odd_path)
            else {
                panic!()
            };
            assert_eq!((mode, size), (0o640, 5));
            assert_eq!(sha256, Some(Digest::of(b"hello")), "{shell:?} {tools:?}");
            assert!(!Path::new("canary").exists() && !home.join("canary").exists());
        }
    }
}

#[tokio::test]
async fn podman_under_dockers_name_is_told_apart_from_a_docker_that_fails() {
    let podman = "#!/bin/sh\n\
        case $* in\n\
        --version) echo 'podman version 4.3.1' ;;\n\
        *ServerVersion*) echo '{\"version\":Error: cannot evaluate field ServerVersion' >&2; exit 125 ;;\n\
        info*) echo '{\"version\":\"4.3.1\",\"arch\":\"arm64\",\"podman\":true,\"root\":\"/\",\"runtimes\":[\"crun\"]}' ;;\n\
        esac\n";
    for shell in SHELLS {
        let fixture = Box::new(shell, &["sha256sum"]);
        fixture.program("docker", podman);
        let query = Query {
            api_port: 1,
            ..Query::default()
        };
        let observed = observe::observe(&fixture.host, &query).await.unwrap();
        let docker = observed.facts.docker.known().unwrap();
        assert_eq!(docker.podman, Some(observe::Podman::Program), "{shell:?}");
        assert_eq!(docker.version, "4.3.1");
        assert!(observed.readings.docker_free.is_some());
    }
}

#[tokio::test]
async fn a_docker_that_fails_is_unknown_and_not_empty() {
    for shell in SHELLS {
        let fixture = Box::new(shell, &["sha256sum"]);
        let failing = "#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n";
        fixture.program("docker", failing);
        let query = Query {
            paths: BTreeMap::new(),
            api_port: 1,
            ..Query::default()
        };
        let facts = observe::observe(&fixture.host, &query).await.unwrap().facts;
        for reason in [
            facts.docker.as_result().map(drop),
            facts.images.as_result().map(drop),
            facts.volumes.as_result().map(drop),
            facts.containers.as_result().map(drop),
        ] {
            let reason = reason.unwrap_err();
            assert!(
                reason.contains("Cannot connect to the Docker daemon"),
                "{reason}"
            );
        }
        let reason = facts.compose.as_result().unwrap_err();
        assert!(reason.contains("not found"), "{reason}");
    }
}

#[tokio::test]
async fn a_thing_that_vanishes_while_it_is_inspected_is_asked_for_again() {
    for shell in SHELLS {
        let fixture = Box::new(shell, &["sha256sum"]);
        // The first inspection meets a volume that is gone; the second lists again.
        let docker = "#!/bin/sh\ncase \"$1 $2\" in\n\
            'volume ls') [ -e \"$HOME/gone\" ] && echo b || printf 'a\\nb\\n' ;;\n\
            'volume inspect') [ -e \"$HOME/gone\" ] || { : >\"$HOME/gone\"; echo 'no such volume: a' >&2; exit 1; }\n\
            echo '{\"name\":\"b\",\"driver\":\"local\",\"options\":null,\"owner\":null}' ;;\n\
            esac\n";
        fixture.program("docker", docker);
        let query = Query {
            paths: BTreeMap::new(),
            api_port: 1,
            ..Query::default()
        };
        let facts = observe::observe(&fixture.host, &query).await.unwrap().facts;
        let names: Vec<&String> = facts.volumes.known().unwrap().keys().collect();
        assert_eq!(names, ["b"]);
    }
}

/// A project's file on a box, and where everything about it is.
struct File {
    fixture: Box,
    path: PathBuf,
    kept: PathBuf,
    record: PathBuf,
}

impl File {
    fn new(shell: &[&str], tools: &[&str]) -> Self {
        let fixture = Box::new(shell, tools);
        let at = |name: &str| fixture.home().join(name);
        Self {
            path: at("project/new dir/it's a file"),
            kept: at(".o3r-deploy/previous/app/new dir%2F.it's%25"),
            record: at("record"),
            fixture,
        }
    }

    async fn put(&self, planned: &[u8], previous: PreviousFile, sent: &[u8]) -> Output {
        let contents = (Digest::of(planned), planned.len() as u64);
        let kept = (text(&self.kept), previous);
        let argv = remote::put_file(text(&self.path), contents, 0o640, kept, text(&self.record));
        self.fixture.run(&argv, sent).await
    }

    async fn remove(&self, previous: PreviousFile) -> Output {
        let project = self.fixture.home().join("project");
        let kept = (text(&self.kept), previous);
        let argv = remote::remove_file(text(&self.path), kept, text(&self.record), text(&project));
        self.fixture.run(&argv, b"").await
    }

    async fn restore(&self, previous: PreviousFile) -> Output {
        let kept = (text(&self.kept), previous);
        let argv = remote::restore_file(text(&self.path), kept, text(&self.record));
        self.fixture.run(&argv, b"").await
    }

    fn write(&self, bytes: &[u8]) {
        std::fs::create_dir_all(self.path.parent().unwrap()).unwrap();
        std::fs::write(&self.path, bytes).unwrap();
    }

    /// Its contents, if it is there.
    fn read(&self) -> Option<Vec<u8>> {
        std::fs::read(&self.path).ok()
    }
}

fn is(bytes: &[u8]) -> PreviousFile {
    PreviousFile::Is(Digest::of(bytes))
}

#[tokio::test]
async fn put_file_replaces_whole_files_or_nothing() {
    for shell in SHELLS {
        for tools in [&["sha256sum"][..], &["busybox"], &[]] {
            let file = File::new(shell, tools);
            std::fs::write(&file.record, "old").unwrap();
            let output = file.put(b"one", PreviousFile::None, b"one").await;
            assert!(output.success(), "{output:?}");
            assert_eq!(file.read().unwrap(), b"one");
            let mode = std::fs::metadata(&file.path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o640);
            assert!(!file.kept.exists() && !file.record.exists());
            let records = observe_in(&file.fixture, &Query::default()).await;
            let added = &records.facts.records.known().unwrap().added["app"];
            assert!(added.contains("new dir/.it's%"), "{added:?}");

            // A payload that was cut, and one that is another: nothing changes.
            std::fs::write(&file.record, "new").unwrap();
            let hashes = !tools.is_empty();
            for wrong in [&b"tw"[..], b"owt", b""] {
                if wrong.len() == 3 && !hashes {
                    continue; // without a tool its size is all that can be told
                }
                let output = file.put(b"two", is(b"one"), wrong).await;
                assert_eq!(output.code, 1, "{tools:?}");
                let said = output.tail(1);
                assert!(said.contains("not what was planned"), "{output:?}");
                assert_eq!(file.read().unwrap(), b"one");
                assert!(file.record.exists());
                if hashes {
                    assert!(file.restore(is(b"one")).await.success());
                    assert_eq!(file.read().unwrap(), b"one");
                }
            }
            let left: Vec<_> = std::fs::read_dir(file.path.parent().unwrap())
                .unwrap()
                .collect();
            assert_eq!(left.len(), 1, "a temporary file is left");
        }
    }
}

#[tokio::test]
async fn the_previous_releases_file_comes_back_whatever_happened_to_it() {
    for shell in SHELLS {
        for tools in [&["sha256sum"][..], &["busybox"]] {
            let file = File::new(shell, tools);
            file.write(b"one");
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
            let record = format!("input file x\tsha256:1\nboot {boot}container 1\n");
            std::fs::write(&file.record, &record).unwrap();
            // An apply that was cut off put another one, and the next one a third: the first stays kept.
            assert!(file.put(b"two", is(b"one"), b"two").await.success());
            assert!(file.put(b"three", is(b"one"), b"three").await.success());
            assert!(file.put(b"three", is(b"one"), b"three").await.success());
            for _ in 0..2 {
                let output = file.restore(is(b"one")).await;
                assert!(output.success(), "{output:?}");
                assert_eq!(file.read().unwrap(), b"one");
                assert_eq!(std::fs::read_to_string(&file.record).unwrap(), record);
            }
            // What another boot started may be something else by now.
            let other = record.replace(boot.trim(), "another");
            std::fs::write(&file.record, other).unwrap();
            assert!(file.put(b"two", is(b"one"), b"two").await.success());
            assert!(file.restore(is(b"one")).await.success());
            assert!(!file.record.exists());
            // A copy of an older release is not taken for that of the last one.
            assert!(file.put(b"two", PreviousFile::None, b"two").await.success());
            let output = file.put(b"three", is(b"two"), b"cut").await;
            assert_eq!(output.code, 1);
            assert!(file.restore(is(b"two")).await.success());
            assert_eq!(file.read().unwrap(), b"two");
            std::fs::write(&file.kept, "older").unwrap();
            file.write(b"someone's");
            let output = file.restore(is(b"two")).await;
            assert!(output.tail(1).contains("no copy of that one is kept"));
            assert_eq!(file.read().unwrap(), b"someone's");

            // Removed, and back with its directory; twice does not lose it.
            file.write(b"two");
            std::fs::write(&file.record, "new").unwrap();
            for _ in 0..2 {
                let output = file.remove(is(b"two")).await;
                assert!(output.success(), "{output:?}");
                assert!(!file.path.parent().unwrap().exists() && !file.record.exists());
                assert!(file.fixture.home().join("project").exists());
            }
            assert!(file.restore(is(b"two")).await.success());
            assert_eq!(file.read().unwrap(), b"two");

            // Where the release had none, restoring removes; someone else's file comes back.
            assert!(file.restore(PreviousFile::None).await.success());
            assert_eq!(file.read(), None);
            file.write(b"someone's");
            std::fs::remove_file(&file.kept).unwrap(); // as recording a release does
            let whatever = PreviousFile::Whatever;
            assert_eq!(file.put(b"four", whatever, b"cut").await.code, 1);
            assert!(file.restore(whatever).await.success());
            assert_eq!(file.read().unwrap(), b"someone's");
            assert!(file.put(b"four", whatever, b"four").await.success());
            assert!(file.restore(whatever).await.success());
            assert_eq!(file.read().unwrap(), b"someone's");
        }
    }
}

#[tokio::test]
async fn a_container_that_ended_well_has_settled_unless_it_is_to_run_for_ever() {
    let mut checks = tokio::task::JoinSet::new();
    for shell in SHELLS {
        for (state, settles) in [
            ("running 0 /app unless-stopped", true),
            ("exited 0 /app ", true),
            ("exited 0 /app no", true),
            ("exited 0 /app on-failure", true),
            ("exited 0 /app always", false),
            ("exited 1 /app ", false),
            ("restarting 1 /app always", false),
        ] {
            // At once: each waits for seconds.
            checks.spawn(async move {
                let fixture = Box::new(shell, &[]);
                let docker = format!(
                    "#!/bin/sh\ncase \"$1 $2\" in\n\
                     'container ls') echo c1 ;;\n\
                     'container inspect') case $4 in *RestartPolicy.Name}}}}) echo 'c1 0 {state}' ;; esac ;;\n\
                     logs*) echo its last words ;;\nesac\n"
                );
                fixture.program("docker", &docker);
                let output = fixture.run(&remote::settle("app"), b"").await;
                assert_eq!(output.success(), settles, "{state}: {output:?}");
                assert_eq!(output.tail(1).contains("its last words"), !settles);
            });
        }
    }
    while let Some(check) = checks.join_next().await {
        check.unwrap();
    }
}

#[tokio::test]
async fn a_release_is_recorded_with_who_and_when_and_old_lines_go() {
    for shell in SHELLS {
        let fixture = Box::new(shell, &[]);
        let history = fixture.home().join(".o3r-deploy/releases/app.jsonl");
        let kept = fixture.home().join(".o3r-deploy/previous/app");
        std::fs::create_dir_all(&kept).unwrap();
        std::fs::write(kept.join(".env"), "SECRET=1").unwrap();
        let record = remote::record_release(text(&history), "1.29.2", [text(&kept).to_owned()]);
        for number in 0..60 {
            let line = format!("{{\"version\":\"{number}\"}}\n");
            assert!(fixture.run(&record, line.as_bytes()).await.success());
        }
        let written = std::fs::read_to_string(&history).unwrap();
        assert_eq!(written.lines().count(), 51);
        assert!(
            !kept.exists(),
            "what was kept of the release before is left"
        );
        assert_eq!(written.lines().last(), Some(r#"{"version":"59"}"#));

        // The probe takes the version from there, while it is the same program.
        let slow = "#!/bin/sh\necho 1.25.4\n";
        fixture.program("docker-compose", slow);
        assert!(fixture.run(&record, b"{}\n").await.success());
        let observed = observe::observe(&fixture.host, &Query::default())
            .await
            .unwrap();
        assert_eq!(observed.facts.compose, Probed::Known("1.29.2".into()));
        fixture.program("docker-compose", &format!("{slow}# another one\n"));
        let observed = observe::observe(&fixture.host, &Query::default())
            .await
            .unwrap();
        assert_eq!(observed.facts.compose, Probed::Known("1.25.4".into()));

        let _lock = fixture
            .host
            .hold(
                &remote::lock(&lock::holder(r#""by":"me""#), &Claim::Wait),
                lock::TOKEN,
                &|_| (),
            )
            .await
            .unwrap();
        assert!(
            fixture
                .run(&record, b"{\"version\":\"60\"}\n")
                .await
                .success()
        );
        let written = std::fs::read_to_string(&history).unwrap();
        assert_eq!(
            written.lines().last(),
            Some(r#"{"by":"me","version":"60"}"#)
        );
    }
}

#[tokio::test]
async fn a_container_is_as_old_as_its_process_whatever_the_clock_says() {
    for shell in SHELLS {
        let fixture = Box::new(shell, &["sha256sum"]);
        let mut process = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let container = |pid: u32, id: &str| {
            format!(
                "echo '{{\"pid\":{pid},\"id\":\"{id}\",\"name\":\"/{id}\",\"image\":\"i\",\"status\":\"running\",\"exit_code\":0,\
                 \"health\":null,\"restart_policy\":\"no\",\"project\":\"\",\"service\":\"\",\"working_dir\":\"\",\"one_off\":\"\",\
                 \"volumes\":[]}}'\n"
            )
        };
        let docker = format!(
            "#!/bin/sh\ncase \"$1 $2\" in\n'container ls') echo a; echo b; echo c ;;\n'container inspect') {}{}{} ;;\nesac\n",
            container(process.id(), "young"),
            container(0, "stopped"),
            // Above what Linux gives to any process.
            container(99_999_999, "vanished")
        );
        fixture.program("docker", &docker);
        let observed = observe::observe(&fixture.host, &Query::default()).await;
        let Readings {
            container_uptime,
            memory_total,
            memory_available,
            home_total,
            home_free,
            ..
        } = observed.unwrap().readings;
        process.kill().unwrap();
        process.wait().unwrap();
        let ids: Vec<&String> = container_uptime.keys().collect();
        assert_eq!(ids, ["young"], "{shell:?}");
        assert!(container_uptime["young"] < 30, "{container_uptime:?}");
        assert!(memory_total > memory_available && memory_available > Some(0));
        assert!(home_total >= home_free && home_free > Some(0));
    }
}

/// The record is the last thing of all: with the renaming of the history, the release is recorded.
#[tokio::test]
async fn a_record_that_was_cut_off_is_known_to_be_done_or_not() {
    for shell in SHELLS {
        let fixture = Box::new(shell, &[]);
        let history = fixture.home().join(".o3r-deploy/releases/app.jsonl");
        let kept = fixture.home().join(".o3r-deploy/previous/app");
        let record = remote::record_release(text(&history), "", [text(&kept).to_owned()]);
        let recorded = remote::recorded(text(&history), [text(&kept).to_owned()]);
        let line = b"{\"version\":\"2\"}\n";
        assert!(!fixture.run(&recorded, line).await.success());
        assert!(
            fixture
                .run(&record, b"{\"version\":\"1\"}\n")
                .await
                .success()
        );
        std::fs::create_dir_all(&kept).unwrap();
        assert!(!fixture.run(&recorded, line).await.success());
        assert!(kept.exists(), "what the restore needs");
        // With who it was, or without; one that ends like it is another.
        for (last, is) in [
            ("{\"by\":\"me\",\"version\":\"2\"}\n", true),
            ("{\"version\":\"2\"}\n", true),
            ("{\"by\":\"me\",\"version\":\"12\"}\n", false),
            ("x\"version\":\"2\"}\n", false),
        ] {
            std::fs::write(&history, last).unwrap();
            std::fs::create_dir_all(&kept).unwrap();
            let output = fixture.run(&recorded, line).await;
            assert_eq!(output.success(), is, "{shell:?} {last} {output:?}");
            assert_eq!(kept.exists(), !is);
        }
        // Nothing fails after it is recorded: neither what was kept, nor what the probe wants to know.
        let base = fixture.home().join(".o3r-deploy");
        fixture.program("docker-compose", "#!/bin/sh\n");
        std::fs::create_dir_all(base.join("compose-version")).unwrap();
        let record = remote::record_release(text(&history), "1.29.2", [text(&kept).to_owned()]);
        assert!(fixture.run(&record, line).await.success(), "{shell:?}");
    }
}

/// Where a disk is full, what is right already stays right.
#[tokio::test]
async fn a_restore_writes_nothing_where_nothing_has_to_be_written() {
    for shell in SHELLS {
        let file = File::new(shell, &["sha256sum"]);
        file.write(b"one");
        assert!(file.put(b"two", is(b"one"), b"two").await.success());
        file.write(b"one");
        let inode =
            |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
        let mode = std::fs::metadata(&file.kept).unwrap().permissions();
        std::fs::set_permissions(&file.path, mode).unwrap();
        let before = inode(&file.path);
        assert!(file.restore(is(b"one")).await.success());
        assert_eq!(inode(&file.path), before, "{shell:?}");
        // The same bytes with other permissions are another file.
        std::fs::set_permissions(&file.path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(file.restore(is(b"one")).await.success());
        assert_ne!(inode(&file.path), before);
    }
    // busybox has cp inside: only dash takes another one.
    let file = File::new(SHELLS[0], &["sha256sum"]);
    file.write(b"one");
    assert!(file.put(b"two", is(b"one"), b"two").await.success());
    let full = "#!/bin/sh\necho 'cp: error writing: No space left on device' >&2\nexit 1\n";
    file.fixture.program("cp", full);
    assert!(file.restore(is(b"one")).await.success());
    assert_eq!(file.read().unwrap(), b"one");
    assert!(file.restore(is(b"one")).await.success(), "a second time");
}

#[tokio::test]
async fn a_record_of_containers_is_written_where_it_changed() {
    for shell in SHELLS {
        let fixture = Box::new(shell, &[]);
        let record = fixture.home().join(".o3r-deploy/started/app");
        let docker = |ids: &str| fixture.program("docker", &format!("#!/bin/sh\nprintf '{ids}'\n"));
        let command = remote::record_started("app", text(&record));
        // The second one stepped aside.
        docker("c1 app_web_1 h1\\nc2 c2_app_db_1 h2\\n");
        let inputs = b"input file x\tsha256:1\n";
        assert!(fixture.run(&command, inputs).await.success());
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let wanted = format!("input file x\tsha256:1\nboot {boot}container c1 h1\n");
        assert_eq!(std::fs::read_to_string(&record).unwrap(), wanted);
        let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&record).unwrap());
        let before = inode();
        assert!(fixture.run(&command, inputs).await.success());
        assert_eq!(inode(), before, "{shell:?}");
        docker("");
        assert!(fixture.run(&command, b"").await.success());
        let wanted = format!("boot {boot}");
        assert_eq!(std::fs::read_to_string(&record).unwrap(), wanted);
    }
}

#[tokio::test]
async fn a_machine_says_what_tells_it_from_another_one() {
    for shell in SHELLS {
        let fixture = Box::new(shell, &[]);
        let identity = observe::Identity::of(&fixture.host).await.unwrap();
        let again = observe::Identity::of(&fixture.host).await.unwrap();
        assert!(identity.is_same_boot(&again), "{shell:?} {identity:?}");
        assert_eq!(identity, again);
    }
}
