//! The health gate: what has to hold after a project was started, before an apply continues.

use std::time::Duration;

/// What has to hold after a project was started; [`Default`] is the gate of a project that declares none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthGate {
    /// The longest time from the start; `None` for a minute, or more where docker's health checks may need more.
    pub timeout: Option<Duration>,
    /// How long all containers have to run without a restart. Docker itself forgets a crash after ten seconds; a
    /// container that cannot start at all ends within one.
    pub settle: Duration,
    /// Whether docker's health checks count.
    pub probes: Probes,
    /// A text that a log of the project's containers has to contain.
    pub log_contains: Option<String>,
    /// A command that has to succeed; empty for none.
    pub command: Vec<String>,
    /// The service in whose container the command runs; `None` for the VPU itself.
    pub service: Option<String>,
}

/// What docker's health checks mean to a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probes {
    /// Each has to pass.
    Count,
    /// They are not waited for.
    Ignored,
}

impl Probes {
    /// The script's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Count => "probes",
            Self::Ignored => "ignore",
        }
    }
}

/// Of [`HealthGate::settle`], where a manifest says nothing.
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
    /// The gate of a rollback: that containers stay up. What else the earlier release asked for is not known, and the
    /// next project is not kept waiting.
    pub fn stays_up() -> Self {
        Self {
            settle: Duration::from_secs(2),
            probes: Probes::Ignored,
            ..Self::default()
        }
    }
}
