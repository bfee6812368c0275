//! Locates other resources near a transfer: the directories
//! that they create, and the paths that must not be deleted.

use std::collections::BTreeSet;

use camino::Utf8Path;

use crate::{desired::Transfer, names::is_within, plan::builder::Builder};

/// Returns the directories that other resources create,
/// with those above them, whether they exist yet or not.
pub(super) fn made(builder: &Builder<'_>, transfer: &Transfer) -> BTreeSet<String> {
    let home = &builder.facts.system.home;
    let mut made = BTreeSet::new();
    for path in declared(builder, transfer) {
        let mut path = path.as_str();
        // The home directory is there, as is the root.
        while !path.is_empty() && path != home && made.insert(path.to_owned()) {
            path = path.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }
    made
}

/// Returns the absolute paths of other resources.
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
    transfers.filter(|other| other.target != transfer.target && !other.is_undeclared())
}

/// Paths below the target that are never deleted, whatever the manifest says.
#[derive(Debug, Default)]
pub(super) struct Protected {
    /// Protected with all contents.
    whole: BTreeSet<String>,
    /// Protected alone, as another resource puts it there.
    alone: BTreeSet<String>,
    /// Directories above any of these.
    above: BTreeSet<String>,
}

impl Protected {
    /// Protects resources declared below the target, and o3r-deploy's own state. A resource
    /// declared at or above the target protects only the files that it puts into it.
    pub(super) fn new(builder: &Builder<'_>, transfer: &Transfer) -> Self {
        let home = &builder.facts.system.home;
        let target = transfer.target.resolve(home);
        let mut protected = Self::default();
        for path in declared(builder, transfer) {
            protected.whole.extend(below(&path, &target));
        }
        let state = format!("{home}/.o3r-deploy");
        if is_within(&target, &state) {
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
            let meet = is_within(&target, &root);
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

    /// Whether the path is kept: with its contents, or as another resource's file.
    pub(super) fn keeps(&self, name: &str) -> bool {
        self.alone.contains(name)
            || Utf8Path::new(name)
                .ancestors()
                .any(|path| self.whole.contains(path.as_str()))
    }

    /// Whether something protected is, or will be, in this directory.
    pub(super) fn leads(&self, name: &str) -> bool {
        self.above.contains(name)
    }
}

/// Returns the path relative to a directory if it is strictly below it.
fn below(path: &str, directory: &str) -> Option<String> {
    let rest = path.strip_prefix(directory)?.strip_prefix('/')?;
    (!rest.is_empty()).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired::Directory, exclude::Exclude, offers::Offers, testing};

    #[test]
    fn regression_a_directory_outside_of_the_home_is_made_however_short_its_path_is() {
        let transfer = |target: &str| Transfer {
            target: target.parse().unwrap(),
            entries: [].into(),
            delete: false,
            exclude: Exclude::default(),
            gone: [].into(),
            restart: vec![],
            source: None,
        };
        let all = |path: &str| {
            let mut desired = testing::desired(vec![]);
            desired.directories = vec![Directory {
                path: path.parse().unwrap(),
                mode: None,
                source: None,
            }];
            let observed = testing::observed();
            let offers = Offers::default();
            let builder = Builder::new(&desired, &observed, &offers);
            let made = made(&builder, &transfer("/else"));
            made.into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(all("/d/x"), "/d /d/x");
        assert_eq!(all("/data-of-robot/x"), "/data-of-robot /data-of-robot/x");
        assert_eq!(all("~/a/b"), "/home/oem/a /home/oem/a/b");
        assert_eq!(all("~"), "");
    }
}
