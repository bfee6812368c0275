//! The section on releases: what was applied, and what decides on it now.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use o3r_core::{
    facts::{Verdict, Watchdog},
    units::age,
};

use super::listed;
use crate::{
    render::{
        sign::Sign,
        text::{BOLD, Style, paint},
        wrap::line,
    },
    status::{FailedApply, Release, Status},
};

/// Writes a line for each release, the apply that runs, and each watchdog.
pub(super) fn write(out: &mut String, status: &Status, style: Style) {
    let one = |out: &mut String, release: &Release| {
        let release = match status.watchdogs.get(&release.name) {
            Some(watchdog @ Watchdog::Unconfirmed { .. }) => waiting(release, watchdog, style),
            _ => release_line(release, style),
        };
        line(out, style, 4, &format!("  {release}"));
    };
    let unrecorded = unrecorded(status);
    match status.releases.as_deref() {
        Some([]) if !unrecorded.is_empty() => {}
        releases => listed(out, releases, one),
    }
    for release in unrecorded {
        let name = paint(style.color, BOLD, release);
        let text = format!(
            "  {name}  its record is gone, as after a firmware update: the next apply rebuilds it from what the VPU has"
        );
        line(out, style, 4, &text);
    }
    if let Some(apply) = &status.applying {
        let text = format!("  apply in progress: by {}", apply.describe());
        line(out, style, 4, &text);
    }
    for apply in &status.failed {
        // The verdict below says more.
        if verdict(status, &apply.release).is_some_and(|verdict| verdict.at == apply.at) {
            continue;
        }
        let sign = style.sign(Sign::Bad);
        let deployed = status.releases.iter().flatten();
        let deployed = deployed
            .into_iter()
            .find(|release| release.name == apply.release);
        line(
            out,
            style,
            4,
            &format!("  {sign} {}", failed(apply, deployed)),
        );
    }
    for (release, watchdog) in &status.watchdogs {
        let sign = match watchdog {
            // The release's line says so.
            Watchdog::Unconfirmed { .. } if has_record(status, release) => continue,
            // A later apply failed, too.
            Watchdog::Ended(verdict) if has_failed_since(status, release, &verdict.at) => continue,
            // No failure.
            Watchdog::Unconfirmed { .. } | Watchdog::Armed { .. } => String::new(),
            _ => format!("{} ", style.sign(Sign::Bad)),
        };
        let text = format!("  {sign}{release}: {}", watchdog.describe());
        line(out, style, 4, &text);
    }
}

/// Formats `hello: the apply of 1.1 by me@pc at … failed at compose.hello and was not rolled back: …`; `deployed` is the
/// release before.
fn failed(apply: &FailedApply, deployed: Option<&Release>) -> String {
    let FailedApply {
        release,
        version,
        at,
        by,
        step,
    } = apply;
    let version = if version.is_empty() {
        String::new()
    } else {
        format!("of {version} ")
    };
    let back = match deployed.map(|release| release.version.as_str()) {
        None => String::new(),
        Some("") => ", or return to the release before with: o3r-deploy rollback".to_owned(),
        Some(version) => format!(", or return to {version} with: o3r-deploy rollback"),
    };
    format!(
        "{release}: the apply {version}by {by} at {at} failed at {step} and was not rolled back: fix it and run o3r-deploy \
         apply{back}"
    )
}

/// The outcome of the last rollback of a release.
fn verdict<'a>(status: &'a Status, release: &str) -> Option<&'a Verdict> {
    match status.watchdogs.get(release)? {
        Watchdog::Ended(verdict) => Some(verdict),
        _ => None,
    }
}

fn has_failed_since(status: &Status, release: &str, at: &str) -> bool {
    let mut failed = status.failed.iter();
    failed.any(|apply| apply.release == release && apply.at.as_str() > at)
}

/// The releases that own projects and have no record.
fn unrecorded(status: &Status) -> BTreeSet<&str> {
    let projects = status.projects.iter().flatten();
    let unrecorded = projects.filter(|project| project.unrecorded);
    unrecorded
        .filter_map(|project| project.release.as_deref())
        .collect()
}

fn has_record(status: &Status, name: &str) -> bool {
    let mut releases = status.releases.iter().flatten();
    releases.any(|release| release.name == name)
}

/// Formats `hello 1.1.0  waits for confirmation, 1790 s left; …`, for a release of which this is the recorded version.
fn waiting(release: &Release, watchdog: &Watchdog, style: Style) -> String {
    let Watchdog::Unconfirmed {
        version,
        seconds_left,
    } = watchdog
    else {
        return release_line(release, style);
    };
    let name = paint(style.color, BOLD, &release.name);
    let title = format!("{name} {version}");
    let previous = match release.version.as_str() {
        "" => "what ran before".to_owned(),
        version => version.to_owned(),
    };
    format!(
        "{}  waits for confirmation, {} left (o3r-deploy confirm TOKEN, with the token that `apply` printed); \
         unconfirmed, the VPU rolls back to {previous} automatically",
        title.trim_end(),
        age(Duration::from_secs(*seconds_left))
    )
}

/// Formats `hello 1.0.0  applied 2026-11-23T01:20:00Z by you@pc`.
fn release_line(release: &Release, style: Style) -> String {
    let Release {
        name,
        version,
        at,
        by,
        projects,
        removed,
    } = release;
    let name = paint(style.color, BOLD, name);
    let mut line = format!("{name} {version}").trim_end().to_owned();
    // Nothing of it runs any more.
    let is_gone = projects.is_empty() && !removed.is_empty();
    let verb = if is_gone { "removed" } else { "applied" };
    if !at.is_empty() {
        let _ = write!(line, "  {verb} {at}");
        if !by.is_empty() {
            let _ = write!(line, " by {by}");
        }
    }
    if is_gone {
        let _ = write!(
            line,
            "; {} {} removed",
            if removed.len() == 1 {
                "project"
            } else {
                "projects"
            },
            removed.join(", ")
        );
    }
    line
}
