//! The types of a plan. Data only.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Address, Note, ResourceKind, obstacle::BlockCode};
use crate::{
    architecture::Architecture, desired::ManifestRef, digest::Digest, shell::Argv, speeds::Speeds,
};

/// Everything that `apply` will do, in order, and why.
///
/// A plan leaves nothing to choose: every name, digest and argument is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Version of this document's shape.
    pub format: u32,
    /// The program that made it, e.g. `o3r-deploy 0.1.0`.
    pub tool: String,
    /// The VPU that it was made for.
    pub vpu: Vpu,
    /// The manifest that it was made from.
    pub manifest: ManifestRef,
    /// Digest of the facts that it depends on.
    pub fingerprint: Digest,
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// What cannot be planned; while there is any, `apply` does nothing.
    pub blocked: Vec<Blocked>,
    /// What is worth knowing and changes nothing.
    pub notes: Vec<Note>,
    /// What was measured of the link and the VPU.
    #[serde(default)]
    pub speeds: Speeds,
    /// What carries our mark and no manifest declares any more.
    pub unmanaged: Vec<Address>,
    /// What a failure of this plan would not bring back, though a release was recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_restorable: Vec<NotRestorable>,
    /// What rolls back on the VPU if the apply falls silent while it changes what runs; null where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Watchdog>,
    /// Counts.
    pub summary: Summary,
}

/// What rolls back on the VPU if an apply falls silent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Watchdog {
    /// The release that it rolls back.
    pub release: String,
    /// After how many seconds without a sign of life of the client.
    pub seconds: u64,
}

/// A resource that cannot be made again what the last recorded release has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotRestorable {
    /// The resource.
    pub address: Address,
    /// Why.
    pub reason: String,
}

/// The VPU that a plan was made for. What could not be told is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Vpu {
    /// Host name or address as connected to.
    pub host: String,
    /// The device's name.
    pub name: String,
    /// Serial number.
    pub serial: String,
    /// Firmware version.
    pub firmware: String,
    /// What its processor is, in docker's word.
    #[schemars(with = "String")]
    pub arch: Architecture,
    /// Docker's version.
    pub docker: String,
    /// docker-compose's version.
    pub compose: String,
}

/// One resource's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// From 1, in order.
    pub id: usize,
    /// The resource.
    pub address: Address,
    /// What happens to it.
    pub action: Action,
    /// When.
    pub phase: Phase,
    /// Why.
    pub cause: Cause,
    /// Further reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_causes: Vec<Cause>,
    /// How it is done, where that is worth knowing, such as how much of an image is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Resources whose steps come first.
    pub depends_on: Vec<Address>,
    /// Where it is declared, e.g. `deploy.toml:12`.
    pub source: Option<String>,
    /// What happens to each file, where the resource is made of files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// The commands that do it.
    pub actions: Vec<Command>,
    /// The same for reading: scripts by name, without their bodies.
    pub commands: Vec<String>,
    /// Bytes of payload.
    pub bytes_to_send: u64,
    /// The commands that undo it if this or a later step fails: each makes the resource what
    /// the last recorded release has, whatever it is by then, and may run twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<Command>,
    /// Whether `undo` runs even where this step was not reached: for an apply was cut off or someone
    /// changed it, and it is not what the last recorded release has; or an earlier step breaks it.
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
    /// Below the resource's path; empty for the resource itself, ending in `/` for a directory.
    pub path: String,
    /// What happens.
    pub change: ChangeKind,
    /// The VPU's digest, size or mode, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The manifest's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
}

/// What happens to a file.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is not there and will be.
    Added,
    /// It is there with other contents, or is something else.
    Changed,
    /// It is there with other permissions.
    Mode,
    /// It goes.
    Deleted,
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is not there and will be.
    Create,
    /// It is there and changes in place.
    Update,
    /// It is removed and created again.
    Replace,
    /// It goes.
    Remove,
    /// Something runs.
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

/// When a step runs: whatever is big or slow is staged before the first running thing is touched.
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
    /// It is not there.
    Missing,
    /// It is there and differs.
    Differs {
        /// In what.
        attribute: String,
        /// The VPU's value.
        found: String,
        /// The manifest's value.
        wanted: String,
    },
    /// Another resource changes.
    DependsOn {
        /// That resource.
        address: Address,
    },
    /// The manifest does not declare it any more, or declares it absent.
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

/// One command on the VPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Command {
    /// What runs it; a shell where nothing is said.
    #[serde(default, skip_serializing_if = "Transport::is_shell")]
    pub transport: Transport,
    /// Its words.
    pub argv: Argv,
    /// What it reads; null for nothing.
    pub stdin: Option<Payload>,
    /// What is run if it fails: what needs nothing of the VPU and sends more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Box<Command>>,
}

/// What runs a command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Transport {
    /// The VPU's shell.
    #[default]
    Shell,
    /// The device's API: the words are a method and its parameters.
    DeviceApi {
        /// Its TCP port, as seen from the VPU itself.
        port: u16,
    },
}

impl Transport {
    /// Whether it is the shell.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn is_shell(&self) -> bool {
        *self == Self::Shell
    }
}

impl Command {
    /// Creates a shell command without standard input.
    pub fn new(argv: Argv) -> Self {
        Self {
            transport: Transport::Shell,
            argv,
            stdin: None,
            fallback: None,
        }
    }

    /// Creates a shell command that reads a payload.
    pub fn with(argv: Argv, stdin: Payload) -> Self {
        Self {
            stdin: Some(stdin),
            ..Self::new(argv)
        }
    }

    /// Creates a call of the device's API.
    pub fn device_api(port: u16, call: Argv) -> Self {
        Self {
            transport: Transport::DeviceApi { port },
            ..Self::new(call)
        }
    }

    /// Returns the text that people read: a script is shown
    /// by name and arguments, without its body.
    pub fn to_display(&self) -> String {
        let words = self.argv.to_display();
        match self.transport {
            Transport::Shell => words,
            Transport::DeviceApi { port } => format!("device-api:{port} {words}"),
        }
    }

    /// Adds a command that runs instead if this one fails.
    #[must_use]
    pub fn or_else(mut self, fallback: Self) -> Self {
        self.fallback = Some(Box::new(fallback));
        self
    }
}

/// What a command reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Payload {
    /// Where the bytes come from.
    pub source: PayloadSource,
    /// Digest of the bytes; of what is made while it is sent, of what it is made from.
    pub sha256: Digest,
    /// How many.
    pub bytes: u64,
    /// Whether that, and what parts have, is an estimate: layers are compressed while they are sent. Never in a plan
    /// that `plan` makes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// Of an image, the bytes that docker writes down of it, or of one part of it, before it unpacks them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spool_bytes: u64,
}

impl Payload {
    /// Creates a payload that is sent whole.
    pub fn new(source: PayloadSource, sha256: Digest, bytes: u64) -> Self {
        Self {
            source,
            sha256,
            bytes,
            estimated: false,
            spool_bytes: 0,
        }
    }

    /// Creates a payload whose text is in the plan itself.
    pub fn inline(text: String) -> Self {
        let (sha256, bytes) = (Digest::of(&text), text.len() as u64);
        Self::new(PayloadSource::Inline { text }, sha256, bytes)
    }

    /// Returns the parts in which it is sent; none if it is sent in one piece.
    pub fn parts(&self) -> &[Part] {
        match &self.source {
            PayloadSource::ImageParts { parts, .. } => parts,
            _ => &[],
        }
    }

    /// Returns the diff IDs of the layers of an image that are sent; `None` means all.
    pub fn layers(&self) -> Option<&BTreeSet<Digest>> {
        match &self.source {
            PayloadSource::Image { layers, .. } => layers.as_ref(),
            PayloadSource::ImageParts { layers, .. } | PayloadSource::ImageDelta { layers, .. } => {
                Some(layers)
            }
            _ => None,
        }
    }
}

/// Where a payload's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PayloadSource {
    /// A local file.
    File {
        /// Its path.
        path: String,
    },
    /// The plan itself; never a secret.
    Inline {
        /// The text.
        text: String,
    },
    /// The image that the manifest has under this name, as an archive that is made while it is sent.
    Image {
        /// The name.
        name: String,
        /// The diff ids of the layers in it; all of them where it says none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        layers: Option<BTreeSet<Digest>>,
    },
    /// The same in parts, in this order: each goes to a command of its own.
    ImageParts {
        /// The name.
        name: String,
        /// The diff ids of the layers in all of them.
        layers: BTreeSet<Digest>,
        /// The parts.
        parts: Vec<Part>,
    },
    /// What the VPU needs to build the image's archive from the files of an image that it has.
    ImageDelta {
        /// The name.
        name: String,
        /// The diff ids of the layers in the archive.
        layers: BTreeSet<Digest>,
        /// The id of the image there from whose files it is built.
        base: String,
    },
    /// A tar archive of files of transfers, made while it is sent.
    Files {
        /// The directory of the VPU that it is unpacked in.
        staging: String,
        /// The names in it: the transfer's number, from 0, and the path below it.
        members: Vec<String>,
    },
    /// The bytes that are new of a file, and a recipe: the VPU builds it from its old version.
    FilePatch {
        /// The directory of the VPU that it is built in.
        staging: String,
        /// The file: the transfer's number, from 0, and the path below it.
        member: String,
    },
}

/// A part of an image: loaded, it is an image of the lowest layers. It is sent while the part before it
/// is loaded, and loaded after that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// How many layers are there when it is loaded.
    pub layer_count: usize,
    /// The diff ids of the layers that are in it.
    pub layers: BTreeSet<Digest>,
    /// Bytes of its archive.
    pub bytes: u64,
    /// How many of them are on the VPU already, from an apply that was cut off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub received_bytes: u64,
    /// What puts the rest of the bytes into a file, where they do not go to `load` at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive: Option<Argv>,
    /// What loads it, from that file or from its standard input.
    pub load: Argv,
}

impl Part {
    /// Bytes still to send.
    pub fn bytes_to_send(&self) -> u64 {
        self.bytes.saturating_sub(self.received_bytes)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A resource that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blocked {
    /// The resource.
    pub address: Address,
    /// What kind of reason it is.
    pub code: BlockCode,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

/// Steps by action; `unchanged` counts resources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "each is the action of that name")]
pub struct Summary {
    pub create: usize,
    pub update: usize,
    pub replace: usize,
    pub remove: usize,
    pub run: usize,
    /// Resources that are as declared.
    pub unchanged: usize,
    /// Resources that cannot be planned.
    pub blocked: usize,
}

impl Plan {
    /// Whether the plan records a release that has no record yet: there is nothing to roll back to.
    pub fn is_first_release(&self) -> bool {
        let mut steps = self.steps.iter();
        steps.any(|step| step.is_record() && step.action == Action::Create)
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
