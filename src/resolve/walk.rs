//! Reads the trees of transfers. Hashes every file once, on all cores, without keeping it in
//! memory.

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use crate::{
    desired::{Entry, FileEntry, Transfer, is_secret},
    digest::Digest,
    manifest::{
        Exclude,
        names::{FileMode, escape},
        types,
    },
};

/// The most findings in a tree that are reported; more would repeat them.
const FINDINGS: usize = 10;

/// The mode of directories without a declared mode.
const DIRECTORY_MODE: u32 = 0o755;

/// A file or directory that cannot be transferred: why, and what to do about it.
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) help: &'static str,
}

impl Problem {
    fn new(message: impl Into<String>, help: &'static str) -> Self {
        Self {
            message: message.into(),
            help,
        }
    }
}

/// Reads the tree at `root` for the transfer. Calls `reading` with the bytes read so far and the
/// bytes in all. Blocks.
pub(super) fn read(
    root: &Utf8Path,
    transfer: &types::Transfer,
    exclude: &Exclude,
    reading: &(dyn Fn(u64, u64) + Sync),
) -> Result<BTreeMap<String, Entry>, Vec<Problem>> {
    let mut walk = Walk {
        mode: transfer.mode.map(FileMode::bits),
        directory_mode: transfer.dir_mode.map(FileMode::bits),
        entries: BTreeMap::new(),
        files: vec![],
        problems: vec![],
    };
    // If the source itself is a link, its target is transferred.
    match fs_err::metadata(root) {
        Ok(found) if found.is_dir() => walk.tree(root, exclude),
        Ok(found) if found.is_file() => walk.files.push((String::new(), root.to_owned())),
        Ok(_) => {
            let message = format!(
                "{} is neither a file nor a directory",
                escape(root.as_str())
            );
            walk.problems
                .push(Problem::new(message, "name a file or a directory"));
        }
        Err(error) => walk.problems.push(unreadable(&error)),
    }
    if walk.problems.is_empty() {
        walk.hash(reading);
    }
    if walk.problems.is_empty() {
        Ok(walk.entries)
    } else {
        walk.problems.truncate(FINDINGS);
        Err(walk.problems)
    }
}

fn unreadable(error: &impl ToString) -> Problem {
    Problem::new(
        escape(&error.to_string()),
        "make it readable, or `exclude` it",
    )
}

struct Walk {
    mode: Option<u32>,
    directory_mode: Option<u32>,
    entries: BTreeMap<String, Entry>,
    /// The path below the target, and the path on this machine.
    files: Vec<(String, Utf8PathBuf)>,
    problems: Vec<Problem>,
}

impl Walk {
    fn tree(&mut self, root: &Utf8Path, exclude: &Exclude) {
        let mode = self.directory_mode;
        self.entries
            .insert(String::new(), Entry::Directory { mode });
        let excluded = |entry: &walkdir::DirEntry| {
            let relative = entry.path().strip_prefix(root).ok();
            relative
                .and_then(Utf8Path::from_path)
                .is_some_and(|relative| exclude.names(relative))
        };
        // With a trailing slash, because the root may be a link.
        let walked = walkdir::WalkDir::new(root.join(""))
            .min_depth(1)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| entry.depth() == 0 || !excluded(entry));
        for entry in walked {
            match entry {
                Ok(entry) => {
                    if let Err(problem) = self.entry(root, &entry) {
                        self.problems.push(problem);
                    }
                }
                Err(error) => self.problems.push(unreadable(&error)),
            }
            if self.problems.len() >= FINDINGS {
                return;
            }
        }
    }

    fn entry(&mut self, root: &Utf8Path, entry: &walkdir::DirEntry) -> Result<(), Problem> {
        const RENAME: &str = "rename it, or `exclude` it";
        let Some(local) = Utf8Path::from_path(entry.path()) else {
            let name = entry.path().as_os_str().as_encoded_bytes().iter().copied();
            let name: String = name
                .flat_map(std::ascii::escape_default)
                .map(char::from)
                .collect();
            return Err(Problem::new(
                format!("the name of {name} is not UTF-8"),
                RENAME,
            ));
        };
        let relative = local.strip_prefix(root).unwrap_or(local).to_string();
        if relative.contains(char::is_control) {
            let message = format!(
                "{} has a control character in its name",
                escape(local.as_str())
            );
            return Err(Problem::new(message, RENAME));
        }
        let kind = entry.file_type();
        if kind.is_file() {
            self.files.push((relative, local.to_owned()));
        } else if kind.is_dir() {
            let mode = Some(self.directory_mode.unwrap_or(DIRECTORY_MODE));
            self.entries.insert(relative, Entry::Directory { mode });
        } else if kind.is_symlink() {
            let target = link_target(local, &relative)?;
            self.entries.insert(relative, Entry::Symlink { target });
        } else {
            let message = format!(
                "{} is neither a file, a directory nor a symbolic link",
                escape(local.as_str())
            );
            return Err(Problem::new(message, "remove it, or `exclude` it"));
        }
        Ok(())
    }

    /// Hashes all files on all cores.
    fn hash(&mut self, reading: &(dyn Fn(u64, u64) + Sync)) {
        let files = std::mem::take(&mut self.files);
        let sizes = files
            .iter()
            .filter_map(|(_, local)| fs_err::metadata(local).ok());
        let total: u64 = sizes.map(|found| found.len()).sum();
        let read_bytes = AtomicU64::new(0);
        let told = |bytes: u64| {
            let before = read_bytes.fetch_add(bytes, Ordering::Relaxed);
            reading(before + bytes, total);
        };
        let mode = self.mode;
        let next = AtomicUsize::new(0);
        let done = Mutex::new((&mut self.entries, &mut self.problems));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let work = || {
            // The lock is held only to record a result; an unreadable file does not stop the
            // others.
            while let Some((relative, local)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                let read = file(local, mode, &told);
                let Ok(mut done) = done.lock() else { return };
                match read {
                    Ok(file) => drop(done.0.insert(relative.clone(), Entry::File(file))),
                    Err(error) => done.1.push(unreadable(&error)),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..cores.min(files.len()) {
                scope.spawn(work);
            }
            work();
        });
    }
}

fn file(local: &Utf8Path, mode: Option<u32>, told: &dyn Fn(u64)) -> io::Result<FileEntry> {
    let mut file = fs_err::File::open(local)?;
    let metadata = file.metadata()?;
    let (sha256, bytes) = if metadata.len() <= SMALL {
        let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
        io::Read::read_to_end(&mut file, &mut content)?;
        (Digest::of(&content), content.len() as u64)
    } else {
        Digest::of_reader(Told { file, told })?
    };
    let secret = is_secret(local.as_str());
    let default = match (secret, metadata.permissions().mode() & 0o100) {
        (true, _) => 0o600,
        (false, 0) => 0o644,
        (false, _) => 0o755,
    };
    Ok(FileEntry {
        local: local.to_owned(),
        sha256,
        bytes,
        mode: mode.unwrap_or(default),
        secret,
    })
}

/// A file that reports the bytes of each read.
struct Told<'a> {
    file: fs_err::File,
    told: &'a dyn Fn(u64),
}

impl io::Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        (self.told)(read as u64);
        Ok(read)
    }
}

/// The size in bytes up to which files are read in one piece: for them, the buffer for large files
/// would cost more than the read.
const SMALL: u64 = 64 << 10;

/// Returns the target of a link, if it is inside the tree.
fn link_target(local: &Utf8Path, relative: &str) -> Result<String, Problem> {
    const HELP: &str = "copy its target into the tree, or `exclude` it";
    let name = escape(local.as_str());
    let target = fs_err::read_link(local).map_err(|error| unreadable(&error))?;
    let Ok(target) = Utf8PathBuf::from_path_buf(target) else {
        return Err(Problem::new(
            format!("the symbolic link {name} points to a name that is not UTF-8"),
            HELP,
        ));
    };
    if target.as_str().contains(char::is_control) {
        let message = format!(
            "the symbolic link {name} points to {}, a name with a control character",
            escape(target.as_str())
        );
        return Err(Problem::new(message, HELP));
    }
    let mut depth = Utf8Path::new(relative).components().count() - 1;
    for component in target.components() {
        let next = match component {
            Utf8Component::RootDir | Utf8Component::Prefix(_) => None,
            Utf8Component::CurDir => Some(depth),
            Utf8Component::ParentDir => depth.checked_sub(1),
            Utf8Component::Normal(_) => Some(depth + 1),
        };
        depth = next.ok_or_else(|| {
            let message = format!("the symbolic link {name} points outside the tree, to {target}");
            Problem::new(message, HELP)
        })?;
    }
    Ok(target.into_string())
}

/// Reconciles transfers that share a path.
///
/// # Errors
/// The index of a transfer, and how it conflicts with an earlier one or another declaration.
pub(super) fn settle(
    transfers: &mut [Transfer],
    others: &BTreeMap<String, &'static str>,
) -> Vec<(usize, Problem)> {
    const HELP: &str = "`exclude` it from one of the two, or change one of the targets";
    let mut problems = vec![];
    let mut seen: BTreeMap<String, (usize, Entry)> = BTreeMap::new();
    for (index, transfer) in transfers.iter_mut().enumerate() {
        let target = transfer.name();
        for (name, entry) in &mut transfer.entries {
            let path = if name.is_empty() {
                target.clone()
            } else {
                format!("{target}/{name}")
            };
            match (others.get(&path), &mut *entry) {
                // The directory's own declaration has its mode.
                (Some(&"directory"), Entry::Directory { mode }) => *mode = None,
                (Some(what), _) => {
                    let message = format!("it puts `{path}` where a {what} is declared");
                    problems.push((index, Problem::new(message, HELP)));
                }
                (None, _) => {}
            }
            let Some((other, earlier)) = seen.get(&path) else {
                seen.insert(path, (index, entry.clone()));
                continue;
            };
            match (earlier, entry) {
                (Entry::Directory { mode: one }, Entry::Directory { mode: two })
                    if one.is_none() || two.is_none() || one == two =>
                {
                    // Only one may set the mode, otherwise they would alternate.
                    *two = None;
                }
                _ => {
                    let message = format!("transfer {} also places `{path}`", other + 1);
                    problems.push((index, Problem::new(message, HELP)));
                }
            }
        }
    }
    problems.truncate(FINDINGS);
    problems
}
