//! Defines what is observed of a VPU: facts that plans depend on, and readings that change all the
//! time.

mod answer;
mod autostart;
mod container_state;
mod containers;
mod disk;
mod document;
mod former;
mod input;
mod query;
mod readings;
mod records;
mod resolved;
mod store;
mod trees;
mod verified;
mod watchdog;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::{
    autostart::{Autostart, Generation, SERVICE, TEMPLATE, Unit},
    container_state::ContainerState,
    containers::{
        Attachment, Container, Mount, MountKind, Namespaces, Network, Pool, Published, Shown,
    },
    disk::Disk,
    document::{Document, FORMAT},
    former::{Data, Former, Undeclared},
    input::Input,
    query::{Query, READ_BY_COMPOSE},
    readings::{Applied, Readings},
    records::{AnonymousVolume, Keep, Left, Made, Records, Release, Started},
    resolved::{AllResolved, Answer, Question, QuestionFile, Resolved},
    store::identify,
    trees::{ANY_SIZE, Access, HIDDEN_STAGING, LARGE, Node, Other, Tree, TreeQuery, Trees},
    verified::{Damage, DamagedFile, Verified},
    watchdog::{NotRestored, Verdict, Watchdog},
};
use crate::{architecture::Architecture, compose::HostPort, digest::Digest, driver::Driver};

/// The observed state of a VPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// What plans depend on.
    pub facts: Facts,
    /// Values that change over time; no step depends on them.
    pub readings: Readings,
}

impl Observed {
    /// Returns the recorded release that a compose project belongs to. Of two that have it, as older versions left them, it
    /// is the one that was applied last.
    pub fn owner(&self, project: &str) -> Option<&str> {
        owner(&self.facts, &self.readings.applied, project)
    }
}

/// See [`Observed::owner`].
pub(crate) fn owner<'a>(
    facts: &'a Facts,
    applied: &BTreeMap<String, Applied>,
    project: &str,
) -> Option<&'a str> {
    let releases = facts.records.known()?.releases.iter();
    let owners = releases.filter(|(_, release)| release.projects.contains(project));
    let at = |name: &String| applied.get(name).map(|applied| &applied.at);
    let (owner, _) = owners.max_by_key(|(name, _)| at(name))?;
    Some(owner)
}

/// The answer of a probe. A failed probe never counts as "absent".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probed<T> {
    /// The answer.
    Known(T),
    /// The reason why there is none.
    Unknown(String),
}

impl<T> Probed<T> {
    /// The answer, if it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// The answer, or the reason why there is none.
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
    /// What the device's own API reports.
    pub device: Probed<Device>,
    /// What to do if the API does not answer as expected.
    pub device_help: Option<String>,
    /// The docker engine.
    pub docker: Probed<Docker>,
    /// docker-compose's version, e.g. `1.29.2`.
    pub compose: Probed<String>,
    /// The state of each queried path, by the path as queried.
    pub paths: BTreeMap<String, Probed<PathFact>>,
    /// The state of the targets of transfers.
    #[serde(default, skip_serializing_if = "Trees::is_empty")]
    pub trees: Trees,
    /// Partly received parts of images that an interrupted apply left, by file name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arrived: BTreeMap<String, Arrived>,
    /// Volumes by name.
    pub volumes: Probed<BTreeMap<String, Volume>>,
    /// All images, including dangling ones, by docker's ID.
    pub images: Probed<BTreeMap<String, Image>>,
    /// The names of images that docker lists and cannot inspect, and that no container uses, by docker's ID: a power cut
    /// damaged their layers. They count as missing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unusable_images: BTreeMap<String, BTreeSet<String>>,
    /// All containers, including stopped ones, by ID.
    pub containers: Probed<BTreeMap<String, Container>>,
    /// All networks, including docker's own, by ID.
    #[serde(default = "not_asked")]
    pub networks: Probed<BTreeMap<String, Network>>,
    /// Files that docker-compose reads on its own in the directories of the queried projects, by
    /// project and name ([`READ_BY_COMPOSE`]); missing files are omitted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub projects: BTreeMap<String, BTreeMap<String, Probed<PathFact>>>,
    /// The state of the paths of the queried environment files, by the path as queried.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment_files: BTreeMap<String, Probed<PathFact>>,
    /// The projects as docker-compose on the VPU resolves them, by project; only those it was asked
    /// about.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resolved: AllResolved,
    /// The records of earlier applies.
    pub records: Probed<Records>,
    /// Contents of files that the VPU keeps whole, of those that were asked for: for a rollback to a release that it
    /// keeps.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kept: BTreeSet<Digest>,
    /// Paths of files of the recorded release that neither are there nor are kept, of those that the plan changes: a
    /// rollback cannot restore them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lost_files: BTreeSet<String>,
    /// What the recorded release has that the desired state does not declare.
    #[serde(default, skip_serializing_if = "Undeclared::is_none")]
    pub undeclared: Undeclared,
    /// What is in directories (by absolute path) and in docker's own volumes (by name) that are no longer declared; missing
    /// ones are omitted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, Data>,
    /// The files of images on the VPU's disk, compared with their sources, by the declared name of the image; empty
    /// unless that was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub verified: BTreeMap<String, Probed<Verified>>,
    /// The ports on which programs on the VPU listen, including docker's proxies for containers.
    #[serde(default = "not_asked")]
    pub listeners: Probed<BTreeSet<HostPort>>,
    /// What starts compose projects when the VPU boots.
    #[serde(default = "not_asked")]
    pub autostart: Probed<Autostart>,
}

impl Facts {
    /// Returns the image of this name, `name:tag`, with the digest of its configuration.
    pub fn image_named(&self, name: &str) -> Option<(Digest, &Image)> {
        let mut images = self.images.known()?.iter();
        let (id, image) = images.find(|(_, image)| image.tags.contains(name))?;
        Some((id.parse().ok()?, image))
    }
}

/// For observations of older versions.
fn not_asked<T>() -> Probed<T> {
    Probed::Unknown("the VPU was not asked about it".to_owned())
}

/// A partly received part of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrived {
    /// Bytes that have arrived.
    pub bytes: u64,
    /// Their digest; `None` if the VPU has no tool to compute it.
    pub sha256: Option<Digest>,
}

/// The login and the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// `$HOME`, absolute.
    pub home: String,
    /// `id -u`.
    pub uid: u32,
    /// Architecture of the kernel.
    pub arch: Architecture,
    /// The kernel's boot ID; empty if there is no /proc.
    pub boot_id: String,
    /// Whether the VPU lost power or was restarted while docker loaded an image, or docker cannot inspect an image that it
    /// lists: layers may have damaged files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub load_interrupted: bool,
    /// The variables of the login's environment that docker and docker-compose read, if they are
    /// set: `HOME`, `USER`, `COMPOSE_…`, `DOCKER_HOST` and others.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Digest of the login's whole environment except variables that differ in every session;
    /// `None` if the VPU has no tool to compute it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_sha256: Option<Digest>,
    /// Why `~/.o3r-deploy` cannot be written, if so: no apply could lock the VPU or record a
    /// release.
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
    /// `/device/swVersion/firmware`, e.g. `1.4.30-5230`; firmware 0.13 has it as `os`.
    pub firmware: String,
    /// What is saved for the next boot, if queried.
    #[serde(default)]
    pub saved: Option<Probed<Saved>>,
    /// The declared settings, by JSON pointer; none, if what is saved is unknown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Setting>,
}

/// A setting of the device's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The current value; `None` if the device does not have it, or has an object there.
    pub now: Option<serde_json::Value>,
    /// The value that is saved for the next boot.
    pub saved: Option<serde_json::Value>,
    /// Whether it is no setting: nothing can be set or saved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Why the device would reject the desired value, by its schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What the device saved for its next boot: pointers into its JSON configuration, without values,
/// because keys are among them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The saved name; if `None`, the next boot loses the name.
    pub name: Option<String>,
    /// The pointers of all saved values.
    pub pointers: BTreeSet<String>,
    /// Pointers whose current value differs: someone's temporary settings. Only probed if the name
    /// must be saved.
    pub differing: BTreeSet<String>,
    /// Pointers that do not exist now, such as those of an unplugged camera. Only probed if the
    /// name must be saved.
    pub missing: BTreeSet<String>,
}

/// The docker engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Docker {
    /// Server version, e.g. `20.10.24`.
    pub version: String,
    /// The architecture of the server.
    pub arch: Architecture,
    /// Whether the engine uses the containerd image store, whose IDs are not config digests.
    pub containerd_store: bool,
    /// Whether podman answers in place of docker, and to which program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub podman: Option<Podman>,
    /// Names of the container runtimes, including `runc`.
    #[serde(default)]
    pub runtimes: BTreeSet<String>,
}

/// Where podman takes docker's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Podman {
    /// Podman's service: docker's own program and docker-compose both talk to it.
    Service,
    /// The program `docker` is podman's, and docker-compose talks to another engine.
    Program,
}

/// The state of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PathFact {
    /// Nothing.
    Missing,
    /// Nothing, and we may not create it.
    Unwritable {
        /// The nearest existing directory above it.
        parent: String,
        /// Owner of that directory.
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
        /// Digest of the content; `None` if the size already differs from the expected one.
        sha256: Option<Digest>,
    },
    /// A symbolic link to anything but a directory, or to nothing.
    Link {
        /// The link's target as written: absolute, or relative to its directory.
        target: String,
    },
    /// Anything else: a device, a socket.
    Other,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The driver that it was created with.
    pub driver: Driver,
    /// The driver options that it was created with.
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
    /// Whether docker created it for a mount without a volume name: by its name of 64 hex digits,
    /// or by label.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `name:tag`s.
    pub tags: BTreeSet<String>,
    /// Diff IDs of its layers, lowest first.
    pub layers: Vec<Digest>,
    /// The architecture that it is built for.
    pub arch: Architecture,
    /// Operating system: `linux`.
    pub os: String,
}
