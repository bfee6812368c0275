//! Releases that the VPU keeps: `rollback` and `history`.

use crate::support::{App, Layout, Packing, Site, Twin};

/// An application with transfers and a large file.
fn app(version: &str, site: &Site) -> App {
    let mut app = App::new(version);
    let more = "[[transfers]]\nsrc = \"settings/\"\ndst = \"~/settings\"\ndelete = true\nrestart = [\"hello\"]\n\n\
                [[transfers]]\nsrc = \"model\"\ndst = \"~/model\"\n";
    app.more.push_str(more);
    site.write("settings/mode", &format!("mode-of-{version}\n"));
    site.write("settings/key.pem", &format!("key-of-{version}\n"));
    // More than a mebibyte: it is kept as a link.
    site.write("model", &version.repeat(1_100_000));
    app.write(site);
    app
}

/// Every file that a release put there, with its mode and sum.
const FILES: &str = "cd; find settings model /usr/share/oem/docker/compose/hello -type f | sort | \
    xargs ls -ln | cut -c1-10; find settings model /usr/share/oem/docker/compose/hello -type f | sort | xargs sha256sum";

#[test]
fn the_release_before_comes_back_without_sending_anything() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let one = app("1.0.0", &site);
    site.apply();
    let files_of_one = twin.oem(FILES);
    let only = site.run(&["rollback", "--yes"]).exits(1);
    only.says(
        "the VPU keeps no release of hello before the current one; it keeps 1.0.0 (#1, deployed)",
    );
    site.write("settings/new", "only in 1.1.0\n");
    let mut two = app("1.1.0", &site);
    // A project that 1.0.0 does not have, and a note of each apply.
    two.more.push_str(
        "\n[[compose]]\nname = \"side\"\nfile = \"side.yml\"\n\n[apply]\nstamp = \"~/share/deployments\"\n",
    );
    let services = "services:\n  side:\n    image: hello:1.1.0\n    command: sleep 1000\n    stop_signal: SIGKILL\n";
    site.write("side.yml", &format!("version: \"2.4\"\n{services}"));
    two.write(&site);
    site.apply();
    two.runs_on(&twin);
    let note = twin.oem("cat share/deployments/deployments.jsonl");
    assert!(
        note.contains("\"release\":\"hello\",\"version\":\"1.1.0\""),
        "{note}"
    );
    let sides = "docker ps -aq --filter label=com.docker.compose.project=side; ls /usr/share/oem/docker/compose";
    assert!(twin.oem(sides).contains("side"));
    let files_of_two = twin.oem(FILES);

    // On another machine without any file of the application.
    let elsewhere = Site::new(&twin);
    elsewhere.manifest("[release]\nname = \"hello\"\n");
    let plan = elsewhere.run(&["rollback"]).exits(1);
    plan.says("nothing was done")
        .says_not("compose.hello/docker");
    two.runs_on(&twin);
    let shown = elsewhere.run(&["rollback", "--dry-run"]).exits(0);
    shown.says("release hello: 1.1.0 -> 1.0.0");
    let shown = elsewhere.run(&["rollback", "1.0.0", "--dry-run", "--format", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.exits(0).stdout).unwrap();
    assert_eq!(shown["manifest"]["path"], "release 1.0.0 of hello");
    two.runs_on(&twin);
    elsewhere
        .run(&["rollback", "--name", "other", "--yes"])
        .exits(1)
        .says("release other was never applied")
        .says("--name NAME");
    let rollback = elsewhere.run(&["rollback", "--yes"]).exits(0);
    eprintln!("{}", rollback.stdout);
    one.runs_on(&twin);
    assert_eq!(twin.oem(FILES), files_of_one);
    assert_eq!(twin.oem(sides), "hello");
    // The manifest's guards hold.
    let guarded = elsewhere
        .vpu
        .replace("[vpu]", "[vpu]\nserial = \"000099999999\"");
    elsewhere.write(
        "other.toml",
        &format!("{guarded}\n[release]\nname = \"hello\"\n"),
    );
    let other = elsewhere
        .run(&["-f", "other.toml", "rollback", "#2", "--yes"])
        .exits(9);
    other.says("wrong-serial");
    elsewhere.write(
        "helo.toml",
        &format!("{}\n[release]\nname = \"helo\"\n", elsewhere.vpu),
    );
    let typo = elsewhere.run(&["-f", "helo.toml", "history"]).exits(1);
    typo.says("release helo was never applied")
        .says("which has: hello");
    let again = elsewhere.run(&["rollback", "1.0.0", "--yes"]).exits(0);
    again.says("Nothing to do");
    // The manifest of 1.0.0 has nothing to add.
    std::fs::remove_file(site.path("settings/new")).unwrap();
    app("1.0.0", &site);
    site.nothing_to_do();

    let history = elsewhere.run(&["history"]).exits(0);
    eprintln!("{}", history.stdout);
    history
        .says("  deployed")
        .says("  #2   1.1.0  last applied 20")
        .says("1.0.0  rollback done after");
    assert!(!history.stdout.contains("#3"), "{}", history.stdout);
    // 1.1.0 is not the release before 1.0.0.
    elsewhere
        .run(&["rollback", "--yes"])
        .exits(1)
        .says("no release of hello before")
        .says("o3r-deploy rollback '#2'");
    // Back again: to what was kept of 1.1.0, without any file of the application.
    elsewhere.run(&["rollback", "#2", "--yes"]).exits(0);
    two.runs_on(&twin);
    assert_eq!(twin.oem(FILES), files_of_two);
}

#[test]
fn what_is_no_longer_kept_blocks_and_old_releases_go() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    for version in ["1", "2", "3", "4"] {
        app(version, &site);
        site.apply();
    }
    twin.has_no_remains();
    let kept = twin.oem("ls .o3r-deploy/generations/hello");
    assert_eq!(kept, "2\n3\n4");
    let images =
        twin.oem("docker image ls --format '{{.Repository}}:{{.Tag}}' | grep -v pause | sort");
    assert!(!images.contains("hello:1\n"), "{images}");
    assert!(images.contains("hello:2\n"), "{images}");
    let needed = twin.oem(
        "cd .o3r-deploy; ls store | wc -l; cat generations/hello/* | sed -n 's/^[fs] \\([0-9a-f]*\\) .*/\\1/p' | sort -u | wc -l",
    );
    let (stored, needed) = needed.split_once('\n').unwrap();
    assert_eq!(stored, needed);

    // A large file that is changed in place is changed in the store, too.
    twin.oem("cat .o3r-deploy/generations/hello/3 >model.new; cat model.new >>model; rm model.new");
    let plan = site.run(&["rollback", "4", "--yes"]).exits(9);
    plan.says("transfer.~/model")
        .says("contents of this release are damaged, or no longer on the VPU");
    // A small one is a copy.
    twin.oem("echo damaged >settings/mode");
    let plan = site.run(&["rollback", "3", "--yes"]).exits(0);
    eprintln!("{}", plan.stdout);
    twin.oem("docker image rm -f $(docker image inspect --format '{{.Id}}' hello:2)");
    let plan = site.run(&["rollback", "2", "--yes"]).exits(9);
    plan.says("the image of this release is no longer on the VPU");
    let unknown = site.run(&["rollback", "7", "--yes"]).exits(1);
    unknown.says("the VPU keeps no release `7` of hello");
}

/// Each release has a layer of 3 MiB of its own, and shares all others.
#[test]
fn what_earlier_releases_hold_is_limited() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let kept = || twin.oem("cd .o3r-deploy/generations/hello; echo *");
    let write = |number: usize, limit: &str| {
        let mut app = App::new(&format!("{number}.0.0"));
        app.health = "health = { settle = \"1s\" }".to_owned();
        app.more = format!("[apply]\nkeep_releases = 9\n{limit}");
        app.write_files(&site);
        // Noise of another length is other noise.
        let image = app.image().filled((3 << 20) + number * 1000);
        let archive = site.path(&format!("dist/hello-{number}.0.0.tar"));
        image.write(&archive, Layout::Docker, Packing::Plain);
    };
    let apply = |number: usize, limit: &str| {
        write(number, limit);
        site.apply()
    };
    for number in 1..=3 {
        apply(number, "");
    }
    assert_eq!(kept().trim(), "1 2 3");
    apply(4, "keep_size = \"7 MB\"\n")
        .says("release 1.0.0 (#1) is no longer kept for o3r-deploy rollback: earlier releases hold more than keep_size");
    assert_eq!(kept().trim(), "2 3 4");
    let images =
        twin.oem("docker image ls --format '{{.Repository}}:{{.Tag}}' | grep ^hello | sort");
    assert_eq!(images.trim(), "hello:2.0.0\nhello:3.0.0\nhello:4.0.0");
    // A lower limit is a change.
    write(4, "keep_size = \"4 MB\"\n");
    site.run(&["plan"])
        .exits(0)
        .says("kept for rollback: 9 releases, 6.68 MiB -> 9 releases, 3.81 MiB");
    site.apply();
    assert_eq!(kept().trim(), "3 4");
    site.nothing_to_do();
    // Those that stay are whole.
    site.run(&["rollback", "3.0.0", "--yes"]).exits(0);
}
