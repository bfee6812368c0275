//! Writes the lists that `move-files.sh` reads.

use std::fmt::Write as _;

/// The list that does it and the one that undoes it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    pub(super) list: String,
    pub(super) undo: String,
}

/// Collects moves in any order.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// In the way of something else.
    pub(super) away: Vec<String>,
    /// About to be replaced.
    pub(super) kept: Vec<String>,
    /// Directories to make, and whether they may be removed again.
    pub(super) made: Vec<(u32, String)>,
    /// Staged things.
    pub(super) moved: Vec<String>,
    /// What was not there before.
    pub(super) new: Vec<String>,
    /// What goes.
    pub(super) deleted: Vec<String>,
    /// Permissions before (where anything was there) and after.
    pub(super) modes: Vec<(Option<u32>, u32, String)>,
}

impl Collected {
    /// The lists: what is new comes before what is old goes, and permissions come last, for they may
    /// close a directory.
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
        // A directory has to be open again before anything is put back into it.
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

/// What is in one directory stands together: one command moves it.
fn by_directory(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn write_lines(out: &mut String, op: char, paths: &[String]) {
    for path in paths {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{op} {path}");
    }
}
