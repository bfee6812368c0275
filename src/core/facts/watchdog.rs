//! The state of a release's watchdog on the VPU: whether it is armed, or how its rollback ended.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::age;

/// The watchdog of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Watchdog {
    /// An apply runs.
    Armed {
        /// Seconds until the VPU rolls back if its client gives no sign of life.
        seconds_left: u64,
    },
    /// An apply was interrupted.
    Interrupted {
        /// Seconds until the VPU rolls back if no other apply takes over.
        seconds_left: u64,
    },
    /// A release waits until a person confirms it.
    Unconfirmed {
        /// The version that waits; empty if the VPU does not say it.
        #[serde(default)]
        version: String,
        /// Seconds until the VPU rolls back.
        seconds_left: u64,
    },
    /// The VPU rolls back now, or was interrupted while it did.
    RollingBack,
    /// The VPU rolled back automatically, or the client did after a failed step.
    Ended(Verdict),
}

/// The outcome of a rollback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Verdict {
    /// When the apply began, by the clock of the machine that ran it.
    pub at: String,
    /// Who ran it, e.g. `user@machine`.
    pub by: String,
    /// The version that was applied; empty if unknown.
    pub version: String,
    /// `restored` or `failed`.
    pub outcome: String,
    /// `silence` of the client, `restart` of the VPU, `unconfirmed` in time, or `cancel`; `step-failed` if the client
    /// rolled back because of a failed step.
    pub why: String,
    /// The address of the step that started last.
    pub step: Option<String>,
    /// The resources that could not be restored.
    pub failed: Vec<NotRestored>,
}

/// A resource that a VPU could not restore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NotRestored {
    /// Its address.
    pub address: String,
    /// What the failed command printed.
    pub said: String,
}

impl Watchdog {
    /// The same in words, without the release.
    pub fn describe(&self) -> String {
        match self {
            Self::Armed { seconds_left } => format!(
                "an apply is in progress; without its client, the VPU rolls back automatically in {}",
                left(*seconds_left)
            ),
            Self::Interrupted { seconds_left } => format!(
                "an apply was interrupted; the VPU rolls back automatically in {}, unless an apply comes first",
                left(*seconds_left)
            ),
            Self::Unconfirmed { seconds_left, .. } => format!(
                "the new release waits to be confirmed; the VPU rolls back automatically in {} (o3r-deploy \
                 confirm TOKEN, with the token that `apply` printed)",
                left(*seconds_left)
            ),
            Self::RollingBack => "the VPU is rolling back automatically".to_owned(),
            Self::Ended(verdict) => verdict.describe(),
        }
    }
}

/// Formats what is left: `45 s`, `29 min 30 s`.
fn left(seconds: u64) -> String {
    age(Duration::from_secs(seconds))
}

impl Verdict {
    /// `why` of a rollback by the client.
    pub const STEP_FAILED: &str = "step-failed";

    /// Whether the client rolled back, and not the VPU.
    pub fn is_of_client(&self) -> bool {
        self.why == Self::STEP_FAILED
    }

    fn describe(&self) -> String {
        let whose = match (self.by.as_str(), self.at.as_str()) {
            ("", _) | (_, "") => "the last apply".to_owned(),
            (by, at) if self.version.is_empty() => format!("the apply of {by} at {at}"),
            (by, at) => format!("the apply of {} by {by} at {at}", self.version),
        };
        let during = self.step.as_ref();
        let during = during.map_or_else(String::new, |step| format!(" at {step}"));
        let (why, how) = match self.why.as_str() {
            "cancel" => (format!("{whose} was cancelled"), ""),
            "unconfirmed" => (
                format!("nobody confirmed {whose} in time"),
                " automatically",
            ),
            "unconfirmed-restart" => (
                format!("the VPU restarted before anybody confirmed {whose}"),
                " automatically",
            ),
            "restart" => (
                format!("the VPU restarted during {whose}{during}"),
                " automatically",
            ),
            _ => (format!("{whose} fell silent{during}"), " automatically"),
        };
        if self.is_of_client() {
            return match self.failed.first() {
                None => format!("{whose} failed{during}; it was rolled back"),
                Some(failed) => format!(
                    "{whose} failed{during}; it was rolled back, but {} could not be restored: {}",
                    failed.address, failed.said
                ),
            };
        }
        match self.failed.first() {
            None => format!("{why}; the VPU rolled back{how}"),
            Some(failed) => format!(
                "{why}; the VPU rolled back{how}, but could not restore {}: {}",
                failed.address, failed.said
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_what_happened_and_what_was_not_restored() {
        let text = r#"{"at":"2026-11-30T00:17:28Z","by":"me@pc","outcome":"restored","why":"silence",
            "step":"compose.hello","failed":[],"clock":"","log":"x.log"}"#;
        let mut verdict: Verdict = serde_json::from_str(text).unwrap();
        let said = Watchdog::Ended(verdict.clone()).describe();
        assert_eq!(
            said,
            "the apply of me@pc at 2026-11-30T00:17:28Z fell silent at compose.hello; the VPU rolled back \
             automatically"
        );
        let of_client = Verdict {
            version: "1.1.0".into(),
            why: Verdict::STEP_FAILED.into(),
            ..verdict.clone()
        };
        assert_eq!(
            of_client.describe(),
            "the apply of 1.1.0 by me@pc at 2026-11-30T00:17:28Z failed at compose.hello; it was rolled back"
        );
        verdict.why = "restart".into();
        verdict.failed.push(NotRestored {
            address: "compose.hello".into(),
            said: "no such image".into(),
        });
        let said = verdict.describe();
        assert!(
            said.starts_with("the VPU restarted during the apply"),
            "{said}"
        );
        assert!(
            said.ends_with("could not restore compose.hello: no such image"),
            "{said}"
        );
    }
}
