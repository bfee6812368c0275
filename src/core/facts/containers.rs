//! Describes containers and networks by what docker reports and plans compare.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ContainerState;
use crate::{
    compose::{HostPort, Limits},
    driver::Driver,
    restart_policy::RestartPolicy,
};

/// A container as `docker container inspect` shows it, without environment, command and user
/// labels, because they may contain secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Name without the leading `/`.
    pub name: String,
    /// Docker's ID of the image that it was created from.
    pub image: String,
    /// The image name that it was created with, e.g. `app:1` (`.Config.Image`); empty in
    /// observations of older versions.
    #[serde(default)]
    pub image_ref: String,
    /// Its state.
    pub status: ContainerState,
    /// Exit code of the last run.
    pub exit_code: i64,
    /// When docker restarts it.
    pub restart_policy: RestartPolicy,
    /// Compose project, by label.
    #[serde(default)]
    pub project: String,
    /// Compose service, by label.
    #[serde(default)]
    pub service: String,
    /// The service's container number, by label; 0 if it has none.
    #[serde(default)]
    pub number: u32,
    /// Directory that compose ran in, by label.
    #[serde(default)]
    pub working_dir: String,
    /// The files that compose read, by label: comma-separated, relative to `working_dir` or
    /// absolute.
    #[serde(default)]
    pub config_files: String,
    /// docker-compose's own hash of the service's definition, by label, as 64 hex digits; empty if
    /// it has none.
    #[serde(default)]
    pub config_hash: String,
    /// Whether `docker-compose run` created it.
    #[serde(default)]
    pub one_off: bool,
    /// Names of the volumes that it mounts, including anonymous ones.
    #[serde(default)]
    pub volumes: BTreeSet<String>,
    /// Its mounts by destination, without `tmpfs:`, which docker does not list.
    #[serde(default)]
    pub mounts: BTreeMap<String, Mount>,
    /// The networks that it is attached to, by name. A stopped container keeps the ID of a network
    /// that is removed.
    #[serde(default)]
    pub networks: BTreeMap<String, Attachment>,
    /// The namespaces that it shares.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// Names of the containers that it is linked to on docker's default network. Docker keeps the
    /// link to the container itself, even if another one gets its name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub links: BTreeSet<String>,
    /// Its resource limits.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// Whether it uses the VPU's own network; docker then does not know its ports.
    #[serde(default)]
    pub host_network: bool,
    /// The VPU's ports that docker publishes for it while it runs.
    #[serde(default)]
    pub ports: BTreeSet<HostPort>,
    /// All port bindings that it was created with, including those whose port docker chooses.
    #[serde(default)]
    pub published: BTreeSet<Published>,
}

/// The attachment of a container to a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network's ID, 64 hex digits. Empty for a container that was created but never started,
    /// with some versions of docker.
    pub id: String,
    /// Its names on that network, without the container's own ID.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<String>,
}

/// The namespaces that a container shares, in docker's terms (`.HostConfig`): `host`, `private`,
/// `shareable`, `container:<64 hex digits>`, for the network also its name; empty means docker's
/// default.
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
    /// The IDs of the containers whose namespaces it shares.
    pub fn owners(&self) -> impl Iterator<Item = &str> {
        let modes = [&self.network, &self.pid, &self.ipc];
        modes
            .into_iter()
            .filter_map(|mode| mode.strip_prefix("container:"))
    }
}

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Bind, volume or tmpfs.
    pub kind: MountKind,
    /// The volume's name; empty for a bind mount.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The path on the VPU; for a volume, its directory in docker's data directory.
    pub source: String,
    /// Whether it is writable.
    pub read_write: bool,
    /// Whether it is a volume without a name: docker created it for the image's `VOLUME` or for a
    /// mount with only a destination. No other container has access to its data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
    /// Whether a running container still shows the content of `source`, or of the directory that
    /// the volume is bound to.
    #[serde(default, skip_serializing_if = "Shown::is_unknown")]
    pub shown: Shown,
}

/// The kind of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A path on the VPU.
    Bind,
    /// A docker volume.
    Volume,
    /// Memory.
    Tmpfs,
    /// Another kind: a named pipe, a cluster volume, an image.
    #[serde(other)]
    Other,
}

/// Whether a container shows the current content of a mount's source. If a directory or file is
/// removed and created again, or another one is renamed over it, a container keeps showing the old
/// one until it is restarted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// The current content.
    Same,
    /// Other content: what was there when it was started.
    Stale,
    /// Could not be determined, or the container does not run.
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
    /// The container's own port in docker's notation, e.g. `80/tcp`.
    pub container: String,
    /// The VPU's address; empty means all addresses.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The VPU's port; empty means that docker chooses one at each start.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub port: String,
}

/// A docker network as `docker network inspect` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name, which is not unique in docker.
    pub name: String,
    /// The driver that it was created with.
    pub driver: Driver,
    /// Compose project, by label.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// The key in the compose file, e.g. `default`, by label.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The driver options that it was created with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Address pools, including those that docker chose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<Pool>,
    /// `internal: true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
    /// Whether standalone containers may join an overlay network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attachable: bool,
    /// `enable_ipv6: true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ipv6: bool,
    /// The driver that assigns addresses.
    #[serde(default, skip_serializing_if = "Driver::is_unknown")]
    pub ipam_driver: Driver,
    /// The options that this driver was created with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ipam_options: BTreeMap<String, String>,
    /// IDs of the attached containers, including stopped ones.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub used_by: BTreeSet<String>,
}

/// An address pool of a network; unset fields are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Pool {
    /// E.g. `172.18.0.0/16`.
    pub subnet: String,
    /// E.g. `172.18.0.1`.
    pub gateway: String,
    /// The part of the subnet from which containers get addresses.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub range: String,
}
