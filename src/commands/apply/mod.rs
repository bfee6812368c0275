//! `apply`: executes a plan, then observes and plans again; the second plan must be empty.

mod attempt;
mod ended;
mod lock;
mod now;
mod outcome;
mod reconnect;
mod tries;
mod watch;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::json;

pub(super) use self::watch::who;
use self::{
    attempt::Attempt,
    ended::locked,
    lock::free_lock,
    reconnect::{Known, WAITS, reconnect},
    tries::{Next, Tries},
    watch::{Waiting, log},
};
use super::{
    CommandError, ErrorCode, Exit, again, destroy, details::details, interrupts, kept::Which,
    session::Session,
};
use crate::{
    apply::{Interrupts, Locked, Log},
    cli::{self, Global, TextOrJson},
    deployment::Planned,
    desired::Permits,
    host::Held,
    image::LayerCache,
    manifest::names::ReleaseName,
    plan::{Action, Phase, Plan, ResourceKind},
    prepare::{Payloads, Sizes},
    remote::Claim,
    render::{self, Details},
    ui::Ui,
};

/// What an apply makes the VPU match.
#[derive(Clone, Copy)]
pub(super) enum Towards<'a> {
    /// The manifest.
    Manifest {
        /// The saved plan, if there is one.
        saved: Option<&'a Utf8Path>,
        /// Whether the files of images are compared with their sources.
        verify: bool,
    },
    /// A release that the VPU keeps.
    Kept(Which<'a>),
    /// Nothing of a release; of the manifest's, if none is named.
    Nothing(Option<&'a ReleaseName>),
}

impl Towards<'_> {
    /// Whether there is a saved plan, which somebody has read.
    fn is_saved(self) -> bool {
        matches!(self, Self::Manifest { saved: Some(_), .. })
    }
}

pub(super) async fn run(
    global: &Global,
    towards: Towards<'_>,
    args: &cli::Applying,
    cache: &LayerCache,
    ui: Ui,
    interrupts: Interrupts,
) -> Result<Exit, CommandError> {
    let mut result = Applied::default();
    // Boxed: the future is large, as it spans several exchanges with the VPU.
    let ended = Box::pin(run_inner(
        global,
        towards,
        args,
        cache,
        ui,
        interrupts,
        &mut result,
    ))
    .await;
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
            "unconfirmed": result.unconfirmed,
            "log": result.log.as_ref().map(|path| path.as_str()),
        });
        ui.data(&render::document(&document));
    }
    ended
}

/// What is known at the end, however the apply ended.
#[derive(Default)]
struct Applied {
    plan: Option<Plan>,
    completed: usize,
    remaining: Option<Plan>,
    /// The token of a release that waits to be confirmed.
    unconfirmed: Option<String>,
    log: Option<Utf8PathBuf>,
}

async fn run_inner(
    global: &Global,
    towards: Towards<'_>,
    args: &cli::Applying,
    cache: &LayerCache,
    ui: Ui,
    interrupts: Interrupts,
    result: &mut Applied,
) -> Result<Exit, CommandError> {
    // Boxed: the future is large, as it spans several exchanges with the VPU.
    let prepared = async {
        let saved = match towards {
            Towards::Manifest { saved, .. } => saved.map(read_plan).transpose()?,
            Towards::Kept(_) | Towards::Nothing(_) => None,
        };
        // A saved plan says what it was permitted.
        let permits = saved
            .as_ref()
            .map_or(args.permits.into(), |saved| saved.permits);
        let session = Box::pin(open(global, towards, permits, cache, ui)).await?;
        Box::pin(prepare(
            session,
            args,
            saved,
            ui,
            interrupts.clone(),
            result,
        ))
        .await
    };
    let prepared = Box::pin(prepared);
    let Some(prepared) = interrupts::until(interrupts.clone(), prepared).await? else {
        return Ok(Exit::Done);
    };
    let Prepared {
        mut session,
        plan,
        payloads,
        held,
        who,
        known,
    } = prepared;
    let log = log(global, ui);
    result.log = Some(log.path().to_owned());
    log.line(&format!(
        "{} applies {} to {}",
        plan.tool, plan.manifest.path, plan.vpu.host
    ));
    let waiting = Waiting {
        interrupts,
        log: &log,
    };
    let mut attempt = Attempt {
        args,
        is_saved: towards.is_saved(),
        ui,
        waiting: &waiting,
        who,
        outcome: None,
        planned: plan,
        payloads,
        held,
    };
    let mut tries = Tries::default();
    loop {
        let running = Box::pin(attempt.run(&session, &mut tries.current, result));
        let stop = match running.await {
            Ok(exit) => return logged(exit, &log),
            Err(stop) => stop,
        };
        if let Next::Reconnect(lost) = tries.after(stop)? {
            let waits = &mut tries.waits;
            reconnect(&mut session, &known, &waiting, waits, ui, lost).await?;
        }
    }
}

/// Returns the exit code of a successful apply; an error if its log is incomplete.
fn logged(exit: Exit, log: &Log) -> Result<Exit, CommandError> {
    let Some(reason) = log.failure() else {
        return Ok(exit);
    };
    let message = format!(
        "applied, but the log {} is incomplete: {reason}",
        log.path()
    );
    let help = "free disk space there, or choose another directory with --log-dir";
    Err(CommandError::message(
        ErrorCode::LogIncomplete,
        message,
        Some(help.into()),
    ))
}

/// What an apply starts with.
struct Prepared {
    session: Session,
    plan: Plan,
    payloads: Payloads,
    /// The lock, if it was taken before planning.
    held: Option<Held>,
    who: String,
    known: Known,
}

/// Connects, and reads what the VPU is to match.
async fn open(
    global: &Global,
    towards: Towards<'_>,
    permits: Permits,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Session, CommandError> {
    // A saved plan is compared byte for byte with what would be done now, sizes included.
    let sizes = if towards.is_saved() {
        Sizes::Exact
    } else {
        Sizes::About
    };
    match towards {
        Towards::Manifest { verify, .. } => {
            let session = Session::open(global, permits, cache, sizes, ui).await?;
            if verify {
                session.vpu.verify();
            }
            Ok(session)
        }
        Towards::Kept(which) => Session::open_kept(global, which, permits, cache, ui).await,
        Towards::Nothing(name) => Box::pin(destroy::open(global, name, permits, cache, ui)).await,
    }
}

/// Observes, plans, shows the plan and asks for confirmation; `None` if there is nothing to do.
async fn prepare(
    mut session: Session,
    args: &cli::Applying,
    saved: Option<Plan>,
    ui: Ui,
    interrupts: Interrupts,
    result: &mut Applied,
) -> Result<Option<Prepared>, CommandError> {
    if let Some(saved) = &saved {
        session.vpu.as_in(saved);
    }
    let who = who(session.vpu.desired().manifest.path.as_ref());
    // Without a prompt, nothing comes between planning and applying: with the lock taken first, one
    // observation is enough. A lock that cannot be taken is reported once there is something to do.
    let unasked = args.yes || saved.is_some();
    let nowhere = Log::none();
    let waiting = Waiting {
        interrupts,
        log: &nowhere,
    };
    let mut known = Known::default();
    let mut waits = WAITS.iter();
    let (held, observed) = loop {
        let looked = async {
            let held = if unasked && !args.lock.break_lock {
                let lock = free_lock(&session, &who, Claim::Try, args, ui);
                match waiting.until("waiting for the lock", lock).await? {
                    Err(busy @ Locked::Busy { .. }) if args.lock.lock_wait.is_some() => {
                        return Err(locked(busy, &nowhere));
                    }
                    lock => Some(lock),
                }
            } else {
                None
            };
            let (identity, observed) = tokio::join!(session.identity(), session.observe());
            let observed = observed?;
            Ok::<_, CommandError>((held, identity?, observed))
        };
        let lost = match looked.await {
            Ok((held, identity, observed)) => {
                known.identity = identity;
                break (held, observed);
            }
            Err(error) if error.exit == Exit::Unreachable => error,
            Err(error) => return Err(error),
        };
        reconnect(&mut session, &known, &waiting, &mut waits, ui, lost).await?;
    };
    let Planned { plan, payloads } = session.plan(&observed).await?;
    let held = match held {
        // A plan of what another apply is changing says nothing.
        Some(Err(busy @ Locked::Busy { .. })) if !plan.is_empty() => {
            return Err(locked(busy, &nowhere));
        }
        held => held.and_then(Result::ok),
    };
    known.serial.clone_from(&plan.vpu.serial);
    if let Some(saved) = &saved {
        check_not_stale(saved, &plan, "since it was saved")?;
    }
    if args.confirm_within.is_some() {
        can_be_confirmed(&plan)?;
    }
    let shown = match args.format {
        TextOrJson::Text => details(&session, &observed, &plan).await?,
        TextOrJson::Json => Details::new(),
    };
    if !show_plan(args.format, !unasked, ui, &plan, &shown, result)? {
        return Ok(None);
    }
    if !unasked {
        ask(args.format, ui, plan.clone()).await?;
    }
    Ok(Some(Prepared {
        session,
        plan,
        payloads,
        held,
        who,
        known,
    }))
}

/// Refuses to wait for a confirmation where the VPU could not roll back without one.
fn can_be_confirmed(plan: &Plan) -> Result<(), CommandError> {
    let switches = plan.steps.iter().any(|step| step.phase == Phase::Switch);
    if plan.watchdog.is_some() || !switches {
        return Ok(());
    }
    Err(CommandError::message(
        ErrorCode::CannotRollBack,
        "--confirm-within: the manifest turns the watchdog off; nothing was done",
        Some("remove `watchdog = false` from [apply], or --confirm-within".to_owned()),
    ))
}

/// Shows a plan, which `is_asked` about; returns whether there is anything to do.
fn show_plan(
    format: TextOrJson,
    is_asked: bool,
    ui: Ui,
    plan: &Plan,
    shown: &Details,
    result: &mut Applied,
) -> Result<bool, CommandError> {
    result.plan = Some(plan.clone());
    if format == TextOrJson::Text {
        if plan.is_empty() && ui.is_quiet() {
            ui.result(&reached(plan));
        } else if is_asked || !plan.blocked.is_empty() || !ui.is_quiet() {
            ui.data(&render::text_with(plan, ui.plan_style(), shown));
        }
    }
    if !plan.blocked.is_empty() {
        let count = plan.blocked.len();
        let what = if count == 1 {
            "1 resource is".to_owned()
        } else {
            format!("{count} resources are")
        };
        return Err(CommandError::message(
            ErrorCode::Blocked,
            format!("{what} blocked; nothing was done"),
            Some("see the `help` lines above".into()),
        ));
    }
    Ok(!plan.steps.is_empty())
}

/// Says that a VPU is what an empty plan would make of it.
fn reached(plan: &Plan) -> String {
    match plan.manifest.destroyed() {
        None => format!("the VPU matches {}", plan.manifest.path),
        Some(release) => format!("release {release} is destroyed"),
    }
}

/// Asks on another thread, so that a signal can end it.
async fn ask(format: TextOrJson, ui: Ui, plan: Plan) -> Result<(), CommandError> {
    let answer = tokio::task::spawn_blocking(move || confirm(format, ui, &plan)).await;
    answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn confirm(format: TextOrJson, ui: Ui, plan: &Plan) -> Result<(), CommandError> {
    if !ui.can_ask() {
        return Err(CommandError::message(
            ErrorCode::NoTerminal,
            "no terminal for confirmation; nothing was done",
            Some(format!(
                "skip the confirmation: {}",
                again(&format!("{} --yes", ended::command(plan)))
            )),
        ));
    }
    if format != TextOrJson::Text {
        // Standard output is reserved for the document.
        ui.show(|style| render::text(plan, style));
    }
    if ui.confirm(&question(plan)) {
        return Ok(());
    }
    Err(CommandError::message(
        ErrorCode::Declined,
        "declined; nothing was done",
        None,
    ))
}

/// Asks whether to apply; names the projects and the data that go.
fn question(plan: &Plan) -> String {
    let asked = match plan.manifest.destroyed() {
        None => "Apply this plan?".to_owned(),
        Some(release) => format!("Destroy release {release}? Nothing can return to it then."),
    };
    let removed = plan.steps.iter().filter(|step| {
        let kinds = [
            ResourceKind::Compose,
            ResourceKind::Volume,
            ResourceKind::Directory,
        ];
        step.action == Action::Remove && kinds.contains(&step.address.kind())
    });
    let removed: Vec<String> = removed.map(|step| step.address.to_string()).collect();
    if removed.is_empty() {
        return asked;
    }
    format!("{asked} It removes {}.", removed.join(", "))
}

fn read_plan(path: &Utf8Path) -> Result<Plan, CommandError> {
    let text = fs_err::read(path).map_err(|error| {
        let help = "create it with: o3r-deploy plan -o FILE".to_owned();
        CommandError::message(ErrorCode::UnreadableFile, error.to_string(), Some(help))
    })?;
    Plan::read(&text).map_err(|error| {
        let help = error.help().to_owned();
        CommandError::message(
            ErrorCode::UnreadableFile,
            format!("{path} is {error}"),
            Some(help),
        )
    })
}

/// Checks that a saved plan is not stale: what would be done now must be the same, byte for byte.
fn check_not_stale(plan: &Plan, now: &Plan, when: &str) -> Result<(), CommandError> {
    if plan.does_the_same(now) {
        return Ok(());
    }
    let what = if plan.manifest.sha256 != now.manifest.sha256 {
        "the manifest changed".to_owned()
    } else if plan.vpu != now.vpu {
        format!("it is for {} (serial {})", plan.vpu.host, plan.vpu.serial)
    } else if plan.fingerprint != now.fingerprint {
        // A file whose size changed is inspected differently,
        // which changes the fingerprint as well.
        "the VPU or a local file changed".to_owned()
    } else {
        "local files changed".to_owned()
    };
    Err(CommandError::message(
        ErrorCode::StalePlan,
        format!("the plan is stale: {what} {when}; nothing was done"),
        Some("plan again and review it: o3r-deploy plan -o FILE".into()),
    ))
}
