//! `apply`: makes the VPU match the manifest, then observes and plans again: that plan must be
//! empty.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use camino::Utf8PathBuf;
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{CommandError, Exit, details::details, session::Session};
use crate::{
    apply::{self, Failure, FailureReason, Interrupts, Locked, Log, Outcome, Payloads, Restored},
    cli::{self, Global, TextOrJson},
    host::HostError,
    plan::{Phase, Plan},
    render::{self, Details},
    ui::Ui,
};

pub(super) async fn run(global: &Global, args: &cli::Apply, ui: Ui) -> Result<Exit, CommandError> {
    let mut result = Applied::default();
    let ended = run_inner(global, args, ui, &mut result).await;
    if args.format == TextOrJson::Json {
        let (exit, error) = match &ended {
            Ok(exit) => (*exit, None),
            Err(error) => (error.exit, Some(error.document())),
        };
        let document = json!({
            "format": 1,
            "exit_code": exit as u8,
            "error": error,
            "plan": result.plan,
            "completed": result.completed,
            "remaining": result.remaining,
            "log": result.log.as_ref().map(|path| path.as_str()),
        });
        ui.data(&render::document(&document));
    }
    ended
}

/// What is known at the end, however it ended.
#[derive(Default)]
struct Applied {
    plan: Option<Plan>,
    completed: usize,
    remaining: Option<Plan>,
    log: Option<Utf8PathBuf>,
}

async fn run_inner(
    global: &Global,
    args: &cli::Apply,
    ui: Ui,
    result: &mut Applied,
) -> Result<Exit, CommandError> {
    let saved = args.plan.as_deref().map(read_plan).transpose()?;
    let session = Session::open(global, ui).await?;
    if let Some(saved) = &saved {
        session.as_in(saved);
    }
    let observed = session.observe().await?;
    let plan = session.plan(&observed).await?;
    if let Some(saved) = &saved {
        same(saved, &plan, "since it was saved")?;
    }
    let shown = details(&session, &observed, &plan, ui).await?;
    if !present(args, ui, &plan, &shown, result)? {
        return Ok(Exit::Done);
    }
    if !args.yes && saved.is_none() {
        confirm(args.format, ui, &plan)?;
    }
    execute(global, args, ui, &session, plan, result).await
}

/// Shows a plan; whether there is anything to do.
fn present(
    args: &cli::Apply,
    ui: Ui,
    plan: &Plan,
    shown: &Details,
    result: &mut Applied,
) -> Result<bool, CommandError> {
    result.plan = Some(plan.clone());
    if args.format == TextOrJson::Text {
        ui.data(&render::text_with(plan, ui.plan_style(), shown));
    }
    if !plan.blocked.is_empty() {
        let count = plan.blocked.len();
        let what = if count == 1 {
            "1 resource is".to_owned()
        } else {
            format!("{count} resources are")
        };
        return Err(CommandError::message(
            Exit::Blocked,
            format!("{what} blocked; nothing was done"),
            Some("see the help line of each above".into()),
        ));
    }
    Ok(!plan.steps.is_empty())
}

fn confirm(format: TextOrJson, ui: Ui, plan: &Plan) -> Result<(), CommandError> {
    if !ui.can_ask() {
        return Err(CommandError::message(
            Exit::Usage,
            "there is no terminal to ask on; nothing was done",
            Some("say yes beforehand: o3r-deploy apply --yes".into()),
        ));
    }
    if format != TextOrJson::Text {
        // stdout is for the document.
        ui.show(|style| render::text(plan, style));
    }
    if ui.confirm("Apply this plan?") {
        return Ok(());
    }
    Err(CommandError::message(
        Exit::Usage,
        "declined; nothing was done",
        None,
    ))
}

async fn execute(
    global: &Global,
    args: &cli::Apply,
    ui: Ui,
    session: &Session,
    planned: Plan,
    result: &mut Applied,
) -> Result<Exit, CommandError> {
    let interrupts = listen();
    let log = log(global, ui);
    result.log = Some(log.path().to_owned());
    log.line(&format!(
        "{} applies {} to {}",
        planned.tool, planned.manifest.path, planned.vpu.host
    ));
    let waiting = Waiting {
        interrupts: interrupts.clone(),
        log: &log,
    };
    let who = who();
    let lock = apply::lock(&session.host, &who, args.break_lock);
    let lock = waiting.on("waiting for the lock", lock).await?;
    let lock = lock.map_err(|error| locked(error, &log))?;
    // Between the first look and the lock, another apply may have finished.
    let observed = waiting.on("looking at the VPU", session.observe()).await?;
    let observed = observed?;
    let plan = &session.plan(&observed).await?;
    if args.plan.is_some() {
        same(&planned, plan, "while it waited to be applied")?;
    } else if !plan.does_the_same(&planned) {
        ui.note("the VPU changed meanwhile; this is the plan now:");
        let shown = details(session, &observed, plan, ui).await?;
        if !present(args, ui, plan, &shown, result)? {
            return Ok(Exit::Done);
        }
        if !args.yes {
            let (format, plan) = (args.format, plan.clone());
            let answer = tokio::task::spawn_blocking(move || confirm(format, ui, &plan));
            let answer = waiting.on("asking", answer).await?;
            answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        }
    }

    let progress = Arc::new(ui.progress(plan.steps.len()));
    let options = apply::Options {
        rollback: !args.no_rollback,
    };
    let payloads = Payloads::new(&session.desired);
    let report = apply::execute(
        &session.host,
        plan,
        &payloads,
        options,
        &log,
        progress,
        interrupts,
    )
    .await;
    result.completed = report.completed;
    match report.outcome {
        Outcome::Done => {}
        Outcome::Interrupted { at, begun } => {
            return Err(interrupted(&at, begun, report.completed, plan));
        }
        Outcome::Failed(failure) => return Err(failed(&failure, &log)),
    }
    let observed = session.observe();
    let observed = waiting.on("looking at the VPU, all steps done", observed);
    let remaining = session.plan(&observed.await??).await?;
    drop(lock);
    if remaining.is_empty() {
        log.line("applied; a second plan is empty");
        ui.say(&format!(
            "{} the VPU matches {}",
            ui.good("✓"),
            plan.manifest.path
        ));
        return Ok(Exit::Done);
    }
    if args.format == TextOrJson::Text {
        ui.data(&render::text(&remaining, ui.plan_style()));
    }
    log.line("applied, but a second plan is not empty");
    let count = remaining.steps.len() + remaining.blocked.len();
    result.remaining = Some(remaining);
    Err(CommandError::message(
        Exit::NotConverged,
        format!("all steps were done, and still {count} would be needed: see the plan above"),
        Some("something on the VPU undoes what was applied; look at its containers' logs".into()),
    ))
}

fn read_plan(path: &camino::Utf8Path) -> Result<Plan, CommandError> {
    let help = || Some("make it with: o3r-deploy plan -o FILE".to_owned());
    let text = fs_err::read(path)
        .map_err(|error| CommandError::message(Exit::Usage, error.to_string(), help()))?;
    serde_json::from_slice(&text).map_err(|error| {
        CommandError::message(
            Exit::Usage,
            format!("{path} is not a plan: {error}"),
            help(),
        )
    })
}

/// A plan is stale when what would be done now is not, byte for byte, what it says.
fn same(plan: &Plan, now: &Plan, when: &str) -> Result<(), CommandError> {
    if plan.does_the_same(now) {
        return Ok(());
    }
    let what = if plan.manifest.sha256 != now.manifest.sha256 {
        "the manifest changed".to_owned()
    } else if plan.vpu != now.vpu {
        format!("it is for {} (serial {})", plan.vpu.host, plan.vpu.serial)
    } else if plan.fingerprint != now.fingerprint {
        // A file of another size is looked at in another way, which shows in the fingerprint too.
        "the VPU or a local file changed".to_owned()
    } else {
        "local files changed".to_owned()
    };
    Err(CommandError::message(
        Exit::Stale,
        format!("the plan is stale: {what} {when}; nothing was done"),
        Some("plan again and look at it: o3r-deploy plan -o FILE".into()),
    ))
}

/// What is waited for outside the plan's steps: one Ctrl-C ends it.
struct Waiting<'a> {
    interrupts: Interrupts,
    log: &'a Log,
}

impl Waiting<'_> {
    /// Waits for something, and logs how long it took.
    async fn on<T>(&self, what: &str, future: impl Future<Output = T>) -> Result<T, CommandError> {
        let start = Instant::now();
        let mut interrupts = self.interrupts.clone();
        let result = tokio::select! {
            result = future => Ok(result),
            _ = interrupts.wait_for(|times| *times > 0) => Err(CommandError::message(
                Exit::Interrupted,
                format!("interrupted while {what}"),
                Some("run apply again: it goes on from what is there".into()),
            )),
        };
        let how = if result.is_ok() {
            "done"
        } else {
            "interrupted"
        };
        let seconds = start.elapsed().as_secs_f64();
        self.log
            .line(&format!("{how} after {seconds:.3} s: {what}"));
        result
    }
}

fn locked(error: Locked, log: &Log) -> CommandError {
    log.line(&error.to_string());
    match error {
        Locked::Host(error) => error.into(),
        Locked::Busy { .. } => CommandError::message(
            Exit::Locked,
            format!("{error}; nothing was done"),
            Some("wait for it; if you know that it is dead: o3r-deploy apply --break-lock".into()),
        ),
        Locked::Leftover { ref pid, .. } => CommandError::message(
            Exit::Locked,
            format!("{error}; nothing was done"),
            Some(format!("wait for it, or end it on the VPU: kill {pid}")),
        ),
        Locked::Failed(_) => CommandError::message(Exit::Failed, error.to_string(), None),
    }
}

fn interrupted(at: &str, begun: bool, completed: usize, plan: &Plan) -> CommandError {
    let total = plan.steps.len();
    let state = if begun {
        format!("in the middle of {at}, after {completed} of {total} steps")
    } else {
        format!("before {at}, after {completed} of {total} steps")
    };
    let touched = plan.steps[..completed + usize::from(begun)]
        .iter()
        .any(|step| step.phase != Phase::Stage);
    let what = if touched {
        "what was done stays as it is"
    } else {
        "nothing that runs was touched"
    };
    CommandError::message(
        Exit::Interrupted,
        format!("interrupted {state}; {what}"),
        Some("run apply again: it goes on from what is there".into()),
    )
}

fn failed(failure: &Failure, log: &Log) -> CommandError {
    let (exit, restored) = match &failure.restored {
        Restored::NotNeeded => (Exit::Failed, "nothing that runs was touched".to_owned()),
        Restored::NoPrevious => (
            Exit::Failed,
            "there is no earlier release to go back to".to_owned(),
        ),
        Restored::NotWanted => (
            Exit::Failed,
            "nothing was restored (--no-rollback)".to_owned(),
        ),
        Restored::Previous => (
            Exit::Restored,
            "the previous release was restored".to_owned(),
        ),
        Restored::Failed { address, reason } => (
            Exit::Failed,
            format!("the previous release could not be restored: {address}: {reason}"),
        ),
    };
    let (reason, hint) = match &failure.reason {
        FailureReason::Exit { code, tail } => {
            let said = if tail.trim().is_empty() {
                "it said nothing"
            } else {
                tail.trim()
            };
            (
                format!("exit code {code} from: {}\n{said}", failure.command),
                None,
            )
        }
        FailureReason::Host(error) => (super::error::chain(error), error.help()),
        FailureReason::Device(error) => (error.to_string(), error.help()),
    };
    log.line(&format!("{} failed: {reason}; {restored}", failure.address));
    let connection_lost = matches!(
        failure.reason,
        FailureReason::Host(HostError::Disconnected { .. })
    );
    let refused = matches!(failure.reason, FailureReason::Device(_));
    let again = format!(
        "mend it and run apply again; all commands are in {}",
        log.path()
    );
    let help = match hint {
        Some(hint) if connection_lost => hint,
        Some(hint) if refused => format!("{hint}\n{again}"),
        _ => again,
    };
    let message = format!("{} failed; {restored}\n{reason}", failure.address);
    CommandError::message(exit, message, Some(help))
}

/// The log of this apply; where it cannot be written, that is said and apply goes on.
fn log(global: &Global, ui: Ui) -> Log {
    let directory = match (global.log_dir.strip_prefix("~"), std::env::var("HOME")) {
        (Ok(rest), Ok(home)) => Utf8PathBuf::from(home).join(rest),
        _ => global.log_dir.clone(),
    };
    match Log::create(&directory, SystemTime::now()) {
        Ok(log) => log,
        Err(error) => {
            ui.note(&format!("no log is kept: {error}"));
            Log::none()
        }
    }
}

/// Who applies, and when by this machine's clock (the VPU's lies), as members of a JSON object.
fn who() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let host = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let by = format!("{}@{}", user.as_deref().unwrap_or("unknown"), host.trim());
    let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    format!("\"at\":{},\"by\":{}", json!(at), json!(by))
}

/// Counts Ctrl-C, SIGTERM and SIGHUP from now on, in place of dying of them.
fn listen() -> Interrupts {
    let (sender, receiver) = watch::channel(0);
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let Ok(mut signals) = signal(kind) else {
            continue;
        };
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                sender.send_modify(|count| *count += 1);
            }
        });
    }
    receiver
}
