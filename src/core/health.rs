//! The health gate: the conditions after a project's start under which an apply continues.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The conditions to meet after a project was started;
/// [`Default`] is the gate of a project that declares none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthGate {
    /// The maximum time from the start; `None` for a minute,
    /// or more if docker's health checks may need more.
    pub timeout: Option<Duration>,
    /// How long all containers have to run without a restart. Docker forgets a crash after ten
    /// seconds; a container that cannot start at all ends within one.
    pub settle: Duration,
    /// Whether docker's health checks count.
    pub probes: Probes,
    /// A text that a log of the project's containers has to contain.
    pub log_contains: Option<String>,
    /// A command that has to exit with 0; empty for none.
    pub command: Vec<String>,
    /// The service in whose container the command runs; `None` for the VPU itself.
    pub service: Option<String>,
}

/// How a gate treats docker's health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probes {
    /// Each has to pass.
    Count,
    /// They are ignored.
    Ignored,
}

impl Probes {
    /// Returns the script's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Count => "probes",
            Self::Ignored => "ignore",
        }
    }
}

/// The default of [`HealthGate::settle`].
pub const SETTLE: Duration = Duration::from_secs(5);

impl Default for HealthGate {
    fn default() -> Self {
        Self {
            timeout: None,
            settle: SETTLE,
            probes: Probes::Count,
            log_contains: None,
            command: vec![],
            service: None,
        }
    }
}

impl HealthGate {
    /// Returns the gate of a rollback: that containers stay up. The earlier release's own
    /// conditions are not recorded, and the next project is not kept waiting.
    pub fn stays_up() -> Self {
        Self {
            settle: Duration::from_secs(2),
            probes: Probes::Ignored,
            ..Self::default()
        }
    }
}
