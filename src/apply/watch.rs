//! Watches a running command: reports that it still runs, and gives up if docker on the VPU hangs.

use std::time::Duration;

use super::{Event, Execution};
use crate::{
    host::{Host, HostError},
    observe::docker_answers,
};

/// How often a step that runs says so.
const STILL_RUNS: Duration = Duration::from_secs(5);

/// How often docker is asked for a sign of life while a command runs, and how long it may take to give one: with an
/// image being unpacked on a slow disk, some seconds.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// How many of them may be missing while what runs is switched, and before: there nothing is down meanwhile.
const SILENT_IN_THE_SWITCH: u32 = 2;
const SILENT_BEFORE: u32 = 8;

/// The longest that any command without bytes to send may run: containers that take long to stop, one after the other.
const LIMIT: Duration = Duration::from_secs(60 * 60);

impl<H: Host> Execution<'_, H> {
    /// Waits until the command that runs is to be given up; `sends` is whether that may take as long as the link needs.
    pub(super) async fn until_hopeless(&self, in_the_switch: bool, sends: bool) -> HostError {
        let telling = async {
            loop {
                tokio::time::sleep(STILL_RUNS).await;
                self.observer.event(Event::StillRuns);
            }
        };
        tokio::select! {
            error = self.asking(in_the_switch) => error,
            () = telling => unreachable!("it tells without end"),
            () = tokio::time::sleep(LIMIT), if !sends => HostError::NoAnswer {
                what: "the command".into(),
                seconds: LIMIT.as_secs(),
            },
        }
    }

    async fn asking(&self, in_the_switch: bool) -> HostError {
        let most = if in_the_switch {
            SILENT_IN_THE_SWITCH
        } else {
            SILENT_BEFORE
        };
        let mut silent = 0;
        loop {
            tokio::time::sleep(SIGN_OF_LIFE).await;
            match docker_answers(self.runner.host, SIGN_OF_LIFE).await {
                Ok(true) => silent = 0,
                Ok(false) => {
                    silent += 1;
                    let seconds = u64::from(silent) * SIGN_OF_LIFE.as_secs();
                    if silent >= most {
                        return HostError::NoAnswer {
                            what: "dockerd on the VPU".into(),
                            seconds,
                        };
                    }
                    self.log
                        .line(&format!("dockerd has not answered for {seconds} s"));
                    self.observer.event(Event::NoAnswer(seconds));
                }
                // The command's own end tells it better.
                Err(error) => {
                    tracing::debug!(%error, "docker was not asked");
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}
