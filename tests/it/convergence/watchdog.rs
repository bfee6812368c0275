//! An apply whose client vanishes at any command, with or without a restart of the VPU: what the watchdog undoes leaves the
//! previous release whole.
//!
//! The VPU's program is a shell script (`shells::watchdog` runs it); here its undo commands run in its order on the in-memory VPU,
//! on thousands of random schedules.

use std::{sync::Arc, time::Duration};

use o3r_deploy::internal::{
    apply::Outcome,
    desired::Desired,
    device,
    host::{Host as _, Stdin},
    plan::{Address, Command, PayloadSource, Phase, Plan, ResourceKind, Step, Transport},
    remote::{self, Claim},
};
use o3r_testing::{
    Silent,
    vpu::{FakeVpu, Fault, Store, World},
};
use proptest::prelude::*;

use super::{
    Shape, cases, changes, converge, desired, execute_holding, lock::lock, observed_plan, plan_for,
    rollback::seen, run, shapes, vpu_of,
};

/// What the watchdog knows of the apply.
struct Armed<'a> {
    plan: &'a Plan,
    /// How many steps began.
    begun: usize,
    /// Whether the VPU restarted since.
    restarted: bool,
}

impl Armed<'_> {
    /// The steps that the program undoes, in its order, the records last.
    fn undone(&self) -> impl Iterator<Item = &Step> {
        let undoes = |step: &&Step| step.phase == Phase::Switch || !step.undo.is_empty();
        let starts_at_boot = |step: &Step| {
            let is_project = step.address.kind() == ResourceKind::Compose;
            is_project && self.restarted && self.begun > 0
        };
        let steps = self.plan.steps.iter().filter(undoes);
        let (records, others): (Vec<&Step>, Vec<&Step>) = steps.partition(|step| step.is_record());
        let others = others.into_iter().filter(move |step| {
            step.id <= self.begun || step.rollback_always || starts_at_boot(step)
        });
        others.chain(records)
    }

    /// Does what the program does; returns what failed.
    async fn roll_back(&self, vpu: &FakeVpu) -> Vec<String> {
        let mut failed = vec![];
        for step in self.undone() {
            for command in &step.undo {
                if remote::only_forgets(&command.argv) && !failed.is_empty() {
                    continue;
                }
                if let Err(said) = run_one(vpu, command).await {
                    failed.push(format!("{}: {said}", step.address));
                    break;
                }
            }
        }
        failed
    }
}

async fn run_one(vpu: &FakeVpu, command: &Command) -> Result<(), String> {
    if let Transport::DeviceApi { port } = command.transport {
        let done = device::call(vpu, port, command.argv.words()).await;
        return done.map(drop).map_err(|error| error.to_string());
    }
    let stdin = match command.stdin.as_ref().map(|payload| &payload.source) {
        Some(PayloadSource::Inline { text }) => Stdin::Bytes(text.clone().into_bytes()),
        _ => Stdin::Empty,
    };
    let output = vpu.run(&command.argv, stdin).await.unwrap();

    match &command.fallback {
        _ if output.success() => Ok(()),
        Some(fallback) => Box::pin(run_one(vpu, fallback)).await,
        None => Err(format!("{}: {}", command.to_display(), output.tail(3))),
    }
}

fn watched(shape: &Shape) -> Desired {
    let mut desired = desired(shape);
    desired.watchdog = Some(Duration::from_secs(120));
    desired
}

/// Whether a watchdog is armed.
fn is_armed(world: &World) -> bool {
    let is_it = |path: &String| {
        path.contains("/.o3r-deploy/watchdog/") && path.rsplit('.').next() == Some("armed")
    };
    world.files.keys().any(is_it)
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn the_watchdog_leaves_the_previous_release_whole(
        first in shapes(),
        changes in changes(),
        restarts in any::<bool>(),
        newer in any::<bool>(),
        volumes in any::<bool>(),
    ) {
        run(async {
            let vpu = vpu_of(newer, Store::Classic);
            if volumes {
                vpu.world(|world| world.image_volumes.insert("/data".into()));
            }
            let old = watched(&first);
            converge(&vpu, &old).await;
            let before = vpu.world(|world| world.clone());
            let new = watched(&first.with(&changes));
            let plan = plan_for(&vpu, &new).await;
            let commands = plan.steps.iter().map(|step| step.actions.len());
            // The watchdog is armed and ended between the steps.
            for at in 0..commands.sum::<usize>() + 4 {
                for fault in [
                    Fault::LinkLostBefore(at),
                    Fault::LinkLostAfter(at),
                    Fault::LinkLostInside(at),
                ] {
                    let vpu = FakeVpu::new(before.clone());
                    vpu.inject(Some(fault));
                    let lock = lock(&vpu, Claim::Try).await.unwrap();
                    let observer = Arc::new(Silent);
                    let report = execute_holding(&vpu, &new, &plan, Some(&lock), observer).await;
                    drop(lock);
                    vpu.inject(None);
                    if matches!(report.outcome, Outcome::Done) || !vpu.world(|world| is_armed(world)) {
                        continue;
                    }
                    if restarts {
                        vpu.world(World::reboot);
                    }
                    let armed = Armed {
                        plan: &plan,
                        begun: report.completed + 1,
                        restarted: restarts,
                    };
                    let failed = armed.roll_back(&vpu).await;
                    if !plan.not_restorable.is_empty() {
                        continue; // the plan announced it
                    }
                    assert_eq!(failed, Vec::<String>::new(), "{fault:?}");
                    if !restarts {
                        let now = vpu.world(|world| seen(world));
                        assert_eq!(now, seen(&before), "{fault:?}");
                    }
                    let (_, again) = observed_plan(&vpu, &old).await;
                    let left = again.steps.iter().map(|step| &step.address);
                    // The mode of a directory is not restored, as docs/safety.md says. A project that the apply did not
                    // touch may be down after a restart, whatever the watchdog does.
                    let is_its_own = |address: &&Address| {
                        let is_touched = plan.steps.iter().any(|step| step.address == **address);
                        address.kind() != ResourceKind::Directory && (is_touched || !restarts)
                    };
                    let left: Vec<&Address> = left.filter(is_its_own).collect();
                    assert_eq!(left, Vec::<&Address>::new(), "{fault:?}");
                }
            }
        });
    }
}
