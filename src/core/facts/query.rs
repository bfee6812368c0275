//! Defines what to observe on a VPU.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::TreeQuery;
use crate::device_words::Settings;

/// Names of files that docker-compose reads in a project's directory on its own, or would read
/// instead of `docker-compose.yml`. The probe has the same list.
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

/// What to observe beyond what is always observed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Query {
    /// Paths (absolute or below `~`) to observe; with a size, a file of that size is hashed.
    pub paths: BTreeMap<String, Option<u64>>,
    /// Compose projects whose directories are searched for [`READ_BY_COMPOSE`].
    pub projects: BTreeSet<String>,
    /// Environment files of docker-compose outside of projects' directories: their content affects
    /// how it resolves a project. Absolute or below `~`.
    pub environment_files: BTreeSet<String>,
    /// Instances of the unit `oem-dc@` whose settings are read.
    pub units: BTreeSet<String>,
    /// The desired name of the device, if declared.
    pub device_name: Option<String>,
    /// The desired settings of the device, by JSON pointer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub device_settings: Settings,
    /// Targets of transfers.
    pub trees: Vec<TreeQuery>,
    /// TCP port of the device's API on the VPU.
    pub api_port: u16,
}
