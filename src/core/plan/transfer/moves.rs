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
    /// Directories to remove where they are empty, with their permissions.
    pub(super) emptied: Vec<(u32, String)>,
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
        // The deepest first.
        self.emptied.sort_by(|one, two| two.1.cmp(&one.1));
        for (_, path) in &self.emptied {
            let _ = writeln!(list, "e {path}");
        }
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
        for (mode, path) in self.emptied.iter().rev() {
            let _ = writeln!(undo, "d {mode:04o} {path}");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roll_back_opens_directories_before_it_puts_anything_back() {
        let undo = |modes: &[(Option<u32>, u32)]| {
            let modes = modes
                .iter()
                .map(|(was, mode)| (*was, *mode, "a".to_owned()));
            let collected = Collected {
                modes: modes.collect(),
                deleted: vec!["a/b".to_owned()],
                ..Collected::default()
            };
            collected.write().undo
        };
        assert_eq!(undo(&[(Some(0o755), 0o500)]), "c 0755 a\nb a/b\n");
        for closed in [0o500, 0o600, 0o077] {
            assert_eq!(undo(&[(None, closed)]), "c 0700 a\nb a/b\n");
        }
        for open in [0o700, 0o755] {
            assert_eq!(undo(&[(None, open)]), "b a/b\n");
        }
    }

    #[test]
    fn what_is_in_one_directory_stands_together() {
        let paths = ["b/2", "a", "b-c/1", "b/1", "c"].map(str::to_owned);
        let collected = Collected {
            moved: paths.into(),
            ..Collected::default()
        };
        assert_eq!(collected.write().list, "m a\nm c\nm b/1\nm b/2\nm b-c/1\n");
    }
}
