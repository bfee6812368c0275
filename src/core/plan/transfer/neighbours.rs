//! Locates other resources: what they create, and what of theirs must not be deleted.

use std::collections::BTreeSet;

use camino::Utf8Path;

use super::diff::is_below;
use crate::{desired::Transfer, plan::builder::Builder};

/// Directories that other resources make, with those above them: what is not there yet will be.
pub(super) fn made(builder: &Builder<'_>, transfer: &Transfer) -> BTreeSet<String> {
    let home = &builder.facts.system.home;
    let mut made = BTreeSet::new();
    for path in declared(builder, transfer) {
        let mut path = path.as_str();
        while path.len() > home.len() && made.insert(path.to_owned()) {
            path = path.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }
    made
}

/// Where other resources are.
fn declared(builder: &Builder<'_>, transfer: &Transfer) -> Vec<String> {
    let (desired, home) = (builder.desired, &builder.facts.system.home);
    let directories = desired.directories.iter().map(|directory| &directory.path);
    let volumes = desired.volumes.iter().map(|volume| &volume.path);
    let transfers = others(builder, transfer).map(|other| &other.target);
    directories
        .chain(volumes)
        .chain(transfers)
        .map(|path| path.resolve(home))
        .collect()
}

fn others<'a>(builder: &Builder<'a>, transfer: &'a Transfer) -> impl Iterator<Item = &'a Transfer> {
    let transfers = builder.desired.transfers.iter();
    transfers.filter(|other| other.target != transfer.target)
}

/// What no deletion touches, whatever the manifest says; by path below the target.
#[derive(Debug, Default)]
pub(super) struct Protected {
    /// With all that is in it.
    whole: BTreeSet<String>,
    /// On its own: others put it there.
    alone: BTreeSet<String>,
    /// Directories on the way to any of them.
    above: BTreeSet<String>,
}

impl Protected {
    /// What is declared below the target, and our own state. What is declared above the target, or
    /// is the target itself, protects nothing in it but the files that it puts there.
    pub(super) fn new(builder: &Builder<'_>, transfer: &Transfer) -> Self {
        let home = &builder.facts.system.home;
        let target = transfer.target.resolve(home);
        let mut protected = Self::default();
        for path in declared(builder, transfer) {
            protected.whole.extend(below(&path, &target));
        }
        let state = format!("{home}/.o3r-deploy");
        if is_below(&target, &state) {
            protected.whole.insert(String::new());
        }
        protected.whole.extend(below(&state, &target));
        for project in &builder.desired.projects {
            let directory = project.directory();
            protected.whole.extend(below(&directory, &target));
            let files = project.files.iter().map(|file| project.path(file));
            protected
                .alone
                .extend(files.filter_map(|path| below(&path, &target)));
        }
        for other in others(builder, transfer) {
            let root = other.target.resolve(home);
            let meet = is_below(&target, &root);
            for name in other.entries.keys().filter(|_| meet) {
                let path = format!("{root}/{name}");
                protected.alone.extend(below(&path, &target));
            }
        }
        let all = protected.whole.iter().chain(&protected.alone);
        let above = all.flat_map(|name| Utf8Path::new(name).ancestors().skip(1));
        protected.above = above.map(|path| path.as_str().to_owned()).collect();
        protected
    }

    /// Whether it stays with what is in it, or because another puts it there.
    pub(super) fn keeps(&self, name: &str) -> bool {
        self.alone.contains(name)
            || Utf8Path::new(name)
                .ancestors()
                .any(|path| self.whole.contains(path.as_str()))
    }

    /// Whether something that stays is, or will be, in this directory.
    pub(super) fn leads(&self, name: &str) -> bool {
        self.above.contains(name)
    }
}

/// The rest of a path strictly below a directory.
fn below(path: &str, directory: &str) -> Option<String> {
    let rest = path.strip_prefix(directory)?.strip_prefix('/')?;
    (!rest.is_empty()).then(|| rest.to_owned())
}
