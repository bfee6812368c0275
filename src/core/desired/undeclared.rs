//! Adds what a release made and no longer declares to the desired state: to be removed.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Desired, Project, ProjectFile};
use crate::{
    facts::{ANY_SIZE, Facts, Input, Made, Observed},
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
    /// Also remove files that were changed on the VPU.
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
        if self.orphans == Orphans::Keep {
            return Cow::Borrowed(self);
        }
        let projects: Vec<Project> = self
            .undeclared(observed)
            .map(|(name, made)| Project {
                undeclared: true,
                ..Project::absent(name.to_owned(), files(made))
            })
            .collect();
        if projects.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut desired = self.clone();
        desired.projects.extend(projects);
        Cow::Owned(desired)
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
        digest::Digest,
        facts::{Applied, Probed, Records, Release},
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
}
