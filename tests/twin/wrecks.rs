//! The remains of a docker-compose that was cut off while it recreated a container: the old one
//! under the name `<12 digits of its id>_<name>`, next to the new one or alone. Every later
//! `docker-compose up` by hand fails because of it.

use crate::support::{App, Site, Twin};

/// Renames the container as docker-compose does before it creates another one.
const RENAME: &str = "docker stop -t 0 hello_web_1 >/dev/null; \
    id=$(docker ps -aqf name='^hello_web_1$'); docker rename hello_web_1 ${id}_hello_web_1";

/// Names and states of all containers.
const CONTAINERS: &str = "docker ps -a --format '{{.Names}} {{.State}}' | sort";

#[test]
fn recreate_that_was_cut_off() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    site.apply();
    twin.oem("docker run -d --name 0123456789ab_theirs hello:1.0.0 sleep 100000");
    let like =
        "docker create --label-file /dev/stdin --name hello_web_1 hello:1.0.0 sleep 100000 <labels";
    let labels = "docker inspect -f '{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}\n{{end}}' hello_web_1 >labels";
    let again = "docker-compose -f /usr/share/oem/docker/compose/hello/docker-compose.yml up -d --force-recreate >up.log 2>&1; true";
    for wreck in [
        // Before the new one was created.
        RENAME.to_owned(),
        // Before it was started.
        format!("{labels}; {RENAME}; {like}"),
        // Before the old one was removed.
        format!("{labels}; {RENAME}; {like}; docker start hello_web_1"),
        // Somebody tried again by hand.
        format!("{labels}; {RENAME}; {like}; {again}"),
        format!("{RENAME}; {again}"),
    ] {
        twin.oem(&wreck);
        // It may be repaired by hand.
        let is_wrecked = twin.oem(CONTAINERS).contains("_hello_web_1");
        let plan = site.run(&["plan", "--exit-code"]);
        assert_eq!(plan.code, Some(if is_wrecked { 2 } else { 0 }), "{wreck}");
        site.apply();
        app.runs_on(&twin);
        site.nothing_to_do();
        assert_eq!(
            twin.oem(CONTAINERS),
            "0123456789ab_theirs running\nhello_web_1 running",
            "{wreck}"
        );
    }
}

/// docker-compose refuses to recreate such a container, and every later apply would fail.
#[test]
fn stopped_container_whose_image_was_removed() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    app.services = "      - /data\n".to_owned();
    app.volume = "replace = true".to_owned();
    app.write(&site);
    site.apply();
    twin.oem("docker exec hello_web_1 sh -c 'echo kept >/data/file'");
    let without_image = "docker stop -t 0 hello_web_1 && docker rmi -f $(docker images -q hello)";
    for (version, path) in [("1.1.0", "~/share"), ("1.2.0", "~/elsewhere")] {
        twin.oem(without_image);
        let mut next = App::new(version);
        next.services.clone_from(&app.services);
        next.volume.clone_from(&app.volume);
        next.write(&site);
        let manifest = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
        let manifest = manifest.replace("path = \"~/share\"", &format!("path = \"{path}\""));
        site.write("deploy.toml", &manifest);
        let plan = site.run(&["plan"]).exits(0);
        plan.says("no longer exists");
        site.apply();
        next.runs_on(&twin);
        assert_eq!(twin.oem("docker exec hello_web_1 cat /data/file"), "kept");
        assert_eq!(twin.oem(CONTAINERS), "hello_web_1 running");
        site.nothing_to_do();
    }
}
