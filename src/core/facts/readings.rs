//! Describes measurements of a VPU, which no step depends on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Disk, Watchdog};
use crate::{blocks::BlockSums, speeds::Speeds};

/// Values that change over time: free space, uptimes, measurements. No step depends on them, but a
/// lack of space blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Readings {
    /// Whole seconds since boot.
    pub uptime: u64,
    /// Seconds since 1970 by the VPU's clock.
    pub clock: Option<u64>,
    /// The file system of `$HOME`.
    pub home_disk: Option<Disk>,
    /// The file system where docker keeps images.
    pub docker_disk: Option<Disk>,
    /// Bytes of RAM.
    pub memory_total: Option<u64>,
    /// Bytes of RAM available to programs.
    pub memory_available: Option<u64>,
    /// The file systems of transfers, by mount point.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<String, Disk>,
    /// Throughput of the VPU and of the link; not measured by observing.
    #[serde(flatten)]
    pub speeds: Speeds,
    /// Block checksums of large files of transfers that changed, by path; only queried ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blocks: BTreeMap<String, BlockSums>,
    /// Whether the VPU has the zstd program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zstd: bool,
    /// Whether the VPU has a tool for sha256.
    pub sha256_tool: bool,
    /// Health of containers that have a health check, by ID.
    pub health: BTreeMap<String, String>,
    /// How often docker restarted a container by its policy, by ID; only those that it restarted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub restarts: BTreeMap<String, u64>,
    /// IDs of the containers whose last run was ended by a lack of memory.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub out_of_memory: BTreeSet<String>,
    /// Whole seconds since a running container was started, by ID; independent of clock jumps.
    pub container_uptime: BTreeMap<String, u64>,
    /// Who applied the last release and when, by the release's name.
    pub applied: BTreeMap<String, Applied>,
    /// Who holds the lock: an apply that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applying: Option<Applied>,
    /// Watchdogs that are armed, or have rolled back, by the release's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub watchdogs: BTreeMap<String, Watchdog>,
}

impl Readings {
    /// Free bytes of the file system of `$HOME`.
    pub fn home_free(&self) -> Option<u64> {
        self.home_disk.as_ref().map(|disk| disk.free)
    }

    /// Free bytes of the file system where docker keeps images.
    pub fn docker_free(&self) -> Option<u64> {
        self.docker_disk.as_ref().map(|disk| disk.free)
    }
}

/// Who applied a release and when, as reported by the machine that applied it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Applied {
    /// E.g. `2026-11-23T01:20:00Z`, by the clock of that machine, because the VPU's is unreliable.
    pub at: String,
    /// E.g. `user@machine`.
    pub by: String,
    /// The manifest, as given on that machine; empty in records of older versions.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub manifest: String,
    /// The process there; null in records of older versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

impl Applied {
    /// Describes an apply that runs: `me@pc (deploy.toml, process 4711), since 2026-11-23T01:20:00Z`.
    pub fn describe(&self) -> String {
        let mut what = vec![];
        if !self.manifest.is_empty() {
            what.push(self.manifest.clone());
        }
        what.extend(self.pid.map(|pid| format!("process {pid}")));
        let what = match what.join(", ") {
            what if what.is_empty() => what,
            what => format!(" ({what})"),
        };
        format!("{}{what}, since {}", self.by, self.at)
    }
}
