//! Compares a tree with what is at its target.

use std::collections::BTreeSet;

use super::{
    Change, ChangeKind, absolute,
    lost::Lost,
    moves::{Collected, Moves},
    neighbours::{made, protected},
};
use crate::{
    desired::{Entry, FileEntry, Transfer},
    observe::{Access, Node, Other, Probed, Tree},
    plan::builder::Builder,
    shell::quote,
};

/// The mode of a directory that is made and whose mode is not declared.
const DIRECTORY_MODE: u32 = 0o755;

/// What its owner needs of a directory to fill it.
const OPEN: u32 = 0o700;

/// How a target becomes what is declared.
#[derive(Debug, Default)]
pub(super) struct Diff {
    pub(super) changes: Vec<Change>,
    /// What has to be sent, by path below the target.
    pub(super) members: Vec<String>,
    /// Secret files, which are sent one by one: no archive of them is ever written down.
    pub(super) secrets: Vec<String>,
    pub(super) moves: Moves,
    /// Whether nothing is there yet.
    pub(super) is_new: bool,
}

/// Something in the way: why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) reason: String,
    pub(super) remedy: String,
}

/// Compares; lists everything that is in the way.
pub(super) fn diff(
    builder: &Builder<'_>,
    transfer: &Transfer,
    tree: &Tree,
) -> Result<Diff, Vec<Problem>> {
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
        differ.problem(
            format!(
                "above {}, something is there that is no directory",
                differ.target
            ),
            format!("look at it: ls -ld {}", quote(&differ.target)),
        );
    }
    for (name, entry) in &transfer.entries {
        if let Err(problem) = differ.entry(name, entry) {
            differ.problems.push(problem);
        }
    }
    if transfer.delete {
        let protected = protected(builder, transfer);
        let lost = Lost::new(transfer, tree, &differ.target, &protected);
        differ.deletions(&lost);
    }
    if !differ.problems.is_empty() {
        return Err(differ.problems);
    }
    let is_new = !tree.nodes.contains_key("");
    Ok(Diff {
        changes: differ.changes,
        members: differ.members,
        secrets: differ.secrets,
        moves: differ.moves.write(),
        is_new,
    })
}

struct Differ<'a> {
    transfer: &'a Transfer,
    tree: &'a Tree,
    /// Absolute.
    target: String,
    /// The nearest directory at or above the target.
    parent: String,
    uid: u32,
    made: BTreeSet<String>,
    /// The new directory that moves with all that is in it.
    whole: Option<&'a str>,
    changes: Vec<Change>,
    members: Vec<String>,
    secrets: Vec<String>,
    moves: Collected,
    problems: Vec<Problem>,
}

impl<'a> Differ<'a> {
    fn problem(&mut self, reason: String, remedy: String) {
        self.problems.push(Problem { reason, remedy });
    }

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

    fn entry(&mut self, name: &'a str, entry: &'a Entry) -> Result<(), Problem> {
        if self.whole.is_some_and(|whole| is_below(name, whole)) {
            self.member(name, entry);
            self.added(name, entry);
            return Ok(());
        }
        let node = match self.tree.nodes.get(name) {
            None => None,
            Some(Probed::Known(node)) => Some(node),
            Some(Probed::Unknown(reason)) => {
                return Err(Problem {
                    reason: format!("{}: {reason}", self.at(name)),
                    remedy: format!("see on the VPU: ls -ld {}", quote(&self.at(name))),
                });
            }
        };
        match (entry, node) {
            (Entry::Directory { mode }, None) => self.new_directory(name, entry, *mode),
            (_, None) => {
                self.writable(name)?;
                if self.member(name, entry) {
                    self.moves.new.push(name.to_owned());
                    self.moves.moved.push(name.to_owned());
                }
                self.added(name, entry);
                Ok(())
            }
            (_, Some(Node::Special)) => Err(self.in_the_way(name, "a device, socket or pipe")),
            (
                Entry::Directory { mode },
                Some(Node::Directory {
                    mode: found, uid, ..
                }),
            ) => match mode {
                Some(mode) if mode != found => self.mode(name, *found, *mode, *uid),
                _ => Ok(()),
            },
            (
                Entry::File(file),
                Some(Node::File {
                    mode,
                    uid,
                    size,
                    sha256,
                }),
            ) => {
                if *sha256 == Some(file.sha256) {
                    return if *mode == file.mode {
                        Ok(())
                    } else {
                        self.mode(name, *mode, file.mode, *uid)
                    };
                }
                if sha256.is_none() && *size == file.bytes {
                    return Err(Problem {
                        reason: format!("{} cannot be read", self.at(name)),
                        remedy: chown(&self.target),
                    });
                }
                let found = match sha256 {
                    Some(sha256) => (sha256.short(), file.sha256.short()),
                    None => (format!("{size} bytes"), format!("{} bytes", file.bytes)),
                };
                self.ours(name, *uid)?;
                self.writable(name)?;
                if !file.secret {
                    self.moves.kept.push(name.to_owned());
                }
                self.replaced(name, entry, Some(found.0), Some(found.1));
                Ok(())
            }
            (Entry::Symlink { target: wanted }, Some(Node::Symlink { target, .. }))
                if wanted == target =>
            {
                Ok(())
            }
            (Entry::Directory { .. }, Some(Node::File { uid, .. } | Node::Symlink { uid, .. })) => {
                if !self.transfer.delete {
                    return Err(self.in_the_way(name, "no directory"));
                }
                self.ours(name, *uid)?;
                self.writable(name)?;
                self.moves.away.push(name.to_owned());
                self.replaced(name, entry, Some("no directory".to_owned()), None);
                self.whole = Some(name);
                Ok(())
            }
            (_, Some(Node::Directory { uid, writable, .. })) => {
                if !self.transfer.delete || name.is_empty() {
                    return Err(self.in_the_way(name, "a directory"));
                }
                if !writable {
                    return Err(self.foreign(name, *uid));
                }
                self.writable(name)?;
                self.moves.away.push(name.to_owned());
                self.replaced(name, entry, Some("a directory".to_owned()), None);
                Ok(())
            }
            // A link in place of a file, a file in place of a link, another link.
            (_, Some(Node::File { uid, .. } | Node::Symlink { uid, .. })) => {
                let found = match node {
                    Some(Node::Symlink { target, .. }) => format!("link to {target}"),
                    _ => "a file".to_owned(),
                };
                self.ours(name, *uid)?;
                self.writable(name)?;
                self.moves.away.push(name.to_owned());
                let wanted = match entry {
                    Entry::Symlink { target } => format!("link to {target}"),
                    _ => "a file".to_owned(),
                };
                self.replaced(name, entry, Some(found), Some(wanted));
                Ok(())
            }
        }
    }

    /// A directory that is not there moves with all that is in it, unless something else makes it.
    fn new_directory(
        &mut self,
        name: &'a str,
        entry: &Entry,
        mode: Option<u32>,
    ) -> Result<(), Problem> {
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

    /// Whether it comes with the archive.
    fn member(&mut self, name: &str, entry: &Entry) -> bool {
        if matches!(entry, Entry::File(file) if file.secret) {
            self.secrets.push(name.to_owned());
            return false;
        }
        self.members.push(name.to_owned());
        if let Entry::Directory { mode: Some(mode) } = entry
            && mode & OPEN != OPEN
        {
            // It arrives open, so that it can be filled.
            self.moves.modes.push((None, *mode, name.to_owned()));
        }
        true
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
        if self.member(name, entry) {
            self.moves.moved.push(name.to_owned());
        }
        self.change(name, ChangeKind::Changed, found, wanted);
    }

    fn mode(&mut self, name: &str, found: u32, wanted: u32, uid: u32) -> Result<(), Problem> {
        self.ours(name, uid)?;
        self.moves
            .modes
            .push((Some(found), wanted, name.to_owned()));
        let (found, wanted) = (format!("{found:04o}"), format!("{wanted:04o}"));
        self.change(name, ChangeKind::Mode, Some(found), Some(wanted));
        Ok(())
    }

    /// What is above the target, where nothing is there, need not be there either.
    fn writable(&self, name: &str) -> Result<(), Problem> {
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
        Err(Problem {
            reason: format!("we cannot write in {path}"),
            remedy: chown(&path),
        })
    }

    fn ours(&self, name: &str, uid: u32) -> Result<(), Problem> {
        if uid == self.uid {
            return Ok(());
        }
        Err(self.foreign(name, uid))
    }

    fn foreign(&self, name: &str, uid: u32) -> Problem {
        Problem {
            reason: format!("{} belongs to user {uid}", self.at(name)),
            remedy: chown(&self.target),
        }
    }

    fn in_the_way(&self, name: &str, what: &str) -> Problem {
        let path = self.at(name);
        let quoted = quote(&path);
        Problem {
            reason: format!("{path} is {what}"),
            remedy: format!(
                "look at it and move it away: mv {quoted} {}; or allow it with `delete = true`",
                quote(&format!("{path}.old"))
            ),
        }
    }

    fn deletions(&mut self, lost: &Lost<'_>) {
        for name in &self.tree.odd {
            if !self.transfer.exclude.covers(name) {
                self.problems.push(Problem {
                    reason: format!("it holds `{name}`, a name that cannot be handled"),
                    remedy: format!(
                        "rename or remove it on the VPU (ls -lab {}), or `exclude` it",
                        quote(&self.target)
                    ),
                });
            }
        }
        for (name, keeps) in &lost.unreplaceable {
            self.problems.push(Problem {
                reason: format!("{} is in the way and holds {keeps}", self.at(name)),
                remedy: format!("move it away on the VPU: {}", quote(&self.at(name))),
            });
        }
        for name in &lost.unreadable {
            self.problems.push(Problem {
                reason: format!("we cannot look into {} or change it", self.at(name)),
                remedy: format!("{}; or `exclude` it", chown(&self.at(name))),
            });
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

/// Whether `name` is `directory` or below it.
pub(super) fn is_below(name: &str, directory: &str) -> bool {
    directory.is_empty()
        || name
            .strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Only root can give a file away, and docker is root: any image with a chown does. All of the
/// target, for one of its files is seldom alone.
fn chown(path: &str) -> String {
    let mount = quote(&format!("{path}:/d")).into_owned();
    format!(
        "give it to the login's user with any image there that has chown: \
         docker run --rm -v {mount} IMAGE chown -R \"$(id -u):$(id -g)\" /d"
    )
}
