//! An apply acts only while it has the lock, and ends if docker does not answer.

use std::{sync::Arc, time::Duration};

use o3r_deploy::internal::{
    apply::{self, Event, FailureReason, Locked, Observer, Outcome, Restored},
    host::{Held, HostError},
    plan::Phase,
    remote::Claim,
};
use o3r_testing::vpu::{FakeVpu, Fault};

use super::{BASE, Shape, converge, converged, desired, execute, execute_holding, plan_for, run};

const NEXT: Shape = Shape {
    image: 1,
    extra: 1,
    comment: 1,
    ..BASE
};

/// Does something after the first step.
struct AfterOne<F>(F);

impl<F: Fn() + Send + Sync + 'static> Observer for AfterOne<F> {
    fn event(&self, event: Event<'_>) {
        if let Event::Done(step) = event
            && step.id == 1
        {
            (self.0)();
        }
    }
}

pub(super) async fn lock(vpu: &FakeVpu, claim: Claim) -> Result<Held, Locked> {
    apply::lock(vpu, r#""at":"now","by":"me@here""#, claim, &|_| ()).await
}

#[test]
fn an_apply_that_loses_its_lock_stops_at_the_next_step() {
    run(async {
        let vpu = Arc::new(FakeVpu::default());
        converge(&vpu, &desired(&BASE)).await;
        let wanted = desired(&NEXT);
        let plan = plan_for(&vpu, &wanted).await;
        assert!(plan.steps.len() > 2);
        let held = lock(&vpu, Claim::Try).await.unwrap();
        let before = vpu.commands().len();
        let there = Arc::clone(&vpu);
        let observer = Arc::new(AfterOne(move || there.end_lock()));
        let report = execute_holding(&vpu, &wanted, &plan, Some(&held), observer).await;
        let Outcome::Failed(failure) = report.outcome else {
            panic!("{:?}", report.outcome);
        };
        let lost = matches!(failure.reason, FailureReason::Host(HostError::LockLost));
        assert!(lost, "{failure:?}");
        assert_eq!(report.completed, 1);
        let done = vpu.commands().len() - before;
        assert_eq!(done, plan.steps[0].actions.len(), "{:?}", vpu.commands());

        // With the lock, it completes.
        let held = lock(&vpu, Claim::Try).await.unwrap();
        let plan = plan_for(&vpu, &wanted).await;
        let report =
            execute_holding(&vpu, &wanted, &plan, Some(&held), Arc::new(AfterOne(|| ()))).await;
        assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
        converged(&vpu, &wanted).await;
    });
}

#[test]
fn the_lock_of_a_dead_client_of_this_machine_is_taken_and_a_broken_one_acts_no_more() {
    run(async {
        let vpu = FakeVpu::default();
        // The lock of a process whose link froze.
        let frozen = lock(&vpu, Claim::Try).await.unwrap();
        let taken = lock(&vpu, Claim::Wait).await.unwrap();
        frozen.lost().await;
        let wanted = desired(&BASE);
        let plan = plan_for(&vpu, &wanted).await;
        let observer = Arc::new(AfterOne(|| ()));
        let report = execute_holding(&vpu, &wanted, &plan, Some(&frozen), observer.clone()).await;
        assert_eq!((report.completed, vpu.commands().len()), (0, 0));
        assert!(!taken.is_lost());
        let report = execute_holding(&vpu, &wanted, &plan, Some(&taken), observer).await;
        assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
    });
}

#[tokio::test(start_paused = true)]
async fn a_docker_that_hangs_at_any_command_ends_the_apply() {
    let vpu = FakeVpu::default();
    converge(&vpu, &desired(&BASE)).await;
    let before = vpu.world(|world| world.clone());
    let wanted = desired(&NEXT);
    let plan = plan_for(&vpu, &wanted).await;
    let mut at = 0;
    for step in &plan.steps {
        for _ in &step.actions {
            let vpu = FakeVpu::new(before.clone());
            vpu.inject(Some(Fault::DockerHangs(at)));
            let start = tokio::time::Instant::now();
            let limit = Duration::from_secs(30 * 60);
            let report = tokio::time::timeout(limit, execute(&vpu, &wanted, &plan)).await;
            let report = report.unwrap_or_else(|_| panic!("command {at} hangs"));
            let Outcome::Failed(failure) = report.outcome else {
                panic!("{:?}", report.outcome);
            };
            let no_answer = matches!(
                failure.reason,
                FailureReason::Host(HostError::NoAnswer { .. })
            );
            assert!(no_answer, "{failure:?}");
            if step.phase == Phase::Switch {
                assert!(
                    start.elapsed() < Duration::from_secs(10 * 60),
                    "{:?}",
                    start.elapsed()
                );
                let failed = matches!(failure.restored, Restored::Failed { .. });
                assert!(failed, "{failure:?}");
            }
            vpu.inject(None);
            converge(&vpu, &wanted).await;
            at += 1;
        }
    }
}

/// The record is written last: from then on, this release is the one to roll back to.
#[test]
fn a_record_that_fails_after_it_was_written_counts() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        let wanted = desired(&NEXT);
        let plan = plan_for(&vpu, &wanted).await;
        let actions = plan.steps.iter().flat_map(|step| &step.actions);
        let count: usize = actions
            .map(|c| c.argv.in_turn().map_or(1, |all| all.len()))
            .sum();
        let record = plan.steps.last().unwrap();
        assert_eq!((record.phase, record.actions.len()), (Phase::Settle, 2));
        vpu.inject(Some(Fault::FailsAfter(count - 1)));
        let report = execute(&vpu, &wanted, &plan).await;
        assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
        vpu.inject(None);
        converged(&vpu, &wanted).await;
    });
}

/// Where the link breaks while a watchdog is armed, the VPU decides; where the answer to the confirmation is lost, it is
/// not claimed that it rolls back.
#[test]
fn a_lost_link_is_undecided_only_while_the_watchdog_is_armed() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        let before = vpu.world(|world| world.clone());
        let mut wanted = desired(&NEXT);
        wanted.watchdog = Some(Duration::from_secs(90));
        let plan = plan_for(&vpu, &wanted).await;
        let apply = async |fault: Option<Fault>| {
            let vpu = FakeVpu::new(before.clone());
            vpu.inject(fault);
            let held = lock(&vpu, Claim::Try).await.unwrap();
            let observer = Arc::new(AfterOne(|| ()));
            let report = execute_holding(&vpu, &wanted, &plan, Some(&held), observer).await;
            (report.outcome, vpu.commands())
        };
        let (outcome, commands) = apply(None).await;
        assert!(matches!(outcome, Outcome::Done));
        let place = |name: &str| {
            let mut commands = commands.iter();
            commands.position(|command| command.contains(name)).unwrap()
        };
        let (arm, disarm) = (place("o3r-arm"), place("o3r-disarm"));
        assert!(arm < disarm && disarm < place("o3r-record-release"));
        for at in 0..commands.len() {
            let (outcome, _) = apply(Some(Fault::LinkLostAfter(at))).await;
            let Outcome::Failed(failure) = outcome else {
                panic!("{at}: {outcome:?}")
            };
            let undecided = match failure.restored {
                Restored::Undecided {
                    seconds,
                    confirming,
                } => {
                    assert_eq!(seconds, 90);
                    Some(confirming)
                }
                _ => None,
            };
            let expected = match at {
                _ if at <= arm || at > disarm => None,
                _ => Some(at == disarm),
            };
            assert_eq!(undecided, expected, "{at}: {failure:?}");
        }
    });
}
