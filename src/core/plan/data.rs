//! Lists data that a release no longer declares, with its size: volumes that it created, and their directories and others.
//! Removes what is empty, and with `--prune` all of it, once the release is recorded: no undo could bring it back.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, Address, Cause, Command, NoteCode, Phase, ResourceKind,
    builder::{Builder, Draft},
    volume,
};
use crate::{
    desired::{Desired, Mounted, Orphans, ProjectState, Service},
    facts::{self, Container, Data, Facts, Left},
    names::{absolute, below_home, is_within},
    remote, units,
};

/// Data that is no longer declared: a directory with the volumes that are bound to it, or a volume of docker's own.
pub(super) struct Found<'a> {
    /// By absolute path.
    directory: Option<String>,
    volumes: Vec<&'a str>,
    fate: Fate,
}

/// What happens to data that is no longer declared.
enum Fate {
    /// It stays. A note says so, or else its volumes are listed.
    Stays(Option<String>),
    /// It goes; the directory only if it is there and nothing else uses it.
    Goes {
        directory: Option<Data>,
        what: String,
    },
}

/// Decides what happens to the data that is no longer declared.
pub(super) fn decide<'a>(builder: &Builder<'a>) -> Vec<Found<'a>> {
    let (facts, desired) = (builder.facts, builder.desired);
    let home = &facts.system.home;
    // Each directory, with the volumes that are bound to it.
    let mut all: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for path in &desired.left {
        all.entry(path.resolve(home)).or_default();
    }
    let mut own = vec![];
    for (name, volume) in volumes_left(desired, facts) {
        match volume.bound_to() {
            Some(directory) => all.entry(directory.to_owned()).or_default().push(name),
            None => own.push(name),
        }
    }
    let all = all.into_iter().map(|(path, names)| (Some(path), names));
    let own = own.into_iter().map(|name| (None, vec![name]));
    let all = all.chain(own).map(|(directory, volumes)| Found {
        fate: fate(builder, directory.as_deref(), &volumes),
        directory,
        volumes,
    });
    all.collect()
}

/// Returns what nothing else on the VPU tells, for the record; also what goes, as its removal may fail.
pub(super) fn left(builder: &Builder<'_>, found: &[Found<'_>]) -> Left {
    let (facts, desired) = (builder.facts, builder.desired);
    let volumes = facts.volumes.known();
    let is_labelled = |name: &str| {
        let volume = volumes.and_then(|volumes| volumes.get(name));
        volume.is_some_and(|volume| is_ours(desired, volume))
    };
    let declared: BTreeSet<String> = desired
        .left
        .iter()
        .map(|path| path.resolve(&facts.system.home))
        .collect();
    let directories = found.iter().filter_map(|found| found.directory.clone());
    let names = found.iter().flat_map(|found| &found.volumes);
    let names = names.filter(|name| !is_labelled(name));
    Left {
        // What is gone is nobody's.
        directories: directories
            .filter(|path| declared.contains(path) && facts.data.contains_key(path))
            .collect(),
        volumes: names.map(|name| (*name).to_owned()).collect(),
    }
}

/// Adds the notes and the steps.
pub(super) fn plan(builder: &mut Builder<'_>, found: Vec<Found<'_>>) {
    for Found {
        directory,
        volumes,
        fate,
    } in found
    {
        match fate {
            Fate::Stays(Some(text)) => builder.note(NoteCode::DataStays, text),
            Fate::Stays(None) => {
                let volumes = volumes.iter().map(|name| volume::address(name));
                builder.unmanaged.extend(volumes);
            }
            Fate::Goes {
                directory: data,
                what,
            } => {
                removal(builder, directory.as_deref(), &volumes, data, &what);
            }
        }
    }
}

/// Returns the directories (by absolute path) and docker's own volumes (by name) of which a plan says how much is in them.
/// Not these volumes where the release is deployed already: docker takes long to tell.
pub fn undeclared_data(desired: &Desired, facts: &Facts) -> BTreeSet<String> {
    let volumes = volumes_left(desired, facts).filter(|(_, volume)| volume.bound_to().is_none());
    let asks = desired.permits.prune || !is_deployed(desired, facts);
    let volumes = volumes.map(|(name, _)| name.to_owned()).filter(|_| asks);
    let directories = undeclared_directories(desired, facts);
    directories.into_iter().chain(volumes).collect()
}

/// Returns the directories that are no longer declared, by absolute path.
pub fn undeclared_directories(desired: &Desired, facts: &Facts) -> BTreeSet<String> {
    let volumes = volumes_left(desired, facts);
    let bound = volumes.filter_map(|(_, volume)| volume.bound_to());
    let left = desired
        .left
        .iter()
        .map(|path| path.resolve(&facts.system.home));
    left.chain(bound.map(str::to_owned)).collect()
}

/// Whether this very release is the recorded one; one that is destroyed has no record.
fn is_deployed(desired: &Desired, facts: &Facts) -> bool {
    match recorded(desired, facts) {
        Some(recorded) => recorded.desired == desired.digest(),
        None => desired.destroys,
    }
}

fn recorded<'a>(desired: &Desired, facts: &'a Facts) -> Option<&'a facts::Release> {
    let releases = &facts.records.known()?.releases;
    releases.get(desired.release.name.as_str())
}

/// Whether the release created the volume, by our label.
fn is_ours(desired: &Desired, volume: &facts::Volume) -> bool {
    volume.owner.as_deref() == Some(desired.release.name.as_str())
}

/// Returns the volumes that the release has and does not declare: those with our label, and those that docker-compose
/// created for its projects.
fn volumes_left<'a>(
    desired: &'a Desired,
    facts: &'a Facts,
) -> impl Iterator<Item = (&'a str, &'a facts::Volume)> {
    let is_declared = move |name: &str, found: &facts::Volume| {
        let mut declared = desired.volumes.iter();
        declared.any(|volume| volume.name == *name)
            || is_of_compose(desired, name, found)
            || services(desired).any(|service| service.volumes.iter().any(|used| used == name))
    };
    let of_projects = of_projects(desired, facts);
    let volumes = facts.volumes.known().into_iter().flatten();
    let left = volumes.filter(move |(name, volume)| {
        !is_declared(name, volume)
            && (is_ours(desired, volume) || of_projects.contains(name.as_str()))
    });
    left.map(|(name, volume)| (name.as_str(), volume))
}

/// Whether a compose file declares the volume, or it is one of a project that the manifest declares absent: those stay.
fn is_of_compose(desired: &Desired, name: &str, found: &facts::Volume) -> bool {
    let mut projects = desired.projects.iter();
    projects.any(|project| {
        let mut volumes = project.volumes.iter();
        let is_absent = project.state == ProjectState::Absent && !project.undeclared;
        is_absent && found.project == project.name
            || volumes.any(|one| one.name == name || one.older_name.as_deref() == Some(name))
    })
}

/// Returns the volumes that docker-compose created for projects of the recorded release or of earlier ones, and the
/// anonymous ones of containers that go.
fn of_projects<'a>(desired: &Desired, facts: &'a Facts) -> BTreeSet<&'a str> {
    let Some(recorded) = recorded(desired, facts) else {
        return BTreeSet::new();
    };
    let volumes = facts.volumes.known();
    let is_of = |name: &str, project: &str| {
        let found = volumes.and_then(|volumes| volumes.get(name));
        found.is_some_and(|found| found.project == project)
    };
    let mounted = recorded.made.iter().flat_map(|(project, made)| {
        let mounts = made.inputs.values();
        let names = mounts.filter_map(|value| Mounted::volume_in(value));
        names.filter(move |name| is_of(name, project))
    });
    let goes = |project: &str| {
        let mut projects = desired.projects.iter();
        projects.any(|one| one.undeclared && one.name == project)
    };
    let containers = facts.containers.known();
    let containers = containers.into_iter().flat_map(BTreeMap::values);
    let going = containers.filter(|container| goes(&container.project));
    let anonymous = going.flat_map(|container| &container.volumes);
    let anonymous = anonymous.filter(|name| {
        let found = volumes.and_then(|volumes| volumes.get(*name));
        is_anonymous(name) && found.is_some_and(|found| found.project.is_empty())
    });
    let all = mounted.chain(anonymous.map(String::as_str));
    all.chain(recorded.left.volumes.iter().map(String::as_str))
        .collect()
}

/// Whether a volume has a name that docker chose.
fn is_anonymous(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn fate(builder: &Builder<'_>, path: Option<&str>, volumes: &[&str]) -> Fate {
    let (facts, desired) = (builder.facts, builder.desired);
    let may_be_shared = facts.undeclared.any_shared && path.is_some();
    if may_be_shared || desired.orphans == Orphans::Keep {
        return Fate::Stays(None);
    }
    if volumes.iter().any(|name| is_used(builder, name)) {
        return Fate::Stays(None);
    }
    let key = path.or(volumes.first().copied()).unwrap_or_default();
    let found = facts.data.get(key).copied();
    let data = found.filter(|_| path.is_none_or(|path| !is_shared(builder, path, volumes)));
    if volumes.is_empty() && data.is_none() {
        return Fate::Stays(None);
    }
    let what = describe(builder, path, volumes, data);
    // Docker does not tell whether a volume of its own is empty.
    let holds_data = path.is_none() || data.is_some_and(|data| !data.is_empty);
    let prune = desired.permits.prune;
    if holds_data && !prune {
        let is_sized = path.is_some() || found.is_some();
        let option = builder.prune_option();
        let why = if desired.destroys {
            "is data, and stays"
        } else {
            "no longer declared, and stays"
        };
        let text = format!("{what}: {why}; {option} removes it");
        return Fate::Stays(is_sized.then_some(text));
    }
    // What the apply of this release has left, the next one removes.
    if is_deployed(desired, facts) && !prune {
        return Fate::Stays(None);
    }
    Fate::Goes {
        directory: data.filter(|_| path.is_some()),
        what,
    }
}

/// Adds the step that removes data.
fn removal(
    builder: &mut Builder<'_>,
    path: Option<&str>,
    volumes: &[&str],
    data: Option<Data>,
    what: &str,
) {
    let home = &builder.facts.system.home;
    let shown = path.map(|path| below_home(path, home)).unwrap_or_default();
    let holds_data = path.is_none() || data.is_some_and(|data| !data.is_empty);
    let address = match volumes.first() {
        Some(name) => volume::address(name),
        None => Address::new(ResourceKind::Directory, &shown),
    };
    let directory = path.filter(|_| data.is_some());
    let command = remote::remove_data(directory, !holds_data, volumes.iter().copied());
    let mut draft = Draft::new(address, Action::Remove, Phase::Settle, Cause::Undeclared);
    if !volumes.is_empty() && path.is_some() {
        let with = if directory.is_some() {
            "with"
        } else {
            "without"
        };
        draft.detail = Some(format!("{with} {shown}"));
    }
    if holds_data {
        let text = format!("{what}: removed with its data, which nothing brings back");
        builder.note(NoteCode::DataGoes, text);
    }
    builder.step(draft.run([Command::new(command)]));
}

/// Describes data: `~/share (volume share, 1.2 GiB)`.
fn describe(
    builder: &Builder<'_>,
    path: Option<&str>,
    volumes: &[&str],
    data: Option<Data>,
) -> String {
    let size = data.map(|data| {
        let at_least = if data.is_partial { "at least " } else { "" };
        if data.is_empty {
            "empty".to_owned()
        } else {
            format!("{at_least}{}", units::bytes(data.bytes))
        }
    });
    let names = (!volumes.is_empty()).then(|| format!("volume {}", volumes.join(", ")));
    let Some(path) = path else {
        let size = size.map(|size| format!(" ({size})")).unwrap_or_default();
        return names.unwrap_or_default() + &size;
    };
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
    let going: BTreeSet<&str> = volumes_left(desired, builder.facts)
        .map(|(name, _)| name)
        .filter(|name| !is_used(builder, name))
        .collect();
    let mut others =
        volumes.filter(|(name, _)| !own.contains(&name.as_str()) && !going.contains(name.as_str()));
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
        let found = decide(&builder);
        plan(&mut builder, found);
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

    /// A VPU with a volume that docker-compose created for a project that the release had.
    fn with_compose_volume() -> Observed {
        let mut observed = testing::observed();
        let volume = |project: &str| facts::Volume {
            driver: Driver::Local,
            options: BTreeMap::new(),
            owner: None,
            project: project.to_owned(),
            key: "data".to_owned(),
            anonymous: false,
        };
        let all = [("web_data", "web"), ("other_data", "other"), ("theirs", "")];
        let all = all.map(|(name, project)| (name.to_owned(), volume(project)));
        observed.facts.volumes = Probed::Known(all.into());
        let mount = |path: &str| facts::Input::Mount {
            service: "a".to_owned(),
            destination: path.to_owned(),
        };
        let inputs = ["web_data", "theirs"].map(|name| (mount(name), format!("volume {name}")));
        let made = facts::Made {
            running: true,
            inputs: inputs.into(),
        };
        let releases = [("app".to_owned(), testing::release("web", made))];
        observed.facts.records = Probed::Known(facts::Records {
            releases: releases.into(),
            ..facts::Records::default()
        });
        observed
    }

    #[test]
    fn a_volume_that_docker_compose_created_is_data() {
        let mut observed = with_compose_volume();
        let prune = |desired: &mut Desired| desired.permits.prune = true;
        // Docker was not asked, or did not tell.
        assert_eq!(planned(&observed, |_| {}), "unmanaged volume.web_data");
        let data = Data {
            bytes: 3 << 20,
            is_empty: false,
            is_partial: false,
        };
        observed.facts.data = [("web_data".to_owned(), data)].into();
        let what = "volume web_data (3.00 MiB)";
        let stays = format!("{what}: no longer declared, and stays; --prune removes it");
        assert_eq!(planned(&observed, |_| {}), stays);
        let goes =
            format!("volume.web_data ; {what}: removed with its data, which nothing brings back");
        assert_eq!(planned(&observed, prune), goes);
        let mut desired = testing::desired(vec![]);
        assert!(undeclared_data(&desired, &observed.facts).contains("web_data"));
        // It is still declared, or its project is absent on purpose.
        let mut web = testing::project("web", []);
        web.volumes = vec![crate::desired::ProjectVolume {
            name: "web_data".to_owned(),
            older_name: None,
            declared: crate::compose::Volume::default(),
        }];
        let declares = |desired: &mut Desired| desired.projects = vec![web.clone()];
        assert_eq!(planned(&observed, declares), "");
        web.volumes.clear();
        web.state = ProjectState::Absent;
        let absent = |desired: &mut Desired| desired.projects = vec![web.clone()];
        assert_eq!(planned(&observed, absent), "");
        // The record remembers it, and the anonymous volume of a container that went.
        let anonymous = "0123456789abcdef".repeat(4);
        let Probed::Known(records) = &mut observed.facts.records else {
            panic!("there are records")
        };
        let release = records.releases.get_mut("app").unwrap();
        release.made.clear();
        release.left.volumes = ["web_data".to_owned(), anonymous.clone()].into();
        release.desired = desired.digest();
        if let Probed::Known(volumes) = &mut observed.facts.volumes {
            volumes.insert(anonymous.clone(), volumes["theirs"].clone());
        }
        let asked = undeclared_data(&desired, &observed.facts);
        assert_eq!(asked, BTreeSet::new(), "of what is deployed already");
        desired.permits.prune = true;
        let asked = undeclared_data(&desired, &observed.facts);
        assert!(asked.iter().eq([&anonymous, "web_data"]), "{asked:?}");
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let left = left(&builder, &decide(&builder));
        assert!(left.volumes.iter().eq([&anonymous, "web_data"]), "{left:?}");
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
