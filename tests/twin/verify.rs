//! Files of images that are damaged on the VPU's disk, as a power cut leaves them: found, and repaired.

use crate::support::{App, Layout, Packing, Site, TinyImage, Twin};

/// Sets `layer` to the directory of the layer of $image that has $file.
const FIND: &str = "layer=; for dir in $(docker image inspect \
    -f '{{.GraphDriver.Data.UpperDir}}:{{.GraphDriver.Data.LowerDir}}' $image | tr ':' ' '); do \
    if [ -e \"$dir/$file\" ]; then layer=$dir; fi; done; [ -n \"$layer\" ]";

/// Damages a file of an image below docker.
fn damage(twin: &Twin, image: &str, file: &str, how: &str) {
    twin.root(&format!(
        "image={image} file=\"{file}\"; {FIND} && cd \"$layer\" && {how}"
    ));
}

/// The application with files in a layer below its version.
fn app(version: &str, site: &Site) -> App {
    let app = App::new(version);
    app.write_files(site);
    let image = app.image().with_files(20, 4000, None);
    let path = site.path(&format!("dist/hello-{version}.tar"));
    image.write(&path, Layout::Docker, Packing::Plain);
    app
}

const SUM: &str = "docker exec hello_web_1 sh -c 'cat /files/* | sha256sum'";

#[test]
fn damaged_files_are_found_and_repaired() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = app("1.0.0", &site);
    site.apply();
    let status = site.run(&["status", "--verify", "--exit-code"]).exits(0);
    status.says("files are as in its source");
    let whole = twin.oem(SUM);
    damage(
        &twin,
        "hello:1.0.0",
        "files/it's 1",
        "truncate -s 0 \"$file\"",
    );
    damage(&twin, "hello:1.0.0", "files/it's 2", "rm \"$file\"");
    damage(&twin, "hello:1.0.0", "files/it's 3", "chmod 600 \"$file\"");
    twin.root("docker run -d --name foreign --restart always hello:1.0.0 sleep 1000");
    assert_ne!(twin.oem(SUM), whole);
    // Without the option, what docker believes counts.
    site.nothing_to_do();
    let status = site.run(&["status", "--verify", "--exit-code"]).exits(2);
    status
        .says("hello:1.0.0  2 of")
        .says("/files/it's 1: empty (layer ")
        .says("/files/it's 2: missing (layer ")
        .says("because of image.hello:1.0.0");
    let json = site
        .run(&["status", "--verify", "--format", "json"])
        .exits(0);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let damaged = &json["verified"]["hello:1.0.0"]["damaged"];
    assert_eq!(damaged[0]["path"], "files/it's 1");
    assert_eq!(damaged[1]["found"], "missing");
    let plan = site.run(&["plan", "--verify"]).exits(0);
    plan.says("update  image.hello:1.0.0")
        .says("/files/it's 1: empty on the VPU -> as in its source")
        .says("update  compose.hello");
    let foreign = twin.oem("docker inspect -f '{{.State.StartedAt}}' foreign");
    site.run(&["apply", "--verify", "--yes"]).exits(0);
    assert_eq!(twin.oem(SUM), whole);
    app.runs_on(&twin);
    site.nothing_to_do();
    site.run(&["plan", "--verify", "--exit-code"]).exits(0);
    assert_eq!(
        twin.oem("docker inspect -f '{{.State.StartedAt}}' foreign"),
        foreign
    );
    assert_eq!(
        twin.oem("docker ps -aq --filter name=o3r-deploy; ls .o3r-deploy/verify 2>/dev/null; true"),
        ""
    );
    twin.has_no_remains();
}

/// The program that would compare the files is damaged itself.
#[test]
fn a_damaged_shell_is_found_and_repaired() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = app("1.0.0", &site);
    site.apply();
    for how in [
        "truncate -s 0 bin/busybox",
        "truncate -s 9000 bin/busybox",
        "rm bin/busybox",
    ] {
        damage(&twin, "hello:1.0.0", "bin/busybox", how);
        site.run(&["status", "--verify", "--exit-code"])
            .exits(2)
            .says("/bin/busybox: ");
        site.run(&["apply", "--verify", "--yes"]).exits(0);
        app.runs_on(&twin);
        site.run(&["status", "--verify", "--exit-code"]).exits(0);
    }
    twin.has_no_remains();
}

/// The files are copied out of the image, as nothing in it can be run.
#[test]
fn an_image_without_a_shell() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    site.manifest(
        "[release]\nname = \"bare\"\n\n[[images]]\nname = \"bare:1\"\narchive = \"bare.tar\"\n",
    );
    let image = TinyImage::new("bare:1", "1")
        .without_shell()
        .with_files(9, 5000, None);
    image.write(&site.path("bare.tar"), Layout::Docker, Packing::Gzip);
    site.apply();
    let status = site.run(&["status", "--verify"]).exits(0);
    status.says("bare:1  10 files are as in its source");
    damage(
        &twin,
        "bare:1",
        "files/it's 8",
        "printf xyz | dd conv=notrunc status=none of=\"$file\"",
    );
    let status = site.run(&["status", "--verify", "--exit-code"]).exits(2);
    status
        .says("bare:1  1 of 10 files is damaged")
        .says("/files/it's 8: differs");
    site.run(&["apply", "--verify", "--yes"]).exits(0);
    site.run(&["status", "--verify", "--exit-code"]).exits(0);
    assert_eq!(
        twin.oem("ls .o3r-deploy/verify 2>/dev/null; docker ps -aq; true"),
        ""
    );
}

/// A base layer is damaged, and a release brings a new layer above it.
#[test]
fn a_release_on_damaged_layers_never_runs() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    app("1.0.0", &site);
    site.apply();
    let whole = twin.oem(SUM);
    damage(
        &twin,
        "hello:1.0.0",
        "files/it's 1",
        "truncate -s 0 \"$file\"",
    );
    let new = app("1.1.0", &site);
    let started = twin.oem("docker inspect -f '{{.State.StartedAt}}' hello_web_1");
    let ran = site.run(&["apply", "--verify", "--yes"]).exits(4);
    ran.says("no running container was touched")
        .says("in a layer that docker had before: /files/it's 1 (in all: 1)");
    assert_eq!(
        twin.oem("docker inspect -f '{{.State.StartedAt}}' hello_web_1"),
        started
    );
    site.run(&["plan", "--verify"])
        .exits(0)
        .says("/files/it's 1: empty");
    site.run(&["apply", "--verify", "--yes"]).exits(0);
    new.runs_on(&twin);
    assert_eq!(twin.oem(SUM), whole);
    twin.has_no_remains();
}

/// What a power cut in the middle of `docker load` leaves: the note of the load, and a damaged file.
#[test]
fn images_are_compared_after_a_load_that_a_power_cut_interrupted() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = app("1.0.0", &site);
    site.apply();
    assert_eq!(twin.oem("ls .o3r-deploy/loading 2>/dev/null; true"), "");
    damage(
        &twin,
        "hello:1.0.0",
        "files/it's 1",
        "truncate -s 0 \"$file\"",
    );
    twin.oem("mkdir .o3r-deploy/loading; : >.o3r-deploy/loading/an-earlier-boot.1");
    let status = site.run(&["status"]).exits(0);
    status.says("the files of images: not known: in doubt after a power cut");
    assert_eq!(
        site.steps(),
        [
            "update image.hello:1.0.0",
            "update compose.hello",
            "update vpu.images"
        ]
    );
    site.apply();
    app.runs_on(&twin);
    assert_eq!(twin.oem("ls .o3r-deploy/loading 2>/dev/null; true"), "");
}

/// What a power cut in the middle of `docker load` can leave, too: an image that docker lists and cannot inspect.
#[test]
fn an_image_that_docker_cannot_inspect_is_loaded_again() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    app("1.0.0", &site);
    site.apply();
    let new = app("1.1.0", &site);
    twin.copy(&site.path("dist"), "dist");
    twin.oem("docker load -q -i dist/hello-1.1.0.tar");
    damage(&twin, "hello:1.1.0", "version", "truncate -s 0 ../lower");
    twin.oem("! docker image inspect hello:1.1.0 2>/dev/null");
    let applied = site.apply();
    applied.says("images on the VPU are in doubt after a power cut");
    new.runs_on(&twin);
    site.nothing_to_do();
    twin.has_no_remains();
}

/// The same with a part of an image that an interrupted apply had loaded, under a name of ours, and with an image of others.
#[test]
fn a_damaged_part_of_an_image_is_removed_and_an_image_of_others_is_not() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let one = app("1.0.0", &site);
    site.apply();
    for (version, name) in [
        ("0.1.0", "o3r-deploy-part:06f92848e392"),
        ("0.2.0", "theirs:1"),
    ] {
        app(version, &site);
        twin.copy(&site.path("dist"), "dist");
        twin.oem(&format!("docker load -q -i dist/hello-{version}.tar"));
        twin.oem(&format!(
            "docker tag hello:{version} {name} && docker rmi hello:{version}"
        ));
        damage(&twin, name, "version", "truncate -s 0 ../lower");
        twin.oem(&format!("! docker image inspect {name} 2>/dev/null"));
    }
    one.write(&site);
    let applied = site.apply();
    applied
        .says("images on the VPU are in doubt after a power cut")
        .says("remove  image.damaged");
    let left = twin.oem("docker image ls --format '{{.Repository}}:{{.Tag}}'");
    assert!(!left.contains("o3r-deploy-part"), "{left}");
    assert!(left.contains("theirs:1"), "{left}");
    one.runs_on(&twin);
    site.nothing_to_do();
}
