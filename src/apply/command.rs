//! Runs the commands of a step: sends their payloads, falls back, and gives up if docker hangs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{
    Event, Execution, FailureReason, Stop, TAIL_LINES, parts, refused::each_once,
    watchdog::Watching,
};
use crate::{
    device,
    host::{self, Host, HostError, Output, Stdin},
    plan::{Command, Part, Payload, PayloadSource, Phase, Step, Transport},
    remote::{self, How},
    shell::Argv,
};

impl<H: Host> Execution<'_, H> {
    pub(super) async fn step(&self, step: &Step) -> Result<(), Stop> {
        let begins = if step.phase == Phase::Switch {
            step.id
        } else {
            0
        };
        self.begins.store(begins, Ordering::Relaxed);
        // Where nothing that runs is touched, the first Ctrl-C may end a transfer at once.
        let patience = if step.phase == Phase::Stage { 1 } else { 2 };
        let (mut interrupts, mut first) = (self.interrupts.clone(), self.interrupts.clone());
        let mut is_told = patience == 1;
        for command in &step.actions {
            let mut work = std::pin::pin!(self.watched(command, step.phase));
            let result = loop {
                tokio::select! {
                    result = &mut work => break result,
                    _ = interrupts.wait_for(|times| *times >= patience) => {
                        self.log.line(&format!("interrupted: {}", command.argv.to_display()));
                        return Err(Stop::Interrupted);
                    }
                    Ok(_) = first.wait_for(|times| *times > 0), if !is_told => {
                        is_told = true;
                        self.observer.event(Event::Ending(step));
                    }
                }
            };
            if let Err(reason) = result {
                let what = match command.transport {
                    Transport::Shell => remote::purpose(&command.argv),
                    Transport::DeviceApi { .. } => command.to_display(),
                };
                return Err(Stop::Failed(what, reason));
            }
        }
        Ok(())
    }

    /// Runs a command until it ends or docker is found to hang.
    pub(super) async fn watched(
        &self,
        command: &Command,
        phase: Phase,
    ) -> Result<(), FailureReason> {
        tokio::select! {
            result = self.command(command) => result,
            error = self.until_hopeless(command, phase == Phase::Switch) => {
                self.log.line(&format!("given up: {}: {error}", command.argv.to_display()));
                Err(error.into())
            }
        }
    }

    /// Runs a command, and its fallback if it fails.
    pub(super) async fn command(&self, command: &Command) -> Result<(), FailureReason> {
        let mut command = command;
        loop {
            let result = self.once(command).await;
            match (&command.fallback, result) {
                // It only looks whether it was done all the same.
                (Some(check), Err(failed @ FailureReason::Exit { .. })) if is_check(check) => {
                    return self.once(check).await.map_err(|_| failed);
                }
                // What has arrived stays, for when there is room.
                (Some(fallback), Err(full))
                    if full.is_docker_full() && !needs_less(fallback, command) =>
                {
                    return Err(full);
                }
                (Some(fallback), Err(FailureReason::Exit { .. })) => {
                    let bytes = fallback.stdin.as_ref().map_or(0, |payload| payload.bytes);
                    self.log
                        .line("that failed; falling back to the full transfer");
                    self.observer.event(Event::FellBack(bytes));
                    command = fallback;
                }
                (_, result) => return result,
            }
        }
    }

    async fn once(&self, command: &Command) -> Result<(), FailureReason> {
        let start = Instant::now();
        let result = match command.transport {
            Transport::Shell => self.shell(command).await.map_err(FailureReason::from),
            Transport::DeviceApi { port } => {
                self.mark().await?;
                let answer = device::call(self.runner.host, port, command.argv.words()).await;
                answer.map(Output::said).map_err(FailureReason::from)
            }
        };
        self.log
            .command(&command.to_display(), start.elapsed(), &result);
        let output = result?;
        if output.success() {
            for warning in self.warnings.new_of(command, &output) {
                self.observer.event(Event::Warned(&warning));
            }
            return Ok(());
        }
        Err(FailureReason::Exit {
            code: output.code,
            tail: each_once(&output.tail(TAIL_LINES)),
        })
    }

    async fn shell(&self, command: &Command) -> Result<Output, HostError> {
        if let Some(payload) = &command.stdin {
            self.tell_image(payload);
        }
        let how = match command.stdin.as_ref().map(|payload| &payload.source) {
            None if remote::waits_for(&command.argv).is_some() => How::Brings,
            None => How::Works,
            Some(PayloadSource::Inline { .. }) => How::Reads,
            Some(_) => How::Brings,
        };
        let stdin = match &command.stdin {
            None => Stdin::Empty,
            Some(payload) if !payload.parts().is_empty() => return self.in_parts(payload).await,
            Some(payload) => {
                let told = Arc::new(AtomicU64::new(0));
                let sent = self.counting(&told, 0);
                let write = self
                    .payloads
                    .open(payload, sent)
                    .map_err(HostError::Payload)?;
                Stdin::Stream(if payload.estimated {
                    self.telling_the_end(write, told)
                } else {
                    write
                })
            }
        };
        let run = self.runner.run(how, self.begins(), &command.argv, stdin);
        run.await
    }

    /// The step that begins with the next command, where a watchdog has to know.
    fn begins(&self) -> Option<(usize, &Watching)> {
        let step = self.begins.load(Ordering::Relaxed);
        let watching = self.watching.as_ref()?;
        (step > 0).then_some((step, watching))
    }

    /// Notes for the watchdog that a step begins whose command does not run in the VPU's shell.
    async fn mark(&self) -> Result<(), HostError> {
        if let Some(begins) = self.begins() {
            let nothing = Argv::new("true");
            let run = self
                .runner
                .run(How::Works, Some(begins), &nothing, Stdin::Empty);
            run.await?;
        }
        Ok(())
    }

    /// Sends a payload in its parts.
    async fn in_parts(&self, payload: &Payload) -> Result<Output, HostError> {
        let told = Arc::new(AtomicU64::new(0));
        let open = |part: &Part| {
            if payload.estimated {
                self.tell_image(payload);
            }
            // All of the part before has been written, but for its end.
            let sent = self.counting(&told, told.load(Ordering::Relaxed));
            let write = self.payloads.open_part(payload, part, sent)?;
            if payload.parts().last() == Some(part) {
                Ok(self.telling_the_end(write, Arc::clone(&told)))
            } else {
                Ok(write)
            }
        };
        parts::send(&self.runner, payload.parts(), open).await
    }

    /// Reports and stores how many bytes were sent, including earlier parts.
    fn counting(&self, told: &Arc<AtomicU64>, before: u64) -> impl Fn(u64) + Send + Sync + 'static {
        let (told, observer) = (Arc::clone(told), Arc::clone(&self.observer));
        move |bytes| {
            told.store(before + bytes, Ordering::Relaxed);
            observer.event(Event::Sent(before + bytes));
        }
    }

    /// Reports when all bytes of an image were sent.
    fn telling_the_end(&self, write: host::Payload, told: Arc<AtomicU64>) -> host::Payload {
        let observer = Arc::clone(&self.observer);
        Box::new(move |out| {
            write(out)?;
            observer.event(Event::SentAll(told.load(Ordering::Relaxed)));
            Ok(())
        })
    }

    fn tell_image(&self, payload: &Payload) {
        let layers = self.payloads.layers(payload);
        if !layers.is_empty() {
            self.observer.event(Event::Image {
                bytes: self.payloads.bytes(payload),
                about: payload.estimated,
                layers: &layers,
            });
        }
    }
}

/// Whether a fallback sends no payload but its inline text: it only checks.
fn is_check(fallback: &Command) -> bool {
    let payload = fallback.stdin.as_ref();
    payload.is_some_and(|payload| matches!(payload.source, PayloadSource::Inline { .. }))
}

/// Whether docker spools clearly fewer bytes for a command than for another: by more than an archive's overhead.
fn needs_less(command: &Command, than: &Command) -> bool {
    let spooled = |command: &Command| {
        command
            .stdin
            .as_ref()
            .map_or(0, |payload| payload.spool_bytes)
    };
    spooled(command) < spooled(than) / 100 * 99
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{digest::Digest, plan::PayloadSource};

    #[test]
    fn a_full_disk_ends_what_needs_no_less() {
        let load = |spooled| {
            let from = PayloadSource::Image {
                name: "app:1".into(),
                layers: None,
            };
            let mut payload = Payload::new(from, Digest::of(""), 1);
            payload.spool_bytes = spooled;
            Command::with(Argv::new("docker"), payload)
        };
        // Packed layers, or parts, may fit where these do not.
        assert!(needs_less(&load(100), &load(300)));
        assert!(!needs_less(&load(300), &load(100)));
        // The same with another tag.
        assert!(!needs_less(&load(99_999), &load(100_000)));
    }
}
