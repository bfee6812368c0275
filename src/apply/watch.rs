//! Watches a running command: reports that it still runs, and gives up if docker on the VPU hangs.

use std::time::Duration;

use super::{Event, Execution, said};
use crate::{
    host::{Host, HostError, Stdin},
    observe::docker_answers,
    plan::Command,
    redact::redact_words,
    remote,
};

/// How often a running step is reported.
const STILL_RUNS: Duration = Duration::from_secs(5);

/// How often docker is asked whether it answers while a command runs, and how long it may take: with an image being
/// unpacked on a slow disk, some seconds.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// How many answers may be missing in the switch, and before it, when nothing is down.
const SILENT_IN_THE_SWITCH: u32 = 2;
const SILENT_BEFORE: u32 = 8;

/// The longest that a command without payload may run: containers that stop slowly, one after the other.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// How many containers of a project are told of, and how many characters of each line.
const CONTAINERS: usize = 8;
const LENGTH: usize = 200;

/// A line that a container printed, without what would steer a terminal, and without secrets.
fn shown(line: &str) -> String {
    let plain: String = said::without_colours(line)
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    redact_words(&plain).chars().take(LENGTH).collect()
}

impl<H: Host> Execution<'_, H> {
    /// Returns when the running command is to be given up. A command with a payload may take as long as the link needs.
    pub(super) async fn until_hopeless(&self, command: &Command, in_the_switch: bool) -> HostError {
        let sends = command.stdin.is_some();
        let telling = async {
            loop {
                tokio::time::sleep(STILL_RUNS).await;
                if let Some(project) = remote::waits_for(&command.argv) {
                    self.tell_containers(project).await;
                }
                self.observer.event(Event::StillRuns);
            }
        };
        tokio::select! {
            error = self.asking(in_the_switch) => error,
            () = telling => unreachable!("the loop never ends"),
            () = tokio::time::sleep(LIMIT), if !sends => HostError::NoAnswer {
                what: "the command".into(),
                seconds: LIMIT.as_secs(),
            },
        }
    }

    /// Reports the state of a project's containers. Ignores a failure: the waiting command reports it better.
    async fn tell_containers(&self, project: &str) {
        let question = remote::show_containers(project);
        let asked = self.runner.host.run(&question, Stdin::Empty);
        if let Ok(Ok(output)) = tokio::time::timeout(SIGN_OF_LIFE, asked).await {
            let text = String::from_utf8_lossy(&output.stdout);
            let lines: Vec<String> = text.lines().take(CONTAINERS).map(shown).collect();
            if !lines.is_empty() {
                self.observer.event(Event::Containers(&lines));
            }
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
