//! `confirm` and `cancel`: decide on a release that `apply --confirm-within` left to a person.

use super::{CommandError, ErrorCode, Exit, look::Look};
use crate::{
    cli::{self, Global},
    host::{Host as _, SshHost, Stdin},
    image::LayerCache,
    observe::{self, Attempt, Verdict},
    remote::{self, Answer},
    ui::Ui,
};

/// The lines of output that are shown if the VPU fails.
const TAIL_LINES: usize = 20;

/// How an apply ended that a person confirmed.
const CONFIRMED: &str = "confirmed";

pub(super) async fn run(
    global: &Global,
    args: &cli::Answer,
    answer: Answer,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    let look = Look::open_named(global, cache, ui).await?;
    let command = remote::answer(answer, &args.token);
    let output = look.host().run(&command, Stdin::Empty).await?;
    let noted = answered(look.host(), &args.token).await;
    // A repeated confirmation finds nothing that waits.
    if output.code == remote::UNKNOWN_TOKEN
        && answer == Answer::Confirm
        && let Some((release, result)) = &noted
        && result == CONFIRMED
    {
        ui.result(&format!("{release} was confirmed before"));
        return Ok(Exit::Done);
    }
    let release = noted.map_or_else(|| "the release".to_owned(), |(release, _)| release);
    match (output.code, answer) {
        (0, Answer::Confirm) => {
            ui.result(&format!("confirmed: {release} stays"));
            Ok(Exit::Done)
        }
        (0, Answer::Cancel) => cancelled(&String::from_utf8_lossy(&output.stdout), &release, ui),
        (remote::DECIDED, Answer::Cancel) => {
            ui.result("the VPU has already rolled back, or is rolling back");
            Ok(Exit::Done)
        }
        (remote::UNKNOWN_TOKEN, _) => Err(CommandError::message(
            ErrorCode::UnknownToken,
            format!(
                "no release on {} waits to be confirmed with the token {}",
                look.address(),
                args.token
            ),
            Some(
                "`o3r-deploy status` shows whether one waits; the log of its apply has the token"
                    .into(),
            ),
        )),
        (remote::DECIDED, _) => Err(CommandError::message(
            ErrorCode::RolledBack,
            "the VPU has already rolled back, or is rolling back",
            Some("`o3r-deploy status` shows the outcome".into()),
        )),
        (code, _) => Err(CommandError::message(
            ErrorCode::StepFailed,
            format!(
                "the release stays, but what was left of its apply failed with exit code {code}\n{}",
                output.tail(TAIL_LINES)
            ),
            Some("fix the problem, and run `apply` again".into()),
        )),
    }
}

fn named(release: &str, attempt: &Attempt) -> String {
    match attempt.version.as_str() {
        "" => format!("release {release}"),
        version => format!("release {release} {version}"),
    }
}

/// Returns the release that this token was for, with its version, and how its apply ended, as the VPU noted it.
async fn answered(host: &SshHost, token: &str) -> Option<(String, String)> {
    let observe::History(releases) = observe::history(host).await.ok()?;
    releases.iter().find_map(|(name, history)| {
        let attempts = &history.attempts;
        let noted = attempts.iter().find(|attempt| attempt.token == token)?;
        // The VPU's note has no version; what the client noted of the same apply has.
        let mut same = attempts.iter().filter(|attempt| attempt.at == noted.at);
        let version = same.find(|attempt| !attempt.version.is_empty());
        Some((named(name, version.unwrap_or(noted)), noted.result.clone()))
    })
}

/// Tells how a cancelled release was rolled back, from the VPU's verdict.
fn cancelled(said: &str, release: &str, ui: Ui) -> Result<Exit, CommandError> {
    let mut lines = said.lines();
    let verdict: Verdict = lines
        .find_map(|line| serde_json::from_str(line).ok())
        .unwrap_or_default();
    if verdict.outcome == "restored" {
        ui.result(&format!("cancelled: the VPU rolled {release} back"));
        return Ok(Exit::Done);
    }
    let failed = verdict.failed.first();
    let reason = failed.map_or_else(
        || "the VPU does not say why".to_owned(),
        |failed| format!("{}: {}", failed.address, failed.said),
    );
    Err(CommandError::message(
        ErrorCode::StepFailed,
        format!("cancelled, but the rollback is incomplete: {reason}"),
        Some(
            "`o3r-deploy status` shows what runs; apply the manifest of the release that is to run"
                .into(),
        ),
    ))
}
