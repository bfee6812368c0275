//! The tables of a `deploy.toml`; their doc comments are the schema's descriptions, what editors
//! show on hovering and the reference page.

use std::collections::BTreeMap;

use o3r_core::{architecture::Architecture, health};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{
    ByteSize, Duration, EngineRef, FileMode, ImageRef, LocalPath, NameGlob, PinnedImageRef,
    ProjectName, RegistryHost, RelativePath, ReleaseName, ReleaseVersion, RemotePath, ServiceName,
    VolumeName,
};
pub use super::{
    vpu::{Vpu, Vpus},
    watchdog::Watchdog,
};

/// What an O3R VPU has to look like, and how it is reached.
///
/// Paths on this machine are relative to the manifest. Paths on the VPU are absolute or start with
/// `~`, the home directory there. `${release.version}` is replaced in every string.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The VPU: how it is reached, and what it must be.
    #[serde(default)]
    pub vpu: Vpu,
    /// Further VPUs for the same application. Each table overrides keys of `[vpu]` and is chosen
    /// with `--vpu NAME`; the tables may also stand in `vpus.toml` beside the manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vpus: BTreeMap<String, Vpu>,
    /// What is deployed: the owner of all that this manifest creates.
    pub release: Release,
    /// Directories on the VPU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<Directory>,
    /// Docker volumes, each bound to a directory of the VPU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Docker images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// Files and directories that are copied to the VPU.
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
    /// What must not be on the VPU; the plan shows what would be lost.
    #[serde(default, skip_serializing_if = "is_default")]
    pub absent: Absent,
    /// What `o3r-deploy logs` collects.
    #[serde(default, skip_serializing_if = "is_default")]
    pub logs: Logs,
    /// USB storage on the VPU.
    #[serde(default, skip_serializing_if = "is_default")]
    pub usb: Usb,
    /// Registries that the VPU may pull from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub registries: Registries,
    /// How `o3r-deploy apply` works.
    #[serde(default, skip_serializing_if = "is_default")]
    pub apply: Apply,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An architecture, in docker's words.
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
    /// What every VPU is.
    #[default]
    Arm64,
    /// What a twin on a PC may be.
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

/// What is deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The application's name, by which the VPU knows what belongs to it. Example: `palletizer`.
    pub name: ReleaseName,
    /// The application's version: `--release-version` overrides it, and `${release.version}`
    /// stands for it in every string. Default: none. Example: `1.4.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ReleaseVersion>,
}

/// A directory that exists on the VPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// The directory; missing parents are created, too. Example: `~/share/logs`.
    pub path: RemotePath,
    /// Its permissions, in octal digits and quotes. Default: `0755` when it is created, unchanged
    /// when it exists. Example: `0775`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<FileMode>,
}

/// A docker volume bound to a directory (local driver, bind).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// The volume's name. Example: `share`.
    pub name: VolumeName,
    /// The directory on the VPU that the volume shows; created if it is missing. Example:
    /// `~/share`.
    pub path: RemotePath,
    /// Lets a volume of that name that differs be removed, with the data that docker keeps in it,
    /// and recreated; a directory that it shows stays. Default: `false`, which blocks the plan.
    #[serde(default)]
    pub replace: bool,
}

/// A docker image; at most one of `archive`, `engine`, `rootfs`, `registry` and `build` says where
/// it comes from. Without any it must be on the VPU already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// What the image is called on the VPU. Example: `palletizer:1.4.0`.
    pub name: ImageRef,
    /// An archive of `docker save`, or an OCI archive; also compressed with gzip, zstd, xz or
    /// bzip2. Example: `dist/palletizer.tar`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<LocalPath>,
    /// An image of this machine's docker, by name or ID. Example: `palletizer:dev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineRef>,
    /// A bare file system that becomes an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<Rootfs>,
    /// A reference with a digest that the VPU pulls itself. Example: `ghcr.io/you/app@sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<PinnedImageRef>,
    /// A build for the VPU's architecture on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
}

/// A bare file system that becomes an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rootfs {
    /// The file system as a tar file, as `docker build -o type=tar` writes it. Example:
    /// `dist/root.tar`.
    pub file: LocalPath,
    /// The image's command, a list of words. Default: none. Example: `["/app", "--verbose"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// The image's entrypoint, a list of words. Default: none. Example: `["/bin/sh", "-c"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The image's environment. Default: empty. Example: `{ PORT = "8000" }`.
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

/// Files copied to the VPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// A file, or a directory whose contents are copied. Example: `config/`.
    pub src: LocalPath,
    /// The target on the VPU; a path that ends in `/` is a directory that takes a file inside.
    /// Example: `~/share/config/`.
    pub dst: RemotePath,
    /// Mirrors `src`: files and directories that `src` does not have are removed from `dst`.
    /// Default: `false`.
    #[serde(default)]
    pub delete: bool,
    /// What is neither copied nor removed, as globs relative to `src`. Default: empty. Example:
    /// `["*.tmp"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<NameGlob>,
    /// The permissions of files, in octal digits and quotes. Default: `0644`, or `0755` for a file
    /// that is executable on this machine. Example: `0640`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<FileMode>,
    /// The permissions of directories, in octal digits and quotes. Default: `0755`. Example:
    /// `0750`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir_mode: Option<FileMode>,
    /// Compose projects whose containers are recreated when something changed. Default: empty.
    /// Example: `["palletizer"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart: Vec<ProjectName>,
}

/// Files to copy from the VPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// A file or directory on the VPU. Example: `~/share/calibration.json`.
    pub src: RemotePath,
    /// The target on this machine; a path that ends in `/` is a directory that takes it inside.
    /// Example: `calibration/`.
    pub dst: LocalPath,
}

/// A compose project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compose {
    /// The project's name, and that of its directory below `/usr/share/oem/docker/compose`.
    /// Example: `palletizer`.
    pub name: ProjectName,
    /// The compose file; on the VPU it is called `docker-compose.yml`. Default:
    /// `docker-compose.yml`. Example: `compose/vpu.yml`.
    #[serde(default = "default_compose_file")]
    pub file: LocalPath,
    /// Files and directories that are placed beside the compose file, by their paths relative to
    /// it. Services that read a changed one are recreated. Default: empty. Example: `[".env",
    /// "conf/"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_files: Vec<RelativePath>,
    /// The project's state. Default: `running`.
    #[serde(default)]
    pub state: ComposeState,
    /// Whether the project starts when the VPU boots. Default: unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// What must hold after a start. Example: `{ settle = "10s" }`.
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
    /// Its containers run.
    #[default]
    Running,
    /// Its containers are created and do not run.
    Stopped,
    /// It is down, and its files and autostart are gone; volumes stay.
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

/// What must hold after a start; an apply fails, and rolls back, where it does not. Without this table the defaults
/// count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The longest time that the project may take to become healthy, as a number with a unit.
    /// Default: `60s`, or more where the health checks of its containers may need more. Example:
    /// `2min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How long all containers must run without a restart, as a number with a unit. Default:
    /// `5s`. Example: `10s`.
    #[serde(default = "default_health_settle")]
    pub settle: Duration,
    /// A text that must appear in the log of a container since its start. Default: none. Example:
    /// `ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_contains: Option<String>,
    /// A command that must succeed, a list of words; it is repeated until it does or the time is
    /// over. It runs on the VPU, or in the container of `service`. Default: none. Example:
    /// `["curl", "-f", "localhost:8000"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The service in whose container `command` runs. Default: none, which is the VPU itself.
    /// Example: `web`.
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
    /// Services of others to disable at boot: the NAME of an `oem-dc@NAME` unit, or of a compose
    /// project. Default: empty. Example: `["old-demo"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disable: Vec<ServiceName>,
}

/// What must not be on the VPU.
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
    /// The directory on this machine; `sn<SERIAL>_<NAME>/` is created in it. Default:
    /// `~/o3r_logs/From_VPUs`. Example: `logs/`.
    #[serde(default = "default_logs_into")]
    pub into: LocalPath,
    /// Collects the journal, too. Default: `false`.
    #[serde(default)]
    pub journal: bool,
    /// Collects at every apply. Default: `false`.
    #[serde(default)]
    pub on_apply: bool,
    /// How much of what was collected is kept. Default: all of it.
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

/// How much is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// The most that is kept for one VPU, as a number with a unit. Default: unlimited. Example:
    /// `500 MB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
    /// The oldest that is kept, as a number with a unit. Default: unlimited. Example: `90 days`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Duration>,
}

/// USB storage on the VPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Usb {
    /// Mounts USB storage that is plugged in. Default: `false`.
    #[serde(default)]
    pub mount: bool,
}

/// Registries that the VPU may pull from.
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
    /// How many releases stay on the VPU for `o3r-deploy rollback`. Default: `2`. Example: `5`.
    #[serde(default = "default_keep_releases")]
    #[schemars(range(min = 1, max = 100))]
    pub keep_releases: u32,
    /// A directory on the VPU that gets a record of every apply. Default: none. Example:
    /// `~/share/deployments`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<RemotePath>,
    /// How long an apply that changes what runs may be silent (the link lost, the computer asleep) before the VPU
    /// rolls back to the previous release on its own, as a number with a unit from `30s` to `1h`, or `false` for
    /// never. Default: `120s`. Example: `5min`.
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
            stamp: None,
            watchdog: Watchdog::default(),
        }
    }
}
