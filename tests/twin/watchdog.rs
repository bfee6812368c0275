//! The watchdog: what the VPU does on its own when nobody is there any more.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::support::{App, Link, Running, Site, Twin};

/// What is left of a watchdog on the VPU: its files, the unit and the process.
const LEFT: &str = "ls .o3r-deploy/watchdog/hello .config/systemd/user/*/o3r-deploy-watchdog.service 2>/dev/null; \
    pgrep -f 'watchdog/hello/[o]3r' | head -1; true";

/// As if all of the silence were over.
const TIME_IS_UP: &str = "printf '%10d %6d\\n' 1 120 1<>.o3r-deploy/watchdog/hello/deadline";

struct Scene {
    twin: Twin,
    link: Link,
    site: Site,
    old: App,
    new: App,
}

impl Scene {
    /// A VPU with 1.0.0, and 1.1.0 to apply.
    fn new() -> Self {
        Self::with("")
    }

    /// The same with further lines of the `[[compose]]` table.
    fn with(compose: &str) -> Self {
        let twin = Twin::up();
        let link = Link::to(&twin);
        let site = Site::through(&link, &twin);
        let [old, new] = ["1.0.0", "1.1.0"].map(|version| {
            let mut app = App::new(version);
            app.compose.push_str(compose);
            app
        });
        old.write(&site);
        site.apply();
        new.write(&site);
        Self {
            twin,
            link,
            site,
            old,
            new,
        }
    }

    /// An apply of 1.1.0 whose containers are just being replaced.
    fn apply_until_the_switch(&self) -> Running {
        let mut apply = self.site.start(&["apply", "--yes"]);
        assert!(apply.wait_for("file.hello/conf/greeting.txt"));
        sleep(Duration::from_millis(300));
        apply
    }

    /// Waits for the VPU's verdict, which `status` tells.
    fn verdict(&self) -> String {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let status = self.site.run(&["status"]).exits(0);
            let mut lines = status.stdout.lines();
            if let Some(line) = lines.find(|line| line.contains("the VPU rolled back")) {
                return line.to_owned();
            }
            assert!(Instant::now() < end, "{}", status.stdout);
            sleep(Duration::from_millis(500));
        }
    }

    /// Checks that 1.0.0 runs whole, and that 1.1.0 can be applied then, which leaves nothing of a watchdog.
    fn rolled_back(&self) {
        self.old.runs_on(&self.twin);
        self.old.write(&self.site);
        self.site.nothing_to_do();
        self.new.write(&self.site);
        let plan = self.site.run(&["plan"]).exits(0);
        plan.says("the VPU rolled back");
        self.site.apply();
        self.new.runs_on(&self.twin);
        self.site.nothing_to_do();
        assert_eq!(self.twin.oem(LEFT), "");
    }
}

#[test]
fn a_killed_client_is_rolled_back_by_the_vpu() {
    let scene = Scene::new();
    let apply = scene.apply_until_the_switch();
    apply.signal("KILL");
    apply.finish().exits(137);
    let status = scene.site.run(&["status"]).exits(0);
    status.says("hello: an apply was interrupted; ");
    scene.twin.oem(TIME_IS_UP);
    let verdict = scene.verdict();
    assert!(
        verdict.contains("fell silent at compose.hello"),
        "{verdict}"
    );
    let history = scene.site.run(&["history"]).exits(0);
    history.says("1.1.0  connection lost, rolled back by the VPU");
    scene.rolled_back();
}

#[test]
fn an_apply_in_time_takes_over() {
    let scene = Scene::new();
    let apply = scene.apply_until_the_switch();
    apply.signal("KILL");
    apply.finish().exits(137);
    let plan = scene.site.run(&["plan"]).exits(0);
    plan.says("note: an apply was interrupted; ");
    scene.site.apply();
    scene.new.runs_on(&scene.twin);
    assert_eq!(scene.twin.oem(LEFT), "");
}

/// All that is left to do is the record: the watchdog of the interrupted apply must not undo it later.
#[test]
fn a_resume_with_nothing_left_but_the_record_ends_the_watchdog() {
    let scene = Scene::new();
    let apply = scene.apply_until_the_switch();
    apply.signal("TERM");
    apply
        .finish()
        .exits(130)
        .says("interrupted before release.hello");
    assert_eq!(
        scene.site.steps(),
        ["update vpu.watchdog", "update release.hello"]
    );
    scene.site.apply();
    assert_eq!(scene.twin.oem(LEFT), "");
    scene.new.runs_on(&scene.twin);
    scene.site.nothing_to_do();
}

#[test]
fn a_link_that_freezes_is_undecided_and_the_vpu_decides() {
    let scene = Scene::new();
    let apply = scene.apply_until_the_switch();
    scene.link.fall_silent();
    scene.twin.oem(TIME_IS_UP);
    let ran = apply.finish().exits(10);
    ran.says("compose.hello failed; the VPU rolls back to the previous release automatically")
        .says("`o3r-deploy status` shows the outcome");
    scene.verdict();
    scene.rolled_back();
}

#[test]
fn a_power_cut_in_the_switch_rolls_back_at_boot() {
    let scene = Scene::new();
    let apply = scene.apply_until_the_switch();
    scene.twin.power_cut();
    apply.finish().exits(10);
    scene.link.lead_to(&scene.twin);
    let verdict = scene.verdict();
    assert!(
        verdict.contains("the VPU restarted during the apply of"),
        "{verdict}"
    );
    scene.rolled_back();
}

/// Only files were replaced; the autostart runs docker-compose with them before the VPU rolls back.
#[test]
fn regression_a_power_cut_before_containers_change_leaves_none_of_the_new_release() {
    let scene = Scene::with("autostart = true\n");
    let mut apply = scene.site.start(&["apply", "--yes"]);
    assert!(apply.wait_for("file.hello/docker-compose.yml"));
    apply.signal("STOP");
    scene.twin.power_cut();
    apply.signal("KILL");
    apply.finish().exits(137);
    scene.link.lead_to(&scene.twin);
    let verdict = scene.verdict();
    assert!(verdict.contains("at file.hello/"), "{verdict}");
    scene.rolled_back();
}

/// The containers were started in an earlier boot, and the apply did not touch them.
#[test]
fn regression_a_rollback_after_a_restart_knows_what_its_containers_were_started_from() {
    let scene = Scene::new();
    scene.twin.reboot();
    scene.link.lead_to(&scene.twin);
    let started = "docker inspect -f '{{.Id}} {{.State.StartedAt}}' hello_web_1";
    let before = scene.twin.oem(started);
    let mut apply = scene.site.start(&["apply", "--yes"]);
    assert!(apply.wait_for("file.hello/docker-compose.yml"));
    apply.signal("KILL");
    apply.finish().exits(137);
    scene.twin.oem(TIME_IS_UP);
    scene.verdict();
    assert_eq!(scene.twin.oem(started), before, "no container was touched");
    scene.rolled_back();
}

#[test]
fn a_release_that_locks_the_next_client_out_is_rolled_back() {
    let scene = Scene::new();
    let apply = scene.apply_until_the_switch();
    scene.twin.root("touch /run/nologin");
    let ran = apply.finish().exits(6);
    ran.says("watchdog failed; the previous release was restored");
    scene.twin.root("rm /run/nologin");
    scene.old.runs_on(&scene.twin);
    // The client's verdict, and neither a program nor a unit.
    let left = scene.twin.oem(LEFT);
    assert!(left.ends_with(".ended\nverdict"), "{left}");
    scene
        .site
        .run(&["status"])
        .exits(0)
        .says("hello: the apply of 1.1.0 by tester@")
        .says("failed at watchdog; it was rolled back");
    scene.old.write(&scene.site);
    scene.site.nothing_to_do();
}

/// The records are on a disk of their own, which fills up in the middle of the apply.
#[test]
fn a_full_disk_does_not_prevent_the_rollback() {
    let scene = Scene::new();
    scene.twin.root(
        "cp -a /home/oem/.o3r-deploy /tmp/records && mount -t tmpfs -o size=2m tmpfs /home/oem/.o3r-deploy && \
         cp -a /tmp/records/. /home/oem/.o3r-deploy/ && chown oem: /home/oem/.o3r-deploy",
    );
    let apply = scene.apply_until_the_switch();
    scene
        .twin
        .root("dd if=/dev/zero of=/home/oem/.o3r-deploy/full bs=4k 2>/dev/null; true");
    apply.signal("KILL");
    apply.finish().exits(137);
    scene.twin.oem(TIME_IS_UP);
    let end = Instant::now() + Duration::from_secs(90);
    let undecided = "ls .o3r-deploy/watchdog/hello/*.armed .o3r-deploy/watchdog/hello/*.reverting 2>/dev/null; true";
    while !scene.twin.oem(undecided).is_empty() {
        assert!(Instant::now() < end, "{}", scene.twin.oem(LEFT));
        sleep(Duration::from_millis(500));
    }
    scene.old.runs_on(&scene.twin);
    scene.twin.root("rm /home/oem/.o3r-deploy/full");
    scene.old.write(&scene.site);
    scene.site.nothing_to_do();
}

#[test]
fn without_a_watchdog_nothing_decides() {
    let scene = Scene::new();
    let manifest = std::fs::read_to_string(scene.site.path("deploy.toml")).unwrap();
    scene.site.write(
        "deploy.toml",
        &format!("{manifest}\n[apply]\nwatchdog = false\n"),
    );
    let apply = scene.apply_until_the_switch();
    assert_eq!(scene.twin.oem(LEFT), "");
    scene.link.cut();
    apply
        .finish()
        .exits(4)
        .says("nothing could be restored, because the VPU cannot be reached");
}

impl Scene {
    /// Applies 1.1.0, which then waits to be confirmed; returns the token.
    fn unconfirmed(&self) -> String {
        let ran = self
            .site
            .run(&["apply", "--yes", "--confirm-within", "30m"])
            .exits(0);
        ran.says("the new release runs; the VPU rolls back in 30m or after a restart, unless you confirm it");
        self.new.runs_on(&self.twin);
        let (_, rest) = ran.stdout.split_once("o3r-deploy confirm ").unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    }
}

#[test]
fn a_release_is_confirmed_from_another_machine() {
    let scene = Scene::new();
    let token = scene.unconfirmed();
    let plan = scene.site.run(&["plan"]).exits(9);
    plan.says("the new release waits to be confirmed; ")
        .says("o3r-deploy cancel TOKEN");
    scene
        .site
        .run(&["status"])
        .exits(0)
        .says("hello 1.1.0 waits for confirmation, ")
        .says("rolls back to 1.0.0 automatically")
        .says_not("✗");
    let other = Site::new(&scene.twin);
    scene.new.write(&other);
    other
        .run(&["confirm", "0123456789ab"])
        .exits(1)
        .says("code: unknown-token");
    other
        .run(&["confirm", &token])
        .exits(0)
        .says("confirmed: release hello 1.1.0 stays");
    // Again, as by a script whose connection broke.
    scene
        .site
        .run(&["confirm", &token])
        .exits(0)
        .says("release hello 1.1.0 was confirmed before");
    scene.site.nothing_to_do();
    scene.new.runs_on(&scene.twin);
    assert_eq!(scene.twin.oem(LEFT), "");
    let status = scene.site.run(&["status"]).exits(0);
    status.says("hello 1.1.0  applied");
}

#[test]
fn a_release_is_cancelled() {
    let scene = Scene::new();
    let token = scene.unconfirmed();
    let ran = scene.site.run(&["cancel", &token]).exits(0);
    ran.says("cancelled: the VPU rolled release hello 1.1.0 back");
    scene
        .site
        .run(&["cancel", &token])
        .exits(0)
        .says("the VPU has already rolled back");
    scene
        .site
        .run(&["confirm", &token])
        .exits(6)
        .says("the VPU has already rolled back");
    scene.rolled_back();
}

#[test]
fn a_restart_or_the_deadline_rolls_an_unconfirmed_release_back() {
    let scene = Scene::new();
    scene.unconfirmed();
    scene.twin.reboot();
    scene.link.lead_to(&scene.twin);
    let verdict = scene.verdict();
    assert!(
        verdict.contains("the VPU restarted before anybody confirmed the apply of"),
        "{verdict}"
    );
    scene.old.runs_on(&scene.twin);
    scene.unconfirmed();
    let history = scene.site.run(&["history"]).exits(0);
    history
        .says("deployed before; 1.1.0 runs and waits to be confirmed or cancelled")
        .says("1.1.0  the VPU restarted before the confirmation, rolled back by the VPU");
    scene.twin.oem(TIME_IS_UP);
    let verdict = scene.verdict();
    assert!(
        verdict.contains("nobody confirmed the apply of"),
        "{verdict}"
    );
    let history = scene.site.run(&["history"]).exits(0);
    history.says("1.1.0  not confirmed in time, rolled back by the VPU");
    scene.rolled_back();
}

/// The same compose file, but stopped. A shutdown removes the containers and the boot creates new ones; the rollback left
/// those with the name that docker-compose gives to what it replaces.
#[test]
fn regression_a_rollback_keeps_containers_that_the_boot_created() {
    let scene = Scene::with("autostart = true\n");
    scene.old.write(&scene.site);
    // Only a unit that a boot started has containers to remove.
    scene.twin.reboot();
    scene.link.lead_to(&scene.twin);
    let manifest = std::fs::read_to_string(scene.site.path("deploy.toml")).unwrap();
    let stopped = manifest.replace(
        "autostart = true\n",
        "autostart = true\nstate = \"stopped\"\n",
    );
    scene.site.write("deploy.toml", &stopped);
    scene
        .site
        .run(&["apply", "--yes", "--confirm-within", "30m"])
        .exits(0);
    // What a shutdown does before it stops docker.
    scene.twin.oem("systemctl --user stop oem-dc@hello");
    assert_eq!(scene.twin.oem("docker ps -aq"), "");
    scene.twin.reboot();
    scene.link.lead_to(&scene.twin);
    scene.verdict();
    scene.rolled_back();
    let names = scene.twin.oem("docker ps -a --format '{{.Names}}'");
    assert_eq!(names.trim(), "hello_web_1");
}

#[test]
fn a_first_release_waits_for_a_confirmation_unless_the_watchdog_is_off() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    let waiting = ["apply", "--yes", "--confirm-within", "30m"];
    let manifest = std::fs::read_to_string(site.path("deploy.toml")).unwrap();
    site.write(
        "deploy.toml",
        &format!("{manifest}[apply]\nwatchdog = false\n"),
    );
    site.run(&waiting)
        .exits(1)
        .says("--confirm-within: the manifest turns the watchdog off; nothing was done")
        .says("code: cannot-roll-back");
    let left = "docker ps -aq; ls .o3r-deploy 2>/dev/null; true";
    assert_eq!(twin.oem(left), "");

    site.write("deploy.toml", &manifest);
    let ran = site.run(&waiting).exits(0);
    app.runs_on(&twin);
    site.run(&["status"])
        .exits(0)
        .says("hello: the new release waits to be confirmed; the VPU rolls back automatically in");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let (_, token) = said.split_once("o3r-deploy cancel ").unwrap();
    let token: String = token
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    site.run(&["cancel", &token]).exits(0).says("cancelled");
    assert_eq!(
        twin.oem("docker ps -aq; ls -A /usr/share/oem/docker/compose"),
        ""
    );
    site.apply();
    app.runs_on(&twin);
}
