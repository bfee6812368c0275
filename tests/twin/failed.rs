//! Applies that fail: exit codes 4, 5 and 6.

use crate::support::{App, Site, Twin};

#[test]
fn first_release_that_crashes() {
    for restart in ["no", "unless-stopped"] {
        let twin = Twin::up();
        let site = Site::new(&twin);
        let mut app = App::new("1.0.0");
        app.restart = restart.to_owned();
        app.command = "echo no camera found; exit 3".to_owned();
        app.write(&site);
        let ran = site.run(&["apply", "--yes"]).exits(6);
        ran.says("compose.hello failed; the previous state was restored")
            .says("the VPU is as before: a new plan has the same 5 changes")
            .says("code: rolled-back");
        let ended = if restart == "no" {
            "exited with code 3"
        } else {
            "last after exit code 3"
        };
        ran.says(ended)
            .says("no camera found")
            .says("fix the problem and run `apply` again")
            .says_not("previous release");
        assert!(site.logs().contains("no camera found"));
        assert_eq!(
            twin.oem("docker ps -aq; ls -A /usr/share/oem/docker/compose"),
            ""
        );
        twin.has_no_remains();
        site.run(&["status"])
            .exits(0)
            .says("failed at compose.hello; it was rolled back");

        // Left as it is, for a look at it.
        site.run(&["apply", "--yes", "--no-rollback"])
            .exits(4)
            .says("code: step-failed");
        assert_eq!(
            twin.oem("docker ps -a --format '{{.Names}}'"),
            "hello_web_1"
        );
        site.run(&["status"])
            .exits(0)
            .says("hello, left by an incomplete apply");

        // One that prints nothing is not quoted.
        app.command = "exit 4".to_owned();
        app.write(&site);
        let silent = site.run(&["apply", "--yes"]).exits(6);
        silent.says("printed nothing").says("code 4");

        let fixed = App::new("1.0.0");
        fixed.write(&site);
        site.apply();
        fixed.runs_on(&twin);
        site.nothing_to_do();
    }
}

#[test]
fn next_release_that_crashes_is_rolled_back() {
    for restart in ["no", "unless-stopped"] {
        let twin = Twin::up();
        let site = Site::new(&twin);
        let good = App::new("1.0.0");
        good.write(&site);
        site.apply();
        let image = "docker inspect -f '{{.Image}} {{.Config.Image}}' hello_web_1";
        let files = "cd /usr/share/oem/docker/compose/hello && find . -type f -printf '%p %m\\n' -exec sha256sum {} + | sort";
        let before = (twin.oem(image), twin.oem(files));

        let mut bad = App::new("1.1.0");
        bad.restart = restart.to_owned();
        bad.command = "echo no camera found; exit 3".to_owned();
        bad.write(&site);
        site.write("conf/new.txt", "new in 1.1.0");
        let ran = site.run(&["apply", "--yes"]).exits(6);
        ran.says("compose.hello failed; the previous release was restored")
            .says("code: rolled-back")
            .says("no camera found")
            .says("the VPU matches the previous release again");
        insta::allow_duplicates!(insta::assert_snapshot!(
            "rollback",
            site.redact(&progress(&ran.stderr))
        ));
        assert_eq!((twin.oem(image), twin.oem(files)), before);
        good.runs_on(&twin);
        site.run(&["status"])
            .exits(0)
            .says("hello: the apply of 1.1.0 by tester@")
            .says("failed at compose.hello; it was rolled back");
        twin.has_no_remains();

        std::fs::remove_file(site.path("conf/new.txt")).unwrap();
        good.write(&site);
        site.nothing_to_do();
    }
}

/// docker-compose says it of the container, under a temporary name, and again of the service.
#[test]
fn what_docker_says_of_a_container_that_does_not_start_is_quoted_once() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    App::new("1.0.0").write(&site);
    site.apply();
    let mut bad = App::new("1.1.0");
    bad.services = "    devices: [\"/dev/nothing-here:/dev/camera\"]\n".to_owned();
    bad.write(&site);
    let ran = site.run(&["apply", "--yes"]).exits(6);
    ran.says("ERROR: for hello_web_1 Cannot start service web: ");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(
        said.matches("Cannot start service web").count(),
        1,
        "{said}"
    );
    assert!(!said.contains("_hello_web_1"), "{said}");
}

/// Returns the progress lines.
fn progress(stderr: &str) -> String {
    let lines = stderr
        .lines()
        .take_while(|line| !line.trim_start().starts_with("error:"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn next_release_that_crashes_stays_with_no_rollback() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    App::new("1.0.0").write(&site);
    site.apply();
    let mut bad = App::new("1.1.0");
    bad.command = "exit 3".to_owned();
    bad.write(&site);
    let plan = site.run(&["plan", "-v"]).exits(0);
    plan.says("- image: hello:1.0.0")
        .says("+ image: hello:1.1.0");
    site.run(&["apply", "--yes", "--no-rollback"])
        .exits(4)
        .says("nothing was restored (--no-rollback)")
        .says("or return to the previous release with: o3r-deploy rollback");
    assert_eq!(
        twin.oem("docker inspect -f '{{.Config.Image}}' hello_web_1"),
        "hello:1.1.0"
    );
    site.run(&["plan", "--exit-code"]).exits(2);
    let failed = "failed at compose.hello and was not rolled back: fix it and run o3r-deploy apply, or return to 1.0.0";
    site.run(&["status"])
        .exits(0)
        .says("hello: the apply of 1.1.0 by tester@")
        .says(failed);
    let next = App::new("1.2.0");
    next.write(&site);
    site.apply();
    next.runs_on(&twin);
    site.run(&["status"]).exits(0).says_not(failed);
}

#[test]
fn container_that_undoes_what_was_applied() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let mut app = App::new("1.0.0");
    app.command = format!("chmod 700 /share/logs; {}", app.command);
    app.write(&site);
    let ran = site.run(&["apply", "--yes"]).exits(5);
    ran.says("update directory.~/share/logs")
        .says("mode: 0700 -> 0775");
    ran.says("all steps succeeded, but the VPU has not converged: 1 still to do")
        .says("code: not-converged")
        .says("something on the VPU undoes");
}

#[test]
fn image_that_does_not_arrive_whole() {
    let twin = Twin::up();
    let site = Site::new(&twin);
    let app = App::new("1.0.0");
    app.write(&site);
    // A full disk: docker cannot unpack the image.
    twin.root("mount -t tmpfs -o size=100k none /var/lib/docker/tmp");
    let ran = site.run(&["apply", "--yes"]).exits(4);
    ran.says("image.hello:1.0.0 failed; no running container was touched");
    twin.root("umount /var/lib/docker/tmp");
    site.apply();
    app.runs_on(&twin);
}
