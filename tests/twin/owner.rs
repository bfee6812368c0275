//! Compose projects that a release no longer declares, and projects that two releases name.

use crate::support::{App, Profile, Site, Twin};

const PROJECTS: &str = "/usr/share/oem/docker/compose";

/// What is left of a project: containers, networks, files, and its unit.
fn left(twin: &Twin, project: &str) -> String {
    twin.oem(&format!(
        "docker ps -aq --filter label=com.docker.compose.project={project}; \
         docker network ls -q --filter label=com.docker.compose.project={project}; \
         ls -d {PROJECTS}/{project} ~/.o3r-deploy/started/{project} 2>/dev/null; \
         systemctl --user is-enabled oem-dc@{project} 2>/dev/null | grep -x enabled; true"
    ))
}

/// Renames the project in the manifest, and what is in it that has its name.
fn rename(site: &Site, from: &str, to: &str) {
    let manifest = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    let name = |project: &str| format!("[[compose]]\nname = \"{project}\"");
    assert!(manifest.contains(&name(from)));
    site.write("deploy.toml", &manifest.replace(&name(from), &name(to)));
}

fn app(version: &str) -> App {
    let mut app = App::new(version);
    "autostart = true".clone_into(&mut app.compose);
    "    ports: ['127.0.0.1:18080:9000']\n".clone_into(&mut app.services);
    app
}

fn renamed(profile: Profile) {
    let twin = Twin::of(profile);
    let site = Site::new(&twin);
    let served = "for try in 1 2 3 4 5 6 7 8 9; do \
                  docker exec $(docker ps -qf publish=18080) wget -qO- localhost:9000/version && exit; sleep 1; done";
    app("1.0.0").write(&site);
    site.apply();
    assert_eq!(twin.oem(served), "1.0.0");

    // One plan, in which the old project frees its port.
    app("1.1.0").write(&site);
    rename(&site, "hello", "greeter");
    site.run(&["plan"])
        .exits(0)
        .says("- remove  compose.hello")
        .says("no longer declared")
        .says("+ create  compose.greeter");
    site.apply();
    assert_eq!(twin.oem(served), "1.1.0");
    assert_eq!(left(&twin, "hello"), "");
    site.nothing_to_do();

    // One that fails is rolled back together.
    let mut bad = app("1.2.0");
    "sleep 1; exit 3".clone_into(&mut bad.command);
    bad.write(&site);
    rename(&site, "hello", "third");
    site.run(&["apply", "--yes"])
        .exits(6)
        .says("the previous release was restored");
    assert_eq!(left(&twin, "third"), "");
    assert_eq!(twin.oem(served), "1.1.0");
    twin.reboot();
    twin.oem("until docker ps | grep -q greeter_web_1; do sleep 0.5; done");

    // A rollback is a rename, too.
    site.run(&["rollback", "--yes"]).exits(0);
    assert_eq!(left(&twin, "greeter"), "");
    assert_eq!(twin.oem(served), "1.0.0");
}

#[test]
fn a_renamed_project_is_removed_and_created_in_one_plan() {
    renamed(Profile::Fw1_4_30);
}

#[test]
fn a_renamed_project_is_removed_where_containers_come_back_by_policy() {
    renamed(Profile::Fw1_21_16);
}

#[test]
fn what_is_no_longer_declared_is_removed_but_for_what_somebody_changed() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    app("1.0.0").write(&site);
    site.apply();
    let greeting = format!("{PROJECTS}/hello/conf/greeting.txt");
    twin.oem(&format!("echo mine >{greeting}"));
    let manifest = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    let without = manifest.split("[[compose]]").next().unwrap();
    let kept = without.replace("[release]\n", "[release]\norphans = \"keep\"\n");
    site.write("deploy.toml", &kept);
    site.run(&["apply", "--yes"])
        .exits(0)
        .says("no longer declared, and kept: compose.hello");
    site.run(&["status"]).exits(0).says("✓ hello_web_1 running");
    site.nothing_to_do();

    site.write("deploy.toml", without);
    site.run(&["plan"])
        .exits(0)
        .says("hello/conf/greeting.txt was changed on the VPU and stays; --prune removes it, too");
    site.apply();
    assert_eq!(left(&twin, "hello"), format!("{PROJECTS}/hello"));
    assert_eq!(
        twin.oem(&format!("find {PROJECTS}/hello -type f")),
        greeting
    );
    site.nothing_to_do();

    // From the beginning, with --prune and a saved plan.
    site.write("deploy.toml", &manifest);
    site.apply();
    twin.oem(&format!("echo mine >{greeting}"));
    site.write("deploy.toml", without);
    site.run(&["plan", "--prune", "-o", "plan.json"])
        .exits(0)
        .says_not("stays");
    site.run(&["apply", "plan.json"]).exits(0);
    assert_eq!(left(&twin, "hello"), "");
}

#[test]
fn a_project_belongs_to_one_release() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let (one, two) = (app("1.0.0"), app("2.0.0"));
    one.write(&site);
    site.apply();
    let first = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    two.write(&site);
    let second = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    site.write(
        "deploy.toml",
        &second.replace("name = \"hello\"\nversion", "name = \"other\"\nversion"),
    );
    let ran = site.run(&["apply", "--yes"]).exits(9);
    ran.says("project hello belongs to release hello, applied")
        .says("and this is release other")
        .says("code: owned-by-release");
    one.runs_on(&twin);

    site.run(&["apply", "--yes", "--take-over"])
        .exits(0)
        .says("compose.hello moves from release hello to release other");
    two.runs_on(&twin);
    site.run(&["status"])
        .exits(0)
        .says("hello, of release other");
    site.nothing_to_do();

    one.write(&site);
    site.write("deploy.toml", &first);
    site.run(&["apply", "--yes"])
        .exits(9)
        .says("project hello belongs to release other, applied");
    // One that fails does not take it.
    let mut bad = one.clone();
    "sleep 1; exit 3".clone_into(&mut bad.command);
    bad.write(&site);
    site.run(&["apply", "--yes", "--take-over"]).exits(6);
    site.run(&["status"])
        .exits(0)
        .says("hello, of release other");
    two.runs_on(&twin);
    one.write(&site);
    site.run(&["apply", "--yes", "--take-over"]).exits(0);
    one.runs_on(&twin);
    site.nothing_to_do();
    // The release that lost it removes nothing of it.
    let none = second.replace("name = \"hello\"\nversion", "name = \"other\"\nversion");
    site.write("deploy.toml", none.split("[[compose]]").next().unwrap());
    site.run(&["apply", "--yes"]).exits(0);
    one.runs_on(&twin);
}

#[test]
fn a_release_is_forgotten_and_what_it_deployed_stays() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = app("1.0.0");
    app.write(&site);
    site.apply();
    site.run(&["forget", "helo", "--yes"])
        .exits(1)
        .says("has no release helo; it has: hello");
    site.run(&["forget", "hello"])
        .exits(1)
        .says("no terminal for confirmation; nothing was done");
    site.run_in_terminal(&["forget", "hello"], "[y/N]", "n\n")
        .exits(1)
        .says("hello and all else that it deployed stay, and belong to no release")
        .says("declined");
    site.run(&["forget", "hello", "--yes"])
        .exits(0)
        .says("release hello is forgotten");
    app.runs_on(&twin);
    site.run(&["status"])
        .exits(0)
        .says("hello, not managed by o3r-deploy");
    site.run(&["history"])
        .exits(0)
        .says("nothing deployed by o3r-deploy");
    assert_eq!(twin.oem("docker image ls -q 'o3r-deploy/*'"), "");
    assert_eq!(twin.oem("ls .o3r-deploy/store"), "");
    // Another release may have the project now, without --take-over, and without a restart.
    let started = "docker inspect -f '{{.State.StartedAt}}' hello_web_1";
    let before = twin.oem(started);
    let manifest = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    let other = manifest.replace("name = \"hello\"\nversion", "name = \"other\"\nversion");
    site.write("deploy.toml", &other);
    site.apply();
    assert_eq!(twin.oem(started), before);
    site.nothing_to_do();
}
