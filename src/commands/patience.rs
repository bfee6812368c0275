//! Looks at a VPU, with a limit, and says what is waited for.

use std::time::Duration;

use super::{CommandError, ErrorCode};
use crate::{
    host::SshHost,
    observe::{self, Observed, Query, docker_answers},
    render,
    ui::Ui,
};

/// When docker is asked for a sign of life while a look runs: an ordinary look takes a second or two.
const ASKED_AFTER: [u64; 5] = [20, 60, 180, 300, 590];

/// How long it may take to give one.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// How often it may give none.
const SILENT: u32 = 2;

/// Observes a VPU. After 30 s that is said, and after 70 s in which docker gave no sign of life it ends.
pub(super) async fn observe(
    host: &SshHost,
    query: &Query,
    ui: Ui,
) -> Result<Observed, CommandError> {
    // On the heap: it holds several conversations with the VPU at once.
    let look = Box::pin(observe::observe(host, query));
    tokio::select! {
        observed = look => Ok(observed?),
        error = watch(host, ui) => Err(error),
    }
}

async fn watch(host: &SshHost, ui: Ui) -> CommandError {
    let start = tokio::time::Instant::now();
    let mut silent = 0;
    for seconds in ASKED_AFTER {
        tokio::time::sleep_until(start + Duration::from_secs(seconds)).await;
        let answers = match docker_answers(host, SIGN_OF_LIFE).await {
            Ok(answers) => answers,
            Err(error) => return error.into(),
        };
        let took = render::duration(start.elapsed());
        if answers {
            silent = 0;
            ui.note(&format!("looking at the VPU has taken {took} so far"));
            continue;
        }
        silent += 1;
        if silent >= SILENT {
            return CommandError::message(
                ErrorCode::DockerHangs,
                format!(
                    "dockerd on the VPU does not answer: docker info has run for {took}; nothing was done"
                ),
                Some(
                    "see on the VPU: docker info; a dockerd that hangs is gone after a power cycle"
                        .into(),
                ),
            );
        }
        ui.note(&format!(
            "docker info on the VPU has not answered for {took}"
        ));
    }
    CommandError::message(
        ErrorCode::StateUnknown,
        "the VPU did not say within 10 minutes what is on it; nothing was done",
        Some("run it again with -vv, and report it with that output if it stays".into()),
    )
}
