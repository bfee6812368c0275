//! Plans transfers: all changed files are sent in one stream before anything is touched, and are
//! moved in place in the switch.

mod diff;
mod gone;
mod kept;
mod lost;
mod moves;
mod neighbours;
mod patch;
mod problem;
mod upload;

use std::{collections::BTreeSet, fmt::Write as _};

use self::{
    diff::{Diff, diff},
    moves::Moves,
    upload::{has_contents, leftovers, staging, upload, upload_address},
};
use super::{
    Action, Address, Cause, Change, ChangeKind, Command, NoteCode, Payload, Phase, ResourceKind,
    builder::{Builder, Draft},
    compose,
};
use crate::{
    desired::{Entry, Orphans, Transfer},
    digest::Digest,
    facts::Probed,
    plan::obstacle::Obstacle,
    remote::{self, Move},
};

pub(super) fn address(transfer: &Transfer) -> Address {
    Address::new(ResourceKind::Transfer, transfer.name())
}

/// The planned changes of one target.
struct Planned<'a> {
    number: usize,
    transfer: &'a Transfer,
    diff: Diff,
    /// Files that the VPU builds from their old versions, by path below the target.
    patched: Vec<String>,
    /// The directory that its files are staged in.
    staging: String,
    mount: &'a str,
}

/// Plans the transfers; returns the directories to clean up at the end: what they keep for a
/// rollback is needed until the release is recorded.
pub(super) fn plan(builder: &mut Builder<'_>) -> BTreeSet<String> {
    let (desired, facts) = (builder.desired, builder.facts);
    note_former(builder);
    let mut planned: Vec<Planned<'_>> = vec![];
    for (number, transfer) in desired.transfers.iter().enumerate() {
        let tree = match facts.trees.targets.get(&transfer.name()) {
            Some(Probed::Known(tree)) => tree,
            Some(Probed::Unknown(reason)) => {
                let path = transfer.target.resolve(&facts.system.home);
                let remedy = format!("check on the VPU: ls -la {}", crate::shell::quote(&path));
                builder.block(address(transfer), Obstacle::unknown(reason, remedy));
                continue;
            }
            None => {
                builder.block(address(transfer), Obstacle::not_probed());
                continue;
            }
        };
        let diff = diff(builder, transfer, tree);
        note_what_stays(builder, transfer, diff.as_ref().ok());
        match diff {
            Err(problems) => block(builder, transfer, &problems),
            Ok(diff) if diff.changes.is_empty() => builder.unchanged(),
            Ok(diff) if !has_contents(builder, transfer, &diff) => {}
            Ok(mut diff) => {
                let offered = &builder.offers.patches;
                let is_patched = |name: &mut String| offered.contains_key(&(number, name.clone()));
                let patched = diff.members.extract_if(.., is_patched).collect();
                let staging = planned
                    .iter()
                    .find(|other| other.mount == tree.mount)
                    .map_or_else(|| staging(builder, tree), |other| other.staging.clone());
                planned.push(Planned {
                    number,
                    transfer,
                    diff,
                    patched,
                    staging,
                    mount: &tree.mount,
                });
            }
        }
    }
    stage(builder, &planned);
    let archived = planned.iter().filter(|one| !one.diff.members.is_empty());
    let cleared: BTreeSet<&String> = archived.map(|one| &one.staging).collect();
    leftovers(builder, &cleared);
    if cut_off(builder) {
        let reason = "an apply was interrupted while it moved files: which of them were there before is unknown";
        builder.not_restorable(upload_address(), reason);
    }
    upload(builder, &planned);
    for one in &planned {
        switch(builder, one);
    }
    let mut used: BTreeSet<String> = planned.iter().map(|one| one.staging.clone()).collect();
    if !planned.is_empty() || cut_off(builder) {
        used.insert(builder.state().moved());
    }
    used
}

/// Notes what the recorded release transferred if it is kept on purpose, or unknown.
fn note_former(builder: &mut Builder<'_>) {
    let undeclared = &builder.facts.undeclared;
    if let Some(reason) = &undeclared.unknown {
        let text = format!("files and data that are no longer declared stay: {reason}");
        builder.note(NoteCode::FormerFilesUnknown, text);
    }
    if builder.desired.orphans == Orphans::Keep {
        let targets = undeclared.transfers.keys();
        let targets = targets.map(|target| Address::new(ResourceKind::Transfer, target));
        builder.unmanaged.extend(targets);
    }
}

/// Notes what is no longer declared and was changed on the VPU.
fn note_what_stays(builder: &mut Builder<'_>, transfer: &Transfer, diff: Option<&Diff>) {
    for name in diff.into_iter().flat_map(|diff| &diff.stays) {
        let slash = if name.is_empty() { "" } else { "/" };
        let why = if builder.desired.destroys {
            ""
        } else {
            "is no longer declared, "
        };
        let text = format!(
            "{}{slash}{name} {why}was changed on the VPU and stays; {} removes it, too",
            transfer.name(),
            builder.prune_option()
        );
        builder.note(NoteCode::ChangedFileStays, text);
    }
}

/// Whether files were moved in place and no release was recorded since.
fn cut_off(builder: &Builder<'_>) -> bool {
    let records = builder.facts.records.known();
    records.is_some_and(|records| !records.moved.is_empty())
}

/// Plans the cleanup if no release is recorded because the declaration did not change.
pub(super) fn clean(builder: &mut Builder<'_>, used: BTreeSet<String>) {
    let transfers = builder.desired.transfers.iter();
    let after: Vec<Address> = transfers
        .map(address)
        .filter(|address| builder.changes(address))
        .collect();
    if used.is_empty() {
        return;
    }
    let cause = match after.first().cloned() {
        Some(address) => Cause::DependsOn { address },
        None => Cause::Undeclared,
    };
    let staging = Address::new(ResourceKind::Staging, "files");
    let draft = Draft::new(staging, Action::Remove, Phase::Settle, cause);
    let remove = Command::new(remote::remove_paths(used));
    builder.step(draft.after(after).run([remove]));
}

/// Adds one block for each transfer: the first problem, and the number of further ones.
fn block(builder: &mut Builder<'_>, transfer: &Transfer, problems: &[Obstacle]) {
    let Some(first) = problems.first() else {
        return;
    };
    let mut reason = first.reason.clone();
    match problems.len() - 1 {
        0 => {}
        1 => reason.push_str("; and 1 more like it"),
        more => {
            let _ = write!(reason, "; and {more} more like it");
        }
    }
    let obstacle = Obstacle::new(first.code, reason, &first.remedy);
    builder.block(address(transfer), obstacle);
}

impl Planned<'_> {
    /// Returns the sizes of the files that are sent.
    fn files(&self) -> impl Iterator<Item = u64> {
        let entries = self.diff.members.iter().chain(&self.diff.secrets);
        let entries = entries.chain(&self.patched);
        entries.filter_map(|name| match self.transfer.entries.get(name) {
            Some(Entry::File(file)) => Some(file.bytes),
            _ => None,
        })
    }
}

/// Adds up what is written before the first old file is removed.
fn stage(builder: &mut Builder<'_>, planned: &[Planned<'_>]) {
    let links_large = builder.desired.contents.are_on_vpu();
    for one in planned {
        let staged = builder.staged.entry(one.mount.to_owned()).or_default();
        let files = one.files();
        for bytes in files.filter(|bytes| !links_large || *bytes < remote::LARGE) {
            staged.add(bytes);
        }
    }
}

/// Plans the move of one transfer's files in place.
fn switch(builder: &mut Builder<'_>, one: &Planned<'_>) {
    let transfer = one.transfer;
    let target = transfer.target.resolve(&builder.facts.system.home);
    let state = builder.state();
    let projects = compose::affected(builder, transfer, &one.diff.changes);
    let records = projects.iter().map(|project| state.started(project));
    let records: Vec<String> = records.collect();
    let marker = format!("{}/{}", state.moved(), Digest::of(&target).short());
    let undo = if cut_off(builder) {
        Move::UndoSome
    } else {
        Move::Undo
    };
    let moves = |how, records| {
        let way = (marker.as_str(), how);
        remote::move_files(&target, &one.staging, one.number, way, records)
    };
    let command = moves(Move::Do, records.clone());
    let back = moves(undo, records);
    let (action, cause) = if transfer.is_undeclared() {
        (Action::Remove, Cause::Undeclared)
    } else if one.diff.is_new {
        (Action::Create, Cause::Missing)
    } else {
        let count = one.diff.changes.len();
        let found = if transfer.is_file() {
            one.diff.changes[0].found.clone().unwrap_or_default()
        } else {
            // Counts entries that are declared, and those
            // to delete; the target itself does not count.
            let declared = transfer.entries.keys().filter(|name| !name.is_empty());
            let changed = one.diff.changes.iter().map(|change| &change.path);
            let all: BTreeSet<&String> = declared.chain(changed).collect();
            format!("{count} of {} differ", all.len())
        };
        let wanted = match (&one.diff.changes[..], transfer.is_file()) {
            (
                [
                    Change {
                        wanted: Some(wanted),
                        ..
                    },
                ],
                true,
            ) => wanted.clone(),
            _ => transfer.digest().short(),
        };
        let attribute = match (&one.diff.changes[..], transfer.is_file()) {
            ([change], true) if change.change == ChangeKind::Mode => "mode",
            _ => "content",
        };
        (Action::Update, Cause::differs(attribute, found, wanted))
    };
    let mut draft = Draft::new(address(transfer), action, Phase::Switch, cause);
    draft.changes.clone_from(&one.diff.changes);
    let sent = one.files().next().is_some() || !one.diff.members.is_empty();
    let after = sent.then(upload_address);
    let Moves { list, undo } = &one.diff.moves;
    let draft = draft
        .source(transfer.source.as_ref())
        .after(after)
        .run([Command::with(command, Payload::inline(list.clone()))])
        .undo([Command::with(back, Payload::inline(undo.clone()))]);
    builder.step(draft);
}

#[cfg(test)]
mod tests;
