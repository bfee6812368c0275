//! `forget`: drops the record of a release, and what the VPU keeps of it.

use super::{CommandError, ErrorCode, Exit, again, agreed, apply::who, look::Look};
use crate::{
    apply,
    cli::{self, Global},
    deployment,
    host::{Host as _, Stdin},
    image::LayerCache,
    observe::{self, Probed, Watchdog},
    remote::{self, Claim},
    ui::Ui,
};

/// The lines of output that are shown if the VPU fails.
const TAIL_LINES: usize = 5;

pub(super) async fn run(
    global: &Global,
    args: &cli::Forget,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    let look = Look::open_named(global, cache, ui).await?;
    let name = args.release.as_str();
    let observe::History(releases) = observe::history(look.host()).await?;
    if !releases.contains_key(name) {
        let names: Vec<&str> = releases.keys().map(String::as_str).collect();
        let has = match names[..] {
            [] => "no release".to_owned(),
            _ => names.join(", "),
        };
        return Err(CommandError::message(
            ErrorCode::UnknownRelease,
            format!("{} has no release {name}; it has: {has}", look.address()),
            None,
        ));
    }
    let observed = look.observe().await?;
    if let Some(watchdog) = observed.readings.watchdogs.get(name)
        && !matches!(watchdog, Watchdog::Ended(_))
    {
        return Err(CommandError::message(
            ErrorCode::Blocked,
            format!("release {name}: {}; nothing was done", watchdog.describe()),
            Some("wait until it is decided: o3r-deploy status".into()),
        ));
    }
    let records = match &observed.facts.records {
        Probed::Known(records) => Some(records),
        Probed::Unknown(_) => None,
    };
    let recorded = records.and_then(|records| records.releases.get(name));
    let projects = recorded.iter().flat_map(|release| &release.projects);
    let projects: Vec<&str> = projects.map(String::as_str).collect();
    let stays = if projects.is_empty() {
        String::new()
    } else {
        format!(
            " {} and all else that it deployed stay, and belong to no release.",
            projects.join(", ")
        )
    };
    ask(args, name, &stays, ui).await?;
    let who = who(&global.file);
    let waits = |what: &str| ui.note(what);
    let held = apply::lock(look.host(), &who, Claim::Try, &waits).await;
    let held = held.map_err(deployment::Error::from)?;
    let command = remote::forget_release(name, []);
    let output = look.host().run(&command, Stdin::Empty).await?;
    drop(held);
    if !output.success() {
        return Err(CommandError::message(
            ErrorCode::StepFailed,
            format!(
                "release {name} is not forgotten: {}",
                output.tail(TAIL_LINES)
            ),
            Some("fix the problem, and run it again".into()),
        ));
    }
    ui.result(&format!("release {name} is forgotten"));
    Ok(Exit::Done)
}

async fn ask(args: &cli::Forget, name: &str, stays: &str, ui: Ui) -> Result<(), CommandError> {
    if args.yes {
        return Ok(());
    }
    if !ui.can_ask() {
        return Err(CommandError::message(
            ErrorCode::NoTerminal,
            "no terminal for confirmation; nothing was done",
            Some(format!(
                "skip the confirmation: {}",
                again(&format!("forget {name} --yes"))
            )),
        ));
    }
    let question = format!(
        "Forget release {name}? Nothing can return to it or its earlier releases then.{stays}"
    );
    agreed(ui, question).await
}
