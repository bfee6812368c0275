//! Finds volumes of containers that docker-compose 1.x handles in an undesirable way: one that
//! covers a declared mount is moved over to the new container ("host mapping has no effect"), and
//! an anonymous one of a container that is scaled down is left behind.

use std::collections::BTreeMap;

use crate::{
    desired::{Mounted, Project},
    facts::{AnonymousVolume, Container, Input, Made, MountKind},
    plan::{Cause, Command, Note, NoteCode, builder::Builder, compose::Found, image},
    remote,
};

/// A container's volume at a destination where its service mounts something else.
pub(super) struct Covered<'a> {
    id: &'a str,
    pub(super) container: &'a Container,
    destination: &'a str,
    volume: &'a str,
    /// The name or ID by which docker on the VPU finds its image.
    image: &'a str,
    is_anonymous: bool,
    wanted: &'a Mounted,
    /// The desired mount, as shown to people.
    becomes: String,
}

/// Returns all covered volumes of a project.
pub(super) fn covered<'a>(
    builder: &Builder<'a>,
    project: &'a Project,
    found: &Found<'a>,
) -> Vec<Covered<'a>> {
    let home = &builder.facts.system.home;
    let mut covered = vec![];
    for (id, container) in &found.containers {
        let Some(service) = project.services.get(&container.service) else {
            continue;
        };
        for (destination, mount) in &container.mounts {
            let Some(wanted) = service.mounts.get(destination) else {
                continue;
            };
            let becomes = match wanted {
                Mounted::Path(path) => path.replacen('~', home, usize::from(path.starts_with('~'))),
                Mounted::Memory => "memory".to_owned(),
                Mounted::Volume(name, older) => {
                    if mount.name == *name || older.as_ref() == Some(&mount.name) {
                        continue;
                    }
                    format!("volume {name}")
                }
            };
            if mount.kind == MountKind::Volume && !mount.name.is_empty() {
                covered.push(Covered {
                    id,
                    container,
                    destination,
                    volume: &mount.name,
                    image: image::reference(builder.facts, &container.image),
                    is_anonymous: mount.anonymous,
                    wanted,
                    becomes,
                });
            }
        }
    }
    covered
}

impl Covered<'_> {
    pub(super) fn cause(&self) -> Cause {
        let attribute = format!(
            "container {}: mount {}",
            self.container.name, self.destination
        );
        Cause::differs(attribute, self.describe(), &self.becomes)
    }

    /// Describes the volume in a few words.
    fn describe(&self) -> String {
        if self.is_anonymous {
            format!("anonymous volume {}", self.short())
        } else {
            format!("volume {}", self.volume)
        }
    }

    /// The first 12 digits of the name, as people read it.
    fn short(&self) -> &str {
        self.volume.get(..12).unwrap_or(self.volume)
    }

    /// Returns a note about what happens to an anonymous volume: no file names it.
    pub(super) fn note(&self, project: &str) -> Option<Note> {
        self.is_anonymous.then(|| {
            let Self {
                destination,
                becomes,
                container,
                ..
            } = self;
            let text = format!(
                "compose.{project}: the mount {destination} of container {} becomes {becomes}; docker-compose would \
                 keep its {} instead, so the container is recreated without it; the volume stays, unused, with its \
                 data (docker volume ls -q | grep ^{})",
                container.name,
                self.describe(),
                self.short()
            );
            Note::new(NoteCode::AnonymousVolumeCovered, text)
        })
    }
}

/// Returns the commands that keep docker-compose from moving the covered volumes over.
pub(super) fn uncover(project: &Project, covered: &[Covered<'_>]) -> Vec<Command> {
    let mut services: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for one in covered {
        let volume = match one.wanted {
            Mounted::Volume(name, _) => name.as_str(),
            Mounted::Path(_) | Mounted::Memory => "",
        };
        let mounts = services.entry(&one.container.service).or_default();
        mounts.insert(one.destination, volume);
    }
    commands(project, services)
}

/// Returns the same commands for a rollback: for mounts that the last recorded release has and this
/// plan changes, and for all of its mounts if the current state is uncertain.
pub(super) fn uncover_again(project: &Project, made: &Made, untouched: bool) -> Vec<Command> {
    let mut services: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for (input, was) in &made.inputs {
        let Input::Mount {
            service,
            destination,
        } = input
        else {
            continue;
        };
        let wanted = project.services.get(service);
        let wanted = wanted.and_then(|wanted| wanted.mounts.get(destination));
        if !untouched || wanted.is_none_or(|wanted| wanted.to_input() != *was) {
            let volume = was.strip_prefix("volume ").unwrap_or_default();
            let mounts = services.entry(service).or_default();
            mounts.insert(destination, volume);
        }
    }
    commands(project, services)
}

/// Returns the same commands for containers that no release has recorded: for all of their mounts.
pub(super) fn uncover_found(project: &Project, found: &Found<'_>) -> Vec<Command> {
    let mut services: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for container in found.containers.values() {
        let mounts = services.entry(&container.service).or_default();
        // docker-compose mounts secrets in that directory.
        let declared = container.mounts.iter().filter(|(destination, mount)| {
            !mount.anonymous && !destination.starts_with("/run/secrets/")
        });
        mounts.extend(declared.map(|(destination, mount)| {
            let is_volume = mount.kind == MountKind::Volume;
            let volume = if is_volume { mount.name.as_str() } else { "" };
            (destination.as_str(), volume)
        }));
    }
    services.retain(|_, mounts| !mounts.is_empty());
    commands(project, services)
}

fn commands(project: &Project, services: BTreeMap<&str, BTreeMap<&str, &str>>) -> Vec<Command> {
    let commands = services.into_iter().map(|(service, mounts)| {
        Command::new(remote::uncover_mounts(&project.name, service, mounts))
    });
    commands.collect()
}

/// A container that its service no longer has, because fewer replicas are declared.
pub(super) struct Surplus<'a> {
    id: &'a str,
    container: &'a Container,
    /// The name or ID by which docker on the VPU finds its image.
    image: &'a str,
    replicas: usize,
}

/// Returns the surplus containers that have anonymous volumes: docker-compose removes the
/// containers and leaves the volumes.
pub(super) fn surplus<'a>(
    builder: &Builder<'a>,
    project: &Project,
    found: &Found<'a>,
) -> Vec<Surplus<'a>> {
    let surplus = found.containers.iter().filter_map(|(id, container)| {
        let replicas = project.services.get(&container.service)?.replicas;
        let number = usize::try_from(container.number).unwrap_or(usize::MAX);
        (number > replicas && anonymous(container).next().is_some()).then_some(Surplus {
            id,
            container,
            image: image::reference(builder.facts, &container.image),
            replicas,
        })
    });
    surplus.collect()
}

impl Surplus<'_> {
    /// Returns a note about what happens to its data.
    pub(super) fn note(&self) -> Note {
        let volumes: Vec<String> = anonymous(self.container)
            .map(|(volume, destination)| format!("{volume:.12} at {destination}"))
            .collect();
        let text = format!(
            "container {} is removed, because its service now has {}; its anonymous volumes stay ({}): a rollback \
             of this apply restores them, a later release does not",
            self.container.name,
            self.replicas,
            volumes.join(", "),
        );
        Note::new(NoteCode::AnonymousVolumesLeft, text)
    }
}

/// Returns the anonymous volumes of a container: name and destination.
fn anonymous(container: &Container) -> impl Iterator<Item = (&str, &str)> {
    let mounts = container.mounts.iter();
    let volumes = mounts.filter(|(_, mount)| mount.kind == MountKind::Volume && mount.anonymous);
    volumes.map(|(destination, mount)| (mount.name.as_str(), destination.as_str()))
}

/// Returns the commands that create stand-ins for the removed containers, with their anonymous
/// volumes: docker-compose moves the volumes on from those.
pub(super) fn bring_back(
    project: &Project,
    covered: &[Covered<'_>],
    surplus: &[Surplus<'_>],
) -> Vec<Command> {
    let covered = covered
        .iter()
        .map(|one| (one.id, (one.container, one.image)));
    let surplus = surplus
        .iter()
        .map(|one| (one.id, (one.container, one.image)));
    let containers: BTreeMap<&str, (&Container, &str)> = covered.chain(surplus).collect();
    let commands = containers.into_iter().map(|(id, (container, image))| {
        let stand_in = remote::StandIn {
            id,
            project: &project.name,
            service: &container.service,
            number: &container.number.to_string(),
            working_dir: &container.working_dir,
            image,
        };
        Command::new(remote::bring_volumes_back(&stand_in, anonymous(container)))
    });
    commands.collect()
}

/// Anonymous volumes of a container of the last recorded release that an interrupted apply took
/// away: it mounted something else at their place, or removed the container.
pub(super) struct Taken<'a> {
    /// One of the volumes, for what the record says about the container.
    recorded: &'a AnonymousVolume,
    /// The name or ID by which docker on the VPU finds its image.
    image: &'a str,
    /// All volumes that the stand-in gets, by destination.
    volumes: BTreeMap<&'a str, &'a str>,
}

/// Returns all of a project's. If such a volume no longer
/// exists, the command that restores it warns.
pub(super) fn taken<'a>(
    builder: &Builder<'a>,
    project: &Project,
    found: &Found<'a>,
) -> Vec<Taken<'a>> {
    let recorded = builder.previous_anonymous_volumes();
    let recorded = recorded.iter().flat_map(|volumes| volumes.iter());
    let mut containers: BTreeMap<&str, Vec<&AnonymousVolume>> = BTreeMap::new();
    for volume in recorded.filter(|volume| volume.project == project.name) {
        containers
            .entry(&volume.container)
            .or_default()
            .push(volume);
    }
    let Some(images) = builder.facts.images.known() else {
        return vec![];
    };
    let taken = containers.into_iter().filter_map(|(id, volumes)| {
        let recorded = *volumes.first()?;
        if found.containers.contains_key(&id.to_owned()) || !images.contains_key(&recorded.image) {
            return None;
        }
        let is_successor = |container: &&&Container| {
            container.service == recorded.service && container.number.to_string() == recorded.number
        };
        let successors = found.containers.values().filter(is_successor);
        let held: BTreeMap<&str, &str> = successors
            .flat_map(|container| anonymous(container))
            .map(|(volume, destination)| (destination, volume))
            .collect();
        let mut is_taken = false;
        let mut wanted = BTreeMap::new();
        for AnonymousVolume {
            destination,
            volume,
            ..
        } in volumes
        {
            if let Some(held) = held.get(destination.as_str()) {
                wanted.insert(destination.as_str(), *held);
            } else {
                is_taken = true;
                wanted.insert(destination.as_str(), volume.as_str());
            }
        }
        is_taken.then_some(Taken {
            recorded,
            image: image::reference(builder.facts, &recorded.image),
            volumes: wanted,
        })
    });
    taken.collect()
}

impl Taken<'_> {
    /// Returns the command that gives them to a stand-in.
    pub(super) fn bring_back(&self) -> Command {
        let AnonymousVolume {
            container,
            project,
            service,
            number,
            working_dir,
            ..
        } = self.recorded;
        let stand_in = remote::StandIn {
            id: container,
            project,
            service,
            number,
            working_dir,
            image: self.image,
        };
        let volumes = self.volumes.iter();
        let volumes = volumes.map(|(destination, volume)| (*volume, *destination));
        Command::new(remote::bring_volumes_back(&stand_in, volumes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::Service,
        facts::{Image, Mount, Probed, Records, Shown},
        offers::Offers,
        testing,
    };

    #[test]
    fn anonymous_volumes_come_back_where_their_container_is_gone() {
        let recorded = |destination: &str, volume: &str| AnonymousVolume {
            container: "gone".into(),
            project: "app".into(),
            service: "main".into(),
            number: "1".into(),
            working_dir: String::new(),
            image: "sha256:a".into(),
            destination: destination.into(),
            volume: volume.into(),
        };
        let desired = testing::desired(vec![testing::project("app", [])]);
        let mut observed = testing::observed();
        let volumes = vec![recorded("/data", "old-data"), recorded("/more", "old-more")];
        observed.facts.records = Probed::Known(Records {
            anonymous_volumes: [("app".to_owned(), volumes)].into(),
            ..Records::default()
        });
        let image = Image {
            tags: [].into(),
            layers: vec![],
            arch: "arm64".into(),
            os: "linux".into(),
        };
        let images = |known: &str| Probed::Known([(known.to_owned(), image.clone())].into());
        let offers = Offers::default();
        let mut volumes = |known: &str, id: &str, number: u32, mounted: &str| {
            observed.facts.images = images(known);
            let builder = Builder::new(&desired, &observed, &offers);
            let mount = Mount {
                kind: MountKind::Volume,
                name: "new-data".into(),
                source: String::new(),
                read_write: true,
                anonymous: true,
                shown: Shown::default(),
            };
            let container = Container {
                service: "main".into(),
                number,
                mounts: [(mounted.to_owned(), mount)].into(),
                ..Container::default()
            };
            let id = id.to_owned();
            let found = Found {
                containers: [(&id, &container)].into(),
                started: None,
            };
            let taken = taken(&builder, &desired.projects[0], &found);
            let taken = taken.iter().flat_map(|taken| taken.volumes.values());
            taken.copied().collect::<Vec<_>>().join(" ")
        };
        let known = "sha256:a";
        assert_eq!(volumes(known, "2", 1, "/data"), "new-data old-more");
        assert_eq!(volumes(known, "2", 2, "/data"), "old-data old-more");
        assert_eq!(volumes(known, "2", 1, "/x"), "old-data old-more");
        assert_eq!(volumes(known, "gone", 2, "/data"), "", "it is there");
        assert_eq!(volumes("sha256:b", "2", 2, "/data"), "", "no image");
    }

    #[test]
    fn a_volume_with_a_name_is_not_anonymous() {
        let mount = |kind, anonymous| Mount {
            kind,
            name: "volume".into(),
            source: String::new(),
            read_write: true,
            anonymous,
            shown: Shown::default(),
        };
        let mounts = [
            ("/anonymous", mount(MountKind::Volume, true)),
            ("/bind", mount(MountKind::Bind, false)),
            ("/named", mount(MountKind::Volume, false)),
        ];
        let container = Container {
            mounts: mounts.map(|(to, mount)| (to.to_owned(), mount)).into(),
            ..Container::default()
        };
        let all: Vec<_> = anonymous(&container).collect();
        assert_eq!(all, [("volume", "/anonymous")]);
    }

    #[test]
    fn the_way_back_uncovers_mounts_that_the_release_has_otherwise() {
        let service = Service {
            mounts: [("/data".to_owned(), Mounted::Path("/new".into()))].into(),
            ..Service::default()
        };
        let project = testing::project("app", [("main", service)]);
        let uncovered = |was: &str, untouched: bool| {
            let input = Input::Mount {
                service: "main".into(),
                destination: "/data".into(),
            };
            let made = Made {
                running: true,
                inputs: [(input, was.to_owned())].into(),
            };
            uncover_again(&project, &made, untouched).len()
        };
        assert_eq!(uncovered("path /new", true), 0);
        assert_eq!(uncovered("path /old", true), 1);
        assert_eq!(uncovered("path /new", false), 1);
    }

    #[test]
    fn volumes_cover_mounts_that_are_declared_in_their_place() {
        let mounts = [("/data", Mounted::Path("/new".into()))];
        let service = Service {
            mounts: mounts.map(|(to, mounted)| (to.to_owned(), mounted)).into(),
            ..Service::default()
        };
        let project = testing::project("app", [("main", service)]);
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let is_covered = |kind: MountKind, name: &str, destination: &str| {
            let mount = Mount {
                kind,
                name: name.into(),
                source: "/old".into(),
                read_write: true,
                anonymous: false,
                shown: Shown::default(),
            };
            let container = Container {
                service: "main".into(),
                mounts: [(destination.to_owned(), mount)].into(),
                ..Container::default()
            };
            let id = "1".to_owned();
            let found = Found {
                containers: [(&id, &container)].into(),
                started: None,
            };
            let covered = covered(&builder, &project, &found);
            assert_eq!(uncover(&project, &covered).len(), covered.len());
            !covered.is_empty()
        };
        assert!(is_covered(MountKind::Volume, "old", "/data"));
        assert!(!is_covered(MountKind::Volume, "old", "/elsewhere"));
        assert!(!is_covered(MountKind::Volume, "", "/data"));
        assert!(!is_covered(MountKind::Bind, "", "/data"));
    }

    #[test]
    fn containers_above_the_number_that_is_declared_are_surplus_where_they_hold_data() {
        let service = Service {
            replicas: 2,
            ..Service::default()
        };
        let project = testing::project("app", [("main", service)]);
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let is_surplus = |number: u32, anonymous: bool| {
            let mount = Mount {
                kind: MountKind::Volume,
                name: "volume".into(),
                source: String::new(),
                read_write: true,
                anonymous,
                shown: Shown::default(),
            };
            let container = Container {
                service: "main".into(),
                number,
                mounts: [("/data".to_owned(), mount)].into(),
                ..Container::default()
            };
            let id = "1".to_owned();
            let found = Found {
                containers: [(&id, &container)].into(),
                started: None,
            };
            !surplus(&builder, &project, &found).is_empty()
        };
        assert!(is_surplus(3, true));
        assert!(is_surplus(4, true));
        assert!(!is_surplus(3, false));
        assert!(!is_surplus(2, true));
        assert!(!is_surplus(1, true));
    }
}
