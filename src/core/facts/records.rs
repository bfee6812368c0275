//! Describes what the VPU has recorded of earlier applies.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Input;
use crate::digest::Digest;

/// The records of earlier applies in `~/.o3r-deploy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// The inputs that each compose project's containers were started with.
    pub started: BTreeMap<String, Started>,
    /// The last record of each release, by the release's name.
    pub releases: BTreeMap<String, Release>,
    /// The anonymous volumes that containers of each release had when it was recorded, by the
    /// release's name; older versions recorded none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub anonymous_volumes: BTreeMap<String, Vec<AnonymousVolume>>,
    /// Marks of transfers that were moved since the last release was recorded: an apply was
    /// interrupted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub moved: BTreeSet<String>,
    /// The projects that other releases took over, by the release that lost them: it does not own them any more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub taken: BTreeMap<String, BTreeSet<String>>,
    /// The names of our own under which the VPU holds the images of kept releases.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub held_images: BTreeSet<String>,
    /// Files added to projects' directories since the last release was recorded, by project: an
    /// apply was interrupted.
    #[serde(default)]
    pub added: BTreeMap<String, BTreeSet<String>>,
}

impl Records {
    /// Removes from each release what others took over.
    pub fn drop_taken(&mut self) {
        for (name, projects) in &self.taken {
            let Some(release) = self.releases.get_mut(name) else {
                continue;
            };
            release
                .projects
                .retain(|project| !projects.contains(project));
            release
                .autostart
                .retain(|project| !projects.contains(project));
            release
                .made
                .retain(|project, _| !projects.contains(project));
        }
    }
}

/// An anonymous volume, and the container that had it when a release was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnonymousVolume {
    /// The container's ID.
    pub container: String,
    /// Compose project.
    pub project: String,
    /// Compose service.
    pub service: String,
    /// The container's number in the service, as in its label: `1`.
    pub number: String,
    /// The directory that docker-compose ran in.
    pub working_dir: String,
    /// The ID of the container's image.
    pub image: String,
    /// Where the container mounted the volume.
    pub destination: String,
    /// The volume's name, 64 hex digits.
    pub volume: String,
}

/// The inputs of a compose project's containers, recorded after they came up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The values of the inputs at that time; [`Input`] defines their kinds.
    pub inputs: BTreeMap<Input, String>,
    /// The containers, by ID.
    pub containers: BTreeSet<String>,
    /// docker-compose's hashes of their services' configurations; older versions did not record
    /// them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hashes: BTreeSet<String>,
    /// The boot in which they were started.
    pub boot_id: String,
    /// For how many milliseconds services were down when an apply last replaced their containers: from the first signal to
    /// the start of the successor, by docker's events.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub down: BTreeMap<String, u64>,
}

/// One successful apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// `[release].version`.
    pub version: String,
    /// Digest of everything that was declared.
    pub desired: Digest,
    /// The compose projects that it owns.
    #[serde(default)]
    pub projects: BTreeSet<String>,
    /// The projects whose autostart this release or an earlier one enabled.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub autostart: BTreeSet<String>,
    /// The projects that it declares absent.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub removed: BTreeSet<String>,
    /// The projects that it no longer declared and removed once it was recorded: something of them may be left.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub leaving: BTreeSet<String>,
    /// Data of earlier releases that it does not declare, and that stays until it is pruned.
    #[serde(default, skip_serializing_if = "Left::is_none")]
    pub left: Left,
    /// The images that it or an earlier release found by name: they are not the release's own.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub adopted_images: BTreeSet<String>,
    /// How many earlier releases the VPU keeps beside it; null in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// The inputs of each project, which a failed apply rolls back to.
    #[serde(default)]
    pub made: BTreeMap<String, Made>,
}

impl Release {
    /// A release that has nothing.
    pub(crate) const fn nothing() -> Self {
        Self {
            version: String::new(),
            desired: Digest::NONE,
            projects: BTreeSet::new(),
            autostart: BTreeSet::new(),
            removed: BTreeSet::new(),
            leaving: BTreeSet::new(),
            left: Left {
                directories: BTreeSet::new(),
                volumes: BTreeSet::new(),
            },
            adopted_images: BTreeSet::new(),
            keep: None,
            made: BTreeMap::new(),
        }
    }

    /// Whether it has no project, and removes some.
    pub fn only_removes(&self) -> bool {
        self.projects.is_empty() && !self.removed.is_empty()
    }
}

/// Data that earlier releases made and nothing declares any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Directories, by absolute path.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub directories: BTreeSet<String>,
    /// Volumes that docker-compose created, by name: no label of ours tells whose they are.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
}

impl Left {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What the VPU keeps to return to: `[apply].keep_releases` and `[apply].keep_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// The most earlier releases.
    pub releases: u32,
    /// The most bytes that they may hold; null for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// The inputs of a compose project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Whether its containers should run.
    pub running: bool,
    /// The values of the inputs, as in [`Started`].
    pub inputs: BTreeMap<Input, String>,
}
