//! Tests of the whole text.

use std::fmt::Write as _;

use o3r_core::facts;

use super::{drift, status_text};
use crate::{
    observe::{Observed, Probed, Query, parse},
    plan::{Action, BlockCode, Blocked, Summary},
    render::Style,
    status::{Change, Drift, FailedApply, status},
};

const NONCE: &str = "n";

/// The probe's output of a VPU that runs a project of ours, a foreign project and a container
/// without a project. `docker` is the exit code of docker's section.
fn observed(docker: i32) -> Observed {
    observed_with(docker, "")
}

/// As [`observed`], with further records of earlier applies.
fn observed_with(docker: i32, records: &str) -> Observed {
    let container = |pid: u32, id: &str, project: &str, state: &str, code: i32, health: &str| {
        format!(
            "{{\"pid\":{pid},\"id\":\"{id}\",\"name\":\"/{id}\",\"image\":\"sha256:{}\",\"status\":\"{state}\",\
             \"image_ref\":\"{}\",\"exit_code\":{code},\"health\":{health},\"restart_policy\":\"no\",\"project\":\"{project}\",\
             \"service\":\"web\",\"working_dir\":\"\",\"one_off\":\"\",\"volumes\":[]}}\n",
            "ab".repeat(32),
            if id == "hello_web_1" {
                "docker.io/library/hello:1.0"
            } else {
                "gone:7"
            },
        )
    };
    let containers = [
        container(7, "hello_web_1", "hello", "running", 0, "\"healthy\""),
        container(0, "hello_job_1", "hello", "exited", 0, "null"),
        container(0, "demo_web_1", "demo", "restarting", 139, "null"),
        container(8, "sick", "", "running", 0, "\"unhealthy\""),
    ];
    let image = format!(
        "{{\"id\":\"sha256:{}\",\"tags\":[\"hello:1.0\",\"a-name:2\",\"o3r-deploy/hello:abab\"],\"layers\":[],\"arch\":\"arm64\",\"os\":\"linux\"}}",
        "ab".repeat(32)
    );
    let release = format!(
        "{records}release hello\n{{\"at\":\"2026-11-23T01:20:00Z\",\"by\":\"you@pc\",\"version\":\"1.0\",\"desired\":\"sha256:{}\",\"projects\":[\"gone\",\"hello\"]}}\n.\n",
        "cd".repeat(32)
    );
    let autostart =
        "file oem-dc@.service indirect\nlingering yes\nenabled own hello\nenabled own old-demo";
    let system = "home=/home/oem\nuid=989\nmachine=aarch64\nboot_id=b\nuptime=90061.5\nsha256=sha256sum\n\
                  home_disk=8000000 5000000 - /dev/a /home\n\
                  memory_kb=3800000\nmemory_available_kb=1900000\n";
    let mut text = String::new();
    for (name, content, code) in [
        ("compose", "1.29.2", 0),
        ("images", image.as_str(), 0),
        (
            "containers",
            &format!(
                "{}docker 16000000 9000000 - /dev/b /var/lib/docker\nstarted 7 8987600\nstarted 8 9000000\n",
                containers.concat()
            ),
            docker,
        ),
        ("volumes", "", 0),
        (
            "docker",
            "{\"version\":\"20.10.25\",\"arch\":\"aarch64\"}",
            0,
        ),
        ("system", system, 0),
        ("listeners", "tcp", 0),
        ("autostart", autostart, 0),
        ("paths", "", 0),
        ("records", release.as_str(), 0),
    ] {
        let _ = write!(
            text,
            "{NONCE} begin {name}\n{content}\n{NONCE} end {name} {code}\n"
        );
    }
    parse(&text, NONCE, &Query::default()).unwrap()
}

fn rendered(docker: i32) -> String {
    let reason = Err("there is no deploy.toml in this folder".to_owned());
    status_text(
        &status("192.168.0.69", &observed(docker), reason),
        Style::default(),
    )
}

#[test]
fn the_whole_status_is_shown() {
    insta::assert_snapshot!(rendered(0), @r"
    192.168.0.69 (arm64, docker 20.10.25), up 1 d 01 h

    releases
      hello 1.0  applied 2026-11-23T01:20:00Z by you@pc

    containers
      without a project
        ✗ sick         running for 1 min 01 s, unhealthy  a-name:2
      demo, not managed by o3r-deploy, does not start at boot
        ✗ demo_web_1   restarting, exit code 139          a-name:2
      gone, of release hello, does not start at boot
        ✗ has no containers
      hello, starts at boot
        ○ hello_job_1  exited with code 0                 a-name:2
        ✓ hello_web_1  running for 3 min 05 s, healthy    hello:1.0

    autostart
      units oem-dc@NAME, enabled: hello, old-demo

    space
      home    4.77 GiB free of 7.63 GiB
      docker  8.58 GiB free of 15.3 GiB
      memory  1.81 GiB available of 3.62 GiB

    drift
      not compared: there is no deploy.toml in this folder

    ✗ device: not known: not probed
    ");
}

#[test]
fn regression_a_failed_first_apply_does_not_look_foreign() {
    let begun = "added demo/%added-docker-compose.yml\n.\n";
    let reason = Err("there is no deploy.toml in this folder".to_owned());
    let status = status("192.168.0.69", &observed_with(0, begun), reason);
    let text = status_text(&status, Style::default());
    let line = "demo, left by an incomplete apply, does not start at boot";
    assert!(text.contains(line), "{text}");
    let projects = status.projects.unwrap();
    let incomplete: Vec<&str> = projects
        .iter()
        .filter(|project| project.incomplete)
        .map(|project| project.name.as_str())
        .collect();
    assert_eq!(incomplete, ["demo"]);
}

/// A firmware update erases the home directory; docker's images and containers may survive it.
#[test]
fn a_release_whose_record_is_gone_still_owns_its_projects() {
    let mut observed = observed(0);
    // Another release has the same image, and a record.
    if let (Probed::Known(records), Probed::Known(images)) =
        (&mut observed.facts.records, &mut observed.facts.images)
    {
        let mut other = records.releases.remove("hello").unwrap();
        other.projects.clear();
        records.releases.insert("another".to_owned(), other);
        for image in images.values_mut() {
            image.tags.insert("o3r-deploy/another:abab".to_owned());
        }
    }
    if let Probed::Known(containers) = &mut observed.facts.containers {
        for container in containers.values_mut().filter(|one| one.project == "hello") {
            "/usr/share/oem/docker/compose/hello".clone_into(&mut container.working_dir);
        }
    }
    let reason = Err("there is no deploy.toml in this folder".to_owned());
    let text = status_text(&status("vpu", &observed, reason), Style::default());
    let line = "  hello, of release hello, starts at boot\n";
    assert!(text.contains(line), "{text}");
    let line = "  hello  its record is gone, as after a firmware update: the next apply rebuilds it from what the VPU has\n";
    assert!(text.contains(line), "{text}");
    // Its containers use the same image, but not from the directory of a project.
    assert!(
        text.contains("  demo, not managed by o3r-deploy, "),
        "{text}"
    );
}

/// The status where the records say this of a release, its watchdog and the manifest.
fn with(
    release: impl FnOnce(&mut facts::Release),
    watchdog: Option<facts::Watchdog>,
    drift: Option<Drift>,
) -> String {
    let mut observed = observed(0);
    if let Probed::Known(records) = &mut observed.facts.records {
        release(records.releases.get_mut("hello").unwrap());
    }
    let watchdog = watchdog.map(|watchdog| ("hello".to_owned(), watchdog));
    observed.readings.watchdogs = watchdog.into_iter().collect();
    let reason = Err("there is no deploy.toml in this folder".to_owned());
    let mut status = status("192.168.0.69", &observed, reason);
    if let Some(drift) = drift {
        status.drift = drift;
    }
    status_text(&status, Style::default())
}

#[test]
fn a_release_that_waits_for_confirmation_is_no_failure() {
    let waits = facts::Watchdog::Unconfirmed {
        version: "1.1".into(),
        seconds_left: 90,
    };
    let drift = Drift::Known {
        manifest: "deploy.toml".to_owned(),
        not_deployed: None,
        summary: Summary::default(),
        changes: vec![],
        blocked: vec![Blocked {
            address: "vpu.confirmation".parse().unwrap(),
            code: BlockCode::Unconfirmed,
            reason: String::new(),
            remedy: String::new(),
        }],
    };
    let text = with(|_| {}, Some(waits), Some(drift));
    let line = "\n  hello 1.1  waits for confirmation, 1 min 30 s left (o3r-deploy confirm TOKEN, ";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("rolls back to 1.0 automatically"), "{text}");
    assert!(
        text.contains("no apply until the release is confirmed or rolled back [unconfirmed]"),
        "{text}"
    );
    assert!(
        !text.contains("✗ hello") && !text.contains("✗ vpu"),
        "{text}"
    );
    assert!(!text.contains("hello 1.0  applied"), "{text}");
}

#[test]
fn a_failed_apply_is_reported_until_the_next_one() {
    let failed = facts::Watchdog::Ended(facts::Verdict {
        at: "2026-11-30T00:17:28Z".into(),
        by: "me@pc".into(),
        version: "1.1".into(),
        outcome: "restored".into(),
        why: facts::Verdict::STEP_FAILED.into(),
        step: Some("compose.hello".into()),
        failed: vec![],
    });
    let text = with(|_| {}, Some(failed), None);
    let line = "✗ hello: the apply of 1.1 by me@pc at 2026-11-30T00:17:28Z failed at compose.hello; it was rolled \
                back";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_release_whose_projects_were_removed_is_not_called_applied() {
    let text = with(
        |release| {
            release.projects.clear();
            release.removed = ["hello".to_owned()].into();
        },
        None,
        None,
    );
    let line = "hello 1.0  removed 2026-11-23T01:20:00Z by you@pc; project hello removed";
    assert!(text.contains(line), "{text}");
    assert!(!text.contains("applied"), "{text}");
}

#[test]
fn a_first_deployment_is_no_drift() {
    let change = Change {
        action: Action::Create,
        address: "directory.~/share".parse().unwrap(),
        causes: vec![],
    };
    let first = Drift::Known {
        manifest: "deploy.toml".to_owned(),
        not_deployed: Some("hello".to_owned()),
        summary: Summary {
            create: 1,
            ..Summary::default()
        },
        changes: vec![change],
        blocked: vec![],
    };
    let mut text = String::new();
    drift::write(&mut text, &first, Style::default());
    assert_eq!(
        text,
        "  release hello is not deployed yet (1 to create); see: o3r-deploy plan\n"
    );
}

#[test]
fn no_drift_is_reported_as_none() {
    let none = Drift::Known {
        manifest: "deploy.toml".to_owned(),
        not_deployed: None,
        summary: Summary {
            unchanged: 8,
            ..Summary::default()
        },
        changes: vec![],
        blocked: vec![],
    };
    let mut text = String::new();
    drift::write(&mut text, &none, Style::default());
    assert_eq!(text, "  none: the VPU matches deploy.toml, 8 unchanged\n");
}

#[test]
fn unknown_containers_are_not_reported_as_absent() {
    let text = rendered(1);
    assert!(
        text.contains("✗ containers: not known: docker container inspect"),
        "{text}"
    );
    assert!(!text.contains("has no containers"), "{text}");
}

#[test]
fn an_apply_that_was_not_rolled_back_is_told_with_the_way_on() {
    let reason = Err("there is no deploy.toml in this folder".to_owned());
    let mut status = status("192.168.0.69", &observed(0), reason);
    let failed = |release: &str| FailedApply {
        release: release.into(),
        version: "1.1".into(),
        at: "2026-11-30T00:17:28Z".into(),
        by: "me@pc".into(),
        step: "compose.hello".parse().unwrap(),
    };
    status.failed = vec![failed("hello"), failed("first")];
    let text = status_text(&status, Style::default());
    let failed = "the apply of 1.1 by me@pc at 2026-11-30T00:17:28Z failed at compose.hello and was not rolled back: fix it \
                  and run o3r-deploy apply";
    let line = format!("\n  ✗ hello: {failed}, or return to 1.0 with: o3r-deploy rollback\n");
    assert!(text.contains(&line), "{text}");
    let line = format!("\n  ✗ first: {failed}\n");
    assert!(text.contains(&line), "{text}");
}
