//! What is known of a VPU: the facts that plans depend on, and readings that move by themselves.

mod answer;
mod autostart;
mod container_state;
mod containers;
mod document;
mod input;
mod query;
mod resolved;
mod store;
mod trees;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::{
    autostart::{Autostart, Generation, SERVICE, TEMPLATE, Unit},
    container_state::ContainerState,
    containers::{
        Attachment, Container, Mount, MountKind, Namespaces, Network, Pool, Published, Shown,
    },
    document::{Document, FORMAT},
    input::Input,
    query::{Query, READ_BY_COMPOSE},
    resolved::{AllResolved, Answer, Question, QuestionFile, Resolved},
    store::identify,
    trees::{Access, HIDDEN_STAGING, LARGE, Node, Other, Tree, TreeQuery, Trees},
};
use crate::{
    architecture::Architecture, blocks::BlockSums, compose::HostPort, digest::Digest,
    driver::Driver, speeds::Speeds,
};

/// A VPU's state as queried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// What plans depend on.
    pub facts: Facts,
    /// What changes over time; no step depends on it.
    pub readings: Readings,
}

/// A probe's answer. A failed probe is never taken for "absent".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probed<T> {
    /// The answer.
    Known(T),
    /// Why there is none.
    Unknown(String),
}

impl<T> Probed<T> {
    /// The answer, if there is one.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// The answer, or why there is none.
    pub fn as_result(&self) -> Result<&T, &str> {
        match self {
            Self::Known(value) => Ok(value),
            Self::Unknown(reason) => Err(reason),
        }
    }
}

impl<T, E: ToString> From<Result<T, E>> for Probed<T> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(error) => Self::Unknown(error.to_string()),
        }
    }
}

/// What plans depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The login: home directory, user, architecture.
    pub system: System,
    /// What the device's own API says.
    pub device: Probed<Device>,
    /// What to do about an API that does not answer as it should.
    pub device_help: Option<String>,
    /// The docker engine.
    pub docker: Probed<Docker>,
    /// docker-compose's version, e.g. `1.29.2`.
    pub compose: Probed<String>,
    /// What is at each path asked for, by the path as asked.
    pub paths: BTreeMap<String, Probed<PathFact>>,
    /// What is at the targets of transfers.
    #[serde(default, skip_serializing_if = "Trees::is_empty")]
    pub trees: Trees,
    /// Files in which parts of images arrive, left by an apply that was cut off, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arrived: BTreeMap<String, Arrived>,
    /// Volumes by name.
    pub volumes: Probed<BTreeMap<String, Volume>>,
    /// All images, dangling ones too, by docker's id.
    pub images: Probed<BTreeMap<String, Image>>,
    /// All containers, stopped ones too, by id.
    pub containers: Probed<BTreeMap<String, Container>>,
    /// All networks, docker's own ones too, by id.
    #[serde(default = "not_asked")]
    pub networks: Probed<BTreeMap<String, Network>>,
    /// Files in the directories of the projects asked for that docker-compose reads on its own, by project and
    /// name ([`READ_BY_COMPOSE`]); those that are not there are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub projects: BTreeMap<String, BTreeMap<String, Probed<PathFact>>>,
    /// What is at the paths of environment files asked for, by the path as asked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment_files: BTreeMap<String, Probed<PathFact>>,
    /// What docker-compose there makes of the files of projects, by project; those that it was asked about.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resolved: AllResolved,
    /// What earlier applies recorded.
    pub records: Probed<Records>,
    /// The ports that programs on the VPU listen on, docker's proxies for containers among them.
    #[serde(default = "not_asked")]
    pub listeners: Probed<BTreeSet<HostPort>>,
    /// What starts compose projects when the VPU boots.
    #[serde(default = "not_asked")]
    pub autostart: Probed<Autostart>,
}

/// For observations written by older versions.
fn not_asked<T>() -> Probed<T> {
    Probed::Unknown("it was not probed".to_owned())
}

/// A file in which a part of an image arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrived {
    /// Bytes that are there.
    pub bytes: u64,
    /// Their digest; `None` where the VPU has no tool to tell.
    pub sha256: Option<Digest>,
}

/// Who and what we are logged in to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// `$HOME`, absolute.
    pub home: String,
    /// `id -u`.
    pub uid: u32,
    /// Of the kernel.
    pub arch: Architecture,
    /// Kernel's boot id; empty where there is no /proc.
    pub boot_id: String,
    /// What docker and docker-compose read of the login's environment: `HOME`, `USER`, `COMPOSE_…`, `DOCKER_HOST`
    /// and the like, where they are set.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Of all that the login's environment sets but what is another in every session; `None` where the VPU has no
    /// tool to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_sha256: Option<Digest>,
    /// Why nothing can be kept in `~/.o3r-deploy`, where that is so: no apply could be locked or recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_refuses: Option<String>,
}

/// The device's identity, from its JSON configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `/device/info/name`.
    pub name: String,
    /// `/device/info/serialNumber`.
    pub serial: String,
    /// `/device/swVersion/firmware`, e.g. `1.4.30-5230`; firmware 0.13 says it as `os`.
    pub firmware: String,
    /// What is saved for the next boot, where it was asked for.
    #[serde(default)]
    pub saved: Option<Probed<Saved>>,
}

/// What the device saved for its next boot: pointers into its JSON configuration, and no values,
/// for keys are among them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The saved name; `None` where none is, and the next boot forgets the name.
    pub name: Option<String>,
    /// The pointers of all saved values.
    pub pointers: BTreeSet<String>,
    /// Those whose value now is another one: someone's temporary settings. Only looked for where
    /// the name has to be saved.
    pub differing: BTreeSet<String>,
    /// Those that are not there now: of a camera that is unplugged. Looked for likewise.
    pub missing: BTreeSet<String>,
}

/// The docker engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Docker {
    /// Server version, e.g. `20.10.24`.
    pub version: String,
    /// What it runs on.
    pub arch: Architecture,
    /// Whether images live in the containerd store, whose ids are not config digests.
    pub containerd_store: bool,
    /// Whether it is podman that answers, and to whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub podman: Option<Podman>,
    /// Names of the container runtimes, `runc` among them.
    #[serde(default)]
    pub runtimes: BTreeSet<String>,
}

/// How podman is behind docker's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Podman {
    /// Docker's own program asks podman's service, as docker-compose does.
    Service,
    /// The program `docker` is podman's: what docker-compose asks is something else.
    Program,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PathFact {
    /// Nothing.
    Missing,
    /// Nothing, and we may not make it.
    Unwritable {
        /// The nearest directory above it that is there.
        parent: String,
        /// Who that belongs to.
        uid: u32,
    },
    /// A directory, or a symbolic link to one.
    Directory {
        /// Permission bits, e.g. `0o775`.
        mode: u32,
        /// Owner.
        uid: u32,
    },
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Bytes.
        size: u64,
        /// Of the contents; `None` where the size alone already differs from the wanted one.
        sha256: Option<Digest>,
    },
    /// A symbolic link to something that is no directory, or to nothing.
    Link {
        /// Where it points, as it says so itself: absolute, or relative to its directory.
        target: String,
    },
    /// Something else: a device, a socket.
    Other,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// As created.
    pub driver: Driver,
    /// Driver options as created.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The release that created it, by our label.
    #[serde(default)]
    pub owner: Option<String>,
    /// The compose project that created it, by label.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// Its key in that project's compose file, by label.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Whether docker made it for a mount that names no volume: by its name of 64 hex digits, or by label.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `name:tag`s.
    pub tags: BTreeSet<String>,
    /// Diff ids of its layers, lowest first.
    pub layers: Vec<Digest>,
    /// What it is made for.
    pub arch: Architecture,
    /// `linux`.
    pub os: String,
}

/// What earlier applies recorded below `~/.o3r-deploy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// What each compose project's containers were started from.
    pub started: BTreeMap<String, Started>,
    /// The last record of each release, by the release's name.
    pub releases: BTreeMap<String, Release>,
    /// The anonymous volumes that containers of each release had when it was recorded, by the release's name; older
    /// versions recorded none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub anonymous_volumes: BTreeMap<String, Vec<AnonymousVolume>>,
    /// Marks of transfers that were moved since the last release was recorded: an apply was cut off.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub moved: BTreeSet<String>,
    /// Files that were put into projects' directories since, by project: an apply was cut off.
    #[serde(default)]
    pub added: BTreeMap<String, BTreeSet<String>>,
}

/// An anonymous volume, and the container that had it when a release was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnonymousVolume {
    /// The container's id.
    pub container: String,
    /// Compose project.
    pub project: String,
    /// Compose service.
    pub service: String,
    /// The container's number in the service, as its label says it: `1`.
    pub number: String,
    /// The directory that docker-compose ran in.
    pub working_dir: String,
    /// The id of the container's image.
    pub image: String,
    /// Where the container mounted the volume.
    pub destination: String,
    /// The volume's name, 64 hex digits.
    pub volume: String,
}

/// What a compose project's containers were started from, recorded after they came up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// What each of them was then; [`Input`] says of what kind that is.
    pub inputs: BTreeMap<Input, String>,
    /// The containers, by id.
    pub containers: BTreeSet<String>,
    /// docker-compose's hashes of their services' configurations; not recorded by older versions.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hashes: BTreeSet<String>,
    /// The boot in which they were started.
    pub boot_id: String,
}

/// One successful apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// `[release].version`.
    pub version: String,
    /// Digest over all that was declared.
    pub desired: Digest,
    /// The compose projects that it owns.
    #[serde(default)]
    pub projects: BTreeSet<String>,
    /// The projects whose autostart it, or a release before it, turned on.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub autostart: BTreeSet<String>,
    /// What each of them is made of: what a failed apply rolls back to.
    #[serde(default)]
    pub made: BTreeMap<String, Made>,
}

/// What a compose project is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Whether its containers are to run.
    pub running: bool,
    /// By input, as in [`Started`].
    pub inputs: BTreeMap<Input, String>,
}

/// What changes over time: free space, uptimes, measurements. No step depends on it; want of space blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Readings {
    /// Whole seconds since boot.
    pub uptime: u64,
    /// Seconds since 1970 by the VPU's clock.
    pub clock: Option<u64>,
    /// Bytes of the file system where `$HOME` is.
    pub home_total: Option<u64>,
    /// Free bytes there.
    pub home_free: Option<u64>,
    /// Bytes of the file system where docker keeps images.
    pub docker_total: Option<u64>,
    /// Free bytes there.
    pub docker_free: Option<u64>,
    /// Bytes of RAM.
    pub memory_total: Option<u64>,
    /// Bytes of RAM that a program could get.
    pub memory_available: Option<u64>,
    /// Free bytes where transfers go, by mount point.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub free: BTreeMap<String, u64>,
    /// How fast the VPU and the way to it are; not measured by looking.
    #[serde(flatten)]
    pub speeds: Speeds,
    /// Of large files of transfers that changed, what they are made of, by path; those that were asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blocks: BTreeMap<String, BlockSums>,
    /// Whether the zstd program is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zstd: bool,
    /// Whether a tool for sha256 is there.
    pub sha256_tool: bool,
    /// Containers' health, by id, where they have a health check.
    pub health: BTreeMap<String, String>,
    /// How often docker restarted a container by its policy, by id; those that it did.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub restarts: BTreeMap<String, u64>,
    /// Ids of the containers whose last run ended because memory was short.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub out_of_memory: BTreeSet<String>,
    /// Whole seconds since a running container was started, by id; no clock is involved that jumps.
    pub container_uptime: BTreeMap<String, u64>,
    /// Who applied the last release, and when, by the release's name.
    pub applied: BTreeMap<String, Applied>,
}

/// Who applied a release, and when, as the machine said that applied it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Applied {
    /// E.g. `2026-11-23T01:20:00Z`, by the clock of that machine; the VPU's lies.
    pub at: String,
    /// E.g. `user@machine`.
    pub by: String,
}
