//! Stages files: sends them in one stream, or takes them from what the VPU keeps, and removes what interrupted applies staged.

use std::collections::{BTreeMap, BTreeSet};

use super::{Planned, address, diff::Diff, kept, patch};
use crate::{
    desired::{Contents, Entry, FileEntry, Transfer, archive_len},
    digest::Digest,
    facts::{HIDDEN_STAGING, Tree},
    names::absolute,
    plan::{
        Action, Address, Cause, Command, Payload, PayloadSource, Phase, ResourceKind,
        builder::{Builder, Draft},
    },
    remote,
};

pub(super) fn upload_address() -> Address {
    Address::new(ResourceKind::Upload, "files")
}

/// Whether the contents of a transfer are on this machine, or on the VPU; otherwise blocks it.
pub(super) fn has_contents(builder: &mut Builder<'_>, transfer: &Transfer, diff: &Diff) -> bool {
    let names = diff.members.iter().chain(&diff.secrets);
    let files = names.filter_map(|name| match transfer.entries.get(name) {
        Some(Entry::File(file)) => Some(&file.sha256),
        _ => None,
    });
    let mut missing = files.filter(|sha256| !builder.facts.kept.contains(sha256));
    match (builder.desired.contents, missing.next()) {
        (Contents::OnVpu(_), Some(sha256)) => builder.require_kept(address(transfer), sha256),
        _ => true,
    }
}

/// Returns the staging directory: on the target's file system, as files are renamed in place.
pub(super) fn staging(builder: &Builder<'_>, tree: &Tree) -> String {
    if tree.mount == builder.facts.trees.home_mount {
        return builder.state().staging();
    }
    let parent = absolute(&tree.parent, &builder.facts.system.home);
    format!("{}/{HIDDEN_STAGING}", parent.trim_end_matches('/'))
}

/// Plans one stream for each file system (nearly always one), and secret files one by one.
pub(super) fn upload(builder: &mut Builder<'_>, planned: &[Planned<'_>]) {
    let mut streams: BTreeMap<&String, Vec<&Planned<'_>>> = BTreeMap::new();
    for one in planned.iter().filter(|one| !one.diff.members.is_empty()) {
        streams.entry(&one.staging).or_default().push(one);
    }
    let commands = streams.iter().map(|(staging, parts)| {
        let mut canonical = String::new();
        let mut members = vec![];
        for part in parts {
            for name in &part.diff.members {
                let entry = &part.transfer.entries[name];
                // Strings and numbers always serialise.
                canonical.push_str(&serde_json::to_string(entry).unwrap_or_default());
                members.push(member(part.number, name));
                canonical.push_str(members.last().map(String::as_str).unwrap_or_default());
                canonical.push('\n');
            }
        }
        if builder.desired.contents.are_on_vpu() {
            let list = kept::members(&builder.desired.transfers, &members);
            let command = remote::stage_kept(staging, &builder.state().store());
            return Command::with(command, Payload::inline(list));
        }
        let bytes = archive_len(&builder.desired.transfers, &members);
        let source = PayloadSource::Files {
            staging: (*staging).clone(),
            members,
        };
        let payload = Payload::new(source, Digest::of(canonical), bytes);
        Command::with(remote::stage_files(staging), payload)
    });
    let mut draft = Draft::new(upload_address(), Action::Run, Phase::Stage, Cause::Missing);
    draft = draft.run(commands);
    if builder.desired.contents.are_on_vpu() {
        draft = draft.detail("copies of what the VPU keeps".to_owned());
    }
    for one in planned {
        for name in &one.patched {
            draft = draft.run(patch::command(builder, one, name));
        }
        for name in &one.diff.secrets {
            if let Some(Entry::File(file)) = one.transfer.entries.get(name) {
                draft = draft.run(single(builder, one, name, file));
            }
        }
    }
    if !draft.actions.is_empty() {
        builder.step(draft);
    }
}

/// Returns a name in the archive: `0/sub/file`, or `0` for the target itself.
pub(super) fn member(number: usize, name: &str) -> String {
    if name.is_empty() {
        number.to_string()
    } else {
        format!("{number}/{name}")
    }
}

/// Returns the command that stages one file alone.
pub(super) fn single(
    builder: &mut Builder<'_>,
    one: &Planned<'_>,
    name: &str,
    file: &FileEntry,
) -> Option<Command> {
    let member = member(one.number, name);
    let path = format!("{}/new/{member}", one.staging);
    // A staged file replaces nothing, so nothing is kept.
    let kept = format!("{}/kept/{member}", one.staging);
    let put = remote::put_file(
        &path,
        (file.sha256, file.bytes),
        file.mode,
        (&kept, remote::PreviousFile::None),
        "",
    );
    let contents = (file.sha256, file.bytes, file.local.as_path());
    builder.with_contents(address(one.transfer), put, contents)
}

/// Plans the removal of what interrupted applies left in directories that no upload clears.
pub(super) fn leftovers(builder: &mut Builder<'_>, cleared: &BTreeSet<&String>) {
    let home = &builder.facts.system.home;
    let left = builder.facts.trees.left.iter();
    let left: BTreeSet<String> = left
        .map(|path| absolute(path, home))
        .filter(|path| !cleared.contains(path))
        .collect();
    if left.is_empty() {
        return;
    }
    let leftovers = Address::new(ResourceKind::Staging, "leftovers");
    let cause = Cause::Undeclared;
    let draft = Draft::new(leftovers, Action::Remove, Phase::Stage, cause);
    builder.step(draft.run([Command::new(remote::remove_paths(left))]));
}
