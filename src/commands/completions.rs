//! `completions`: prints a completion script for a shell.

use clap::CommandFactory as _;

use super::Exit;
use crate::{
    cli::{self, Cli},
    ui::Ui,
};

pub(super) fn run(args: &cli::Completions, ui: Ui) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "o3r-deploy", &mut script);
    ui.data(&String::from_utf8_lossy(&script));
    Exit::Done
}
