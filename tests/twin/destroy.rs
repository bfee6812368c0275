//! The end of a release: all that it made goes, and the VPU no longer lists it.

use crate::{
    status::introduce,
    support::{App, Site, Twin},
};

/// What the release has on the VPU.
const THERE: &str = "ls -d calib logs share old /usr/share/oem/docker/compose/hello 2>/dev/null | tr '\\n' ' '; \
                     docker ps -a --format '{{.Names}} ' ; docker volume ls -q | tr '\\n' ' '; \
                     docker image ls --format '{{.Repository}}:{{.Tag}} ' | tr -d '\\n'; \
                     ls ~/.o3r-deploy/*/ 2>/dev/null | grep hello; true";

/// Writes a release with files, a directory, and a volume that docker-compose creates.
fn write(site: &Site, version: &str, more: &str) {
    let mut app = App::new(version);
    app.more = format!(
        "[[transfers]]\nsrc = \"calib/\"\ndst = \"~/calib\"\n[[directories]]\npath = \"~/old\"\n\
         [[volumes]]\nname = \"logs\"\npath = \"~/logs\"\n{more}"
    );
    app.write(site);
    let path = site.path("docker-compose.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("- share:/share\n", "- share:/share\n      - data:/data\n");
    std::fs::write(path, text.replace("\nvolumes:\n", "\nvolumes:\n  data:\n")).unwrap();
}

#[test]
fn a_release_is_destroyed_and_its_data_only_where_it_is_asked_for() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let before = twin.oem(THERE);
    site.write("calib/a", "a");
    write(&site, "1.0.0", "");
    site.apply();
    // An image that somebody else brought.
    twin.oem("docker tag hello:1.0.0 base:1");
    write(&site, "1.1.0", "[[images]]\nname = \"base:1\"\n");
    site.apply();
    twin.oem("echo log >logs/log; echo log >share/log; docker run --rm -v hello_data:/data hello:1.1.0 sh -c 'echo 1 >/data/file'");

    site.run(&["destroy", "--dry-run"])
        .exits(0)
        .says("- remove  compose.hello")
        .says("- remove  transfer.~/calib")
        .says("- remove  directory.~/old")
        .says("- remove  history.hello")
        .says("other release uses, of: hello:1.0.0, hello:1.1.0")
        .says("volume hello_data")
        .says("is data, and stays; --volumes removes it")
        .says_not("no longer declared");
    site.run(&["destroy"])
        .exits(1)
        .says("skip the confirmation: o3r-deploy destroy hello --yes");
    // A name that somebody else gave to the image stays.
    twin.oem("docker tag hello:1.1.0 mine:1");
    site.run(&["destroy", "--yes"])
        .exits(0)
        .says("release hello is destroyed");
    let names = "docker image inspect -f '{{.RepoTags}}' mine:1";
    assert_eq!(twin.oem(names), "[mine:1]");
    twin.oem("docker image rm mine:1");
    assert_eq!(twin.oem(THERE), "logs share hello_data logs share base:1");
    site.run(&["status"]).says("releases none");
    site.run(&["destroy"])
        .exits(1)
        .says("has nothing that o3r-deploy deployed as hello");

    // The same manifest deploys it again, and finds its data.
    site.apply();
    assert_eq!(twin.oem("cat logs/log"), "log");
    // A container of somebody else uses the image.
    twin.oem("docker run -d --name theirs hello:1.1.0 sleep 1000");
    introduce(&site, &twin);
    std::fs::remove_file(site.path("deploy.toml")).unwrap();
    let host = ["--host", &twin.address];
    let all = ["destroy", "hello", "--volumes", "--yes", "--format", "json"];
    site.run(&[&host[..], &all[..]].concat())
        .exits(0)
        .says(r#""address": "volume.hello_data""#)
        .says(r#""code": "data-goes""#);
    assert_eq!(twin.oem("docker image ls -q hello:1.1.0 | wc -l"), "1");
    twin.oem("docker rm -f theirs; docker image rm hello:1.1.0 base:1");
    assert_eq!(twin.oem(THERE), before);
}
