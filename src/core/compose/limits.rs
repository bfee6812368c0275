//! Limits on a container's use of the VPU's processors and memory, as a service declares them and
//! as docker shows them.

use serde::{Deserialize, Serialize};

use super::{
    convert,
    node::{Map, Node},
};

/// A container's limits; 0 or empty means none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes (`mem_limit`).
    pub memory: u64,
    /// Bytes (`mem_reservation`).
    pub memory_reservation: u64,
    /// Millionths of a processor (`cpus`). Docker counts
    /// billionths; docker-compose rounds to millionths.
    pub micro_cpus: u64,
    /// Relative weight (`cpu_shares`).
    pub cpu_shares: u64,
    /// Microseconds in each period (`cpu_quota`).
    pub cpu_quota: u64,
    /// The processors that it runs on, e.g. `0-1` (`cpuset`).
    pub cpuset: String,
    /// Processes (`pids_limit`).
    pub pids: u64,
}

impl Limits {
    /// Whether there are no limits.
    pub const fn is_none(&self) -> bool {
        self.memory == 0
            && self.memory_reservation == 0
            && self.micro_cpus == 0
            && self.cpu_shares == 0
            && self.cpu_quota == 0
            && self.cpuset.is_empty()
            && self.pids == 0
    }

    /// Returns each limit's key in a compose file and its value; empty means none.
    pub fn named(&self) -> [(&'static str, String); 7] {
        let number = |value: u64| match value {
            0 => String::new(),
            value => value.to_string(),
        };
        let cpus = match (self.micro_cpus / 1_000_000, self.micro_cpus % 1_000_000) {
            (0, 0) => String::new(),
            (whole, 0) => whole.to_string(),
            (whole, part) => format!("{whole}.{part:06}")
                .trim_end_matches('0')
                .to_owned(),
        };
        [
            ("mem_limit", number(self.memory)),
            ("mem_reservation", number(self.memory_reservation)),
            ("cpus", cpus),
            ("cpu_shares", number(self.cpu_shares)),
            ("cpu_quota", number(self.cpu_quota)),
            ("cpuset", self.cpuset.clone()),
            ("pids_limit", number(self.pids)),
        ]
    }
}

/// Reads a service's limits; `None` if the effective ones are unknown: `deploy.resources` counts
/// only with `--compatibility`, and not in all versions.
pub(super) fn limits(service: &Map) -> Option<Limits> {
    if service
        .get("deploy")
        .is_some_and(|deploy| deploy.get("resources").is_some())
    {
        return None;
    }
    let text = |key: &str| service.get(key).and_then(Node::text);
    let number = |key: &str, read: &dyn Fn(&str) -> Option<i128>| match text(key) {
        None => Some(0),
        // -1 means no limit.
        Some(text) => read(text).map(|value| u64::try_from(value).unwrap_or(0)),
    };
    let integer = |text: &str| text.trim().parse().ok();
    Some(Limits {
        memory: number("mem_limit", &convert::bytes)?,
        memory_reservation: number("mem_reservation", &convert::bytes)?,
        micro_cpus: number("cpus", &millionths)?,
        cpu_shares: number("cpu_shares", &integer)?,
        cpu_quota: number("cpu_quota", &integer)?,
        cpuset: text("cpuset").unwrap_or_default().to_owned(),
        pids: number("pids_limit", &integer)?,
    })
}

/// Parses a decimal number such as `1.5` into millionths.
fn millionths(text: &str) -> Option<i128> {
    let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let part: String = part.chars().chain("000000".chars()).take(6).collect();
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(whole.parse::<i128>().ok()? * 1_000_000 + part.parse::<i128>().ok()?)
}
