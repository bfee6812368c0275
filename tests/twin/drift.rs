//! Every kind of drift is found, and nothing else is changed.

use crate::support::{App, Site, Twin};

/// A twin on which the application was applied.
struct Deployed {
    twin: Twin,
    site: Site,
    app: App,
}

impl Deployed {
    fn new(app: App) -> Self {
        let twin = Twin::up();
        let site = Site::new(&twin);
        app.write(&site);
        site.apply();
        Self { twin, site, app }
    }

    /// Returns the service's container, and its start time.
    fn container(&self) -> String {
        self.twin
            .oem("docker inspect -f '{{.Id}} {{.State.StartedAt}}' hello_web_1")
    }

    /// Checks that an apply takes exactly `steps`, after which everything is as declared.
    #[track_caller]
    fn repairs(&self, steps: &[&str]) {
        assert_eq!(self.site.steps(), steps);
        // The apply itself checks that a second plan is empty.
        self.site.apply();
        self.app.runs_on(&self.twin);
        self.twin.has_no_remains();
    }
}

#[test]
fn directory() {
    let vpu = Deployed::new(App::new("1.0.0"));
    let container = vpu.container();

    vpu.twin.oem("rmdir share/logs");
    vpu.repairs(&["create directory.~/share/logs"]);
    assert_eq!(vpu.twin.oem("stat -c %a share/logs"), "775");

    vpu.twin.oem("chmod 700 share/logs");
    vpu.repairs(&["update directory.~/share/logs"]);
    assert_eq!(vpu.twin.oem("stat -c %a share/logs"), "775");
    assert_eq!(vpu.container(), container, "nothing was to be restarted");
}

#[test]
fn volume() {
    let mut vpu = Deployed::new(App::new("1.0.0"));

    vpu.twin
        .oem("docker rm -f hello_web_1 && docker volume rm share");
    vpu.repairs(&["create volume.share", "create compose.hello"]);

    vpu.twin.oem(
        "mkdir elsewhere && docker rm -f hello_web_1 && docker volume rm share &&
         docker volume create -o type=none -o o=bind -o device=$HOME/elsewhere share",
    );
    let blocked = vpu.site.run(&["apply", "--yes"]).exits(9);
    blocked
        .says("a volume of that name exists and differs: it is bound to /home/oem/elsewhere")
        .says("code: volume-differs");
    blocked.says("`replace = true`");
    assert_eq!(
        vpu.twin
            .oem("docker volume inspect -f '{{.Options.device}}' share"),
        "/home/oem/elsewhere"
    );

    vpu.app.volume = "replace = true".to_owned();
    vpu.app.write(&vpu.site);
    vpu.repairs(&["replace volume.share", "create compose.hello"]);
    vpu.twin
        .oem("touch share/here && docker exec hello_web_1 ls /share/here");
}

#[test]
fn volume_moves_under_a_running_container() {
    let mut vpu = Deployed::new(App::new("1.0.0"));
    vpu.app.volume = "replace = true".to_owned();
    vpu.app.write(&vpu.site);
    vpu.site.nothing_to_do();
    let manifest = std::fs::read_to_string(vpu.site.path("deploy.toml")).unwrap();
    vpu.site.write(
        "deploy.toml",
        &manifest.replace("path = \"~/share\"", "path = \"~/share/logs\""),
    );
    vpu.repairs(&[
        "replace volume.share",
        "update compose.hello",
        "update release.hello",
    ]);
    vpu.twin
        .oem("touch share/logs/here && docker exec hello_web_1 ls /share/here");
}

#[test]
fn plain_volume_that_holds_data_is_not_replaced() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    twin.oem("docker volume create share");
    App::new("1.0.0").write(&site);
    let blocked = site.run(&["apply", "--yes"]).exits(9);
    blocked.says("it is a plain local volume, which may hold data");
    assert_eq!(twin.oem("docker ps -aq; ls -a | grep -x share || true"), "");
}

#[test]
fn image() {
    let vpu = Deployed::new(App::new("1.0.0"));
    let container = vpu.container();

    vpu.twin.oem("docker image rm hello:1.0.0");
    vpu.repairs(&["create tag.hello:1.0.0", "update compose.hello"]);

    vpu.twin.oem("echo other | docker import - hello:1.0.0 2>/dev/null || tar -c .bashrc | docker import - hello:1.0.0");
    vpu.repairs(&["update tag.hello:1.0.0", "update compose.hello"]);
    assert_eq!(
        vpu.container(),
        container,
        "the container was of the right image all the time"
    );

    vpu.twin
        .oem("docker rm -f hello_web_1 && docker image rm -f $(docker image ls -aq)");
    vpu.repairs(&[
        "create image.hello:1.0.0",
        "create tag.hello:1.0.0",
        "create compose.hello",
    ]);
}

#[test]
fn container_that_somebody_changed_by_hand() {
    let vpu = Deployed::new(App::new("1.0.0"));
    let container = vpu.container();

    vpu.twin.oem("docker rename hello_web_1 hello.old");
    vpu.repairs(&["update compose.hello"]);
    assert_eq!(vpu.container(), container, "it was renamed and ran on");

    vpu.twin
        .oem("docker network create plant && docker network connect plant hello_web_1");
    let plan = vpu.site.run(&["plan", "--exit-code"]).exits(0);
    plan.says("hello_web_1 is also on the network plant")
        .says("[extra-network]");

    for change in [
        "docker network disconnect hello_default hello_web_1",
        "docker network disconnect hello_default hello_web_1 &&
         docker network connect --alias other hello_default hello_web_1",
    ] {
        vpu.twin.oem(change);
        vpu.repairs(&["update compose.hello"]);
        let aliases = "docker inspect -f '{{json .NetworkSettings.Networks.hello_default.Aliases}}' hello_web_1";
        let aliases = vpu.twin.oem(aliases);
        assert!(aliases.contains("\"web\""), "{aliases}");
    }

    for change in [
        "--cpu-shares 512",
        "--memory 64m --memory-swap 128m",
        "--pids-limit 50",
    ] {
        vpu.twin.oem(&format!("docker update {change} hello_web_1"));
        vpu.repairs(&["update compose.hello"]);
    }
}

#[test]
fn namespace_of_another_service() {
    let mut app = App::new("1.0.0");
    app.services = r#"
  guard:
    image: hello:1.0.0
    command: ["sleep", "99999"]
    stop_signal: SIGKILL
    restart: "no"
    network_mode: service:web
    pid: service:web
"#
    .to_owned();
    let vpu = Deployed::new(app);
    let shares = || {
        let owner = vpu.twin.oem("docker inspect -f '{{.Id}}' hello_web_1");
        let modes =
            "docker inspect -f '{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}}' hello_guard_1";
        let wanted = format!("container:{owner} container:{owner}");
        assert_eq!(vpu.twin.oem(modes), wanted);
    };
    shares();

    // The guard keeps running in a namespace that no other container shares.
    vpu.twin.oem("docker rm -f hello_web_1");
    vpu.repairs(&["update compose.hello"]);
    shares();

    // Docker starts no container in the namespace of a stopped one.
    vpu.twin.oem(
        "docker stop hello_web_1 && docker update --memory 64m --memory-swap 128m hello_guard_1",
    );
    vpu.repairs(&["update compose.hello"]);
    shares();

    // docker-compose only warns if the owner is missing,
    // and its hash of the container does not cover it.
    vpu.twin.oem(
        "cd /usr/share/oem/docker/compose/hello && docker rm -f hello_web_1 hello_guard_1 &&
         docker-compose up -d --no-deps guard && docker-compose up -d",
    );
    let plan = vpu.site.run(&["plan"]).exits(0);
    plan.says("container hello_guard_1: network namespace: its own -> of service web")
        .says("container hello_guard_1: process namespace: its own -> of service web");
    vpu.repairs(&["update compose.hello"]);
    shares();
}

#[test]
fn files_of_a_project() {
    let vpu = Deployed::new(App::new("1.0.0"));
    let project = "/usr/share/oem/docker/compose/hello";

    let container = vpu.container();
    vpu.twin
        .oem(&format!("echo '# edited' >>{project}/docker-compose.yml"));
    vpu.repairs(&[
        "update file.hello/docker-compose.yml",
        "update compose.hello",
    ]);
    assert_eq!(
        vpu.container(),
        container,
        "a comment is no change of the service"
    );

    vpu.twin
        .oem(&format!("sed -i s/web/www/ {project}/docker-compose.yml"));
    vpu.repairs(&[
        "update file.hello/docker-compose.yml",
        "update compose.hello",
    ]);

    for edit in ["echo edited >", "rm "] {
        let container = vpu.container();
        vpu.twin.oem(&format!("{edit}{project}/conf/greeting.txt"));
        let action = if edit == "rm " { "create" } else { "update" };
        vpu.repairs(&[
            &format!("{action} file.hello/conf/greeting.txt"),
            "update compose.hello",
        ]);
        assert_ne!(
            vpu.container(),
            container,
            "a mounted file is seen by a new container only"
        );
    }

    vpu.twin
        .oem(&format!("echo SETTING=edited >{project}/app.env"));
    vpu.repairs(&["update file.hello/app.env", "update compose.hello"]);
    assert_eq!(
        vpu.twin.oem(&format!("stat -c %a {project}/app.env")),
        "600"
    );
    let container = vpu.container();
    vpu.twin.oem(&format!("chmod 644 {project}/app.env"));
    vpu.repairs(&["update file.hello/app.env"]);
    assert_eq!(vpu.container(), container, "a mode changes in place");
    assert_eq!(
        vpu.twin.oem(&format!("stat -c %a {project}/app.env")),
        "600"
    );
}

#[test]
fn containers() {
    let vpu = Deployed::new(App::new("1.0.0"));
    vpu.twin.oem("docker stop hello_web_1");
    vpu.repairs(&["update compose.hello"]);
    vpu.twin.oem("docker pause hello_web_1");
    vpu.repairs(&["update compose.hello"]);
    vpu.twin.oem("docker rm -f hello_web_1");
    vpu.repairs(&["create compose.hello"]);
    // Someone else's `up` from the same files, which docker-compose's own hash shows.
    vpu.twin
        .oem("cd /usr/share/oem/docker/compose/hello && docker-compose up -d --force-recreate");
    vpu.site.nothing_to_do();
    // And from other files, which are reverted: the container is from those.
    vpu.twin.oem(
        "cd /usr/share/oem/docker/compose/hello && cp -p app.env ~ && echo SETTING=edited >app.env && \
         docker-compose up -d && cp -p ~/app.env app.env && rm ~/app.env",
    );
    vpu.repairs(&["update compose.hello"]);
}

#[test]
fn container_that_docker_does_not_restart() {
    let mut app = App::new("1.0.0");
    app.restart = "no".to_owned();
    let vpu = Deployed::new(app);
    vpu.twin.oem("docker kill hello_web_1");
    let plan = vpu.site.run(&["plan"]).exits(0);
    plan.says("container hello_web_1: exited with exit code 137 -> running");
    vpu.repairs(&["update compose.hello"]);
}

#[test]
fn states() {
    let mut vpu = Deployed::new(App::new("1.0.0"));
    let status = || {
        vpu.twin
            .oem("docker inspect -f '{{.State.Status}}' hello_web_1")
    };
    assert_eq!(status(), "running");

    vpu.app.compose = "state = \"stopped\"".to_owned();
    vpu.app.write(&vpu.site);
    assert_eq!(
        vpu.site.steps(),
        ["update compose.hello", "update release.hello"]
    );
    vpu.site.apply();
    vpu.site.nothing_to_do();
    assert_eq!(status(), "exited");

    vpu.app.compose = String::new();
    vpu.app.write(&vpu.site);
    vpu.repairs(&["update compose.hello", "update release.hello"]);

    vpu.app.compose = "state = \"absent\"".to_owned();
    vpu.app.write(&vpu.site);
    assert_eq!(
        vpu.site.steps(),
        [
            "remove compose.hello",
            "update release.hello",
            "remove containers.hello"
        ]
    );
    let directory = "/usr/share/oem/docker/compose/hello";
    vpu.twin.oem(&format!("echo x >{directory}/theirs"));
    let applied = vpu.site.apply();
    applied.says("hello stays").says("theirs");
    vpu.twin.oem(&format!("rm -r {directory}"));
    vpu.site.nothing_to_do();
    assert_eq!(
        vpu.twin
            .oem("docker ps -aq; docker volume ls -q; ls /usr/share/oem/docker/compose"),
        "share"
    );

    // From no containers to stopped ones.
    vpu.app.compose = "state = \"stopped\"".to_owned();
    vpu.app.write(&vpu.site);
    vpu.site.apply();
    vpu.site.nothing_to_do();
    assert_eq!(
        vpu.twin
            .oem("docker inspect -f '{{.State.Status}}' hello_web_1"),
        "created"
    );
}

#[test]
fn service_that_is_no_longer_in_the_compose_file() {
    let mut app = App::new("1.0.0");
    app.services =
        "  other:\n    image: hello:1.0.0\n    init: true\n    command: [\"sleep\", \"10000\"]\n"
            .to_owned();
    let mut vpu = Deployed::new(app);
    vpu.twin.oem("docker inspect hello_other_1");
    let container = vpu.container();
    vpu.app.services = String::new();
    vpu.app.write(&vpu.site);
    vpu.repairs(&[
        "update file.hello/docker-compose.yml",
        "update compose.hello",
        "update release.hello",
        "remove containers.hello",
    ]);
    assert_eq!(
        vpu.twin.oem("docker ps -a --format '{{.Names}}'"),
        "hello_web_1"
    );
    assert_eq!(
        vpu.container(),
        container,
        "the other service had not changed"
    );
}
