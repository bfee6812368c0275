//! `plan`: shows what `apply` would do; read-only by construction.

use std::{io::Write as _, sync::Arc};

use camino::Utf8Path;

use super::{
    CommandError, ErrorCode, Exit,
    details::details,
    files::{cannot_write, write},
    session::{self, Session},
};
use crate::{
    cli::{self, Global, PlanFormat},
    deployment::{self, Planned},
    image::LayerCache,
    observe,
    plan::Plan,
    prepare::{Payloads, Preparation, Sizes},
    render,
    ui::Ui,
};

pub(super) async fn run(
    global: &Global,
    args: &cli::Plan,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    let mut looked = None;
    let planned = if let Some(file) = &args.observed {
        from_document(global, file, cache, ui).await?
    } else {
        let session = Session::open(global, cache, Sizes::Exact, ui).await?;
        let observed = session.observe().await?;
        let planned = session.plan(&observed).await?;
        looked = Some((session, observed));
        planned
    };
    let Planned { plan, payloads } = planned;
    let is_blocked = !plan.blocked.is_empty();
    match (args.format, &args.output) {
        // A script would do the rest: the plan is shown in its place.
        (PlanFormat::Sh, _) if is_blocked => {
            let details = render::Details::default();
            ui.data(&render::text_with(&plan, ui.plan_style(), &details));
        }
        (PlanFormat::Sh, Some(directory)) => {
            write_script(directory, &plan, &payloads, ui)?;
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
                let details = match &looked {
                    Some((session, observed)) => details(session, observed, &plan, ui).await?,
                    // Nobody is there to ask for what changes.
                    None => render::Details::default(),
                };
                ui.data(&render::text_with(&plan, ui.plan_style(), &details));
            }
        }
    }
    if is_blocked {
        return Ok(Exit::Blocked);
    }
    Ok(if args.exit_code && !plan.steps.is_empty() {
        Exit::Changes
    } else {
        Exit::Done
    })
}

/// The plan for a VPU as it was written down.
async fn from_document(
    global: &Global,
    file: &Utf8Path,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Planned, CommandError> {
    let document = observe::read_document(file).map_err(|error| {
        let help = error.help().to_owned();
        CommandError::message(ErrorCode::UnreadableFile, error.to_string(), Some(help))
    })?;
    let resolved = Arc::new(session::resolved(&session::supported(global, ui)?, cache, ui).await?);
    let desired = &resolved.desired;
    let host = document.host.clone();
    let mut observed = document.answer(&desired.query());
    observe::identify(&mut observed.facts, desired.config_digests());
    let preparation = Arc::new(Preparation::new(cache.clone(), Sizes::Exact));
    let progress = session::progress(ui);
    Ok(deployment::plan_for(&resolved, preparation, &observed, &host, progress).await?)
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
