//! The scripts that keep releases, and note applies.

use std::{fs, os::unix::fs::MetadataExt as _};

use super::*;

/// The tools that keeping a release needs beside those that every VPU has.
const KEEPING: &[&str] = &["head", "ln", "sha256sum", "sort", "uniq", "wc"];

/// A docker with the image names in `$HOME/../names`, one per line with its ID; it notes what it removes and tags.
const DOCKER: &str = "#!/bin/sh\n\
    names=$HOME/../names\n\
    case \"$1 $2\" in\n\
    'image ls') cut -d' ' -f1 \"$names\" | grep \"^$5:\" ;;\n\
    'image tag') echo \"$4 $(grep \"^$3 \" \"$names\" | cut -d' ' -f2)\" >>\"$names\" ;;\n\
    'image inspect') shift 5; for one; do grep \"^$one \" \"$names\" | cut -d' ' -f2; done ;;\n\
    'image rm') grep -v \"^$4 \" \"$names\" >\"$names.new\"; mv \"$names.new\" \"$names\" ;;\n\
    esac\n";

fn keeping(shell: &[&str]) -> Sandbox {
    sandbox(shell, &[KEEPING, &["cut"]].concat())
}

/// The text of a release with one file, `share/a`, and an image of this version.
fn text_of(fixture: &Sandbox, version: &str, bytes: &[u8]) -> String {
    let target = fixture.home().join("share");
    fs::create_dir_all(&target).unwrap();
    // As a transfer does: the file is replaced.
    fs::write(target.join("new"), bytes).unwrap();
    fs::rename(target.join("new"), target.join("a")).unwrap();
    format!(
        "{{\"format\":1,\"desired\":\"sha256:{version}\"}}\ni sha256:{version} o3r-deploy/app:{version} app:{version}\nt {}\nf {} 0644 {} a\n",
        target.display(),
        Digest::of(bytes).hex(),
        bytes.len()
    )
}

/// Keeps a release of this version and these bytes, records it, and prunes the others.
async fn deploy(fixture: &Sandbox, version: &str, bytes: &[u8], keep: u32) {
    let text = text_of(fixture, version, bytes);
    let keeping = remote::keep_generation("app");
    assert!(fixture.run(&keeping, text.as_bytes()).await.success());
    record(fixture, version, keep, None).await;
}

/// Records a release; with another number of kilobytes to leave free, if one is given.
async fn record(fixture: &Sandbox, version: &str, keep: u32, reserve: Option<&str>) {
    let history = fixture.home().join(".o3r-deploy/releases/app.jsonl");
    let recording = remote::Recording {
        keep,
        ..remote::Recording::default()
    };
    let mut command = remote::record_release(text(&history), recording, []);
    if let Some(reserve) = reserve {
        // Before the limit, the directory and the text of the note.
        command = leaving(&command, 4, reserve);
    }
    let line = format!("{{\"desired\":\"sha256:{version}\",\"made\":{{}}}}\n");
    assert!(fixture.run(&command, line.as_bytes()).await.success());
}

fn names(fixture: &Sandbox) -> Vec<String> {
    let names = fs::read_to_string(fixture.path().join("names")).unwrap();
    let names = names.lines().map(|line| line.split(' ').next().unwrap());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

fn kept(fixture: &Sandbox) -> Vec<String> {
    let all = fs::read_dir(fixture.home().join(".o3r-deploy/generations/app")).unwrap();
    let mut all: Vec<String> = all
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn the_oldest_releases_go_with_their_contents_and_images() {
    for shell in shells() {
        let fixture = keeping(shell);
        fixture.program("docker", DOCKER);
        let list = fixture.path().join("names");
        // 1 was loaded under the name of ours, the others were there before; 0 is of a failed apply.
        let others = "o3r-deploy/other:9 i9\nother:1 i9\n";
        let own = "o3r-deploy/app:1 i1\no3r-deploy/app:0 i0\n";
        let named = "app:1 i1\napp:2 i2\napp:3 i3\napp:4 i4\n";
        fs::write(&list, format!("{others}{own}{named}")).unwrap();
        for version in ["1", "2", "3"] {
            deploy(&fixture, version, version.as_bytes(), 2).await;
        }
        assert_eq!(kept(&fixture), ["1", "2", "3"]);
        let all = names(&fixture);
        assert!(!all.contains(&"o3r-deploy/app:0".to_owned()), "{all:?}");
        for held in ["o3r-deploy/app:1", "o3r-deploy/app:2", "o3r-deploy/app:3"] {
            assert!(all.contains(&held.to_owned()), "{held}: {all:?}");
        }
        // The same release again is kept once.
        deploy(&fixture, "3", b"3", 2).await;
        assert_eq!(kept(&fixture), ["1", "2", "3"]);
        deploy(&fixture, "4", b"4", 2).await;
        assert_eq!(kept(&fixture), ["2", "3", "4"]);
        let left = [
            "app:2",
            "app:3",
            "app:4",
            "o3r-deploy/app:2",
            "o3r-deploy/app:3",
            "o3r-deploy/app:4",
            "o3r-deploy/other:9",
            "other:1",
        ];
        assert_eq!(names(&fixture), left);
        let store = fixture.home().join(".o3r-deploy/store");
        let stored = |text: &str| store.join(Digest::of(text).hex()).exists();
        assert!(!stored("1") && stored("2") && stored("3") && stored("4"));
        assert_eq!(fs::read_dir(&store).unwrap().count(), 3);
    }
}

#[tokio::test]
async fn the_release_that_was_deployed_before_stays() {
    for shell in shells() {
        let fixture = keeping(shell);
        for (version, left) in [
            ("1", &["1"][..]),
            ("2", &["1", "2"]),
            ("1", &["1", "2"]),
            ("3", &["1", "3"]),
        ] {
            deploy(&fixture, version, version.as_bytes(), 1).await;
            assert_eq!(kept(&fixture), left, "after {version}");
        }
    }
}

#[tokio::test]
async fn a_name_that_another_image_has_now_stays() {
    for shell in shells() {
        let fixture = keeping(shell);
        fixture.program("docker", DOCKER);
        let list = fixture.path().join("names");
        fs::write(&list, "app:1 i1\napp:2 i2\no3r-deploy/app:1 i1\n").unwrap();
        deploy(&fixture, "1", b"1", 0).await;
        // Somebody gave the name to an image of theirs.
        fs::write(&list, "app:1 i9\napp:2 i2\no3r-deploy/app:1 i1\n").unwrap();
        deploy(&fixture, "2", b"2", 0).await;
        assert_eq!(names(&fixture), ["app:1", "app:2", "o3r-deploy/app:2"]);
    }
}

#[tokio::test]
async fn large_contents_take_no_space_and_follow_a_file_that_was_changed_in_place() {
    for shell in shells() {
        let fixture = keeping(shell);
        let bytes = vec![b'a'; 1 << 20];
        let text = text_of(&fixture, "1", &bytes);
        let keep = remote::keep_generation("app");
        assert!(fixture.run(&keep, text.as_bytes()).await.success());
        let stored = fixture.home().join(".o3r-deploy/store");
        let stored = stored.join(Digest::of(&bytes).hex());
        let deployed = fixture.home().join("share/a");
        assert_eq!(fs::metadata(&stored).unwrap().nlink(), 2);
        fs::write(&deployed, "damaged").unwrap();
        let verify = remote::whole_files("w");
        let list = format!(
            "{} {}\n",
            Digest::of(&bytes).hex(),
            stored.to_str().unwrap()
        );
        let verified = fixture.run(&verify, list.as_bytes()).await;
        assert!(verified.stdout.is_empty(), "{verified:?}");
        // The file is deployed again.
        text_of(&fixture, "1", &bytes);
        assert!(fixture.run(&keep, text.as_bytes()).await.success());
        assert_eq!(fs::read(&stored).unwrap(), bytes);
        let verified = fixture.run(&verify, list.as_bytes()).await;
        assert!(!verified.stdout.is_empty());
        // A small file is a copy.
        let text = text_of(&fixture, "2", b"small");
        assert!(fixture.run(&keep, text.as_bytes()).await.success());
        fs::write(&deployed, "damaged").unwrap();
        let stored = stored.with_file_name(Digest::of(b"small").hex());
        assert_eq!(fs::read(&stored).unwrap(), b"small");
        assert_eq!(fs::metadata(&stored).unwrap().mode() & 0o777, 0o600);
    }
}

/// A docker with the images `1`, `2` and `3` of 1000 kB each: they share a base of 700 kB, 2 and 3 a layer of 200 kB; an empty
/// layer, and a command with a newline, are in between.
const SIZED: &str = r#"#!/bin/sh
say() { printf '%s\n' "$1"; }
for id; do :; done
case "$1 $2 $4" in
'image inspect {{.Size}}') say 1024000 ;;
'image inspect {{range'*)
    case ${id#sha256:} in 1) of='base none b1' ;; 2) of='base none lib b2' ;; 3) of='base none lib b3' ;; esac
    printf '%s\n' $of ;;
'history '*)
    case ${id#sha256:} in
    1) say '307200 now "COPY one"' ;;
    2) say '102400 now "COPY two"'; say '204800 now "RUN lib"' ;;
    3) say '102400 now "COPY three"'; say '204800 now "RUN lib"' ;;
    esac
    say '0 now "WORKDIR /"'; say '0 now "ENV a=1\n2 b"'; say '716800 now "ADD base"' ;;
esac
"#;

#[tokio::test]
async fn releases_go_that_hold_more_than_the_limit() {
    for shell in shells() {
        // Beside 3, release 2 holds 100 kB of layers and 50 kB of files; 1 then holds 300 kB and 50 kB.
        for (limit, left) in [
            (501, &["1", "2", "3"][..]),
            (499, &["2", "3"]),
            (151, &["2", "3"]),
            (149, &["3"]),
        ] {
            let fixture = keeping(shell);
            fixture.program("docker", SIZED);
            for (version, letter) in [("1", b'a'), ("2", b'b'), ("3", b'c')] {
                deploy(&fixture, version, &vec![letter; 50 << 10], 5).await;
            }
            let recording = remote::Recording {
                keep: 5,
                keep_size: Some(limit << 10),
                ..remote::Recording::default()
            };
            let history = fixture.home().join(".o3r-deploy/releases/app.jsonl");
            let command = remote::record_release(text(&history), recording, []);
            let line = b"{\"desired\":\"sha256:3\",\"made\":{}}\n";
            let ran = fixture.run(&command, line).await;
            assert!(ran.success(), "{ran:?}");
            let said = String::from_utf8_lossy(&ran.stderr);
            let dropped = said
                .matches("is no longer kept for o3r-deploy rollback")
                .count();
            assert_eq!(
                (dropped, said.lines().count()),
                (3 - left.len(), 3 - left.len()),
                "{said}"
            );
            assert_eq!(kept(&fixture), left, "{shell:?}: at most {limit} kB");
        }
    }
}

/// The command with another number of kilobytes to leave free.
fn leaving(command: &Argv, from_the_end: usize, kilobytes: &str) -> Argv {
    let mut words = command.words().to_vec();
    let place = words.len() - from_the_end;
    kilobytes.clone_into(&mut words[place]);
    Argv::new(words.remove(0)).args(words)
}

#[tokio::test]
async fn on_a_full_disk_only_the_deployed_release_is_kept() {
    for shell in shells() {
        let fixture = keeping(shell);
        for (version, letter) in [("1", b'a'), ("2", b'b'), ("3", b'c')] {
            deploy(&fixture, version, &vec![letter; 1 << 20], 2).await;
        }
        assert_eq!(kept(&fixture), ["1", "2", "3"]);
        record(&fixture, "3", 2, Some("999999999999")).await;
        assert_eq!(kept(&fixture), ["3"]);
        let store = fixture.home().join(".o3r-deploy/store");
        assert_eq!(fs::read_dir(&store).unwrap().count(), 1);
    }
}

/// Before the release is recorded, nothing is removed.
#[tokio::test]
async fn a_release_that_was_not_recorded_removes_nothing() {
    for shell in shells() {
        let fixture = keeping(shell);
        fixture.program("docker", DOCKER);
        let list = fixture.path().join("names");
        fs::write(&list, "app:1 i1\napp:2 i2\no3r-deploy/app:0 i0\n").unwrap();
        deploy(&fixture, "1", b"1", 0).await;
        // The former image of the name.
        let text = text_of(&fixture, "2", b"2");
        let keep = remote::keep_generation("app");
        assert!(fixture.run(&keep, text.as_bytes()).await.success());
        assert_eq!(kept(&fixture), ["1", "2"]);
        // The next record prunes for what is deployed.
        record(&fixture, "1", 0, None).await;
        assert_eq!(kept(&fixture), ["1"]);
        assert_eq!(names(&fixture), ["app:1", "o3r-deploy/app:1"]);
    }
}

#[tokio::test]
async fn a_release_that_does_not_fit_is_not_kept_and_does_not_fail() {
    for shell in shells() {
        let fixture = keeping(shell);
        let keep = remote::keep_generation("app");
        let text = text_of(&fixture, "1", b"1");
        assert!(fixture.run(&keep, text.as_bytes()).await.success());
        let full = leaving(&keep, 2, "999999999999");
        let text = text_of(&fixture, "2", b"2");
        let output = fixture.run(&full, text.as_bytes()).await;
        assert!(output.success());
        let said = output.tail(5);
        assert!(
            said.contains("is not kept for o3r-deploy rollback"),
            "{said}"
        );
        assert!(said.contains("and 976562499 MiB stay free"), "{said}");
        assert_eq!(kept(&fixture), ["1"]);
        // A missing file is no reason to fail either.
        fs::remove_file(fixture.home().join("share/a")).unwrap();
        let output = fixture.run(&keep, text.as_bytes()).await;
        assert!(output.success() && output.tail(5).contains("cannot be copied"));
        assert_eq!(kept(&fixture), ["1"]);
    }
}

#[tokio::test]
async fn the_last_attempts_stay() {
    for shell in shells() {
        let fixture = keeping(shell);
        let note = remote::note_attempt("app", []);
        let file = fixture.home().join(".o3r-deploy/attempts/app.jsonl");
        let line = |number: u32| format!("{{\"id\":\"{number}\"}}\n");
        assert!(fixture.run(&note, line(0).as_bytes()).await.success());
        let all: Vec<String> = (0..200).map(line).collect();
        fs::write(&file, all.concat()).unwrap();
        for number in 200..205 {
            assert!(fixture.run(&note, line(number).as_bytes()).await.success());
        }
        let lines = fs::read_to_string(file).unwrap();
        assert_eq!(lines.lines().last(), Some("{\"id\":\"204\"}"));
        assert_eq!(lines.lines().count(), 104);
        let history = fixture.run(&remote::history("w"), b"").await;
        let said = String::from_utf8_lossy(&history.stdout).into_owned();
        assert_eq!(said.lines().count(), 40);
        assert_eq!(said.lines().last(), Some("w attempt app {\"id\":\"204\"}"));
    }
}

#[tokio::test]
async fn the_last_note_of_an_apply_removes_what_it_kept() {
    for shell in shells() {
        let fixture = keeping(shell);
        let previous = fixture.home().join(".o3r-deploy/previous");
        for project in ["web", "api", "theirs"] {
            fs::create_dir_all(previous.join(project)).unwrap();
        }
        let begins = remote::note_attempt("app", []);
        assert!(fixture.run(&begins, b"{}\n").await.success());
        assert!(previous.join("web").exists());
        let ends = remote::note_attempt("app", ["web", "api", "new"]);
        // Also if the note cannot be written.
        let attempts = fixture.home().join(".o3r-deploy/attempts");
        fs::remove_dir_all(&attempts).unwrap();
        fs::write(&attempts, "").unwrap();
        assert!(!fixture.run(&ends, b"{}\n").await.success());
        let left = fs::read_dir(&previous).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["theirs"]);
    }
}

#[tokio::test]
async fn a_release_is_noted_with_who_and_when() {
    for shell in shells() {
        let fixture = keeping(shell);
        let directory = fixture.home().join("share/deploy ments");
        let history = fixture.home().join(".o3r-deploy/releases/app.jsonl");
        let note = r#"{"release":"app","version":"1"}"#.to_owned();
        let recording = remote::Recording {
            stamp: Some((text(&directory).to_owned(), note)),
            ..remote::Recording::default()
        };
        let record = remote::record_release(text(&history), recording, []);
        assert!(fixture.run(&record, b"{}\n").await.success());
        let owner = fixture.home().join(".o3r-deploy/lock/owner");
        fs::create_dir_all(owner.parent().unwrap()).unwrap();
        fs::write(&owner, "1\nboot\n\"at\":\"then\",\"by\":\"me\"\n").unwrap();
        assert!(fixture.run(&record, b"{}\n").await.success());
        let file = directory.join("deployments.jsonl");
        let lines = fs::read_to_string(&file).unwrap();
        let wanted = "{\"release\":\"app\",\"version\":\"1\"}\n{\"at\":\"then\",\"by\":\"me\",\"release\":\"app\",\"version\":\"1\"}\n";
        assert_eq!(lines, wanted);
        fs::write(&file, "x\n".repeat(1000)).unwrap();
        assert!(fixture.run(&record, b"{}\n").await.success());
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 500);
        // What is not a directory is no reason to fail.
        fs::remove_dir_all(&directory).unwrap();
        fs::write(&directory, "").unwrap();
        let output = fixture.run(&record, b"{}\n").await;
        assert!(output.success() && output.tail(5).contains("cannot be written"));
    }
}
