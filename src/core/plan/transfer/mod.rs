//! Plans transfers: all changed files are sent in one stream before anything is touched, and are
//! moved in place in the switch.

mod diff;
mod kept;
mod lost;
mod moves;
mod neighbours;
mod patch;
mod problem;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use self::{
    diff::{Diff, diff},
    moves::Moves,
};
use super::{
    Action, Address, Cause, Change, ChangeKind, Command, Payload, PayloadSource, Phase,
    ResourceKind,
    builder::{Builder, Draft},
    compose,
};
use crate::{
    desired::{Contents, Entry, FileEntry, Transfer, archive_len},
    digest::Digest,
    facts::{HIDDEN_STAGING, Probed, Tree},
    plan::obstacle::{BlockCode, Obstacle},
    remote::{self, Move},
    units,
};

/// Bytes that a file takes on a file system beyond its contents, at most.
const BLOCK: u64 = 4096;

pub(super) fn address(transfer: &Transfer) -> Address {
    Address::new(ResourceKind::Transfer, transfer.name())
}

fn upload_address() -> Address {
    Address::new(ResourceKind::Upload, "files")
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
        match diff(builder, transfer, tree) {
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
    let full = without_space(builder, &planned);
    planned.retain(|one| !full.contains(one.mount));
    let archived = planned.iter().filter(|one| !one.diff.members.is_empty());
    let cleared: BTreeSet<&String> = archived.map(|one| &one.staging).collect();
    leftovers(builder, &cleared);
    if cut_off(builder) && builder.previous().is_some() {
        let reason = "an apply was interrupted while it moved files: which of them the last recorded release had is \
                      unknown";
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

/// Whether the contents of a transfer are on this machine, or on the VPU; otherwise blocks it.
fn has_contents(builder: &mut Builder<'_>, transfer: &Transfer, diff: &Diff) -> bool {
    let names = diff.members.iter().chain(&diff.secrets);
    let files = names.filter_map(|name| match transfer.entries.get(name) {
        Some(Entry::File(file)) => Some(&file.sha256),
        _ => None,
    });
    let mut missing = files.filter(|sha256| !builder.facts.kept.contains(sha256));
    match (builder.desired.contents, missing.next()) {
        (Contents::OnVpu, Some(sha256)) => builder.require_kept(address(transfer), sha256),
        _ => true,
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

/// Returns the staging directory: on the target's file system, as files are renamed in place.
fn staging(builder: &Builder<'_>, tree: &Tree) -> String {
    if tree.mount == builder.facts.trees.home_mount {
        return builder.state().staging();
    }
    let parent = absolute(&tree.parent, &builder.facts.system.home);
    format!("{}/{HIDDEN_STAGING}", parent.trim_end_matches('/'))
}

/// Returns the absolute path of an observed one, which may begin with `~`.
fn absolute(path: &str, home: &str) -> String {
    match path.strip_prefix('~') {
        Some(rest) => format!("{home}{rest}"),
        None => path.to_owned(),
    }
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

/// Blocks transfers that do not fit, as all files arrive before the first old one is removed;
/// returns the mount points of the file systems that are too full.
fn without_space<'a>(builder: &mut Builder<'_>, planned: &[Planned<'a>]) -> BTreeSet<&'a str> {
    let mut full = BTreeSet::new();
    let mut needed: BTreeMap<&str, u64> = BTreeMap::new();
    for one in planned {
        let is_copied = |bytes: &u64| {
            let is_here = builder.desired.contents == Contents::Here;
            is_here || *bytes < remote::LARGE
        };
        let files = one.files().filter(is_copied);
        let files = files.map(|bytes| bytes.next_multiple_of(BLOCK));
        *needed.entry(one.mount).or_default() += files.sum::<u64>();
    }
    for one in planned {
        let needed = needed[one.mount];
        let free = builder.readings.free.get(one.mount).copied();
        if let Some(free) = free.filter(|free| needed > *free) {
            let (needed, free) = (units::bytes(needed), units::bytes(free));
            let reason = format!(
                "the transfers need {needed} on {}, which has {free} free",
                one.mount
            );
            let remedy = "free disk space on the VPU: see df -h, du -sh ~/* and docker system df; or remove what is kept \
                          for `o3r-deploy rollback`: rm -r ~/.o3r-deploy/generations ~/.o3r-deploy/store";
            let obstacle = Obstacle::new(BlockCode::NoSpace, reason, remedy);
            builder.block(address(one.transfer), obstacle);
            full.insert(one.mount);
        }
    }
    full
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

/// Plans one stream for each file system (nearly always one), and secret files one by one.
fn upload(builder: &mut Builder<'_>, planned: &[Planned<'_>]) {
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
        if builder.desired.contents == Contents::OnVpu {
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
    if builder.desired.contents == Contents::OnVpu {
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
fn member(number: usize, name: &str) -> String {
    if name.is_empty() {
        number.to_string()
    } else {
        format!("{number}/{name}")
    }
}

/// Plans the removal of what interrupted applies left in directories that no upload clears.
fn leftovers(builder: &mut Builder<'_>, cleared: &BTreeSet<&String>) {
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
    let (action, cause) = if one.diff.is_new {
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

/// Returns the command that stages one file alone.
fn single(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exclude::Exclude,
        facts::{Access, Node, Records},
        offers::Offers,
        testing,
    };

    #[test]
    fn what_applies_that_were_cut_off_left_is_removed() {
        let desired = testing::desired(vec![]);
        let mut observed = testing::observed();
        observed.facts.trees.left = ["/home/oem/old", "/home/oem/used"]
            .map(str::to_owned)
            .into();
        let offers = Offers::default();
        let removed = |cleared: &[&str]| {
            let mut builder = Builder::new(&desired, &observed, &offers);
            let cleared: Vec<String> = cleared.iter().map(|path| (*path).to_owned()).collect();
            leftovers(&mut builder, &cleared.iter().collect());
            let steps = builder.finish("host").steps;
            let actions = steps.into_iter().flat_map(|step| step.actions);
            actions.collect::<Vec<_>>()
        };
        let old = remote::remove_paths(["/home/oem/old".to_owned()]);
        assert_eq!(removed(&["/home/oem/used"]), [Command::new(old)]);
        assert_eq!(removed(&["/home/oem/used", "/home/oem/old"]), []);
    }

    #[test]
    fn files_that_are_on_their_way_show_an_apply_that_was_cut_off() {
        let desired = testing::desired(vec![]);
        let offers = Offers::default();
        let is_cut_off = |moved: &[&str]| {
            let mut observed = testing::observed();
            observed.facts.records = Probed::Known(Records {
                moved: moved.iter().map(|mark| (*mark).to_owned()).collect(),
                ..Records::default()
            });
            cut_off(&Builder::new(&desired, &observed, &offers))
        };
        assert!(is_cut_off(&["0123456789ab"]));
        assert!(!is_cut_off(&[]));
    }

    #[test]
    fn what_a_plan_stages_is_cleaned_up() {
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let steps = |used: &[&str]| {
            let mut builder = Builder::new(&desired, &observed, &offers);
            let used = used.iter().map(|path| (*path).to_owned()).collect();
            clean(&mut builder, used);
            builder.finish("host").steps.len()
        };
        assert_eq!(steps(&[]), 0);
        assert_eq!(steps(&["/home/oem/staging"]), 1);
    }

    fn transfer(target: &str, secret: bool) -> Transfer {
        let entry = FileEntry {
            local: "a".into(),
            sha256: Digest::of(b"a"),
            bytes: 1,
            mode: 0o644,
            secret,
        };
        Transfer {
            target: target.parse().unwrap(),
            entries: [("a".to_owned(), Entry::File(entry))].into(),
            delete: false,
            exclude: Exclude::default(),
            restart: vec![],
            source: None,
        }
    }

    /// What a plan stages in, and whether it removes what was left at `left`; of transfers by their mounts.
    fn staged(transfers: [(Transfer, &str); 2], left: &[String]) -> (BTreeSet<String>, bool) {
        let trees = transfers.iter().map(|(transfer, mount)| {
            let tree = Tree {
                parent: transfer.name(),
                access: Access::Full,
                mount: (*mount).to_owned(),
                nodes: [].into(),
                others: [].into(),
                odd: [].into(),
            };
            (transfer.name(), Probed::Known(tree))
        });
        let mut observed = testing::observed();
        observed.facts.trees.targets = trees.collect();
        observed.facts.trees.left = left.iter().cloned().collect();
        let mut desired = testing::desired(vec![]);
        desired.transfers = transfers
            .into_iter()
            .map(|(transfer, _)| transfer)
            .collect();
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        let mut used = plan(&mut builder);
        used.remove(&builder.state().moved());
        let leftovers = Address::new(ResourceKind::Staging, "leftovers");
        (used, builder.changes(&leftovers))
    }

    #[test]
    fn files_are_staged_on_the_file_system_that_they_are_for() {
        let pair = |second| {
            [
                (transfer("~/a", false), "/"),
                (transfer("/data/b", false), second),
            ]
        };
        assert_eq!(staged(pair("/"), &[]).0.len(), 1);
        assert_eq!(staged(pair("/data"), &[]).0.len(), 2);
    }

    #[test]
    fn what_was_left_where_an_archive_is_unpacked_goes_with_it() {
        let pair = |secret| ["~/a", "~/b"].map(|target| (transfer(target, secret), "/"));
        let staging: Vec<String> = staged(pair(false), &[]).0.into_iter().collect();
        assert!(!staged(pair(false), &staging).1);
        assert!(staged(pair(true), &staging).1, "secrets have no archive");
    }

    #[test]
    fn files_are_moved_in_place_after_they_arrived() {
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let transfer = transfer("~/share", false);
        let waits = |members: &[&str], secrets: &[&str]| {
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let change = Change {
                path: "a".into(),
                change: ChangeKind::Changed,
                found: None,
                wanted: None,
            };
            let one = Planned {
                number: 0,
                transfer: &transfer,
                diff: Diff {
                    changes: vec![change],
                    members: names(members),
                    secrets: names(secrets),
                    ..Diff::default()
                },
                patched: vec![],
                staging: "/home/oem/staging".into(),
                mount: "/",
            };
            let mut builder = Builder::new(&desired, &observed, &offers);
            switch(&mut builder, &one);
            let step = builder.finish("host").steps.pop().unwrap();
            step.depends_on.contains(&upload_address())
        };
        assert!(waits(&["a"], &[]));
        assert!(waits(&[], &["a"]));
        assert!(waits(&["directory"], &[]));
        assert!(!waits(&[], &[]));
    }

    #[test]
    fn a_file_replaces_a_directory_below_the_target_where_deletion_is_allowed() {
        let is_blocked = |delete: bool, name: &str| {
            let mut transfer = transfer("~/share", false);
            let entry = transfer.entries.remove("a").unwrap();
            transfer.entries.insert(name.to_owned(), entry);
            transfer.delete = delete;
            let directory = Node::Directory {
                mode: 0o755,
                uid: testing::observed().facts.system.uid,
                readable: true,
                writable: true,
            };
            let there = ["", name].map(|name| (name.to_owned(), Probed::Known(directory.clone())));
            let tree = Tree {
                parent: transfer.name(),
                access: Access::Full,
                mount: "/".into(),
                nodes: there.into(),
                others: [].into(),
                odd: [].into(),
            };
            let mut observed = testing::observed();
            let target = (transfer.name(), Probed::Known(tree));
            observed.facts.trees.targets = [target].into();
            let mut desired = testing::desired(vec![]);
            desired.transfers = vec![transfer];
            let offers = Offers::default();
            let mut builder = Builder::new(&desired, &observed, &offers);
            plan(&mut builder);
            !builder.finish("host").blocked.is_empty()
        };
        assert!(is_blocked(false, "a"));
        assert!(!is_blocked(true, "a"));
        assert!(is_blocked(true, ""), "the target itself stays");
    }
}
