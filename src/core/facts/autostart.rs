//! What starts compose projects when a VPU boots.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Probed;

/// The template of the older generation, one instance a project.
pub const TEMPLATE: &str = "oem-dc@.service";

/// The service of the newer generation: it only starts dockerd at boot.
pub const SERVICE: &str = "oem-dc-autostart.service";

/// What starts compose projects when the VPU boots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autostart {
    /// State of `oem-dc@.service` where the firmware has it, in systemd's word: `disabled`,
    /// `indirect`, `masked`, …
    pub template: Option<String>,
    /// State of `oem-dc-autostart.service` where the firmware has it: `enabled`, `disabled`, …
    pub service: Option<String>,
    /// Instances of the template that this user enabled.
    pub enabled: BTreeSet<String>,
    /// Instances that root enabled for every user: this user cannot disable them.
    pub enabled_for_all: BTreeSet<String>,
    /// Whether this user's services run without a login; `None` where it cannot be told.
    pub lingering: Option<bool>,
    /// What matters of the units asked for, by instance.
    pub units: BTreeMap<String, Probed<Unit>>,
}

impl Autostart {
    /// The generation that is used. A firmware that has both starts a project by the older one.
    pub fn generation(&self) -> Option<Generation<'_>> {
        let older = self.template.as_deref().map(Generation::Units);
        older.or_else(|| self.service.as_deref().map(Generation::RestartPolicies))
    }

    /// Whether this user's unit of a project starts at boot: a link to a template that is gone or
    /// masked starts nothing, and cannot be disabled.
    pub fn starts(&self, project: &str) -> bool {
        let template = self.template.as_deref();
        template.is_some_and(|state| state != "masked") && self.enabled.contains(project)
    }

    /// Whether the instance of a project is enabled, by whomever.
    pub fn is_enabled(&self, project: &str) -> bool {
        self.enabled.contains(project) || self.enabled_for_all.contains(project)
    }
}

/// How a firmware starts projects, with the state of its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation<'a> {
    /// `oem-dc@NAME` runs docker-compose in the project's directory.
    Units(&'a str),
    /// `oem-dc-autostart` starts dockerd, which starts containers by their restart policy.
    RestartPolicies(&'a str),
}

/// What matters of a unit's text, drop-ins included; specifiers such as `%i` as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `WorkingDirectory=`; empty where it has none.
    pub working_directory: String,
    /// Every `ExecStart=`.
    pub exec_start: Vec<String>,
    /// `WantedBy=` and `RequiredBy=`: what starts it once it is enabled.
    pub wanted_by: BTreeSet<String>,
}
