//! What is fine, what warns, and what is a problem.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    doctor::{Verdict, extra::Flash},
    observe::{Applied, Disk, Watchdog, read_document},
};

/// The observation of a fresh VPU, with what an older one lacks.
fn fresh() -> Observed {
    let document = read_document("tests/cmd/observed.in/seen.json".into());
    let mut observed = document.unwrap().observed();
    let Observed { facts, readings } = &mut observed;
    facts.autostart = Probed::Known(Autostart {
        template: Some("disabled".into()),
        lingering: Some(true),
        ..Autostart::default()
    });
    facts.listeners = Probed::Known(std::iter::empty().collect());
    readings.sha256_tool = true;
    readings.memory_total = Some(4 << 30);
    readings.memory_available = Some(3 << 30);
    readings.home_disk = Disk::parse("10000000 5000000 90000 /dev/mmcblk0p5 /home");
    readings.docker_disk = Disk::parse("20000000 15000000 90000 /dev/mmcblk0p6 /var/lib/docker");
    readings.clock = Some(1_000_000_000);
    observed
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_010)
}

/// Returns the checks that are not fine, by name.
fn found(observed: &Observed, extra: &Extra) -> Vec<(String, Verdict)> {
    let checks = vpu(observed, extra, now()).into_iter();
    let bad = checks.filter(|check| check.verdict != Verdict::Ok);
    // Whoever reads of it is told what it means.
    bad.inspect(|check| assert!(check.meaning.is_some(), "{check:?}"))
        .map(|check| (check.name, check.verdict))
        .collect()
}

#[track_caller]
fn changed(change: impl FnOnce(&mut Observed, &mut Extra)) -> Vec<(String, Verdict)> {
    let (mut observed, mut extra) = (fresh(), Extra::default());
    change(&mut observed, &mut extra);
    found(&observed, &extra)
}

fn one(name: &str, verdict: Verdict) -> Vec<(String, Verdict)> {
    vec![(name.to_owned(), verdict)]
}

#[test]
fn a_fresh_vpu_is_fine() {
    assert_eq!(found(&fresh(), &Extra::default()), []);
    let checks = vpu(&fresh(), &Extra::default(), now());
    let disks = checks.iter().filter(|check| check.name.ends_with("-disk"));
    assert_eq!(disks.count(), 2);
}

#[test]
fn what_prevents_deploying_is_a_problem() {
    let unknown = || "broken".to_owned();
    let problem = |name: &str| one(name, Verdict::Problem);
    assert_eq!(
        changed(|seen, _| seen.facts.docker = Probed::Unknown(unknown())),
        problem("docker")
    );
    assert_eq!(
        changed(|seen, _| seen.facts.system.load_interrupted = true),
        problem("docker")
    );
    assert_eq!(
        changed(|seen, _| seen.facts.compose = Probed::Unknown(unknown())),
        problem("compose")
    );
    assert_eq!(
        changed(|seen, _| seen.facts.system.home_refuses = Some(unknown())),
        problem("home")
    );
    let full = |text: &'static str| changed(|seen, _| seen.readings.home_disk = Disk::parse(text));
    assert_eq!(
        full("10000000 50000 90000 /dev/mmcblk0p5 /home"),
        problem("home-disk")
    );
    assert_eq!(
        full("10000000 5000000 90 /dev/mmcblk0p5 /home"),
        problem("home-disk")
    );
    assert_eq!(
        full("10000000 500000 - /dev/mmcblk0p5 /home"),
        one("home-disk", Verdict::Warning)
    );
    let lingers = |enabled: &'static str| {
        changed(|seen, _| {
            seen.facts.autostart = Probed::Known(Autostart {
                template: Some("disabled".into()),
                lingering: Some(false),
                enabled: enabled.split_terminator(',').map(str::to_owned).collect(),
                ..Autostart::default()
            });
        })
    };
    assert_eq!(lingers("app"), problem("autostart"));
    assert_eq!(lingers(""), []);
}

#[test]
fn what_fails_later_is_a_warning() {
    let warning = |name: &str| one(name, Verdict::Warning);
    assert_eq!(
        changed(|seen, _| seen.facts.device = Probed::Unknown("broken".to_owned())),
        warning("device")
    );
    assert_eq!(
        changed(|seen, _| seen.facts.records = Probed::Unknown("broken".to_owned())),
        warning("releases")
    );
    assert_eq!(
        changed(|seen, _| seen.readings.sha256_tool = false),
        warning("tools")
    );
    assert_eq!(
        changed(|seen, _| seen.readings.memory_available = Some(1 << 20)),
        warning("memory")
    );
    assert_eq!(
        changed(|seen, _| seen.readings.clock = Some(0)),
        warning("clock")
    );
    let none = Autostart::default();
    assert_eq!(
        changed(|seen, _| seen.facts.autostart = Probed::Known(none)),
        warning("autostart")
    );
    assert_eq!(
        changed(|seen, _| {
            let environment = &mut seen.facts.system.environment;
            environment.insert("DOCKER_HOST".into(), "tcp://x".into());
            environment.insert("HOME".into(), "/home/oem".into());
        }),
        warning("environment")
    );
    assert_eq!(
        changed(|seen, _| seen.readings.applying = Some(Applied::default())),
        warning("releases")
    );
    let wait = Watchdog::Interrupted { seconds_left: 20 };
    assert_eq!(
        changed(|seen, _| drop(seen.readings.watchdogs.insert("app".into(), wait))),
        warning("releases")
    );
    let worn = |reserved, used| {
        let device = "mmcblk0".to_owned();
        changed(|_, extra| {
            extra.flash = vec![Flash {
                device,
                reserved,
                used,
            }];
        })
    };
    assert_eq!(worn(1, 7), []);
    assert_eq!(worn(1, 8), warning("flash"));
    assert_eq!(worn(2, 1), warning("flash"));
    let load = |load| {
        changed(|_, extra| {
            extra.load = Some(load);
            extra.processors = Some(2);
        })
    };
    assert_eq!(load(3.9), []);
    assert_eq!(load(4.1), warning("load"));
    assert_eq!(
        changed(|_, extra| extra.archives = vec![("a.tar".into(), 1)]),
        warning("archives")
    );
    assert_eq!(
        changed(|_, extra| extra.old_link = Some("/x".into())),
        warning("old-autostart")
    );
}

#[test]
fn failing_containers_and_unused_images_are_named() {
    let mut observed = fresh();
    let container = json!({
        "name": "app_1", "image": "sha256:1", "status": "running", "exit_code": 0, "restart_policy": "always"
    });
    let image = json!({"tags": [], "layers": [], "arch": "arm64", "os": "linux"});
    observed.facts.containers =
        Probed::Known([("c".into(), serde_json::from_value(container).unwrap())].into());
    let image: crate::observe::Image = serde_json::from_value(image).unwrap();
    let images = [
        ("sha256:1".into(), image.clone()),
        ("sha256:2".into(), image),
    ];
    observed.facts.images = Probed::Known(images.into());
    // The container's image is in use.
    assert_eq!(
        found(&observed, &Extra::default()),
        one("images", Verdict::Warning)
    );
    observed.readings.restarts.insert("c".into(), 7);
    let checks = vpu(&observed, &Extra::default(), now());
    let of = |name: &str| {
        checks
            .iter()
            .find(|check| check.name == name)
            .unwrap()
            .found
            .clone()
    };
    assert_eq!(of("containers"), "app_1 was restarted 7 times");
    assert_eq!(of("images"), "1 without a name that no container uses");
    observed.readings.out_of_memory.insert("c".into());
    assert!(found(&observed, &Extra::default()).contains(&("containers".into(), Verdict::Warning)));
}
