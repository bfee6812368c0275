//! The state of the in-memory VPU.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};

use super::boot::Autostart;
use o3r_deploy::internal::{digest::Digest, driver::Driver};

/// The complete state of the in-memory VPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// Home directory.
    pub home: String,
    /// Boot id.
    pub boot_id: String,
    /// `uname -m`.
    pub machine: String,
    /// Device serial number.
    pub serial: String,
    /// Device firmware.
    pub firmware: String,
    /// The device's current settings.
    pub settings: Value,
    /// Its settings as saved for the next boot.
    pub saved_settings: Value,
    /// What starts projects at boot.
    pub autostart: Autostart,
    /// Whether the docker engine answers.
    pub docker_runs: bool,
    /// Whether the zstd program exists.
    pub zstd: bool,
    /// The store of its images.
    pub store: Store,
    /// Names of its container runtimes.
    pub runtimes: BTreeSet<String>,
    /// Directories with their mode and owner.
    pub directories: BTreeMap<String, (u32, u32)>,
    /// Files.
    pub files: BTreeMap<String, File>,
    /// Symbolic links and their targets.
    pub links: BTreeMap<String, String>,
    /// Volumes by name.
    pub volumes: BTreeMap<String, Volume>,
    /// Images by id.
    pub images: BTreeMap<String, Image>,
    /// Networks by id, without docker's own ones.
    pub networks: BTreeMap<String, Network>,
    /// Containers by id.
    pub containers: BTreeMap<String, Container>,
    /// Destinations at which every loaded image declares a volume, as a database's does.
    pub image_volumes: BTreeSet<String>,
    /// Ids of images whose containers exit at once with code 1.
    pub crashing: BTreeSet<String>,
    /// Names of images that docker-compose tried in vain to pull.
    pub pulls: BTreeSet<String>,
    /// The counter for IDs.
    pub next_id: u64,
}

/// An engine's image store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Docker's own store.
    Classic,
    /// Containerd's, behind docker.
    Containerd,
    /// Podman's, accessed by docker's program through podman's service.
    Podman,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Contents.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// The value of o3r-deploy's label.
    pub owner: Option<String>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// Name.
    pub name: String,
    /// Compose project.
    pub project: String,
    /// Its key in the compose file.
    pub key: String,
    /// Its driver; empty means `bridge`.
    pub driver: Driver,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Address pool; empty if docker chose it.
    pub subnet: String,
    /// Whether it is isolated from other networks.
    pub internal: bool,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// Names.
    pub tags: BTreeSet<String>,
    /// Diff ids.
    pub layers: Vec<Digest>,
    /// Docker's word.
    pub arch: String,
    /// Destinations of its `VOLUME`s.
    pub volumes: BTreeSet<String>,
    /// The layers themselves; empty for an image that was not loaded into this VPU.
    pub tars: Vec<Arc<[u8]>>,
}

/// A container, with the state that it was really created from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Name.
    pub name: String,
    /// Image id.
    pub image: String,
    /// Docker's word.
    pub status: String,
    /// Restart policy.
    pub restart_policy: String,
    /// Compose project.
    pub project: String,
    /// Compose service.
    pub service: String,
    /// Directory that docker-compose ran in.
    pub working_dir: String,
    /// Volumes.
    pub volumes: BTreeSet<String>,
    /// Whether it uses host networking.
    pub host_network: bool,
    /// Digest of the compose file and image, which docker-compose's own hash covers.
    pub config_hash: Digest,
    /// The files of the project's directory at the time when the container was created, which the
    /// application really sees.
    pub made_from: BTreeMap<String, Vec<u8>>,
    /// The directories that its volumes were bound to at that time.
    pub mounted: BTreeMap<String, String>,
    /// Other attributes that docker shows.
    pub details: Details,
}

/// Other attributes of a container that docker shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// The image reference that it was created with.
    pub image_ref: String,
    /// Its number in its service.
    pub number: usize,
    /// Ids of its networks, by name.
    pub networks: BTreeMap<String, String>,
    /// Its network mode, in docker's words.
    pub network_mode: String,
    /// Its mounts, by destination.
    pub mounts: BTreeMap<String, Mount>,
    /// Names of the containers that it is linked to.
    pub links: BTreeSet<String>,
    /// Its memory limit in bytes; 0 means no limit.
    pub memory: u64,
    /// Whether `docker-compose run` made it.
    pub one_off: bool,
    /// Its exit code, or 0.
    pub exit_code: i32,
}

/// The source of a container's mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A path.
    Bind(String),
    /// A volume, by name.
    Volume(String),
}

impl Default for World {
    fn default() -> Self {
        let home = "/home/oem".to_owned();
        let compose = "/usr/share/oem/docker/compose".to_owned();
        Self {
            directories: BTreeMap::from([
                ("/".to_owned(), (0o755, 0)),
                ("/home".to_owned(), (0o755, 0)),
                (home.clone(), (0o755, 989)),
                (compose, (0o755, 989)),
            ]),
            home,
            boot_id: "boot-1".into(),
            machine: "aarch64".into(),
            serial: "000012345678".into(),
            firmware: "1.4.30-5230".into(),
            settings: json!({
                "device": {"info": {"name": ""}},
                "ports": {"port0": {"state": "RUN", "rate": 0}, "port2": {"state": "RUN"}},
            }),
            saved_settings: json!({}),
            autostart: Autostart::default(),
            docker_runs: true,
            zstd: false,
            store: Store::Classic,
            runtimes: ["nvidia".to_owned(), "runc".to_owned()].into(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            networks: BTreeMap::new(),
            containers: BTreeMap::new(),
            image_volumes: BTreeSet::new(),
            crashing: BTreeSet::new(),
            pulls: BTreeSet::new(),
            next_id: 1,
        }
    }
}

impl World {
    /// Returns the ID that an image has once it is loaded.
    pub fn stored_id(&self, config_digest: Digest) -> String {
        if self.store == Store::Containerd {
            // The digest of a manifest that the store generates.
            return Digest::of(format!("manifest of {config_digest}")).to_string();
        }
        config_digest.to_string()
    }

    /// Returns the ID of the image with this name or ID.
    pub fn image_id(&self, name: &str) -> Option<String> {
        if self.images.contains_key(name) {
            return Some(name.to_owned());
        }
        let tagged = |image: &&String| self.images[*image].tags.contains(name);
        self.images.keys().find(tagged).cloned()
    }

    /// Returns a new ID of 64 hex digits, in docker's format.
    pub fn fresh_id(&mut self) -> String {
        // As in docker's IDs, the first twelve digits are unique.
        let id = format!("{:012x}{:052x}", self.next_id, 0);
        self.next_id += 1;
        id
    }

    /// Creates a directory and its parents.
    pub fn make_directory(&mut self, path: &str) {
        self.make_directories(path, 0o755);
    }

    /// Creates a directory and its parents, with this mode for those that are created.
    pub(super) fn make_directories(&mut self, path: &str, mode: u32) {
        let mut path = path.trim_end_matches('/');
        while !path.is_empty() && !self.directories.contains_key(path) {
            self.directories.insert(path.to_owned(), (mode, 989));
            path = parent(path);
        }
    }

    /// Creates the directory of a path, accessible to its owner alone.
    pub(super) fn make_private_parent(&mut self, path: &str) {
        self.make_directories(parent(path), 0o700);
    }

    /// Writes a file and creates its directory, accessible
    /// to its owner alone, as scripts with `umask 077` do.
    pub(super) fn write_privately(&mut self, path: &str, bytes: &[u8], mode: u32) {
        self.make_private_parent(path);
        self.write(path, bytes, mode);
    }

    /// Empties a file, or creates it.
    pub(super) fn empty(&mut self, path: &str) {
        let mode = self.files.get(path).map_or(0o600, |file| file.mode);
        self.write_privately(path, b"", mode);
    }

    /// Removes the empty directories above a path, up to `stop`, which is kept.
    pub(super) fn remove_empty_above(&mut self, path: &str, stop: &str) {
        let mut directory = parent(path);
        while directory != stop && !directory.is_empty() && self.remove_empty(directory) {
            directory = parent(directory);
        }
    }

    /// Removes a directory if it is empty; returns whether it did.
    pub(super) fn remove_empty(&mut self, directory: &str) -> bool {
        self.below(directory).is_empty() && self.directories.remove(directory).is_some()
    }

    /// Returns the directory at a path, following symbolic links.
    pub(super) fn directory_at(&self, path: &str) -> Option<(u32, u32)> {
        let mut path = path.to_owned();
        for _ in 0..8 {
            let Some(target) = self.links.get(&path) else {
                return self.directories.get(&path).copied();
            };
            path = match target.strip_prefix('/') {
                Some(_) => target.clone(),
                None => format!("{}/{target}", parent(&path)),
            };
        }
        None
    }

    /// Writes a file and creates its directory.
    pub fn write(&mut self, path: &str, bytes: &[u8], mode: u32) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.make_directory(parent);
        }
        self.files.insert(
            path.to_owned(),
            File {
                bytes: bytes.to_vec(),
                mode,
            },
        );
    }

    /// Returns the files below a directory, by path.
    pub fn files_below(&self, directory: &str) -> BTreeMap<String, Vec<u8>> {
        let prefix = format!("{directory}/");
        let below = self
            .files
            .iter()
            .filter(|(path, _)| path.starts_with(&prefix));
        below
            .map(|(path, file)| (path.clone(), file.bytes.clone()))
            .collect()
    }

    /// Removes a file, or a directory with all its contents.
    pub fn remove_below(&mut self, path: &str) {
        let below = format!("{path}/");
        let stays = |other: &String| other != path && !other.starts_with(&below);
        self.files.retain(|other, _| stays(other));
        self.directories.retain(|other, _| stays(other));
        self.links.retain(|other, _| stays(other));
    }
}

/// Returns the directory of a path.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
