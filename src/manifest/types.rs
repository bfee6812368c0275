//! The tables of a `deploy.toml`; their doc comments are the schema's descriptions, what editors
//! show on hovering and the reference page.

use std::collections::BTreeMap;

use o3r_core::{architecture::Architecture, desired::Orphans, health};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{
    ByteSize, Duration, EngineRef, FileMode, ImageRef, LocalPath, NameGlob, PinnedImageRef,
    ProjectName, RegistryHost, RelativePath, ReleaseName, ReleaseVersion, RemotePath, ServiceName,
    VolumeName,
};
pub use super::{
    device::Device,
    vpu::{Vpu, Vpus},
    watchdog::Watchdog,
};

/// The desired state of an O3R VPU, and how to reach it.
///
/// Paths on this machine are relative to the manifest. Paths on the VPU are absolute or start with
/// `~`, the home directory on the VPU. Every string may contain variables: `${release.version}`, `${release.name}`,
/// `${vpu.name}`, `${vpu.serial}`, `${vars.NAME}` and `${env.NAME}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The VPU: how to reach it, and what it must be.
    #[serde(default)]
    pub vpu: Vpu,
    /// Further VPUs for the same application. Each table overrides keys of `[vpu]` and is selected
    /// with `--vpu NAME`. The tables may also be in `vpus.toml` beside the manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vpus: BTreeMap<String, Vpu>,
    /// Variables: each key is a name, and its value a text. `${vars.NAME}` stands for it in every string, and `{{ vars.NAME }}`
    /// in templates. `vars` of a VPU overrides it. Default: none. Example: `robot_id = "0"`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub vars: Vars,
    /// The release: the owner of everything that this manifest creates.
    pub release: Release,
    /// The device's own configuration: ports, applications, clock, network, log.
    #[serde(default, skip_serializing_if = "is_default")]
    pub device: Device,
    /// Directories on the VPU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<Directory>,
    /// Docker volumes, each bound to a directory on the VPU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Docker images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// Files and directories to copy to the VPU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transfers: Vec<Transfer>,
    /// Files and directories to copy from the VPU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub downloads: Vec<Download>,
    /// Compose projects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compose: Vec<Compose>,
    /// The autostart of services that are not declared here.
    #[serde(default, skip_serializing_if = "is_default")]
    pub autostart: Autostart,
    /// What must not exist on the VPU; the plan shows what would be lost.
    #[serde(default, skip_serializing_if = "is_default")]
    pub absent: Absent,
    /// What `o3r-deploy logs` collects.
    #[serde(default, skip_serializing_if = "is_default")]
    pub logs: Logs,
    /// USB storage on the VPU.
    #[serde(default, skip_serializing_if = "is_default")]
    pub usb: Usb,
    /// Registries that the VPU pulls images from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub registries: Registries,
    /// How `o3r-deploy apply` works.
    #[serde(default, skip_serializing_if = "is_default")]
    pub apply: Apply,
}

impl Manifest {
    /// The images that the release needs: none if it removes all of its projects.
    pub(crate) fn needed_images(&self) -> &[Image] {
        let mut projects = self.compose.iter();
        if !self.compose.is_empty() && projects.all(|one| one.state == ComposeState::Absent) {
            return &[];
        }
        &self.images
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An architecture, in docker's terms.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// The architecture of every VPU.
    #[default]
    Arm64,
    /// The architecture of a test twin on a PC.
    Amd64,
}

impl Arch {
    /// Returns the word for it in docker and in image configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::Amd64 => "amd64",
        }
    }
}

impl From<Arch> for Architecture {
    fn from(arch: Arch) -> Self {
        match arch {
            Arch::Arm64 => Self::Arm64,
            Arch::Amd64 => Self::Amd64,
        }
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Variables. Each key is the name of one, and its value a text; `vars` of a VPU overrides it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Vars {
    /// Variables of this machine's environment that `${env.NAME}` may stand for. Default: none. Example: `["CI_COMMIT_TAG"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The values by name. Example: `robot_id = "0"`.
    #[serde(flatten)]
    pub values: BTreeMap<String, String>,
}

/// The release to deploy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The application's name. It marks what belongs to the application on the VPU. Example:
    /// `palletizer`.
    pub name: ReleaseName,
    /// The application's version. `--release-version` overrides it, and `${release.version}`
    /// inserts it into any string. Default: none. Example: `1.4.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ReleaseVersion>,
    /// What happens to what an earlier release of this name made and this manifest no longer declares:
    /// `remove` removes compose projects with their containers, networks and autostart, and files that nobody
    /// changed; `keep` only lists them. Data goes with `--prune`. Default: `remove`.
    #[serde(default, skip_serializing_if = "Orphans::is_remove")]
    pub orphans: Orphans,
}

/// A directory on the VPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// The directory; it and missing parents are created. Example: `~/share/logs`.
    pub path: RemotePath,
    /// The directory's permissions, as octal digits in quotes. Default: `0755` for a new directory,
    /// unchanged for an existing one. Example: `0775`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<FileMode>,
}

/// A docker volume that is bound to a directory on the VPU (driver `local`, option `bind`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// The volume's name. Example: `share`.
    pub name: VolumeName,
    /// The directory on the VPU that the volume is bound to; created if it is missing. Example:
    /// `~/share`.
    pub path: RemotePath,
    /// Whether to remove and recreate an existing volume of that name that differs. This deletes
    /// the data that docker stores in it, but not a directory that it is bound to. Default: `false`,
    /// which blocks the plan.
    #[serde(default)]
    pub replace: bool,
}

/// A docker image. Set at most one source: `archive`, `engine`, `rootfs`, `registry` or `build`.
/// Without a source, the image must be on the VPU already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The image's name and tag on the VPU. Example: `palletizer:1.4.0`.
    pub name: ImageRef,
    /// A `docker save` or OCI archive on this machine; it may be compressed with gzip, zstd, xz or
    /// bzip2. Example: `dist/palletizer.tar`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<LocalPath>,
    /// An image in this machine's docker, by name or ID. Example: `palletizer:dev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineRef>,
    /// A file system from which an image is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<Rootfs>,
    /// An image reference with a digest, which the VPU pulls. Example: `ghcr.io/you/app@sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<PinnedImageRef>,
    /// A build on this machine for the VPU's architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
}

/// A file system from which an image is built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rootfs {
    /// The file system as a tar file, e.g. from `docker build -o type=tar`. Example:
    /// `dist/root.tar`.
    pub file: LocalPath,
    /// The image's command, a list of words. Default: none. Example: `["/app", "--verbose"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// The image's entrypoint, a list of words. Default: none. Example: `["/bin/sh", "-c"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The image's environment variables. Default: empty. Example: `{ PORT = "8000" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// A build on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The build context. Example: `.`.
    pub context: LocalPath,
    /// The Dockerfile. Default: `Dockerfile` in the context. Example: `docker/Dockerfile.arm64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<LocalPath>,
}

/// Files to copy to the VPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// A file, or a directory whose contents are copied. Example: `config/`.
    pub src: LocalPath,
    /// The target on the VPU; if it ends in `/`, a file is copied into that directory. Example:
    /// `~/share/config/`.
    pub dst: RemotePath,
    /// Mirrors `src`: removes files and directories from `dst` that `src` does not have. Default:
    /// `false`.
    #[serde(default)]
    pub delete: bool,
    /// Files and directories to neither copy nor remove, as globs relative to `src`. Default: empty.
    /// Example: `["*.tmp"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<NameGlob>,
    /// The permissions of files, as octal digits in quotes. Default: `0644`, or `0755` for a file
    /// that is executable on this machine. Example: `0640`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<FileMode>,
    /// The permissions of directories, as octal digits in quotes. Default: `0755`. Example:
    /// `0750`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir_mode: Option<FileMode>,
    /// Whether the files are templates: `{{ vars.NAME }}` stands for the value of a variable, as in Jinja. Default:
    /// `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
    /// Compose projects whose containers are recreated when a file of this transfer changes.
    /// Default: empty. Example: `["palletizer"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart: Vec<ProjectName>,
}

/// Files to copy from the VPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// A file or directory on the VPU. Example: `~/share/calibration.json`.
    pub src: RemotePath,
    /// The target on this machine; if it ends in `/`, `src` is copied into that directory. Example:
    /// `calibration/`.
    pub dst: LocalPath,
}

/// A compose project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compose {
    /// The project's name, and the name of its directory below `/usr/share/oem/docker/compose`.
    /// Example: `palletizer`.
    pub name: ProjectName,
    /// The compose file; on the VPU its name is `docker-compose.yml`. Default:
    /// `docker-compose.yml`. Example: `compose/vpu.yml`.
    #[serde(default = "default_compose_file")]
    pub file: LocalPath,
    /// Files and directories to place beside the compose file, as paths relative to it. When one
    /// changes, the containers that use it are recreated. Default: empty. Example: `[".env",
    /// "conf/"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_files: Vec<RelativePath>,
    /// Whether the extra files are templates: `{{ vars.NAME }}` stands for the value of a variable, as in Jinja. The compose
    /// file is none: `env` gives it values. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
    /// Variables for the compose file: they become the project's `.env`, which docker-compose also reads when the VPU
    /// boots. Default: none. Example: `{ VERSION = "${release.version}" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The project's state. Default: `running`.
    #[serde(default)]
    pub state: ComposeState,
    /// Whether the project starts when the VPU boots. Default: unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// The conditions after a start that make the release healthy. Without this table, the defaults
    /// apply. Example: `{ settle = "10s" }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// The directory on the VPU that holds a directory for every compose project.
pub const COMPOSE_ROOT: &str = "/usr/share/oem/docker/compose";

impl Compose {
    /// Returns the project's directory on the VPU.
    pub fn directory(&self) -> String {
        format!("{COMPOSE_ROOT}/{}", self.name)
    }
}

/// The default compose file, and its name on the VPU.
pub const DEFAULT_COMPOSE_FILE: &str = "docker-compose.yml";

#[expect(
    clippy::expect_used,
    reason = "a constant, parsed by every test that reads a manifest"
)]
fn default_compose_file() -> LocalPath {
    DEFAULT_COMPOSE_FILE.parse().expect("the default is a path")
}

/// The state of a compose project.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ComposeState {
    /// The project's containers run.
    #[default]
    Running,
    /// The project's containers are created and do not run.
    Stopped,
    /// The project's containers, networks, files and autostart are removed; its volumes stay.
    Absent,
}

impl ComposeState {
    /// Returns the word for it in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Absent => "absent",
        }
    }
}

impl std::fmt::Display for ComposeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The conditions after a start that make the release healthy. If one is not met, the apply fails and rolls back. Without
/// this table, the defaults apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The longest time that the project may take to become healthy, as a number with a unit.
    /// Default: `60s`, or more if `settle` or the health checks of its containers take longer. Example:
    /// `2min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How long all containers must run without a restart, as a number with a unit. Default:
    /// `5s`. Example: `10s`.
    #[serde(default = "default_health_settle")]
    pub settle: Duration,
    /// A text that a container must log after its start. Default: none. Example: `ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_contains: Option<String>,
    /// A command that must succeed, as a list of words; it is repeated until it succeeds or `timeout`
    /// is over. It runs on the VPU, or in the container of `service`. Default: none. Example:
    /// `["curl", "-f", "localhost:8000"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The service in whose container `command` runs. Default: none; it runs on the VPU. Example:
    /// `web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

fn default_health_settle() -> Duration {
    Duration::from_secs(health::SETTLE.as_secs())
}

/// The autostart of services that are not declared here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Autostart {
    /// Services of others that must not start at boot: the NAME of an `oem-dc@NAME` unit, or of a
    /// compose project. Default: empty. Example: `["old-demo"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disable: Vec<ServiceName>,
}

/// What must not exist on the VPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// Files and directories. Default: empty. Example: `["~/share/old"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<RemotePath>,
    /// Containers, as names or globs. Default: empty. Example: `["demo_*"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<NameGlob>,
    /// Images, as names or globs. Default: empty. Example: `["demo:*"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<NameGlob>,
    /// Volumes, as names or globs. Default: empty. Example: `["demo-*"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<NameGlob>,
}

/// What `o3r-deploy logs` collects, and where it keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Files and directories on the VPU. Default: empty. Example: `["~/share/logs"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<RemotePath>,
    /// The directory on this machine, in which `sn<SERIAL>_<NAME>/` is created. Default:
    /// `~/o3r_logs/From_VPUs`. Example: `logs/`.
    #[serde(default = "default_logs_into")]
    pub into: LocalPath,
    /// Also collects the journal. Default: `false`.
    #[serde(default)]
    pub journal: bool,
    /// Collects at every apply. Default: `false`.
    #[serde(default)]
    pub on_apply: bool,
    /// How many of the collected logs are kept. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
}

#[expect(
    clippy::expect_used,
    reason = "a constant, parsed by every test that reads a manifest"
)]
fn default_logs_into() -> LocalPath {
    "~/o3r_logs/From_VPUs"
        .parse()
        .expect("the default is a path")
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            into: default_logs_into(),
            journal: false,
            on_apply: false,
            keep: None,
        }
    }
}

/// How many of the collected logs are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// The largest size of the logs of one VPU, as a number with a unit. Default: unlimited.
    /// Example: `500 MB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
    /// The greatest age of logs, as a number with a unit. Default: unlimited. Example: `90 days`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Duration>,
}

/// USB storage on the VPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Usb {
    /// Mounts USB storage when it is plugged in. Default: `false`.
    #[serde(default)]
    pub mount: bool,
}

/// Registries that the VPU pulls images from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registries {
    /// Registries without TLS, at most three. Default: empty. Example: `["192.168.0.10:5000"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub insecure: Vec<RegistryHost>,
}

/// How `o3r-deploy apply` works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// How many releases beside the current one stay on the VPU for `o3r-deploy rollback`. Default: `2`. Example: `5`.
    #[serde(default = "default_keep_releases")]
    #[schemars(range(min = 1, max = 100))]
    pub keep_releases: u32,
    /// How much these releases may hold on the VPU, as a whole number with a unit: the contents of files and the layers of
    /// images that the current release does not have. Beyond it, the oldest are removed. Default: no limit, but 128 MiB of
    /// the disk stay free. Example: `2 GB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_size: Option<ByteSize>,
    /// A directory on the VPU in whose file `deployments.jsonl` every apply that changes something appends a line: when, by whom,
    /// release and version. Default: none. Example: `~/share/deployments`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<RemotePath>,
    /// How long an apply may be silent in its switch phase (the link is lost, the computer sleeps) before the VPU rolls
    /// back to the previous release automatically, as a number with a unit from `30s` to `1h`, or `false` for never.
    /// Default: `120s`. Example: `5min`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub watchdog: Watchdog,
}

fn default_keep_releases() -> u32 {
    2
}

impl Default for Apply {
    fn default() -> Self {
        Self {
            keep_releases: default_keep_releases(),
            keep_size: None,
            stamp: None,
            watchdog: Watchdog::default(),
        }
    }
}
