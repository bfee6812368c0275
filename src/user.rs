//! Finds the user's name and home directory, and files that others can read.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, Stdio},
};

use camino::Utf8PathBuf;

/// Returns `$HOME`, or the home directory in the user database; an absolute path. `None` if neither
/// has one: `~` never becomes a directory of that name.
pub(crate) fn home() -> Option<Utf8PathBuf> {
    chosen(
        crate::surroundings::variable("HOME").as_deref(),
        of_database,
    )
}

fn chosen(
    variable: Option<&str>,
    database: impl FnOnce() -> Option<Utf8PathBuf>,
) -> Option<Utf8PathBuf> {
    let variable = variable.filter(|home| home.starts_with('/'));
    variable.map(Utf8PathBuf::from).or_else(database)
}

fn of_database() -> Option<Utf8PathBuf> {
    entry(home_of)
}

/// Returns the mode of a file of this user that others can read: ssh ignores such a key.
pub(crate) fn open_mode(path: &Path) -> Option<u32> {
    let data = fs_err::metadata(path).ok().filter(Metadata::is_file)?;
    let is_own = data.uid() == rustix::process::geteuid().as_raw();
    (is_own && data.mode() & 0o077 != 0).then_some(data.mode() & 0o7777)
}

/// Returns the user's name: `$USER`, `$LOGNAME`, or the one in the user database. `None` if none
/// has one, as in a container for a user without an entry.
pub(crate) fn name() -> Option<String> {
    let variable = |name| crate::surroundings::variable(name).filter(|name| !name.is_empty());
    let variable = variable("USER").or_else(|| variable("LOGNAME"));
    variable.or_else(|| entry(name_of))
}

/// Returns a part of the user's own entry in the user database.
#[expect(
    clippy::disallowed_methods,
    reason = "getent is asked at once, before anything runs"
)]
fn entry<T>(part: impl Fn(&[&str]) -> Option<T>) -> Option<T> {
    let user = rustix::process::geteuid().as_raw().to_string();
    // `getent` also queries directories such as LDAP; a small container may have only the file.
    let getent = Command::new("getent")
        .args(["passwd", &user])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let said = getent.map(|output| output.stdout).unwrap_or_default();
    let file = || fs_err::read("/etc/passwd").unwrap_or_default();
    part_of(&user, &said, &part).or_else(|| part_of(&user, &file(), &part))
}

/// Returns a part of the entry of a user, by number, from lines as in `/etc/passwd`.
fn part_of<T>(user: &str, passwd: &[u8], part: impl Fn(&[&str]) -> Option<T>) -> Option<T> {
    let text = String::from_utf8_lossy(passwd);
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    part(&lines.find(|fields| fields.get(2) == Some(&user))?)
}

fn home_of(fields: &[&str]) -> Option<Utf8PathBuf> {
    let home = fields.get(5).filter(|home| home.starts_with('/'))?;
    Some(Utf8PathBuf::from(*home))
}

fn name_of(fields: &[&str]) -> Option<String> {
    let name = fields.first().filter(|name| !name.is_empty())?;
    Some((*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_variable_the_home_comes_from_the_user_database() {
        let database = || Some(Utf8PathBuf::from("/home/dev"));
        assert_eq!(chosen(Some("/h"), database).unwrap(), "/h");
        for none in [None, Some(""), Some("~"), Some("relative")] {
            assert_eq!(chosen(none, database).unwrap(), "/home/dev", "{none:?}");
            assert_eq!(chosen(none, || None), None);
        }
        let passwd = b"root:x:0:0:root:/root:/bin/sh\ndev:x:1000:1000:\xff,,:/home/dev:/bin/sh\nno:x:7:7::none:/\n";
        assert_eq!(part_of("1000", passwd, home_of).unwrap(), "/home/dev");
        assert_eq!(part_of("7", passwd, home_of), None);
        assert_eq!(part_of("100", passwd, home_of), None);
        assert_eq!(part_of("1000", passwd, name_of).unwrap(), "dev");
        assert_eq!(part_of("100", passwd, name_of), None);
    }
}
