//! Plans compose projects: their files, and the containers that are started from them.

mod asked;
mod between;
mod files;
mod needs;
mod owner;
mod policies;
mod previous;
mod removal;
mod shown;
mod start;
mod started;
mod states;
mod transfers;

use std::collections::{BTreeMap, BTreeSet};

use self::{
    between::Between,
    files::files,
    needs::unmet,
    policies::Policies,
    previous::Previous,
    start::{Recreate, services_to_recreate, start},
    started::{
        Stale, Unrecorded, changed_images, covered_input, image_id, redefined, repaired_images,
        resolved, stale,
    },
    states::states,
};
pub use self::{owner::unrecorded, previous::files_to_restore};
pub(super) use self::{
    removal::remove_stopped,
    started::{brief, inputs},
    transfers::{affected, uses},
};
use super::{
    Action, Address, Cause, Command, Phase, ResourceKind, Restart,
    builder::{Builder, Draft},
    image, volume,
};
use crate::{
    desired::{Desired, Project, ProjectState},
    facts::{Container, Input, Started},
    plan::obstacle::{BlockCode, Obstacle},
    shell::quote,
};

pub(super) fn address(project: &str) -> Address {
    Address::new(ResourceKind::Compose, project)
}

fn file_address(project: &str, relative: &str) -> Address {
    Address::new(ResourceKind::File, format_args!("{project}/{relative}"))
}

impl Project {
    /// Whether the container belongs to this project and was created in its directory.
    fn owns(&self, container: &Container) -> bool {
        container.project == self.name && container.working_dir == self.directory()
    }

    /// Whether the container belongs to this project, or has a name that it needs.
    pub(super) fn touches(&self, container: &Container) -> bool {
        container.project == self.name
            || self.services.iter().any(|(name, service)| {
                // docker-compose 1.x joins the parts of a name by `_`.
                let mut numbers = 1..=service.replicas;
                match &service.container_name {
                    Some(needed) => *needed == container.name,
                    None => numbers.any(|n| format!("{}_{name}_{n}", self.name) == container.name),
                }
            })
    }
}

pub(super) fn plan(builder: &mut Builder<'_>) {
    let desired = builder.desired;
    if desired.projects.is_empty() {
        return;
    }
    let facts = builder.facts;
    let (containers, started) = match (facts.containers.as_result(), facts.records.as_result()) {
        (Ok(containers), Ok(records)) => (containers, &records.started),
        (Err(reason), _) | (_, Err(reason)) => {
            for project in &desired.projects {
                let remedy = "check on the VPU: docker container ls -a";
                builder.block(address(&project.name), Obstacle::unknown(reason, remedy));
            }
            return;
        }
    };
    // Removals come first, to free names and ports.
    let goes = |project: &&Project| project.state == ProjectState::Absent;
    let first = desired.projects.iter().filter(goes);
    let then = desired.projects.iter().filter(|project| !goes(project));
    for project in first.chain(then) {
        asked::note(builder, project);
        let obstacles = obstacles(builder, project, containers);
        if !obstacles.is_empty() {
            for obstacle in obstacles {
                builder.block(address(&project.name), obstacle);
            }
            continue;
        }
        let found = Found::of(project, containers, started);
        shown::note(builder, project, &found);
        match project.state {
            ProjectState::Absent => removal::plan(builder, project, &found),
            ProjectState::Running | ProjectState::Stopped => diff_present(builder, project, &found),
        }
    }
}

/// Returns all that the project cannot be deployed for. A project of another release, or one that docker-compose refuses,
/// is not looked at further.
fn obstacles(
    builder: &Builder<'_>,
    project: &Project,
    containers: &BTreeMap<String, Container>,
) -> Vec<Obstacle> {
    let first = owner::unmet(builder, project).or_else(|| asked::refusal(builder, project));
    if let Some(first) = first {
        return vec![first];
    }
    let conflict = conflict(builder.desired, project, containers);
    conflict
        .into_iter()
        .chain(unmet(builder, project, containers))
        .chain(between::unmet(builder, project))
        .collect()
}

/// Returns the commands that undo what an interrupted apply did to
/// projects, if that is what this plan wants: the plan has no step
/// for them, so a rollback of its other steps would not restore them.
pub(super) fn restore_unchanged(builder: &mut Builder<'_>) -> Vec<Command> {
    let facts = builder.facts;
    let (Some(containers), Some(records)) = (facts.containers.known(), facts.records.known())
    else {
        return vec![];
    };
    let mut commands = vec![];
    for project in &builder.desired.projects {
        let address = address(&project.name);
        let is_planned = builder.changes(&address) || builder.is_blocked_at(&address);
        if is_planned || project.state == ProjectState::Absent {
            continue;
        }
        let found = Found::of(project, containers, &records.started);
        let previous = Previous::of(builder, project, &found);
        if previous.is_touched() {
            let between = Between::of(builder, project, &found);
            let switch = (&Recreate::None, &between);
            let restore = previous.restore(builder, project, &found, &BTreeSet::new(), switch);
            commands.extend(restore);
        }
    }
    commands
}

/// What the VPU has of a project.
struct Found<'a> {
    containers: BTreeMap<&'a String, &'a Container>,
    started: Option<&'a Started>,
}

impl<'a> Found<'a> {
    fn of(
        project: &Project,
        containers: &'a BTreeMap<String, Container>,
        started: &'a BTreeMap<String, Started>,
    ) -> Self {
        let own = containers
            .iter()
            .filter(|(_, c)| c.project == project.name && !c.one_off);
        Self {
            containers: own.collect(),
            started: started.get(&project.name),
        }
    }

    /// Returns the services of its containers.
    fn services(&self) -> impl Iterator<Item = &str> {
        self.containers.values().map(|c| c.service.as_str())
    }

    /// Returns the running services whose containers are recreated.
    fn restarts(&self, project: &Project, recreate: &Recreate) -> Vec<Restart> {
        let running = self.containers.values().filter(|c| c.status.is_up());
        let services: BTreeSet<&str> = running.map(|c| c.service.as_str()).collect();
        let replaced = services.into_iter().filter(|service| {
            project.services.contains_key(*service) && recreate.replaces(service)
        });
        let down = self.started.map(|started| &started.down);
        let restarts = replaced.map(|service| Restart {
            service: service.to_owned(),
            milliseconds: down.and_then(|down| down.get(service)).copied(),
        });
        restarts.collect()
    }

    /// Whether an input that differs needs no mention where files change: what docker-compose makes of them, and an image
    /// that they name now.
    fn follows_from_files(&self, input: &Input) -> bool {
        let is_new = || {
            let started = self.started.as_ref();
            started.is_some_and(|started| !started.inputs.contains_key(input))
        };
        input.is_resolved() || matches!(input, Input::Image(_)) && is_new()
    }
}

/// Returns an obstacle if containers of others have names of this project's.
fn conflict(
    desired: &Desired,
    project: &Project,
    containers: &BTreeMap<String, Container>,
) -> Option<Obstacle> {
    // A project that is removed needs no names.
    let needs_names = project.state != ProjectState::Absent;
    let foreign = containers.values().find(|container| {
        (container.project == project.name || (needs_names && project.touches(container)))
            && !project.owns(container)
            && !desired
                .projects
                .iter()
                .any(|other| other.state == ProjectState::Absent && other.owns(container))
    })?;
    let (origin, remedy) = if foreign.working_dir.is_empty() {
        (
            "was not created by docker-compose".to_owned(),
            format!("look at it and remove it: docker rm -f {}", foreign.name),
        )
    } else {
        (
            format!(
                "belongs to project {} in {}",
                foreign.project, foreign.working_dir
            ),
            format!(
                "take that project down ({}), or choose another name",
                take_down(foreign)
            ),
        )
    };
    let reason = format!(
        "the container name {} is taken: that container {origin}",
        foreign.name
    );
    Some(Obstacle::new(BlockCode::NameTaken, reason, remedy))
}

/// Returns the command that takes a container's project
/// down, with the files that it was created from.
fn take_down(container: &Container) -> String {
    let files = container
        .config_files
        .split(',')
        .filter(|file| !file.is_empty());
    let files = files.flat_map(|file| ["-f", file]);
    let words = ["docker-compose"].into_iter().chain(files);
    let words: Vec<String> = words
        .chain(["-p", &container.project, "down"])
        .map(|word| quote(word).into_owned())
        .collect();
    format!(
        "cd {} && {}",
        quote(&container.working_dir),
        words.join(" ")
    )
}

fn diff_present(builder: &mut Builder<'_>, project: &Project, found: &Found<'_>) {
    let address = address(&project.name);
    let previous = Previous::of(builder, project, found);
    let Ok(changed_files) = files(builder, project, &previous) else {
        return;
    };
    let mut inputs = inputs(builder, project);
    inputs.extend(resolved(project));
    let changed_images = changed_images(builder, project);
    let volumes = project
        .services
        .values()
        .flat_map(|service| &service.volumes);
    let replaced: BTreeSet<&String> = volumes
        .filter(|name| builder.changes(&volume::address(name)))
        .collect();
    let changed_transfers = transfers::changed(builder, project);
    let files = changed_files.iter();
    let files = files.map(|relative| file_address(&project.name, relative));
    let depends_on: Vec<Address> = files
        .chain(images(builder, project))
        .chain(replaced.iter().map(|name| volume::address(name)))
        .chain(changed_transfers.addresses())
        .collect();
    let known = depends_on.iter().cloned();
    let mut causes: Vec<Cause> = known.map(|address| Cause::DependsOn { address }).collect();
    let none_yet = found.containers.is_empty();
    let stale = if none_yet {
        Stale::default()
    } else {
        stale(builder, project, found, &inputs)
    };
    let known: BTreeSet<Input> = causes
        .iter()
        .filter_map(|cause| covered_input(project, cause))
        .collect();
    let is_told = |input: &Input| {
        known.contains(input) || !changed_files.is_empty() && found.follows_from_files(input)
    };
    for (input, (was, is)) in stale.named(is_told) {
        causes.push(Cause::differs(format!("started from {input}"), was, is));
    }
    causes.extend(stale.unrecorded.as_ref().map(Unrecorded::cause));
    causes.extend(states(builder, project, found, &changed_images));
    let own = found.containers.values();
    causes.extend(own.flat_map(|container| shown::differences(builder, project, container)));
    let between = Between::of(builder, project, found);
    causes.extend(between.causes());
    let policies = Policies::of(builder, project, found, &inputs);
    if causes.is_empty() && policies.alone(builder, project) {
        return;
    }
    causes.extend(policies.causes());
    let lacks_a_record_alone = stale.is_unrecorded() && causes.len() == 1;
    let mut causes = causes.into_iter();
    let Some(first) = causes.next() else {
        return builder.unchanged();
    };

    let recreate = if none_yet {
        Recreate::None
    } else if stale.is_unrecorded() && !lacks_a_record_alone {
        // Those that docker-compose recreates do not exist any more if the apply fails.
        Recreate::All
    } else {
        let by_transfers = transfers::services(builder, project, &changed_transfers, &stale);
        transfers::note(builder, project, &changed_transfers);
        between.note(builder, project);
        services_to_recreate(project, &changed_files, &replaced, &stale)
            .and(by_transfers)
            .and(Some(differing(
                builder,
                project,
                found,
                &changed_images,
                &inputs,
            )))
            .and(Some(between.services(found)))
            .and(Some(policies.services()))
            .with_dependants(found)
    };
    let (action, first) = if none_yet {
        (Action::Create, Cause::Missing)
    } else {
        (Action::Update, first)
    };
    let mut draft = Draft::new(address, action, Phase::Switch, first);
    draft.further_causes = if none_yet {
        between.causes().collect()
    } else {
        causes.collect()
    };
    draft.depends_on = depends_on;
    draft.restarts = found.restarts(project, &recreate);
    let draft = draft.source(project.source.as_ref());
    let switch = (&recreate, &between);
    let draft = draft.run(start(builder, project, found, switch, &inputs));
    let draft = draft.run(policies.set(project));
    let undo = previous.restore(builder, project, found, &changed_files, switch);
    let broken = loses_containers(builder, found) || is_touched(&previous, found);
    builder.step(draft.undo(undo).rollback_always(broken));
}

/// Returns the services whose containers differ from their definition, their image, or what docker
/// shows of the resources that they use.
fn differing(
    builder: &Builder<'_>,
    project: &Project,
    found: &Found<'_>,
    changed_images: &BTreeSet<String>,
    inputs: &BTreeMap<Input, String>,
) -> BTreeSet<String> {
    let mut services = left_aside(found);
    services.extend(shown::services(builder, project, found));
    services.extend(redefined(found, inputs));
    services.extend(using(project, &repaired_images(builder, project)));
    let of_image = project.services.iter().filter(|(name, service)| {
        let image = service.image.as_ref();
        let Some(image) = image.filter(|image| changed_images.contains(*image)) else {
            return false;
        };
        // If only the name was missing, the container already has the right image.
        let wanted = image_id(builder, image);
        let mut own = found.containers.values().filter(|c| c.service == **name);
        own.any(|container| Some(&container.image) != wanted.as_ref())
    });
    services.extend(of_image.map(|(name, _)| name.clone()));
    services
}

/// Returns the steps that change images of the project.
fn images(builder: &Builder<'_>, project: &Project) -> Vec<Address> {
    let (changed, repaired) = (
        changed_images(builder, project),
        repaired_images(builder, project),
    );
    let changed = changed.iter().map(|name| image::tag_address(name));
    let repaired = repaired.iter().map(|name| image::address(name));
    changed.chain(repaired).collect()
}

/// Returns the services that use one of these images.
fn using(project: &Project, images: &BTreeSet<String>) -> BTreeSet<String> {
    let uses = |image: &String| images.contains(image);
    let services = project.services.iter();
    let services = services.filter(|(_, service)| service.image.as_ref().is_some_and(uses));
    services.map(|(name, _)| name.clone()).collect()
}

/// Whether an earlier apply touched the project's files or containers, so that every rollback restores it.
fn is_touched(previous: &Previous<'_>, found: &Found<'_>) -> bool {
    previous.is_touched() || !left_aside(found).is_empty()
}

/// Returns the services with a container that was renamed for a replacement that was never created,
/// or that is left beside it.
fn left_aside(found: &Found<'_>) -> BTreeSet<String> {
    let aside = found.containers.iter();
    let aside = aside.filter(|(id, container)| container.own_name(id) != container.name);
    aside.map(|(_, c)| c.service.clone()).collect()
}

/// Whether an earlier step removes containers of the
/// project: replacing a volume removes those that use it.
fn loses_containers(builder: &Builder<'_>, found: &Found<'_>) -> bool {
    let mut volumes = found.containers.values().flat_map(|c| &c.volumes);
    volumes.any(|name| builder.action(&volume::address(name)) == Some(Action::Replace))
}

/// Returns the commands that free a volume from containers whose image is gone, before it is
/// replaced: stand-ins from the images of their services hold their anonymous volumes.
pub(super) fn free_volume(builder: &Builder<'_>, volume: &str) -> Vec<Command> {
    let Some(containers) = builder.facts.containers.known() else {
        return vec![]; // everything is blocked in this case
    };
    let present = builder.desired.projects.iter();
    let present = present.filter(|project| project.state != ProjectState::Absent);
    let started = BTreeMap::new();
    let commands = present.flat_map(|project| {
        let found = Found::of(project, containers, &started);
        between::free_volume(builder, project, &found, volume)
    });
    commands.collect()
}

#[cfg(test)]
mod adopted;
#[cfg(test)]
mod tests;
