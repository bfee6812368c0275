//! Finds the directory for a connection's socket and pinned keys: private, and short enough for a socket's path.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Longest path of the control socket: a socket's address has 104 bytes on the systems that have least, with
/// its final NUL, and ssh first binds to the path with 17 characters appended.
const LONGEST: usize = 104 - 1 - 17;

/// `/o3r-ssh-XXXXXX/ctl`.
const OUR_PART: usize = 19;

/// A directory that only we can enter, whatever the umask.
///
/// It is made below `$TMPDIR`, or where that is too long for a socket, cannot be written to or is open to other
/// users, below `$XDG_RUNTIME_DIR`, `/tmp` or `/var/tmp`.
pub(super) fn private() -> io::Result<tempfile::TempDir> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let bases = [Some(std::env::temp_dir()), runtime];
    let fixed = ["/tmp", "/var/tmp"].map(|path| Some(PathBuf::from(path)));
    private_below(bases.into_iter().chain(fixed).flatten())
}

fn private_below(bases: impl Iterator<Item = PathBuf>) -> io::Result<tempfile::TempDir> {
    let mut reasons = vec![];
    for base in bases {
        let created = usable(&base).and_then(|()| create(&base));
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

fn create(base: &Path) -> io::Result<tempfile::TempDir> {
    let directory = tempfile::Builder::new()
        .prefix("o3r-ssh-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(base)?;
    // A umask takes bits away, too.
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o700))?;
    Ok(directory)
}

/// Whether a directory can be used: ssh understands its name, and nobody else can replace what is in it.
fn usable(base: &Path) -> io::Result<()> {
    let name = base.as_os_str().as_encoded_bytes();
    if !base.is_absolute() {
        return Err(io::Error::other("it is not an absolute path"));
    }
    if name.len() + OUR_PART > LONGEST {
        return Err(io::Error::other("it is too long for a socket"));
    }
    // ssh expands these; quotes end its own.
    if name.iter().any(|byte| b"\"'\\%$\n".contains(byte)) {
        return Err(io::Error::other("ssh would read its name as another"));
    }
    let metadata = std::fs::metadata(base)?;
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
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
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
}
