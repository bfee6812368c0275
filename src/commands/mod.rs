//! Runs the commands: one file each; here is what they share.

mod apply;
mod check;
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
        Command::Plan(args) => plan::run(&cli.global, args, ui).await,
        Command::Apply(args) => apply::run(&cli.global, args, ui).await,
        Command::Schema(args) => Ok(schema::run(args, ui)),
    }
}
