//! Plans the removal of compose projects: of their containers, files and networks.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Found, address,
    between::{self, Between},
    file_address,
    files::{Place, dropped},
    is_touched, loses_containers,
    previous::{self, Previous},
    start::Recreate,
};
use crate::{
    desired::{Project, ProjectFile, ProjectState},
    facts::{Container, PathFact, Probed},
    plan::{
        Action, Address, Cause, Change, ChangeKind, Command, NoteCode, Phase, ResourceKind,
        builder::{Builder, Draft},
        obstacle::Obstacle,
    },
    remote,
    shell::quote,
};

/// Plans the removal of containers that the switch has renamed: those of absent projects, with
/// their networks, and those of services that a compose file no longer has.
pub(in crate::plan) fn remove_stopped(builder: &mut Builder<'_>) {
    let containers = builder.facts.containers.known();
    for project in &builder.desired.projects {
        let address = address(&project.name);
        if !builder.changes(&address) {
            continue;
        }
        let mut detail = None;
        let removal = if project.state == ProjectState::Absent {
            let record = builder.state().started(&project.name);
            remote::remove_project(&project.name, &record)
        } else {
            let all = containers.into_iter().flatten();
            let gone = all.filter(|(_, container)| {
                container.project == project.name
                    && !container.one_off
                    && !project.services.contains_key(&container.service)
            });
            let gone: Vec<(&String, &Container)> = gone.collect();
            if gone.is_empty() {
                continue;
            }
            let services: BTreeSet<&str> = gone.iter().map(|(_, c)| c.service.as_str()).collect();
            let services: Vec<&str> = services.into_iter().collect();
            detail = Some(format!("of {}", services.join(", ")));
            let ids = gone.into_iter().map(|(id, _)| id.as_str());
            remote::remove_containers(ids)
        };
        let containers = Address::new(ResourceKind::Containers, &project.name);
        let cause = match project.state {
            ProjectState::Absent => why_removed(project),
            _ => Cause::Undeclared,
        };
        let draft = Draft::new(containers, Action::Remove, Phase::Settle, cause);
        let mut draft = draft.after([address]).source(project.source.as_ref());
        draft.detail = detail;
        builder.step(draft.run([Command::new(removal)]));
    }
    between::remove_unused(builder);
}

/// The change of a file that goes with its project.
fn deleted(path: &str) -> Change {
    Change {
        path: path.to_owned(),
        change: ChangeKind::Deleted,
        found: None,
        wanted: None,
    }
}

fn has_network(builder: &Builder<'_>, project: &Project) -> bool {
    let networks = builder.facts.networks.known();
    let mut networks = networks.into_iter().flat_map(BTreeMap::values);
    networks.any(|network| network.project == project.name)
}

/// Why a project is removed.
fn why_removed(project: &Project) -> Cause {
    if project.undeclared {
        Cause::Undeclared
    } else {
        Cause::differs("state", "present", "absent")
    }
}

/// Whether somebody changed a file of a project that is no longer declared: it stays unless it may be pruned.
fn stays(builder: &Builder<'_>, project: &Project, file: &ProjectFile) -> bool {
    let found = builder.facts.paths.get(&project.path(file));
    let is_recorded = matches!(
        found,
        Some(Probed::Known(PathFact::File { sha256: Some(sha256), .. })) if *sha256 == file.sha256
    );
    project.undeclared && !builder.desired.permits.prune && !is_recorded
}

pub(super) fn plan(builder: &mut Builder<'_>, project: &Project, found: &Found<'_>) {
    let previous = Previous::of(builder, project, found);
    let dropped = dropped(builder, project, &previous);
    let mut files = vec![];
    let (mut directories, mut kept) = (vec![], vec![]);
    for file in &project.files {
        let path = project.path(file);
        match builder.facts.paths.get(&path) {
            Some(Probed::Known(PathFact::Missing | PathFact::Unwritable { .. })) => {}
            Some(Probed::Known(PathFact::Directory { .. })) if stays(builder, project, file) => {
                kept.push(file.relative.as_str());
            }
            Some(Probed::Known(PathFact::Directory { .. })) => directories.push(path),
            Some(Probed::Known(
                PathFact::File { .. } | PathFact::Link { .. } | PathFact::Other,
            )) => {
                if stays(builder, project, file) {
                    kept.push(file.relative.as_str());
                } else {
                    files.push(file.relative.as_str());
                }
            }
            Some(Probed::Unknown(reason)) => {
                let remedy = format!("check on the VPU: ls -l {}", quote(&path));
                let address = file_address(&project.name, &file.relative);
                builder.block(address, Obstacle::unknown(reason.clone(), remedy));
                return;
            }
            None => {
                let address = file_address(&project.name, &file.relative);
                builder.block(address, Obstacle::not_probed());
                return;
            }
        }
    }
    let has_network = project.undeclared && has_network(builder, project);
    let nothing = found.containers.is_empty() && found.started.is_none() && !has_network;
    if nothing && files.is_empty() && directories.is_empty() && dropped.is_empty() {
        if previous.has_it() {
            let reason = "it was removed from the VPU before this apply";
            builder.not_restorable(address(&project.name), reason);
        }
        return builder.unchanged();
    }
    for relative in &kept {
        let text = format!(
            "{}/{relative} was changed on the VPU and stays; {} removes it, too",
            project.directory(),
            builder.prune_option()
        );
        builder.note(NoteCode::ChangedFileStays, text);
    }
    // They are removed last, so that an earlier failure can restore them with their data.
    let services: BTreeSet<&str> = found.services().collect();
    let services = services.iter().map(|service| project.stop_word(service));
    let mut actions = vec![remote::step_aside(&project.name, services)];
    let mut undo = vec![];
    let mut changed = BTreeSet::new();
    for relative in files.into_iter().chain(dropped) {
        changed.insert(relative.to_owned());
        let place = Place::of(builder, project, relative, &previous);
        actions.push(place.remove());
        undo.push(Command::new(place.restore()));
        let path = format!("{}/{relative}", project.directory());
        if builder.facts.lost_files.contains(&path) {
            let reason = "it was changed on the VPU, which keeps no copy of the recorded release's";
            builder.not_restorable(file_address(&project.name, relative), reason);
        }
    }
    actions.push(remote::remove_files(&project.directory(), directories));
    let cause = why_removed(project);
    let draft = Draft::new(address(&project.name), Action::Remove, Phase::Switch, cause);
    let mut draft = draft.source(project.source.as_ref());
    draft.changes = changed.iter().map(|path| deleted(path)).collect();
    // A rollback leaves what this step leaves.
    changed.extend(kept.into_iter().map(str::to_owned));
    let draft = draft.run(actions.into_iter().map(Command::new));
    undo.splice(0..0, previous::make_room(builder));
    let between = Between::of_absent(builder, project, found);
    let switch = (&Recreate::None, &between);
    undo.extend(previous.restore(builder, project, found, &changed, switch));
    let broken = loses_containers(builder, found) || is_touched(&previous, found);
    builder.step(draft.undo(undo).rollback_always(broken));
}
