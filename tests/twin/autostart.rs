//! What starts when the VPU boots, in both generations of its autostart.

use crate::support::{App, Profile, Site, Twin};

fn app(autostart: bool, restart: &str) -> App {
    App {
        compose: format!("autostart = {autostart}"),
        restart: restart.to_owned(),
        ..App::new("1.0.0")
    }
}

/// Returns the number of a project's running containers.
fn running(twin: &Twin, project: &str) -> usize {
    let filter = format!("label=com.docker.compose.project={project}");
    twin.oem(&format!("docker ps -q --filter {filter}"))
        .lines()
        .count()
}

/// Checks that after a reboot and a power cut the application runs, and there is nothing to do.
#[track_caller]
fn comes_back(twin: &Twin, site: &Site, app: &App) {
    twin.reboot();
    // Before any command calls docker.
    twin.root("pidof dockerd");
    site.nothing_to_do();
    app.runs_on(twin);
    twin.power_cut();
    site.nothing_to_do();
    app.runs_on(twin);
}

/// Checks what `status` reports about the project's start
/// at boot, and about the firmware's autostart.
#[track_caller]
fn status_says(site: &Site, after_boot: &str, autostart: &str) {
    let text = site.run(&["status"]).exits(0);
    text.says(&format!("hello, {after_boot}\n")).says(autostart);
    let json = site.run(&["status", "--format", "json"]).exits(0);
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let word = after_boot
        .replace(" at boot", "")
        .replace("does not start", "stays_down");
    assert_eq!(document["projects"][0]["after_boot"], word);
}

#[test]
fn the_unit_is_enabled_and_brings_the_project_back() {
    let twin = Twin::of(Profile::Fw1_4_30);
    let site = Site::new(&twin);
    // Only the unit brings it back.
    let mut app = app(true, "no");
    app.write(&site);
    site.apply().says("autostart.hello");
    site.nothing_to_do();
    status_says(&site, "starts at boot", "units oem-dc@NAME, enabled: hello");
    comes_back(&twin, &site, &app);

    twin.oem("systemctl --user disable oem-dc@hello");
    status_says(
        &site,
        "does not start at boot",
        "units oem-dc@NAME, none enabled",
    );
    assert_eq!(site.steps(), ["create autostart.hello"]);
    site.apply();

    // A release that fails leaves it unchanged.
    app.compose = "autostart = false".to_owned();
    app.command = "exit 7".to_owned();
    app.write(&site);
    site.run(&["apply", "--yes"]).exits(6);
    twin.oem("systemctl --user is-enabled oem-dc@hello");

    app.command = App::new("1.0.0").command;
    app.write(&site);
    assert_eq!(
        site.steps(),
        ["remove autostart.hello", "update release.hello"]
    );
    site.apply();
    site.nothing_to_do();
    twin.reboot();
    assert_eq!(running(&twin, "hello"), 0);
    assert_eq!(site.steps(), ["update compose.hello"]);
}

#[test]
fn restart_policies_bring_the_project_back() {
    let twin = Twin::of(Profile::Fw1_21_16);
    let site = Site::new(&twin);
    app(true, "on-failure").write(&site);
    let blocked = site.run(&["apply", "--yes"]).exits(9);
    blocked.says("autostart.hello is blocked: on this firmware only a restart policy");
    blocked
        .says("service web (`restart: on-failure`) in docker-compose.yml has none that starts it");
    blocked.says("add to it in docker-compose.yml the line: restart: unless-stopped");
    assert_eq!(twin.oem("docker ps -aq"), "");

    let app = app(true, "unless-stopped");
    app.write(&site);
    site.apply().says("service.oem-dc-autostart");
    site.nothing_to_do();
    status_says(
        &site,
        "starts at boot",
        "by restart policies, oem-dc-autostart is enabled",
    );
    comes_back(&twin, &site, &app);

    twin.oem("systemctl --user disable oem-dc-autostart; docker update --restart=no hello_web_1");
    status_says(
        &site,
        "does not start at boot",
        "oem-dc-autostart is disabled: docker does not start at boot",
    );
    assert_eq!(
        site.steps(),
        ["update compose.hello", "update service.oem-dc-autostart"]
    );
    site.apply();
    site.nothing_to_do();
    assert_eq!(
        twin.oem("docker inspect --format '{{.HostConfig.RestartPolicy.Name}}' hello_web_1"),
        "unless-stopped"
    );
}

#[test]
fn without_autostart_it_stays_down_or_the_plan_explains_why_not() {
    for profile in [Profile::Fw1_4_30, Profile::Fw1_21_16] {
        let twin = Twin::of(profile);
        let site = Site::new(&twin);
        app(false, "no").write(&site);
        site.apply().says_not("autostart");
        twin.reboot();
        assert_eq!(running(&twin, "hello"), 0);
        let app = app(false, "unless-stopped");
        app.write(&site);
        let why = "project hello has `autostart = false`, but dockerd starts web \
                   (`restart: unless-stopped`) at boot by restart policy; remove `restart:` from docker-compose.yml to prevent that";
        site.apply().says(why);
        twin.reboot();
        site.run(&["plan", "--exit-code"]).exits(0).says(why);
        app.runs_on(&twin);
    }
}

/// Adds another tool's project, started by its boot unit or by restart policy.
fn old_demo(twin: &Twin, restart: &str) {
    let directory = "/usr/share/oem/docker/compose/old-demo";
    twin.oem(&format!(
        "mkdir -p {directory} && cd {directory} && printf 'version: \"2.4\"\nservices:\n  a:\n    image: hello:1.0.0\n    \
         command: [sleep, \"100000\"]\n    stop_signal: SIGKILL\n    restart: \"{restart}\"\n' >docker-compose.yml && docker-compose up -d"
    ));
}

#[test]
fn disabled_services_of_others_do_not_start() {
    for profile in [Profile::Fw1_4_30, Profile::Fw1_21_16] {
        let twin = Twin::of(profile);
        let site = Site::new(&twin);
        let mut app = App::new("1.0.0");
        app.more = "[autostart]\ndisable = [\"old-demo\", \"no-such\"]\n".to_owned();
        app.write(&site);
        site.apply();
        site.nothing_to_do();
        old_demo(&twin, "always");
        let by_unit = matches!(profile, Profile::Fw1_4_30);
        if by_unit {
            twin.oem("systemctl --user enable oem-dc@old-demo");
        }
        assert_eq!(site.steps(), ["remove autostart.old-demo"]);
        let done = site.apply();
        done.says("container old-demo_a_1: restart policy: always -> no");
        if by_unit {
            done.says("oem-dc@old-demo.service: enabled -> disabled");
        }
        site.nothing_to_do();
        assert_eq!(running(&twin, "old-demo"), 1);
        twin.reboot();
        assert_eq!(running(&twin, "old-demo"), 0);
        app.runs_on(&twin);
        site.nothing_to_do();
    }
}

#[test]
fn a_removed_project_does_not_start() {
    let twin = Twin::of(Profile::Fw1_4_30);
    let site = Site::new(&twin);
    let mut app = app(true, "no");
    app.write(&site);
    site.apply();

    // A project that is no longer declared stays where the manifest says so, and is reported.
    let manifest = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    let without = manifest.split("[[compose]]").next().unwrap();
    let without = without.replace("[release]\n", "[release]\norphans = \"keep\"\n");
    site.write("deploy.toml", &without);
    site.apply()
        .says("no longer declared, and kept: autostart.hello");
    site.run(&["plan", "--exit-code"])
        .exits(0)
        .says("no longer declared, and kept: autostart.hello");

    app.compose = "state = \"absent\"".to_owned();
    app.write(&site);
    assert_eq!(
        site.steps(),
        [
            "remove compose.hello",
            "remove autostart.hello",
            "update release.hello",
            "remove containers.hello"
        ]
    );
    site.apply();
    site.nothing_to_do();
    twin.reboot();
    assert_eq!(
        twin.oem("docker ps -aq; systemctl --user list-units --no-legend 'oem-dc*'"),
        ""
    );
    site.nothing_to_do();
}

#[test]
fn a_vpu_that_cannot_start_it_is_refused() {
    let twin = Twin::of(Profile::Fw1_4_30);
    let site = Site::new(&twin);
    let app = app(true, "no");
    app.write(&site);
    let refused = |reason: &str, help: &str| {
        let ran = site.run(&["apply", "--yes"]).exits(9);
        ran.says(reason).says(help);
        assert_eq!(twin.oem("docker ps -aq"), "");
    };

    twin.root("rm /var/lib/systemd/linger/oem && loginctl disable-linger oem");
    refused("lingering is off for this user", "loginctl enable-linger");
    twin.root("loginctl enable-linger oem");

    let unit = ".config/systemd/user/oem-dc@.service";
    twin.oem(&format!(
        "cp {unit} kept && sed -i 's,^Working.*,WorkingDirectory=/home/oem/%i,' {unit}"
    ));
    refused(
        "oem-dc@hello.service starts the compose file of /home/oem/hello, but \
         /usr/share/oem/docker/compose/hello is deployed",
        "WorkingDirectory=/usr/share/oem/docker/compose/%i",
    );
    twin.oem(&format!("mv {unit} away && systemctl --user daemon-reload"));
    refused(
        "this firmware has neither oem-dc@.service nor",
        "list-unit-files",
    );
    twin.oem(&format!(
        "ln -s /dev/null {unit} && systemctl --user daemon-reload"
    ));
    refused(
        "oem-dc@.service is masked",
        "systemctl --user unmask oem-dc@.service",
    );
    site.run(&["plan"]).exits(9).says("code: unit-masked");

    // A drop-in that names the deployed file by -f works, and is noted.
    twin.oem(&format!(
        "rm {unit}; cp kept {unit} && mkdir {unit}.d && cat >{unit}.d/ours.conf <<'END'\n[Service]\nWorkingDirectory=/\nExecStart=\n\
         ExecStart=/usr/bin/docker-compose -f /usr/share/oem/docker/compose/%i/docker-compose.yml up -d\nEND\nsystemctl --user daemon-reload"
    ));
    site.apply()
        .says("names the compose file with -f and runs in /")
        .says("[boot-command-unknown]");
    twin.reboot();
    site.run(&["plan", "--exit-code"]).exits(0);
    app.runs_on(&twin);
}
