//! Executes a finished plan exactly. The only code that writes to a VPU; [`crate::plan`] decides what to do.

mod client;
mod lock;
mod log;
mod parts;
mod report;
mod runner;
mod said;
mod watch;
mod watchdog;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch as channel;

pub use lock::{Locked, lock};
pub use log::Log;
pub use report::{Failure, FailureReason, Outcome, Report, Restored};

use self::{
    runner::Runner,
    watchdog::{Watching, has_decided},
};
use crate::{
    device,
    host::{self, Held, Host, HostError, Output, Stdin},
    image::LayerSpan,
    observe::docker_answers,
    plan::{Command, Part, Payload, PayloadSource, Phase, Plan, Step, Transport},
    prepare::Payloads,
    remote::{self, How},
    shell::Argv,
};

/// The most lines of a failed command's output that are shown.
const TAIL_LINES: usize = 100;

/// What happens while a plan is executed, for observers that show it.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step starts.
    Started(&'a Step),
    /// Bytes of the current step's payload that were sent so far.
    Sent(u64),
    /// The bytes of an image in the current step; sent again when the estimate improves.
    Image {
        /// Bytes in all.
        bytes: u64,
        /// Whether the number is an estimate.
        about: bool,
        /// The spans of the layers.
        layers: &'a [LayerSpan],
    },
    /// All bytes of an image were sent; their number.
    SentAll(u64),
    /// A step still runs; sent every few seconds.
    StillRuns,
    /// The containers whose health a step waits for: a line for each, with what it printed last.
    Containers(&'a [String]),
    /// dockerd has not answered for this many seconds.
    NoAnswer(u64),
    /// A warning of docker-compose or another program on the VPU; each is sent once.
    Warned(&'a str),
    /// A command failed and its fallback starts; the bytes that it sends in all.
    FellBack(u64),
    /// A step is done.
    Done(&'a Step),
    /// A step failed.
    Failed(&'a Step),
    /// A step was interrupted.
    Interrupted(&'a Step),
    /// The first interrupt: waits for the step that changes what runs; a second interrupt ends it.
    Ending(&'a Step),
    /// The rollback starts.
    Restoring,
    /// A step is being undone.
    Undoing(&'a Step),
}

/// How long an undo command may run if docker does not answer.
const HOPELESS: Duration = Duration::from_secs(20);

/// Receives events; called from several threads.
pub trait Observer: Send + Sync + 'static {
    /// One event.
    fn event(&self, event: Event<'_>);
}

/// An observer that ignores all events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event<'_>) {}
}

/// How often Ctrl-C was pressed: once stops after the running step (at once if the step does not touch what runs), twice
/// stops at once.
pub type Interrupts = channel::Receiver<u32>;

/// How to execute.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Whether a failure in the switch rolls back to the previous release.
    pub rollback: bool,
    /// The lock, without which no command runs; `None` if no other client can exist: then no watchdog is armed either.
    pub lock: Option<&'a Held>,
    /// Who applies and when, as members of a JSON object; for the watchdog's verdict.
    pub who: &'a str,
    /// Leaves the decision on the release to a person, for so long; then the VPU rolls back. Only for plans with a watchdog.
    pub confirm_within: Option<Duration>,
}

/// Runs every step of `plan` in order.
pub async fn execute<H: Host>(
    host: &H,
    plan: &Plan,
    payloads: &Payloads,
    options: Options<'_>,
    log: &Log,
    observer: Arc<dyn Observer>,
    interrupts: Interrupts,
) -> Report {
    let runner = Runner {
        host,
        lock: options.lock,
    };
    let execution = Execution {
        runner,
        payloads,
        log,
        observer,
        interrupts,
        warnings: said::Warnings::beside(&plan.notes),
        watching: None,
        begins: AtomicUsize::new(0),
    };
    // On the heap: it is large.
    Box::pin(execution.run(plan, options)).await
}

/// What failed.
struct What {
    /// The address of the step.
    address: String,
    /// What its command does.
    command: String,
    phase: Phase,
}

/// Why a step stopped.
enum Stop {
    Failed(String, FailureReason),
    Interrupted,
}

struct Execution<'a, H> {
    runner: Runner<'a, H>,
    payloads: &'a Payloads,
    log: &'a Log,
    observer: Arc<dyn Observer>,
    interrupts: Interrupts,
    warnings: said::Warnings,
    watching: Option<Watching>,
    /// The number of the step of the switch that runs, for the watchdog; 0 for none.
    begins: AtomicUsize,
}

impl<H: Host> Execution<'_, H> {
    /// Runs every step in order, with the watchdog on the VPU armed during the switch.
    async fn run(mut self, plan: &Plan, options: Options<'_>) -> Report {
        for (completed, step) in plan.steps.iter().enumerate() {
            if self.interrupted(1) {
                let at = step.address.to_string();
                self.log.line(&format!("interrupted before {at}"));
                return Report {
                    completed,
                    outcome: Outcome::Interrupted { at, begun: false },
                };
            }
            match self.look_after(plan, step.phase, options).await {
                Ok(None) => {}
                Ok(Some(outcome)) => return Report { completed, outcome },
                Err((what, reason)) => {
                    return self.failed(plan, completed, what, reason, options).await;
                }
            }
            self.observer.event(Event::Started(step));
            let Err(stop) = self.step(step).await else {
                self.observer.event(Event::Done(step));
                continue;
            };
            let (command, reason) = match stop {
                Stop::Interrupted => {
                    self.observer.event(Event::Interrupted(step));
                    let at = step.address.to_string();
                    return Report {
                        completed,
                        outcome: Outcome::Interrupted { at, begun: true },
                    };
                }
                Stop::Failed(command, reason) => (command, reason),
            };
            self.observer.event(Event::Failed(step));
            let what = What {
                address: step.address.to_string(),
                command,
                phase: step.phase,
            };
            return self.failed(plan, completed, what, reason, options).await;
        }
        let completed = plan.steps.len();
        match self.look_after(plan, Phase::Settle, options).await {
            Ok(outcome) => Report {
                completed,
                outcome: outcome.unwrap_or(Outcome::Done),
            },
            Err((what, reason)) => self.failed(plan, completed, what, reason, options).await,
        }
    }

    /// Arms the watchdog before the switch, and ends it after that, or leaves it to a person: then the apply ends so.
    async fn look_after(
        &mut self,
        plan: &Plan,
        next: Phase,
        options: Options<'_>,
    ) -> Result<Option<Outcome>, (What, FailureReason)> {
        let what = |phase, doing: &str| What {
            address: "watchdog".to_owned(),
            command: doing.to_owned(),
            phase,
        };
        match (next, &self.watching) {
            (Phase::Switch, None) if options.rollback => {
                let armed = self.arm(plan, options.who).await;
                // Nothing is touched yet.
                let what = |reason| (what(Phase::Stage, "arm the watchdog on the VPU"), reason);
                self.watching = armed.map_err(what)?;
            }
            (Phase::Settle, Some(watching)) => {
                let doing = "confirm the release over a new connection";
                let what = |reason| (what(Phase::Switch, doing), reason);
                if let Some(within) = options.confirm_within {
                    let token = self.await_answer(watching, within).await.map_err(what)?;
                    return Ok(Some(Outcome::Unconfirmed { token }));
                }
                self.confirm(watching).await.map_err(what)?;
                self.watching = None;
            }
            _ => {}
        }
        Ok(None)
    }

    /// Rolls back after a failure, where that is needed: in the step with this index, or before it where it has not
    /// begun.
    async fn failed(
        self,
        plan: &Plan,
        completed: usize,
        what: What,
        reason: FailureReason,
        options: Options<'_>,
    ) -> Report {
        let at = completed.min(plan.steps.len().saturating_sub(1));
        let What {
            address,
            command,
            phase,
        } = what;
        let done = &plan.steps[..completed];
        let restored = if phase == Phase::Stage {
            Restored::NotNeeded
        } else if done.iter().any(Step::is_record) {
            Restored::Recorded
        } else if let Some(watching) = self.watching.as_ref().filter(|_| has_decided(&reason)) {
            Restored::Undecided {
                seconds: watching.seconds,
            }
        } else {
            self.restore(plan, at, &reason, options).await
        };
        let restored = match &self.watching {
            Some(watching)
                if restored == Restored::OutOfReach || !self.stand_down(watching).await =>
            {
                Restored::Undecided {
                    seconds: watching.seconds,
                }
            }
            _ => restored,
        };
        let failure = Failure {
            address,
            phase,
            command,
            reason,
            restored,
        };
        Report {
            completed,
            outcome: Outcome::Failed(Box::new(failure)),
        }
    }

    fn interrupted(&self, times: u32) -> bool {
        *self.interrupts.borrow() >= times
    }

    async fn step(&self, step: &Step) -> Result<(), Stop> {
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
    async fn watched(&self, command: &Command, phase: Phase) -> Result<(), FailureReason> {
        tokio::select! {
            result = self.command(command) => result,
            error = self.until_hopeless(command, phase == Phase::Switch) => {
                self.log.line(&format!("given up: {}: {error}", command.argv.to_display()));
                Err(error.into())
            }
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

    /// Runs a command, and its fallback if it fails.
    async fn command(&self, command: &Command) -> Result<(), FailureReason> {
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
            tail: output.tail(TAIL_LINES),
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

    /// Runs the undo commands of the switch's steps up to and including `failed`, and of those with `rollback_always`, in
    /// the order of the steps: a rollback applies the previous state, and files and names come before the containers
    /// that use them. Continues after a failure: a partial rollback is better than none.
    async fn restore(
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
        if plan.is_first_release() {
            return Restored::NoPrevious;
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
