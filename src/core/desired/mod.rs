//! The desired state: what a manifest declares, with all local files read and hashed. Data only;
//! independent of any VPU.

mod declared;
mod digest;
mod manifest_ref;
mod resolved;
mod services;
mod transfers;
mod undeclared;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

pub use declared::{networks, volumes};
pub use manifest_ref::ManifestRef;
pub use services::services;
pub use transfers::{Entry, FileEntry, Transfer, archive_len, entry, sums};
pub use undeclared::{Orphans, Permits, below, with_above};

use crate::{
    architecture::Architecture,
    compose::{self, HostPort, Limits},
    device_words::Settings,
    digest::Digest,
    facts::Query,
    health::HealthGate,
    names::{self, FirmwareRange, ReleaseName, RemotePath, SerialNumber, VolumeName},
    remote,
    rendered::Rendered,
    restart_policy::RestartPolicy,
};

/// The desired state of a VPU.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The manifest that declares it.
    pub manifest: ManifestRef,
    /// The release that owns it.
    pub release: Release,
    /// The requirements on the VPU itself.
    pub guards: Guards,
    /// Directories.
    pub directories: Vec<Directory>,
    /// Bind volumes.
    pub volumes: Vec<Volume>,
    /// Images.
    pub images: Vec<Image>,
    /// Files and directories that are copied.
    pub transfers: Vec<Transfer>,
    /// Compose projects.
    pub projects: Vec<Project>,
    /// The device's own name; `None` leaves it unchanged.
    pub device_name: Option<DeviceName>,
    /// Settings of the device's own configuration; `None` leaves it unchanged.
    pub device_settings: Option<DeviceSettings>,
    /// Other services that must not start when the VPU boots.
    pub disabled: Vec<Disabled>,
    /// The silence of an apply after which the VPU rolls back automatically; `None` means never. Not
    /// part of the release.
    pub watchdog: Option<Duration>,
    /// How many releases the VPU keeps beside this one. Not part of the release.
    pub keep_releases: u32,
    /// How many bytes these may hold; `None` for no limit. Not part of the release.
    pub keep_size: Option<u64>,
    /// The directory on the VPU in which each apply notes the release. Not part of the release.
    pub stamp: Option<RemotePath>,
    /// What happens to what an earlier release of this name made and this one does not declare. Not part of the release.
    pub orphans: Orphans,
    /// What may be done beyond what is declared. Not part of the release.
    pub permits: Permits,
    /// Where the contents of its files and images are.
    pub contents: Contents,
    /// What this machine makes of files, and sends instead of them.
    pub rendered: Rendered,
    /// Directories that the release had and this one does not declare. Not part of the release.
    pub left: Vec<RemotePath>,
    /// Whether the release itself goes: nothing is declared, and the VPU forgets it. Not part of the release.
    pub destroys: bool,
}

/// Where the contents of a release's files and images are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// On this machine.
    Here,
    /// On the VPU, which keeps them: nothing is sent. Has the digest of the declaration as it was recorded, of which what
    /// it removed is not kept.
    OnVpu(Digest),
}

impl Contents {
    /// Whether the VPU keeps them.
    pub fn are_on_vpu(self) -> bool {
        matches!(self, Self::OnVpu(_))
    }
}

/// The device's own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceName {
    /// E.g. `agv-17-front`.
    pub name: names::DeviceName,
    /// Where it is declared.
    pub source: Option<String>,
}

/// Settings of the device's own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSettings {
    /// The desired values.
    pub values: Settings,
    /// Whether they are saved for the next boot.
    pub save: bool,
    /// Whether those of the network may change.
    pub network: bool,
    /// Where they are declared.
    pub source: Option<String>,
}

/// Another service that must not start when the VPU boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// NAME of `oem-dc@NAME`, which is also that of the compose project.
    pub name: String,
    /// Where it is declared.
    pub source: Option<String>,
}

/// The owner of everything that the manifest creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// E.g. `palletizer`.
    pub name: ReleaseName,
    /// E.g. `1.4.0`; empty where none is given.
    pub version: String,
    /// `deploy.toml:12`.
    pub source: Option<String>,
}

impl Release {
    /// Returns the name that an image is loaded under while the old one still runs. It also marks the image as ours,
    /// because labelling an image would change it.
    pub fn staging_tag(&self, config_digest: &Digest) -> String {
        staging_tag(self.name.as_str(), config_digest)
    }

    /// Whether an image name is one that this release loaded it under.
    pub fn staged(&self, tag: &str) -> bool {
        let version = tag.strip_prefix("o3r-deploy/");
        version
            .and_then(|rest| rest.strip_prefix(self.name.as_str()))
            .is_some_and(|rest| rest.starts_with(':'))
    }
}

/// Returns the name that a release loads an image under.
pub fn staging_tag(release: &str, config_digest: &Digest) -> String {
    format!("o3r-deploy/{release}:{}", config_digest.short())
}

/// The requirements on the VPU itself: any other is refused.
#[derive(Debug, Clone)]
pub struct Guards {
    /// What its processor is.
    pub arch: Architecture,
    /// Serial number.
    pub serial: Option<SerialNumber>,
    /// Firmware versions.
    pub firmware: Option<FirmwareRange>,
    /// TCP port of the device's API.
    pub api_port: u16,
}

/// A directory that exists.
#[derive(Debug, Clone)]
pub struct Directory {
    /// Its path.
    pub path: RemotePath,
    /// Permission bits; `None` leaves those of an existing directory unchanged.
    pub mode: Option<u32>,
    /// Where it is declared.
    pub source: Option<String>,
}

/// A docker volume bound to a directory.
#[derive(Debug, Clone)]
pub struct Volume {
    /// Its name.
    pub name: VolumeName,
    /// The directory, created if it is missing.
    pub path: RemotePath,
    /// Whether a volume of that name that differs may be removed.
    pub replace: bool,
    /// Where it is declared.
    pub source: Option<String>,
}

/// An image under its name.
#[derive(Debug, Clone)]
pub struct Image {
    /// `name:tag`.
    pub name: String,
    /// Its identity, if the manifest has a source for it;
    /// `None` means that it must already be on the VPU.
    pub content: Option<ImageContent>,
    /// The digest of the configuration that the image of this name has on the VPU, if the manifest has no source for it.
    pub found: Option<Digest>,
    /// Where it is declared.
    pub source: Option<String>,
}

/// The identity of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageContent {
    /// Digest of its configuration.
    pub config_digest: Digest,
    /// The diff IDs of its layers, lowest first; one may occur twice.
    pub layers: Vec<Digest>,
    /// The name under which it is loaded before the switch.
    pub staging_tag: String,
}

impl ImageContent {
    /// Returns the diff IDs of all layers.
    pub fn diff_ids(&self) -> BTreeSet<Digest> {
        self.layers.iter().copied().collect()
    }
}

/// A compose project.
#[derive(Debug, Clone)]
pub struct Project {
    /// Name of the project and its directory.
    pub name: String,
    /// Its state.
    pub state: ProjectState,
    /// The compose file, then the extra files, by relative path below the project's directory.
    pub files: Vec<ProjectFile>,
    /// Services by name.
    pub services: BTreeMap<String, Service>,
    /// The relative paths of those files that docker-compose reads.
    pub read: BTreeSet<String>,
    /// The networks that the compose file declares, and the default one of services without any.
    pub networks: Vec<Network>,
    /// The volumes that the compose file declares.
    pub volumes: Vec<ProjectVolume>,
    /// Why docker-compose before 1.27 refuses the compose file, completing "the compose file …".
    pub refused_by_old_compose: Option<String>,
    /// Whether it starts when the VPU boots; `None` leaves that unchanged.
    pub autostart: Option<bool>,
    /// The conditions to meet after it was started.
    pub health: HealthGate,
    /// Whether it is removed because the release made it and no longer declares it: files that were changed on the VPU
    /// stay.
    pub undeclared: bool,
    /// Where it is declared.
    pub source: Option<String>,
}

/// The state of a compose project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjectState {
    /// Containers run.
    Running,
    /// Containers are created and do not run.
    Stopped,
    /// No containers, no files.
    Absent,
}

/// A file in a project's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectFile {
    /// Path below the project's directory; `docker-compose.yml` for the compose file.
    pub relative: String,
    /// Path on this machine.
    pub local: Utf8PathBuf,
    /// Of its bytes.
    pub sha256: Digest,
    /// How many.
    pub bytes: u64,
    /// Permission bits.
    pub mode: u32,
}

impl ProjectFile {
    /// Creates a file that has to be absent, so that only its name matters.
    pub fn named(relative: String) -> Self {
        let sha256 = Digest::of(b"");
        Self {
            relative,
            local: Utf8PathBuf::new(),
            sha256,
            bytes: 0,
            mode: 0,
        }
    }
}

/// The part of a compose service that plans depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// Image as named in the compose file, with its tag.
    pub image: Option<String>,
    /// Fixed container name.
    pub container_name: Option<String>,
    /// Relative paths of extra files that it uses other than for interpolation.
    pub files: Vec<String>,
    /// Of these, the ones that are only environment files: docker-compose compares the values itself.
    pub only_environment: BTreeSet<String>,
    /// Docker volumes that it mounts.
    pub volumes: Vec<String>,
    /// Paths on the VPU that it mounts; absolute or below `~`.
    pub binds: Vec<String>,
    /// Environment files outside the project's directory; absolute or below `~`.
    pub env_files: Vec<String>,
    /// The keys of its networks; empty if it has a network mode.
    pub networks: Vec<String>,
    /// The service whose network namespace it uses (`network_mode: service:NAME`).
    pub network_of: Option<String>,
    /// The service whose process namespace it uses (`pid: service:NAME`).
    pub processes_of: Option<String>,
    /// Its mounts, by path in the container; without those for which docker chooses a volume.
    pub mounts: BTreeMap<String, Mounted>,
    /// The number of containers; 1 unless scaled.
    pub replicas: usize,
    /// The ports that it publishes on the VPU.
    pub ports: Vec<HostPort>,
    /// Its container runtime, e.g. `nvidia`, if specified.
    pub runtime: Option<String>,
    /// Its `restart:`, if specified.
    pub restart: Option<RestartPolicy>,
    /// How long its containers may take to stop, in whole seconds; `None` for docker's default.
    pub stop_seconds: Option<u64>,
    /// Limits on its containers' use of the VPU; `None` if
    /// it depends on docker-compose which ones count.
    pub limits: Option<Limits>,
    /// Digest of its definition; `None` only in tests.
    pub definition: Option<Digest>,
    /// Digest of its definition as docker-compose on the VPU resolves it, including environment
    /// files; `None` if it was not asked.
    pub resolved: Option<Digest>,
}

/// The source of a service's mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mounted {
    /// A path on the VPU; absolute or below `~`.
    Path(String),
    /// A volume, by docker's name and the one that much older versions of docker-compose gave it.
    Volume(String, Option<String>),
    /// Memory.
    Memory,
}

/// A network of a compose project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Docker's name.
    pub name: String,
    /// The name that much older versions of docker-compose gave it; used if such a network exists.
    pub older_name: Option<String>,
    /// Whether a service is on it: docker-compose ignores all others.
    pub used: bool,
    /// Its declaration in the compose file.
    pub declared: compose::Network,
}

/// A volume that a compose file declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectVolume {
    /// Docker's name.
    pub name: String,
    /// The name that much older versions of docker-compose gave it; used if such a volume exists.
    pub older_name: Option<String>,
    /// Its declaration in the compose file.
    pub declared: compose::Volume,
}

/// The compose file's name in a project's directory.
pub const COMPOSE_FILE: &str = "docker-compose.yml";

impl Project {
    /// Whether a file beside the compose file is only an environment file: docker-compose recreates containers whose
    /// values differ.
    pub fn is_only_environment(&self, file: &str) -> bool {
        let readers = self.services.values();
        let mut readers = readers
            .filter(|service| service.files.iter().any(|read| read == file))
            .peekable();
        readers.peek().is_some() && readers.all(|service| service.only_environment.contains(file))
    }

    /// Returns a project that is to be removed, with the names of its files.
    pub fn absent(name: String, files: Vec<ProjectFile>) -> Self {
        Self {
            name,
            state: ProjectState::Absent,
            files,
            services: BTreeMap::new(),
            read: BTreeSet::new(),
            networks: vec![],
            volumes: vec![],
            refused_by_old_compose: None,
            autostart: None,
            health: HealthGate::default(),
            undeclared: false,
            source: None,
        }
    }

    /// Returns its directory on the VPU.
    pub fn directory(&self) -> String {
        remote::project_directory(&self.name)
    }

    /// Whether it starts when the VPU boots.
    pub fn starts_at_boot(&self) -> bool {
        self.autostart == Some(true) && self.state != ProjectState::Absent
    }

    /// Returns a file's path on the VPU.
    pub fn path(&self, file: &ProjectFile) -> String {
        format!("{}/{}", self.directory(), file.relative)
    }
}

impl Desired {
    /// Returns a release that declares nothing.
    pub fn nothing(release: Release, guards: Guards) -> Self {
        Self {
            manifest: ManifestRef::default(),
            release,
            guards,
            directories: vec![],
            volumes: vec![],
            images: vec![],
            transfers: vec![],
            projects: vec![],
            device_name: None,
            device_settings: None,
            disabled: vec![],
            watchdog: None,
            keep_releases: 2,
            keep_size: None,
            stamp: None,
            orphans: Orphans::Remove,
            permits: Permits::default(),
            contents: Contents::Here,
            rendered: Rendered::new(),
            left: vec![],
            destroys: false,
        }
    }

    /// Returns the end of a release: what it has goes, and its record.
    pub fn destruction(release: Release, guards: Guards) -> Self {
        Self {
            manifest: ManifestRef::destruction(&release.name),
            destroys: true,
            ..Self::nothing(release, guards)
        }
    }

    /// Returns what to ask a VPU in order to plan this.
    pub fn query(&self) -> Query {
        let directories = self.directories.iter().map(|directory| &directory.path);
        let volumes = self.volumes.iter().map(|volume| &volume.path);
        let mut paths: BTreeMap<String, Option<u64>> = directories
            .chain(volumes)
            .map(|path| (path.resolve("~"), None))
            .collect();
        for project in &self.projects {
            for file in &project.files {
                paths.insert(project.path(file), Some(file.bytes));
            }
        }
        let starting = self.projects.iter().filter(|p| p.starts_at_boot());
        Query {
            paths,
            projects: self.projects.iter().map(|p| p.name.clone()).collect(),
            environment_files: self.environment_files(),
            units: starting.map(|project| project.name.clone()).collect(),
            device_name: self
                .device_name
                .as_ref()
                .map(|device| device.name.to_string()),
            device_settings: self
                .device_settings
                .as_ref()
                .map(|settings| settings.values.clone())
                .unwrap_or_default(),
            trees: self.transfers.iter().map(Transfer::query).collect(),
            api_port: self.guards.api_port,
        }
    }

    /// Returns the configuration digests of the images that have a source.
    pub fn config_digests(&self) -> impl Iterator<Item = Digest> {
        let contents = self.images.iter().filter_map(|i| i.content.as_ref());
        contents.map(|content| content.config_digest)
    }

    /// Returns the digests of all files that it has.
    pub fn contents_of_files(&self) -> BTreeSet<Digest> {
        let entries = self.transfers.iter().flat_map(|t| t.entries.values());
        let of_transfers = entries.filter_map(|entry| match entry {
            Entry::File(file) => Some(file.sha256),
            _ => None,
        });
        let there = |project: &&Project| project.state != ProjectState::Absent;
        let projects = self.projects.iter().filter(there);
        let of_projects = projects.flat_map(|project| &project.files);
        of_transfers
            .chain(of_projects.map(|file| file.sha256))
            .collect()
    }
}

/// Whether a file's contents count as secret: compose's `.env` and similar files.
pub fn is_secret(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with(".env") || name.split('.').next_back() == Some("env")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn images_that_are_sent_are_known_by_the_digests_of_their_configurations() {
        let image = |name: &str, content: Option<ImageContent>| Image {
            name: name.into(),
            content,
            found: None,
            source: None,
        };
        let content = ImageContent {
            config_digest: Digest::of(b"web"),
            layers: vec![],
            staging_tag: "o3r-deploy/app:1".into(),
        };
        let mut desired = testing::desired(vec![]);
        desired.images = vec![image("there:1", None), image("web:1", Some(content))];
        assert!(desired.config_digests().eq([Digest::of(b"web")]));
    }
}
