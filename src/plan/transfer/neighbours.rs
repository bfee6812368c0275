//! Tells where other resources are: what they make, and what of theirs no deletion touches.

use std::collections::BTreeSet;

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
    let transfers = desired
        .transfers
        .iter()
        .filter(|other| other.target != transfer.target);
    directories
        .chain(volumes)
        .chain(transfers.map(|other| &other.target))
        .map(|path| path.resolve(home))
        .collect()
}

/// What no deletion touches, whatever the manifest says.
pub(super) fn protected(builder: &Builder<'_>, transfer: &Transfer) -> Vec<String> {
    let mut paths = declared(builder, transfer);
    let projects = builder.desired.projects.iter();
    paths.extend(projects.map(crate::desired::Project::directory));
    paths.push(format!("{}/.o3r-deploy", builder.facts.system.home));
    paths
}
