//! Interrupts, crashes, lost connections and power cuts: a second apply always converges.

use std::{thread::sleep, time::Duration};

use crate::support::{App, Layout, Link, Packing, Running, Site, Twin};

/// Checks that an apply converges, and that the container runs what is declared.
#[track_caller]
fn converges(site: &Site, twin: &Twin, app: &App) {
    site.apply();
    app.runs_on(twin);
    site.nothing_to_do();
}

/// Starts applying `app` and waits until a step of this name is done.
fn apply_until(site: &Site, app: &App, step: &str) -> Running {
    app.write(site);
    // Internal steps, such as tags, have a line only with -v.
    let mut apply = site.start(&["apply", "--yes", "-v"]);
    if apply.wait_for(step) {
        return apply;
    }
    panic!("{step} was not done: {:?}", apply.finish());
}

#[test]
fn interrupt_while_an_image_is_sent() {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    let app = App::new("1.0.0");
    app.write_files(&site);
    let image = app.image().filled(20 << 20);
    image.write(
        &site.path("dist/hello-1.0.0.tar"),
        Layout::Docker,
        Packing::Plain,
    );
    link.slow(500_000);
    let mut apply = site.start(&["apply", "--yes"]);
    assert!(apply.wait_for("created volume.share"));
    sleep(Duration::from_secs(1));
    apply.signal("INT");
    let ran = apply.finish().exits(130);
    ran.says("interrupted in the middle of image.hello:1.0.0, after 3 of 10 steps; no running container was touched");
    ran.says("run `apply` again");
    assert_eq!(twin.oem("docker image ls -aq"), "");
    link.slow(0);
    site.apply();
    app.runs_on(&twin);
    site.nothing_to_do();
}

#[test]
fn interrupt_in_the_switch() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    App::new("1.0.0").write(&site);
    site.apply();

    let app = App::new("1.1.0");
    let apply = apply_until(&site, &app, "tag.hello:1.1.0");
    apply.signal("INT");
    let ran = apply.finish().exits(130);
    ran.says("interrupted before")
        .says("of 7 steps; completed steps are not undone");
    converges(&site, &twin, &app);

    // One interrupt: the running step completes, and no other one starts.
    let app = App::new("1.2.0");
    let apply = apply_until(&site, &app, "file.hello/conf/greeting.txt");
    sleep(Duration::from_millis(500));
    apply.signal("INT");
    let ran = apply.finish().exits(130);
    ran.says(
        "interrupted before release.hello, after 6 of 7 steps; completed steps are not undone",
    );
    app.runs_on(&twin);
    assert_eq!(
        site.steps(),
        ["update vpu.watchdog", "update release.hello"]
    );
    converges(&site, &twin, &app);

    // Two interrupts: it ends at once.
    let app = App::new("1.3.0");
    let apply = apply_until(&site, &app, "file.hello/conf/greeting.txt");
    sleep(Duration::from_millis(300));
    apply.signal("INT");
    sleep(Duration::from_millis(200));
    apply.signal("INT");
    let ran = apply.finish().exits(130);
    ran.says("interrupted in the middle of compose.hello, after 5 of 7 steps; completed steps are not undone");
    converges(&site, &twin, &app);
}

#[test]
fn terminate_stops_as_an_interrupt_does() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    for (signal, step) in [
        ("TERM", "created volume.share"),
        ("HUP", "created tag.hello:1.0.0"),
    ] {
        let apply = apply_until(&site, &app, step);
        apply.signal(signal);
        apply.finish().exits(130).says("interrupted");
        twin.oem("rm -rf share; docker volume rm share");
    }
    converges(&site, &twin, &app);
}

/// Kills the deployer right after each of `steps` (and `wait` milliseconds later), each time while
/// it applies a new version.
fn killed_after(steps: &[(&str, u64)]) {
    let twin = Twin::up();
    let site = Site::new(&twin);
    App::new("1.0.0").write(&site);
    site.apply();
    for (number, (step, wait)) in steps.iter().enumerate() {
        let app = App::new(&format!("1.1.{number}"));
        let apply = apply_until(&site, &app, step);
        sleep(Duration::from_millis(*wait));
        apply.signal("KILL");
        apply.finish().exits(137);
        converges(&site, &twin, &app);
        twin.has_no_remains();
    }
    // Back to the recorded release instead.
    let recorded = App::new(&format!("1.1.{}", steps.len() - 1));
    let apply = apply_until(&site, &App::new("1.2.0"), steps[0].0);
    apply.signal("KILL");
    apply.finish().exits(137);
    recorded.write(&site);
    converges(&site, &twin, &recorded);
    twin.has_no_remains();
}

#[test]
fn killed_while_files_change() {
    killed_after(&[
        ("image.hello", 0),
        ("tag.hello", 0),
        ("file.hello/docker-compose.yml", 0),
        ("file.hello/app.env", 0),
    ]);
}

#[test]
fn killed_while_containers_change() {
    killed_after(&[
        ("file.hello/conf/greeting.txt", 0),
        ("file.hello/conf/greeting.txt", 300),
        ("file.hello/conf/greeting.txt", 1500),
        ("compose.hello", 0),
    ]);
}

#[test]
fn killed_with_only_a_file_changed() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    app.write(&site);
    site.apply();
    // The file is written, but the container still has the
    // old one: docker-compose would see no change.
    app.greeting = "another".to_owned();
    let apply = apply_until(&site, &app, "file.hello/conf/greeting.txt");
    apply.signal("KILL");
    apply.finish().exits(137);
    converges(&site, &twin, &app);

    // Killed while containers stop to make room for others: in any case, they do not stay down.
    app.services = "  slow:\n    image: hello:1.0.0\n    command: [\"sleep\", \"10000\"]\n    \
                    stop_grace_period: 4s\n    \
                    volumes: [\"./conf/greeting.txt:/greeting.txt:ro\"]\n"
        .to_owned();
    app.write(&site);
    site.apply();
    app.greeting = "a third".to_owned();
    let apply = apply_until(&site, &app, "file.hello/conf/greeting.txt");
    sleep(Duration::from_secs(1));
    apply.signal("KILL");
    apply.finish().exits(137);
    assert_eq!(
        twin.oem(
            "for try in $(seq 30); do
                up=$(docker ps --format '{{.Names}}' | sort | tr '\\n' ' ')
                [ \"$up\" = 'hello_slow_1 hello_web_1 ' ] && break
                sleep 1
            done; echo \"$up\""
        ),
        "hello_slow_1 hello_web_1"
    );
    converges(&site, &twin, &app);
}

#[test]
fn power_cut() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    App::new("1.0.0").write(&site);
    site.apply();
    for (number, step) in [
        "tag.hello",
        "file.hello/app.env",
        "file.hello/conf/greeting.txt",
    ]
    .iter()
    .enumerate()
    {
        let app = App::new(&format!("1.1.{number}"));
        let apply = apply_until(&site, &app, step);
        twin.power_cut();
        let ran = apply.finish().exits(10);
        ran.says("the connection to")
            .says("was lost")
            .says("the VPU rolls back to the previous release automatically");
        converges(&site, &twin, &app);
    }
}

#[test]
fn lost_connection() {
    let twin = Twin::up();
    let link = Link::to(&twin);
    let site = Site::through(&link, &twin);
    let app = App::new("1.0.0");
    app.write_files(&site);
    let image = app.image().filled(20 << 20);
    image.write(
        &site.path("dist/hello-1.0.0.tar"),
        Layout::Docker,
        Packing::Plain,
    );
    link.slow(500_000);
    let mut apply = site.start(&["apply", "--yes"]);
    assert!(apply.wait_for("created volume.share"));
    sleep(Duration::from_secs(1));
    link.cut();
    link.slow(0);
    // Nothing that runs is touched yet: it resumes automatically.
    let ran = apply.finish().exits(0);
    ran.says("connection to the VPU lost; reconnecting in 1 s")
        .says("reconnected");
    app.runs_on(&twin);
    site.nothing_to_do();

    let app = App::new("1.1.0");
    let apply = apply_until(&site, &app, "file.hello/conf/greeting.txt");
    link.cut();
    let ran = apply.finish().exits(10);
    ran.says("compose.hello failed; the VPU rolls back to the previous release automatically")
        .says("was lost")
        .says("of the new release: tag.hello:1.1.0, file.hello/")
        .says("of either release: compose.hello")
        .says("not started: release.hello")
        .says("after a reboot, the VPU also rolls back")
        .says("o3r-deploy status");
    converges(&site, &twin, &app);
}

#[test]
fn another_vpu_that_answers_after_a_lost_connection() {
    let (twin, other) = (Twin::up(), Twin::up());
    let link = Link::to(&twin);
    let mut site = Site::through(&link, &twin);
    let both = format!("[\"{}\", \"{}\"]", twin.host_key, other.host_key);
    let one = format!("\"{}\"", twin.host_key);
    site.vpu = site.vpu.replace(&one, &both);
    let app = App::new("1.0.0");
    app.write_files(&site);
    let image = app.image().filled(20 << 20);
    let archive = site.path("dist/hello-1.0.0.tar");
    image.write(&archive, Layout::Docker, Packing::Plain);
    link.slow(500_000);
    let mut apply = site.start(&["apply", "--yes"]);
    assert!(apply.wait_for("created volume.share"));
    sleep(Duration::from_secs(1));
    link.lead_to(&other);
    link.cut();
    link.slow(0);
    let ran = apply.finish().exits(3);
    ran.says("another VPU answers")
        .says("code: other-vpu")
        .says("nothing was done on it");
    let untouched = "ls -A ~ | grep -e share -e o3r; docker volume ls -q; docker image ls -q";
    assert_eq!(other.oem(untouched), "");
    link.lead_to(&twin);
    converges(&site, &twin, &app);
}

#[test]
fn one_apply_at_a_time() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    let other = Site::new(&twin);
    app.write(&other);

    let first = apply_until(&site, &app, "directory.~/share/logs");
    first.signal("STOP");
    let ran = other.run(&["apply", "--yes"]).exits(7);
    ran.says("another apply is working on this VPU: tester@")
        .says("nothing was done")
        .says("--break-lock");
    other.run(&["plan"]).exits(0);
    let ran = other.run(&["apply", "--yes", "--lock-wait", "3s"]).exits(7);
    ran.says("another apply is working on this VPU: tester@")
        .says("waiting for it for up to 3s");
    let mut waiting = other.start(&["apply", "--yes", "--lock-wait", "5m"]);
    assert!(waiting.wait_for("waiting for it for up to 5m"));
    first.signal("CONT");
    first.finish().exits(0);
    // The first apply did everything.
    waiting.finish().exits(0).says("Nothing to do");
    other.nothing_to_do();

    // A killed holder has no lock.
    app.setting = "second".to_owned();
    app.write(&other);
    let second = apply_until(&site, &app, "file.hello/app.env");
    second.signal("STOP");
    other.run(&["apply", "--yes"]).exits(7);
    second.signal("KILL");
    second.finish().exits(137);
    converges(&other, &twin, &app);

    // Nor does one whose VPU lost its power.
    app.setting = "third".to_owned();
    app.write(&other);
    let third = apply_until(&site, &app, "file.hello/app.env");
    third.signal("STOP");
    twin.power_cut();
    converges(&other, &twin, &app);
    third.signal("CONT");
    third.finish().exits(10);
    other.nothing_to_do();
}

#[test]
fn interrupt_while_the_lock_is_waited_for() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    twin.oem("O3R_DEPLOY_RUN=works:o3r-0 nohup sleep 50 >/dev/null 2>&1 </dev/null &");
    let apply = site.start(&["apply", "--yes"]);
    sleep(Duration::from_secs(4));
    apply.signal("INT");
    let ran = apply.finish().exits(130);
    ran.says("interrupted while waiting for the lock");
    let log = site.logs();
    assert!(log.contains("waiting for the lock"), "{log}");
    twin.oem("pkill -x sleep; true");
    converges(&site, &twin, &app);
    assert!(site.logs().contains("checking that the VPU has converged"));
}

#[test]
fn lock_can_be_broken() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let other = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&other);
    let first = apply_until(&site, &app, "directory.~/share/logs");
    first.signal("STOP");
    other.run(&["apply", "--yes"]).exits(7);
    other.run(&["apply", "--yes", "--break-lock"]).exits(0);
    first.signal("KILL");
    first.finish().exits(137);
    app.runs_on(&twin);
    other.nothing_to_do();
    // The end of the killed one does not release the next one's lock.
    let mut next = App::new("1.1.0");
    next.setting = "next".to_owned();
    next.write(&other);
    converges(&other, &twin, &next);

    // One that loses the lock in the switch, and lives, promises nothing.
    let mut third = App::new("1.2.0");
    third.setting = "third".to_owned();
    let first = apply_until(&site, &third, "file.hello/app.env");
    first.signal("STOP");
    other.run(&["apply", "--yes", "--break-lock"]).exits(0);
    first.signal("CONT");
    let ran = first.finish().exits(10);
    ran.says("another apply took the lock and decides what runs")
        .says("wait for the other apply, then see what runs: o3r-deploy status")
        .says_not("within 120 s");
    next.runs_on(&twin);
    other.nothing_to_do();
}
