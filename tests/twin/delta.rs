//! Of a large layer with few changes, only these are sent:
//! the rest is copied on the VPU from the previous image.

use crate::support::{Layout, Link, Packing, Site, TinyImage, Twin};

/// Writes a manifest of one image, `app:1`, of 400 files, one of which changes in the next release.
fn write(site: &Site, version: &str, changed: Option<usize>) -> u64 {
    let image = TinyImage::new("app:1", version);
    write_image(site, &image.with_files(400, 30_000, changed))
}

fn write_image(site: &Site, image: &TinyImage) -> u64 {
    site.manifest(
        "[release]\nname = \"app\"\n[[images]]\nname = \"app:1\"\narchive = \"dist/app.tar\"\n",
    );
    let path = site.path("dist/app.tar");
    image.write(&path, Layout::Docker, Packing::Plain);
    std::fs::metadata(path).unwrap().len()
}

const INSPECT: &str = "docker image inspect -f '{{.Id}} {{json .RootFS}} {{json .Config}}' app:1";

/// Checks that the image is the same as after a plain `docker load`, and that nothing else is left.
fn is_whole(site: &Site, twin: &Twin) {
    let left = "rmdir ~/.o3r-deploy/arriving 2>/dev/null; ls -A ~/.o3r-deploy | grep -vxE \"attempts|generations|store\"; docker ps -aq";
    assert_eq!(twin.oem(left), "compose-version\nreleases");
    let ours = twin.oem(INSPECT);
    let save = "docker save app:1 | tar -xO --wildcards '*/layer.tar' | sha256sum";
    let bytes = twin.oem(save);
    twin.oem("docker image ls -q --no-trunc | sort -u | xargs docker image rm -f");
    twin.copy(&site.path("dist"), "dist");
    twin.oem("docker load -qi dist/app.tar");
    assert_eq!(ours, twin.oem(INSPECT));
    assert_eq!(bytes, twin.oem(save));
}

#[test]
fn one_changed_file_costs_little() {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    let bytes = write(&site, "1", None);
    link.slow(1_000_000);
    site.apply();
    write(&site, "2", Some(7));
    let plan = site.run(&["plan", "-v"]).exits(0);
    plan.says("built on the VPU from app:1")
        .says("delta against app:1")
        .says("[delta-used]");
    let before = link.sent();
    let ran = site.apply();
    ran.says_not("has the VPU changed since the plan?");
    let sent = link.sent() - before;
    // The link is measured with a quarter of a megabyte, which
    // takes clearly longer than the noise of a busy machine.
    assert!(sent < 300_000 + bytes / 50, "{sent} of {bytes} bytes");
    site.nothing_to_do();
    is_whole(&site, &twin);
}

/// The files are copied out of the old image, as nothing in it can be run.
#[test]
fn an_image_without_a_shell() {
    without_shell(400, 30_000);
}

/// If there are few files, each is copied out separately.
#[test]
fn an_image_without_a_shell_of_few_files() {
    without_shell(9, 1_300_000);
}

fn without_shell(files: usize, each: usize) {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    let image = |version, changed| {
        let image = TinyImage::new("app:1", version).without_shell();
        image.with_files(files, each, changed)
    };
    write_image(&site, &image("1", None));
    // It is sent uncompressed, is not cached on this machine, and is listed while it is sent.
    site.apply();
    link.slow(1_000_000);
    let bytes = write_image(&site, &image("2", Some(7)));
    let plan = site.run(&["plan", "-v"]).exits(0);
    plan.says("delta against app:1");
    let before = link.sent();
    site.apply().says_not("has the VPU changed since the plan?");
    let sent = link.sent() - before;
    let most = each as u64 + 300_000 + bytes / 50;
    assert!(sent < most, "{sent} of {bytes} bytes");
    site.nothing_to_do();
    is_whole(&site, &twin);
}

#[test]
fn an_old_image_that_vanishes_after_the_plan() {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    write(&site, "1", None);
    site.apply();
    // So slow that the layers are not compressed for it before they are needed.
    link.slow(500_000);
    write(&site, "2", Some(7));
    site.run(&["plan", "-v"])
        .exits(0)
        .says("delta against app:1")
        .says(" instead of ");
    // It is removed at the moment when docker is asked whether it exists.
    twin.root("mv /usr/bin/docker /usr/bin/docker.real");
    twin.root(
        r#"printf '%s\n' '#!/bin/sh' 'case "$*" in "image inspect --format {{.Id}} sha256:"*)' 'docker.real image ls -aq | xargs docker.real image rm -f >/dev/null 2>&1 ;; esac' 'exec docker.real "$@"' >/usr/bin/docker; chmod 755 /usr/bin/docker"#,
    );
    let ran = site.apply();
    ran.says("has the VPU changed since the plan?");
    twin.root("mv /usr/bin/docker.real /usr/bin/docker");
    site.nothing_to_do();
    is_whole(&site, &twin);
}
