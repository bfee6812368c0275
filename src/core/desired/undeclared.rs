//! Adds what a release made and no longer declares to the desired state: to be removed.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Desired, Entry, Project, ProjectFile, ProjectState, Transfer};
use crate::{
    exclude::Exclude,
    facts::{ANY_SIZE, Facts, Former, Input, Made, Observed, Undeclared},
    names::{RemotePath, absolute, is_within},
    remote,
};

/// What happens to what a release made and no longer declares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Orphans {
    /// It is removed, but for data.
    #[default]
    Remove,
    /// It stays, and plans list it.
    Keep,
}

impl Orphans {
    /// Whether it is the default.
    pub fn is_remove(&self) -> bool {
        *self == Self::Remove
    }
}

/// What an apply may do beyond what the manifest declares, by options of the command line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Permits {
    /// Take over compose projects that belong to other releases.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub take_over: bool,
    /// Also remove what is no longer declared and holds data: files that were changed on the VPU, volumes, directories.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub prune: bool,
}

impl Permits {
    /// Whether it permits nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Desired {
    /// Returns the desired state with the compose projects that the recorded release owns and this one no longer
    /// declares, to be removed.
    pub fn with_undeclared(&self, observed: &Observed) -> Cow<'_, Self> {
        let Undeclared {
            transfers,
            directories,
            ..
        } = &observed.facts.undeclared;
        let left: Vec<RemotePath> = directories
            .iter()
            .filter_map(|path| path.parse().ok())
            .collect();
        if self.orphans == Orphans::Keep {
            if left.is_empty() {
                return Cow::Borrowed(self);
            }
            let desired = self.clone();
            return Cow::Owned(Self { left, ..desired });
        }
        let projects: Vec<Project> = self
            .undeclared(observed)
            .map(|(name, made)| Project {
                undeclared: true,
                ..Project::absent(name.to_owned(), files(made))
            })
            .collect();
        if projects.is_empty() && transfers.is_empty() && left.is_empty() {
            return Cow::Borrowed(self);
        }
        let desired = self.clone();
        let mut desired = Self { left, ..desired };
        desired.projects.extend(projects);
        for (target, gone) in transfers {
            desired.add_undeclared(target, gone);
        }
        Cow::Owned(desired)
    }

    fn add_undeclared(&mut self, target: &str, gone: &BTreeMap<String, Former>) {
        let mut transfers = self.transfers.iter_mut();
        if let Some(declared) = transfers.find(|transfer| transfer.name() == target) {
            declared.gone.clone_from(gone);
        } else if let Ok(target) = target.parse() {
            self.transfers.push(Transfer {
                target,
                entries: BTreeMap::new(),
                delete: false,
                exclude: Exclude::default(),
                gone: gone.clone(),
                restart: vec![],
                source: None,
            });
        }
    }

    /// Returns what the recorded release transferred (each target with its entries) and is not among the paths that are
    /// declared, with the directories above them. `home` is the home directory on the VPU.
    pub fn formerly<'a>(
        &self,
        recorded: impl Iterator<Item = (&'a RemotePath, &'a BTreeMap<String, Entry>)>,
        home: &str,
        declared: &BTreeSet<String>,
    ) -> BTreeMap<String, BTreeMap<String, Former>> {
        let mut all = BTreeMap::new();
        for (target, entries) in recorded {
            let path = target.resolve(home);
            let mut transfers = self.transfers.iter();
            let now = transfers.find(|transfer| transfer.target.resolve(home) == path);
            let is_cleaned = self
                .transfers
                .iter()
                .any(|other| other.delete && is_within(&path, &other.target.resolve(home)));
            if is_cleaned {
                continue; // whatever is not declared goes
            }
            let is_excluded = |name: &str| now.is_some_and(|now| now.exclude.covers(name));
            let gone = entries.iter().filter(|(name, _)| {
                let path = below(&path, name);
                !declared.contains(&path) && !is_excluded(name)
            });
            let gone: BTreeMap<String, Former> = gone
                .map(|(name, entry)| (name.clone(), former(entry)))
                .collect();
            let has_files = gone.values().any(|former| *former != Former::Directory);
            if has_files {
                let name = now.map_or_else(|| target.resolve("~"), Transfer::name);
                all.insert(name, gone);
            }
        }
        all
    }

    /// Returns the roots of what is declared: targets and directories. `home` is the home directory on the VPU.
    pub fn roots(&self, home: &str) -> BTreeSet<String> {
        let targets = self.transfers.iter().map(|transfer| &transfer.target);
        let directories = self.directories.iter().map(|one| &one.path);
        let volumes = self.volumes.iter().map(|one| &one.path);
        let all = targets.chain(directories).chain(volumes);
        all.map(|path| path.resolve(home)).collect()
    }

    /// Returns all paths that something declared has, or a service mounts, and the directories above them. `home` is the home directory on the
    /// VPU.
    pub fn paths(&self, home: &str) -> BTreeSet<String> {
        let transfers = self.transfers.iter().flat_map(|transfer| {
            let target = transfer.target.resolve(home);
            let names = transfer.entries.keys();
            names.map(move |name| below(&target, name))
        });
        let projects = self.projects.iter();
        let projects = projects.filter(|project| project.state != ProjectState::Absent);
        let files =
            projects.flat_map(|project| project.files.iter().map(|file| project.path(file)));
        let directories = self.directories.iter().map(|one| one.path.resolve(home));
        let volumes = self.volumes.iter().map(|one| one.path.resolve(home));
        let stamp = self.stamp.iter().map(|path| path.resolve(home));
        let present = self.projects.iter();
        let present = present.filter(|project| project.state != ProjectState::Absent);
        let services = present.flat_map(|project| project.services.values());
        let used = services.flat_map(|service| service.binds.iter().chain(&service.env_files));
        let used = used.map(|path| absolute(path, home));
        let all = transfers.chain(files).chain(directories).chain(volumes);
        let all = all.chain(used);
        with_above(all.chain(stamp).chain([home.to_owned()]))
    }

    fn undeclared<'a>(
        &'a self,
        observed: &'a Observed,
    ) -> impl Iterator<Item = (&'a str, Option<&'a Made>)> {
        let own = self.release.name.as_str();
        let records = observed.facts.records.known();
        let recorded = records.and_then(|records| records.releases.get(own));
        let is_declared = |name: &str| self.projects.iter().any(|project| project.name == name);
        let owned = recorded.into_iter().flat_map(|recorded| {
            let projects = recorded.projects.iter();
            projects.map(|name| (name.as_str(), recorded.made.get(name)))
        });
        let owned = owned.filter(|(name, _)| observed.owner(name) == Some(own));
        let leaving = recorded.into_iter().flat_map(|recorded| &recorded.leaving);
        let leaving = leaving.filter(|name| observed.owner(name).is_none());
        let leaving = leaving.filter(|name| is_left(&observed.facts, name));
        let all = owned.chain(leaving.map(|name| (name.as_str(), None)));
        let all: Vec<_> = all.filter(|(name, _)| !is_declared(name)).collect();
        all.into_iter()
    }
}

/// Returns the paths with the directories above them.
pub fn with_above(paths: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for path in paths {
        let mut path = path.as_str();
        while !path.is_empty() && all.insert(path.to_owned()) {
            path = path.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }
    all
}

/// Returns the path of an entry; the empty name is the target itself.
pub fn below(target: &str, name: &str) -> String {
    if name.is_empty() {
        return target.to_owned();
    }
    format!("{target}/{name}")
}

fn former(entry: &Entry) -> Former {
    match entry {
        Entry::File(file) => Former::File {
            sha256: file.sha256,
            bytes: file.bytes,
        },
        Entry::Directory { .. } => Former::Directory,
        Entry::Symlink { target } => Former::Symlink {
            target: target.clone(),
        },
    }
}

/// Whether containers or networks of a project are left that was removed from its own directory.
fn is_left(facts: &Facts, project: &str) -> bool {
    let directory = remote::project_directory(project);
    let containers = facts.containers.known();
    let mut containers = containers.into_iter().flat_map(BTreeMap::values);
    let networks = facts.networks.known();
    let mut networks = networks.into_iter().flat_map(BTreeMap::values);
    containers.any(|one| one.project == project && one.working_dir == directory)
        || networks.any(|network| network.project == project)
}

/// The files that a project was started from. Their sizes are not recorded.
fn files(made: Option<&Made>) -> Vec<ProjectFile> {
    let inputs = made.into_iter().flat_map(|made| &made.inputs);
    let files = inputs.filter_map(|(input, value)| match input {
        Input::File(relative) => Some(ProjectFile {
            sha256: value.parse().ok()?,
            bytes: ANY_SIZE,
            ..ProjectFile::named(relative.clone())
        }),
        _ => None,
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::FileEntry,
        digest::Digest,
        facts::{Applied, Left, Probed, Records, Release},
        testing,
    };

    fn release(projects: &[&str]) -> Release {
        let made = |name: &&str| {
            let file = (Input::File("a".into()), Digest::of(*name).to_string());
            let made = Made {
                running: true,
                inputs: [file].into(),
            };
            ((*name).to_owned(), made)
        };
        Release {
            version: "1".into(),
            desired: Digest::of(b""),
            projects: projects.iter().map(|name| (*name).to_owned()).collect(),
            autostart: [].into(),
            removed: [].into(),
            leaving: [].into(),
            left: Left::default(),
            adopted_images: [].into(),
            keep: None,
            made: projects.iter().map(made).collect(),
        }
    }

    fn observed(releases: &[(&str, &str, &[&str])]) -> Observed {
        let mut observed = testing::observed();
        let mut records = Records::default();
        for (name, at, projects) in releases {
            records
                .releases
                .insert((*name).to_owned(), release(projects));
            let applied = Applied {
                at: (*at).to_owned(),
                ..Applied::default()
            };
            let applied = ((*name).to_owned(), applied);
            observed.readings.applied.extend([applied]);
        }
        observed.facts.records = Probed::Known(records);
        observed
    }

    #[test]
    fn projects_that_the_release_owns_and_no_longer_declares_are_removed() {
        let mut desired = testing::desired(vec![testing::project("web", [])]);
        let observed = observed(&[
            ("app", "2026-01-02", &["web", "old", "theirs"]),
            // Two records with one project: older versions left both.
            ("other", "2026-01-03", &["theirs", "only theirs"]),
        ]);
        assert_eq!(observed.owner("theirs"), Some("other"));
        assert_eq!(observed.owner("old"), Some("app"));
        assert_eq!(observed.owner("nobody's"), None);
        let with = desired.with_undeclared(&observed).into_owned();
        let names: Vec<&str> = with.projects.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["web", "old"]);
        let old = &with.projects[1];
        assert!(old.undeclared);
        assert_eq!(old.files[0].sha256, Digest::of("old"));
        assert_eq!(with.digest(), desired.digest());
        desired.orphans = Orphans::Keep;
        assert_eq!(desired.with_undeclared(&observed).projects.len(), 1);
    }

    #[test]
    fn what_was_transferred_and_is_not_declared_goes() {
        let entry = |content: &str| {
            Entry::File(FileEntry {
                local: "".into(),
                sha256: Digest::of(content),
                bytes: content.len() as u64,
                mode: 0o644,
                secret: false,
            })
        };
        let directory = || Entry::Directory { mode: None };
        let tree = |names: &[&str]| -> BTreeMap<String, Entry> {
            let files = names.iter().map(|name| ((*name).to_owned(), entry(name)));
            files.chain([(String::new(), directory())]).collect()
        };
        let path = |path: &str| -> RemotePath { path.parse().unwrap() };
        let gone = |desired: &Desired, target: &str, names: &[&str]| {
            let recorded = [(path(target), tree(names))];
            let recorded = recorded.iter().map(|(target, entries)| (target, entries));
            let declared = desired.paths("/home/oem");
            let all = desired.formerly(recorded, "/home/oem", &declared);
            let targets = all.into_iter().map(|(target, gone)| {
                let names: Vec<String> = gone.into_keys().collect();
                format!("{target}: {}", names.join(" "))
            });
            targets.collect::<Vec<_>>().join(", ")
        };
        let transfer = |target: &str, names: &[&str]| Transfer {
            target: path(target),
            entries: tree(names),
            delete: false,
            exclude: Exclude::new(&["*.keep".parse().unwrap()]),
            gone: BTreeMap::new(),
            restart: vec![],
            source: None,
        };
        let mut desired = testing::desired(vec![]);
        assert_eq!(gone(&desired, "~/a", &["one", "two"]), "~/a:  one two");
        assert_eq!(
            gone(&desired, "~/a", &[]),
            "",
            "directories alone are not ours"
        );
        desired.transfers = vec![transfer("/home/oem/a", &["one"])];
        assert_eq!(
            gone(&desired, "~/a", &["one", "two", "b.keep"]),
            "/home/oem/a: two"
        );
        // Another transfer has it, or something else that is declared.
        assert_eq!(gone(&desired, "~", &["a/one", "a/two"]), "~: a/two");
        desired.transfers.push(transfer("~/a/b", &["two"]));
        assert_eq!(
            gone(&desired, "~/a", &["b/two", "b/three"]),
            "/home/oem/a: b/three"
        );
        desired.stamp = Some(path("~/stamp"));
        assert_eq!(gone(&desired, "~", &["stamp"]), "");
        desired.transfers[0].delete = true;
        assert_eq!(gone(&desired, "~/a", &["two"]), "", "it goes in any case");
    }
}
