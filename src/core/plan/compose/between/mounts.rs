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
pub(super) fn uncover_again(
    project: &Project,
    made: Option<&Made>,
    untouched: bool,
) -> Vec<Command> {
    let mut services: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for (input, was) in made.iter().flat_map(|made| &made.inputs) {
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
