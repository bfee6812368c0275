//! Compares a tree with what the VPU has at its target.

use std::collections::BTreeSet;

use super::{
    Change, ChangeKind,
    gone::Gone,
    lost::Lost,
    moves::{Collected, Moves},
    neighbours::{Protected, made},
    problem::{chown, foreign, in_the_way},
};
use crate::{
    desired::{Entry, FileEntry, Transfer},
    facts::{Access, Node, Other, Probed, Tree},
    names::{absolute, is_within},
    plan::{
        builder::Builder,
        obstacle::{BlockCode, Obstacle},
    },
    shell::quote,
};

/// The mode of a created directory whose mode is not declared.
const DIRECTORY_MODE: u32 = 0o755;

/// The permissions that an owner needs to fill a directory.
const OPEN: u32 = 0o700;

/// The changes that make a target match its declaration.
#[derive(Debug, Default)]
pub(super) struct Diff {
    pub(super) changes: Vec<Change>,
    /// What has to be sent, by path below the target.
    pub(super) members: Vec<String>,
    /// Secret files, which are sent one by one: no archive of them is ever written to a disk.
    pub(super) secrets: Vec<String>,
    pub(super) moves: Moves,
    /// Whether the target does not exist yet.
    pub(super) is_new: bool,
    /// What is no longer declared and was changed on the VPU, by path below the target.
    pub(super) stays: Vec<String>,
}

/// Compares the trees; returns everything that blocks.
pub(super) fn diff(
    builder: &Builder<'_>,
    transfer: &Transfer,
    tree: &Tree,
) -> Result<Diff, Vec<Obstacle>> {
    let home = &builder.facts.system.home;
    let mut differ = Differ {
        transfer,
        tree,
        target: transfer.target.resolve(home),
        parent: absolute(&tree.parent, home),
        uid: builder.facts.system.uid,
        made: made(builder, transfer),
        whole: None,
        changes: vec![],
        members: vec![],
        secrets: vec![],
        moves: Collected::default(),
        problems: vec![],
    };
    if tree.access == Access::InTheWay {
        differ.problems.push(Obstacle::new(
            BlockCode::WrongKind,
            format!("a parent of {} is not a directory", differ.target),
            format!("look at it: ls -ld {}", quote(&differ.target)),
        ));
    }
    for (name, entry) in &transfer.entries {
        if let Err(problem) = differ.entry(name, entry) {
            differ.problems.push(problem);
        }
    }
    let protected = || Protected::new(builder, transfer);
    let mut stays = vec![];
    if transfer.delete {
        differ.deletions(&Lost::new(transfer, tree, &protected()));
    } else if !transfer.gone.is_empty() {
        let can = (differ.uid, builder.desired.permits.prune);
        let gone = Gone::new(transfer, tree, &protected(), can);
        differ.gone(&gone);
        stays = gone.stays.into_iter().map(str::to_owned).collect();
    }
    if !differ.problems.is_empty() {
        return Err(differ.problems);
    }
    let is_new = !tree.nodes.contains_key("") && !transfer.is_undeclared();
    Ok(Diff {
        changes: differ.changes,
        members: differ.members,
        secrets: differ.secrets,
        moves: differ.moves.write(),
        is_new,
        stays,
    })
}

struct Differ<'a> {
    transfer: &'a Transfer,
    tree: &'a Tree,
    /// The target's absolute path.
    target: String,
    /// The nearest existing directory at or above the target.
    parent: String,
    uid: u32,
    made: BTreeSet<String>,
    /// The new directory, if any, that is moved with all its contents.
    whole: Option<&'a str>,
    changes: Vec<Change>,
    members: Vec<String>,
    secrets: Vec<String>,
    moves: Collected,
    problems: Vec<Obstacle>,
}

impl<'a> Differ<'a> {
    fn at(&self, name: &str) -> String {
        if name.is_empty() {
            self.target.clone()
        } else {
            format!("{}/{name}", self.target)
        }
    }

    fn change(
        &mut self,
        name: &str,
        change: ChangeKind,
        found: Option<String>,
        wanted: Option<String>,
    ) {
        let path = name.to_owned();
        self.changes.push(Change {
            path,
            change,
            found,
            wanted,
        });
    }

    fn entry(&mut self, name: &'a str, entry: &'a Entry) -> Result<(), Obstacle> {
        if self.whole.is_some_and(|whole| is_within(name, whole)) {
            self.member(name, entry);
            self.added(name, entry);
            return Ok(());
        }
        let node = match self.tree.nodes.get(name) {
            None => None,
            Some(Probed::Known(node)) => Some(node),
            Some(Probed::Unknown(reason)) => {
                // The reason is in the entry of the directory above.
                let above = name.rsplit_once('/').map_or("", |(above, _)| above);
                return Err(Obstacle::new(
                    BlockCode::StateUnknown,
                    format!("{}: {reason}", self.at(name)),
                    format!("check on the VPU: ls -ld {}", quote(&self.at(above))),
                ));
            }
        };
        match (entry, node) {
            (Entry::Directory { mode }, None) => self.new_directory(name, entry, *mode),
            (_, None) => {
                self.writable(name)?;
                self.member(name, entry);
                self.moves.new.push(name.to_owned());
                self.moves.moved.push(name.to_owned());
                self.added(name, entry);
                Ok(())
            }
            (_, Some(Node::Special)) => Err(in_the_way(&self.at(name), "a device, socket or pipe")),
            (Entry::Directory { mode: wanted }, Some(Node::Directory { mode, uid, .. })) => {
                self.mode(name, *mode, wanted.unwrap_or(*mode), *uid)
            }
            (Entry::File(wanted), Some(found @ Node::File { .. })) => {
                self.file(name, entry, wanted, found)
            }
            (Entry::Symlink { target: wanted }, Some(Node::Symlink { target, .. }))
                if wanted == target =>
            {
                Ok(())
            }
            (_, Some(found)) => self.another_kind(name, entry, found),
        }
    }

    /// Compares a file with the file that it replaces.
    fn file(
        &mut self,
        name: &str,
        entry: &Entry,
        wanted: &FileEntry,
        found: &Node,
    ) -> Result<(), Obstacle> {
        let Node::File {
            mode,
            uid,
            size,
            sha256,
        } = found
        else {
            return Ok(());
        };
        if *sha256 == Some(wanted.sha256) {
            return self.mode(name, *mode, wanted.mode, *uid);
        }
        if sha256.is_none() && *size == wanted.bytes {
            return Err(Obstacle::new(
                BlockCode::NotOwner,
                format!("{} cannot be read", self.at(name)),
                chown(&self.target),
            ));
        }
        self.ours(name, *uid)?;
        self.writable(name)?;
        self.moves.kept.push(name.to_owned());
        let (found, wanted) = match sha256 {
            Some(sha256) => (sha256.short(), wanted.sha256.short()),
            None => (format!("{size} bytes"), format!("{} bytes", wanted.bytes)),
        };
        self.replaced(name, entry, Some(found), Some(wanted));
        Ok(())
    }

    /// Plans an entry that replaces one of another kind, or another link.
    fn another_kind(&mut self, name: &'a str, entry: &Entry, found: &Node) -> Result<(), Obstacle> {
        let is_directory = matches!(entry, Entry::Directory { .. });
        let what = match found {
            Node::Directory { uid, writable, .. } => {
                if !self.transfer.delete || name.is_empty() {
                    return Err(in_the_way(&self.at(name), "a directory"));
                }
                if !writable {
                    return Err(foreign(&self.at(name), &self.target, *uid));
                }
                "a directory".to_owned()
            }
            _ if is_directory && !self.transfer.delete => {
                return Err(in_the_way(&self.at(name), "no directory"));
            }
            Node::Symlink { uid, target } => {
                self.ours(name, *uid)?;
                format!("link to {target}")
            }
            Node::File { uid, .. } => {
                self.ours(name, *uid)?;
                "a file".to_owned()
            }
            Node::Special => "a device".to_owned(),
        };
        self.writable(name)?;
        self.moves.away.push(name.to_owned());
        let wanted = match entry {
            Entry::Directory { .. } => "a directory".to_owned(),
            Entry::Symlink { target } => format!("link to {target}"),
            Entry::File(_) => "a file".to_owned(),
        };
        self.replaced(name, entry, Some(what), Some(wanted));
        if is_directory {
            self.whole = Some(name);
        }
        Ok(())
    }

    /// Plans a missing directory: it is moved with all its
    /// contents, unless another resource creates it.
    fn new_directory(
        &mut self,
        name: &'a str,
        entry: &Entry,
        mode: Option<u32>,
    ) -> Result<(), Obstacle> {
        let path = self.at(name);
        if self.made.contains(&path) {
            if mode.is_some() || name.is_empty() {
                let mode = mode.unwrap_or(DIRECTORY_MODE);
                self.moves.made.push((mode, name.to_owned()));
                self.added(name, entry);
            }
            return Ok(());
        }
        self.writable(name)?;
        self.member(name, entry);
        self.moves.new.push(name.to_owned());
        self.moves.moved.push(name.to_owned());
        self.added(name, entry);
        self.whole = Some(name);
        Ok(())
    }

    fn member(&mut self, name: &str, entry: &Entry) {
        if matches!(entry, Entry::File(file) if file.secret) {
            return self.secrets.push(name.to_owned());
        }
        self.members.push(name.to_owned());
        if let Entry::Directory { mode: Some(mode) } = entry
            && mode & OPEN != OPEN
        {
            // It arrives with permissions that allow filling it.
            self.moves.modes.push((None, *mode, name.to_owned()));
        }
    }

    fn added(&mut self, name: &str, entry: &Entry) {
        match entry {
            Entry::Directory { .. } if name.is_empty() => {}
            Entry::Directory { .. } => {
                self.change(&format!("{name}/"), ChangeKind::Added, None, None);
            }
            Entry::File(FileEntry { sha256, .. }) => {
                self.change(name, ChangeKind::Added, None, Some(sha256.short()));
            }
            Entry::Symlink { target } => {
                let wanted = Some(format!("link to {target}"));
                self.change(name, ChangeKind::Added, None, wanted);
            }
        }
    }

    fn replaced(
        &mut self,
        name: &str,
        entry: &Entry,
        found: Option<String>,
        wanted: Option<String>,
    ) {
        self.member(name, entry);
        self.moves.moved.push(name.to_owned());
        self.change(name, ChangeKind::Changed, found, wanted);
    }

    fn mode(&mut self, name: &str, found: u32, wanted: u32, uid: u32) -> Result<(), Obstacle> {
        if found == wanted {
            return Ok(());
        }
        self.ours(name, uid)?;
        self.moves
            .modes
            .push((Some(found), wanted, name.to_owned()));
        let (found, wanted) = (format!("{found:04o}"), format!("{wanted:04o}"));
        self.change(name, ChangeKind::Mode, Some(found), Some(wanted));
        Ok(())
    }

    /// Checks that the directory above `name` is writable. A missing directory above the target
    /// does not have to exist yet.
    fn writable(&self, name: &str) -> Result<(), Obstacle> {
        let above = name.rsplit_once('/').map_or("", |(above, _)| above);
        let node = if name.is_empty() {
            None
        } else {
            self.tree.nodes.get(above)
        };
        let (path, allowed) = match node {
            Some(Probed::Known(Node::Directory { writable, .. })) => (self.at(above), *writable),
            _ => (self.parent.clone(), self.tree.access == Access::Full),
        };
        if allowed {
            return Ok(());
        }
        Err(Obstacle::new(
            BlockCode::NotWritable,
            format!("no write permission for {path}"),
            chown(&path),
        ))
    }

    fn ours(&self, name: &str, uid: u32) -> Result<(), Obstacle> {
        if uid == self.uid {
            return Ok(());
        }
        Err(foreign(&self.at(name), &self.target, uid))
    }

    fn gone(&mut self, gone: &Gone<'_>) {
        for name in &gone.files {
            self.moves.deleted.push((*name).to_owned());
            self.change(name, ChangeKind::Deleted, None, None);
        }
        for (mode, name) in &gone.directories {
            self.moves.emptied.push((*mode, (*name).to_owned()));
        }
    }

    fn deletions(&mut self, lost: &Lost<'_>) {
        for name in &self.tree.odd {
            if !self.transfer.exclude.covers(name) {
                self.problems.push(Obstacle::new(
                    BlockCode::OddName,
                    format!("it holds `{name}`, a name that cannot be handled"),
                    format!(
                        "rename or remove it on the VPU (ls -lab {}), or `exclude` it",
                        quote(&self.target)
                    ),
                ));
            }
        }
        for (name, keeps) in &lost.unreplaceable {
            self.problems.push(Obstacle::new(
                BlockCode::HoldsOthers,
                format!(
                    "{} would be replaced, but contains {keeps}, which must stay",
                    self.at(name)
                ),
                format!("move it away on the VPU: {}", quote(&self.at(name))),
            ));
        }
        for name in &lost.unreadable {
            self.problems.push(Obstacle::new(
                BlockCode::NotOwner,
                format!("no permission to read and change {}", self.at(name)),
                format!("{}; or `exclude` it", chown(&self.at(name))),
            ));
        }
        for name in &lost.top {
            match self.writable(name) {
                Ok(()) => self.moves.deleted.push((*name).to_owned()),
                Err(problem) => self.problems.push(problem),
            }
        }
        for (name, other) in &lost.all {
            let slash = if matches!(other, Other::Directory { .. }) {
                "/"
            } else {
                ""
            };
            self.change(&format!("{name}{slash}"), ChangeKind::Deleted, None, None);
        }
    }
}
