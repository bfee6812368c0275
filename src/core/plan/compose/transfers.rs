//! Finds the services of a project that use the files of a transfer.

use std::collections::{BTreeMap, BTreeSet};

use super::started::Stale;
use crate::{
    desired::{Entry, Project, ProjectState, Service, Transfer},
    facts::Input,
    plan::{Address, Change, ChangeKind, NoteCode, builder::Builder, transfer},
};

/// Returns the digests of transfers and mounted files that a project's containers use, as recorded.
pub(super) fn inputs(builder: &Builder<'_>, project: &Project) -> BTreeMap<Input, String> {
    let mut inputs = BTreeMap::new();
    for transfer in &builder.desired.transfers {
        if transfer.restart.contains(&project.name) {
            let input = Input::Transfer(transfer.name());
            inputs.insert(input, transfer.digest().to_string());
        }
        for service in project.services.values() {
            for (bind, name) in mounted_files(builder, transfer, service) {
                if let Some(Entry::File(file)) = transfer.entries.get(name.as_str()) {
                    inputs.insert(Input::Mounted(bind), file.sha256.to_string());
                }
            }
        }
    }
    inputs
}

/// Returns the files of a transfer that a service mounts individually:
/// the path as mounted, and the one below the target. Such a mount keeps
/// showing the old file: it is bound to the inode, not to the name.
fn mounted_files(
    builder: &Builder<'_>,
    transfer: &Transfer,
    service: &Service,
) -> Vec<(String, String)> {
    let home = &builder.facts.system.home;
    let target = transfer.target.resolve(home);
    let mut files = vec![];
    for bind in &service.binds {
        let path = resolve(bind, home);
        let Some(rest) = path.strip_prefix(target.as_str()) else {
            continue;
        };
        let name = match rest.strip_prefix('/') {
            Some(name) => name,
            None if rest.is_empty() => "",
            None => continue,
        };
        if matches!(transfer.entries.get(name), Some(Entry::File(_))) {
            files.push((bind.clone(), name.to_owned()));
        }
    }
    files
}

fn resolve(path: &str, home: &str) -> String {
    match path.strip_prefix('~') {
        Some(rest) => format!("{home}{rest}"),
        None => path.to_owned(),
    }
}

/// What this plan changes for a project: transfers that
/// restart it, and mounted files that are replaced.
#[derive(Default)]
pub(super) struct Changed {
    pub(super) transfers: BTreeSet<String>,
    pub(super) mounted: BTreeSet<String>,
    addresses: BTreeSet<Address>,
}

impl Changed {
    /// Returns the addresses of the transfers.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Address> {
        self.addresses.iter().cloned()
    }
}

pub(super) fn changed(builder: &Builder<'_>, project: &Project) -> Changed {
    let mut changed = Changed::default();
    for transfer in &builder.desired.transfers {
        let address = transfer::address(transfer);
        let files = builder.changes_of(&address);
        if files.is_empty() {
            continue;
        }
        if transfer.restart.contains(&project.name) {
            changed.transfers.insert(transfer.name());
        }
        let before = changed.mounted.len();
        for service in project.services.values() {
            let mounted = mounted_files(builder, transfer, service).into_iter();
            let replaced = mounted.filter(|(_, name)| is_replaced(files, name));
            changed.mounted.extend(replaced.map(|(bind, _)| bind));
        }
        if transfer.restart.contains(&project.name) || changed.mounted.len() > before {
            changed.addresses.insert(address);
        }
    }
    changed
}

/// Whether the file is replaced. Permissions change in place.
fn is_replaced(changes: &[Change], name: &str) -> bool {
    changes
        .iter()
        .any(|change| change.path == name && change.change != ChangeKind::Mode)
}

/// Returns the projects whose record of what was started is removed while the files are moved in
/// place: their containers may not pass as started from the new ones.
pub(in crate::plan) fn affected(
    builder: &Builder<'_>,
    transfer: &Transfer,
    changes: &[Change],
) -> Vec<String> {
    let projects = builder.desired.projects.iter();
    let uses = |project: &&Project| {
        project.state != ProjectState::Absent
            && (transfer.restart.contains(&project.name)
                || project.services.values().any(|service| {
                    let mounted = mounted_files(builder, transfer, service);
                    mounted.iter().any(|(_, name)| is_replaced(changes, name))
                }))
    };
    projects
        .filter(uses)
        .map(|project| project.name.clone())
        .collect()
}

/// Returns the services to recreate; `None` if it is unknown which ones are affected.
pub(super) fn services(
    builder: &Builder<'_>,
    project: &Project,
    changed: &Changed,
    stale: &Stale,
) -> Option<BTreeSet<String>> {
    let mut services = BTreeSet::new();
    let (mut transfers, mut mounted) = (changed.transfers.clone(), changed.mounted.clone());
    for input in stale.inputs.keys() {
        match input {
            Input::Transfer(name) => _ = transfers.insert(name.clone()),
            Input::Mounted(path) => _ = mounted.insert(path.clone()),
            _ => {}
        }
    }
    for name in &transfers {
        let transfer = builder
            .desired
            .transfers
            .iter()
            .find(|t| t.name() == *name)?;
        let users: Vec<&String> = project
            .services
            .iter()
            .filter(|(_, service)| uses(builder, transfer, service))
            .map(|(name, _)| name)
            .collect();
        if users.is_empty() {
            return None;
        }
        services.extend(users.into_iter().cloned());
    }
    for bind in &mounted {
        let users = project
            .services
            .iter()
            .filter(|(_, s)| s.binds.contains(bind));
        services.extend(users.map(|(name, _)| name.clone()));
    }
    Some(services)
}

/// Whether a service mounts the target, or a directory above or below it.
fn uses(builder: &Builder<'_>, transfer: &Transfer, service: &Service) -> bool {
    let home = &builder.facts.system.home;
    let target = transfer.target.resolve(home);
    let volumes = builder.desired.volumes.iter();
    let volumes = volumes.filter(|volume| service.volumes.iter().any(|name| volume.name == *name));
    let volumes = volumes.map(|volume| volume.path.resolve(home));
    let binds = service.binds.iter().map(|bind| resolve(bind, home));
    let within = |one: &str, two: &str| {
        one.strip_prefix(two)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    volumes
        .chain(binds)
        .any(|path| within(&path, &target) || within(&target, &path))
}

/// Notes why a container is recreated although its definition did not change.
pub(super) fn note(builder: &mut Builder<'_>, project: &Project, changed: &Changed) {
    for bind in &changed.mounted {
        builder.note(
            NoteCode::FileMountStale,
            format!(
                "compose.{} mounts the single file {bind}, and sees its old content until the container is recreated",
                project.name
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired::Desired, exclude::Exclude, facts::Observed, offers::Offers, testing};

    fn transfer(target: &str) -> Transfer {
        Transfer {
            target: target.parse().unwrap(),
            entries: [].into(),
            delete: false,
            exclude: Exclude::default(),
            restart: vec!["app".into()],
            source: None,
        }
    }

    /// Returns the services that are recreated for these inputs if they mount these paths.
    fn recreated(
        (desired, observed): (&Desired, &Observed),
        binds: [(&str, &str); 3],
        inputs: Vec<Input>,
    ) -> Option<Vec<String>> {
        let service = |bind: &str| Service {
            binds: vec![bind.to_owned()],
            ..Service::default()
        };
        let binds = binds.map(|(name, bind)| (name, service(bind)));
        let project = testing::project("app", binds);
        let offers = Offers::default();
        let builder = Builder::new(desired, observed, &offers);
        let values = || ("old".to_owned(), "new".to_owned());
        let stale = Stale {
            record: None,
            inputs: inputs.into_iter().map(|input| (input, values())).collect(),
        };
        let services = services(&builder, &project, &Changed::default(), &stale);
        services.map(Vec::from_iter)
    }

    #[test]
    fn services_that_mount_changed_files_are_recreated() {
        let mut desired = testing::desired(vec![]);
        desired.transfers = vec![transfer("~/share"), transfer("~/other")];
        let observed = testing::observed();
        let binds = [
            ("above", "/home/oem"),
            ("below", "~/share/sub"),
            ("beside", "~/shared"),
        ];
        let services = |inputs| recreated((&desired, &observed), binds, inputs);
        let share = || Input::Transfer("~/share".into());
        assert_eq!(services(vec![share()]).unwrap(), ["above", "below"]);
        let mounted = Input::Mounted("~/shared".into());
        assert_eq!(services(vec![mounted]).unwrap(), ["beside"]);
        let file = Input::File("a".into());
        assert_eq!(services(vec![file]).unwrap(), [""; 0]);
        let unknown = Input::Transfer("~/gone".into());
        assert_eq!(services(vec![share(), unknown]), None);
        let apart = [("a", "/dev"), ("b", "/etc"), ("c", "/srv")];
        let unused = recreated((&desired, &observed), apart, vec![share()]);
        assert_eq!(unused, None, "some service reads it, and none says so");
    }
}
