//! Parses the command line, sets up tracing and maps the outcome to an exit code.

use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _};
use o3r_deploy::internal::{
    cli::{self, Cli, Global, Later},
    commands::{self, CommandError, Exit},
    ui::{self, Ui},
};

/// A bug: what was begun failed, and nothing was restored.
const BUG: Exit = Exit::Failed;

fn main() -> ExitCode {
    ui::explain_panics();
    let ended = std::panic::catch_unwind(run);
    ExitCode::from(ended.unwrap_or(BUG) as u8)
}

fn run() -> Exit {
    let cli = match parse() {
        Ok(Parsed::Cli(cli)) => cli,
        Ok(Parsed::Later(later, global)) => {
            return failed(&commands::not_supported(later), Ui::new(&global));
        }
        Err(error) => {
            // A reader that has seen enough (`| head`) is no error of ours; a full disk is.
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
    // A payload's thread may still wait for a dead link.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit_code(exit, &cli, ui),
        Err(error) => failed(&error, ui),
    }
}

/// Says why a command did not do what was asked; gives its exit code.
fn failed(error: &CommandError, ui: Ui) -> Exit {
    if let Some(report) = error.report() {
        ui.report(report);
    }
    if let Some(code) = error.code() {
        ui.error_code(code.name());
    }
    error.exit
}

/// What a command line says.
enum Parsed {
    Cli(Box<Cli>),
    /// A command to come.
    Later(&'static Later, Box<Global>),
}

/// The exit code of a command that did what was asked: not one of success where its output is lost.
fn exit_code(exit: Exit, cli: &Cli, ui: Ui) -> Exit {
    match ui::data_lost() {
        None => exit,
        // Who reads for people (`| head`) has seen enough; who reads a document has half of it, and knows.
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

/// The command line. What is wrong with it, and the help, are coloured as it says, too.
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
    let matches = command.try_get_matches_from(&words)?;
    if let Some(later) = cli::later(&matches) {
        let global = Global::from_arg_matches(&matches)?;
        return Ok(Parsed::Later(later, Box::new(global)));
    }
    Cli::from_arg_matches(&matches).map(|cli| Parsed::Cli(Box::new(cli)))
}

/// `-vv` shows what happens inside, and after how many seconds; `RUST_LOG` chooses.
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
        // Nobody may listen any more; its own complaint about that would panic.
        .log_internal_errors(false);
    if verbose > 1 {
        subscriber
            .with_timer(tracing_subscriber::fmt::time::uptime())
            .init();
    } else {
        subscriber.without_time().init();
    }
}
