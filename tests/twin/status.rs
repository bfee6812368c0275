//! `status`, `observe` and `plan --observed`, and the selection of one of several VPUs.

use serde_json::Value;

use crate::support::{App, Site, Twin};

/// Returns the status for programs, which must match its schema.
#[track_caller]
fn status(site: &Site, args: &[&str], code: i32) -> Value {
    let mut words = vec!["status", "--format", "json"];
    words.extend(args);
    let ran = site.run(&words).exits(code);
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/status.schema.json");
    let schema = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let document = serde_json::from_str(&ran.stdout).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    document
}

/// Adds the twin to ssh's own configuration, so that no manifest is needed.
pub(crate) fn introduce(site: &Site, twin: &Twin) {
    site.write(
        "known_hosts",
        &format!("{} {}\n", twin.address, twin.host_key),
    );
    let config = std::fs::read_to_string(site.path("ssh_config")).unwrap();
    site.write(
        "ssh_config",
        &format!("{config}IdentityFile {}\n", twin.key),
    );
}

#[test]
fn status_reports_what_is_deployed_and_what_is_wrong() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    let before = status(&site, &["--exit-code"], 2);
    assert_eq!(before["releases"], serde_json::json!([]));
    assert_eq!(before["projects"], serde_json::json!([]));
    assert_eq!(before["drift"]["state"], "known");
    assert_eq!(before["vpu"]["serial"], twin.serial.as_str());
    for disk in before["disks"].as_array().unwrap() {
        let bytes = |key: &str| disk[key].as_u64().unwrap();
        assert!(
            bytes("total") > bytes("free") && bytes("free") > 0,
            "{disk}"
        );
    }
    let memory = |key: &str| before["memory"][key].as_u64().unwrap();
    assert!(memory("total") > memory("available") && memory("available") > 0);
    assert_eq!(before["unknown"], serde_json::json!([]));
    assert_eq!(before["drift"]["not_deployed"], "hello");
    site.run(&["status"])
        .exits(0)
        .says("release hello is not deployed yet (");

    site.apply();
    let after = status(&site, &["--exit-code"], 0);
    let release = &after["releases"][0];
    assert_eq!(
        (&release["name"], &release["version"]),
        (&"hello".into(), &"1.0.0".into())
    );
    assert!(
        release["by"].as_str().unwrap().starts_with("tester@"),
        "{release}"
    );
    assert!(release["at"].as_str().unwrap().ends_with('Z'), "{release}");
    let project = &after["projects"][0];
    assert_eq!(project["release"], "hello");
    let container = &project["containers"][0];
    assert_eq!(container["name"], "hello_web_1");
    assert_eq!(container["image"], "hello:1.0.0");
    assert_eq!(container["state"], "running");
    assert!(
        container["uptime_seconds"].as_u64().unwrap() < 120,
        "{container}"
    );
    site.run(&["status"])
        .exits(0)
        .says("hello 1.0.0 applied")
        .says("✓ hello_web_1 running for")
        .says("none: the VPU matches deploy.toml");
    let ran = site.run(&["-q", "status"]).exits(0);
    assert_eq!(ran.stderr, "", "only what was asked for");

    twin.oem("docker run -d --name stranger hello:1.0.0 sh -c 'exit 3'; docker stop hello_web_1");
    let amiss = site.run(&["status", "--exit-code"]).exits(2);
    amiss.says("✗ hello_web_1 exited with code 137");
    amiss
        .says("without a project")
        .says("✗ stranger exited with code 3");
    amiss.says("compose.hello");
    twin.oem("rm -rf share && echo >share");
    site.run(&["status", "--exit-code"])
        .exits(9)
        .says("directory.~/share is blocked");
    site.run(&["status"]).exits(0);
}

#[test]
fn status_needs_no_manifest_and_no_local_images() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    site.apply();
    // A laptop with the manifest, but without the built images.
    std::fs::remove_dir_all(site.path("dist")).unwrap();
    site.run(&["plan"]).exits(1);
    let ran = site.run(&["status"]).exits(0);
    ran.says("✓ hello_web_1 running")
        .says("not compared: deploy.toml has 1 error; see: o3r-deploy check");
    site.run(&["status", "--exit-code"])
        .exits(1)
        .says("--exit-code needs a manifest whose files and images are all there: deploy.toml has 1 error")
        .says("code: no-manifest");

    introduce(&site, &twin);
    std::fs::remove_file(site.path("deploy.toml")).unwrap();
    let host = ["--host", &twin.address];
    let document = status(&site, &host, 0);
    assert_eq!(
        document["drift"]["reason"],
        "there is no deploy.toml in this folder or above"
    );
    assert_eq!(document["projects"][0]["containers"][0]["state"], "running");
    site.run(&["observe", "--host", &twin.address])
        .exits(0)
        .says("no paths are inspected: there is no deploy.toml in this folder");
    // A manifest that is named must exist.
    site.run(&["status", "-f", "other.toml", "--host", &twin.address])
        .exits(1)
        .says("cannot read other.toml");
    let ran = site
        .run(&["status", "--vpu", "x", "--format", "json"])
        .exits(1);
    let error: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(error["exit_code"], 1);
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("cannot read deploy.toml")
    );
}

#[test]
fn an_observation_is_planned_as_the_vpu_itself() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    app.services = "    environment:\n      TOKEN: s3cret-in-the-environment\n".into();
    app.write(&site);
    let same = || {
        site.run(&["observe", "-o", "seen.json"]).exits(0);
        for format in ["json", "text", "sh"] {
            let live = site.run(&["plan", "--format", format]).exits(0);
            // No connection is made: nobody is at this address.
            let mut command =
                site.command(&["plan", "--observed", "seen.json", "--format", format]);
            let from = crate::support::run(command.env("PATH", "/nowhere")).exits(0);
            assert_eq!(from.stdout, live.stdout);
        }
    };
    same();
    site.apply();
    same();
    twin.oem(
        "docker stop hello_web_1; chmod 700 share/logs; rm -f share/../.o3r-deploy/started/hello",
    );
    same();
    let seen = std::fs::read_to_string(site.path("seen.json")).unwrap();
    assert!(
        seen.contains("hello_web_1") && !seen.contains("s3cret"),
        "{seen}"
    );
    assert!(!seen.contains("setting-of-1.0.0"), "{seen}");
    let piped = site.run(&["observe"]).exits(0);
    assert!(piped.stdout.starts_with("{\n  \"format\": 1,"), "{piped:?}");

    // What was not observed then is not treated as missing now.
    let manifest = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    site.write(
        "deploy.toml",
        &format!("{manifest}\n[[directories]]\npath = \"~/more\"\n"),
    );
    site.run(&["plan", "--observed", "seen.json"])
        .exits(9)
        .says("directory.~/more is blocked: the observation was made without looking at it");
    site.run(&["plan", "--observed", "deploy.toml"])
        .exits(1)
        .says("deploy.toml is not an observation")
        .says("o3r-deploy observe -o FILE");
}

#[test]
fn one_of_several_vpus_is_chosen() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    let Twin {
        address,
        host_key,
        serial,
        ..
    } = &twin;
    let manifest = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    let own = format!("host = \"{address}\"");
    // Nobody is at the address in [vpu].
    let manifest = manifest.replace(&own, "host = \"127.0.0.1\"\nport = 1");
    let manifest = manifest.replace(&format!("host_key = \"{host_key}\""), "");
    site.write("deploy.toml", &manifest);
    let pins = format!("{own}\nport = 22\nhost_key = \"{host_key}\"\n");
    site.write(
        "vpus.toml",
        &format!(
            "[vpus.right]\n{pins}serial = \"{serial}\"\n\n[vpus.wrong]\n{pins}serial = \"1\"\n"
        ),
    );
    site.run(&["plan"]).exits(3);
    site.run(&["plan", "--vpu", "rihgt"])
        .exits(1)
        .says("there is no VPU `rihgt` in deploy.toml")
        .says("did you mean --vpu right? there are: right, wrong");
    site.run(&["plan", "--vpu", "wrong"])
        .exits(9)
        .says(&format!("this is the VPU with serial {serial}, not 1"));
    // The address belongs to a VPU with pins: without them, no connection is made.
    let refused = site.run(&["apply", "--yes", "--host", address]).exits(1);
    refused
        .says(&format!(
            "--host {address} is the address of [vpus.right] at vpus.toml:2, another VPU than [vpu]"
        ))
        .says("select it: --vpu right");
    assert_eq!(
        twin.oem("docker ps -aq; ls -A .o3r-deploy 2>/dev/null || true"),
        ""
    );
    site.run(&["apply", "--yes", "--vpu", "right"]).exits(0);
    site.run(&["plan", "--vpu", "right", "--host", address, "--exit-code"])
        .exits(0);
    app.runs_on(&twin);
}
