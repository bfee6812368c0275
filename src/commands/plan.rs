//! `plan`: shows what `apply` would do; read-only by construction.

use std::{io::Write as _, sync::Arc};

use camino::Utf8Path;

use super::{
    CommandError, ErrorCode, Exit, destroy,
    details::details,
    files::{cannot_write, write},
    kept::Which,
    session::{self, Session},
    target::USUAL_USER,
};
use crate::{
    cli::{self, DEFAULT_FILE, Global, PlanFormat, TextOrJson},
    deployment::{self, Planned},
    desired::Permits,
    image::LayerCache,
    observe::{self, Observed},
    plan::Plan,
    prepare::{Payloads, Preparation, Sizes},
    render,
    shell::quote,
    ui::Ui,
};

pub(super) async fn run(
    global: &Global,
    args: &cli::Plan,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    if args.with_secrets && args.format != PlanFormat::Sh {
        return Err(CommandError::message(
            ErrorCode::NotWritten,
            "--with-secrets: only a script has secrets beside it; no plan document has any",
            Some("add --format sh, or remove --with-secrets".to_owned()),
        ));
    }
    let mut looked = None;
    let (planned, user) = if let Some(file) = &args.observed {
        from_document(global, file, args.permits.into(), cache, ui).await?
    } else {
        let session = Session::open(global, args.permits.into(), cache, Sizes::Exact, ui).await?;
        if args.verify {
            session.vpu.verify();
        }
        let observed = session.observe().await?;
        let planned = session.plan(&observed).await?;
        let user = session.user().map(str::to_owned);
        looked = Some((session, observed));
        (planned, user)
    };
    let user = user.unwrap_or_else(|| USUAL_USER.to_owned());
    let Planned { plan, payloads } = planned;
    let is_blocked = !plan.blocked.is_empty();
    match (args.format, &args.output) {
        // A script would do only the remaining steps, so the plan is shown instead.
        (PlanFormat::Sh, _) if is_blocked => {
            let details = render::Details::default();
            ui.data(&render::text_with(&plan, ui.plan_style(), &details));
        }
        (PlanFormat::Sh, Some(directory)) => {
            let script = render::sh(&plan);
            write_script(directory, &script, &payloads, args.with_secrets, ui)?;
            ui.say(&by_hand(directory, &user, &plan.vpu.host));
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
                    "expects payload/{}, which holds secrets: {}",
                    secret.name, secret.local
                ));
            }
        }
        (format, output) => {
            if let Some(file) = output {
                write(file, render::json(&plan).as_bytes(), 0o644)?;
            }
            show(&plan, format == PlanFormat::Json, looked.as_ref(), ui).await?;
            if let Some(file) = output {
                ui.say(&saved(global, file, &plan));
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

/// Shows what `rollback` would do.
pub(super) async fn rollback(
    global: &Global,
    args: &cli::Rollback,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    let session =
        Session::open_kept(global, Which::of(args), args.how.permits.into(), cache, ui).await?;
    dry_run(session, args.how.format, ui).await
}

/// Shows what `destroy` would do.
pub(super) async fn destroy(
    global: &Global,
    args: &cli::Destroy,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    let (name, permits) = (args.release.as_ref(), args.permits().into());
    let session = Box::pin(destroy::open(global, name, permits, cache, ui)).await?;
    dry_run(session, args.format, ui).await
}

async fn dry_run(session: Session, format: TextOrJson, ui: Ui) -> Result<Exit, CommandError> {
    let observed = session.observe().await?;
    let plan = session.plan(&observed).await?.plan;
    let is_json = format == TextOrJson::Json;
    show(&plan, is_json, Some(&(session, observed)), ui).await?;
    Ok(if plan.blocked.is_empty() {
        Exit::Done
    } else {
        Exit::Blocked
    })
}

/// Shows a plan; with the changed lines of files, if the VPU that it was made for is connected.
async fn show(
    plan: &Plan,
    is_json: bool,
    looked: Option<&(Session, Observed)>,
    ui: Ui,
) -> Result<(), CommandError> {
    if is_json {
        ui.data(&render::json(plan));
        return Ok(());
    }
    let details = match looked {
        Some((session, observed)) => details(session, observed, plan).await?,
        None => render::Details::default(),
    };
    ui.data(&render::text_with(plan, ui.plan_style(), &details));
    Ok(())
}

/// Returns what was written, and the next command.
fn saved(global: &Global, file: &Utf8Path, plan: &Plan) -> String {
    let next = if !plan.blocked.is_empty() {
        "it is blocked, and apply does nothing".to_owned()
    } else if plan.is_empty() {
        "there is nothing to apply".to_owned()
    } else {
        format!("apply it with: {}", apply(global, file))
    };
    format!("wrote the plan to {file}; {next}")
}

/// Returns the command line that applies a saved plan, with
/// the options that the plan was made with.
fn apply(global: &Global, file: &Utf8Path) -> String {
    let host = global.host.as_ref().map(ToString::to_string);
    command_line(global, host, &format!("apply {}", quote(file.as_str())))
}

/// Returns the command line that plans from a saved observation, which names its own host.
pub(super) fn from_observed(global: &Global, file: &Utf8Path) -> String {
    let command = format!("plan --observed {}", quote(file.as_str()));
    command_line(global, None, &command)
}

pub(super) fn command_line(global: &Global, host: Option<String>, command: &str) -> String {
    let mut words = vec!["o3r-deploy".to_owned()];
    let mut option = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("{name} {}", quote(&value))));
    };
    option(
        "-f",
        (global.file != DEFAULT_FILE).then(|| global.file.to_string()),
    );
    option("--vpu", global.vpu.clone());
    option("--host", host);
    let version = global.release_version.as_ref();
    option("--release-version", version.map(ToString::to_string));
    words.push(command.to_owned());
    words.join(" ")
}

/// Returns the plan for a saved observation, and the user that the manifest names.
async fn from_document(
    global: &Global,
    file: &Utf8Path,
    permits: Permits,
    cache: &LayerCache,
    ui: Ui,
) -> Result<(Planned, Option<String>), CommandError> {
    let document = observe::read_document(file).map_err(|error| {
        let help = error.help().to_owned();
        CommandError::message(ErrorCode::UnreadableFile, error.to_string(), Some(help))
    })?;
    let loaded = session::supported(global, ui)?;
    let user = loaded.manifest.vpu.user.as_ref().map(ToString::to_string);
    let mut resolved = session::resolved(&loaded, cache, ui).await?;
    resolved.desired.permits = permits;
    let resolved = Arc::new(resolved);
    let desired = &resolved.desired;
    let host = document.host.clone();
    let query = desired.with_undeclared(&document.observed()).query();
    let mut observed = document.answer(&query);
    observe::identify(&mut observed.facts, desired.config_digests());
    let preparation = Arc::new(Preparation::new(cache.clone(), Sizes::Exact));
    let progress = session::progress(ui);
    let planned = deployment::plan_for(&resolved, preparation, &observed, &host, progress).await?;
    Ok((planned, user))
}

/// Writes `deploy.sh` and `payload/` into a directory, which may exist.
fn write_script(
    directory: &Utf8Path,
    script: &render::Script,
    payloads: &Payloads,
    with_secrets: bool,
    ui: Ui,
) -> Result<(), CommandError> {
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
        if !with_secrets {
            ui.note(&format!(
                "{} holds secrets and was not copied (--with-secrets copies it); on the VPU, put it at payload/{}",
                secret.local, secret.name
            ));
            continue;
        }
        let mut content = vec![];
        let path = payload_directory.join(&secret.name);
        let mut copy = || payloads.open(&secret.payload, |_| {})?(&mut content);
        copy().map_err(|error| cannot_write(&error))?;
        write(&path, &content, 0o600)?;
        ui.say(&format!(
            "{path}  holds secrets: remove it when it is on the VPU"
        ));
    }
    Ok(())
}

/// Returns how to copy a script to the VPU and run it there.
fn by_hand(directory: &Utf8Path, user: &str, host: &str) -> String {
    // A directory given as `.` is copied under its real name.
    let absolute = directory.canonicalize_utf8();
    let absolute = absolute.as_deref().unwrap_or(directory);
    let name = absolute.file_name().unwrap_or_default();
    let from = if directory.file_name().is_some() {
        directory
    } else {
        absolute
    };
    let script = format!("{name}/deploy.sh");
    let address = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    format!(
        "wrote {directory}; copy it into the home directory on the VPU, and run its script there:\n  \
         scp -O -r {} {}\n  ssh {} sh {}",
        quote(from.as_str()),
        quote(&format!("{user}@{address}:")),
        quote(&format!("{user}@{host}")),
        quote(&script)
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn a_saved_plan_is_applied_with_the_options_that_it_was_made_with() {
        let line = |words: &[&str]| {
            let words = ["o3r-deploy"].iter().chain(words).chain(&["plan"]);
            let cli = cli::Cli::parse_from(words);
            apply(&cli.global, Utf8Path::new("my plan.json"))
        };
        assert_eq!(line(&[]), "o3r-deploy apply 'my plan.json'");
        assert_eq!(
            line(&["-f", "x.toml", "--vpu", "agv-17", "--release-version", "2"]),
            "o3r-deploy -f x.toml --vpu agv-17 --release-version 2 apply 'my plan.json'"
        );
    }

    #[test]
    fn an_observation_is_planned_from_with_the_options_that_it_was_made_with() {
        let words = "o3r-deploy -f x.toml --vpu agv-17 --host 10.0.0.1 observe";
        let cli = cli::Cli::parse_from(words.split(' '));
        assert_eq!(
            from_observed(&cli.global, Utf8Path::new("o.json")),
            "o3r-deploy -f x.toml --vpu agv-17 plan --observed o.json"
        );
    }

    #[test]
    fn a_script_is_copied_and_run_by_the_name_of_its_folder() {
        let said = by_hand(Utf8Path::new("/no such/out"), "oem", "fe80::1");
        assert!(
            said.contains("scp -O -r '/no such/out' 'oem@[fe80::1]:'"),
            "{said}"
        );
        assert!(said.contains("ssh oem@fe80::1 sh out/deploy.sh"), "{said}");
    }
}
