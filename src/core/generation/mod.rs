//! A generation: a release as the VPU keeps it, to return to. Writes a desired state as text that a shell script reads
//! line by line, and reads it back.
//!
//! The first line is a JSON object. Each further line is an item of the image, transfer or project before it:
//!
//! ```text
//! i sha256:8f1d… o3r-deploy/app:8f1d… app:1.0     an image: its ID, the name that holds it, its name
//! t /home/oem/share                               a transfer: its target
//! p /usr/share/oem/docker/compose/app             a project: its directory
//! f 3a6e… 0644 120 config/app.toml                a file: sha256, mode, bytes, path; s for a secret
//! d 0755 config                                   a directory, with - for its mode where none is declared
//! l link<TAB>target                               a symbolic link
//! ```

mod read;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use self::write::document;
use crate::{
    architecture::Architecture,
    desired::{
        Contents, Desired, DeviceName, DeviceSettings, Directory, Disabled, Entry, Guards, Image,
        ImageContent, ManifestRef, Orphans, Permits, Project, ProjectFile, ProjectState, Release,
        Transfer, Volume, below, with_above,
    },
    device_words::Settings,
    digest::Digest,
    exclude::Exclude,
    health::HealthGate,
    names::{self, NameGlob, ReleaseName, RemotePath, VolumeName},
    remote,
    rendered::Rendered,
};

/// The version of the text's format.
pub const FORMAT: u32 = 1;

/// A release as the VPU keeps it.
#[derive(Debug, Clone)]
pub struct Generation {
    /// What the release is, without files.
    pub header: Header,
    /// The entries of each transfer, by path below its target.
    pub entries: Vec<BTreeMap<String, Entry>>,
    /// The files of each project, with no path on this machine.
    pub files: Vec<Vec<ProjectFile>>,
}

/// The first line of the text: the release without its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// `[release].name`.
    pub release: ReleaseName,
    /// `[release].version`; empty if there is none.
    pub version: String,
    /// [`Desired::digest`], as the record of the release has it.
    pub desired: Digest,
    arch: Architecture,
    api_port: u16,
    directories: Vec<KeptDirectory>,
    volumes: Vec<KeptVolume>,
    images: Vec<KeptImage>,
    transfers: Vec<KeptTransfer>,
    /// Its projects.
    pub projects: Vec<KeptProject>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_name: Option<names::DeviceName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_settings: Option<KeptSettings>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    disabled: Vec<String>,
    /// `[apply].watchdog` in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<u64>,
    /// `[apply].keep_releases`.
    pub keep: u32,
    /// `[apply].keep_size` in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stamp: Option<RemotePath>,
    /// `[release].orphans`.
    #[serde(default, skip_serializing_if = "Orphans::is_remove")]
    orphans: Orphans,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptSettings {
    values: Settings,
    save: bool,
    network: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptDirectory {
    path: RemotePath,
    mode: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptVolume {
    name: VolumeName,
    path: RemotePath,
    replace: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptImage {
    name: String,
    id: Digest,
    layers: Vec<Digest>,
    staging_tag: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptTransfer {
    target: RemotePath,
    delete: bool,
    exclude: Vec<NameGlob>,
    restart: Vec<String>,
    /// Of its entries; null in texts of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entries: Option<Digest>,
}

/// A compose project of a generation, without what its compose file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptProject {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: ProjectState,
    /// Whether it starts when the VPU boots.
    pub autostart: Option<bool>,
    /// The conditions to meet after it was started.
    pub health: HealthGate,
}

/// Why a text is not a generation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerationError {
    /// Another version of o3r-deploy wrote it.
    #[error("it has format {0}, which this version of o3r-deploy does not read")]
    Format(u64),
    /// It is not what [`document`] writes.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

impl Generation {
    /// Returns what it transfers: each target with its entries.
    pub fn transfers(&self) -> impl Iterator<Item = (&RemotePath, &BTreeMap<String, Entry>)> {
        let targets = self
            .header
            .transfers
            .iter()
            .map(|transfer| &transfer.target);
        targets.zip(&self.entries)
    }

    /// Returns the roots of what it has: targets and directories. `home` is the home directory on the VPU.
    pub fn roots(&self, home: &str) -> impl Iterator<Item = String> {
        let targets = self
            .header
            .transfers
            .iter()
            .map(|transfer| &transfer.target);
        let all = targets.chain(self.header.directories());
        all.map(move |path| path.resolve(home))
    }

    /// Returns all paths that it has, with the directories above them. `home` is the home directory on the VPU.
    pub fn paths(&self, home: &str) -> BTreeSet<String> {
        let transfers = self.transfers().flat_map(|(target, entries)| {
            let target = target.resolve(home);
            entries.keys().map(move |name| below(&target, name))
        });
        let directories = self.header.directories();
        let directories = directories.map(|path| path.resolve(home));
        let projects = self.header.projects.iter().zip(&self.files);
        let files = projects.flat_map(|(project, files)| {
            let directory = remote::project_directory(&project.name);
            files
                .iter()
                .map(move |file| below(&directory, &file.relative))
        });
        let stamp = self.header.stamp.iter();
        let stamp = stamp.map(|path| path.resolve(home));
        with_above(transfers.chain(directories).chain(files).chain(stamp))
    }

    /// Returns the desired state, with these projects: their compose files have to be read first.
    pub fn desired(self, projects: Vec<Project>) -> Desired {
        let header = self.header;
        let images = header.images.into_iter().map(|image| Image {
            name: image.name,
            content: Some(ImageContent {
                config_digest: image.id,
                layers: image.layers,
                staging_tag: image.staging_tag,
            }),
            found: None,
            source: None,
        });
        let transfers = header.transfers.into_iter().zip(self.entries);
        let transfers = transfers.map(|(transfer, entries)| Transfer {
            target: transfer.target,
            entries,
            delete: transfer.delete,
            exclude: Exclude::new(&transfer.exclude),
            gone: BTreeMap::new(),
            restart: transfer.restart,
            source: None,
        });
        Desired {
            manifest: ManifestRef::kept(&header.release, &header.version),
            release: Release {
                name: header.release,
                version: header.version,
                source: None,
            },
            guards: Guards {
                arch: header.arch,
                serial: None,
                firmware: None,
                api_port: header.api_port,
            },
            directories: header
                .directories
                .into_iter()
                .map(|directory| Directory {
                    path: directory.path,
                    mode: directory.mode,
                    source: None,
                })
                .collect(),
            volumes: header
                .volumes
                .into_iter()
                .map(|volume| Volume {
                    name: volume.name,
                    path: volume.path,
                    replace: volume.replace,
                    source: None,
                })
                .collect(),
            images: images.collect(),
            transfers: transfers.collect(),
            projects,
            device_name: header
                .device_name
                .map(|name| DeviceName { name, source: None }),
            device_settings: header.device_settings.map(|kept| DeviceSettings {
                values: kept.values,
                save: kept.save,
                network: kept.network,
                source: None,
            }),
            disabled: header
                .disabled
                .into_iter()
                .map(|name| Disabled { name, source: None })
                .collect(),
            watchdog: header.watchdog.map(Duration::from_secs),
            keep_releases: header.keep,
            keep_size: header.keep_size,
            stamp: header.stamp,
            orphans: header.orphans,
            permits: Permits::default(),
            contents: Contents::OnVpu(header.desired),
            rendered: Rendered::new(),
            left: vec![],
            destroys: false,
        }
    }
}

impl Header {
    /// Returns the directories that it has.
    pub fn directories(&self) -> impl Iterator<Item = &RemotePath> {
        let directories = self.directories.iter().map(|one| &one.path);
        let volumes = self.volumes.iter().map(|one| &one.path);
        directories.chain(volumes)
    }

    /// Whether it transfers something that may not be declared any more.
    pub fn may_transfer_more(&self, desired: &Desired) -> bool {
        let is_same = |transfer: &KeptTransfer| {
            let mut declared = desired.transfers.iter();
            let same = declared.find(|declared| declared.target == transfer.target);
            same.is_some_and(|declared| Some(declared.digest()) == transfer.entries)
        };
        self.transfers.iter().any(|transfer| !is_same(transfer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired::FileEntry, facts, testing};

    fn file(bytes: &[u8], secret: bool) -> Entry {
        Entry::File(FileEntry {
            local: camino::Utf8PathBuf::new(),
            sha256: Digest::of(bytes),
            bytes: bytes.len() as u64,
            mode: 0o640,
            secret,
        })
    }

    /// A release with one of everything.
    fn everything() -> Desired {
        let mut project = testing::project("app", []);
        project.autostart = Some(true);
        project.health.log_contains = Some("up".into());
        project.files = ["docker-compose.yml", "conf/a b.env"]
            .map(|relative| ProjectFile {
                relative: relative.into(),
                local: camino::Utf8PathBuf::new(),
                sha256: Digest::of(relative),
                bytes: 3,
                mode: 0o600,
            })
            .into();
        let mut absent = testing::project("gone", []);
        absent.state = ProjectState::Absent;
        let entries = [
            ("", Entry::Directory { mode: None }),
            ("a file", file(b"a", false)),
            ("key", file(b"key", true)),
            ("sub", Entry::Directory { mode: Some(0o750) }),
            (
                "to file",
                Entry::Symlink {
                    target: "a file".into(),
                },
            ),
        ];
        let globs: Vec<NameGlob> = vec!["*.tmp".parse().unwrap()];
        Desired {
            directories: vec![Directory {
                path: "~/data".parse().unwrap(),
                mode: Some(0o700),
                source: None,
            }],
            volumes: vec![testing::volume("share", "~/share")],
            images: vec![Image {
                name: "app:1".into(),
                content: Some(ImageContent {
                    config_digest: Digest::of(b"image"),
                    layers: vec![Digest::of(b"layer")],
                    staging_tag: "o3r-deploy/app:1".into(),
                }),
                found: None,
                source: None,
            }],
            transfers: vec![Transfer {
                target: "~/share".parse().unwrap(),
                entries: entries.map(|(name, entry)| (name.to_owned(), entry)).into(),
                delete: true,
                exclude: Exclude::new(&globs),
                gone: BTreeMap::new(),
                restart: vec!["app".into()],
                source: None,
            }],
            device_name: Some(DeviceName {
                name: "front".parse().unwrap(),
                source: None,
            }),
            disabled: vec![Disabled {
                name: "other".into(),
                source: None,
            }],
            watchdog: Some(Duration::from_secs(120)),
            stamp: Some("~/share/deployments".parse().unwrap()),
            ..testing::desired(vec![project, absent])
        }
    }

    fn kept(desired: &Desired) -> String {
        document(desired, &testing::observed().facts).unwrap()
    }

    #[test]
    fn what_is_kept_reads_back_as_it_was() {
        let desired = everything();
        let text = kept(&desired);
        let read = Generation::read(&text).unwrap();
        assert_eq!(read.header.projects.len(), 1, "absent ones are not kept");
        let mut project = desired.projects[0].clone();
        project.files.clone_from(&read.files[0]);
        let again = read.desired(vec![project]);
        assert_eq!(again.contents, Contents::OnVpu(desired.digest()));
        assert_eq!(again.digest(), desired.digest(), "with what it removed");
        assert_eq!(again.stamp, desired.stamp);
        assert_eq!(again.manifest.path, "release 1 of app");
        assert_eq!(again.transfers[0].entries, desired.transfers[0].entries);
        assert!(again.transfers[0].exclude.covers("a.tmp"));
        assert_eq!(again.projects[0].files, desired.projects[0].files);
        assert_eq!(again.projects[0].health, desired.projects[0].health);
        // A second generation of the same release has the same text.
        assert_eq!(kept(&again), text);
    }

    #[test]
    fn an_image_without_a_source_is_kept_as_the_one_that_has_its_name() {
        let mut desired = testing::desired(vec![]);
        desired.images = vec![Image {
            name: "base:1".into(),
            content: None,
            found: None,
            source: None,
        }];
        let mut facts = testing::observed().facts;
        facts.images = facts::Probed::Known(BTreeMap::new());
        assert_eq!(document(&desired, &facts), None);
        let image = facts::Image {
            tags: ["base:1".to_owned()].into(),
            layers: vec![Digest::of(b"layer")],
            arch: "arm64".into(),
            os: "linux".into(),
        };
        let id = Digest::of(b"id");
        facts.images = facts::Probed::Known([(id.to_string(), image)].into());
        let text = document(&desired, &facts).unwrap();
        let staged = format!("o3r-deploy/app:{}", id.short());
        assert!(
            text.contains(&format!("\ni {id} {staged} base:1\n")),
            "{text}"
        );
        let again = Generation::read(&text).unwrap().desired(vec![]);
        let content = again.images[0].content.clone().unwrap();
        assert_eq!(content.layers, [Digest::of(b"layer")]);
    }

    #[test]
    fn a_text_of_another_version_or_a_damaged_one_is_refused() {
        let text = kept(&everything());
        let newer = text.replacen("\"format\":1", "\"format\":2", 1);
        let error = |text: &str| Generation::read(text).unwrap_err();
        assert_eq!(error(&newer), GenerationError::Format(2));
        for end in [0, 1, 40, text.find("\np ").unwrap() + 1] {
            let error = error(&text[..end]);
            assert!(matches!(error, GenerationError::Damaged(_)), "{end}");
        }
        for line in ["x y", "f abc 0644 1 a", "d 9 a", "l a", "oops"] {
            let damaged = format!("{text}{line}\n");
            assert!(
                matches!(error(&damaged), GenerationError::Damaged(_)),
                "{line}"
            );
        }
    }
}
