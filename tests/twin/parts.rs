//! Large images are sent in parts; what has arrived is not sent again.

use std::{thread::sleep, time::Duration};

use crate::support::{Layout, Link, Packing, Site, TinyImage, Twin};

const MIB: usize = 1 << 20;

/// Writes a manifest of one image, `big:1`, with layers of
/// these sizes in bytes; returns the size of its archive.
fn write(site: &Site, fillers: &[usize]) -> u64 {
    write_manifest(site);
    write_image(site, TinyImage::new("big:1", "1"), fillers)
}

/// The same with layers that compress to little more than a half.
fn write_text(site: &Site, fillers: &[usize]) -> u64 {
    write_manifest(site);
    write_image(site, TinyImage::new("big:1", "1").of_text(), fillers)
}

fn write_manifest(site: &Site) {
    site.manifest(
        "[release]\nname = \"big\"\n[[images]]\nname = \"big:1\"\narchive = \"dist/big.tar\"\n",
    );
}

fn write_image(site: &Site, image: TinyImage, fillers: &[usize]) -> u64 {
    let image = fillers
        .iter()
        .fold(image, |image, bytes| image.filled(*bytes));
    let path = site.path("dist/big.tar");
    image.write(&path, Layout::Docker, Packing::Plain);
    std::fs::metadata(path).unwrap().len()
}

const INSPECT: &str =
    "docker image inspect -f '{{.Id}} {{json .RootFS}} {{json .Config}} {{.RepoTags}}'";

/// Checks that only the image is there, as after a plain `docker load`, and works.
fn is_whole(site: &Site, twin: &Twin) {
    assert_eq!(
        twin.oem("ls -A ~/.o3r-deploy/arriving 2>/dev/null; true"),
        ""
    );
    let ours = twin.oem(&format!("{INSPECT} $(docker image ls -aq --no-trunc)"));
    assert!(ours.contains("[big:1 "), "{ours}");
    let sums = "docker run --rm --network none big:1 sh -c 'sha256sum /filler* /version'";
    let content = twin.oem(sums);
    twin.oem("docker image ls -q --no-trunc | sort -u | xargs docker image rm -f");
    twin.copy(&site.path("dist"), "dist");
    twin.oem("docker load -qi dist/big.tar");
    let plain = twin.oem(&format!("{INSPECT} big:1"));
    let until = |text: &str| text.split(" [big:1").next().unwrap().to_owned();
    assert_eq!(until(&ours), until(&plain));
    assert_eq!(content, twin.oem(sums));
}

#[test]
fn parts_make_the_whole_image() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    write(&site, &[33 * MIB, 34 * MIB, MIB]);
    site.apply().says(" MiB unpacked)");
    let logs = site.logs();
    assert!(logs.contains("o3r-forget-parts o3r-deploy-part:"), "{logs}");
    site.nothing_to_do();
    is_whole(&site, &twin);
}

/// The cable is pulled repeatedly; in total, hardly more is sent than the archive's size.
#[test]
fn cut_at_many_offsets_and_resumed() {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    let bytes = write(&site, &[18 * MIB]);
    link.slow(1_200_000);
    let apply = site.start(&["apply", "--yes"]);
    for twentieth in [1, 7, 13, 18] {
        link.wait_for(bytes * twentieth / 20);
        link.cut();
    }
    let ran = apply.finish().exits(0);
    ran.says("connection to the VPU lost; reconnecting in 1 s")
        .says("reconnected");
    let sent = link.sent();
    // Bytes in flight when the connection is lost are lost each time, and connecting sends some.
    assert!(sent < bytes + bytes / 4, "{sent} of {bytes} bytes");
    site.nothing_to_do();
    is_whole(&site, &twin);
}

/// With zstd on both sides, in parts, with a lost connection.
#[test]
fn zstd_if_the_vpu_has_it() {
    let twin = Twin::up();
    twin.root("ln -s /usr/lib/o3r-twin/zstd /usr/bin/zstd");
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    let bytes = write(&site, &[33 * MIB, 18 * MIB]);
    link.slow(4_000_000);
    let apply = site.start(&["apply", "--yes", "-v"]);
    link.wait_for(bytes * 9 / 10);
    link.cut();
    let ran = apply.finish().exits(0);
    ran.says("layers are sent compressed with zstd")
        .says("[link-speed]")
        .says("reconnected");
    // For anything that takes longer than 10 s, the progress is reported.
    ran.says(" MiB unpacked), ").says(" left, layer ");
    assert!(site.logs().contains("o3r-load-zstd"));
    let sent = link.sent();
    assert!(sent < bytes + bytes / 4, "{sent} of {bytes} bytes");
    site.nothing_to_do();
    is_whole(&site, &twin);
}

/// An apply that was ended is resumed by the next one.
#[test]
fn next_apply_resumes() {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    let bytes = write(&site, &[18 * MIB]);
    link.slow(1_200_000);
    let apply = site.start(&["apply", "--yes"]);
    link.wait_for(bytes / 2);
    apply.signal("KILL");
    drop(apply.finish());
    twin.power_cut();
    let plan = site.run(&["plan"]).exits(0);
    plan.says("already transferred");
    let start = link.sent();
    site.apply();
    let sent = link.sent() - start;
    assert!(sent < bytes * 3 / 4, "{sent} of {bytes} bytes");
    site.nothing_to_do();
    is_whole(&site, &twin);
}

/// Nothing is compressed before it is sent, and the image is the same nevertheless.
#[test]
fn compressed_while_it_is_sent() {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    let bytes = write_text(&site, &[60 * MIB, 40 * MIB, MIB]);
    link.slow(5_000_000);
    let apply = site.start(&["apply", "--yes"]);
    // Docker may take any time to load the first part.
    link.wait_for(bytes / 3);
    twin.oem("until docker image ls | grep -q o3r-deploy-part; do sleep 0.2; done");
    link.cut();
    let ran = apply.finish().exits(0);
    ran.says(" layers missing, about ").says("reconnected");
    // Nothing is kept of the second part, and the first, which is loaded, is not sent again:
    // compressed, each is little more than half as large.
    let sent = link.sent();
    assert!(sent < bytes * 5 / 6, "{sent} of {bytes} bytes");
    site.nothing_to_do();
    is_whole(&site, &twin);
}

/// What arrived of a layer that was compressed while it was sent is a prefix of the layer
/// compressed beforehand.
#[test]
fn next_apply_resumes_what_was_compressed_while_it_was_sent() {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    let bytes = write_text(&site, &[36 * MIB]);
    link.slow(1_200_000);
    let apply = site.start(&["apply", "--yes"]);
    link.wait_for(bytes / 4);
    apply.signal("KILL");
    drop(apply.finish());
    twin.power_cut();
    let plan = site.run(&["plan"]).exits(0);
    plan.says("already transferred");
    plan.says_not("about");
    let start = link.sent();
    site.apply();
    let sent = link.sent() - start;
    assert!(sent < bytes * 2 / 5, "{sent} of {bytes} bytes");
    site.nothing_to_do();
    is_whole(&site, &twin);
}

#[test]
fn interrupt_while_the_link_is_broken() {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    write(&site, &[18 * MIB]);
    link.slow(1_200_000);
    let mut apply = site.start(&["apply", "--yes"]);
    link.wait_for(4_000_000);
    link.pull();
    assert!(apply.wait_for("reconnecting in 4 s (4 more attempts)"));
    sleep(Duration::from_millis(100));
    apply.signal("INT");
    let ran = apply.finish().exits(130);
    ran.says("interrupted while waiting to reconnect")
        .says("run `apply` again");
}
