//! Docker's API and its client report the same, and a mount of something that is gone is `stale`.

use serde_json::Value;

use crate::support::{App, Site, Twin};

/// Returns docker's state as `observe` wrote it.
fn engine(site: &Site) -> Value {
    site.run(&["observe", "-o", "seen.json"]).exits(0);
    let text = std::fs::read_to_string(site.path("seen.json")).unwrap();
    let mut facts: Value = serde_json::from_str(&text).unwrap();
    let parts = ["docker", "volumes", "images", "containers", "networks"];
    let part = |part: &str| {
        let said = facts["facts"][part].take();
        assert!(said["known"].is_object(), "{part}: {said}");
        (part.to_owned(), said)
    };
    parts
        .map(part)
        .into_iter()
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Returns what the service's mounts show, by destination.
fn shown(engine: &Value, destination: &str) -> String {
    let containers = engine["containers"]["known"].as_object().unwrap();
    let mut containers = containers.values();
    let web = containers
        .find(|container| container["name"] == "hello_web_1")
        .unwrap();
    let shown = &web["mounts"][destination]["shown"];
    shown.as_str().unwrap_or("unknown").to_owned()
}

#[test]
fn docker_reports_the_same_by_api_and_client_and_stale_mounts_are_found() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    app.services =
        "      - /home/oem/kept:/kept\n      - /home/oem/lost:/lost\n      - own:/own\n".to_owned();
    app.write(&site);
    let compose = std::fs::read_to_string(site.path("docker-compose.yml")).unwrap();
    site.write("docker-compose.yml", &format!("{compose}  own:\n"));
    twin.oem("mkdir kept lost");
    site.apply();

    let by_api = engine(&site);
    let logged = site.run(&["-vv", "observe", "-o", "seen.json"]).exits(0);
    logged.says_not("o3r-docker");
    for (destination, expected) in [
        ("/kept", "same"),
        ("/lost", "same"),
        ("/greeting.txt", "same"),
        ("/share", "same"),
        ("/own", "unknown"),
    ] {
        assert_eq!(shown(&by_api, destination), expected, "{destination}");
    }

    twin.oem("rmdir lost && mkdir lost");
    let by_api = engine(&site);
    assert_eq!(shown(&by_api, "/lost"), "stale");
    assert_eq!(shown(&by_api, "/kept"), "same");

    // A client without such a command, and one that prints something else.
    twin.root("mv /usr/bin/docker /usr/bin/docker.real");
    for instead in ["exit 1", "yes hello | head -c 100000"] {
        twin.root(&format!(
            r#"cat >/usr/bin/docker <<'E'
#!/bin/sh
case "$1 $2" in "system dial-stdio") {instead}; exit ;; esac
exec docker.real "$@"
E
chmod 755 /usr/bin/docker"#
        ));
        let logged = site.run(&["-vv", "observe", "-o", "seen.json"]).exits(0);
        logged.says("o3r-docker");
        assert_eq!(engine(&site), by_api, "{instead}");
    }
}
