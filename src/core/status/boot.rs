//! Sums up what starts after a boot.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    facts::{self, Container, ContainerState, Generation},
    restart_policy::RestartPolicy,
};

/// What the firmware starts at boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Autostart {
    /// How it starts projects; null if it has nothing for that.
    pub by: Option<StartedBy>,
    /// Whether this user's services run without a login; null if it could not be determined.
    pub lingering: Option<bool>,
    /// Projects whose unit is enabled, no matter by whom, even if the project does not exist.
    pub enabled: BTreeSet<String>,
}

/// How a firmware starts projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StartedBy {
    /// A unit `oem-dc@NAME` starts each project.
    Units,
    /// `oem-dc-autostart` starts docker, and docker starts containers by their restart policies.
    RestartPolicies {
        /// Whether that service is enabled.
        enabled: bool,
    },
}

/// What of a project starts when the VPU boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AfterBoot {
    /// All of it.
    Starts,
    /// Some containers, by their restart policies.
    StartsInPart,
    /// Nothing.
    StaysDown,
}

/// Returns what was found of the firmware's autostart.
pub(super) fn autostart(found: &facts::Autostart) -> Autostart {
    let by = found.generation().map(|generation| match generation {
        Generation::Units(_) => StartedBy::Units,
        Generation::RestartPolicies(state) => StartedBy::RestartPolicies {
            enabled: state == "enabled",
        },
    });
    let all = found.enabled.union(&found.enabled_for_all);
    Autostart {
        by,
        lingering: found.lingering,
        enabled: all.cloned().collect(),
    }
}

/// Returns how much of a project starts; `None` if unknown.
pub(super) fn after_boot<'a>(
    project: &str,
    containers: impl Iterator<Item = &'a Container>,
    found: &facts::Autostart,
) -> Option<AfterBoot> {
    if by_unit(project, found)? {
        return Some(AfterBoot::Starts);
    }
    // Docker starts at boot, except on firmware whose newer service has to start it.
    let docker_starts = match found.generation() {
        Some(Generation::RestartPolicies(state)) => state == "enabled",
        Some(Generation::Units(_)) | None => true,
    };
    let (mut some, mut all) = (false, true);
    for container in containers.filter(|container| !container.one_off) {
        let policy = &container.restart_policy;
        let runs = matches!(
            container.status,
            ContainerState::Running | ContainerState::Restarting
        );
        // A stopped container stays stopped unless its policy is `always`.
        let comes =
            docker_starts && (*policy == RestartPolicy::Always || (runs && policy.survives_boot()));
        some |= comes;
        all &= comes;
    }
    Some(match (some, all) {
        (true, true) => AfterBoot::Starts,
        (true, false) => AfterBoot::StartsInPart,
        (false, _) => AfterBoot::StaysDown,
    })
}

/// Whether a unit starts the project; `None` if that depends on something unknown.
fn by_unit(project: &str, found: &facts::Autostart) -> Option<bool> {
    if found.enabled_for_all.contains(project) || found.starts(project) {
        // Without lingering, this user's systemd manager does not run until someone logs in.
        return found.lingering;
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Autostart as Found;

    fn container(policy: &str, status: &str) -> Container {
        Container {
            restart_policy: policy.into(),
            status: status.into(),
            ..Container::default()
        }
    }

    #[test]
    fn units_and_restart_policies_decide_what_starts_after_a_boot() {
        use AfterBoot::{Starts, StartsInPart, StaysDown};
        let units = |enabled: &[&str], lingering| Found {
            template: Some("indirect".into()),
            enabled: enabled.iter().map(ToString::to_string).collect(),
            lingering,
            ..Found::default()
        };
        let service = |state: &str| Found {
            service: Some(state.into()),
            lingering: Some(true),
            ..Found::default()
        };
        let (always, unless, no) = (
            container("always", "exited"),
            container("unless-stopped", "running"),
            container("no", "running"),
        );
        let stopped = container("unless-stopped", "exited");
        let one_off = Container {
            one_off: true,
            ..container("no", "exited")
        };
        for (found, containers, expected) in [
            (units(&["app"], Some(true)), vec![&no], Some(Starts)),
            (units(&["app"], Some(true)), vec![], Some(Starts)),
            (units(&["app"], None), vec![&no], None),
            (units(&["app"], Some(false)), vec![&no], Some(StaysDown)),
            (units(&["other"], Some(true)), vec![&no], Some(StaysDown)),
            (
                units(&[], Some(true)),
                vec![&unless, &no],
                Some(StartsInPart),
            ),
            (
                units(&[], Some(true)),
                vec![&unless, &one_off],
                Some(Starts),
            ),
            (service("enabled"), vec![&unless, &always], Some(Starts)),
            (service("enabled"), vec![&stopped], Some(StaysDown)),
            (service("disabled"), vec![&unless], Some(StaysDown)),
            (Found::default(), vec![&no], Some(StaysDown)),
        ] {
            let after = after_boot("app", containers.into_iter(), &found);
            assert_eq!(after, expected, "{found:?}");
        }
    }
}
