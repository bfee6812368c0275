//! Containers of which the VPU has no record, as after a firmware update that erased the home directory.

use crate::support::{App, Profile, Site, Twin};

const RUNS: &str = "docker inspect -f '{{.Name}} {{.Id}} {{.State.StartedAt}}' hello_side_1";

/// An application with a second service, which mounts no files.
fn app(version: &str) -> App {
    let mut app = App::new(version);
    app.services = format!(
        "  side:\n    image: hello:{version}\n    command: sleep 1000\n    init: true\n    environment: {{SETTING: '{version}'}}\n"
    );
    app
}

/// The profiles have docker-compose 1.29 and 1.25.
fn containers_stay_and_the_release_is_kept_again(twin: &Twin) {
    let site = Site::new(twin);
    let [one, two] = ["1.0.0", "2.0.0"].map(app);
    one.write(&site);
    site.apply();
    let before = twin.oem(RUNS);
    twin.oem("rm -rf ~/.o3r-deploy");
    site.run(&["status"])
        .exits(0)
        .says("hello  its record is gone, as after a firmware update")
        .says_not("is not deployed yet");
    site.run(&["rollback", "--yes"])
        .exits(1)
        .says("docker has images of hello, and there is no record of it")
        .says("apply its manifest: that rebuilds the record");
    site.run(&["history"])
        .exits(0)
        .says("docker has images of hello, and there is no record of it");
    let json = site.run(&["history", "--format", "json"]).exits(0);
    json.says("\"without_record\": [\n    \"hello\"\n  ]");
    // What a process has read of files is not known; all else is compared by docker-compose.
    site.run(&["plan"])
        .exits(0)
        .says("containers: no record of what they were started from -> recorded")
        .says("recreates web");
    site.apply();
    assert_eq!(twin.oem(RUNS), before, "side was not touched");
    one.runs_on(twin);
    site.nothing_to_do();

    two.write(&site);
    site.apply();
    site.run(&["rollback", "--yes"]).exits(0);
    one.runs_on(twin);

    // A container that differs from its definition is recreated by docker-compose.
    twin.oem(
        "rm -rf ~/.o3r-deploy; cd /usr/share/oem/docker/compose/hello; cp docker-compose.yml kept; \
         sed -i 's/sleep 1000/sleep 2000/' docker-compose.yml; docker-compose up -d side; mv kept docker-compose.yml",
    );
    one.write(&site);
    site.apply();
    let command = twin.oem("docker inspect -f '{{json .Config.Cmd}}' hello_side_1");
    assert_eq!(command, r#"["sleep","1000"]"#);
    site.nothing_to_do();
}

#[test]
fn containers_without_a_record_stay() {
    containers_stay_and_the_release_is_kept_again(&Twin::up());
}

#[test]
fn containers_without_a_record_stay_with_docker_compose_1_25() {
    containers_stay_and_the_release_is_kept_again(&Twin::of(Profile::Fw1_1_30));
}
