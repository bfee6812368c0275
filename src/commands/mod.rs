//! The commands, one file each, and what they share.

mod answer;
mod apply;
mod authorize;
mod check;
mod codes;
mod completions;
mod destroy;
mod details;
mod doctor;
mod error;
mod files;
mod find;
mod forget;
mod from_vpu;
mod history;
mod init;
mod interrupts;
mod kept;
mod look;
mod man;
mod migrate;
mod observe;
mod plan;
mod schema;
mod session;
mod status;
mod target;
mod written;

pub use codes::ErrorCode;
pub use error::{CommandError, Exit};
pub use find::find_manifest;
use std::sync::OnceLock;

use serde_json::json;

use self::{
    apply::Towards,
    interrupts::{listen, until},
    kept::Which,
};
use crate::{
    cli::{self, Cli, Command, Global, Later},
    image::LayerCache,
    remote::Answer,
    render,
    ui::Ui,
};

/// This program with the options that select a manifest and a VPU.
static PROGRAM: OnceLock<String> = OnceLock::new();

/// Returns a command line to copy, with the options of this one that select a manifest and a VPU.
fn again(command: &str) -> String {
    let program = PROGRAM.get().map_or("o3r-deploy", String::as_str);
    format!("{} {command}", program.trim_end())
}

/// Asks a question on another thread, so that a signal can end it.
///
/// # Errors
/// The answer is not yes.
async fn agreed(ui: Ui, question: String) -> Result<(), CommandError> {
    let answer = tokio::task::spawn_blocking(move || ui.confirm(&question)).await;
    if answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
        return Ok(());
    }
    Err(CommandError::message(
        ErrorCode::Declined,
        "declined; nothing was done",
        None,
    ))
}

/// Runs a command line to its end.
///
/// # Errors
/// The report for stderr, with its exit code. If JSON is requested, it is on stdout as well.
pub async fn run(cli: &Cli, ui: Ui) -> Result<Exit, CommandError> {
    let host = cli.global.host.as_ref().map(ToString::to_string);
    let _ = PROGRAM.set(plan::command_line(&cli.global, host, ""));
    let ended = run_command(cli, ui).await;
    // `apply` has its own document, which includes the error.
    let is_told = match &cli.command {
        Command::Apply(_) => true,
        Command::Rollback(args) => !args.dry_run,
        Command::Destroy(args) => !args.dry_run,
        _ => false,
    };
    if let Err(error) = &ended
        && error.report().is_some()
        && cli.command.prints_json()
        && !is_told
    {
        ui.data(&render::document(&json!({
            "format": 1,
            "exit_code": error.exit as u8,
            "error": error.document(),
        })));
    }
    ended
}

/// Creates the error for a command that a later version brings.
pub fn not_supported(later: &Later, global: &Global) -> CommandError {
    CommandError::message(
        ErrorCode::NotSupported,
        format!("`o3r-deploy {}` is not supported yet", later.name),
        Some(later.instead.replace("{login}", &target::login(global))),
    )
}

async fn run_command(cli: &Cli, ui: Ui) -> Result<Exit, CommandError> {
    let global = &cli.global;
    if !matches!(
        cli.command,
        Command::Schema(_) | Command::Completions(_) | Command::Man(_)
    ) {
        session::own_cache()?;
    }
    let cache = &LayerCache::new(session::cache());
    let ended = match &cli.command {
        Command::Init(args) => init::run(global, args, cache, ui).await,
        Command::Migrate(args) => migrate::run(global, args, cache, ui).await,
        Command::Authorize(args) => {
            until(listen(), Box::pin(authorize::run(global, args, ui))).await
        }
        Command::Doctor(args) => {
            until(listen(), Box::pin(doctor::run(global, args, cache, ui))).await
        }
        Command::Check(args) => {
            until(listen(), Box::pin(check::run(global, args, cache, ui))).await
        }
        Command::Plan(args) => until(listen(), Box::pin(plan::run(global, args, cache, ui))).await,
        Command::Apply(cli::Apply { plan, verify, how }) => {
            let (saved, verify) = (plan.as_deref(), *verify);
            let towards = Towards::Manifest { saved, verify };
            Box::pin(apply::run(global, towards, how, cache, ui, listen())).await
        }
        Command::Rollback(args) if args.dry_run => {
            until(listen(), Box::pin(plan::rollback(global, args, cache, ui))).await
        }
        Command::Rollback(args) => {
            let towards = Towards::Kept(Which::of(args));
            Box::pin(apply::run(global, towards, &args.how, cache, ui, listen())).await
        }
        Command::Destroy(args) if args.dry_run => {
            until(listen(), Box::pin(plan::destroy(global, args, cache, ui))).await
        }
        Command::Destroy(args) => {
            let towards = Towards::Nothing(args.release.as_ref());
            let how = args.applying();
            Box::pin(apply::run(global, towards, &how, cache, ui, listen())).await
        }
        Command::History(args) => until(listen(), history::run(global, args, ui)).await,
        Command::Forget(args) => {
            until(listen(), Box::pin(forget::run(global, args, cache, ui))).await
        }
        Command::Confirm(args) => {
            until(
                listen(),
                answer::run(global, args, Answer::Confirm, cache, ui),
            )
            .await
        }
        Command::Cancel(args) => {
            until(
                listen(),
                answer::run(global, args, Answer::Cancel, cache, ui),
            )
            .await
        }
        Command::Status(args) => {
            until(listen(), Box::pin(status::run(global, args, cache, ui))).await
        }
        Command::Observe(args) => {
            until(listen(), Box::pin(observe::run(global, args, cache, ui))).await
        }
        Command::Schema(args) => Ok(schema::run(args, ui)),
        Command::Completions(args) => Ok(completions::run(args, ui)),
        Command::Man(args) => man::run(args, ui),
    };
    cache.finish();
    ended
}
