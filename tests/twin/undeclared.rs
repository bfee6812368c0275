//! Files, directories and volumes that a release no longer declares.

use crate::support::{App, Site, Twin};

const TREES: &str = "[[transfers]]\nsrc = \"calib/\"\ndst = \"~/calib\"\n\
                     [[transfers]]\nsrc = \"models/\"\ndst = \"~/models\"\n\
                     [[transfers]]\nsrc = \"one.conf\"\ndst = \"~/one.conf\"\n";

/// All that is in the targets.
const THERE: &str = "find calib models one.conf 2>/dev/null | sort | tr '\\n' ' '";

fn write(site: &Site, version: &str, more: &str) {
    let mut app = App::new(version);
    more.clone_into(&mut app.more);
    app.write(site);
}

#[test]
fn files_that_are_no_longer_declared_go() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    for (path, text) in [
        ("calib/left/a.json", "a"),
        ("calib/b.json", "b"),
        ("calib/c.json", "c"),
        ("models/net.bin", "net"),
        ("one.conf", "one"),
    ] {
        site.write(path, text);
    }
    std::os::unix::fs::symlink("b.json", site.path("calib/default")).unwrap();
    write(&site, "1.0.0", TREES);
    site.apply();
    let all = "calib calib/b.json calib/c.json calib/default calib/left calib/left/a.json models models/net.bin one.conf";
    assert_eq!(twin.oem(THERE), all);

    // A part of a tree, a tree, and a file. What the application wrote stays, and so does what somebody changed.
    twin.oem("echo log >models/log; echo mine >calib/c.json");
    std::fs::remove_dir_all(site.path("calib/left")).unwrap();
    std::fs::remove_file(site.path("calib/c.json")).unwrap();
    let fewer = TREES.split("[[transfers]]\nsrc = \"models").next().unwrap();
    write(&site, "1.1.0", fewer);
    site.run(&["plan"])
        .exits(0)
        .says("~ update  transfer.~/calib")
        .says("- delete left/a.json")
        .says("- remove  transfer.~/models")
        .says("- remove  transfer.~/one.conf")
        .says("no longer declared")
        .says("~/calib/c.json is no longer declared, was changed on the VPU and stays; --prune removes it, too");
    site.apply();
    let fewer_there = "calib calib/b.json calib/c.json calib/default models models/log";
    assert_eq!(twin.oem(THERE), fewer_there);
    site.nothing_to_do();

    // They come back with the release that had them, also where an apply fails.
    site.run(&["rollback", "--yes"]).exits(0);
    let back = all.replace("models/net", "models/log models/net");
    assert_eq!(twin.oem(THERE), back);
    let mut bad = App::new("1.2.0");
    fewer.clone_into(&mut bad.more);
    "sleep 1; exit 3".clone_into(&mut bad.command);
    bad.write(&site);
    site.run(&["apply", "--yes"])
        .exits(6)
        .says("the previous release was restored");
    assert_eq!(twin.oem(THERE), back);

    // What was changed goes with --prune; nothing of it is left after the next one.
    twin.oem("echo mine >calib/c.json; rm models/log");
    write(&site, "1.3.0", "");
    site.run(&["apply", "--yes", "--prune"]).exits(0);
    assert_eq!(twin.oem(THERE), "");
    site.nothing_to_do();
}

#[test]
fn files_that_move_to_another_transfer_stay() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    site.write("calib/a", "a");
    site.write("calib/b", "b");
    write(
        &site,
        "1.0.0",
        "[[transfers]]\nsrc = \"calib/\"\ndst = \"~/calib\"\n",
    );
    site.apply();
    let inode = "stat -c %i calib/a";
    let before = twin.oem(inode);
    // Spelled in another way, and by one file.
    for more in [
        "[[transfers]]\nsrc = \"calib/\"\ndst = \"/home/oem/calib\"\n",
        "[[transfers]]\nsrc = \"calib/a\"\ndst = \"~/calib/a\"\n",
    ] {
        write(&site, "1.1.0", more);
        site.apply();
        assert_eq!(twin.oem(inode), before, "{more}");
        site.nothing_to_do();
    }
    assert_eq!(twin.oem("ls calib"), "a");

    // Without what the VPU keeps of the deployed release, nobody knows its files.
    twin.oem("rm -r ~/.o3r-deploy/generations");
    write(&site, "1.2.0", "");
    site.run(&["plan", "--format", "json"])
        .exits(0)
        .says(r#""code": "former-files-unknown""#);
    site.apply();
    assert_eq!(twin.oem("ls calib"), "a");
    site.nothing_to_do();
}

const DATA: &str =
    "ls -d logs share/logs old 2>/dev/null | tr '\\n' ' '; docker volume ls -q | tr '\\n' ' '";

/// Declares a directory and a second volume.
fn with_data(version: &str) -> App {
    let mut app = App::new(version);
    "[[directories]]\npath = \"~/old\"\n[[volumes]]\nname = \"logs\"\npath = \"~/logs\"\n"
        .clone_into(&mut app.more);
    app
}

#[test]
fn data_that_is_no_longer_declared_stays_unless_it_is_pruned() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    with_data("1.0.0").write(&site);
    site.apply();
    let all = "logs old share/logs logs share";
    assert_eq!(twin.oem(DATA), all);
    // As root, as containers write.
    twin.root(
        "cd /home/oem/logs && mkdir deep && dd if=/dev/zero of=deep/log bs=1M count=3 status=none",
    );

    // What is empty goes; data is listed with its size by each plan, and goes with --prune.
    App::new("1.1.0").write(&site);
    let stays = "MiB): no longer declared, and stays; --prune removes it [data-stays]";
    site.run(&["plan"])
        .exits(0)
        .says("- remove  directory.~/old")
        .says("~/logs (volume logs, 3.0")
        .says(stays);
    site.apply();
    assert_eq!(twin.oem(DATA), "logs share/logs logs share");
    site.run(&["plan", "--prune"])
        .exits(0)
        .says("- remove  volume.logs")
        .says("with ~/logs")
        .says("MiB): removed with its data, which nothing brings back [data-goes]");
    site.run(&["apply", "--yes", "--prune"]).exits(0);
    assert_eq!(twin.oem(DATA), "share/logs share");
    site.nothing_to_do();

    // A container of others uses the volume.
    with_data("1.2.0").write(&site);
    site.apply();
    twin.oem("docker run -d --name theirs -v logs:/logs hello:1.2.0 sleep 1000");
    App::new("1.3.0").write(&site);
    site.run(&["apply", "--yes", "--prune"]).exits(0);
    assert_eq!(twin.oem(DATA), "logs share/logs logs share");
    twin.oem("docker rm -f theirs");
    site.run(&["apply", "--yes", "--prune"]).exits(0);
    assert_eq!(twin.oem(DATA), "share/logs share");
}

#[test]
fn what_another_release_or_another_path_has_stays() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    site.write("calib/a", "a");
    site.write("calib/b", "b");
    let one = "[[transfers]]\nsrc = \"calib/\"\ndst = \"~/calib\"\n";
    write(&site, "1.0.0", one);
    site.apply();
    let other = Site::new(&twin);
    other.write("a", "a");
    other.manifest(
        "[release]\nname = \"other\"\n\n[[transfers]]\nsrc = \"a\"\ndst = \"~/calib/\"\n",
    );
    other.apply();
    write(&site, "1.1.0", "");
    site.apply();
    assert_eq!(twin.oem("ls calib"), "a");
    other.nothing_to_do();

    // A target that is a link by now: its files may be declared by another path.
    write(&site, "1.2.0", &one.replace("~/calib", "~/tree"));
    site.apply();
    twin.oem("mv tree real && ln -s real tree");
    write(&site, "1.3.0", &one.replace("~/calib", "~/real"));
    site.apply();
    assert_eq!(twin.oem("ls real"), "a\nb");
    site.nothing_to_do();

    // A file system below a directory that is pruned is not emptied.
    with_data("1.4.0").write(&site);
    site.apply();
    twin.root("mkdir /home/oem/logs/usb && mount -t tmpfs none /home/oem/logs/usb && echo theirs >/home/oem/logs/usb/file");
    App::new("1.5.0").write(&site);
    site.run(&["apply", "--yes", "--prune"])
        .exits(4)
        .says("a file system is mounted at /home/oem/logs/usb; unmount it first");
    assert_eq!(twin.oem("cat logs/usb/file"), "theirs");
    twin.root("umount /home/oem/logs/usb");
    site.run(&["apply", "--yes", "--prune"]).exits(0);
    assert_eq!(twin.oem(DATA), "share/logs share");
}
