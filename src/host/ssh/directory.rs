//! Creates the directory for a connection's socket and pinned keys: private, and short enough for a
//! socket's path. Removes the directories of killed processes.

use std::{
    fs::Permissions,
    io,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use fs_err::File;

use crate::surroundings::{temporary, variable_os};

/// Longest path of the control socket: on the most restrictive systems, a socket address has 104
/// bytes including the final NUL, and ssh first binds to the path with 17 characters appended.
const LONGEST: usize = 104 - 1 - 17;

/// `/o3r-ssh-XXXXXX/ctl`.
const OUR_PART: usize = 19;

/// The prefix of these directories' names.
const PREFIX: &str = "o3r-ssh-";

/// The file that is locked while a process uses the directory. The kernel unlocks it, however the
/// process ends.
const IN_USE: &str = "in-use";

/// The minimum age of a dead process's directory: the owner of a younger one may be about to lock
/// it.
const LEFT_AFTER: Duration = Duration::from_secs(60);

/// The minimum age without a lock file, as older versions created them.
const OLD_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A private directory, removed when this is dropped.
#[derive(Debug)]
pub(super) struct Private {
    directory: tempfile::TempDir,
    _in_use: File,
}

impl Private {
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Creates a directory that only we can enter, whatever the umask.
///
/// Creates it below `$TMPDIR`; if that is too long for a socket, unwritable, or open to other
/// users, below `$XDG_RUNTIME_DIR`, `/tmp` or `/var/tmp`.
pub(super) fn private() -> io::Result<Private> {
    let runtime = variable_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let bases = [Some(temporary()), runtime];
    let fixed = ["/tmp", "/var/tmp"].map(|path| Some(PathBuf::from(path)));
    private_below(bases.into_iter().chain(fixed).flatten())
}

fn private_below(bases: impl Iterator<Item = PathBuf>) -> io::Result<Private> {
    let mut reasons = vec![];
    for base in bases {
        let created = usable(&base).and_then(|()| create(&base));
        if created.is_ok() {
            sweep(&base);
        }
        match created {
            Ok(directory) => return Ok(directory),
            Err(error) => reasons.push(format!("{}: {error}", base.display())),
        }
    }
    Err(io::Error::other(format!(
        "no directory for the connection's socket; {}",
        reasons.join("; ")
    )))
}

fn create(base: &Path) -> io::Result<Private> {
    let directory = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(base)?;
    // A umask can also remove permissions.
    fs_err::set_permissions(directory.path(), Permissions::from_mode(0o700))?;
    let in_use = File::create(directory.path().join(IN_USE))?;
    // On a file system without locks, only the age of the directory counts.
    let _ = in_use.try_lock();
    Ok(Private {
        directory,
        _in_use: in_use,
    })
}

/// Removes the directories that our killed processes left in `base`. Ignores errors: the next run
/// tries again.
fn sweep(base: &Path) {
    let Ok(entries) = fs_err::read_dir(base) else {
        return;
    };
    let ours = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
    for entry in entries.flatten().filter(|entry| ours(&entry.file_name())) {
        let path = entry.path();
        let Some(age) = age_of_ours(&path) else {
            continue;
        };
        // The lock is held until the directory is removed, because other runs may sweep too.
        let in_use = File::open(path.join(IN_USE));
        let is_dead = match &in_use {
            Ok(file) => age >= LEFT_AFTER && file.try_lock().is_ok(),
            Err(_) => age >= OLD_AFTER && UnixStream::connect(path.join("ctl")).is_err(),
        };
        if is_dead {
            tracing::debug!(path = %path.display(), "removing what a killed run left");
            let _ = fs_err::remove_dir_all(&path);
        }
    }
}

/// Returns the age of a private directory of this user; `None` if it is something else, or if its
/// time is in the future because a clock was set back.
fn age_of_ours(path: &Path) -> Option<Duration> {
    let metadata = fs_err::symlink_metadata(path).ok()?;
    let us = rustix::process::geteuid().as_raw();
    let is_ours = metadata.is_dir() && metadata.uid() == us && metadata.mode() & 0o777 == 0o700;
    metadata.modified().ok().filter(|_| is_ours)?.elapsed().ok()
}

/// Checks that ssh understands the directory's name and that nobody else can replace its content.
fn usable(base: &Path) -> io::Result<()> {
    let name = base.as_os_str().as_encoded_bytes();
    if !base.is_absolute() {
        return Err(io::Error::other("it is not an absolute path"));
    }
    if name.len() + OUR_PART > LONGEST {
        return Err(io::Error::other("it is too long for a socket"));
    }
    // ssh expands these characters, and a quote would end its own quoting.
    if name.iter().any(|byte| b"\"'\\%$\n".contains(byte)) {
        return Err(io::Error::other("ssh would read its name as another"));
    }
    let metadata = fs_err::metadata(base)?;
    let (us, mode) = (rustix::process::geteuid().as_raw(), metadata.mode());
    let is_open = mode & 0o022 != 0 && mode & 0o1000 == 0;
    if is_open || ![0, us].contains(&metadata.uid()) {
        return Err(io::Error::other("other users can change what is in it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs_err::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_is_private_short_and_below_no_directory_of_others() {
        let parent = tempfile::tempdir_in("/tmp").unwrap();
        let base = |name: &str, mode: u32| {
            let path = parent.path().join(name);
            std::fs::create_dir(&path).unwrap();
            chmod(&path, mode);
            path
        };
        let good = base("with space", 0o755);
        let bad = [
            PathBuf::from("relative"),
            parent.path().join("none"),
            base("open", 0o777),
            base(&"long".repeat(20), 0o700),
            base("100%d", 0o700),
            base("$HOME", 0o700),
        ];
        for path in &bad {
            let error = private_below([path.clone()].into_iter()).unwrap_err();
            assert!(
                error.to_string().contains(path.to_str().unwrap()),
                "{error}"
            );
        }
        let directory = private_below(bad.into_iter().chain([good.clone()])).unwrap();
        assert!(directory.path().starts_with(&good));
        let mode = directory.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let sticky = base("sticky", 0o1777);
        private_below([sticky].into_iter()).unwrap();
    }

    #[test]
    fn only_directories_of_killed_runs_are_removed() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        let now = std::time::SystemTime::now();
        let left = |name: &str, age: Duration, mode: u32, in_use: bool| {
            let path = base.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("known_hosts"), "").unwrap();
            let file = in_use.then(|| File::create(path.join(IN_USE)).unwrap());
            chmod(&path, mode);
            File::open(&path).unwrap().set_modified(now - age).unwrap();
            (path, file)
        };
        let (hour, week) = (Duration::from_secs(3600), Duration::from_secs(7 * 86400));
        let (dead, _) = left("o3r-ssh-dead", hour, 0o700, true);
        let (old, _) = left("o3r-ssh-old", week, 0o700, false);
        let (used, file) = left("o3r-ssh-used", week, 0o700, true);
        let file = file.unwrap();
        file.try_lock().unwrap();
        let (answers, _) = left("o3r-ssh-answers", week, 0o700, false);
        let _socket = std::os::unix::net::UnixListener::bind(answers.join("ctl")).unwrap();
        File::open(&answers)
            .unwrap()
            .set_modified(now - week)
            .unwrap();
        let kept = [
            used.clone(),
            answers,
            left("o3r-ssh-young", Duration::ZERO, 0o700, true).0,
            left("o3r-ssh-hour", hour, 0o700, false).0,
            left("o3r-ssh-open", week, 0o755, true).0,
            left("o3r-other", week, 0o700, true).0,
        ];
        let link = base.path().join("o3r-ssh-link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();

        let private = private_below([base.path().to_owned()].into_iter()).unwrap();
        assert!(!dead.exists() && !old.exists());
        for path in kept.iter().chain([&link]) {
            assert!(path.symlink_metadata().is_ok(), "{}", path.display());
        }
        // The lock is released however its process ends.
        drop(file);
        sweep(base.path());
        assert!(!used.exists() && private.path().exists());
        let path = private.path().to_owned();
        File::open(&path).unwrap().set_modified(now - week).unwrap();
        sweep(base.path());
        assert!(path.exists(), "we use it");
        drop(private);
        assert!(!path.exists());
    }
}
