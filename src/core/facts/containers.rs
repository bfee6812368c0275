//! What docker shows of containers and networks: what they are compared by.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ContainerState;
use crate::{
    compose::{HostPort, Limits},
    driver::Driver,
    restart_policy::RestartPolicy,
};

/// A container, as `docker container inspect` shows it. Environment, command and user labels are not in it:
/// secrets may be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Without the leading `/`.
    pub name: String,
    /// Docker's id of the image that it was created from.
    pub image: String,
    /// The image as it was asked for, e.g. `app:1` (`.Config.Image`); empty where an older version observed.
    #[serde(default)]
    pub image_ref: String,
    /// What it does.
    pub status: ContainerState,
    /// Of the last run.
    pub exit_code: i64,
    /// When docker starts it again.
    pub restart_policy: RestartPolicy,
    /// Compose project, by label.
    #[serde(default)]
    pub project: String,
    /// Compose service, by label.
    #[serde(default)]
    pub service: String,
    /// The service's container number, by label; 0 where there is none.
    #[serde(default)]
    pub number: u32,
    /// Directory that compose ran in, by label.
    #[serde(default)]
    pub working_dir: String,
    /// The files that compose read, by label: comma-separated, relative to `working_dir` or absolute.
    #[serde(default)]
    pub config_files: String,
    /// docker-compose's own hash of the service's definition, by label, as 64 hex digits; empty where there is
    /// none.
    #[serde(default)]
    pub config_hash: String,
    /// Made by `docker-compose run`.
    #[serde(default)]
    pub one_off: bool,
    /// Names of the volumes that it mounts, anonymous ones too.
    #[serde(default)]
    pub volumes: BTreeSet<String>,
    /// What it mounts, by destination; without `tmpfs:`, which docker does not list.
    #[serde(default)]
    pub mounts: BTreeMap<String, Mount>,
    /// The networks that it is attached to, by name. A stopped container keeps the id of a network that is
    /// removed.
    #[serde(default)]
    pub networks: BTreeMap<String, Attachment>,
    /// Whose namespaces it uses.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// Names of the containers that it is linked to on docker's default network; docker keeps the containers
    /// themselves, whatever is called so later.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub links: BTreeSet<String>,
    /// How much of the VPU it may use.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// Whether it is on the VPU's own network: then docker does not know which ports it takes.
    #[serde(default)]
    pub host_network: bool,
    /// The ports that docker gives it on the VPU while it runs.
    #[serde(default)]
    pub ports: BTreeSet<HostPort>,
    /// All port bindings that it was created with, also those whose port docker chooses.
    #[serde(default)]
    pub published: BTreeSet<Published>,
}

/// A container's end of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network's id, 64 hex digits; empty for a container that was created and never started, on some
    /// versions of docker.
    pub id: String,
    /// Names that it has there, without the container's own id.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<String>,
}

/// Whose namespaces a container uses, in docker's words (`.HostConfig`): `host`, `private`, `shareable`,
/// `container:<64 hex digits>`, of a network also its name; empty means docker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    /// `.NetworkMode`.
    pub network: String,
    /// `.PidMode`.
    pub pid: String,
    /// `.IpcMode`.
    pub ipc: String,
}

impl Namespaces {
    /// The ids of the containers whose namespaces it uses.
    pub fn owners(&self) -> impl Iterator<Item = &str> {
        let modes = [&self.network, &self.pid, &self.ipc];
        modes
            .into_iter()
            .filter_map(|mode| mode.strip_prefix("container:"))
    }
}

/// What a container mounts at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Bind, volume or tmpfs.
    pub kind: MountKind,
    /// The volume's name; empty for a bind mount.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The path on the VPU; of a volume its directory in docker's own tree.
    pub source: String,
    /// Whether it may be written to.
    pub read_write: bool,
    /// Whether it is a volume that nobody named: docker made it for the image's `VOLUME`, or for a mount with a
    /// destination only. It holds data that no other container reaches.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
    /// Whether a running container still shows what is at `source`, or at the directory that the volume is bound
    /// to.
    #[serde(default, skip_serializing_if = "Shown::is_unknown")]
    pub shown: Shown,
}

/// What kind a mount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A path of the VPU.
    Bind,
    /// A volume of docker's.
    Volume,
    /// Memory.
    Tmpfs,
    /// Something else: a named pipe, a cluster volume, an image.
    #[serde(other)]
    Other,
}

/// Whether a container shows what is at a mount's source now. A directory or file that was removed and created
/// again, or that another one was renamed over, is another one: the container keeps the old one until it starts
/// again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// It shows what is there.
    Same,
    /// It shows something else: what was there when it was started.
    Stale,
    /// It cannot be told, or the container does not run.
    #[default]
    Unknown,
}

impl Shown {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

/// A port binding that a container was created with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// The container's own port in docker's words, e.g. `80/tcp`.
    pub container: String,
    /// The VPU's address; empty means all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The VPU's port; empty means that docker chooses one at each start.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub port: String,
}

/// A network of docker's, as `docker network inspect` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name; docker lets two networks have one.
    pub name: String,
    /// As created.
    pub driver: Driver,
    /// Compose project, by label.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// The key in the compose file, e.g. `default`, by label.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Driver options as created.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Address pools: those that docker chose, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<Pool>,
    /// `internal: true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
    /// Whether other containers may join a swarm's network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attachable: bool,
    /// `enable_ipv6: true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ipv6: bool,
    /// The driver that hands out addresses.
    #[serde(default, skip_serializing_if = "Driver::is_unknown")]
    pub ipam_driver: Driver,
    /// Its options as created.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ipam_options: BTreeMap<String, String>,
    /// Ids of the containers that are attached to it, stopped ones too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub used_by: BTreeSet<String>,
}

/// An address pool of a network; what is not set is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Pool {
    /// E.g. `172.18.0.0/16`.
    pub subnet: String,
    /// E.g. `172.18.0.1`.
    pub gateway: String,
    /// The part of the subnet that containers get addresses of.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub range: String,
}
