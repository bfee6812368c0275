//! Writes the lists that `move-files.sh` reads.

use std::fmt::Write as _;

/// The list of moves, and the one that undoes it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    pub(super) list: String,
    pub(super) undo: String,
}

/// Collects moves in any order.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// Paths whose place another entry needs.
    pub(super) away: Vec<String>,
    /// Files that are replaced, kept for the undo.
    pub(super) kept: Vec<String>,
    /// Directories to create, with their modes.
    pub(super) made: Vec<(u32, String)>,
    /// Staged paths to move in place.
    pub(super) moved: Vec<String>,
    /// Paths that did not exist before.
    pub(super) new: Vec<String>,
    /// Paths to delete.
    pub(super) deleted: Vec<String>,
    /// Permissions before (`None` for a new path) and after.
    pub(super) modes: Vec<(Option<u32>, u32, String)>,
}

impl Collected {
    /// Writes the lists. New paths come before deletions, and permissions last, as they may make a
    /// directory unwritable.
    pub(super) fn write(mut self) -> Moves {
        for paths in [
            &mut self.away,
            &mut self.kept,
            &mut self.moved,
            &mut self.new,
            &mut self.deleted,
        ] {
            paths.sort_by(|one, two| by_directory(one).cmp(&by_directory(two)));
        }
        self.modes
            .sort_by(|one, two| (one.1, by_directory(&one.2)).cmp(&(two.1, by_directory(&two.2))));
        let mut moves = Moves::default();
        let list = &mut moves.list;
        write_lines(list, 'x', &self.away);
        write_lines(list, 'k', &self.kept);
        for (mode, path) in &self.made {
            let _ = writeln!(list, "d {mode:04o} {path}");
        }
        write_lines(list, 'm', &self.moved);
        write_lines(list, 'x', &self.deleted);
        for (_, mode, path) in &self.modes {
            let _ = writeln!(list, "c {mode:04o} {path}");
        }
        let undo = &mut moves.undo;
        // A directory must be writable again before anything is moved back into it.
        for (was, mode, path) in &self.modes {
            let closed = (mode & 0o700 != 0o700).then_some(0o700);
            if let Some(was) = was.or(closed) {
                let _ = writeln!(undo, "c {was:04o} {path}");
            }
        }
        write_lines(undo, 'r', &self.new);
        for paths in [&self.away, &self.kept, &self.deleted] {
            write_lines(undo, 'b', paths);
        }
        moves
    }
}

/// Sorts by directory: one command moves all paths of a directory.
fn by_directory(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn write_lines(out: &mut String, op: char, paths: &[String]) {
    for path in paths {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{op} {path}");
    }
}
