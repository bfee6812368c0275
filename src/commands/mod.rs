//! Runs the commands: one file each; here is what they share.

mod apply;
mod check;
mod details;
mod error;
mod plan;
mod schema;
mod session;

pub use error::{CommandError, Exit};

use crate::{
    cli::{Cli, Command},
    ui::Ui,
};

/// Runs a command line to its end.
///
/// # Errors
/// What goes to stderr as a report, with the exit code that belongs to it.
pub async fn run(cli: &Cli, ui: Ui) -> Result<Exit, CommandError> {
    match &cli.command {
        Command::Check(args) => check::run(&cli.global, args, ui).await,
        // A plan changes nothing, so that it may end anywhere; but it ends by cleaning up after itself.
        Command::Plan(args) => tokio::select! {
            ended = plan::run(&cli.global, args, ui) => ended,
            Ok(()) = tokio::signal::ctrl_c() => Err(CommandError::silent(Exit::Interrupted)),
        },
        Command::Apply(args) => apply::run(&cli.global, args, ui).await,
        Command::Schema(args) => Ok(schema::run(args, ui)),
    }
}
