//! Sums up what was observed on a VPU, and how it differs from the manifest. Pure, like planning.

mod boot;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::boot::{AfterBoot, Autostart, StartedBy};
use crate::{
    facts::{self, Container, ContainerState, Facts, Observed, Readings},
    names::ImageRef,
    plan::{self, Action, Address, Blocked, Cause, Plan, Summary, Vpu},
};

/// The version of the status document's format.
const FORMAT: u32 = 1;

/// The state of a VPU: what is deployed, what runs, and what differs from the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of this document's format.
    pub format: u32,
    /// The program that made it, e.g. `o3r-deploy 0.1.0`.
    pub tool: String,
    /// The VPU. A value that could not be determined is empty.
    pub vpu: Vpu,
    /// Whole seconds since the VPU booted.
    pub uptime_seconds: u64,
    /// The deployed releases, sorted by name; null if they could not be determined.
    pub releases: Option<Vec<Release>>,
    /// The compose projects, sorted by name; one without a name has the containers of no project. Null if they could
    /// not be determined.
    pub projects: Option<Vec<Project>>,
    /// What the firmware starts at boot; null if it could not be determined.
    pub autostart: Option<Autostart>,
    /// Disk space on the VPU.
    pub disks: Vec<Disk>,
    /// RAM; null if it could not be determined.
    pub memory: Option<Memory>,
    /// The apply that runs now; null if none runs.
    #[serde(default)]
    pub applying: Option<facts::Applied>,
    /// Watchdogs that are armed or have rolled back since the last apply, by the release's name.
    #[serde(default)]
    pub watchdogs: BTreeMap<String, facts::Watchdog>,
    /// Applies that failed and were not rolled back, until the next one of the release ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedApply>,
    /// The images whose files were compared with their sources, by name; only those for which that was asked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub verified: BTreeMap<String, facts::Verified>,
    /// What differs from the manifest.
    pub drift: Drift,
    /// What could not be determined.
    pub unknown: Vec<Unknown>,
}

/// The last apply of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// `[release].name`.
    pub name: String,
    /// `[release].version`; empty if the manifest has none.
    pub version: String,
    /// When it was applied, by the clock of the machine that applied it; empty if unknown.
    pub at: String,
    /// Who applied it, e.g. `user@machine`; empty if unknown.
    pub by: String,
    /// Its compose projects.
    pub projects: Vec<String>,
    /// The compose projects that it removed (`state = "absent"`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}

/// An apply that failed and was not rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedApply {
    /// `[release].name`.
    pub release: String,
    /// The version that was to be deployed; empty if the manifest has none.
    pub version: String,
    /// When it began, by the clock of the machine that applied.
    pub at: String,
    /// Who applied, e.g. `user@machine`.
    pub by: String,
    /// The step that failed.
    pub step: Address,
}

/// A compose project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Project {
    /// Its name; empty for containers of no project.
    pub name: String,
    /// The release that deployed it; null if o3r-deploy did not.
    pub release: Option<String>,
    /// Whether an apply placed files of it and recorded no release, because it failed or was interrupted.
    #[serde(default)]
    pub incomplete: bool,
    /// Whether that release's record is gone, as after a firmware update that erased the home directory: names of its
    /// images tell that it deployed the project. The next apply rebuilds the record.
    #[serde(default)]
    pub unrecorded: bool,
    /// What of it starts when the VPU boots; null if it could not be determined.
    pub after_boot: Option<AfterBoot>,
    /// Its containers, sorted by name; empty if they were removed.
    pub containers: Vec<ContainerStatus>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Its compose service; empty for a container of no project.
    pub service: String,
    /// The name of its image, or the first digits of the image's ID if the image has no name any more.
    pub image: String,
    /// Its state in docker's terms: `running`, `exited`, `restarting`, …
    #[schemars(with = "String")]
    pub state: ContainerState,
    /// Exit code of its last run.
    pub exit_code: i64,
    /// Its health in docker's terms: `starting`, `healthy` or `unhealthy`; null without a health check.
    pub health: Option<String>,
    /// Whole seconds since it was started; null if it does not run.
    pub uptime_seconds: Option<u64>,
    /// How often docker restarted it since it was created or started by hand.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Seconds for which a container that docker restarted has to run to count as one that runs.
const RECOVERED: u64 = 60;

/// The condition of a container, as far as docker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It runs, its health check, if it has one, does not fail, and docker did not restart it just now.
    Runs,
    /// It does not run, which is not a failure: it exited with 0, or was never started.
    Ended,
    /// Anything else.
    Failing,
}

impl ContainerStatus {
    fn just_started(&self) -> bool {
        // One whose uptime is not known ended while it was looked at.
        self.uptime_seconds.is_none_or(|uptime| uptime < RECOVERED)
    }

    /// Returns the container's condition.
    pub fn condition(&self) -> Condition {
        match self.state {
            ContainerState::Running if self.health.as_deref() == Some("unhealthy") => {
                Condition::Failing
            }
            ContainerState::Running if self.restarts > 0 && self.just_started() => {
                Condition::Failing
            }
            ContainerState::Running => Condition::Runs,
            // Docker leaves a container that it could not start as created, with another exit code.
            ContainerState::Exited | ContainerState::Created if self.exit_code == 0 => {
                Condition::Ended
            }
            _ => Condition::Failing,
        }
    }
}

impl Status {
    /// Whether a container of a release fails: it ended with an error, is unhealthy, or docker restarted it just now.
    pub fn has_failing(&self) -> bool {
        let projects = self.projects.iter().flatten();
        let ours = projects.filter(|project| project.release.is_some());
        let mut containers = ours.flat_map(|project| &project.containers);
        containers.any(|container| container.condition() == Condition::Failing)
    }
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    /// What it holds: `home` or `docker`.
    pub holds: String,
    /// Size in bytes.
    pub total: u64,
    /// Free bytes.
    pub free: u64,
}

/// RAM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Size in bytes.
    pub total: u64,
    /// Bytes available to programs.
    pub available: u64,
}

/// What differs from the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Drift {
    /// The VPU was not compared with a manifest.
    Unknown {
        /// Why not.
        reason: String,
    },
    /// The VPU was compared with a manifest.
    Known {
        /// The manifest's path.
        manifest: String,
        /// The manifest's release, if it was not deployed on this VPU before; else null.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_deployed: Option<String>,
        /// How many steps and resources there are.
        summary: Summary,
        /// The steps that `apply` would run.
        changes: Vec<Change>,
        /// Resources that cannot be planned.
        blocked: Vec<Blocked>,
    },
}

/// A step that `apply` would run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// What would happen to the resource.
    pub action: Action,
    /// The resource.
    pub address: Address,
    /// Why the step is needed, as in a plan.
    pub causes: Vec<Cause>,
}

/// A part of the VPU's state that could not be determined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unknown {
    /// The part, e.g. `containers`.
    pub what: String,
    /// Why it could not be determined.
    pub reason: String,
}

/// Returns the status without failed applies, which are not observed; `plan` is the plan for what was observed, or the
/// reason why there is none.
pub fn status(host: &str, observed: &Observed, plan: Result<&Plan, String>) -> Status {
    let Observed { facts, readings } = observed;
    Status {
        format: FORMAT,
        tool: concat!("o3r-deploy ", env!("CARGO_PKG_VERSION")).to_owned(),
        vpu: plan::vpu(facts, host),
        uptime_seconds: readings.uptime,
        releases: releases(observed),
        projects: projects(observed),
        autostart: facts.autostart.known().map(boot::autostart),
        disks: disks(readings),
        memory: readings
            .memory_total
            .zip(readings.memory_available)
            .map(|(total, available)| Memory { total, available }),
        applying: readings.applying.clone(),
        watchdogs: readings.watchdogs.clone(),
        failed: vec![],
        verified: verified(facts),
        drift: match plan {
            Ok(plan) => drift(plan, facts),
            Err(reason) => Drift::Unknown { reason },
        },
        unknown: unknown(facts),
    }
}

fn verified(facts: &Facts) -> BTreeMap<String, facts::Verified> {
    let verified = facts.verified.iter();
    let verified =
        verified.filter_map(|(name, found)| Some((name.clone(), found.known()?.clone())));
    verified.collect()
}

fn releases(observed: &Observed) -> Option<Vec<Release>> {
    let records = observed.facts.records.known()?;
    let releases = records.releases.iter().map(|(name, release)| {
        let applied = observed.readings.applied.get(name).cloned();
        let applied = applied.unwrap_or_default();
        Release {
            name: name.clone(),
            version: release.version.clone(),
            at: applied.at,
            by: applied.by,
            projects: release.projects.iter().cloned().collect(),
            removed: release.removed.iter().cloned().collect(),
        }
    });
    Some(releases.collect())
}

fn projects(observed: &Observed) -> Option<Vec<Project>> {
    let Observed { facts, readings } = observed;
    let containers = facts.containers.known()?;
    let records = facts.records.known();
    let releases = records.into_iter().flat_map(|records| &records.releases);
    let recorded = releases.flat_map(|(_, release)| &release.projects);
    let owners: BTreeMap<&str, &str> = recorded
        .filter_map(|project| Some((project.as_str(), observed.owner(project)?)))
        .collect();
    let mut projects: BTreeMap<&str, Vec<ContainerStatus>> =
        owners.keys().map(|project| (*project, vec![])).collect();
    for (id, container) in containers {
        let status = container_status(id, container, facts, readings);
        let project = projects.entry(&container.project).or_default();
        project.push(status);
    }
    let unrecorded = plan::unrecorded(facts);
    let projects = projects.into_iter().map(|(name, mut containers)| {
        containers.sort_by(|one, two| one.name.cmp(&two.name));
        let owner = owners.get(name).copied();
        let is_added = records.is_some_and(|records| records.added.contains_key(name));
        let incomplete = owner.is_none() && is_added;
        let unrecorded = unrecorded.get(name).copied();
        let unrecorded = unrecorded.filter(|_| owner.is_none() && !incomplete);
        let release = owner.or(unrecorded).map(str::to_owned);
        Project {
            name: name.to_owned(),
            incomplete,
            unrecorded: unrecorded.is_some(),
            release,
            after_boot: after_boot(name, facts),
            containers,
        }
    });
    Some(projects.collect())
}

/// Returns what starts after a boot; `None` for containers of no project, which no unit starts and
/// which each have their own policy.
fn after_boot(project: &str, facts: &Facts) -> Option<AfterBoot> {
    let (found, containers) = (facts.autostart.known()?, facts.containers.known()?);
    let own = containers
        .values()
        .filter(|container| container.project == project);
    let known = !project.is_empty();
    known.then(|| boot::after_boot(project, own, found))?
}

fn container_status(
    id: &str,
    container: &Container,
    facts: &Facts,
    readings: &Readings,
) -> ContainerStatus {
    ContainerStatus {
        name: container.name.clone(),
        service: container.service.clone(),
        image: image_name(container, facts),
        state: container.status.clone(),
        exit_code: container.exit_code,
        health: readings.health.get(id).cloned(),
        uptime_seconds: readings.container_uptime.get(id).copied(),
        restarts: readings.restarts.get(id).copied().unwrap_or_default(),
    }
}

/// Returns a container's image as shown to people: the name that it
/// was created from, if the image still has it; otherwise another
/// name that o3r-deploy did not give; otherwise the start of its ID.
fn image_name(container: &Container, facts: &Facts) -> String {
    let id = &container.image;
    let images = facts.images.known();
    let image = images.and_then(|images| images.get(id));
    let tags = image.into_iter().flat_map(|image| &image.tags);
    let created_from: Option<ImageRef> = container.image_ref.parse().ok();
    let created_from = created_from.map(|name| name.canonical());
    let (of_creation, others): (Vec<&String>, Vec<&String>) = tags
        .filter(|tag| !tag.starts_with("o3r-deploy/"))
        .partition(|tag| created_from.as_ref() == Some(tag));
    let name = of_creation.into_iter().chain(others).next();
    name.cloned().unwrap_or_else(|| {
        let hex = id.strip_prefix("sha256:").unwrap_or(id);
        hex.chars().take(12).collect()
    })
}

fn disks(readings: &Readings) -> Vec<Disk> {
    let disks = [
        ("home", &readings.home_disk),
        ("docker", &readings.docker_disk),
    ];
    disks
        .into_iter()
        .filter_map(|(holds, disk)| {
            let disk = disk.as_ref()?;
            Some(Disk {
                holds: holds.to_owned(),
                total: disk.total,
                free: disk.free,
            })
        })
        .collect()
}

fn drift(plan: &Plan, facts: &Facts) -> Drift {
    let unrecorded = plan::unrecorded(facts);
    let is_deployed = |name: &str| unrecorded.values().any(|release| *release == name);
    let changes = plan.steps.iter().map(|step| Change {
        action: step.action,
        address: step.address.clone(),
        causes: std::iter::once(&step.cause)
            .chain(&step.further_causes)
            .cloned()
            .collect(),
    });
    // Images are not prepared for a status, so the sizes of payloads are not known.
    let space = plan::space::address();
    let blocked = plan.blocked.iter().filter(|b| b.address != space);
    let blocked: Vec<Blocked> = blocked.cloned().collect();
    let mut summary = plan.summary;
    summary.blocked = summary
        .blocked
        .saturating_sub(plan.blocked.len() - blocked.len());
    Drift::Known {
        manifest: plan.manifest.path.clone(),
        not_deployed: plan
            .first_release()
            .filter(|name| !is_deployed(name))
            .map(str::to_owned),
        summary,
        changes: changes.collect(),
        blocked,
    }
}

fn unknown(facts: &Facts) -> Vec<Unknown> {
    let answers = [
        ("device", facts.device.as_result().map(drop)),
        ("docker", facts.docker.as_result().map(drop)),
        ("docker-compose", facts.compose.as_result().map(drop)),
        ("containers", facts.containers.as_result().map(drop)),
        ("images", facts.images.as_result().map(drop)),
        ("volumes", facts.volumes.as_result().map(drop)),
        ("records", facts.records.as_result().map(drop)),
        ("autostart", facts.autostart.as_result().map(drop)),
    ];
    let unknown = |what: String, answer: Result<(), &str>| {
        let reason = answer.err()?.to_owned();
        Some(Unknown { what, reason })
    };
    let answers = answers.into_iter();
    let answers = answers.filter_map(|(what, answer)| unknown(what.to_owned(), answer));
    let verified = facts.verified.iter();
    let verified = verified.filter_map(|(name, found)| {
        unknown(format!("the files of {name}"), found.as_result().map(drop))
    });
    let doubted = facts.system.load_interrupted && facts.verified.is_empty();
    let doubted = doubted.then(|| Unknown {
        what: "the files of images".to_owned(),
        reason: "in doubt after a power cut; compare them with: o3r-deploy status --verify"
            .to_owned(),
    });
    answers.chain(verified).chain(doubted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_of_others_do_not_make_a_release_fail() {
        let container = ContainerStatus {
            name: "web".into(),
            service: "web".into(),
            image: "web:1".into(),
            state: ContainerState::Exited,
            exit_code: 3,
            health: None,
            uptime_seconds: None,
            restarts: 0,
        };
        let project = |release: Option<&str>| Project {
            name: "web".into(),
            release: release.map(str::to_owned),
            incomplete: false,
            unrecorded: false,
            after_boot: None,
            containers: vec![container.clone()],
        };
        let fails = |release| {
            let reason = Err("no manifest".to_owned());
            let mut status = status("vpu", &crate::testing::observed(), reason);
            status.projects = Some(vec![project(release)]);
            status.has_failing()
        };
        assert!(fails(Some("web")));
        assert!(!fails(None));
    }

    #[test]
    fn a_container_that_docker_just_restarted_fails() {
        let condition = |restarts, uptime| {
            let container = ContainerStatus {
                name: "web".into(),
                service: "web".into(),
                image: "web:1".into(),
                state: ContainerState::Running,
                exit_code: 0,
                health: None,
                uptime_seconds: Some(uptime),
                restarts,
            };
            container.condition()
        };
        assert_eq!(condition(0, 3), Condition::Runs);
        assert_eq!(condition(4, 3), Condition::Failing);
        assert_eq!(condition(4, RECOVERED), Condition::Runs);
    }
}
