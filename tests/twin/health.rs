//! Health gates: a release that turns out bad after its
//! start is rolled back, and the reason is reported.

use crate::support::{App, Ran, Site, Twin};

/// Applies 1.0.0, then 1.1.0 with a test's change, which has to be rolled back.
#[track_caller]
fn rolls_back(twin: &Twin, site: &Site, health: &str, change: impl FnOnce(&mut App)) -> Ran {
    let good = App::new("1.0.0");
    good.write(site);
    site.apply();
    let mut bad = App::new("1.1.0");
    health.clone_into(&mut bad.health);
    change(&mut bad);
    bad.write(site);
    let ran = site.run(&["apply", "--yes"]).exits(6);
    ran.says("compose.hello failed; the previous release was restored")
        .says("wait until the containers of hello are healthy");
    good.runs_on(twin);
    good.write(site);
    site.nothing_to_do();
    ran
}

const SETTLE: &str = "health = { settle = \"10s\" }";

#[test]
fn crash_after_eight_seconds() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let command = "echo started; sleep 8; echo camera lost; exit 7";
    let ran = rolls_back(&twin, &site, SETTLE, |app| {
        command.clone_into(&mut app.command);
        app.restart = "no".to_owned();
    });
    ran.says("container hello_web_1 exited with code 7")
        .says("camera lost");
    // docker restarts it: a single crash may be chance.
    let ran = rolls_back(&twin, &site, SETTLE, |app| {
        command.clone_into(&mut app.command);
    });
    ran.says("container hello_web_1 was restarted 2 times in ")
        .says("last after exit code 7")
        .says("camera lost");
    // While it waits, it shows the containers' state.
    ran.says("  hello_web_1: Up ").says(" | started");
}

#[test]
fn crash_loop_and_default_gate() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let ran = rolls_back(&twin, &site, "", |app| {
        app.command = "sleep 3; echo no camera; exit 3".to_owned();
    });
    ran.says("was restarted 2 times in ").says("no camera");
}

#[test]
fn out_of_memory() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let ran = rolls_back(&twin, &site, "", |app| {
        app.command = "sleep 2; awk 'BEGIN { s = \"x\"; while (1) s = s s }'; exit 137".to_owned();
        app.services = "    mem_limit: 20m\n".to_owned();
    });
    ran.says("container hello_web_1 was killed, as the kernel does when memory runs out");
}

#[test]
fn health_checks_of_docker() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let check = |test: &str| {
        format!("    healthcheck: {{ test: \"{test}\", interval: 1s, timeout: 5s, retries: 3 }}\n")
    };
    let ran = rolls_back(&twin, &site, "", |app| {
        app.services = check("echo not yet; exit 1");
    });
    ran.says("container hello_web_1 is unhealthy")
        .says(r#"its last health check ended with exit code 1: "not yet\n""#);
    // Healthy at first; after its restart, docker's result for the first run does not count.
    let ran = rolls_back(&twin, &site, "health = { settle = \"7s\" }", |app| {
        app.command =
            "mkdir /share/once && touch /ok && sleep 5 && exit 1; rm -f /ok; sleep 1000".to_owned();
        app.services = check("test -e /ok");
    });
    ran.says("container hello_web_1 is unhealthy");
    twin.oem("rmdir share/once");
    // It passes after a while, which the gate waits for, also if a container exits with 0.
    let mut slow = App::new("1.2.0");
    slow.command = "sleep 5; touch /ok; exec httpd -f -p 9000 -h /".to_owned();
    slow.services = "    healthcheck: { test: test -e /ok, interval: 1s, retries: 20 }\n\
                     \x20 once:\n    image: hello:1.2.0\n    command: [sleep, \"1\"]\n"
        .to_owned();
    slow.write(&site);
    site.apply();
    let state = "docker inspect -f '{{.State.Health.Status}}' hello_web_1";
    assert_eq!(twin.oem(state), "healthy");
    slow.runs_on(&twin);
    site.nothing_to_do();
}

#[test]
fn text_in_a_log_and_a_command() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let gate = |more: &str| format!("health = {{ timeout = \"5s\", settle = \"1s\", {more} }}");
    let good = gate(
        "log_contains = \"ready\", service = \"web\", command = [\"wget\", \"-qO-\", \"localhost:9000/version\"]",
    );
    let ran = rolls_back(&twin, &site, &gate("log_contains = \"never\""), |_| {});
    ran.says("project hello is not healthy after 5 s")
        .says("no log of its containers contains: never")
        .says("last output of hello_web_1:\n");
    let on_vpu = gate("command = [\"sh\", \"-c\", \"id -un; exit 4\"]");
    let ran = rolls_back(&twin, &site, &on_vpu, |_| {});
    ran.says("health command sh -c id -un; exit 4: exit code 4")
        .says("oem");
    let mut app = App::new("1.2.0");
    app.health = good;
    app.command = format!("sleep 2; {}", app.command);
    app.write(&site);
    site.apply();
    app.runs_on(&twin);
    // Printed at once: docker notes the start after that. By a service, and by one that ends.
    app.version = "1.3.0".to_owned();
    app.command = "echo first; exec httpd -f -p 9000 -h /".to_owned();
    app.health = gate("log_contains = \"first\"");
    app.write(&site);
    site.apply();
    app.services = "  once:\n    image: hello:1.3.0\n    command: echo migrated\n".to_owned();
    app.health = gate("log_contains = \"migrated\"");
    app.write(&site);
    site.apply();
    // Only the gate changes: nothing is started, and there is nothing to wait for.
    app.health = gate("log_contains = \"never\"");
    app.write_files(&site);
    site.nothing_to_do();
    assert_eq!(twin.oem("ls /dev/shm /tmp | grep -c o3r- || true"), "0");
}
