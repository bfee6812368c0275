//! Only the layers that the VPU lacks are sent, and docker makes the same image of them.

use crate::support::{App, Layout, Packing, Site, TinyImage, Twin};

/// Writes a manifest of one image, `hello` of that version, without a project.
fn write(site: &Site, version: &str, layout: Layout) {
    site.manifest(
        "[release]\nname = \"hello\"\n[[images]]\nname = \"hello:1\"\narchive = \"hello.tar\"\n",
    );
    let image = TinyImage::new("hello:1", version);
    image.write(&site.path("hello.tar"), layout, Packing::Plain);
}

/// Returns docker's description of the image, to compare with that of a plain `docker load`.
fn identity(twin: &Twin, name: &str) -> String {
    twin.oem(&format!(
        "docker image inspect -f '{{{{.Id}}}} {{{{json .RootFS}}}} {{{{json .Config}}}}' {name}"
    ))
}

#[test]
fn next_release_sends_only_its_own_layer() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    App::new("1.0.0").write(&site);
    site.apply();
    let next = App::new("1.1.0");
    next.write(&site);
    let plan = site.run(&["plan"]).exits(0);
    plan.says("load, 1 of 2 layers missing, 3.62 KiB of");
    site.apply();
    next.runs_on(&twin);
    site.nothing_to_do();

    // A plain `docker load` gives the same image.
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
    // All images are removed at the moment when docker is to load the next one.
    twin.root("mv /usr/bin/docker /usr/bin/docker.real");
    twin.root(
        r#"printf '%s\n' '#!/bin/sh' 'if [ "$1" = load ] && ! [ -e /tmp/once ]; then' 'touch /tmp/once' 'docker.real image ls -aq | xargs docker.real image rm -f >/dev/null 2>&1' 'fi' 'exec docker.real "$@"' >/usr/bin/docker; chmod 755 /usr/bin/docker"#,
    );
    let ran = site.apply();
    ran.says("update image.hello:1 failed (has the VPU changed")
        .says("sending the full data");
    assert!(site.logs().contains("no such file or directory"));
    site.nothing_to_do();
}

/// For a wrong byte anywhere in the archive: either docker
/// has exactly that image, or nothing changed.
#[test]
fn damaged_anywhere() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    write(&site, "1.0.0", Layout::Docker);
    site.apply();
    write(&site, "1.1.0", Layout::Docker);
    let good = std::fs::read(site.path("hello.tar")).unwrap();
    let images = "docker image ls -aq --no-trunc; ls -A ~/.o3r-deploy/arriving 2>/dev/null; true";
    let before = twin.oem(images);
    let (mut refused, mut applied) = (0, 0);
    for part in 0..10 {
        let mut bytes = good.clone();
        // Members begin at multiples of 512, so that headers, contents and padding are all hit.
        let at = good.len() / 10 * part + part * 37;
        bytes[at] ^= 0x41;
        std::fs::write(site.path("hello.tar"), &bytes).unwrap();
        let ran = site.run(&["apply", "--yes"]);
        if ran.code == Some(0) {
            applied += 1;
            let version = twin.oem("docker run --rm --network none hello:1 cat /version");
            assert_eq!(version, "1.1.0", "byte {at}");
            twin.oem("docker image ls -aq | sort -u | xargs docker image rm -f");
            twin.oem("rm -rf ~/.o3r-deploy");
            write(&site, "1.0.0", Layout::Docker);
            site.apply();
        } else {
            refused += 1;
            assert!(matches!(ran.code, Some(1 | 4)), "byte {at}: {ran:?}");
            assert_eq!(twin.oem(images), before, "byte {at}: {ran:?}");
        }
    }
    assert!(refused > 0, "{applied} applied");
}

#[test]
fn damaged_cache() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    App::new("1.0.0").write(&site);
    site.apply();
    let layers = site.path("home/.cache/o3r-deploy/layers");
    let mut damaged = 0;
    for entry in std::fs::read_dir(&layers).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        damaged += 1;
    }
    assert!(damaged > 0);
    twin.oem("docker rm -f hello_web_1; docker image ls -aq | sort -u | xargs docker image rm -f");
    let ran = site.apply();
    ran.says("damaged, removed from the cache");
    App::new("1.0.0").runs_on(&twin);
    site.nothing_to_do();
}
