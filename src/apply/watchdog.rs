//! Arms the watchdog on the VPU before the first step that changes what runs, and ends it once the release is good: over a
//! new connection, which proves that the VPU lets the next client in.

use std::time::{Duration, Instant};

use o3r_core::facts::{NotRestored, Verdict};

use super::{Execution, FailureReason, Restored, TAIL_LINES};
use crate::{
    host::{Host, HostError, Output, Stdin},
    nonce::nonce,
    plan::{Armed, Plan},
    remote::{self, How},
    shell::Argv,
};

/// An armed watchdog.
pub(super) struct Watching {
    release: String,
    version: String,
    nonce: String,
    /// The file that notes the step that begins, see [`remote::mark`].
    pub(super) mark: String,
    /// Seconds of silence after which the VPU rolls back.
    pub(super) seconds: u64,
}

impl Watching {
    /// Returns how a rollback by the client ended, for the status; `None` if nothing was rolled back. `who` has the
    /// members `by` and `at` of a JSON object.
    pub(super) fn verdict(&self, who: &str, step: &str, restored: &Restored) -> Option<Verdict> {
        let (outcome, failed) = match restored {
            Restored::Previous => ("restored", vec![]),
            Restored::Failed { address, reason } => {
                let said = reason.lines().next().unwrap_or_default().to_owned();
                let address = address.clone();
                ("failed", vec![NotRestored { address, said }])
            }
            _ => return None,
        };
        let who: Verdict = serde_json::from_str(&format!("{{{who}}}")).unwrap_or_default();
        Some(Verdict {
            version: self.version.clone(),
            outcome: outcome.to_owned(),
            why: Verdict::STEP_FAILED.to_owned(),
            step: Some(step.to_owned()),
            failed,
            ..who
        })
    }
}

impl<H: Host> Execution<'_, H> {
    /// Arms the watchdog of a plan that has one.
    pub(super) async fn arm(
        &self,
        plan: &Plan,
        who: &str,
    ) -> Result<Option<Watching>, FailureReason> {
        let (Some(watchdog), Some(lock)) = (&plan.watchdog, self.runner.lock) else {
            return Ok(None);
        };
        // A person may have to type it.
        let nonce = nonce()[4..16].to_owned();
        let armed = Armed {
            release: &watchdog.release,
            nonce: &nonce,
            token: lock.token(),
            who,
        };
        let program = armed.undo_program(plan).into_bytes();
        let command = remote::arm(
            &watchdog.release,
            &nonce,
            watchdog.seconds,
            lock.token(),
            watchdog.after_restart,
            program.len(),
        );
        let start = Instant::now();
        let armed = self
            .runner
            .run(How::Reads, None, &command, Stdin::Bytes(program))
            .await;
        self.logged(&command, start, armed)?;
        Ok(Some(Watching {
            mark: remote::mark(&watchdog.release, &nonce),
            release: watchdog.release.clone(),
            version: watchdog.version.clone(),
            nonce,
            seconds: watchdog.seconds,
        }))
    }

    /// Ends the watchdog: the new release stays.
    pub(super) async fn confirm(&self, watching: &Watching) -> Result<(), FailureReason> {
        self.decide(&remote::disarm(&watching.release, &watching.nonce))
            .await
    }

    /// Leaves the decision to a person; returns the token.
    pub(super) async fn await_answer(
        &self,
        watching: &Watching,
        within: Duration,
    ) -> Result<String, FailureReason> {
        let Watching {
            release,
            version,
            nonce,
            ..
        } = watching;
        let command = remote::await_answer(release, nonce, within.as_secs(), version);
        self.decide(&command).await?;
        Ok(nonce.clone())
    }

    /// Runs a command that may run twice over a new connection; over another one if that broke, for its answer may be lost.
    async fn decide(&self, command: &Argv) -> Result<(), FailureReason> {
        let start = Instant::now();
        let mut output = self.runner.run_afresh(command).await;
        if matches!(output, Err(HostError::Disconnected { .. })) {
            output = self.runner.run_afresh(command).await;
        }
        self.logged(command, start, output).map(drop)
    }

    /// Ends the watchdog after the client has rolled back, and leaves the verdict on the VPU. Whether that was still
    /// possible: else the VPU rolls back, too.
    pub(super) async fn stand_down(&self, watching: &Watching, verdict: Option<Verdict>) -> bool {
        let Watching { release, nonce, .. } = watching;
        let verdict = verdict.and_then(|verdict| serde_json::to_string(&verdict).ok());
        let (how, command, stdin) = match verdict {
            Some(verdict) => (
                How::Reads,
                remote::disarm_with_verdict(release, nonce),
                Stdin::Bytes(format!("{verdict}\n").into_bytes()),
            ),
            None => (How::Works, remote::disarm(release, nonce), Stdin::Empty),
        };
        let start = Instant::now();
        let output = self.runner.run(how, None, &command, stdin).await;
        self.logged(&command, start, output).is_ok()
    }

    fn logged(
        &self,
        command: &Argv,
        start: Instant,
        output: Result<Output, HostError>,
    ) -> Result<Output, FailureReason> {
        let output = output.map_err(FailureReason::from);
        self.log
            .command(&command.to_display(), start.elapsed(), &output);
        let output = output?;
        if output.success() {
            return Ok(output);
        }
        Err(FailureReason::Exit {
            code: output.code,
            tail: output.tail(TAIL_LINES),
        })
    }
}

/// Whether a failure tells that the VPU has decided to roll back.
pub(super) fn has_decided(reason: &FailureReason) -> bool {
    matches!(reason, FailureReason::Exit { code, .. } if *code == remote::DECIDED)
}
