//! `plan`: shows what `apply` would do; read-only by construction.

use std::io::Write as _;

use camino::Utf8Path;

use super::{CommandError, Exit, details::details, session::Session};
use crate::{
    apply::Payloads,
    cli::{self, Global, PlanFormat},
    plan::Plan,
    render,
    ui::Ui,
};

pub(super) async fn run(global: &Global, args: &cli::Plan, ui: Ui) -> Result<Exit, CommandError> {
    let session = Session::open(global, ui).await?;
    let observed = session.observe().await?;
    let plan = session.plan(&observed);
    match (args.format, &args.output) {
        (PlanFormat::Sh, Some(directory)) => {
            write_script(directory, &plan, &Payloads::new(&session.desired), ui)?;
        }
        (PlanFormat::Sh, None) => {
            let script = render::sh(&plan);
            ui.data(&script.text);
            for (name, payload) in &script.payloads {
                ui.note(&format!(
                    "expects payload/{name}, {}",
                    render::bytes(payload.bytes)
                ));
            }
            for secret in &script.secrets {
                ui.note(&format!(
                    "expects payload/{}, a copy of {}",
                    secret.name, secret.local
                ));
            }
        }
        (format, output) => {
            if let Some(file) = output {
                write(file, render::json(&plan).as_bytes(), 0o644)?;
            }
            if format == PlanFormat::Json {
                ui.data(&render::json(&plan));
            } else {
                let details = details(&session, &observed, &plan, ui).await?;
                ui.data(&render::text_with(&plan, ui.plan_style(), &details));
            }
        }
    }
    if !plan.blocked.is_empty() {
        return Ok(Exit::Blocked);
    }
    Ok(if args.exit_code && !plan.steps.is_empty() {
        Exit::Changes
    } else {
        Exit::Done
    })
}

/// Writes `deploy.sh` and `payload/` into a directory, which may exist.
fn write_script(
    directory: &Utf8Path,
    plan: &Plan,
    payloads: &Payloads,
    ui: Ui,
) -> Result<(), CommandError> {
    let script = render::sh(plan);
    let payload_directory = directory.join("payload");
    fs_err::create_dir_all(&payload_directory).map_err(|error| cannot_write(&error))?;
    write(&directory.join("deploy.sh"), script.text.as_bytes(), 0o755)?;
    for (name, payload) in &script.payloads {
        let path = payload_directory.join(name);
        let copy = || {
            let write = payloads.open(payload, |_| {})?;
            let mut file = std::io::BufWriter::new(fs_err::File::create(&path)?);
            write(&mut file)?;
            file.flush()
        };
        copy().map_err(|error| cannot_write(&error))?;
        ui.say(&format!("{path}  {}", render::bytes(payload.bytes)));
    }
    for secret in &script.secrets {
        ui.note(&format!(
            "{} holds secrets and was not copied; on the VPU, put it at payload/{}",
            secret.local, secret.name
        ));
    }
    ui.say(&format!(
        "copy {directory} to the VPU and run there: sh {}",
        "deploy.sh"
    ));
    Ok(())
}

fn write(path: &Utf8Path, bytes: &[u8], mode: u32) -> Result<(), CommandError> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    options
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|error| cannot_write(&error))
}

fn cannot_write(error: &std::io::Error) -> CommandError {
    CommandError::message(
        Exit::Usage,
        error.to_string(),
        Some("choose another -o".into()),
    )
}
