//! Examines this machine, the link and the VPU, and says what each finding means and what to do.
//!
//! [`machine`] and [`link`] measure, [`vpu`] judges an observation together with [`extra`]. Nothing is changed anywhere.

mod extra;
mod link;
mod machine;
mod vpu;

use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use extra::{Extra, ask};
pub(crate) use link::link;
pub(crate) use machine::{Needs, machine};
pub(crate) use vpu::vpu;

/// The version of the report's format.
const FORMAT: u32 = 1;

/// What was examined, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Report {
    /// Version of this document's format.
    pub format: u32,
    /// The program that made it, e.g. `o3r-deploy 0.1.0`.
    pub tool: String,
    /// The VPU's address; empty if none was selected.
    pub host: String,
    /// The checks, in the order of their areas.
    pub checks: Vec<Check>,
}

impl Report {
    /// Creates a report.
    pub(crate) fn new(host: &str, checks: Vec<Check>) -> Self {
        Self {
            format: FORMAT,
            tool: concat!("o3r-deploy ", env!("CARGO_PKG_VERSION")).to_owned(),
            host: host.to_owned(),
            checks,
        }
    }

    /// Returns how many checks have a verdict.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        let checks = self.checks.iter();
        checks.filter(|check| check.verdict == verdict).count()
    }
}

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Area {
    /// This machine.
    Machine,
    /// The connection to the VPU.
    Link,
    /// The VPU.
    Vpu,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// As it should be, or of no importance here.
    Ok,
    /// Deploying works, but something costs time or will fail later, or could not be determined.
    Warning,
    /// Deploying fails until it is fixed.
    Problem,
}

/// A check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Check {
    /// What it is about.
    pub area: Area,
    /// Its name, one word.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What that means for deploying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// The command or key that fixes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    /// Nothing is to be done.
    pub(crate) fn ok(area: Area, name: &str, found: impl Into<String>) -> Self {
        Self {
            area,
            name: name.to_owned(),
            verdict: Verdict::Ok,
            found: found.into(),
            meaning: None,
            fix: None,
        }
    }

    /// Something costs time, or will fail later.
    pub(crate) fn warning(
        area: Area,
        name: &str,
        found: impl Into<String>,
        meaning: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Warning,
            meaning: Some(meaning.into()),
            fix: Some(fix.into()).filter(|fix: &String| !fix.is_empty()),
            ..Self::ok(area, name, found)
        }
    }

    /// Deploying fails.
    pub(crate) fn problem(
        area: Area,
        name: &str,
        found: impl Into<String>,
        meaning: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Problem,
            ..Self::warning(area, name, found, meaning, fix)
        }
    }
}
