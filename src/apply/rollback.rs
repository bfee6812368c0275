//! Rolls back after a failure, while the client is there; without it, the watchdog does the same.

use std::{sync::atomic::Ordering, time::Duration};

use super::{Event, Execution, FailureReason, Options, Restored};
use crate::{
    host::{Host, HostError},
    observe::docker_answers,
    plan::{Command, Phase, Plan, Step},
    remote,
};

/// How long an undo command may run if docker does not answer.
const HOPELESS: Duration = Duration::from_secs(20);

impl<H: Host> Execution<'_, H> {
    /// Runs the undo commands of the switch's steps up to and including `failed`, and of those with `rollback_always`, in
    /// the order of the steps: a rollback applies the previous state, and files and names come before the containers
    /// that use them. Continues after a failure: a partial rollback is better than none.
    pub(super) async fn restore(
        &self,
        plan: &Plan,
        failed: usize,
        reason: &FailureReason,
        options: Options<'_>,
    ) -> Restored {
        let touched = |step: &&Step| step.phase == Phase::Switch;
        if !plan.steps[..=failed].iter().any(|step| touched(&step)) {
            return Restored::NotNeeded;
        }
        if !options.rollback {
            return Restored::NotWanted;
        }
        if reason.is_out_of_reach() {
            return Restored::OutOfReach;
        }
        self.observer.event(Event::Restoring);
        self.begins.store(0, Ordering::Relaxed);
        let hangs = matches!(docker_answers(self.runner.host, HOPELESS).await, Ok(false));
        let mut failures = vec![];
        let (records, others): (Vec<_>, Vec<_>) = plan
            .steps
            .iter()
            .enumerate()
            .partition(|(_, step)| step.is_record());
        for (index, step) in others {
            if index > failed && !step.rollback_always {
                continue;
            }
            if step.undo.is_empty() {
                // What was only added stays, and the record is the last thing of all.
                if step.phase == Phase::Switch {
                    let mut known = plan.not_restorable.iter();
                    let known = known.find(|resource| resource.address == step.address);
                    let reason = known
                        .map_or("the removed resource cannot be restored", |resource| {
                            &resource.reason
                        });
                    failures.push((&step.address, reason.to_owned()));
                }
                continue;
            }
            self.observer.event(Event::Undoing(step));
            for command in &step.undo {
                if let Err(reason) = self.undo(command, hangs).await {
                    failures.push((&step.address, reason.to_string()));
                    break;
                }
            }
        }
        let unknown = plan.not_restorable.iter();
        let unknown = unknown.map(|resource| (&resource.address, resource.reason.clone()));
        let unknown: Vec<_> = unknown.collect();
        for (_, step) in records {
            for command in &step.undo {
                let forgets = remote::only_forgets(&command.argv);
                if forgets && !(failures.is_empty() && unknown.is_empty()) {
                    continue; // what was kept may still be restored by hand
                }
                // What is left of what was kept does no harm.
                if let Err(reason) = self.undo(command, hangs).await
                    && !forgets
                {
                    failures.push((&step.address, reason.to_string()));
                }
            }
        }
        match failures.into_iter().chain(unknown).next() {
            None => Restored::Previous,
            Some((address, reason)) => Restored::Failed {
                address: address.to_string(),
                reason,
            },
        }
    }

    /// Runs an undo command; with a time limit if docker hangs.
    async fn undo(&self, command: &Command, hangs: bool) -> Result<(), FailureReason> {
        if !hangs {
            return self.watched(command, Phase::Switch).await;
        }
        let result = tokio::time::timeout(HOPELESS, self.command(command)).await;
        result.unwrap_or_else(|_| {
            Err(FailureReason::Host(HostError::NoAnswer {
                what: "dockerd on the VPU".into(),
                seconds: HOPELESS.as_secs(),
            }))
        })
    }
}
