//! A docker that hangs, and signals and kills meanwhile: waits end, and leave nothing behind.

use std::{path::Path, process::Command, thread::sleep, time::Duration};

use crate::support::{App, Running, Site, Twin, run};

/// Returns the directories of connections below `temporary`.
fn directories(temporary: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(temporary).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("o3r-ssh-")).collect()
}

/// Panics unless every ssh of a connection below `temporary` ends within a second.
#[track_caller]
fn no_ssh_is_left(temporary: &Path) {
    let pattern = format!("{}/o3r-ssh-", temporary.display());
    for _ in 0..10 {
        let pgrep = run(Command::new("pgrep").args(["-af", "--", &pattern]));
        if pgrep.code == Some(1) {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!(
        "{:?}",
        run(Command::new("pgrep").args(["-af", "--", &pattern]))
    );
}

#[test]
fn a_docker_that_hangs_is_reported_and_any_end_leaves_nothing() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    let temporary = site.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let start = |args: &[&str]| {
        let mut command = site.command(args);
        Running::start(command.env("TMPDIR", &temporary))
    };
    let plan: &[&str] = &["plan"];
    let apply: &[&str] = &["apply", "--yes"];
    twin.root("kill -STOP $(pidof dockerd)");
    for (args, signal) in [
        (plan, "INT"),
        (plan, "TERM"),
        (plan, "HUP"),
        (apply, "INT"),
        (apply, "TERM"),
        (apply, "HUP"),
    ] {
        let running = start(args);
        sleep(Duration::from_secs(2));
        assert_eq!(directories(&temporary).len(), 1, "{args:?}");
        running.signal(signal);
        running
            .finish()
            .exits(130)
            .says("interrupted")
            .says("code: interrupted");
        assert!(directories(&temporary).is_empty(), "{args:?} {signal}");
        no_ssh_is_left(&temporary);
        // The lock ends with the session that holds it.
        twin.oem("for try in 1 2 3; do [ -e ~/.o3r-deploy/lock ] || exit 0; sleep 1; done; exit 1");
    }

    // A killed process leaves a directory, which the next run removes when it is old enough.
    let killed = start(plan);
    sleep(Duration::from_secs(2));
    killed.signal("KILL");
    killed.finish().exits(137);
    no_ssh_is_left(&temporary);
    let left = directories(&temporary);
    assert_eq!(left.len(), 1);
    let path = temporary.join(&left[0]);
    run(Command::new("touch").args(["-d", "-1 hour"]).arg(path)).exits(0);

    // Both wait at once.
    let (plan, apply) = (start(plan), start(apply));
    sleep(Duration::from_secs(2));
    assert!(!directories(&temporary).contains(&left[0]));
    for waits in [plan, apply] {
        let ran = waits.finish().exits(9);
        ran.says("docker info on the VPU has not answered")
            .says("dockerd on the VPU does not answer")
            .says("code: docker-hangs");
    }
    twin.root("kill -CONT $(pidof dockerd)");
    assert!(directories(&temporary).is_empty());
    site.apply();
    app.runs_on(&twin);
    // None of the ended commands still waits on the VPU.
    twin.oem("for try in 1 2 3 4 5; do pgrep -f '[d]ocker system dial-stdio' || exit 0; sleep 1; done; exit 1");
}
