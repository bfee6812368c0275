//! A failed apply rolls back to the recorded release, whatever was started since.

use crate::support::{App, Site, Twin};

const FAILS: &str = "echo no camera found; exit 3";

/// A twin on which release 1.0.0 of the application runs.
struct Deployed {
    twin: Twin,
    site: Site,
    app: App,
    /// Its files and container.
    before: String,
}

impl Deployed {
    fn new(app: App) -> Self {
        let twin = Twin::up();
        let site = Site::new(&twin);
        app.write(&site);
        site.apply();
        let before = Self::seen(&twin);
        Self {
            twin,
            site,
            app,
            before,
        }
    }

    /// Returns files with their modes, the volume's
    /// directory, and what the containers were created from.
    fn seen(twin: &Twin) -> String {
        twin.oem(
            "cd /usr/share/oem/docker/compose/hello && find . -type f -printf '%p %m ' -exec sha256sum {} ';' | sort
             docker volume inspect -f '{{.Options.device}}' share
             docker ps -a --format '{{.Names}} {{.Image}}' | sort",
        )
    }

    /// Applies what is written, which must fail and be rolled back.
    #[track_caller]
    fn is_taken_back(&self) {
        let ran = self.site.run(&["apply", "--yes"]).exits(6);
        ran.says("the previous release was restored");
        assert_eq!(Self::seen(&self.twin), self.before);
        self.twin.oem("[ ! -e ~/.o3r-deploy/previous ]");
        self.app.runs_on(&self.twin);
        self.app.write(&self.site);
        self.site.nothing_to_do();
    }
}

#[test]
fn file_that_does_not_fit() {
    let mut vpu = Deployed::new(App::new("1.0.0"));
    // A second release, as the bug kept a copy of the first one's files.
    vpu.app.greeting = "second".to_owned();
    vpu.app.write(&vpu.site);
    vpu.site.apply();
    vpu.twin.root(
        "cd /usr/share/oem/docker/compose/hello && cp -a conf /tmp/conf && mount -t tmpfs -o size=8k none conf &&
         cp -a /tmp/conf/. conf && chown oem: conf && docker restart -t 0 hello_web_1",
    );
    vpu.before = Deployed::seen(&vpu.twin);
    let mut app = vpu.app.clone();
    app.setting = "third".to_owned();
    app.greeting = "x".repeat(100_000);
    app.write(&vpu.site);
    vpu.is_taken_back();
    vpu.twin
        .root("umount /usr/share/oem/docker/compose/hello/conf");
}

#[test]
fn release_that_was_cut_off_and_crashes_when_it_is_resumed() {
    for step in ["tag.hello:1.1.0", "file.hello/conf/greeting.txt"] {
        let vpu = Deployed::new(App::new("1.0.0"));
        let mut bad = App::new("1.1.0");
        bad.command = FAILS.to_owned();
        bad.write(&vpu.site);
        vpu.site.write("conf/new.txt", "new in 1.1.0");
        let mut apply = vpu.site.start(&["apply", "--yes", "-v"]);
        assert!(apply.wait_for(step), "{:?}", apply.finish());
        apply.signal("KILL");
        apply.finish().exits(137);
        // A third one is applied now, which does not have the second's new file.
        std::fs::remove_file(vpu.site.path("conf/new.txt")).unwrap();
        vpu.site.write("conf/newer.txt", "new in 1.1.0, too");
        let ran = vpu.site.run(&["apply", "--yes"]).exits(6);
        ran.says("no camera found");
        assert_eq!(Deployed::seen(&vpu.twin), vpu.before, "after {step}");
        vpu.app.runs_on(&vpu.twin);
        std::fs::remove_file(vpu.site.path("conf/newer.txt")).unwrap();
        vpu.app.write(&vpu.site);
        vpu.site.nothing_to_do();
    }
}

#[test]
fn release_that_moves_a_volume_and_adds_a_service() {
    let mut app = App::new("1.0.0");
    app.volume = "replace = true".to_owned();
    let vpu = Deployed::new(app);
    vpu.twin.oem("echo kept >share/data");
    let mut bad = App::new("1.1.0");
    bad.volume = "replace = true".to_owned();
    bad.command = FAILS.to_owned();
    bad.services =
        "  other:\n    image: hello:1.1.0\n    command: [\"sleep\", \"10000\"]\n    volumes:\n      - share:/share\n      - ./conf/greeting.txt:/greeting.txt:ro\n"
            .to_owned();
    bad.write(&vpu.site);
    let manifest = std::fs::read_to_string(vpu.site.path("deploy.toml")).unwrap();
    let moved = manifest.replace("path = \"~/share\"", "path = \"~/elsewhere\"");
    vpu.site.write("deploy.toml", &moved);
    vpu.is_taken_back();
    assert_eq!(
        vpu.twin.oem("docker exec hello_web_1 cat /share/data"),
        "kept"
    );
}

#[test]
fn release_that_was_stopped() {
    let mut vpu = Deployed::new(App::new("1.0.0"));
    vpu.app.compose = "state = \"stopped\"".to_owned();
    vpu.app.write(&vpu.site);
    vpu.site.apply();
    let mut bad = App::new("1.1.0");
    bad.command = FAILS.to_owned();
    bad.write(&vpu.site);
    vpu.site.run(&["apply", "--yes"]).exits(6);
    let state = "docker inspect -f '{{.Config.Image}} {{.State.Running}}' hello_web_1";
    assert_eq!(vpu.twin.oem(state), "hello:1.0.0 false");
    vpu.app.write(&vpu.site);
    vpu.site.nothing_to_do();
}

#[test]
fn release_that_no_longer_starts() {
    let mut app = App::new("1.0.0");
    // It starts once, and docker does not restart it.
    app.restart = "no".to_owned();
    app.command = format!(
        "[ ! -e /share/started ] || exit 3; touch /share/started; {}",
        app.command
    );
    let vpu = Deployed::new(app);
    vpu.twin.oem("docker restart -t 0 hello_web_1");
    let ran = vpu.site.run(&["apply", "--yes"]).exits(4);
    ran.says("the previous release could not be restored: compose.hello");
    ran.says_not("was restored");
}

#[test]
fn service_that_exits_with_0_and_has_no_restart_policy() {
    let mut app = App::new("1.0.0");
    app.services = "  once:\n    image: hello:1.0.0\n    command: [\"true\"]\n".to_owned();
    let vpu = Deployed::new(app);
    vpu.site.nothing_to_do();
    vpu.app.runs_on(&vpu.twin);
}

#[test]
fn file_that_is_no_longer_declared() {
    let vpu = Deployed::new(App::new("1.0.0"));
    vpu.site.write("conf/more/new.txt", "new in 1.1.0");
    vpu.site.apply();
    let directory = "ls -R /usr/share/oem/docker/compose/hello/conf";
    assert!(vpu.twin.oem(directory).contains("new.txt"));
    std::fs::remove_dir_all(vpu.site.path("conf/more")).unwrap();
    assert_eq!(
        vpu.site.steps(),
        [
            "remove file.hello/conf/more/new.txt",
            "update compose.hello",
            "update release.hello"
        ]
    );
    vpu.site.apply();
    assert!(!vpu.twin.oem(directory).contains("more"));
    vpu.app.runs_on(&vpu.twin);
}

#[test]
fn release_whose_image_somebody_removed() {
    let vpu = Deployed::new(App::new("1.0.0"));
    vpu.twin.oem(
        "docker stop -t 0 hello_web_1
         docker image ls --format '{{.Repository}}:{{.Tag}}' | grep -e hello: -e o3r-deploy/ | xargs docker rmi -f
         docker start hello_web_1",
    );
    // While it runs, it is not removed for a release that may fail.
    let mut bad = App::new("1.1.0");
    bad.command = FAILS.to_owned();
    bad.write(&vpu.site);
    vpu.site
        .run(&["apply", "--yes"])
        .exits(9)
        .says("the image of container hello_web_1 was removed from the VPU")
        .says("docker stop hello_web_1")
        .says("code: image-removed");
    vpu.app.runs_on(&vpu.twin);
    vpu.twin.oem("docker stop -t 0 hello_web_1");
    let plan = vpu.site.run(&["plan"]).exits(0);
    plan.says(
        "cannot be restored: the image hello:1.0.0 of the last recorded release no longer exists",
    );
    let ran = vpu.site.run(&["apply", "--yes"]).exits(4);
    ran.says("no longer has image hello:1.0.0 of the previous release");
    let pulls = vpu
        .twin
        .root("journalctl -u docker | grep -ci pull || true");
    assert_eq!(pulls, "0");
}

/// Started by hand, as by the old tool, or recorded in a home directory that an update of the firmware erased.
#[test]
fn what_no_release_has_recorded() {
    let vpu = Deployed::new(App::new("1.0.0"));
    let compose = "cd /usr/share/oem/docker/compose/hello && docker-compose";
    for ran_before in [
        "rm -r .o3r-deploy",
        &format!("rm -r .o3r-deploy; {compose} up -d --force-recreate 2>&1"),
    ] {
        vpu.twin.oem(ran_before);
        let status = vpu.site.run(&["status"]).exits(0);
        status.says(
            "hello  its record is gone, as after a firmware update: the next apply rebuilds it",
        );
        let mut bad = App::new("1.1.0");
        FAILS.clone_into(&mut bad.command);
        bad.write(&vpu.site);
        let ran = vpu.site.run(&["apply", "--yes"]).exits(6);
        ran.says("the previous state was restored")
            .says("the VPU is as before");
        assert_eq!(Deployed::seen(&vpu.twin), vpu.before);
        vpu.twin.has_no_remains();
        vpu.app.runs_on(&vpu.twin);
    }
    // It is adopted, and rolled back to by later applies.
    vpu.app.write(&vpu.site);
    vpu.site.apply();
    vpu.site.nothing_to_do();
}

/// A technician edited them on the VPU, and the apply overwrites them.
#[test]
fn files_that_were_edited() {
    let vpu = Deployed::new(App::new("1.0.0"));
    let directory = "cd /usr/share/oem/docker/compose/hello";
    let edit = format!("{directory} && echo SETTING=edited >app.env && rm conf/greeting.txt");
    let mut bad = App::new("1.1.0");
    FAILS.clone_into(&mut bad.command);

    // The VPU keeps the contents of the release.
    vpu.twin.oem(&edit);
    bad.write(&vpu.site);
    vpu.is_taken_back();

    // It does not, and says so before.
    vpu.twin.oem(&format!("{edit}; rm ~/.o3r-deploy/store/*"));
    bad.write(&vpu.site);
    let plan = vpu.site.run(&["plan"]).exits(0);
    plan.says("if a step fails, file.hello/app.env cannot be restored")
        .says("if a step fails, file.hello/conf/greeting.txt cannot be restored")
        .says_not("file.hello/docker-compose.yml cannot");
    let ran = vpu.site.run(&["apply", "--yes"]).exits(4);
    ran.says("the previous release could not be restored: file.hello/");
    vpu.app.write(&vpu.site);
    vpu.site.apply();
    vpu.app.runs_on(&vpu.twin);
}
