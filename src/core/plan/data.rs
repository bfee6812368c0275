//! Lists data that a release no longer declares, with its size: volumes that it created, and their directories and others.
//! Removes what is empty, and with `--prune` all of it, once the release is recorded: no undo could bring it back.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, Address, Cause, Command, NoteCode, Phase, ResourceKind,
    builder::{Builder, Draft},
    volume,
};
use crate::{
    desired::{Desired, Orphans, ProjectState, Service},
    facts::{self, Container, Data, Facts},
    names::{absolute, below_home, is_within},
    remote, units,
};

pub(super) fn plan(builder: &mut Builder<'_>) {
    let Some(volumes) = builder.facts.volumes.known() else {
        return; // everything is blocked in this case
    };
    let home = &builder.facts.system.home;
    // Each directory, with the volumes that are bound to it.
    let mut all: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for path in &builder.desired.left {
        all.entry(path.resolve(home)).or_default();
    }
    let own = volumes.iter();
    for (name, found) in own.filter(|(name, found)| is_left(builder.desired, name, found)) {
        match found.bound_to() {
            Some(directory) => all.entry(directory.to_owned()).or_default().push(name),
            None => _ = builder.unmanaged.insert(volume::address(name)),
        }
    }
    if builder.facts.undeclared.any_shared || builder.desired.orphans == Orphans::Keep {
        let volumes = all.values().flatten().copied();
        builder.unmanaged.extend(volumes.map(volume::address));
        return;
    }
    for (path, volumes) in all {
        one(builder, &path, &volumes);
    }
}

/// Returns the directories of which a plan says what is in them.
pub fn undeclared_directories(desired: &Desired, facts: &Facts) -> BTreeSet<String> {
    let volumes = facts.volumes.known();
    let volumes = volumes.into_iter().flatten();
    let own = volumes.filter(|(name, volume)| is_left(desired, name, volume));
    let bound = own.filter_map(|(_, volume)| volume.bound_to());
    let left = desired
        .left
        .iter()
        .map(|path| path.resolve(&facts.system.home));
    left.chain(bound.map(str::to_owned)).collect()
}

/// Whether the release created the volume and does not declare it.
fn is_left(desired: &Desired, name: &str, volume: &facts::Volume) -> bool {
    volume.owner.as_deref() == Some(desired.release.name.as_str())
        && desired
            .volumes
            .iter()
            .all(|declared| declared.name != *name)
}

fn one(builder: &mut Builder<'_>, path: &str, volumes: &[&str]) {
    let home = &builder.facts.system.home;
    let data = builder.facts.data.get(path).copied();
    if volumes.iter().any(|name| is_used(builder, name)) {
        let volumes = volumes.iter().map(|name| volume::address(name));
        return builder.unmanaged.extend(volumes);
    }
    let data = data.filter(|_| !is_shared(builder, path, volumes));
    if volumes.is_empty() && data.is_none() {
        return;
    }
    let what = describe(builder, path, volumes, data);
    let holds_data = data.is_some_and(|data| !data.is_empty);
    if holds_data && !builder.desired.permits.prune {
        let text = format!("{what}: no longer declared, and stays; --prune removes it");
        return builder.note(NoteCode::DataStays, text);
    }
    // What the apply of this release has left, the next one removes.
    let recorded = builder.recorded();
    let is_deployed = recorded.is_some_and(|recorded| recorded.desired == builder.desired.digest());
    if is_deployed && !builder.desired.permits.prune {
        let volumes = volumes.iter().map(|name| volume::address(name));
        return builder.unmanaged.extend(volumes);
    }
    let address = match volumes.first() {
        Some(name) => volume::address(name),
        None => Address::new(ResourceKind::Directory, below_home(path, home)),
    };
    let directory = data.map(|_| path);
    let command = remote::remove_data(directory, !holds_data, volumes.iter().copied());
    let mut draft = Draft::new(address, Action::Remove, Phase::Settle, Cause::Undeclared);
    if !volumes.is_empty() {
        let with = if directory.is_some() {
            "with"
        } else {
            "without"
        };
        draft.detail = Some(format!("{with} {}", below_home(path, home)));
    }
    if holds_data {
        let text = format!("{what}: removed with its data, which nothing brings back");
        builder.note(NoteCode::DataGoes, text);
    }
    builder.step(draft.run([Command::new(command)]));
}

/// Describes data: `~/share (volume share, 1.2 GiB)`.
fn describe(builder: &Builder<'_>, path: &str, volumes: &[&str], data: Option<Data>) -> String {
    let size = data.map(|data| {
        let at_least = if data.is_partial { "at least " } else { "" };
        if data.is_empty {
            "empty".to_owned()
        } else {
            format!("{at_least}{}", units::bytes(data.bytes))
        }
    });
    let names = (!volumes.is_empty()).then(|| format!("volume {}", volumes.join(", ")));
    let more: Vec<String> = names.into_iter().chain(size).collect();
    let path = below_home(path, &builder.facts.system.home);
    if more.is_empty() {
        return path;
    }
    format!("{path} ({})", more.join(", "))
}

/// Whether a container that stays, or is to run, uses the volume.
fn is_used(builder: &Builder<'_>, volume: &str) -> bool {
    let mut services = services(builder.desired);
    let mut foreign = foreign_containers(builder);
    services.any(|service| service.volumes.iter().any(|name| name == volume))
        || foreign.any(|container| container.volumes.contains(volume))
}

/// Whether anything else uses the directory or a part of it, or one above it, or it is no directory of ours. Only what is below the home
/// directory is the release's own: a volume may show any directory of the system.
fn is_shared(builder: &Builder<'_>, path: &str, own: &[&str]) -> bool {
    let (desired, home) = (builder.desired, &builder.facts.system.home);
    let meets = |other: &str| is_within(other, path) || is_within(path, other);
    let binds = services(desired).flat_map(|service| &service.binds);
    let mut binds = binds.map(|bind| absolute(bind, home));
    let mut mounts = foreign_containers(builder).flat_map(|one| one.mounts.values());
    let volumes = builder.facts.volumes.known();
    let volumes = volumes.into_iter().flatten();
    let goes = |name: &str, volume| is_left(desired, name, volume) && !is_used(builder, name);
    let mut others =
        volumes.filter(|(name, volume)| !own.contains(&name.as_str()) && !goes(name, volume));
    let declared = desired.volumes.iter().map(|volume| &volume.path);
    let directories = desired.directories.iter().map(|one| &one.path);
    let transfers = desired.transfers.iter();
    let transfers = transfers.filter(|transfer| !transfer.is_undeclared());
    let targets = transfers.map(|transfer| &transfer.target);
    let mut paths = declared.chain(directories).chain(targets);
    let undeclared = &builder.facts.undeclared;
    let state = format!("{home}/.o3r-deploy");
    let is_below_home = path != home && is_within(path, home);
    undeclared.shared.contains(path)
        || !is_below_home
        || meets(&state)
        || desired.paths(home).contains(path)
        || binds.any(|bind| meets(&bind))
        || mounts.any(|mount| meets(&mount.source))
        || others.any(|(_, volume)| volume.bound_to().is_some_and(meets))
        || paths.any(|other| meets(&other.resolve(home)))
}

fn services(desired: &Desired) -> impl Iterator<Item = &Service> {
    let present = desired.projects.iter();
    let present = present.filter(|project| project.state != ProjectState::Absent);
    present.flat_map(|project| project.services.values())
}

/// Returns the containers of no project of this release.
fn foreign_containers<'a>(builder: &Builder<'a>) -> impl Iterator<Item = &'a Container> {
    let projects = &builder.desired.projects;
    let containers = builder.facts.containers.known().into_iter();
    let containers = containers.flat_map(BTreeMap::values);
    containers.filter(|container| projects.iter().all(|one| one.name != container.project))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        driver::Driver,
        facts::{Observed, Probed},
        offers::Offers,
        testing,
    };

    /// A VPU with a volume of the release at `~/share`, which holds this.
    fn observed(data: Option<Data>) -> Observed {
        let mut observed = testing::observed();
        let options = [
            ("device", "/home/oem/share"),
            ("o", "bind"),
            ("type", "none"),
        ];
        let share = facts::Volume {
            driver: Driver::Local,
            options: options
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            owner: Some("app".to_owned()),
            project: String::new(),
            key: String::new(),
            anonymous: false,
        };
        observed.facts.volumes = Probed::Known([("share".to_owned(), share)].into());
        let data = data.map(|data| ("/home/oem/share".to_owned(), data));
        observed.facts.data.extend(data);
        observed
    }

    const FULL: Option<Data> = Some(Data {
        bytes: 3 << 20,
        is_empty: false,
        is_partial: false,
    });

    /// Returns what a plan says of it.
    fn planned(observed: &Observed, change: impl FnOnce(&mut Desired)) -> String {
        let mut desired = testing::desired(vec![]);
        desired.left = vec!["~/share".parse().unwrap()];
        change(&mut desired);
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, observed, &offers);
        plan(&mut builder);
        let plan = builder.finish("host");
        let steps = plan.steps.iter().map(|step| {
            format!(
                "{} {}",
                step.address,
                step.detail.as_deref().unwrap_or_default()
            )
        });
        let notes = plan.notes.iter().map(|note| note.text.clone());
        let unmanaged = plan
            .unmanaged
            .iter()
            .map(|address| format!("unmanaged {address}"));
        steps
            .chain(notes)
            .chain(unmanaged)
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn data_stays_with_its_size_unless_it_is_pruned_or_empty() {
        let prune = |desired: &mut Desired| desired.permits.prune = true;
        let what = "~/share (volume share, 3.00 MiB)";
        let stays = format!("{what}: no longer declared, and stays; --prune removes it");
        assert_eq!(planned(&observed(FULL), |_| {}), stays);
        let goes = format!(
            "volume.share with ~/share; {what}: removed with its data, which nothing brings back"
        );
        assert_eq!(planned(&observed(FULL), prune), goes);
        let empty = Some(Data {
            bytes: 0,
            is_empty: true,
            is_partial: false,
        });
        let whole = "volume.share with ~/share";
        assert_eq!(planned(&observed(empty), |_| {}), whole);
        // The apply of the same release has left it.
        let mut deployed = observed(empty);
        let mut record = facts::Release::nothing();
        record.desired = testing::desired(vec![]).digest();
        let records = facts::Records {
            releases: [("app".to_owned(), record)].into(),
            ..facts::Records::default()
        };
        deployed.facts.records = Probed::Known(records);
        assert_eq!(planned(&deployed, |_| {}), "unmanaged volume.share");
        assert_eq!(planned(&deployed, prune), whole);
        let missing = "volume.share without ~/share";
        assert_eq!(planned(&observed(None), |_| {}), missing);
        let keep = |desired: &mut Desired| desired.orphans = Orphans::Keep;
        assert_eq!(planned(&observed(FULL), keep), "unmanaged volume.share");
        // Also if only the label of the volume tells whose it is.
        let unknown = |desired: &mut Desired| desired.left.clear();
        assert_eq!(planned(&observed(FULL), unknown), stays);
        let mut unknown = observed(FULL);
        unknown.facts.undeclared.any_shared = true;
        assert_eq!(planned(&unknown, prune), "unmanaged volume.share");
    }

    #[test]
    fn a_directory_that_others_use_stays() {
        let prune = |path: &'static str| {
            move |desired: &mut Desired| {
                desired.permits.prune = true;
                desired.volumes = vec![testing::volume("other", path)];
            }
        };
        let alone = "volume.share without ~/share";
        assert_eq!(planned(&observed(FULL), prune("~/share/logs")), alone);
        assert_eq!(planned(&observed(FULL), prune("~")), alone);
        let apart = planned(&observed(FULL), prune("~/shared"));
        assert!(apart.contains("with ~/share"), "{apart}");
        let permitted = |desired: &mut Desired| desired.permits.prune = true;
        let mut others = observed(FULL);
        if let Probed::Known(volumes) = &mut others.facts.volumes {
            let mut theirs = volumes["share"].clone();
            theirs.owner = None;
            volumes.insert("theirs".to_owned(), theirs);
        }
        assert_eq!(planned(&others, permitted), alone);
    }
}
