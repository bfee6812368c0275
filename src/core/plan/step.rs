//! The types of a plan. Data only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Address, Command, Note, PayloadSource, ResourceKind, obstacle::BlockCode};
use crate::{
    architecture::Architecture,
    desired::{ManifestRef, Permits},
    digest::Digest,
    speeds::Speeds,
};

/// Everything that `apply` will do, in order, and why.
///
/// A plan leaves nothing to choose: every name, digest and argument is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Version of this document's format.
    pub format: u32,
    /// The program that made it, e.g. `o3r-deploy 0.1.0`.
    pub tool: String,
    /// The VPU that it was made for.
    pub vpu: Vpu,
    /// The manifest that it was made from.
    pub manifest: ManifestRef,
    /// Digest of the facts that it depends on.
    pub fingerprint: Digest,
    /// The steps, in the order in which `apply` runs them.
    pub steps: Vec<Step>,
    /// Resources that cannot be planned; while there is one, `apply` does nothing.
    pub blocked: Vec<Blocked>,
    /// Remarks that change nothing.
    pub notes: Vec<Note>,
    /// Measured throughput of the link and of the VPU.
    #[serde(default)]
    pub speeds: Speeds,
    /// Resources that o3r-deploy created and that no manifest declares any more.
    pub unmanaged: Vec<Address>,
    /// Resources that a rollback from this plan cannot restore although a release was recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_restorable: Vec<NotRestorable>,
    /// What the command line permitted beyond the manifest.
    #[serde(default, skip_serializing_if = "Permits::is_none")]
    pub permits: Permits,
    /// The watchdog that rolls back on the VPU if the apply falls silent while it changes what runs; null without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Watchdog>,
    /// How many steps and resources there are.
    pub summary: Summary,
}

/// The watchdog that rolls back on the VPU if an apply falls silent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Watchdog {
    /// The release that it rolls back.
    pub release: String,
    /// The version that is applied; empty if the manifest has none.
    #[serde(default)]
    pub version: String,
    /// Whether it also rolls back after a restart of the VPU.
    #[serde(default)]
    pub after_restart: bool,
    /// Seconds without a sign of life from the client after which it rolls back.
    pub seconds: u64,
}

/// A resource that a rollback cannot restore to the last recorded release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotRestorable {
    /// The resource.
    pub address: Address,
    /// Why.
    pub reason: String,
}

/// The VPU that a plan was made for. A value that could not be determined is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Vpu {
    /// Host name or address that was connected to.
    pub host: String,
    /// The device's name.
    pub name: String,
    /// Serial number.
    pub serial: String,
    /// Firmware version.
    pub firmware: String,
    /// Architecture of its processor, in docker's terms: `arm64`, `amd64`.
    #[schemars(with = "String")]
    pub arch: Architecture,
    /// Docker's version.
    pub docker: String,
    /// docker-compose's version.
    pub compose: String,
}

/// A running service whose containers a step replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Restart {
    /// The compose service.
    pub service: String,
    /// For how many milliseconds it was down the last time, if that was measured.
    pub milliseconds: Option<u64>,
}

/// One resource's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// The step's number, from 1.
    pub id: usize,
    /// The resource.
    pub address: Address,
    /// What happens to it.
    pub action: Action,
    /// When it runs.
    pub phase: Phase,
    /// Why it is needed.
    pub cause: Cause,
    /// Further reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_causes: Vec<Cause>,
    /// How it is done, if that matters, e.g. how much of an image is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Resources whose steps come first.
    pub depends_on: Vec<Address>,
    /// Where the resource is declared, e.g. `deploy.toml:12`.
    pub source: Option<String>,
    /// What happens to each file, if the resource consists of files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// The running services that it stops and starts again, of a compose project.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarts: Vec<Restart>,
    /// The commands that do it.
    pub actions: Vec<Command>,
    /// The same commands for people: scripts by name, without their bodies.
    pub commands: Vec<String>,
    /// Payload bytes that the step sends.
    pub bytes_to_send: u64,
    /// The commands that undo it if this or a later step fails. Each restores the resource to the last recorded
    /// release from any state, and may run twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<Command>,
    /// Whether `undo` runs even if this step was not reached, because the resource already differs from the last
    /// recorded release (an apply was interrupted, or someone changed it) or because an earlier step breaks it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rollback_always: bool,
}

impl Step {
    /// Whether this step records the release: a failure after it rolls nothing back.
    pub fn is_record(&self) -> bool {
        self.address.kind() == ResourceKind::Release
    }
}

/// One file's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The path relative to the resource; empty for the resource itself, ending in `/` for a directory.
    pub path: String,
    /// What happens.
    pub change: ChangeKind,
    /// The digest, size or mode on the VPU, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The desired digest, size or mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
}

/// What happens to a file.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is created.
    Added,
    /// Its content or kind changes.
    Changed,
    /// Its permissions change.
    Mode,
    /// It is deleted.
    Deleted,
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is created.
    Create,
    /// It is changed in place.
    Update,
    /// It is removed and recreated.
    Replace,
    /// It is removed.
    Remove,
    /// A command runs, and the resource itself stays.
    Run,
}

impl Action {
    /// Returns the verb that people read.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Remove => "remove",
            Self::Run => "run",
        }
    }
}

/// When a step runs: everything large or slow is staged before the first running container is touched.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Does not touch running containers.
    Stage,
    /// Changes what runs.
    Switch,
    /// Records and cleans up.
    Settle,
}

/// Why a step is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// The resource does not exist on the VPU.
    Missing,
    /// The resource exists and differs.
    Differs {
        /// The attribute that differs.
        attribute: String,
        /// The value on the VPU.
        found: String,
        /// The desired value.
        wanted: String,
    },
    /// A resource that it depends on changes.
    DependsOn {
        /// That resource.
        address: Address,
    },
    /// The manifest no longer declares the resource, or declares it absent.
    Undeclared,
}

impl Cause {
    /// Creates a cause from a difference.
    pub fn differs(
        attribute: impl Into<String>,
        found: impl Into<String>,
        wanted: impl Into<String>,
    ) -> Self {
        Self::Differs {
            attribute: attribute.into(),
            found: found.into(),
            wanted: wanted.into(),
        }
    }
}

/// A resource that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blocked {
    /// The resource.
    pub address: Address,
    /// The kind of reason.
    pub code: BlockCode,
    /// Why it cannot be planned.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

/// Counts: steps by action, and resources that need no step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "each is the action of that name")]
pub struct Summary {
    pub create: usize,
    pub update: usize,
    pub replace: usize,
    pub remove: usize,
    pub run: usize,
    /// Resources that match the manifest.
    pub unchanged: usize,
    /// Resources that cannot be planned.
    pub blocked: usize,
}

impl Plan {
    /// What a rollback of this plan restores, in words.
    pub fn way_back(&self) -> &'static str {
        if self.is_first_release() {
            "the previous state"
        } else {
            "the previous release"
        }
    }

    /// Whether the plan records a release that has no record yet: a rollback restores what is there now.
    pub fn is_first_release(&self) -> bool {
        self.first_release().is_some()
    }

    /// Returns the name of the release that the plan records, if it has no record yet.
    pub fn first_release(&self) -> Option<&str> {
        let mut steps = self.steps.iter();
        let first = steps.find(|step| step.is_record() && step.action == Action::Create)?;
        Some(first.address.name())
    }

    /// Whether the plan compares files of images with their sources, or repairs them.
    pub fn verifies_images(&self) -> bool {
        let commands = self.steps.iter().flat_map(|step| &step.actions);
        let mut payloads = commands.filter_map(|command| command.stdin.as_ref());
        payloads.any(|payload| {
            let source = &payload.source;
            matches!(
                source,
                PayloadSource::ImageFiles { .. } | PayloadSource::ImageSums { .. }
            )
        })
    }

    /// Whether there are no steps and no blocks.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.blocked.is_empty()
    }

    /// Whether this plan does the same to the same VPU as `other`, whatever the causes: a container
    /// that keeps crashing is observed in another state each time.
    pub fn does_the_same(&self, other: &Self) -> bool {
        let same = |(one, two): (&Step, &Step)| {
            one.address == two.address
                && one.action == two.action
                && one.phase == two.phase
                && one.actions == two.actions
                && one.undo == two.undo
        };
        self.vpu == other.vpu
            && self.manifest == other.manifest
            && self.blocked == other.blocked
            && self.steps.len() == other.steps.len()
            && self.steps.iter().zip(&other.steps).all(same)
    }

    /// Bytes of all payloads.
    pub fn bytes_to_send(&self) -> u64 {
        self.steps.iter().map(|step| step.bytes_to_send).sum()
    }

    /// Whether [`bytes_to_send`](Self::bytes_to_send) is an estimate.
    pub fn is_estimated(&self) -> bool {
        let commands = self.steps.iter().flat_map(|step| &step.actions);
        let mut payloads = commands.filter_map(|command| command.stdin.as_ref());
        payloads.any(|payload| payload.estimated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        offers::Offers,
        plan::{
            ResourceKind,
            builder::{Builder, Draft},
        },
        shell::Argv,
        testing,
    };

    #[test]
    fn plans_do_the_same_where_only_the_reasons_differ() {
        type Change = fn(&mut Plan);
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        for name in ["a", "b"] {
            let address = Address::new(ResourceKind::Volume, name);
            let draft = Draft::new(address, Action::Create, Phase::Stage, Cause::Missing);
            builder.step(draft.run([Command::new(Argv::new("echo"))]));
        }
        let plan = builder.finish("host");
        let is_same = |change: Change| {
            let mut other = plan.clone();
            change(&mut other);
            plan.does_the_same(&other)
        };
        assert!(is_same(|_| {}));
        assert!(is_same(
            |plan| plan.steps[1].cause = Cause::differs("state", "exited", "running")
        ));
        let changes: [(&str, Change); 9] = [
            ("vpu", |plan| plan.vpu.serial = "2".into()),
            ("manifest", |plan| plan.manifest.sha256 = "2".into()),
            ("fewer steps", |plan| drop(plan.steps.pop())),
            ("address", |plan| {
                plan.steps[1].address = plan.steps[0].address.clone();
            }),
            ("action", |plan| plan.steps[1].action = Action::Replace),
            ("phase", |plan| plan.steps[1].phase = Phase::Switch),
            ("commands", |plan| plan.steps[1].actions = vec![]),
            ("undo", |plan| {
                plan.steps[1].undo = plan.steps[1].actions.clone();
            }),
            ("blocked", |plan| {
                plan.blocked = vec![Blocked {
                    address: plan.steps[0].address.clone(),
                    code: BlockCode::PortTaken,
                    reason: String::new(),
                    remedy: String::new(),
                }];
            }),
        ];
        for (what, change) in changes {
            assert!(!is_same(change), "{what}");
        }
    }
}
