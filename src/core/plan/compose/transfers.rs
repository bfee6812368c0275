//! Finds the services of a project that use the files of a transfer.

use std::collections::{BTreeMap, BTreeSet};

use super::started::Stale;
use crate::{
    desired::{Entry, Project, ProjectState, Service, Transfer},
    facts::Input,
    names::{absolute, is_within},
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
        let path = absolute(bind, home);
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
    for input in stale.doubtful() {
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
pub(in crate::plan) fn uses(builder: &Builder<'_>, transfer: &Transfer, service: &Service) -> bool {
    let home = &builder.facts.system.home;
    let target = transfer.target.resolve(home);
    let volumes = builder.desired.volumes.iter();
    let volumes = volumes.filter(|volume| service.volumes.iter().any(|name| volume.name == *name));
    let volumes = volumes.map(|volume| volume.path.resolve(home));
    let binds = service.binds.iter().map(|bind| absolute(bind, home));
    volumes
        .chain(binds)
        .any(|path| is_within(&path, &target) || is_within(&target, &path))
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
    use crate::{
        desired::{Desired, FileEntry},
        digest::Digest,
        exclude::Exclude,
        facts::Observed,
        offers::Offers,
        plan::{Action, Cause, Phase, builder::Draft},
        testing,
    };

    fn transfer(target: &str) -> Transfer {
        Transfer {
            target: target.parse().unwrap(),
            entries: [].into(),
            delete: false,
            exclude: Exclude::default(),
            gone: BTreeMap::new(),
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
            unrecorded: None,
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

    #[test]
    fn containers_are_made_from_transfers_that_restart_them_and_files_that_they_mount() {
        let file = |name: &str| {
            let entry = FileEntry {
                local: name.into(),
                sha256: Digest::of(name),
                bytes: 1,
                mode: 0o644,
                secret: false,
            };
            (name.to_owned(), Entry::File(entry))
        };
        let with_files = |target: &str, restart: &[&str]| Transfer {
            entries: [file("a"), file("b")].into(),
            restart: restart.iter().map(|name| (*name).into()).collect(),
            ..transfer(target)
        };
        let mut desired = testing::desired(vec![]);
        desired.transfers = vec![with_files("~/share", &["app"]), with_files("~/other", &[])];
        let service = Service {
            binds: ["~/other/b", "/dev"].map(str::to_owned).into(),
            ..Service::default()
        };
        let project = testing::project("app", [("main", service)]);
        let observed = testing::observed();
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let digest = desired.transfers[0].digest().to_string();
        let expected = [
            (Input::Transfer("~/share".into()), digest),
            (
                Input::Mounted("~/other/b".into()),
                Digest::of("b").to_string(),
            ),
        ];
        assert_eq!(inputs(&builder, &project), expected.into());
    }

    #[test]
    fn a_service_uses_a_transfer_into_the_directory_of_its_volume() {
        let mut desired = testing::desired(vec![]);
        desired.volumes = vec![
            testing::volume("share", "~/share"),
            testing::volume("other", "/srv/other"),
        ];
        let observed = testing::observed();
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let is_used = |name: &str| {
            let service = Service {
                volumes: vec![name.to_owned()],
                ..Service::default()
            };
            uses(&builder, &transfer("~/share/sub"), &service)
        };
        assert!(is_used("share"));
        assert!(!is_used("other"));
    }

    #[test]
    fn a_container_that_is_recreated_for_a_file_that_it_mounts_is_noted() {
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let notes = |mounted: &[&str]| {
            let changed = Changed {
                mounted: mounted.iter().map(|path| (*path).to_owned()).collect(),
                ..Changed::default()
            };
            let mut builder = Builder::new(&desired, &observed, &offers);
            note(&mut builder, &testing::project("app", []), &changed);
            let notes = builder.finish("host").notes;
            notes.iter().map(|note| note.code).collect::<Vec<_>>()
        };
        assert_eq!(notes(&[]), []);
        assert_eq!(notes(&["/home/oem/a"]), [NoteCode::FileMountStale]);
    }

    /// A transfer of this one file.
    fn single(target: &str) -> Transfer {
        let entry = FileEntry {
            local: "a".into(),
            sha256: Digest::of(b"a"),
            bytes: 1,
            mode: 0o644,
            secret: false,
        };
        Transfer {
            entries: [(String::new(), Entry::File(entry))].into(),
            restart: vec![],
            ..transfer(target)
        }
    }

    #[test]
    fn a_service_mounts_the_file_of_a_transfer_by_just_its_path() {
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let service = Service {
            binds: ["~/a.conf", "~/a.conf.old", "~/a"]
                .map(str::to_owned)
                .into(),
            ..Service::default()
        };
        let files = mounted_files(&builder, &single("~/a.conf"), &service);
        assert_eq!(files, [("~/a.conf".to_owned(), String::new())]);
    }

    #[test]
    fn a_project_depends_on_transfers_whose_replaced_files_it_mounts() {
        let mut desired = testing::desired(vec![]);
        desired.transfers = vec![single("~/mounted"), single("~/other")];
        let service = Service {
            binds: vec!["~/mounted".to_owned()],
            ..Service::default()
        };
        let project = testing::project("app", [("main", service)]);
        let observed = testing::observed();
        let offers = Offers::default();
        let addresses = |change: ChangeKind| {
            let mut builder = Builder::new(&desired, &observed, &offers);
            for transfer in &desired.transfers {
                let address = transfer::address(transfer);
                let mut draft = Draft::new(address, Action::Update, Phase::Switch, Cause::Missing);
                draft.changes = vec![Change {
                    path: String::new(),
                    change,
                    found: None,
                    wanted: None,
                }];
                builder.step(draft);
            }
            let changed = changed(&builder, &project);
            changed.addresses().collect::<Vec<_>>()
        };
        let mounted = transfer::address(&desired.transfers[0]);
        assert_eq!(addresses(ChangeKind::Changed), [mounted]);
        let in_place = addresses(ChangeKind::Mode);
        assert_eq!(in_place, Vec::<Address>::new());
    }

    #[test]
    fn a_file_is_replaced_unless_its_permissions_alone_change() {
        let changes = |path: &str, change: ChangeKind| {
            [Change {
                path: path.into(),
                change,
                found: None,
                wanted: None,
            }]
        };
        assert!(is_replaced(&changes("a", ChangeKind::Changed), "a"));
        assert!(is_replaced(&changes("a", ChangeKind::Deleted), "a"));
        assert!(!is_replaced(&changes("a", ChangeKind::Mode), "a"));
        assert!(!is_replaced(&changes("b", ChangeKind::Changed), "a"));
    }

    #[test]
    fn projects_that_see_a_transfer_are_affected_by_it() {
        let mounting = |bind: &str| Service {
            binds: vec![bind.to_owned()],
            ..Service::default()
        };
        let gone = Project {
            state: ProjectState::Absent,
            ..testing::project("gone", [("main", mounting("~/a.conf"))])
        };
        let projects = vec![
            testing::project("app", []),
            gone,
            testing::project("mounts", [("main", mounting("~/a.conf"))]),
            testing::project("other", [("main", mounting("~/b.conf"))]),
        ];
        let (desired, observed) = (testing::desired(projects), testing::observed());
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let changes = [Change {
            path: String::new(),
            change: ChangeKind::Changed,
            found: None,
            wanted: None,
        }];
        let transfer = Transfer {
            restart: vec!["app".into(), "gone".into()],
            ..single("~/a.conf")
        };
        assert_eq!(affected(&builder, &transfer, &changes), ["app", "mounts"]);
    }
}
