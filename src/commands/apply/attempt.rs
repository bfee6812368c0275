//! Runs one attempt to apply: locks, observes again,
//! executes, and checks that the VPU has converged.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

use super::{
    Applied, ask, check_not_stale,
    ended::{command, failed, interrupted, locked},
    lock::free_lock,
    now::what_runs,
    outcome::Outcome as Done,
    reached, show_plan,
    tries::Try,
    watch::Waiting,
};
use crate::{
    apply::{self, Failure, FailureReason, Locked, Outcome},
    cli::{self, TextOrJson},
    commands::{CommandError, ErrorCode, Exit, details::details, session::Session},
    deployment::{Noted, Planned},
    host::{Held, HostError},
    image::ImageError,
    plan::{Address, Phase, Plan},
    prepare::Payloads,
    remote::Claim,
    render::{self, Details},
    ui::Ui,
};

/// State that all attempts of one apply share, and that each updates.
pub(super) struct Attempt<'a> {
    pub(super) args: &'a cli::Applying,
    /// Whether the plan was saved before.
    pub(super) is_saved: bool,
    pub(super) ui: Ui,
    pub(super) waiting: &'a Waiting<'a>,
    /// The name under which the lock is held.
    pub(super) who: String,
    /// What was done since the first step, over all attempts.
    pub(super) outcome: Option<Done>,
    /// The plan that the user agreed to.
    pub(super) planned: Plan,
    /// What the plan sends.
    pub(super) payloads: Payloads,
    /// The lock, if it was taken before planning.
    pub(super) held: Option<Held>,
}

/// Why an attempt ended.
pub(super) enum Stop {
    /// The connection was lost before anything that runs was
    /// touched; the error is reported if it cannot be restored.
    LinkLost(Box<CommandError>),
    /// A layer in the cache is corrupt; the error is reported if that happens too often.
    DamagedCache(Box<CommandError>),
    /// An error that another attempt cannot resolve.
    Error(Box<CommandError>),
}

impl From<CommandError> for Stop {
    fn from(error: CommandError) -> Self {
        Self::Error(Box::new(error))
    }
}

impl Stop {
    /// Converts an error of a command that only reads from the VPU.
    fn looking(error: CommandError) -> Self {
        if error.exit == Exit::Unreachable {
            Self::LinkLost(Box::new(error))
        } else {
            error.into()
        }
    }
}

impl Attempt<'_> {
    pub(super) async fn run(
        &mut self,
        session: &Session,
        current: &mut Try,
        result: &mut Applied,
    ) -> Result<Exit, Stop> {
        let lock = if let Some(lock) = self.held.take() {
            lock
        } else {
            let lock = self.lock(session).await?;
            // Another apply may have finished between the first observation and the lock.
            let again = Box::pin(self.plan_again(session, current, result));
            if again.await?.is_break() {
                return Ok(Exit::Done);
            }
            lock
        };
        if let Some(token) = self.execute(session, &lock, result).await? {
            self.say_unconfirmed(&token);
            result.unconfirmed = Some(token);
            return Ok(Exit::Done);
        }
        self.look_again(session, result, lock).await
    }

    /// Observes and plans again, and asks again if the plan
    /// differs; breaks if nothing is left to do.
    async fn plan_again(
        &mut self,
        session: &Session,
        current: &mut Try,
        result: &mut Applied,
    ) -> Result<ControlFlow<()>, Stop> {
        let observed = self.waiting.until("inspecting the VPU", session.observe());
        let observed = observed.await?.map_err(Stop::looking)?;
        let planned = self
            .waiting
            .until("planning again", session.plan(&observed));
        let Planned { plan, payloads } = planned.await??;
        if let Some(why) = current.why()
            && is_rest(&plan, &self.planned)
        {
            *current = current.progressed(is_further(&plan, &self.planned));
            self.say_rest(why, &plan);
        } else if self.is_saved {
            check_not_stale(&self.planned, &plan, "while apply waited")?;
        } else if !plan.does_the_same(&self.planned) {
            self.ui.note("the VPU changed; the new plan:");
            let shown = match self.args.format {
                TextOrJson::Text => details(session, &observed, &plan).await?,
                TextOrJson::Json => Details::new(),
            };
            if !show_plan(
                self.args.format,
                !self.args.yes,
                self.ui,
                &plan,
                &shown,
                result,
            )? {
                return Ok(ControlFlow::Break(()));
            }
            if !self.args.yes {
                self.ask(plan.clone()).await?;
            }
        }
        self.planned = plan;
        self.payloads = payloads;
        Ok(ControlFlow::Continue(()))
    }

    /// Takes the lock, also from this apply's own earlier attempt if the VPU has not noticed yet
    /// that the connection was lost.
    async fn lock(&self, session: &Session) -> Result<Held, Stop> {
        let claim = if self.args.lock.break_lock {
            Claim::Break
        } else {
            Claim::Wait
        };
        let lock = free_lock(session, &self.who, claim, self.args, self.ui);
        let lock = self.waiting.until("waiting for the lock", lock).await?;
        lock.map_err(|error| match error {
            Locked::Host(error) => Stop::looking(error.into()),
            error => locked(error, self.waiting.log).into(),
        })
    }

    fn say_rest(&self, why: &str, plan: &Plan) {
        let left = render::bytes(plan.bytes_to_send());
        let note = if plan.is_estimated() {
            format!("{why}: about {left} to go")
        } else if self.planned.is_estimated() {
            format!("{why}: {left} to go")
        } else {
            let before = self.planned.bytes_to_send();
            let sent = render::bytes(before.saturating_sub(plan.bytes_to_send()));
            format!("{why}: {sent} arrived, {left} to go")
        };
        self.ui.note(&note);
    }

    async fn ask(&self, plan: Plan) -> Result<(), CommandError> {
        let answer = ask(self.args.format, self.ui, plan);
        self.waiting.until("asking", answer).await?
    }

    async fn execute(
        &mut self,
        session: &Session,
        lock: &Held,
        result: &mut Applied,
    ) -> Result<Option<String>, Stop> {
        let plan = &self.planned;
        self.outcome.get_or_insert_with(|| Done::begin(plan));
        let log = self.waiting.log;
        let progress = Arc::new(self.ui.progress(plan));
        let options = apply::Options {
            rollback: !self.args.no_rollback,
            lock: Some(lock),
            who: &self.who,
            confirm_within: self
                .args
                .confirm_within
                .as_ref()
                .map(crate::manifest::names::Duration::get),
        };
        let interrupts = self.waiting.interrupts.clone();
        let host = session.vpu.host();
        let noted = Noted::begin(host, session.vpu.desired(), plan, &self.who).await;
        let report = apply::execute(
            host,
            plan,
            &self.payloads,
            options,
            log,
            progress,
            interrupts,
        )
        .await;
        noted.end(host, &report).await;
        session.vpu.applied().await;
        result.completed += report.completed;
        let now = match &report.outcome {
            Outcome::Failed(failure) => what_runs(session, plan, failure, report.completed).await,
            _ => None,
        };
        let failed = |failure: &Failure| failed(failure, now.as_deref(), plan, log);
        match report.outcome {
            Outcome::Done => Ok(None),
            Outcome::Unconfirmed { token } => Ok(Some(token)),
            Outcome::Interrupted { at, begun } => {
                Err(interrupted(&at, begun, report.completed, plan).into())
            }
            Outcome::Failed(failure) if is_link_lost(&failure) => {
                Err(Stop::LinkLost(Box::new(failed(&failure))))
            }
            Outcome::Failed(failure) if is_damaged_cache(&failure) => {
                Err(Stop::DamagedCache(Box::new(failed(&failure))))
            }
            Outcome::Failed(failure) => Err(failed(&failure).into()),
        }
    }

    /// Says how to keep a release that waits to be confirmed.
    fn say_unconfirmed(&self, token: &str) {
        let within = self.args.confirm_within.as_ref();
        let within = within.map(ToString::to_string).unwrap_or_default();
        let which = match command(&self.planned).as_str() {
            "rollback" => "the earlier release runs; the VPU restores the later one",
            _ => "the new release runs; the VPU rolls back",
        };
        let text = format!(
            "{which} in {within} or after a restart, unless you confirm it\n\
             to keep it: o3r-deploy confirm {token}\n\
             to roll back now: o3r-deploy cancel {token}"
        );
        self.waiting.log.line(&text);
        // It is the result, with -q, too; stdout is for a document.
        match self.args.format {
            TextOrJson::Text => self.ui.result(&text),
            TextOrJson::Json => self.ui.note(&text),
        }
    }

    /// Observes and plans again; the second plan must be empty.
    async fn look_again(
        &self,
        session: &Session,
        result: &mut Applied,
        lock: Held,
    ) -> Result<Exit, Stop> {
        let (ui, log) = (self.ui, self.waiting.log);
        let what = "checking that the VPU has converged";
        let observed = self.waiting.until(what, session.observe()).await?;
        let observed = observed.map_err(Stop::looking)?;
        let remaining = self
            .waiting
            .until("planning again", session.plan(&observed))
            .await??
            .plan;
        drop(lock);
        if remaining.is_empty() {
            log.line("applied; a second plan is empty");
            if self.args.format == TextOrJson::Text {
                let reached = reached(&remaining);
                ui.result(&match &self.outcome {
                    Some(outcome) => format!("{reached}: {}", outcome.text(&observed)),
                    None => reached,
                });
            }
            return Ok(Exit::Done);
        }
        if self.args.format == TextOrJson::Text {
            ui.data(&render::text(&remaining, ui.plan_style()));
        }
        log.line("applied, but a second plan is not empty");
        let count = remaining.steps.len() + remaining.blocked.len();
        result.remaining = Some(remaining);
        let error = CommandError::message(
            ErrorCode::NotConverged,
            format!(
                "all steps succeeded, but the VPU has not converged: {count} still to do, see the plan above"
            ),
            Some(
                "something on the VPU undoes what was applied: check the logs of its containers"
                    .into(),
            ),
        );
        Err(error.into())
    }
}

/// Whether a plan has no steps beyond those that were agreed to, except the removal of what an
/// earlier attempt left.
fn is_rest(plan: &Plan, planned: &Plan) -> bool {
    let left = [Address::unfinished_images(), Address::damaged_images()];
    let known = |step: &crate::plan::Step| {
        left.contains(&step.address)
            || planned
                .steps
                .iter()
                .any(|other| other.address == step.address && other.action == step.action)
    };
    plan.blocked.is_empty()
        && plan.vpu == planned.vpu
        && plan.manifest == planned.manifest
        && plan.steps.iter().all(known)
}

/// Whether more has arrived than at the time of the earlier plan.
fn is_further(plan: &Plan, before: &Plan) -> bool {
    if !plan.is_estimated() && !before.is_estimated() {
        return plan.bytes_to_send() < before.bytes_to_send();
    }
    let (have, missing) = arrived(plan);
    let (had, missed) = arrived(before);
    have > had || missing < missed
}

/// Returns the bytes that have arrived of incomplete parts, and the number of missing layers.
fn arrived(plan: &Plan) -> (u64, usize) {
    let commands = plan.steps.iter().flat_map(|step| &step.actions);
    let payloads = commands.filter_map(|command| command.stdin.as_ref());
    payloads.fold((0, 0), |(have, missing), payload| {
        let of_parts: u64 = payload.parts().iter().map(|part| part.received_bytes).sum();
        let layers = payload.layers().map_or(0, BTreeSet::len);
        (have + of_parts, missing + layers)
    })
}

/// Whether a step failed because the connection was lost, before any running container was touched.
fn is_link_lost(failure: &Failure) -> bool {
    let lost = matches!(
        failure.reason,
        FailureReason::Host(
            HostError::Disconnected { .. } | HostError::Transport { .. } | HostError::LockLost
        )
    );
    lost && failure.phase == Phase::Stage
}

/// Whether a step failed because of a corrupt layer in the cache, before any running container was touched.
fn is_damaged_cache(failure: &Failure) -> bool {
    let FailureReason::Host(HostError::Payload(error)) = &failure.reason else {
        return false;
    };
    let source = error.get_ref().and_then(|error| error.downcast_ref());
    failure.phase == Phase::Stage && matches!(source, Some(ImageError::DamagedCache { .. }))
}
