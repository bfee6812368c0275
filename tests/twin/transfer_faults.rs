//! Further faults while a large image is sent in parts.

use std::time::{Duration, Instant};

use crate::support::{Layout, Link, Packing, Site, TinyImage, Twin};

const MIB: usize = 1 << 20;

/// Writes a manifest of one image, `big:1`, that contains
/// its version, with layers of these sizes in bytes.
fn write(site: &Site, version: &str, fillers: &[usize]) {
    site.manifest(
        "[release]\nname = \"big\"\n[[images]]\nname = \"big:1\"\narchive = \"dist/big.tar\"\n",
    );
    let image = fillers
        .iter()
        .fold(TinyImage::new("big:1", version), |image, bytes| {
            image.filled(*bytes)
        });
    image.write(&site.path("dist/big.tar"), Layout::Docker, Packing::Plain);
}

fn version(twin: &Twin) -> String {
    twin.oem("docker run --rm --network none big:1 cat /version")
}

/// Checks that nothing is left but images of releases.
fn is_tidy(twin: &Twin) {
    let left = twin.oem(
        "ls -A ~/.o3r-deploy/arriving 2>/dev/null; docker image ls --format '{{.Repository}}' | grep -x o3r-deploy-part; true",
    );
    assert_eq!(left, "");
}

/// The layers below are removed while the last part is sent.
#[test]
fn layers_that_vanish_between_parts() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    write(&site, "1", &[MIB]);
    site.apply();
    write(&site, "2", &[33 * MIB, 34 * MIB, 35 * MIB]);
    twin.root("mv /usr/bin/docker /usr/bin/docker.real");
    // The third load waits until the two before it are done, and removes all images.
    twin.root(
        r#"printf '%s\n' '#!/bin/sh' 'if [ "$1" = load ]; then' 'echo >>/tmp/loads' 'if [ "$(wc -l </tmp/loads)" = 3 ]; then' 'until [ "$(docker.real image ls -q o3r-deploy-part | wc -l)" = 2 ]; do sleep 0.1; done' 'docker.real image ls -aq | xargs docker.real image rm -f >/dev/null 2>&1' 'fi; fi' 'exec docker.real "$@"' >/usr/bin/docker; chmod 755 /usr/bin/docker"#,
    );
    let ran = site.apply();
    ran.says("has the VPU changed since the plan?")
        .says("sending the full data");
    twin.root("mv /usr/bin/docker.real /usr/bin/docker");
    assert_eq!(version(&twin), "2");
    site.nothing_to_do();
    is_tidy(&twin);
}

/// Docker's disk fills up while parts arrive: the former
/// image is kept, and the next apply cleans up.
#[test]
fn disk_that_fills_up_between_parts() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    write(&site, "1", &[MIB]);
    site.apply();
    write(&site, "2", &[33 * MIB, 34 * MIB, 35 * MIB]);
    // Docker unpacks what it reads into this directory: one part fits.
    twin.root("mount -t tmpfs -o size=37m none /var/lib/docker/tmp");
    let ran = site.run(&["apply", "--yes"]).exits(4);
    // A whole image would not fit either, and what has arrived is kept.
    ran.says("no space left on device")
        .says_not("has the VPU changed since the plan?");
    assert_eq!(version(&twin), "1");
    twin.root("umount -l /var/lib/docker/tmp");
    site.apply();
    assert_eq!(version(&twin), "2");
    site.nothing_to_do();
    is_tidy(&twin);
}

/// A link that silently drops everything is detected, and the apply resumes.
#[test]
fn a_link_that_falls_silent() {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    write(&site, "1", &[18 * MIB]);
    link.slow(1_200_000);
    let mut apply = site.start(&["apply", "--yes"]);
    link.wait_for(6_000_000);
    link.fall_silent();
    let silent = Instant::now();
    assert!(apply.wait_for("connection to the VPU lost; reconnecting in 1 s"));
    let noticed = silent.elapsed();
    assert!(noticed < Duration::from_secs(15), "{noticed:?}");
    apply.finish().exits(0).says("reconnected");
    assert_eq!(version(&twin), "1");
    site.nothing_to_do();
    is_tidy(&twin);
}

/// Reconnecting is tried for a minute and a half, and no longer.
#[test]
fn a_link_that_stays_broken() {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    write(&site, "1", &[18 * MIB]);
    link.slow(1_200_000);
    let apply = site.start(&["apply", "--yes"]);
    link.wait_for(4_000_000);
    let broken = Instant::now();
    link.pull();
    let ran = apply.finish().exits(4);
    let tried = broken.elapsed();
    assert!((85..120).contains(&tried.as_secs()), "{tried:?}");
    ran.says("reconnecting in 30 s (1 more attempt)")
        .says("reconnecting in 30 s (last attempt)")
        .says("no running container was touched");
}

/// Two at once: one of them waits for its turn, which is reported, and both succeed.
#[test]
fn two_pushes_at_once() {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let (one, other) = (Site::through(&link, &twin), Site::new(&twin));
    for site in [&one, &other] {
        write(site, "1", &[33 * MIB, 34 * MIB]);
    }
    // The rest takes seconds to send: this thread may be late.
    link.slow(6_000_000);
    let first = one.start(&["apply", "--yes"]);
    link.wait_for(40_000_000);
    // However busy this machine is, the first one is still sending when the second one ends.
    link.slow(100_000);
    let second = other.run(&["apply", "--yes"]).exits(7);
    link.slow(0);
    second
        .says("another apply is working on this VPU")
        .says("code: locked")
        .says("nothing was done");
    first.finish().exits(0);
    other.nothing_to_do();
    one.nothing_to_do();
    assert_eq!(version(&twin), "1");
    is_tidy(&twin);
}
