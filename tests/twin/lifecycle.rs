//! Everyday failures: each message says where, why and what
//! to do next, and the VPU is left unchanged.
//!
//! Failures of the connection are in `refused.rs`, those in
//! the middle of an apply in `failed.rs` and `crash.rs`.

use crate::support::{App, Layout, Packing, Site, TinyImage, Twin};

/// Returns everything on the twin that an apply could have changed.
fn state(twin: &Twin) -> String {
    twin.oem(
        "docker ps -aq --no-trunc; docker volume ls -q; docker image ls -q; \
         ls -AR share .o3r-deploy /usr/share/oem/docker 2>/dev/null || true",
    )
}

/// Checks that an apply of the application's manifest is
/// refused with this code, and changes nothing.
#[track_caller]
fn refused(twin: &Twin, site: &Site, code: i32, says: &[&str]) {
    let before = state(twin);
    let ran = site.run(&["apply", "--yes"]).exits(code);
    for text in says {
        ran.says(text);
    }
    assert_eq!(state(twin), before);
}

#[test]
fn what_the_vpu_lacks() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    app.services = "    ports: [\"9000:9000\"]\n".to_owned();
    app.write(&site);

    // A port that somebody's container publishes.
    twin.oem("tar -C /bin -c busybox | docker import - foreign:1");
    twin.oem("docker run -d --init --name camera-test -p 9000:9000 foreign:1 /busybox sleep 1000");
    let says = "compose.hello is blocked: service web publishes 9000/tcp, which is taken by container camera-test";
    refused(&twin, &site, 9, &[says, "docker stop camera-test"]);
    twin.oem("docker rm -f camera-test");
    // A port that a program listens on.
    twin.root("python3 -m http.server 9000 >/dev/null 2>&1 & echo $! >/run/web.pid; sleep 1");
    let says = "service web publishes 9000/tcp, which is taken by a program on the VPU";
    refused(&twin, &site, 9, &[says, "publish another port"]);
    twin.root("kill $(cat /run/web.pid)");

    // A runtime that docker does not have.
    let services = app.services.clone();
    app.services = format!("{services}    runtime: nvidia\n");
    app.write_files(&site);
    let says = "service web needs the container runtime nvidia, but docker on the VPU has";
    refused(&twin, &site, 9, &[says, "use a VPU that has it"]);
    app.services = services;

    // The docker-compose of older firmware.
    twin.root("mv /usr/bin/docker-compose /usr/bin/docker-compose.real");
    twin.root("printf '#!/bin/sh\\necho 1.25.4\\n' >/usr/bin/docker-compose; chmod 755 /usr/bin/docker-compose");
    app.write_files(&site);
    site.run(&["plan"]).exits(0);
    let compose = std::fs::read_to_string(site.path("docker-compose.yml")).unwrap();
    site.write("docker-compose.yml", &compose.replace("\"2.4\"", "\"3.8\""));
    let says = "the compose file has the version `3.8`, which docker-compose 1.25.4 rejects";
    refused(&twin, &site, 9, &[says, "version: \"2.4\""]);
    twin.root("mv /usr/bin/docker-compose.real /usr/bin/docker-compose");

    // A directory that is not writable.
    twin.root("mkdir /home/oem/recordings");
    app.more = "[[directories]]\npath = \"~/recordings/logs\"\n".to_owned();
    app.write_files(&site);
    let says = "directory.~/recordings/logs is blocked: /home/oem/recordings/logs cannot be created: \
                /home/oem/recordings belongs to user 0";
    refused(&twin, &site, 9, &[says, "docker run --rm --user 0"]);
    app.more.clear();

    // The device's API is down, and the manifest requires its identity.
    twin.root("systemctl stop o3r-api");
    app.write_files(&site);
    site.run(&["plan"])
        .exits(0)
        .says("name, serial and firmware are unknown");
    let manifest = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    let serial = format!("[vpu]\nserial = \"{}\"", twin.serial);
    site.write("deploy.toml", &manifest.replacen("[vpu]", &serial, 1));
    let says = "vpu.serial is blocked: serial cannot be checked";
    refused(&twin, &site, 9, &[says, "port 80", "api_port"]);
    twin.root("systemctl start o3r-api");

    // A clock as it is without a time server.
    twin.root("mv /bin/date /bin/date.real");
    twin.root("printf '#!/bin/sh\\nexec /bin/date.real -d @1581090786 \"$@\"\\n' >/bin/date; chmod 755 /bin/date");
    app.write_files(&site);
    let ran = site.apply();
    ran.says("the VPU's clock says 2020-02-07")
        .says("time server");
    app.runs_on(&twin);
    site.nothing_to_do();
}

#[test]
fn what_is_wrong_on_this_machine() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    let archive = site.path("dist/hello-1.0.0.tar");

    // A truncated archive.
    app.write(&site);
    let whole = std::fs::read(&archive).unwrap();
    std::fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
    refused(
        &twin,
        &site,
        1,
        &["dist/hello-1.0.0.tar", "is truncated", "deploy.toml:"],
    );

    // An image for another processor.
    let other = if crate::support::architecture() == "amd64" {
        "arm64"
    } else {
        "amd64"
    };
    let image = TinyImage::new("hello:1.0.0", "1.0.0").for_architecture(other);
    image.write(&archive, Layout::Docker, Packing::Plain);
    let says = format!("is built for linux/{other}, but the VPU needs linux/");
    refused(&twin, &site, 1, &[&says, "docker build --platform"]);

    // An unreadable file. (Root can read everything, so it is a missing one then.)
    app.write(&site);
    std::fs::remove_file(site.path("conf/greeting.txt")).unwrap();
    std::os::unix::fs::symlink("/nowhere", site.path("conf/greeting.txt")).unwrap();
    refused(&twin, &site, 1, &["conf/greeting.txt", "extra_files"]);
    std::fs::remove_file(site.path("conf/greeting.txt")).unwrap();

    // A typo in the manifest.
    app.write(&site);
    let manifest = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    site.write(
        "deploy.toml",
        &manifest.replace("extra_files", "extra_flies"),
    );
    refused(
        &twin,
        &site,
        1,
        &["extra_flies", "did you mean `extra_files`?"],
    );

    app.write(&site);
    site.apply();
    app.runs_on(&twin);
}

#[test]
fn disk_that_is_full() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    // A `df` that finds no space for docker: the twin's disk is the machine's.
    twin.root("mv /bin/df /bin/df.real");
    twin.root("printf '#!/bin/sh\\necho Filesystem 1024-blocks Used Available Capacity Mounted on\\necho /dev/mmcblk0p1 7000000 6999000 1000 100%% /\\n' >/bin/df; chmod 755 /bin/df");
    refused(
        &twin,
        &site,
        9,
        &[
            "vpu.space is blocked: docker's disk has 1000 KiB free, but needs",
            "docker image prune",
        ],
    );
    twin.root("mv /bin/df.real /bin/df");
    site.apply();

    // No space for a file: it is either complete or still the old one.
    let next = App::new("1.1.0");
    next.write(&site);
    let conf = "/usr/share/oem/docker/compose/hello/conf";
    twin.root(&format!(
        "cp -a {conf} /run/conf && mount -t tmpfs -o size=16k,uid=989,gid=987 none {conf} && cp -a /run/conf/. {conf}/"
    ));
    site.write("conf/greeting.txt", &"x".repeat(64 << 10));
    let ran = site.run(&["apply", "--yes"]).exits(6);
    ran.says("file.hello/conf/greeting.txt failed; the previous release was restored")
        .says("No space left on device");
    twin.root(&format!("umount -l {conf}"));
    app.runs_on(&twin);
    next.write(&site);
    site.apply();
    next.runs_on(&twin);
}
