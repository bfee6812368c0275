//! The state of the in-memory VPU.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};

use super::boot::Autostart;
use o3r_deploy::internal::{digest::Digest, driver::Driver};

/// Everything that the in-memory VPU has.
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
    /// Whether the zstd program is there.
    pub zstd: bool,
    /// Where it keeps images.
    pub store: Store,
    /// Names of its container runtimes.
    pub runtimes: BTreeSet<String>,
    /// Directories with their mode and owner.
    pub directories: BTreeMap<String, (u32, u32)>,
    /// Files.
    pub files: BTreeMap<String, File>,
    /// Symbolic links and where they point.
    pub links: BTreeMap<String, String>,
    /// Volumes by name.
    pub volumes: BTreeMap<String, Volume>,
    /// Images by id.
    pub images: BTreeMap<String, Image>,
    /// Networks by id, without docker's own ones.
    pub networks: BTreeMap<String, Network>,
    /// Containers by id.
    pub containers: BTreeMap<String, Container>,
    /// Where every image that is loaded wants a volume, as a database's does.
    pub image_volumes: BTreeSet<String>,
    /// Ids of images whose containers exit at once with code 1.
    pub crashing: BTreeSet<String>,
    /// Names of images that docker-compose asked a registry for, in vain.
    pub pulls: BTreeSet<String>,
    /// Makes ids.
    pub next_id: u64,
}

/// Where an engine keeps images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Docker's own store.
    Classic,
    /// Containerd's, behind docker.
    Containerd,
    /// Podman's, whose service docker's program asks.
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
    /// Our label's value.
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
    /// Its driver; empty is `bridge`.
    pub driver: Driver,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Address pool; empty where docker chose it.
    pub subnet: String,
    /// Whether it leads nowhere else.
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
    /// Where it wants volumes: its `VOLUME`s.
    pub volumes: BTreeSet<String>,
    /// The layers themselves; none of an image that was not loaded here.
    pub tars: Vec<Arc<[u8]>>,
}

/// A container, and what it was really made from.
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
    /// Directory that compose ran in.
    pub working_dir: String,
    /// Volumes.
    pub volumes: BTreeSet<String>,
    /// Whether it is on the VPU's own network.
    pub host_network: bool,
    /// Digest of the compose file and image that compose's own hash covers.
    pub config_hash: Digest,
    /// The files of the project's directory as they were when the container was made: what the
    /// application really sees.
    pub made_from: BTreeMap<String, Vec<u8>>,
    /// What its volumes were bound to then.
    pub mounted: BTreeMap<String, String>,
    /// What else docker shows of it.
    pub details: Details,
}

/// What else docker shows of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// The image as it was asked for.
    pub image_ref: String,
    /// Its number in its service.
    pub number: usize,
    /// Ids of its networks, by name.
    pub networks: BTreeMap<String, String>,
    /// Its network mode, in docker's words.
    pub network_mode: String,
    /// What it mounts, by destination.
    pub mounts: BTreeMap<String, Mount>,
    /// Names of the containers that it is linked to.
    pub links: BTreeSet<String>,
    /// Bytes of memory that it may use; 0 means no limit.
    pub memory: u64,
    /// Whether `docker-compose run` made it.
    pub one_off: bool,
    /// What it ended with, or 0.
    pub exit_code: i32,
}

/// What a container mounts at a path.
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
                "ports": {"port0": {"state": "RUN"}, "port2": {"state": "RUN"}},
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
    /// The id that an image has when it is loaded.
    pub fn stored_id(&self, config_digest: Digest) -> String {
        if self.store == Store::Containerd {
            // Of a manifest that it makes up.
            return Digest::of(format!("manifest of {config_digest}")).to_string();
        }
        config_digest.to_string()
    }

    /// The id of the image that a name or id means.
    pub fn image_id(&self, name: &str) -> Option<String> {
        if self.images.contains_key(name) {
            return Some(name.to_owned());
        }
        let tagged = |image: &&String| self.images[*image].tags.contains(name);
        self.images.keys().find(tagged).cloned()
    }

    /// A fresh id of 64 hex digits, as docker makes them.
    pub fn fresh_id(&mut self) -> String {
        // As docker's, the first twelve digits tell one from all others.
        let id = format!("{:012x}{:052x}", self.next_id, 0);
        self.next_id += 1;
        id
    }

    /// Makes a directory and its parents.
    pub fn make_directory(&mut self, path: &str) {
        self.make_directories(path, 0o755);
    }

    /// Makes a directory and its parents, and has what is made have this mode.
    pub(super) fn make_directories(&mut self, path: &str, mode: u32) {
        let mut path = path.trim_end_matches('/');
        while !path.is_empty() && !self.directories.contains_key(path) {
            self.directories.insert(path.to_owned(), (mode, 989));
            path = parent(path);
        }
    }

    /// Makes the directory of a path, which nobody else may look into.
    pub(super) fn make_private_parent(&mut self, path: &str) {
        self.make_directories(parent(path), 0o700);
    }

    /// Writes a file and makes its directory, which nobody else may look into: as scripts with `umask 077` do.
    pub(super) fn write_privately(&mut self, path: &str, bytes: &[u8], mode: u32) {
        self.make_private_parent(path);
        self.write(path, bytes, mode);
    }

    /// Empties a file, or makes it.
    pub(super) fn empty(&mut self, path: &str) {
        let mode = self.files.get(path).map_or(0o600, |file| file.mode);
        self.write_privately(path, b"", mode);
    }

    /// Removes the directories above a path that are empty, up to `stop`, which stays.
    pub(super) fn remove_empty_above(&mut self, path: &str, stop: &str) {
        let mut directory = parent(path);
        while directory != stop && !directory.is_empty() && self.remove_empty(directory) {
            directory = parent(directory);
        }
    }

    /// Removes a directory, if it is empty; whether it is gone by that.
    pub(super) fn remove_empty(&mut self, directory: &str) -> bool {
        self.below(directory).is_empty() && self.directories.remove(directory).is_some()
    }

    /// The directory that is at a path, perhaps by a symbolic link.
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

    /// Writes a file and makes its directory.
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

    /// The files below a directory, by path.
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

    /// Removes a file, or a directory with all that is in it.
    pub fn remove_below(&mut self, path: &str) {
        let below = format!("{path}/");
        let stays = |other: &String| other != path && !other.starts_with(&below);
        self.files.retain(|other, _| stays(other));
        self.directories.retain(|other, _| stays(other));
        self.links.retain(|other, _| stays(other));
    }
}

/// The directory that a path is in.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
