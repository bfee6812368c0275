//! `man`: prints the manual page, or writes one for every command.

use std::io::{self, IsTerminal as _, Write as _};

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::{CommandError, Exit, files::cannot_write};
use crate::{
    cli::{self, Cli},
    surroundings::program,
    ui::Ui,
};

/// The meaning of the exit codes, the same as in the README.
const EXIT_STATUS: &str = include_str!("exit-status.roff");

pub(super) fn run(args: &cli::Man, ui: Ui) -> Result<Exit, CommandError> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    if let Some(directory) = &args.output {
        let written = fs_err::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(command, directory));
        written.map_err(|error| cannot_write(&error))?;
        ui.say(&format!("{directory}: a page for every command"));
    } else {
        let page = page(&command).map_err(|error| cannot_write(&error))?;
        if !is_shown(&page) {
            ui.data(&String::from_utf8_lossy(&page));
        }
    }
    Ok(Exit::Done)
}

/// Shows a page with `man` on a terminal; returns whether it did.
fn is_shown(page: &[u8]) -> bool {
    if !io::stdout().is_terminal() {
        return false;
    }
    let show = || {
        let mut file = tempfile::Builder::new().suffix(".1").tempfile()?;
        file.write_all(page)?;
        let mut man = program("man").into_std();
        let status = man.arg("-l").arg(file.path()).status()?;
        io::Result::Ok(status.success())
    };
    show().unwrap_or(false)
}

/// Renders a page: the program, then every command with its own options.
fn page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for command in command.get_subcommands() {
        // Options of every command are listed once.
        let own = command.clone().mut_args(|arg| {
            let is_of_all =
                arg.is_global_set() || arg.get_id() == "help" || arg.get_id() == "version";
            arg.hide(is_of_all)
        });
        let man = Man::new(own.clone());
        let mut part = Vec::new();
        man.render_description_section(&mut part)?;
        man.render_synopsis_section(&mut part)?;
        if own.get_arguments().any(|arg| !arg.is_hide_set()) {
            man.render_options_section(&mut part)?;
        }
        let part = String::from_utf8_lossy(&part).replace("\n.SH ", "\n.SS ");
        let name = command.get_name().to_uppercase();
        page.extend(format!(".SH {name}\n{}", part.replacen(".SH ", ".SS ", 1)).bytes());
    }
    page.extend(EXIT_STATUS.bytes());
    Ok(page)
}
