//! What to ask a VPU.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::TreeQuery;

/// Names of files that docker-compose reads in a project's directory without being told to, or would read in
/// place of `docker-compose.yml`. The probe has the same list.
pub const READ_BY_COMPOSE: &[&str] = &[
    "docker-compose.yml",
    "docker-compose.yaml",
    "compose.yml",
    "compose.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
    "compose.override.yml",
    "compose.override.yaml",
    ".env",
];

/// What to ask a VPU beyond what is always asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Query {
    /// Paths (absolute or below `~`) to look at; with a size, a file of that size is hashed.
    pub paths: BTreeMap<String, Option<u64>>,
    /// Compose projects in whose directories to look for [`READ_BY_COMPOSE`].
    pub projects: BTreeSet<String>,
    /// Files outside of projects' directories that docker-compose reads as environment files: their contents
    /// steer what it makes of a project. Absolute, or below `~`.
    pub environment_files: BTreeSet<String>,
    /// Instances of the unit `oem-dc@` whose text matters.
    pub units: BTreeSet<String>,
    /// The name that the device is to have, where one is declared.
    pub device_name: Option<String>,
    /// Targets of transfers.
    pub trees: Vec<TreeQuery>,
    /// TCP port of the device's API, as seen from the VPU itself.
    pub api_port: u16,
}
