//! A failed apply that reports a restore has restored the
//! former state, however far it and an earlier one came.

use std::collections::BTreeSet;

use o3r_deploy::internal::{
    apply::{Outcome, Restored},
    desired::{Desired, ProjectState},
    plan, remote, shell,
};
use o3r_testing::vpu::{FakeVpu, Fault, Store, World};
use proptest::prelude::*;

use super::{
    BASE, Shape, apply_crashing, cases, changes, converge, converged, desired, execute,
    observed_plan, plan_for, run, shapes,
};

/// More commands than any apply of these tests has.
pub(super) const MOST_COMMANDS: usize = 200;

/// Removes the image of a release by force, which docker does for stopped containers alone.
fn remove_image(world: &mut World, of: &Desired) {
    let image = of.images[0].content.as_ref().unwrap().config_digest;
    let image = image.to_string();
    world.images.remove(&image);
    for container in world.containers.values_mut() {
        if container.image == image {
            "exited".clone_into(&mut container.status);
        }
    }
}

/// Returns what a user would see of a release, as lines: files, containers without their IDs, and
/// the names and volumes that they use.
pub(super) fn seen(world: &World) -> Vec<String> {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let root = format!("{}/", remote::COMPOSE_ROOT);
    let files = world.files.iter();
    let files = files.filter(|(path, _)| path.starts_with(&root));
    let files = files.map(|(path, file)| format!("{path} {:o} {}", file.mode, text(&file.bytes)));
    let in_use = |id: &&String| world.containers.values().any(|c| c.image == **id);
    let names = world.images.iter().filter(|(id, _)| in_use(id));
    let names = names.flat_map(|(id, image)| {
        let tags = image.tags.iter();
        let tags = tags.filter(|tag| !tag.starts_with("o3r-deploy/"));
        tags.map(move |tag| format!("{tag} {id}"))
    });
    let has_it = |name: &String| world.containers.values().any(|c| c.volumes.contains(name));
    let is_named = |name: &String| name.len() < 64;
    let volumes = world.volumes.iter();
    let volumes = volumes.filter(|(name, _)| is_named(name) && has_it(name));
    let volumes = volumes.map(|(name, volume)| format!("{name} {volume:?}"));
    let containers = world.containers.values().map(|container| {
        let runs = container.status == "running";
        let made_from = container.made_from.iter();
        let made_from: Vec<String> = made_from.map(|(path, b)| path.clone() + &text(b)).collect();
        let (name, image, mounted) = (&container.name, &container.image, &container.mounted);
        // A container that docker-compose removes because of a smaller scale is not kept.
        let data = name
            .ends_with("_1")
            .then(|| container.details.mounts.get("/data").cloned());
        let owner = container.details.network_mode.strip_prefix("container:");
        let owner = owner.map(|id| world.containers.get(id).map(|owner| &owner.name));
        format!("{name} runs={runs} {image} {mounted:?} {made_from:?} data={data:?} in={owner:?}")
    });
    let networks = world
        .networks
        .values()
        .map(|network| format!("{network:?}"));
    let mut lines: Vec<String> = files
        .chain(networks)
        .chain(names)
        .chain(volumes)
        .chain(containers)
        .collect();
    lines.sort();
    lines
}

/// Applies `wanted` with command number `at` failing, and checks that the former state is restored.
/// Returns false if the plan has no such command.
pub(super) async fn fails_and_restores(
    vpu: &FakeVpu,
    wanted: &Desired,
    at: usize,
    before: &World,
) -> bool {
    let (_, plan) = observed_plan(vpu, wanted).await;
    vpu.inject(Some(Fault::Fails(at)));
    let report = execute(vpu, wanted, &plan).await;
    let commands = vpu.commands();
    vpu.inject(None);
    let pulls = vpu.world(|world| world.pulls.clone());
    assert_eq!(pulls, BTreeSet::new(), "command {at} of {commands:#?}");
    let Outcome::Failed(failure) = report.outcome else {
        return false;
    };
    let untouched = plan.steps[..=report.completed]
        .iter()
        .all(|step| step.phase != plan::Phase::Switch);
    let cleans = |address: &str| {
        let kinds = [
            "containers.",
            "network.",
            "volume.",
            "directory.",
            "history.",
        ];
        let mut settling = plan
            .steps
            .iter()
            .filter(|step| step.phase == plan::Phase::Settle);
        kinds.iter().any(|kind| address.starts_with(kind))
            && settling.any(|step| step.address == address)
    };
    // A plan that rolls back to the recorded release writes no record.
    let records = plan.steps.iter().any(plan::Step::is_record);
    if records && cleans(&failure.address) {
        // The release is recorded by then; only what it replaced is left to be removed.
        assert_eq!(failure.restored, Restored::Recorded, "{commands:#?}");
        return true;
    }
    let lost = !plan.not_restorable.is_empty();
    if lost && !untouched {
        // The plan announced it, and the apply does not report it as restored.
        let said = matches!(failure.restored, Restored::Failed { .. });
        assert!(
            said,
            "command {at} of {commands:#?}: {:?}",
            failure.restored
        );
        return true;
    }
    let wanted = if untouched {
        Restored::NotNeeded
    } else {
        Restored::Previous
    };
    assert_eq!(failure.restored, wanted, "command {at} of {commands:#?}");
    if !untouched {
        let (now, before) = (vpu.world(|world| seen(world)), seen(before));
        let others = |all: &[String], than: &[String]| {
            let others = all.iter().filter(|line| !than.contains(line));
            others.cloned().collect::<Vec<_>>()
        };
        let (new, lost) = (others(&now, &before), others(&before, &now));
        assert_eq!(new, lost, "command {at} of {commands:#?}");
        assert_eq!(now.len(), before.len(), "command {at} of {commands:#?}");
        // The record removes what was kept; without one, the copies of an interrupted apply are
        // those of the recorded release itself.
        let kept = |path: &&String| path.contains("/.o3r-deploy/previous/");
        let kept = vpu.world(|world| world.files.keys().find(kept).cloned());
        let records = plan.steps.iter().any(plan::Step::is_record);
        assert_eq!(
            kept.filter(|_| records),
            None,
            "command {at} of {commands:#?}"
        );
    }
    true
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn what_is_called_restored_is_what_was_there(
        first in shapes(),
        cut_off in prop::option::of((changes(), any::<prop::sample::Index>())),
        second in changes(),
        pruned in prop::bool::weighted(0.2),
    ) {
        run(async {
            let vpu = FakeVpu::default();
            vpu.world(|world| world.image_volumes.insert("/data".into()));
            converge(&vpu, &desired(&first)).await;
            let before = vpu.world(|world| world.clone());
            // Another apply may have been cut off while applying this or another release.
            let mut begun = false;
            if let Some((changes, at)) = &cut_off {
                let halfway = desired(&first.with(changes));
                let plan = plan_for(&vpu, &halfway).await;
                let commands = plan.steps.iter();
                let commands = commands.flat_map(|step| step.actions.iter().map(|_| step.phase));
                let phases: Vec<plan::Phase> = commands.collect();
                let switch = phases.iter().position(|phase| *phase == plan::Phase::Switch);
                let switch = switch.unwrap_or(0);
                let at = switch + at.index(phases.len() - switch + 1);
                vpu.inject(Some(Fault::LinkLostBefore(at)));
                let report = execute(&vpu, &halfway, &plan).await;
                vpu.inject(None);
                let done = &plan.steps[..report.completed];
                begun = !done.iter().any(plan::Step::is_record)
                    && !matches!(report.outcome, Outcome::Done);
            }
            if cut_off.is_some() && !begun {
                return; // it completed, and is the release to roll back to
            }
            if pruned {
                vpu.world(|world| remove_image(world, &desired(&first)));
            }
            let second = first.with(&second);
            let start = vpu.world(|world| world.clone());
            for at in 0.. {
                assert!(at < MOST_COMMANDS, "it also fails without a fault");
                vpu.world(|world| *world = start.clone());
                if !fails_and_restores(&vpu, &desired(&second), at, &before).await {
                    break;
                }
            }
        });
    }
}

/// Removes all of the VPU's records: what runs there was started by hand, or the home directory was
/// erased.
fn forget_records(vpu: &FakeVpu) {
    vpu.world(|world| {
        let state = format!("{}/.o3r-deploy/", world.home);
        world.files.retain(|path, _| !path.starts_with(&state));
    });
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn without_a_record_what_was_there_is_restored(
        first in prop::option::of(shapes()),
        second in shapes(),
        pruned in prop::bool::weighted(0.2),
    ) {
        run(async {
            let vpu = FakeVpu::default();
            vpu.world(|world| world.image_volumes.insert("/data".into()));
            if let Some(first) = &first {
                converge(&vpu, &desired(first)).await;
                forget_records(&vpu);
                if pruned {
                    vpu.world(|world| remove_image(world, &desired(first)));
                }
            }
            let before = vpu.world(|world| world.clone());
            for at in 0.. {
                assert!(at < MOST_COMMANDS, "it also fails without a fault");
                vpu.world(|world| *world = before.clone());
                if !fails_and_restores(&vpu, &desired(&second), at, &before).await {
                    break;
                }
                // Nor is there a record of containers that are gone, unless the plan announced that something is lost.
                let state = format!("{}/.o3r-deploy", before.home);
                let records = vpu.world(|world| world.files_below(&state));
                let has = |kind: &str| records.keys().any(|path| path.contains(kind));
                assert!(pruned || has("/releases/") || !has("/started/"), "command {at}");
            }
        });
    }
}

#[test]
fn regression_a_put_that_fails_leaves_the_file_and_the_release() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        let next = Shape { comment: 1, ..BASE };
        converge(&vpu, &desired(&next)).await;
        let before = vpu.world(|world| world.clone());
        let third = Shape { extra: 2, ..next };
        // The first command writes the file; a copy of the first release's file was once kept.
        assert!(fails_and_restores(&vpu, &desired(&third), 0, &before).await);
    });
}

#[test]
fn regression_an_anonymous_volume_is_restored_if_the_project_was_to_be_removed() {
    run(async {
        let vpu = FakeVpu::default();
        vpu.world(|world| world.image_volumes.insert("/data".into()));
        converge(&vpu, &desired(&BASE)).await;
        let before = vpu.world(|world| world.clone());
        // An apply mounts something else there, and is cut off before it is recorded.
        let halfway = desired(&Shape {
            covers: true,
            ..BASE
        });
        let plan = plan_for(&vpu, &halfway).await;
        let steps = plan.steps.iter().take_while(|step| !step.is_record());
        let at = steps.map(|step| step.actions.len()).sum();
        vpu.inject(Some(Fault::LinkLostBefore(at)));
        drop(execute(&vpu, &halfway, &plan).await);
        vpu.inject(None);
        let gone = desired(&Shape {
            state: ProjectState::Absent,
            ..BASE
        });
        assert!(fails_and_restores(&vpu, &gone, 0, &before).await);
    });
}

#[test]
fn regression_a_release_that_adds_a_service_is_rolled_back() {
    run(async {
        let vpu = FakeVpu::default();
        let old = desired(&Shape {
            two_services: false,
            ..BASE
        });
        converge(&vpu, &old).await;
        let failure = apply_crashing(
            &vpu,
            &desired(&Shape {
                image: 1,
                bound: 1,
                ..BASE
            }),
        )
        .await;
        assert_eq!(failure.restored, Restored::Previous, "{failure:?}");
        converged(&vpu, &old).await;
    });
}

#[test]
fn regression_what_someone_stopped_is_not_started_by_a_restore() {
    run(async {
        let vpu = FakeVpu::default();
        let stopped = Shape {
            state: ProjectState::Stopped,
            ..BASE
        };
        converge(&vpu, &desired(&BASE)).await;
        converge(&vpu, &desired(&stopped)).await;
        apply_crashing(&vpu, &desired(&Shape { image: 1, ..BASE })).await;
        vpu.world(|world| assert!(world.containers.values().all(|c| c.status != "running")));
        converged(&vpu, &desired(&stopped)).await;
    });
}

#[test]
fn regression_resuming_a_crashing_release_rolls_back_to_the_one_before() {
    run(async {
        let new = Shape {
            image: 1,
            extra: 1,
            comment: 1,
            bound: 1,
            dotenv: None,
            ..BASE
        };
        let vpu = FakeVpu::default();
        let old = desired(&BASE);
        converge(&vpu, &old).await;
        let steps = plan_for(&vpu, &desired(&new)).await.steps;
        let count: usize = steps.iter().map(|step| step.actions.len()).sum();
        let before = vpu.world(|world| world.clone());
        for at in 0..count {
            vpu.world(|world| *world = before.clone());
            vpu.inject(Some(Fault::LinkLostBefore(at)));
            let _ = execute(&vpu, &desired(&new), &plan_for(&vpu, &desired(&new)).await).await;
            vpu.inject(None);
            // The container's own record was written last: it did not crash in this case.
            if at + 1 == count {
                continue;
            }
            let failure = apply_crashing(&vpu, &desired(&new)).await;
            assert_eq!(failure.restored, Restored::Previous, "{at}: {failure:?}");
            converged(&vpu, &old).await;
        }
    });
}

#[test]
fn regression_a_release_that_no_longer_starts_is_not_called_restored() {
    run(async {
        for status in ["exited", "restarting"] {
            let vpu = FakeVpu::default();
            converge(&vpu, &desired(&BASE)).await;
            vpu.world(|world| {
                for container in world.containers.values_mut() {
                    status.clone_into(&mut container.status);
                }
            });
            let failure = apply_crashing(&vpu, &desired(&BASE)).await;
            let failed = matches!(failure.restored, Restored::Failed { .. });
            assert!(failed, "{failure:?}");
        }
    });
}

#[test]
fn regression_a_project_takes_the_place_of_one_that_goes() {
    run(async {
        let vpu = FakeVpu::default();
        vpu.world(|world| world.image_volumes.insert("/data".into()));
        let old = desired(&BASE);
        converge(&vpu, &old).await;
        let mut renamed = desired(&Shape { extra: 1, ..BASE });
        let mut new = renamed.projects[0].clone();
        new.name = "new".into();
        // A fixed name that a container of the old project has.
        let main = new.services.get_mut("main").unwrap();
        main.container_name = Some("app_main_1".into());
        renamed.projects.insert(0, new);
        renamed.projects[1].state = ProjectState::Absent;
        let plan = plan_for(&vpu, &renamed).await;
        assert_eq!(plan.blocked, vec![]);
        let at = |address: &str| {
            let mut steps = plan.steps.iter();
            steps.position(|step| step.address == address).unwrap()
        };
        assert!(at("compose.app") < at("compose.new"));
        let before = vpu.world(|world| world.clone());
        for number in 0.. {
            vpu.world(|world| *world = before.clone());
            if !fails_and_restores(&vpu, &renamed, number, &before).await {
                break;
            }
        }
    });
}

#[test]
fn regression_a_project_that_was_removed_before_is_not_called_restored() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        let before = vpu.world(|world| world.clone());
        let gone = Shape {
            state: ProjectState::Absent,
            ..BASE
        };
        let plan = plan_for(&vpu, &desired(&gone)).await;
        let commands = plan.steps.iter().flat_map(|step| &step.actions);
        let is_removal =
            |command: &plan::Command| command.to_display().contains("o3r-remove-files");
        let last = commands.clone().position(is_removal).unwrap();
        vpu.inject(Some(Fault::LinkLostBefore(last)));
        let _ = execute(&vpu, &desired(&gone), &plan).await;
        vpu.inject(None);
        // Nothing is left to do for it, and then another step fails.
        let next = desired(&Shape { bound: 1, ..gone });
        let start = vpu.world(|world| world.clone());
        let mut at = 0;
        while fails_and_restores(&vpu, &next, at, &before).await {
            vpu.world(|world| *world = start.clone());
            at += 1;
        }
        assert!(at > 2, "only {at} commands");
    });
}

/// Applies a crashing release over `BASE`, whose image somebody removed by force after `before`;
/// returns what is reported about the restore, and the containers by name and state.
async fn crashes_without_the_image(crashing: &Shape) -> (String, Vec<String>) {
    let vpu = FakeVpu::default();
    let old = desired(&BASE);
    converge(&vpu, &old).await;
    vpu.world(|world| remove_image(world, &old));
    let new = desired(crashing);
    let plan = plan_for(&vpu, &new).await;
    let said = |r: &plan::NotRestorable| r.reason.contains("no longer exists");
    assert!(plan.not_restorable.iter().any(said), "{plan:#?}");
    let failure = apply_crashing(&vpu, &new).await;
    let Restored::Failed { reason, .. } = failure.restored else {
        panic!("{failure:?}");
    };
    vpu.world(|world| {
        assert_eq!(world.pulls, BTreeSet::new());
        let containers = world.containers.values();
        let seen = containers.map(|c| format!("{} {}", c.name, c.status));
        (reason, seen.collect())
    })
}

#[test]
fn regression_a_restore_pulls_no_image_that_is_gone() {
    run(async {
        // The containers that replaced the old ones keep running, as nothing can replace them.
        let (reason, containers) = crashes_without_the_image(&Shape { image: 1, ..BASE }).await;
        assert!(reason.contains("no longer exists on the VPU"), "{reason}");
        assert_eq!(
            containers,
            ["app_main_1 restarting", "app_side_1 restarting"]
        );
    });
}

#[test]
fn regression_containers_whose_image_is_gone_come_back_if_nothing_replaced_them() {
    run(async {
        let vpu = FakeVpu::default();
        let old = desired(&BASE);
        converge(&vpu, &old).await;
        let before: BTreeSet<String> =
            vpu.world(|world| world.containers.keys().cloned().collect());
        vpu.world(|world| remove_image(world, &old));
        let new = desired(&Shape { image: 1, ..BASE });
        let plan = plan_for(&vpu, &new).await;
        let commands = plan.steps.iter().flat_map(|step| &step.actions);
        let alone = |command: &plan::Command| {
            let all = command.argv.in_turn();
            all.unwrap_or_else(|| vec![command.argv.clone()])
        };
        let commands: Vec<_> = commands.flat_map(alone).collect();
        let is = |name: &'static str| move |c: &shell::Argv| c.script_name() == Some(name);
        // docker-compose can only replace them once they are gone.
        let up = commands.iter().position(is("o3r-stand-in")).unwrap();
        let aside = commands.iter().any(is("o3r-step-aside"));
        assert!(aside, "{plan:#?}");
        vpu.inject(Some(Fault::Fails(up)));
        let report = execute(&vpu, &new, &plan).await;
        assert!(matches!(report.outcome, Outcome::Failed(_)), "{report:?}");
        vpu.world(|world| {
            assert_eq!(world.pulls, BTreeSet::new());
            assert_eq!(
                world.containers.keys().cloned().collect::<BTreeSet<_>>(),
                before
            );
            let mut containers = world.containers.values();
            assert!(containers.all(|c| c.status == "exited" && c.name.starts_with("app_")));
        });
    });
}

#[test]
fn regression_containers_whose_image_is_gone_are_replaced_with_their_anonymous_volumes() {
    run(async {
        let other_volume = Shape {
            image: 1,
            bound: 1,
            ..BASE
        };
        for next in [Shape { image: 1, ..BASE }, other_volume] {
            let vpu = FakeVpu::default();
            vpu.world(|world| world.image_volumes.insert("/data".into()));
            let old = desired(&BASE);
            converge(&vpu, &old).await;
            let anonymous = |world: &World| {
                let containers = world.containers.values();
                let volumes = containers.flat_map(|c| c.volumes.iter().cloned());
                volumes.filter(|name| name.len() == 64).collect()
            };
            let before: BTreeSet<String> = vpu.world(|world| anonymous(world));
            assert!(!before.is_empty());
            vpu.world(|world| remove_image(world, &old));
            converge(&vpu, &desired(&next)).await;
            assert_eq!(vpu.world(|world| anonymous(world)), before);
        }
    });
}

#[test]
fn regression_a_restore_finds_its_images_in_every_store() {
    run(async {
        for store in [Store::Classic, Store::Containerd, Store::Podman] {
            let vpu = FakeVpu::default();
            vpu.world(|world| world.store = store);
            converge(&vpu, &desired(&BASE)).await;
            let before = vpu.world(|world| world.clone());
            let new = desired(&Shape { image: 1, ..BASE });
            let mut at = 0;
            while fails_and_restores(&vpu, &new, at, &before).await {
                vpu.world(|world| *world = before.clone());
                at += 1;
            }
            assert!(at > 3, "{store:?}: only {at} commands");
        }
    });
}

#[test]
fn a_project_that_was_scaled_to_zero_is_restored() {
    run(async {
        let vpu = FakeVpu::default();
        let old = desired(&Shape {
            scale: 0,
            two_services: false,
            ..BASE
        });
        converge(&vpu, &old).await;
        let failure = apply_crashing(&vpu, &desired(&Shape { image: 1, ..BASE })).await;
        assert_eq!(failure.restored, Restored::Previous, "{failure:?}");
        converged(&vpu, &old).await;
    });
}
