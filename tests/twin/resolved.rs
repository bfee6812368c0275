//! docker-compose on the VPU checks its files before anything is touched.

use crate::support::{App, Profile, Site, Twin};

/// Returns the IDs of the project's containers.
fn containers(twin: &Twin) -> String {
    twin.oem("docker ps -q --no-trunc --filter label=com.docker.compose.project=hello")
}

fn env_of(twin: &Twin, variable: &str) -> String {
    twin.oem(&format!("docker exec hello_web_1 sh -c 'echo ${variable}'"))
}

/// Writes the application with `from` replaced by `to` in its compose file.
fn write(site: &Site, app: &App, from: &str, to: &str) {
    app.write(site);
    let compose = std::fs::read_to_string(site.path("docker-compose.yml")).unwrap();
    assert!(compose.contains(from), "{compose}");
    site.write("docker-compose.yml", &compose.replace(from, to));
}

#[test]
fn docker_compose_on_the_vpu_is_asked_before_anything_is_touched() {
    let twin = Twin::of(Profile::Fw1_4_30);
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    let both = "env_file: [app.env, /home/oem/site.env]\n    environment: [\"ROBOT=${ROBOT}\"]";
    write(&site, &app, "env_file: app.env", both);

    let ran = site.run(&["plan"]).exits(9);
    ran.says("docker-compose 1.29.2 on the VPU rejects the project (docker-compose.yml:")
        .says("Couldn't find env file: /home/oem/site.env");
    assert_eq!(twin.oem("ls -A /usr/share/oem/docker/compose"), "");

    // The login's variables are interpolated, but those that select other projects are ignored.
    twin.root("printf 'ROBOT=agv-1\\nCOMPOSE_PROJECT_NAME=other\\nCOMPOSE_FILE=none.yml\\n' >/etc/environment");
    twin.oem("echo PLANT=one >site.env");
    site.apply();
    assert_eq!(env_of(&twin, "ROBOT"), "agv-1");
    assert_eq!(env_of(&twin, "PLANT"), "one");
    let first = containers(&twin);

    // Nothing to do: docker-compose is not asked again, not even after the cache was lost.
    let asked = "querying docker-compose on the VPU";
    let ran = site.run(&["-vv", "plan", "--exit-code"]).exits(0);
    ran.says_not(asked);
    std::fs::remove_dir_all(site.path("home/.cache/o3r-deploy/compose")).unwrap();
    let ran = site.run(&["-vv", "plan", "--exit-code"]).exits(0);
    ran.says(asked);
    assert_eq!(containers(&twin), first);

    // Neither of these is in a local file.
    twin.oem("echo PLANT=two >site.env");
    assert_eq!(site.steps(), ["update compose.hello"]);
    site.apply();
    assert_eq!(env_of(&twin, "PLANT"), "two");
    twin.root("echo ROBOT=agv-2 >/etc/environment");
    assert_eq!(site.steps(), ["update compose.hello"]);
    site.apply();
    assert_eq!(env_of(&twin, "ROBOT"), "agv-2");

    // docker-compose reports unset variables.
    twin.root(": >/etc/environment");
    let ran = site.run(&["plan"]).exits(0);
    ran.says("The ROBOT variable is not set");

    // A file that a transfer puts there does not exist yet.
    let transferred = both.replace("site.env", "share/new.env");
    let mut app = app;
    app.more = "[[transfers]]\nsrc = \"new.env\"\ndst = \"~/share/new.env\"\n".to_owned();
    site.write("new.env", "PLANT=three\n");
    write(&site, &app, "env_file: app.env", &transferred);
    let ran = site.run(&["plan"]).exits(0);
    ran.says("it needs /home/oem/share/new.env, which this apply creates");
    site.apply();
    assert_eq!(env_of(&twin, "PLANT"), "three");
    site.write("new.env", "PLANT=four\n");
    site.apply();
    assert_eq!(env_of(&twin, "PLANT"), "four");
}

#[test]
fn an_older_docker_compose_may_refuse_the_files() {
    let twin = Twin::of(Profile::Fw1_1_30);
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    // 1.29.2 accepts it; without a firmware in the manifest, `check` cannot know the version.
    write(&site, &app, "version: \"2.4\"", "version: \"3.9\"");
    let ran = site.run(&["plan"]).exits(9);
    ran.says("docker-compose 1.25.4");
    assert_eq!(twin.oem("ls -A /usr/share/oem/docker/compose"), "");
    app.write(&site);
    site.apply();
    app.runs_on(&twin);
}
