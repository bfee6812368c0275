//! The section on what differs from the manifest.

use o3r_core::plan::{Address, BlockCode, Verb};

use crate::{
    render::{
        essential::{internal, without},
        sign::Sign,
        text::{BELOW, BOLD, Style, below, cause_text, indented, paint, step_title, summary_line},
        wrap::line,
    },
    status::{Change, Drift},
};

/// The most causes shown of a difference; the plan shows all.
const CAUSES: usize = 3;

pub(super) fn write(out: &mut String, drift: &Drift, style: Style) {
    let (manifest, not_deployed, summary, changes, blocked) = match drift {
        Drift::Unknown { reason } => {
            let reason = indented(reason, "    ");
            line(out, style, 4, &format!("  not compared: {reason}"));
            return;
        }
        Drift::Known {
            manifest,
            not_deployed,
            summary,
            changes,
            blocked,
        } => (manifest, not_deployed, summary, changes, blocked),
    };
    if changes.is_empty() && blocked.is_empty() {
        let unchanged = summary.unchanged;
        let none = format!("  none: the VPU matches {manifest}, {unchanged} unchanged");
        line(out, style, 4, &none);
        return;
    }
    let addresses: Vec<&Address> = changes.iter().map(|change| &change.address).collect();
    let (hidden, shown): (Vec<_>, Vec<_>) = changes
        .iter()
        .zip(internal(&addresses))
        .partition(|(_, is_internal)| *is_internal);
    let summary = without(*summary, hidden.iter().map(|(change, _)| change.action));
    let changes = || shown.iter().map(|(change, _)| *change);
    let total = summary_line(&summary, changes().map(verb));
    if let Some(release) = not_deployed {
        let what =
            format!("  release {release} is not deployed yet ({total}); see: o3r-deploy plan");
        line(out, style, 4, &what);
    }
    for change in changes().filter(|_| not_deployed.is_none()) {
        let title = step_title(verb(change), &change.address, style);
        line(out, style, BELOW, &title);
        let causes = change.causes.iter();
        let causes: Vec<String> = causes
            .filter_map(|cause| cause_text(cause, style))
            .collect();
        for cause in causes.iter().take(CAUSES) {
            line(out, style, BELOW, &below(cause));
        }
        if causes.len() > CAUSES {
            let more = causes.len() - CAUSES;
            let more = format!("and {more} more: o3r-deploy plan");
            line(out, style, BELOW, &below(&more));
        }
    }
    for blocked in blocked {
        // The release's line says what it waits for.
        if blocked.code == BlockCode::Unconfirmed {
            let what = "  no apply until the release is confirmed or rolled back [unconfirmed]";
            line(out, style, 4, what);
            continue;
        }
        let sign = style.sign(Sign::Bad);
        let address = paint(style.color, BOLD, &blocked.address.to_string());
        let reason = indented(&blocked.reason, "    ");
        let what = format!("  {sign} {address} is blocked: {reason} [{}]", blocked.code);
        line(out, style, 4, &what);
    }
    if not_deployed.is_none() {
        line(out, style, 4, &format!("  {total}"));
    }
}

fn verb(change: &Change) -> Verb {
    Verb::of(change.action, change.causes.first())
}
