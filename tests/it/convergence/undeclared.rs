//! A project that a release no longer declares goes, or everything is as before.

use o3r_deploy::internal::{
    apply::Outcome,
    desired::{Desired, ProjectState},
};
use o3r_testing::vpu::{FakeVpu, Fault, World};
use proptest::prelude::*;

use super::{
    BASE, Shape, cases, changes, converge, desired, execute, observed_plan, plan_for,
    rollback::{MOST_COMMANDS, fails_and_restores},
    run, shapes,
};

/// Returns the release with its project under another name; `None` removes it.
fn renamed(shape: &Shape, to: Option<&str>) -> Desired {
    let mut desired = desired(shape);
    let Some(to) = to else {
        desired.projects.clear();
        return desired;
    };
    let project = &mut desired.projects[0];
    to.clone_into(&mut project.name);
    let name = |name: &str| match name.strip_prefix("app_") {
        Some(key) => format!("{to}_{key}"),
        None => name.to_owned(),
    };
    for network in &mut project.networks {
        network.name = name(&network.name);
    }
    desired
}

/// Checks that nothing of the project `app` is left.
fn is_gone(world: &World) {
    let mut containers = world.containers.values();
    assert!(containers.all(|container| container.project != "app"));
    let mut networks = world.networks.values();
    assert!(networks.all(|network| network.project != "app"));
    let files = world.files.keys();
    let files = files.filter(|path| {
        path.starts_with("/usr/share/oem/docker/compose/app/") && !path.ends_with(".o3r-found")
    });
    assert_eq!(files.collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(!world.autostart.enabled.contains("app"));
}

/// Whether a second plan is empty and the old project is gone.
async fn has_converged(vpu: &FakeVpu, wanted: &Desired) {
    let plan = plan_for(vpu, wanted).await;
    assert!(plan.is_empty(), "{plan:#?}");
    vpu.world(|world| is_gone(world));
}

async fn applied(vpu: &FakeVpu, wanted: &Desired) {
    let plan = plan_for(vpu, wanted).await;
    assert_eq!(plan.blocked, vec![]);
    let report = execute(vpu, wanted, &plan).await;
    assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
    has_converged(vpu, wanted).await;
}

proptest! {
    #![proptest_config(cases(90))]

    #[test]
    fn what_is_no_longer_declared_goes_or_everything_is_as_before(
        first in shapes(),
        changes in changes(),
        is_renamed in any::<bool>(),
        cut_at in 0..40_usize,
    ) {
        prop_assume!(first.state != ProjectState::Absent);
        let second = first.with(&changes);
        prop_assume!(second.state != ProjectState::Absent);
        let wanted = renamed(&second, is_renamed.then_some("new"));
        run(async {
            let vpu = FakeVpu::default();
            converge(&vpu, &desired(&first)).await;
            let before = vpu.world(|world| world.clone());
            let (_, plan) = observed_plan(&vpu, &wanted).await;
            if !plan.blocked.is_empty() {
                return; // what the shapes declare around the files
            }
            // Every command fails in turn.
            for number in 0.. {
                vpu.world(|world| *world = before.clone());
                if !fails_and_restores(&vpu, &wanted, number, &before).await {
                    break;
                }
                assert!(number < MOST_COMMANDS, "it fails without a fault");
            }
            has_converged(&vpu, &wanted).await;
            // The link is lost; the same again, or back to what was.
            for back in [false, true] {
                vpu.world(|world| *world = before.clone());
                vpu.inject(Some(Fault::LinkLostBefore(cut_at)));
                drop(execute(&vpu, &wanted, &plan).await);
                vpu.inject(None);
                if back {
                    // Nobody knows whose the containers of the new project are: they may block.
                    let first = desired(&first);
                    if plan_for(&vpu, &first).await.blocked.is_empty() {
                        converge(&vpu, &first).await;
                    }
                } else {
                    applied(&vpu, &wanted).await;
                }
            }
        });
    }
}

/// Returns the end of the release.
fn destruction(shape: &Shape, volumes: bool) -> Desired {
    let Desired {
        release, guards, ..
    } = desired(shape);
    let mut desired = Desired::destruction(release, guards);
    desired.permits.prune = volumes;
    desired
}

/// Checks that no record and no image of the release is left.
fn is_forgotten(world: &World) {
    is_gone(world);
    let state = format!("{}/.o3r-deploy/", world.home);
    let files = world.files.keys().filter(|path| path.starts_with(&state));
    let mut records = files.filter(|path| path.contains("/app") && !path.contains("/watchdog/"));
    assert_eq!(records.next(), None);
    let mut tags = world.images.values().flat_map(|image| &image.tags);
    assert!(tags.all(|tag| !tag.starts_with("o3r-deploy/app:")));
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn a_destroyed_release_is_forgotten_or_everything_is_as_before(
        first in shapes(),
        again in shapes(),
        volumes in any::<bool>(),
        cut_at in 0..40_usize,
    ) {
        run(async {
            let vpu = FakeVpu::default();
            converge(&vpu, &desired(&first)).await;
            let before = vpu.world(|world| world.clone());
            let wanted = destruction(&first, volumes);
            let (_, plan) = observed_plan(&vpu, &wanted).await;
            prop_assert_eq!(&plan.blocked, &vec![]);
            for number in 0.. {
                vpu.world(|world| *world = before.clone());
                if !fails_and_restores(&vpu, &wanted, number, &before).await {
                    break;
                }
                prop_assert!(number < MOST_COMMANDS, "it fails without a fault");
            }
            vpu.world(|world| is_forgotten(world));
            prop_assert!(plan_for(&vpu, &wanted).await.is_empty());
            // The link is lost; the same again.
            vpu.world(|world| *world = before.clone());
            vpu.inject(Some(Fault::LinkLostBefore(cut_at)));
            drop(execute(&vpu, &wanted, &plan).await);
            vpu.inject(None);
            let rest = plan_for(&vpu, &wanted).await;
            let report = execute(&vpu, &wanted, &rest).await;
            prop_assert!(matches!(report.outcome, Outcome::Done), "{:?}", report);
            vpu.world(|world| is_forgotten(world));
            converge(&vpu, &desired(&again)).await;
            Ok(())
        })?;
    }
}

#[test]
fn a_project_of_another_release_stays() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        let mut other = desired(&Shape { extra: 1, ..BASE });
        other.release.name = "other".parse().unwrap();
        let plan = plan_for(&vpu, &other).await;
        assert_eq!(plan.blocked.len(), 1, "{:?}", plan.blocked);
        other.permits.take_over = true;
        converge(&vpu, &other).await;
        // The release that lost it removes nothing of it.
        let mut none = renamed(&BASE, None);
        none.images.clear();
        let plan = plan_for(&vpu, &none).await;
        let report = execute(&vpu, &none, &plan).await;
        assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
        other.permits.take_over = false;
        converge(&vpu, &other).await;
    });
}

#[test]
fn a_take_over_that_is_resumed_and_fails_gives_back_what_was_there() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        let before = vpu.world(|world| world.clone());
        let mut other = desired(&Shape {
            image: 1,
            extra: 1,
            comment: 1,
            ..BASE
        });
        other.release.name = "other".parse().unwrap();
        other.permits.take_over = true;
        for cut_at in 0..20 {
            for number in 0..MOST_COMMANDS {
                vpu.world(|world| *world = before.clone());
                let plan = plan_for(&vpu, &other).await;
                vpu.inject(Some(Fault::LinkLostBefore(cut_at)));
                drop(execute(&vpu, &other, &plan).await);
                vpu.inject(None);
                if !fails_and_restores(&vpu, &other, number, &before).await {
                    break;
                }
            }
        }
    });
}
