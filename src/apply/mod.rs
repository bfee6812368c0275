//! Executes a finished plan exactly. The only code that writes to a VPU; [`crate::plan`] decides what to do.

mod client;
mod command;
mod lock;
mod log;
mod parts;
mod refused;
mod report;
mod rollback;
mod runner;
mod said;
mod watch;
mod watchdog;

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
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
    host::{Held, Host},
    image::LayerSpan,
    plan::{Phase, Plan, Step},
    prepare::Payloads,
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
    /// Whether it is the confirmation.
    confirming: bool,
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
                confirming: false,
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
            confirming: phase == Phase::Switch,
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
            confirming,
        } = what;
        let undecided = |watching: &Watching, confirming| Restored::Undecided {
            seconds: watching.seconds,
            confirming,
        };
        let done = &plan.steps[..completed];
        let restored = if phase == Phase::Stage {
            Restored::NotNeeded
        } else if done.iter().any(Step::is_record) {
            Restored::Recorded
        } else if let Some(watching) = self.watching.as_ref().filter(|_| has_decided(&reason)) {
            undecided(watching, false)
        } else {
            self.restore(plan, at, &reason, options).await
        };
        let restored = match &self.watching {
            Some(watching) if restored == Restored::OutOfReach => undecided(watching, confirming),
            Some(watching) => {
                let verdict = watching.verdict(options.who, &address, &restored);
                if self.stand_down(watching, verdict).await {
                    restored
                } else {
                    undecided(watching, false)
                }
            }
            None => restored,
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
}
