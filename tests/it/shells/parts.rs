//! The scripts that receive and load parts of images.

use std::time::Duration;

use o3r_deploy::internal::{
    host::{Host as _, Output, Stdin},
    observe::{Arrived, Query, observe},
    remote,
};

use super::{Argv, Digest, Path, SHELLS, Sandbox, sandbox, shells};

const TOOLS: &[&str] = &["dd", "wc", "sha256sum"];

/// Accepts archives that begin with `good`.
const DOCKER: &str =
    "#!/bin/sh\nread -r first; [ \"$first\" = good ] || { echo bad >&2; exit 1; }\n";

async fn receive(vpu: &Sandbox, path: &str, (have, bytes): (u64, u64), sent: &[u8]) -> Output {
    let command = remote::receive_part(path, have, Some(bytes));
    vpu.run(&command, sent).await
}

#[tokio::test]
async fn a_part_is_resumed_where_it_ended() {
    for shell in shells() {
        let vpu = sandbox(shell, TOOLS);
        let path = vpu.home().join("it's a place/part");
        let path = path.to_str().unwrap();
        let cut = receive(&vpu, path, (0, 10), b"0123").await;
        assert!(!cut.success());
        assert_eq!(cut.tail(1), "4 of 10 bytes arrived");
        // More has arrived than was observed.
        std::fs::write(path, "0123456xyz").unwrap();
        let rest = receive(&vpu, path, (7, 10), b"789").await;
        assert!(rest.success(), "{shell:?}: {rest:?}");
        assert_eq!(std::fs::read(path).unwrap(), b"0123456789");
        let again = receive(&vpu, path, (0, 3), b"abc").await;
        assert!(again.success(), "{again:?}");
        assert_eq!(std::fs::read(path).unwrap(), b"abc");
        let unknown = remote::receive_part(path, 1, None);
        let unknown = vpu.host.run(&unknown, Stdin::Bytes(b"yz".to_vec())).await;
        assert!(unknown.unwrap().success());
        assert_eq!(std::fs::read(path).unwrap(), b"ayz");
        std::fs::remove_file(path).unwrap();
        assert!(!receive(&vpu, path, (3, 4), b"d").await.success());
    }
}

/// An earlier connection that is not known to be dead must not write between these bytes.
#[tokio::test]
async fn an_earlier_receiver_is_ended() {
    for shell in shells() {
        let vpu = sandbox(shell, TOOLS);
        let path = vpu.home().join("part");
        let path = path.to_str().unwrap();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let payload: o3r_deploy::internal::host::Payload = Box::new(move |out| {
            out.write_all(b"0123")?;
            out.flush()?;
            let _ = wait.recv();
            out.write_all(b"late")
        });
        let command = remote::receive_part(path, 0, Some(10));
        let earlier = vpu.host.run(&command, Stdin::Stream(payload));
        let ours = async {
            while std::fs::read(path).unwrap_or_default() != b"0123" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let output = receive(&vpu, path, (4, 10), b"456789").await;
            go.send(()).unwrap();
            output
        };
        let (earlier, ours) = tokio::join!(earlier, ours);
        assert!(ours.success(), "{shell:?}: {ours:?}");
        assert!(!earlier.unwrap().success());
        assert_eq!(std::fs::read(path).unwrap(), b"0123456789");
    }
}

/// The noted number may be another process's by now.
#[tokio::test]
async fn another_process_with_the_number_of_an_earlier_receiver_lives() {
    for shell in shells() {
        let vpu = sandbox(shell, TOOLS);
        let mut stranger = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let path = vpu.home().join("part");
        std::fs::write(vpu.home().join(".part.pid"), format!("{}\n", stranger.id())).unwrap();
        let output = receive(&vpu, path.to_str().unwrap(), (0, 3), b"abc").await;
        assert!(output.success(), "{shell:?}: {output:?}");
        assert!(stranger.try_wait().unwrap().is_none(), "{shell:?}");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}

/// Checks that a file that docker accepts is removed, and another one is kept.
async fn is_loaded_or_stays(vpu: &Sandbox, load: &Argv, path: &Path) {
    std::fs::write(path, "worse\n").unwrap();
    let refused = vpu.host.run(load, Stdin::Empty).await.unwrap();
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(path.exists());
    std::fs::write(path, "good\n").unwrap();
    let loaded = vpu.host.run(load, Stdin::Empty).await.unwrap();
    assert!(loaded.success(), "{loaded:?}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_part_that_docker_refuses_is_kept() {
    for shell in shells() {
        let vpu = sandbox(shell, TOOLS);
        vpu.program("docker", DOCKER);
        let path = vpu.home().join("part");
        let load = remote::load_part(path.to_str().unwrap());
        is_loaded_or_stays(&vpu, &load, &path).await;
    }
}

/// With a zstd that copies its input: the scripts do not depend on the format.
#[tokio::test]
async fn the_output_of_zstd_is_loaded() {
    for shell in shells() {
        let vpu = sandbox(shell, TOOLS);
        vpu.program("docker", DOCKER);
        vpu.program("zstd", "#!/bin/sh\n[ \"$1\" = -dcq ] && exec cat\n");
        let path = vpu.home().join("part");
        let load = remote::load_zstd(path.to_str());
        is_loaded_or_stays(&vpu, &load, &path).await;
        let load = remote::load_zstd(None);
        for (bytes, code) in [("good\n", 0), ("worse\n", 1)] {
            let stdin = Stdin::Bytes(bytes.into());
            let loaded = vpu.host.run(&load, stdin).await.unwrap();
            assert_eq!(loaded.code, code, "{loaded:?}");
        }
    }
}

/// A docker that reports where it stores images and how it
/// is called; `df`, `sync` and `rm` report their calls.
const TELLING: &str = r#"#!/bin/sh
case $1 in
    info) cat "$HOME/info"; exit ;;
esac
cat >/dev/null
echo "$*" >>"$HOME/did"
"#;

/// Docker considers a layer that a power cut destroyed as present, so loaded layers are written to
/// the disk before anything relies on them.
#[tokio::test]
async fn a_loaded_part_is_on_the_disk_before_its_file_is_removed() {
    for shell in shells() {
        const CLASSIC: &str = "[[Backing Filesystem extfs]] /docker\n";
        const CONTAINERD: &str = "[[driver-type io.containerd.snapshotter.v1]] /docker\n";
        for (info, df, sync, wanted) in [
            // Whether the mount point may be opened.
            (CLASSIC, "/", "exit 0", "sync -f -- /\n"),
            (
                CLASSIC,
                "/docker",
                "[ $# = 0 ]",
                "sync -f -- /docker\nsync \n",
            ),
            (CONTAINERD, "/", "exit 0", "sync \n"),
            (CLASSIC, "", "exit 0", "sync \n"),
            ("", "/", "exit 0", "sync \n"),
        ] {
            let vpu = sandbox(shell, TOOLS);
            vpu.program("docker", TELLING);
            vpu.program("zstd", "#!/bin/sh\nexec cat\n");
            std::fs::write(vpu.home().join("info"), info).unwrap();
            let disk = match df {
                "" => "exit 1".to_owned(),
                at => format!("echo Filesystem; echo 'x 1 1 1 45% {at}'"),
            };
            vpu.program("df", &format!("#!/bin/sh\n{disk}\n"));
            let tell = "#!/bin/sh\necho \"${0##*/} $*\" >>\"$HOME/did\"\n";
            vpu.program("sync", &format!("{tell}{sync}\n"));
            vpu.program("rm", &format!("{tell}exec busybox rm \"$@\"\n"));
            std::os::unix::fs::symlink(super::needed("busybox"), vpu.path().join("bin/busybox"))
                .unwrap();
            let path = vpu.home().join("part");
            let path = path.to_str().unwrap();
            for (load, removes) in [
                (remote::load_image(), false),
                (remote::load_zstd(None), false),
                (remote::load_part(path), true),
                (remote::load_zstd(Some(path)), true),
            ] {
                std::fs::write(path, "archive").unwrap();
                let _ = std::fs::remove_file(vpu.home().join("did"));
                let stdin = Stdin::Bytes(b"archive".to_vec());
                let loaded = vpu.host.run(&load, stdin).await.unwrap();
                assert!(loaded.success(), "{loaded:?}");
                let did = std::fs::read_to_string(vpu.home().join("did")).unwrap();
                let is_note = |line: &&str| line.contains("/.o3r-deploy/loading");
                let did: Vec<&str> = did.split_inclusive('\n').collect();
                let (notes, did): (Vec<&str>, Vec<&str>) =
                    did.iter().partition(|line| is_note(line));
                let did = did.concat();
                let rm = if removes {
                    format!("rm -f -- {path}\n")
                } else {
                    String::new()
                };
                // Busybox's shell has df, sync and rm built in.
                if shell == SHELLS[0] {
                    assert_eq!(did, format!("load --quiet\n{wanted}{rm}"), "{df}");
                    assert_eq!(notes.len(), 2, "{notes:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn arrived_parts_are_observed() {
    for shell in shells() {
        let vpu = sandbox(shell, TOOLS);
        let place = vpu.home().join(".o3r-deploy/arriving");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("0123abcd-99"), "some bytes").unwrap();
        std::fs::write(place.join(".0123abcd-99.pid"), "1").unwrap();
        let observed = observe(&vpu.host, &Query::default()).await.unwrap();
        let arrived = Arrived {
            bytes: 10,
            sha256: Some(Digest::of("some bytes")),
        };
        let all: Vec<_> = observed.facts.arrived.into_iter().collect();
        assert_eq!(all, [("0123abcd-99".to_owned(), arrived)], "{shell:?}");
    }
}

/// Docker does not sync what it loads: a power cut may leave layers with empty files.
#[tokio::test]
async fn a_load_that_a_restart_interrupts_is_observed() {
    for shell in shells() {
        let vpu = sandbox(shell, TOOLS);
        vpu.program("sync", "#!/bin/sh\n");
        let place = vpu.home().join(".o3r-deploy/loading");
        let notes = || {
            let notes = std::fs::read_dir(&place).into_iter().flatten();
            let mut notes: Vec<String> = notes
                .map(|note| note.unwrap().file_name().into_string().unwrap())
                .collect();
            notes.sort();
            notes
        };
        let interrupted = async || {
            let observed = observe(&vpu.host, &Query::default()).await.unwrap();
            observed.facts.system.load_interrupted
        };
        vpu.program("docker", DOCKER);
        let load = remote::load_image();
        // It ended, and was synced.
        let bad = vpu.run(&load, b"bad\n").await;
        assert!(!bad.success());
        assert_eq!(notes(), [""; 0], "{shell:?}");
        // While it loads: with a note of this boot.
        let look = "#!/bin/sh\n[ \"$1\" != load ] || { cat >/dev/null; cp -r \"$HOME/.o3r-deploy/loading\" \"$HOME/seen\"; }\n";
        vpu.program("docker", look);
        assert!(vpu.run(&load, b"good\n").await.success());
        let seen = std::fs::read_dir(vpu.home().join("seen")).unwrap();
        let seen: Vec<_> = seen.map(|note| note.unwrap().file_name()).collect();
        let [note] = &seen[..] else {
            panic!("{seen:?}")
        };
        let note = note.to_str().unwrap();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert!(note.starts_with(&format!("{}.", boot.trim())), "{note}");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join(note), "").unwrap();
        assert!(!interrupted().await, "{shell:?}: the kernel writes it");
        std::fs::write(place.join("another.7"), "").unwrap();
        assert!(interrupted().await, "{shell:?}");
        vpu.program(
            "docker",
            "#!/bin/sh\n[ \"$1\" = load ] && cat >/dev/null\nexit 0\n",
        );
        // One that still runs has a note of its own: it is not synced with this one.
        let runs = notes();
        assert!(vpu.run(&load, b"good\n").await.success());
        assert_eq!(notes(), runs, "{shell:?}");
        assert!(interrupted().await, "{shell:?}: another load ends no doubt");
        assert!(vpu.run(&remote::trust_images(), b"").await.success());
        assert!(!place.exists());
        assert!(vpu.run(&load, b"good\n").await.success());
        assert!(!place.exists());
    }
}
