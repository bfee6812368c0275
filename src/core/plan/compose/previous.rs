//! Builds the commands that roll a project back to the last recorded release, from any point that
//! this apply or an interrupted one reached.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Found, address,
    between::Between,
    files::Place,
    loses_containers,
    start::{Recreate, record, restore_project},
    started::stranger,
};
use crate::{
    desired::{COMPOSE_FILE, Desired, Project, ProjectState},
    digest::Digest,
    facts::{Container, Facts, Input, Made, PathFact, Probed},
    health::HealthGate,
    plan::{Action, Command, Note, NoteCode, builder::Builder, image, volume},
    remote::{self, PreviousFile, State},
};

/// What a rollback restores of a project: what the last recorded release has of it, or else what
/// is there.
pub(super) struct Previous<'a> {
    /// The project's part of the record; `None` if the release did not have the project.
    made: Option<&'a Made>,
    /// Whether the project still matches the record: no apply has changed it since.
    untouched: bool,
}

impl<'a> Previous<'a> {
    pub(super) fn of(builder: &Builder<'a>, project: &Project, found: &Found<'_>) -> Self {
        let made = builder.previous_of(&project.name);
        // A step that writes a file first removes the record of what was started, and one that
        // replaces a volume removes its containers.
        let started = found.started.zip(made).is_some_and(|(started, made)| {
            let same_containers = found.containers.len() == started.containers.len()
                && stranger(builder, found, started).is_none();
            let runs_as_recorded = made.running || !any_runs(found);
            let inputs = started
                .inputs
                .iter()
                .filter(|(input, _)| !input.is_resolved());
            let same_inputs = inputs.eq(&made.inputs) && names_are(builder, made);
            same_inputs && same_containers && runs_as_recorded
        });
        Self {
            made,
            untouched: if made.is_some() {
                started
            } else {
                added(builder, project).is_empty()
            },
        }
    }

    /// Whether the project has to be restored even if no step of this plan touches it.
    pub(super) fn is_touched(&self) -> bool {
        !self.untouched
    }

    /// Whether the release has the project.
    pub(super) fn has_it(&self) -> bool {
        self.made.is_some()
    }

    /// Returns the files that the release has.
    pub(super) fn files(&self) -> impl Iterator<Item = &'a str> {
        let inputs = self.made.into_iter().flat_map(|made| made.inputs.keys());
        inputs.filter_map(|input| match input {
            Input::File(path) => Some(path.as_str()),
            _ => None,
        })
    }

    /// Returns the recorded digest of a file.
    fn recorded(&self, relative: &str) -> Option<Digest> {
        let input = Input::File(relative.to_owned());
        self.made?.inputs.get(&input)?.parse().ok()
    }

    /// Returns what the release has at a file's path.
    pub(super) fn file(
        &self,
        builder: &Builder<'_>,
        project: &Project,
        relative: &str,
    ) -> PreviousFile {
        if let Some(sha256) = self.recorded(relative) {
            return PreviousFile::Is(sha256);
        }
        let path = format!("{}/{relative}", project.directory());
        let missing = Probed::Known(PathFact::Missing);
        let is_there = builder.facts.paths.get(&path) != Some(&missing);
        if is_there && !added(builder, project).contains(relative) {
            PreviousFile::Whatever // not written by o3r-deploy; the release may use it
        } else {
            PreviousFile::None
        }
    }

    /// Returns the commands that restore the project, to run after the undo commands of earlier
    /// steps. `changed_files` are the files that have steps of their own.
    pub(super) fn restore(
        &self,
        builder: &mut Builder<'_>,
        project: &Project,
        found: &Found<'_>,
        changed_files: &BTreeSet<String>,
        switch: (&Recreate, &Between<'_>),
    ) -> Vec<Command> {
        let name = &project.name;
        let mut commands = self.files_put_before(builder, project, changed_files);
        let Some(made) = self.made else {
            if found.containers.is_empty() || added(builder, project).contains(COMPOSE_FILE) {
                let started = builder.state().started(name);
                commands.push(Command::new(remote::remove_project(name, &started)));
                return commands;
            }
            if self.is_touched() {
                let reason = "it existed before, an interrupted apply changed it, and no recorded release has it";
                builder.not_restorable(address(name), reason);
            }
            let held = builder.facts.images.known();
            let is_lost = |c: &&&Container| held.is_some_and(|held| !held.contains_key(&c.image));
            if let Some(container) = found.containers.values().find(is_lost) {
                let reason = format!("the image of container {} no longer exists", container.name);
                builder.not_restorable(address(name), reason);
            }
            let state = state(any_runs(found));
            let images = images_of(builder, found);
            commands.extend(self.restore_in_state(builder, project, state, found, &images, switch));
            if found.containers.values().all(|c| c.runs() || c.is_done()) {
                commands.push(stays_as(name, state));
            }
            // The record that is there may be of the containers that just went.
            commands.push(match found.started {
                Some(started) => record(builder, name, &started.inputs),
                None => Command::new(remote::remove_paths([builder.state().started(name)])),
            });
            return commands;
        };
        commands.extend(images(builder, project, made));
        commands.extend(volumes(builder, project, made));
        let ran = self.ran(found, made);
        if made.running && !ran {
            let reason = "its containers did not run, and a rollback does not start them";
            builder.not_restorable(address(name), reason);
        }
        if self.is_touched() && builder.previous_anonymous_volumes().is_none() {
            builder.notes(covered_meanwhile(name, found, made));
        }
        let state = state(ran);
        let images: Vec<String> = images_made(made)
            .map(|(name, id)| image::name_and_reference(builder.facts, name, id))
            .collect();
        commands.extend(self.restore_in_state(builder, project, state, found, &images, switch));
        // A project that was scaled to zero stays so.
        let is_none = !self.is_touched() && found.containers.is_empty();
        if state != ProjectState::Running || !is_none {
            commands.push(stays_as(name, state));
        }
        commands.push(record(builder, name, &made.inputs));
        commands
    }

    /// Restores files that this plan does not change
    /// because an interrupted apply already wrote them.
    fn files_put_before(
        &self,
        builder: &Builder<'_>,
        project: &Project,
        changed: &BTreeSet<String>,
    ) -> Vec<Command> {
        let mut commands = vec![];
        for file in &project.files {
            let place = Place::of(builder, project, &file.relative, self);
            let is_it = project.state != ProjectState::Absent && place.had(file);
            if !is_it && !changed.contains(&file.relative) {
                commands.push(Command::new(place.restore()));
            }
        }
        commands
    }

    /// Whether to start the project: not if the release leaves it stopped, nor if someone stopped
    /// it since. After an interrupted apply, stopped containers prove nothing.
    fn ran(&self, found: &Found<'_>, made: &Made) -> bool {
        let as_meant = || {
            found
                .containers
                .values()
                .all(|container| container.is_done())
        };
        made.running && (self.is_touched() || any_runs(found) || as_meant())
    }

    /// Restores the former containers if they still exist. Otherwise recreates the services that
    /// the apply recreated, or all of them if it is unknown how far an apply came. If an image is
    /// gone, nothing can be recreated.
    fn restore_in_state(
        &self,
        builder: &Builder<'_>,
        project: &Project,
        state: ProjectState,
        found: &Found<'_>,
        images: &[String],
        (forwards, between): (&Recreate, &Between<'_>),
    ) -> Vec<Command> {
        let then = between.restore(project, (self.made, found), !self.is_touched());
        let known = builder.facts.images.known();
        let mut wanted = self.made.into_iter().flat_map(images_made);
        let held = known.is_none_or(|known| wanted.all(|(_, id)| known.contains_key(id)));
        if self.is_touched() && held {
            return restore_project(
                project,
                state,
                &BTreeMap::new(),
                images,
                &Recreate::All,
                then,
            );
        }
        // Another step may remove a container that others of the project depend on. Containers that no release
        // has recorded come back themselves.
        let all = Recreate::Services(found.services().map(str::to_owned).collect());
        let recreate = match forwards {
            Recreate::None if loses_containers(builder, found) => &all,
            Recreate::All if self.made.is_none() => &all,
            forwards => forwards,
        };
        restore_project(project, state, &found.containers, images, recreate, then)
    }
}

/// Notes where an interrupted apply may have taken an anonymous volume away, for a release whose
/// record does not list its volumes.
fn covered_meanwhile(project: &str, found: &Found<'_>, made: &Made) -> Vec<Note> {
    let mut notes = vec![];
    for container in found.containers.values() {
        let mounts = container.mounts.iter().filter(|(destination, mount)| {
            // docker-compose mounts secrets there; they are not in the service's mounts.
            !mount.anonymous && !destination.starts_with("/run/secrets/")
        });
        let is_new = |destination: &str| {
            !made.inputs.contains_key(&Input::Mount {
                service: container.service.clone(),
                destination: destination.to_owned(),
            })
        };
        for (destination, _) in mounts.filter(|(destination, _)| is_new(destination)) {
            let text = format!(
                "compose.{project}: an interrupted apply mounted something at {destination} of container {}; if the \
                 last recorded release had an anonymous volume there, a rollback does not restore it (check on the \
                 VPU: docker volume ls --filter dangling=true)",
                container.name
            );
            notes.push(Note::new(NoteCode::AnonymousVolumeUnrecorded, text));
        }
    }
    notes
}

/// Whether image names and volumes still are the release's.
fn names_are(builder: &Builder<'_>, made: &Made) -> bool {
    let (images, volumes) = (&builder.facts.images, &builder.facts.volumes);
    let (Some(images), Some(volumes)) = (images.known(), volumes.known()) else {
        return true; // everything is blocked in this case
    };
    let (mut of_images, mut of_volumes) = (images_made(made), volumes_made(made));
    of_images.all(|(name, id)| match images.get(id) {
        Some(image) => image.tags.contains(name),
        // The image was removed: only another image with its name is evidence of an apply.
        None => !images.values().any(|image| image.tags.contains(name)),
    }) && of_volumes.all(|(name, device)| {
        let volume = volumes.get(name);
        volume.is_none_or(|volume| volume.bound_to() == Some(device))
    })
}

/// Returns the files that an apply put into the project's directory since the release and that the
/// release does not have.
pub(super) fn added<'a>(builder: &Builder<'a>, project: &Project) -> BTreeSet<&'a str> {
    let records = builder.facts.records.known();
    let added = records.and_then(|records| records.added.get(&project.name));
    added.into_iter().flatten().map(String::as_str).collect()
}

/// Returns the files that a rollback to the last recorded release would restore and of which it is
/// not known whether they are there: by path, the content, and further paths where it may be kept.
pub fn files_to_restore(
    desired: &Desired,
    facts: &Facts,
) -> BTreeMap<String, (Digest, Vec<String>)> {
    let state = State {
        home: &facts.system.home,
    };
    let records = facts.records.known();
    let release = records.and_then(|records| records.releases.get(desired.release.name.as_str()));
    let mut files = BTreeMap::new();
    for project in &desired.projects {
        let made = release.and_then(|release| release.made.get(&project.name));
        let is_wanted = |relative: &str, sha256: Digest| {
            let mut files = project.files.iter();
            project.state != ProjectState::Absent
                && files.any(|file| file.relative == relative && file.sha256 == sha256)
        };
        for (input, value) in made.into_iter().flat_map(|made| &made.inputs) {
            let (Input::File(relative), Ok(sha256)) = (input, value.parse()) else {
                continue;
            };
            let path = format!("{}/{relative}", project.directory());
            let is_there = match facts.paths.get(&path) {
                Some(Probed::Known(PathFact::File { sha256: found, .. })) => *found == Some(sha256),
                _ => false,
            };
            if !is_there && !is_wanted(relative, sha256) {
                let kept = [state.kept(&project.name, relative), state.stored(&sha256)];
                files.insert(path, (sha256, kept.into()));
            }
        }
    }
    files
}

/// Returns the commands that remove projects which the last release did not have: they may hold
/// names or ports of a restored one, and their own undo commands run later.
pub(super) fn make_room(builder: &Builder<'_>) -> Vec<Command> {
    let previous = builder.previous();
    let new = builder.desired.projects.iter().filter(|project| {
        project.state != ProjectState::Absent && !previous.made.contains_key(&project.name)
    });
    let containers = builder.facts.containers.known();
    let is_there = |project: &Project| {
        let mut all = containers.into_iter().flatten();
        all.any(|(_, container)| container.project == project.name)
            && !added(builder, project).contains(COMPOSE_FILE)
    };
    let new = new.filter(|project| !is_there(project));
    new.map(|project| {
        let started = builder.state().started(&project.name);
        Command::new(remote::remove_project(&project.name, &started))
    })
    .collect()
}

/// Returns the commands that restore image names which an interrupted apply moved. A name that this
/// plan moves has its own undo.
fn images(builder: &mut Builder<'_>, project: &Project, made: &Made) -> Vec<Command> {
    let Some(images) = builder.facts.images.known() else {
        return vec![];
    };
    let mut commands = vec![];
    for (name, id) in images_made(made) {
        let has_it = |id: &str| {
            images
                .get(id)
                .is_some_and(|image| image.tags.contains(name))
        };
        if builder.changes(&image::tag_address(name)) || has_it(id) {
            continue;
        }
        if images.contains_key(id) {
            commands.push(Command::new(remote::tag_image(
                image::reference(builder.facts, id),
                name,
            )));
        } else {
            let reason = format!("the image {name} of the last recorded release no longer exists");
            builder.not_restorable(address(&project.name), reason);
        }
    }
    commands
}

/// Returns the images that containers were created from, in
/// the form that [`remote::put_back`] takes.
fn images_of(builder: &Builder<'_>, found: &Found<'_>) -> Vec<String> {
    let containers = found.containers.values();
    let named = containers.filter(|c| !c.image_ref.is_empty());
    let words: BTreeSet<String> = named
        .map(|c| image::name_and_reference(builder.facts, &c.image_ref, &c.image))
        .collect();
    words.into_iter().collect()
}

/// Returns the commands that restore volumes which an interrupted apply replaced, or which this
/// plan creates with another directory.
fn volumes(builder: &Builder<'_>, project: &Project, made: &Made) -> Vec<Command> {
    let mut commands = vec![];
    for (name, device) in volumes_made(made) {
        let mut declared = builder.desired.volumes.iter();
        let Some(volume) = declared.find(|volume| volume.name == name) else {
            continue; // this plan does not change it
        };
        let is_it = volume.path.resolve(&builder.facts.system.home) == device;
        if is_it || builder.action(&volume::address(name)) == Some(Action::Replace) {
            continue;
        }
        let release = Some(builder.desired.release.name.as_str());
        let own = [project.name.as_str()];
        let replace = remote::replace_volume(name, device, release, own);
        commands.push(Command::new(replace));
    }
    commands
}

/// Returns the images of a release: names, and the digests of their configurations.
fn images_made(made: &Made) -> impl Iterator<Item = (&str, &str)> {
    made.inputs.iter().filter_map(|(input, value)| match input {
        Input::Image(name) => Some((name.as_str(), value.as_str())),
        _ => None,
    })
}

/// Returns the volumes of a release: names, and the directories that they are bound to.
fn volumes_made(made: &Made) -> impl Iterator<Item = (&str, &str)> {
    made.inputs.iter().filter_map(|(input, value)| match input {
        Input::Volume(name) => Some((name.as_str(), value.as_str())),
        _ => None,
    })
}

/// Returns the command that has a restored project stay up, or stopped.
fn stays_as(project: &str, state: ProjectState) -> Command {
    Command::new(match state {
        ProjectState::Running => remote::wait_healthy(project, &HealthGate::stays_up()),
        ProjectState::Stopped | ProjectState::Absent => remote::compose(project, ["stop"]),
    })
}

fn state(runs: bool) -> ProjectState {
    if runs {
        ProjectState::Running
    } else {
        ProjectState::Stopped
    }
}

fn any_runs(found: &Found<'_>) -> bool {
    found.containers.values().any(|container| container.runs())
}

impl Container {
    /// Returns the name without the prefix that
    /// docker-compose adds while it recreates the container.
    pub(super) fn own_name(&self, id: &str) -> &str {
        let replaced = id.get(..12).and_then(|short| self.name.strip_prefix(short));
        replaced
            .and_then(|name| name.strip_prefix('_'))
            .unwrap_or(&self.name)
    }

    pub(super) fn runs(&self) -> bool {
        self.status.is_up()
    }
}

#[cfg(test)]
mod tests;
