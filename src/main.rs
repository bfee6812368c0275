//! Parses the command line, sets up tracing and maps the outcome to an exit code.

use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _, parser::ValueSource};
use o3r_deploy::internal::{
    cli::{self, Cli, Global, Later},
    commands::{self, CommandError, Exit},
    ui::{self, Ui},
};

/// The exit code of a bug: something that was started failed, and nothing was restored.
const BUG: Exit = Exit::Failed;

fn main() -> ExitCode {
    ui::explain_panics();
    let ended = std::panic::catch_unwind(run);
    ExitCode::from(ended.unwrap_or(BUG) as u8)
}

fn run() -> Exit {
    let mut cli = match parse() {
        Ok(Parsed::Cli(cli)) => cli,
        Ok(Parsed::Later(later, global)) => {
            return failed(&commands::not_supported(later, &global), Ui::new(&global));
        }
        Err(error) => {
            // A reader that closes the pipe (`| head`) is not an error; a full disk is.
            let is_lost = error
                .print()
                .is_err_and(|error| error.kind() != std::io::ErrorKind::BrokenPipe);
            return if error.use_stderr() || is_lost {
                Exit::Usage
            } else {
                Exit::Done
            };
        }
    };
    let ui = Ui::new(&cli.global);
    trace(cli.global.verbose, ui);
    commands::find_manifest(&mut cli, ui);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            ui.say(&format!("error: cannot start: {error}"));
            return Exit::Usage;
        }
    };
    let result = runtime.block_on(commands::run(&cli, ui));
    // The thread of a payload may still wait for a dead link.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit_code(exit, &cli, ui),
        Err(error) => failed(&error, ui),
    }
}

/// Reports why a command did not do what was asked; returns its exit code.
fn failed(error: &CommandError, ui: Ui) -> Exit {
    if let Some(report) = error.report() {
        ui.report(report);
    }
    if let Some(code) = error.code() {
        ui.error_code(code.name());
    }
    error.exit
}

/// A parsed command line.
enum Parsed {
    Cli(Box<Cli>),
    /// A command that a later version brings.
    Later(&'static Later, Box<Global>),
}

/// Returns the exit code of a successful command; an error code if its output was lost.
fn exit_code(exit: Exit, cli: &Cli, ui: Ui) -> Exit {
    match ui::data_lost() {
        None => exit,
        // A reader of text that closes the pipe (`| head`) has seen enough; a reader of a document
        // has an incomplete one.
        Some(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            if cli.command.prints_json() {
                Exit::Usage
            } else {
                exit
            }
        }
        Some(error) => {
            ui.report_error(&format!("cannot write to standard output: {error}"));
            Exit::Usage
        }
    }
}

/// Parses the command line. Its errors and the help use the colours that it asks for.
#[expect(clippy::disallowed_methods, reason = "this is the command line")]
fn parse() -> Result<Parsed, clap::Error> {
    let words: Vec<_> = std::env::args_os().collect();
    let wants = |when: &str| {
        let pair = words.windows(2);
        pair.filter(|pair| pair[0] == "--color")
            .any(|pair| pair[1] == when)
            || words.iter().any(|word| *word == *format!("--color={when}"))
    };
    let color = if wants("never") {
        ColorChoice::Never
    } else if wants("always") {
        ColorChoice::Always
    } else {
        ColorChoice::Auto
    };
    let command = cli::with_later(Cli::command()).color(color);
    let matches = command
        .try_get_matches_from(&words)
        .map_err(cli::with_hint)?;
    if let Some(later) = cli::later(&matches) {
        let global = Global::from_arg_matches(&matches)?;
        return Ok(Parsed::Later(later, Box::new(global)));
    }
    let mut cli = Cli::from_arg_matches(&matches)?;
    cli.global.is_default_file = matches.value_source("file") == Some(ValueSource::DefaultValue);
    Ok(Parsed::Cli(Box::new(cli)))
}

/// Sets up tracing: `-vv` shows debug messages with the
/// seconds since the start; `RUST_LOG` overrides it.
fn trace(verbose: u8, ui: Ui) {
    use tracing_subscriber::EnvFilter;
    let default = if verbose > 1 {
        "o3r_deploy=debug,o3r_core=debug,o3r_transfer=debug"
    } else {
        "o3r_deploy=warn,o3r_core=warn,o3r_transfer=warn"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ui.colors_errors())
        // Standard error may be closed; reporting that would panic.
        .log_internal_errors(false);
    if verbose > 1 {
        subscriber
            .with_timer(tracing_subscriber::fmt::time::uptime())
            .init();
    } else {
        subscriber.without_time().init();
    }
}
