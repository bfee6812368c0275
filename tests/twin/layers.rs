//! Of an image only what the VPU lacks is sent; what docker makes of it is the same image.

use crate::support::{App, Layout, Packing, Site, TinyImage, Twin};

/// A manifest of one image, `hello` of that version, without a project.
fn write(site: &Site, version: &str, layout: Layout) {
    site.manifest(
        "[release]\nname = \"hello\"\n[[images]]\nname = \"hello:1\"\narchive = \"hello.tar\"\n",
    );
    let image = TinyImage::new("hello:1", version);
    image.write(&site.path("hello.tar"), layout, Packing::Plain);
}

/// What docker says of the image that a plain `docker load` makes of the archive on another twin.
fn identity(twin: &Twin, name: &str) -> String {
    twin.oem(&format!(
        "docker image inspect -f '{{{{.Id}}}} {{{{json .RootFS}}}} {{{{json .Config}}}}' {name}"
    ))
}

#[test]
fn next_release_sends_its_own_layer_only() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    App::new("1.0.0").write(&site);
    site.apply();
    let next = App::new("1.1.0");
    next.write(&site);
    let plan = site.run(&["plan"]).exits(0);
    plan.says("load, 1 of 2 layers missing, 4.00 KiB of");
    site.apply();
    next.runs_on(&twin);
    site.nothing_to_do();

    // It is the image that a plain `docker load` makes.
    let ours = identity(&twin, "hello:1.1.0");
    twin.oem("docker rm -f hello_web_1; docker image ls -aq | xargs docker image rm -f");
    twin.copy(&site.path("dist"), "dist");
    twin.oem("docker load -qi dist/hello-1.1.0.tar");
    assert_eq!(identity(&twin, "hello:1.1.0"), ours);
}

#[test]
fn every_layout_sends_what_is_missing() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    write(&site, "1.0.0", Layout::Docker);
    site.apply();
    for (version, layout) in [
        ("1.1.0", Layout::Docker),
        ("1.2.0", Layout::Docker25),
        ("1.3.0", Layout::Oci),
    ] {
        write(&site, version, layout);
        let plan = site.run(&["plan"]).exits(0);
        plan.says("load, 1 of 2 layers missing");
        site.apply();
        site.nothing_to_do();
    }
}

#[test]
fn layer_that_vanishes_between_plan_and_load() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    write(&site, "1.0.0", Layout::Docker);
    site.apply();
    write(&site, "1.1.0", Layout::Docker);
    site.run(&["plan"])
        .exits(0)
        .says("load, 1 of 2 layers missing");
    // All images go in the moment when docker is to load the next one.
    twin.root("mv /usr/bin/docker /usr/bin/docker.real");
    twin.root(
        r#"printf '%s\n' '#!/bin/sh' 'if [ "$1" = load ] && ! [ -e /tmp/once ]; then' 'touch /tmp/once' 'docker.real image ls -aq | xargs docker.real image rm -f >/dev/null 2>&1' 'fi' 'exec docker.real "$@"' >/usr/bin/docker; chmod 755 /usr/bin/docker"#,
    );
    let ran = site.apply();
    ran.says("update image.hello:1 failed that way")
        .says("now whole");
    assert!(site.logs().contains("no such file or directory"));
    site.nothing_to_do();
}
