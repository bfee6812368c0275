//! Codes of blocks and notes that no other plan test covers.

use std::{collections::BTreeMap, time::Duration};

use o3r_deploy::internal::{
    desired::{Desired, Disabled, Image, Orphans, Volume},
    digest::Digest,
    observe::{self, Autostart, Container, Observed, PathFact, Probed, Verdict, Watchdog},
    offers::{DeltaOffer, ImageOffer, LayerOffer, Reach},
    plan::{self, BlockCode, Cause, NoteCode},
    status::status,
};

use crate::plan_blocks::{
    desired, disk, foreign, large_image, observed, planned, planned_with, project, service,
};

#[track_caller]
fn is_blocked(desired: &Desired, code: BlockCode, change: impl FnOnce(&mut Observed)) {
    let mut observed = observed();
    change(&mut observed);
    let plan = planned(desired, &observed);
    let is_code = plan.blocked.iter().any(|blocked| blocked.code == code);
    assert!(is_code, "{:#?}", plan.blocked);
}

#[test]
fn what_the_vpu_itself_lacks_has_a_code_each() {
    let app = desired(vec![project("app", &[("web", service(&[]))])]);
    let refuses = |observed: &mut Observed| {
        observed.facts.system.home_refuses = Some("~ is read-only".into());
    };
    is_blocked(&app, BlockCode::HomeNotWritable, refuses);
    let unreadable = |observed: &mut Observed| {
        observed.facts.records = Probed::Unknown("permission denied".into());
    };
    is_blocked(&app, BlockCode::RecordsUnreadable, unreadable);
    let mut guarded = app.clone();
    guarded.guards.serial = Some("000018988497".parse().unwrap());
    is_blocked(&guarded, BlockCode::DeviceUnknown, |_| {});
    let elsewhere = |observed: &mut Observed| observed.facts.system.arch = "arm64".into();
    is_blocked(&app, BlockCode::WrongArchitecture, elsewhere);
}

#[test]
fn image_for_another_architecture() {
    let mut wanted = desired(vec![]);
    wanted.images.push(Image {
        name: "app:1".into(),
        content: None,
        found: None,
        source: None,
    });
    let arm = |observed: &mut Observed| {
        let image = observe::Image {
            tags: ["app:1".to_owned()].into(),
            layers: vec![],
            arch: "arm64".into(),
            os: "linux".into(),
        };
        observed.facts.images = Probed::Known([("sha256:1".to_owned(), image)].into());
    };
    is_blocked(&wanted, BlockCode::ImageArchitecture, arm);
}

#[test]
fn volume_to_replace_that_others_use() {
    let mut wanted = desired(vec![]);
    wanted.volumes.push(Volume {
        name: "share".parse().unwrap(),
        path: "~/share".parse().unwrap(),
        replace: true,
        source: None,
    });
    let used = |observed: &mut Observed| {
        let volume = observe::Volume {
            driver: "local".into(),
            options: BTreeMap::new(),
            owner: None,
            project: String::new(),
            key: String::new(),
            anonymous: false,
        };
        observed.facts.volumes = Probed::Known([("share".to_owned(), volume)].into());
        let mut user = foreign("other");
        user.volumes = ["share".to_owned()].into();
        observed.facts.containers = Probed::Known([("1".to_owned(), user)].into());
        let above = PathFact::Directory {
            mode: 0o755,
            uid: observed.facts.system.uid,
        };
        let paths = &mut observed.facts.paths;
        paths.insert("/home/oem/share".into(), Probed::Known(above));
    };
    is_blocked(&wanted, BlockCode::VolumeInUse, used);
}

/// Returns a delta of 40 MB against the image `app:0`, instead of an archive of 448 MB.
fn image_with_a_delta(archive_bytes: u64) -> (Desired, ImageOffer, Observed) {
    let layer = LayerOffer {
        diff_id: Digest::of("one"),
        bytes: 0,
        unpacked: Some(1 << 20),
        spooled: 0,
        inodes: None,
    };
    let (desired, mut offer) = large_image(vec![layer]);
    offer.delta = Some(DeltaOffer {
        base: "sha256:0".into(),
        reach: Reach::Inside,
        bytes: 40 << 20,
        sha256: Digest::of("delta"),
        archive_bytes,
        copied_bytes: archive_bytes,
        layers: [layer.diff_id].into(),
    });
    let mut observed = observed();
    let old = observe::Image {
        tags: ["app:0".to_owned()].into(),
        layers: vec![],
        arch: "amd64".into(),
        os: "linux".into(),
    };
    observed.facts.images = Probed::Known([("sha256:0".to_owned(), old)].into());
    observed.readings.docker_disk = Some(disk(8 << 30));
    observed.readings.speeds.link = Some(1 << 20);
    (desired, offer, observed)
}

#[test]
fn the_way_an_image_is_sent_is_noted_with_a_code() {
    let codes = |archive: u64, change: fn(&mut Observed)| {
        let (desired, offer, mut observed) = image_with_a_delta(archive);
        change(&mut observed);
        let plan = planned_with(&desired, &observed, &offer);
        let notes = plan.notes.iter().map(|note| note.code);
        notes
            .filter(|code| *code != NoteCode::DeviceUnknown)
            .collect::<Vec<_>>()
    };
    let link = NoteCode::LinkSpeed;
    assert_eq!(codes(448 << 20, |_| {}), [NoteCode::DeltaUsed, link]);
    let fast = |observed: &mut Observed| observed.readings.speeds.link = Some(1 << 30);
    assert_eq!(codes(448 << 20, fast), [NoteCode::DeltaSlower, link]);
    let full = |observed: &mut Observed| observed.readings.docker_disk = Some(disk(500 << 20));
    assert_eq!(codes(448 << 20, full), [NoteCode::DeltaNoSpace, link]);
    let newer = |observed: &mut Observed| {
        let Probed::Known(docker) = &mut observed.facts.docker else {
            panic!("{:?}", observed.facts.docker)
        };
        docker.containerd_store = true;
    };
    assert!(codes(448 << 20, newer).contains(&NoteCode::WholeImages));
    let elsewhere = |observed: &mut Observed| {
        let environment = &mut observed.facts.system.environment;
        environment.insert("DOCKER_HOST".into(), "tcp://10.0.0.1".into());
    };
    assert!(codes(448 << 20, elsewhere).contains(&NoteCode::OtherDocker));
}

#[test]
fn the_watchdog_is_planned_and_its_verdict_noted() {
    let mut desired = desired(vec![project("app", &[("web", service(&[]))])]);
    desired.watchdog = Some(Duration::from_secs(90));
    let mut observed = observed();
    let first = planned(&desired, &observed);
    assert!(first.is_first_release() && first.watchdog.is_some());
    assert_eq!(first.way_back(), "the previous state");
    two_releases(&mut observed, "2026-01-01T00:00:00Z", "");
    let plan = planned(&desired, &observed);
    let watchdog = plan.watchdog.unwrap();
    assert_eq!((watchdog.release.as_str(), watchdog.seconds), ("app", 90));
    let mut codes = |change: &dyn Fn(&mut Observed)| {
        change(&mut observed);
        let plan = planned(&desired, &observed);
        let notes = plan.notes.iter().map(|note| note.code);
        notes.collect::<Vec<_>>()
    };
    let set = |watchdog: Watchdog| {
        move |observed: &mut Observed| {
            observed.readings.watchdogs = [("app".to_owned(), watchdog.clone())].into();
        }
    };
    let armed = codes(&set(Watchdog::Armed { seconds_left: 7 }));
    assert!(armed.contains(&NoteCode::WatchdogArmed), "{armed:?}");
    let rolling_back = codes(&set(Watchdog::RollingBack));
    assert!(rolling_back.contains(&NoteCode::WatchdogArmed));
    let waits = set(Watchdog::Unconfirmed {
        version: "2".into(),
        seconds_left: 7,
    });
    assert!(
        !codes(&waits).contains(&NoteCode::WatchdogArmed),
        "it blocks"
    );
    let interrupted = Watchdog::Interrupted { seconds_left: 7 };
    assert!(codes(&set(interrupted.clone())).contains(&NoteCode::WatchdogArmed));
    let ended = codes(&set(Watchdog::Ended(Verdict::default())));
    assert!(ended.contains(&NoteCode::RolledBackByVpu));
    let of_client = Verdict {
        why: Verdict::STEP_FAILED.into(),
        ..Verdict::default()
    };
    let ended = codes(&set(Watchdog::Ended(of_client)));
    assert!(!ended.contains(&NoteCode::RolledBackByVpu), "{ended:?}");
    let lingering = |on: bool| {
        move |observed: &mut Observed| {
            let Probed::Known(autostart) = &mut observed.facts.autostart else {
                panic!("{:?}", observed.facts.autostart)
            };
            autostart.lingering = Some(on);
        }
    };
    assert!(!codes(&lingering(true)).contains(&NoteCode::NoRollbackAtBoot));
    assert!(codes(&lingering(false)).contains(&NoteCode::NoRollbackAtBoot));
    is_blocked(&desired, BlockCode::Unconfirmed, waits);
    desired.watchdog = None;
    assert_eq!(planned(&desired, &observed).watchdog, None);
}

#[test]
fn an_apply_that_arms_no_watchdog_ends_that_of_an_interrupted_one() {
    let steps = |desired: &Desired, watchdog: Watchdog| {
        let mut observed = observed();
        two_releases(&mut observed, "2026-01-01T00:00:00Z", "");
        observed.readings.watchdogs = [("app".to_owned(), watchdog)].into();
        let steps = planned(desired, &observed).steps;
        let addresses = steps.iter().map(|step| step.address.to_string());
        addresses.collect::<Vec<_>>()
    };
    let interrupted = Watchdog::Interrupted { seconds_left: 7 };
    let nothing = desired(vec![]);
    let both = ["vpu.watchdog", "release.app"];
    assert_eq!(steps(&nothing, interrupted.clone()), both);
    let armed = Watchdog::Armed { seconds_left: 7 };
    assert_eq!(steps(&nothing, armed), ["release.app"]);
    let switches = desired(vec![project("app", &[("web", service(&[]))])]);
    assert!(!steps(&switches, interrupted).contains(&"vpu.watchdog".to_owned()));
}

/// Adds two releases that have the project `app`, each applied at a given time.
fn two_releases(observed: &mut Observed, app: &str, other: &str) {
    let release = observe::Release {
        version: "1".into(),
        desired: Digest::of("declared"),
        projects: ["app".to_owned()].into(),
        autostart: [].into(),
        removed: [].into(),
        leaving: [].into(),
        left: observe::Left::default(),
        adopted_images: [].into(),
        keep: None,
        made: BTreeMap::new(),
    };
    let Probed::Known(records) = &mut observed.facts.records else {
        panic!("there are records");
    };
    for (name, at) in [("app", app), ("other", other)] {
        let applied = observe::Applied {
            at: at.into(),
            by: "me@here".into(),
            ..observe::Applied::default()
        };
        observed.readings.applied.insert(name.into(), applied);
        records.releases.insert(name.into(), release.clone());
    }
}

#[test]
fn a_project_of_two_releases_belongs_to_the_one_that_was_applied_last() {
    let mut wanted = desired(vec![project("app", &[("web", service(&[]))])]);
    assert_eq!(wanted.release.name, "app");
    let (early, late) = ("2026-11-23T01:20:00Z", "2026-11-24T01:20:00Z");
    for (app, other, owner) in [(early, late, "other"), (late, early, "app")] {
        let mut observed = observed();
        two_releases(&mut observed, app, other);
        wanted.permits.take_over = false;
        let plan = planned(&wanted, &observed);
        let blocked: Vec<_> = plan.blocked.iter().collect();
        assert_eq!(blocked.len(), usize::from(owner == "other"), "{blocked:?}");
        for blocked in blocked {
            assert_eq!(blocked.code, BlockCode::OwnedByRelease);
            let said = format!(
                "project app belongs to release other, applied {late} by me@here, and this is release app"
            );
            assert_eq!(blocked.reason, said);
        }
        let status = status("192.168.0.69", &observed, Ok(&plan));
        let projects = status.projects.unwrap_or_default();
        let app = projects.iter().find(|project| project.name == "app");
        assert_eq!(app.unwrap().release.as_deref(), Some(owner));

        wanted.permits.take_over = true;
        let plan = planned(&wanted, &observed);
        assert_eq!(plan.blocked, []);
        let taken = |note: &&plan::Note| note.code == NoteCode::ProjectTakenOver;
        let moves = usize::from(owner == "other");
        assert_eq!(plan.notes.iter().filter(taken).count(), moves);
        let record = plan.steps.last().unwrap();
        let mut commands = record.commands.iter();
        let is_noted = commands.any(|command| command.contains("releases/other.taken"));
        assert_eq!(is_noted, owner == "other", "{:?}", record.commands);
    }
}

/// The directory of the project `old`, and the compose file that it was started from.
const OLD: &str = "/usr/share/oem/docker/compose/old/docker-compose.yml";

/// A VPU whose release has the projects `app` and `old`; the compose file of `old` is this one now.
fn with_an_old_project(file: &str) -> Observed {
    let mut observed = observed();
    two_releases(
        &mut observed,
        "2026-11-24T01:20:00Z",
        "2026-11-23T01:20:00Z",
    );
    let Probed::Known(records) = &mut observed.facts.records else {
        panic!("there are records");
    };
    records.releases.remove("other");
    let release = records.releases.get_mut("app").unwrap();
    release.projects.insert("old".to_owned());
    let input = observe::Input::File("docker-compose.yml".into());
    let made = observe::Made {
        running: true,
        inputs: [(input, Digest::of("as deployed").to_string())].into(),
    };
    release.made.insert("old".to_owned(), made);
    let there = PathFact::File {
        mode: 0o644,
        uid: 989,
        size: 3,
        sha256: Some(Digest::of(file)),
    };
    observed
        .facts
        .paths
        .insert(OLD.to_owned(), Probed::Known(there));
    let container = Container {
        working_dir: "/usr/share/oem/docker/compose/old".into(),
        ..foreign("old")
    };
    observed.facts.containers = Probed::Known([("1".to_owned(), container)].into());
    observed
}

#[test]
fn a_project_that_is_no_longer_declared_is_removed_but_for_files_that_were_changed() {
    let mut wanted = desired(vec![]);
    let removes_file = |wanted: &Desired, file: &str| {
        let plan = planned(wanted, &with_an_old_project(file));
        let mut steps = plan.steps.iter();
        let old = plan::Address::new(plan::ResourceKind::Compose, "old");
        let step = steps.find(|step| step.address == old);
        let step = step.expect("the project goes");
        assert_eq!(step.cause, Cause::Undeclared);
        let removes = step
            .commands
            .iter()
            .any(|command| command.contains("o3r-remove-file ") && command.contains(OLD));
        let stays = |note: &&plan::Note| note.code == NoteCode::ChangedFileStays;
        assert_eq!(
            plan.notes.iter().filter(stays).count(),
            usize::from(!removes)
        );
        removes
    };
    assert!(removes_file(&wanted, "as deployed"));
    assert!(!removes_file(&wanted, "changed"));
    wanted.permits.prune = true;
    assert!(removes_file(&wanted, "changed"));
    wanted.orphans = Orphans::Keep;
    let plan = planned(&wanted, &with_an_old_project("changed"));
    assert!(
        plan.steps.iter().all(plan::Step::is_record),
        "{:?}",
        plan.steps
    );
}

#[test]
fn a_mistyped_name_to_disable_is_noted() {
    for (name, is_told) in [("appp", true), ("app", false), ("ifm-demo", false)] {
        let mut wanted = desired(vec![]);
        wanted.disabled.push(Disabled {
            name: name.into(),
            source: None,
        });
        let mut observed = observed();
        observed.facts.containers = Probed::Known([("1".to_owned(), foreign("app"))].into());
        let found = Autostart {
            template: Some("indirect".into()),
            ..Autostart::default()
        };
        observed.facts.autostart = Probed::Known(found);
        let plan = planned(&wanted, &observed);
        let mut notes = plan.notes.iter();
        let note = notes.find(|note| note.code == NoteCode::NothingToDisable);
        let said = note.is_some_and(|note| note.text.ends_with("(did you mean app?)"));
        assert_eq!(said, is_told, "{name}: {:?}", plan.notes);
    }
}
