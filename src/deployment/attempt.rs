//! Notes the beginning and the end of an apply on the VPU, for `history`.

use std::time::Instant;

use crate::{
    apply::{FailureReason, Outcome, Report, Restored},
    desired::Desired,
    host::{Host, HostError, Stdin},
    observe::{Applied, Attempt, IN_PART, NOT_ROLLED_BACK, UNCONFIRMED},
    plan::Plan,
    remote,
};

/// An apply whose beginning was noted.
pub(crate) struct Noted {
    release: String,
    projects: Vec<String>,
    /// Whether a success leaves no record to note it in.
    destroys: bool,
    attempt: Attempt,
    start: Instant,
}

impl Noted {
    /// Notes that an apply begins. `who` are members of a JSON object, as [`super::holder`] returns them. An apply does
    /// not fail because it could not be noted.
    pub(crate) async fn begin<H: Host>(
        host: &H,
        desired: &Desired,
        plan: &Plan,
        who: &str,
    ) -> Self {
        let applied: Applied = serde_json::from_str(&format!("{{{who}}}")).unwrap_or_default();
        let attempt = Attempt {
            id: crate::nonce::nonce(),
            at: applied.at,
            by: applied.by,
            rollback: plan.manifest.is_kept(),
            version: desired.release.version.clone(),
            bytes: plan.bytes_to_send(),
            ..Attempt::default()
        };
        let release = desired.release.name.to_string();
        note_attempt(host, &release, &attempt, &[]).await;
        let projects = desired.projects.iter();
        Self {
            release,
            projects: projects.map(|project| project.name.clone()).collect(),
            destroys: desired.destroys,
            attempt,
            start: Instant::now(),
        }
    }

    /// Notes how it ended, unless the connection is lost.
    pub(crate) async fn end<H: Host>(mut self, host: &H, report: &Report) {
        if let Outcome::Failed(failure) = &report.outcome
            && let FailureReason::Host(HostError::Disconnected { .. } | HostError::LockLost) =
                failure.reason
        {
            return;
        }
        if self.destroys && matches!(report.outcome, Outcome::Done) {
            return;
        }
        let (result, step) = result(&report.outcome);
        self.attempt.result = result.to_owned();
        self.attempt.step = step.to_owned();
        self.attempt.seconds = self.start.elapsed().as_secs();
        let projects = if is_final(&report.outcome) {
            &self.projects[..]
        } else {
            &[]
        };
        note_attempt(host, &self.release, &self.attempt, projects).await;
    }
}

/// Whether no rollback follows, so that the files that were kept for it are not needed any more.
fn is_final(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done => true,
        Outcome::Failed(failure) => failure.restored == Restored::Previous,
        Outcome::Unconfirmed { .. } | Outcome::Interrupted { .. } => false,
    }
}

/// Returns how an apply ended, and the step where it did.
fn result(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Done => ("done", ""),
        Outcome::Unconfirmed { .. } => (UNCONFIRMED, ""),
        Outcome::Interrupted { at, .. } => ("interrupted", at),
        Outcome::Failed(failure) => {
            let result = match failure.restored {
                Restored::Previous => "failed, rolled back",
                Restored::NotNeeded => "failed, nothing changed",
                Restored::Recorded => "done, cleanup failed",
                Restored::Undecided { .. } => "connection lost, left to the VPU",
                Restored::NotWanted | Restored::OutOfReach => NOT_ROLLED_BACK,
                Restored::Failed { .. } => IN_PART,
            };
            (result, &failure.address)
        }
    }
}

/// Appends a line to the attempts of a release; removes the kept files of `projects`.
async fn note_attempt<H: Host>(host: &H, release: &str, attempt: &Attempt, projects: &[String]) {
    // Strings and numbers always serialise.
    let mut line = serde_json::to_vec(attempt).unwrap_or_default();
    line.push(b'\n');
    let command = remote::note_attempt(release, projects.iter().map(String::as_str));
    if let Err(error) = host.run(&command, Stdin::Bytes(line)).await {
        tracing::debug!(%error, "the apply could not be noted on the VPU");
    }
}
