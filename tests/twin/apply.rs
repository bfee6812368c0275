//! First and second applies; images of every kind; resources of others.

use std::{fmt::Write as _, process::Command};

use crate::support::{App, Layout, Packing, Site, TinyImage, Twin, rootfs, run};

#[test]
fn second_apply_has_nothing_to_do() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);

    let plan = site.run(&["plan", "--exit-code"]).exits(2);
    insta::assert_snapshot!("first_plan", site.redact(&plan.stdout));

    let first = site.run(&["apply", "--yes"]).exits(0);
    let matches = "✓ the VPU matches deploy.toml";
    let result = first.stdout.strip_prefix(&plan.stdout).unwrap();
    assert!(
        result.starts_with(&format!("{matches}: 8 created in ")),
        "{result}"
    );
    insta::assert_snapshot!("first_apply", site.redact(&first.stderr));
    app.runs_on(&twin);

    let second = site.run(&["apply", "--yes"]).exits(0);
    insta::assert_snapshot!("second_apply", site.redact(&second.stdout));
    assert_eq!(second.stderr, "");
    let status = "docker inspect -f '{{.Id}} {{.State.StartedAt}}' hello_web_1";
    let before = twin.oem(status);
    site.run(&["plan", "--exit-code"]).exits(0);
    assert_eq!(twin.oem(status), before);
    let third = site.run(&["-q", "apply", "--yes"]).exits(0);
    let nothing = (third.stdout.as_str(), third.stderr.as_str());
    assert_eq!(nothing, (&*format!("{matches}\n"), ""));
}

#[test]
fn next_version_replaces_the_running_one() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    App::new("1.0.0").write(&site);
    site.apply();
    let next = App::new("1.1.0");
    next.write(&site);
    let plan = site.run(&["plan"]).exits(0);
    insta::assert_snapshot!("next_plan", site.redact(&plan.stdout));
    let quiet = site.run(&["-q", "apply", "--yes"]).exits(0);
    let result = "✓ the VPU matches deploy.toml: 1 created, 4 updated in ";
    assert!(quiet.stdout.starts_with(result), "{}", quiet.stdout);
    assert!(
        quiet.stdout.contains("; web was down for "),
        "{}",
        quiet.stdout
    );
    assert_eq!(
        (quiet.stdout.lines().count(), quiet.stderr.as_str()),
        (1, "")
    );
    next.runs_on(&twin);
    site.nothing_to_do();
}

/// An image in this machine's docker, removed when this is dropped.
struct EngineImage(String);

impl EngineImage {
    fn load(site: &Site, version: &str) -> Self {
        let name = format!("o3r-deploy-test-{}:1", std::process::id());
        let path = site.path("engine.tar");
        TinyImage::new(&name, version).write(&path, Layout::Docker, Packing::Plain);
        run(Command::new("docker")
            .args(["load", "--quiet", "--input"])
            .arg(path))
        .exits(0);
        Self(name)
    }
}

impl Drop for EngineImage {
    fn drop(&mut self) {
        let _ = run(Command::new("docker").args(["image", "rm", &self.0]));
    }
}

#[test]
fn images_come_from_every_kind_of_source() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut manifest = "[release]\nname = \"images\"\n".to_owned();
    let mut wanted = vec![];
    let mut declare = |name: String, source: &str| {
        write!(manifest, "[[images]]\nname = \"{name}:1\"\n{source}\n").unwrap();
        wanted.push(name);
    };
    for layout in [Layout::Docker, Layout::Docker25, Layout::Oci] {
        for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
            let name = format!("{layout:?}-{packing:?}").to_lowercase();
            let file = format!("dist/{name}.tar");
            TinyImage::new("called/otherwise:0", &name).write(&site.path(&file), layout, packing);
            declare(name, &format!("archive = \"{file}\""));
        }
    }
    let engine = EngineImage::load(&site, "engine");
    declare("engine".into(), &format!("engine = \"{}\"", engine.0));
    rootfs(&site.path("rootfs.tar"), "rootfs");
    declare(
        "rootfs".into(),
        r#"rootfs = { file = "rootfs.tar", cmd = ["cat", "/version"], env = { PATH = "/bin" } }"#,
    );
    declare("there".into(), "");
    site.manifest(&manifest);

    let blocked = site.run(&["apply", "--yes"]).exits(9);
    blocked
        .says("image.there:1 is blocked: it is not on the VPU, and the manifest names no source")
        .says("code: image-missing");
    assert_eq!(twin.oem("docker image ls -aq"), "");

    twin.oem("mkdir root && cd root && echo there >version && cp --parents /bin/busybox . && ln -s busybox bin/cat && tar -c . | docker import - there:1");
    let before = twin.oem("docker image inspect -f '{{.Id}}' there:1");
    site.apply();
    site.nothing_to_do();
    assert_eq!(
        twin.oem("docker image inspect -f '{{.Id}}' there:1"),
        before
    );
    let loop_ = format!(
        "for name in {}; do docker run --rm --log-driver none $name:1 /bin/cat /version; echo; done",
        wanted.join(" ")
    );
    assert_eq!(
        twin.oem(&loop_).split_whitespace().collect::<Vec<_>>(),
        wanted
    );
    assert_eq!(twin.oem("docker run --rm rootfs:1"), "rootfs");
}

#[test]
fn resources_of_others_are_left_unchanged() {
    let twin = Twin::up();
    twin.oem(
        r#"mkdir -p root/bin other /usr/share/oem/docker/compose/neighbour && cp /bin/busybox root/bin && tar -C root -c . | docker import - foreign:1
        docker volume create foreign
        docker run -d --init --name foreign -v foreign:/data foreign:1 /bin/busybox sleep 10000
        for directory in other /usr/share/oem/docker/compose/neighbour; do
            printf 'version: "2.4"\nservices:\n  web:\n    image: foreign:1\n    init: true\n    command: ["/bin/busybox", "sleep", "10000"]\n    volumes: ["data:/data"]\nvolumes:\n  data:\n' >$directory/docker-compose.yml
            (cd $directory && docker-compose up -d)
        done"#,
    );
    let foreign = || {
        twin.oem(
            "docker inspect -f '{{.Id}} {{.State.StartedAt}} {{.State.Status}}' foreign other_web_1 neighbour_web_1
            docker image inspect -f '{{.Id}} {{.RepoTags}}' foreign:1
            docker volume inspect -f '{{.Name}} {{.Mountpoint}} {{.CreatedAt}}' foreign other_data neighbour_data
            docker network inspect -f '{{.Id}}' other_default neighbour_default",
        )
    };
    let before = foreign();
    let site = Site::new(&twin);
    App::new("1.0.0").write(&site);
    site.apply();
    App::new("1.1.0").write(&site);
    site.apply();
    let mut gone = App::new("1.1.0");
    gone.compose = "state = \"absent\"".to_owned();
    gone.write(&site);
    site.run(&["plan"])
        .exits(0)
        .says("- delete docker-compose.yml");
    site.apply();
    site.run(&["status"])
        .exits(0)
        .says("hello 1.1.0 removed")
        .says("project hello removed");
    assert_eq!(foreign(), before);
}
