//! Renders the history of a VPU as text.

use std::{fmt::Write as _, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    text::{BOLD, Style, paint},
    units,
    wrap::line,
};
use crate::observe::{Attempt, UNCONFIRMED};

/// The history of a release.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ShownRelease {
    /// `[release].name`.
    pub(crate) release: String,
    /// The releases that the VPU keeps, the newest first.
    pub(crate) kept: Vec<KeptRelease>,
    /// The applies, the last one first.
    pub(crate) applies: Vec<Attempt>,
}

/// A release that the VPU keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeptRelease {
    /// Its number.
    pub(crate) number: u64,
    /// Its version; empty if it has none.
    pub(crate) version: String,
    /// When it was applied last, by the clock of the machine that applied; empty if that is not known.
    pub(crate) at: String,
    /// The projects that it removed, if it has no other.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) removes: Vec<String>,
    /// Whether it is the one that is deployed.
    pub(crate) current: bool,
    /// Whether `rollback` returns to it unless another one is named.
    #[serde(default)]
    pub(crate) next: bool,
    /// Why it cannot be returned to, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unreadable: Option<String>,
}

/// Renders the history, with the last `most` applies of each release.
pub(crate) fn history_text(
    address: &str,
    releases: &[ShownRelease],
    most: usize,
    style: Style,
) -> String {
    let mut out = String::new();
    if releases.is_empty() {
        let _ = writeln!(out, "{address}: nothing deployed by o3r-deploy");
    }
    for release in releases {
        // Names and reasons come from the VPU.
        let ShownRelease {
            release,
            kept,
            applies,
        } = super::harmless(release).unwrap_or_else(|| release.clone());
        if !out.is_empty() {
            out.push('\n');
        }
        let heading = format!("{release} on {address}");
        line(&mut out, style, 2, &paint(style.color, BOLD, &heading));
        out.push_str(
            "\nkept on the VPU (return to one: o3r-deploy rollback VERSION, or '#NUMBER')\n",
        );
        if kept.is_empty() {
            out.push_str("  none\n");
        }
        let last = applies.first();
        let is_deployed = match last {
            Some(last) if last.is_left() => {
                "deployed; a later apply failed and was not rolled back".to_owned()
            }
            Some(last) if last.result == UNCONFIRMED => format!(
                "deployed before; {} runs and waits to be confirmed or cancelled",
                version(&last.version)
            ),
            _ => "deployed".to_owned(),
        };
        for kept in kept {
            let number = format!("#{}", kept.number);
            let mut text = format!("  {number:<4} {}", version(&kept.version));
            let at = format!("last applied {}", kept.at);
            let removes = format!("removes {}", kept.removes.join(", "));
            for (is_so, what) in [
                (!kept.at.is_empty(), at.as_str()),
                (!kept.removes.is_empty(), removes.as_str()),
                (kept.current, is_deployed.as_str()),
                (kept.next, "`rollback` returns to it"),
            ] {
                if is_so {
                    let _ = write!(text, "  {what}");
                }
            }
            if let Some(reason) = &kept.unreadable {
                let _ = write!(text, "  unusable: {reason}");
            }
            line(&mut out, style, 7, text.trim_end());
        }
        out.push_str("\napplies\n");
        if applies.is_empty() {
            out.push_str("  none\n");
        }
        for apply in applies.iter().take(most) {
            line(&mut out, style, 4, &format!("  {}", apply_line(apply)));
        }
        if let Some(more) = applies.len().checked_sub(most).filter(|more| *more > 0) {
            let _ = writeln!(out, "  {more} more: --format json");
        }
    }
    out
}

/// Describes an apply: `2026-11-30T04:01:02Z  1.2  failed at compose.app after 12 s, rolled back; 1.2 MiB, by me@pc`.
fn apply_line(apply: &Attempt) -> String {
    let mut text = format!("{}  {}  ", apply.at, version(&apply.version));
    if apply.rollback {
        text.push_str("rollback ");
    }
    let (result, more) = match apply.result.split_once(", ") {
        Some((result, more)) => (result, Some(more)),
        None => (apply.result.as_str(), None),
    };
    text.push_str(result);
    if !apply.step.is_empty() {
        let _ = write!(text, " at {}", apply.step);
    }
    match apply.seconds {
        0 => {}
        seconds @ ..60 => {
            let _ = write!(text, " after {seconds} s");
        }
        seconds => {
            let took = units::duration(Duration::from_secs(seconds));
            let _ = write!(text, " after {took}");
        }
    }
    if let Some(more) = more {
        let _ = write!(text, ", {more}");
    }
    if apply.bytes > 0 {
        let _ = write!(text, "; {}", units::bytes(apply.bytes));
    }
    let _ = write!(text, ", by {}", apply.by);
    text
}

fn version(version: &str) -> &str {
    if version.is_empty() {
        "(no version)"
    } else {
        version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_shows_what_is_kept_and_how_applies_ended() {
        let kept = |number, version: &str, current, unreadable: Option<&str>| KeptRelease {
            number,
            version: version.into(),
            removes: if number == 2 {
                vec!["web".into()]
            } else {
                vec![]
            },
            current,
            next: number == 2,
            unreadable: unreadable.map(str::to_owned),
            at: if current {
                "2026-11-30T04:01:02Z".into()
            } else {
                String::new()
            },
        };
        let apply = |version: &str, result: &str, step: &str, seconds, bytes| Attempt {
            at: "2026-11-30T04:01:02Z".into(),
            by: "me@pc".into(),
            version: version.into(),
            result: result.into(),
            step: step.into(),
            seconds,
            bytes,
            ..Attempt::default()
        };
        let mut release = ShownRelease {
            release: "hello".into(),
            kept: vec![
                kept(3, "1.2", true, None),
                kept(2, "1.1", false, None),
                kept(1, "", false, Some("it has format 2")),
            ],
            applies: vec![
                apply("1.2", "done", "", 12, 3 << 20),
                apply("1.3", "failed, rolled back", "compose.hello", 90, 0),
                apply("1.1", "done", "", 0, 0),
            ],
        };
        let text = history_text("vpu", std::slice::from_ref(&release), 2, Style::default());
        insta::assert_snapshot!(text, @"
        hello on vpu

        kept on the VPU (return to one: o3r-deploy rollback VERSION, or '#NUMBER')
          #3   1.2  last applied 2026-11-30T04:01:02Z  deployed
          #2   1.1  removes web  `rollback` returns to it
          #1   (no version)  unusable: it has format 2

        applies
          2026-11-30T04:01:02Z  1.2  done after 12 s; 3.00 MiB, by me@pc
          2026-11-30T04:01:02Z  1.3  failed at compose.hello after 1 min 30 s, rolled back, by me@pc
          1 more: --format json
        ");
        let mut deployed = |result: &str| {
            result.clone_into(&mut release.applies[0].result);
            let text = history_text("vpu", std::slice::from_ref(&release), 2, Style::default());
            let line = text.lines().nth(3).unwrap_or_default();
            line.rsplit("  ").next().unwrap_or_default().to_owned()
        };
        let failed = "deployed; a later apply failed and was not rolled back";
        assert_eq!(deployed(crate::observe::NOT_ROLLED_BACK), failed);
        let waits = "deployed before; 1.2 runs and waits to be confirmed or cancelled";
        assert_eq!(deployed(UNCONFIRMED), waits);
        let none = history_text("vpu", &[], 2, Style::default());
        assert_eq!(none, "vpu: nothing deployed by o3r-deploy\n");
    }
}
