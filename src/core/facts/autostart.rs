//! Describes what starts compose projects when a VPU boots.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Probed;

/// The template of the older firmware generation, with one instance for each project.
pub const TEMPLATE: &str = "oem-dc@.service";

/// The service of the newer firmware generation: it only starts dockerd at boot.
pub const SERVICE: &str = "oem-dc-autostart.service";

/// What starts compose projects when the VPU boots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autostart {
    /// State of `oem-dc@.service`, if the firmware has it, in systemd's terms: `disabled`,
    /// `indirect`, `masked`, …
    pub template: Option<String>,
    /// State of `oem-dc-autostart.service`, if the firmware has it: `enabled`, `disabled`, …
    pub service: Option<String>,
    /// Instances of the template that this user enabled.
    pub enabled: BTreeSet<String>,
    /// Instances that root enabled for all users; this user cannot disable them.
    pub enabled_for_all: BTreeSet<String>,
    /// Whether this user's services run without a login; `None` if it could not be determined.
    pub lingering: Option<bool>,
    /// The relevant settings of the queried units, by instance.
    pub units: BTreeMap<String, Probed<Unit>>,
}

impl Autostart {
    /// The generation in use. A firmware that has both starts projects by the older one.
    pub fn generation(&self) -> Option<Generation<'_>> {
        let older = self.template.as_deref().map(Generation::Units);
        older.or_else(|| self.service.as_deref().map(Generation::RestartPolicies))
    }

    /// Whether this user's unit of a project starts at boot. A link to a missing or masked template
    /// starts nothing and cannot be disabled.
    pub fn starts(&self, project: &str) -> bool {
        let template = self.template.as_deref();
        template.is_some_and(|state| state != "masked") && self.enabled.contains(project)
    }

    /// Whether the instance of a project is enabled, by this user or by root.
    pub fn is_enabled(&self, project: &str) -> bool {
        self.enabled.contains(project) || self.enabled_for_all.contains(project)
    }
}

/// How a firmware starts projects, with the state of the unit involved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation<'a> {
    /// `oem-dc@NAME` runs docker-compose in the project's directory.
    Units(&'a str),
    /// `oem-dc-autostart` starts dockerd, which starts containers by their restart policy.
    RestartPolicies(&'a str),
}

/// The relevant settings of a unit, including drop-ins; specifiers such as `%i` are not expanded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `WorkingDirectory=`; empty if not set.
    pub working_directory: String,
    /// Every `ExecStart=`.
    pub exec_start: Vec<String>,
    /// `WantedBy=` and `RequiredBy=`: the units that start it once it is enabled.
    pub wanted_by: BTreeSet<String>,
}
