//! Parses the command line, sets up tracing and maps the outcome to an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use o3r_deploy::{
    cli::Cli,
    commands::{self, Exit},
    ui::Ui,
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let code = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            return ExitCode::from(code as u8);
        }
    };
    let ui = Ui::new(&cli.global);
    trace(cli.global.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            ui.say(&format!("error: cannot start: {error}"));
            return ExitCode::from(Exit::Usage as u8);
        }
    };
    let result = runtime.block_on(commands::run(&cli, ui));
    // A payload's thread may still wait for a dead link.
    runtime.shutdown_background();
    let exit = match result {
        Ok(exit) => exit,
        Err(error) => {
            if let Some(report) = error.report() {
                ui.report(report);
            }
            error.exit
        }
    };
    ExitCode::from(exit as u8)
}

/// `-vv` shows what happens inside; `RUST_LOG` chooses.
fn trace(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let default = if verbose > 1 {
        "o3r_deploy=debug"
    } else {
        "o3r_deploy=warn"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .without_time()
        .init();
}
