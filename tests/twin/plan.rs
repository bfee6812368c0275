//! `plan` changes nothing, and its output can be used.

use crate::support::{App, Site, Twin};

/// Returns everything on a twin that a plan could leave a trace in.
fn trace(twin: &Twin) -> String {
    twin.root(
        r"find /home/oem /usr/share/oem /tmp /var/tmp -printf '%p %T@ %C@ %s %m\n' | sort
        docker container inspect $(docker ps -aq) 2>/dev/null
        docker image inspect $(docker image ls -aq) 2>/dev/null
        docker volume inspect $(docker volume ls -q) 2>/dev/null
        docker network ls --no-trunc",
    )
}

#[test]
fn plan_leaves_no_trace() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    let look = || {
        let before = trace(&twin);
        for args in [
            &["plan"][..],
            &["plan", "--format", "json", "-o", "plan.json"],
            &["plan", "--format", "sh", "-o", "script"],
            &["-vv", "plan", "--exit-code"],
            &["status"],
            &["observe", "-o", "seen.json"],
        ] {
            let _ = site.run(args);
        }
        similar_asserts(&before, &trace(&twin));
    };
    app.write(&site);
    look();
    site.apply();
    look();
    twin.oem("docker stop hello_web_1; rmdir share/logs");
    app.setting = "another".to_owned();
    app.write(&site);
    look();
    // Nor does an apply that is not confirmed.
    let before = trace(&twin);
    site.run(&["apply"]).exits(1);
    similar_asserts(&before, &trace(&twin));
}

/// Panics unless both are equal, showing only the lines that differ.
#[track_caller]
fn similar_asserts(before: &str, after: &str) {
    let only = |these: &str, those: &str| -> Vec<String> {
        let those: std::collections::BTreeSet<&str> = those.lines().collect();
        these
            .lines()
            .filter(|line| !those.contains(line))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(only(before, after), only(after, before));
}

#[test]
fn script_does_what_apply_does() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    let ran = site
        .run(&["plan", "--format", "sh", "-o", "script"])
        .exits(0);
    ran.says("app.env holds secrets and was not copied");
    twin.copy(&site.path("script"), "script");

    // Without the secret it does nothing, and says which file is missing and what needs it.
    let missing = twin.try_oem("sh script/deploy.sh");
    assert_ne!(missing.code, Some(0), "{missing:?}");
    missing.says("-app.env: no such file: file.hello/app.env needs ");
    assert_eq!(twin.oem("docker ps -aq"), "");

    let name = ran
        .stderr
        .split_whitespace()
        .find(|word| word.ends_with("-app.env"))
        .unwrap();
    let name = name.rsplit('/').next().unwrap();
    std::fs::copy(site.path("app.env"), site.path("script/payload").join(name)).unwrap();
    twin.copy(&site.path("script"), "script");
    twin.oem("sh script/deploy.sh");
    app.runs_on(&twin);
    site.nothing_to_do();
    twin.oem("sh script/deploy.sh");
    app.runs_on(&twin);
}

#[test]
fn saved_plan_is_applied_or_stale() {
    let twin = Twin::up();
    let mut site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    app.write(&site);
    site.run(&["plan", "-o", "first.json"]).exits(0);
    let first = std::fs::read_to_string(site.path("first.json")).unwrap();
    let json = site.run(&["plan", "--format", "json"]).exits(0);
    assert_eq!(json.stdout, first, "the same input gives the same bytes");
    site.run(&["apply", "first.json"]).exits(0);
    app.runs_on(&twin);

    let again = site.run(&["apply", "first.json"]).exits(8);
    again.says(
        "the plan is stale: the VPU or a local file changed since it was saved; nothing was done",
    ).says("code: stale-plan");
    again.says("o3r-deploy plan -o FILE");

    app.setting = "second".to_owned();
    app.write(&site);
    let saved = site.run(&["plan", "-o", "second.json"]).exits(0);
    saved.says("wrote the plan to second.json; apply it with: o3r-deploy apply second.json");
    let manifest = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    site.write("deploy.toml", &format!("{manifest}\n# a comment\n"));
    site.run(&["apply", "second.json"])
        .exits(8)
        .says("the plan is stale: the manifest changed");
    site.write("deploy.toml", &manifest);
    app.setting = "third".to_owned();
    app.write(&site);
    site.run(&["apply", "second.json"])
        .exits(8)
        .says("local files changed");
    app.setting = "second".to_owned();
    app.write(&site);
    twin.oem("chmod 700 share/logs");
    site.run(&["apply", "second.json"])
        .exits(8)
        .says("the VPU or a local file changed");
    twin.oem("chmod 775 share/logs");

    let other = Twin::up();
    site.vpu = Site::new(&other).vpu;
    app.write(&site);
    site.run(&["apply", "second.json"]).exits(8);
    assert_eq!(other.oem("docker ps -aq; docker volume ls -q"), "");
    site.vpu = Site::new(&twin).vpu;
    app.write(&site);
    site.run(&["apply", "second.json"]).exits(0);
    app.runs_on(&twin);

    site.run(&["apply", "no-such.json"])
        .exits(1)
        .says("no-such.json");
    site.run(&["apply", "deploy.toml"])
        .exits(1)
        .says("is not a plan");
}

/// Panics, naming what is wrong, unless a plan document matches its schema.
#[track_caller]
fn fits_schema(document: &str) {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/plan.schema.json");
    let schema = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let document = serde_json::from_str(document).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert_eq!(errors, Vec::<String>::new());
}

#[test]
fn every_plan_fits_the_schema() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    let json = |code: i32| {
        let ran = site.run(&["plan", "--format", "json", "--exit-code"]);
        fits_schema(&ran.exits(code).stdout);
    };
    app.write(&site);
    json(2);
    site.apply();
    json(0);
    twin.oem("rmdir share/logs; docker stop hello_web_1");
    app.setting = "another".to_owned();
    app.write(&site);
    json(2);
    twin.oem("rm -rf share && echo >share");
    json(9);
}
