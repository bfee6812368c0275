//! Disks of the VPU that are full, or fill up while an apply runs.

use crate::support::{App, Layout, Packing, Site, Twin};

/// Where docker has a file system of its own, of 64 MiB.
const DOCKER_DISK: &str = "systemctl stop docker.socket docker && mount -t tmpfs -o size=64m none /var/lib/docker && \
                           systemctl start docker";

/// Fills the disk of the file `$1` for as long as that is there, from the moment at which the command `$2` succeeds.
const FILL: &str = r#"
nohup sh -c '
    until eval "$2"; do sleep 0.02; done
    dd if=/dev/zero of="$1" bs=64k
    while [ -e "$1" ]; do dd if=/dev/zero of="$1.rest" bs=1k; sleep 0.05; done
' fill FILE 'WHEN' >/dev/null 2>&1 </dev/null & echo $! >/run/fill.pid
"#;

/// A VPU with 1.0.0 and a file system of its own for docker, and 1.1.0 to apply.
fn scene() -> (Twin, Site, [App; 2]) {
    let twin = Twin::up();
    let site = Site::new(&twin);
    twin.root(DOCKER_DISK);
    let apps = ["1.0.0", "1.1.0"].map(App::new);
    apps[0].write(&site);
    site.apply();
    apps[1].write(&site);
    (twin, site, apps)
}

fn fill(twin: &Twin, file: &str, when: &str) {
    twin.root(&FILL.replace("FILE", file).replace("WHEN", when));
}

fn empty(twin: &Twin, file: &str) {
    twin.root(&format!(
        "kill $(cat /run/fill.pid) 2>/dev/null; sleep 0.2; rm -f {file} {file}.rest"
    ));
}

#[test]
fn a_disk_that_is_full_before_blocks_with_figures() {
    let (twin, site, [old, new]) = scene();
    let file = "/var/lib/docker/full";
    twin.root(&format!(
        "dd if=/dev/zero of={file} bs=64k 2>/dev/null; truncate -s -2M {file}"
    ));
    // Both disks at once: nothing has to be tried twice.
    twin.root("mount -t tmpfs -o size=1m,nr_inodes=20,uid=989 none /home/oem/share/logs");
    let ran = site.run(&["apply", "--yes"]).exits(9);
    ran.says("vpu.space is blocked: docker's disk has")
        .says("for unpacked layers")
        .says("8.00 MiB to start containers, also after a rollback")
        .says("du -sh");
    old.runs_on(&twin);
    empty(&twin, file);
    twin.root("umount /home/oem/share/logs");
    let remount = |inodes: u32| {
        twin.root(&format!(
            "mount -o remount,nr_inodes=$(($(df --output=iused /var/lib/docker | tail -1) + {inodes})) /var/lib/docker"
        ));
    };
    // A layer and a container.
    remount(30);
    let ran = site.run(&["apply", "--yes"]).exits(9);
    ran.says("docker's disk can hold 30 more files (inodes), but needs ");
    remount(1000);
    site.apply();
    new.runs_on(&twin);
    // Nothing needs /tmp. (The check does: docker exec writes into it.)
    twin.root("dd if=/dev/zero of=/tmp/full bs=64k 2>/dev/null; true");
    old.write(&site);
    site.apply();
    twin.root("rm /tmp/full");
    old.runs_on(&twin);
}

#[test]
fn a_disk_of_docker_that_fills_up_while_an_image_is_loaded() {
    let (twin, site, [old, new]) = scene();
    let file = "/var/lib/docker/full";
    // Large enough for docker to be busy with it.
    let image = new.image().filled(20 << 20);
    image.write(
        &site.path("dist/hello-1.1.0.tar"),
        Layout::Docker,
        Packing::Plain,
    );
    fill(&twin, file, "[ -e /home/oem/.o3r-deploy/loading ]");
    let ran = site.run(&["apply", "--yes"]).exits(4);
    ran.says("no running container was touched")
        .says("docker's disk on the VPU is full");
    old.runs_on(&twin);
    empty(&twin, file);
    site.apply();
    new.runs_on(&twin);
    site.nothing_to_do();
}

/// Docker can then neither start the new container nor the old one again: the message says what runs.
#[test]
fn a_disk_of_docker_that_fills_up_while_containers_are_replaced() {
    let (twin, site, [_, new]) = scene();
    let file = "/var/lib/docker/full";
    let when = "grep -q 1.1.0 /usr/share/oem/docker/compose/hello/app.env";
    fill(&twin, file, when);
    let ran = site.run(&["apply", "--yes"]).exits(4);
    ran.says("no space left on device")
        .says("docker's disk on the VPU is full");
    let state = twin.oem("docker inspect -f '{{.State.Status}}' hello_web_1");
    ran.says(&format!("hello:1.0.0  {}", state.trim()));
    empty(&twin, file);
    site.apply();
    new.runs_on(&twin);
    site.nothing_to_do();
    twin.has_no_remains();
}

/// The disk of the home directory, where the records are, fills up before the switch.
#[test]
fn a_home_that_fills_up_while_an_image_is_loaded() {
    let (twin, site, [old, new]) = scene();
    let records = "/home/oem/.o3r-deploy";
    twin.root(&format!(
        "cp -a {records} /run/records && mount -t tmpfs -o size=2m none {records} && cp -a /run/records/. {records}/ && \
         chown oem: {records}"
    ));
    let file = format!("{records}/full");
    fill(&twin, &file, "[ -e /home/oem/.o3r-deploy/lock/owner ]");
    let ran = site.run(&["apply", "--yes"]);
    assert!(ran.code != Some(0), "{ran:?}");
    old.runs_on(&twin);
    empty(&twin, &file);
    site.apply();
    new.runs_on(&twin);
    site.nothing_to_do();
}
