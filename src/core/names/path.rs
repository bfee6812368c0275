//! Paths on the VPU and on this machine.

use std::{fmt, str::FromStr};

use camino::{Utf8Path, Utf8PathBuf};

use super::{NameError, Word, printable_problem, string_form};

/// The home directory that `~` stands for if no VPU was asked.
pub const USUAL_HOME: &str = "/home/oem";

/// A path on the VPU: absolute, or below the home directory as `~` or `~/…`.
///
/// Normalised: no `..`, no empty or `.` segment. A trailing slash is kept, as it means a directory.
/// `$` is an ordinary character except at the start; nothing is expanded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemotePath {
    /// `~`, `/`, or either followed by segments, with the trailing slash if there was one.
    text: String,
}

impl RemotePath {
    /// Returns the path with `~` replaced by the absolute
    /// directory `home`, without a trailing slash.
    pub fn resolve(&self, home: &str) -> String {
        let text = self.bare();
        match text.strip_prefix('~') {
            Some("") if home.len() > 1 => home.trim_end_matches('/').to_owned(),
            Some("") => home.to_owned(),
            Some(rest) => format!("{}{rest}", home.trim_end_matches('/')),
            None => text.to_owned(),
        }
    }

    /// Returns the normalised path, keeping `~` and the trailing slash.
    pub fn as_written(&self) -> &str {
        &self.text
    }

    /// Whether it has a trailing slash, which means a directory.
    pub fn is_dir_hint(&self) -> bool {
        self.text.ends_with('/')
    }

    /// Whether it is relative to the home directory.
    pub fn is_below_home(&self) -> bool {
        self.text.starts_with('~')
    }

    /// Returns the last segment; `None` for `/` and `~`.
    pub fn file_name(&self) -> Option<&str> {
        self.bare()
            .rsplit_once('/')
            .map(|(_, name)| name)
            .filter(|name| !name.is_empty())
    }

    /// Returns the directory that contains it; `None` for `/` and `~`.
    pub fn parent(&self) -> Option<Self> {
        let (parent, name) = self.bare().rsplit_once('/')?;
        match (parent, name) {
            (_, "") => None,
            ("", _) => Some(Self {
                text: "/".to_owned(),
            }),
            (parent, _) => Some(Self {
                text: parent.to_owned(),
            }),
        }
    }

    /// Whether `other` is this path or below it, with `/home/oem` for `~`.
    pub fn contains(&self, other: &Self) -> bool {
        Utf8Path::new(&other.resolve(USUAL_HOME)).starts_with(self.resolve(USUAL_HOME))
    }

    /// Returns the path of `relative` below this one.
    #[must_use]
    pub fn join(&self, relative: &RelativePath) -> Self {
        let slash = if self.is_dir_hint() { "" } else { "/" };
        Self {
            text: format!("{}{slash}{relative}", self.text),
        }
    }

    /// Returns the text without a trailing slash.
    fn bare(&self) -> &str {
        match self.text.strip_suffix('/') {
            Some("") | None => &self.text,
            Some(bare) => bare,
        }
    }
}

impl Word for RemotePath {
    const FORMAT: &'static str = "remote-path";
    const PATTERN: &'static str = r"^([/]|~$|~/|[$][{])";
    const EXPECTED: &'static str = "a path on the VPU";
    const HELP: &'static str = "write an absolute path, or one below the home directory: `~/share`";
}

impl FromStr for RemotePath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |problem: &str| NameError::new::<Self>(text, problem);
        if let Some(problem) = printable_problem(text) {
            return Err(refuse(problem));
        }
        let (root, rest) = match (text.strip_prefix('/'), text.strip_prefix('~')) {
            (Some(rest), _) => ("", rest),
            (_, Some("")) => ("~", ""),
            (_, Some(rest)) if rest.starts_with('/') => ("~", rest),
            (_, Some(_)) => {
                return Err(
                    refuse("the home directory of another user is not supported")
                        .with_help("write the absolute path instead of `~user`"),
                );
            }
            _ if text.starts_with('$') => {
                return Err(refuse("variables are not expanded")
                    .with_help("write `~/…` for the home directory, or an absolute path"));
            }
            _ => return Err(refuse("it is relative")),
        };
        let mut normal = root.to_owned();
        for segment in rest
            .split('/')
            .filter(|segment| !matches!(*segment, "" | "."))
        {
            if segment == ".." {
                return Err(refuse("it contains `..`").with_help("write the path without `..`"));
            }
            normal.push('/');
            normal.push_str(segment);
        }
        if normal.is_empty() || (text.ends_with('/') && !rest.is_empty()) {
            normal.push('/');
        }
        Ok(Self { text: normal })
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A path on this machine: relative to the manifest, absolute, or below `~`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPath(String);

impl LocalPath {
    /// Returns the path as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has a trailing slash, which means a directory.
    pub fn is_dir_hint(&self) -> bool {
        self.0.ends_with('/')
    }

    /// Returns the path with `~` replaced by `home` (kept
    /// if there is none), below `base` if it is relative.
    pub fn resolve(&self, base: &Utf8Path, home: Option<&Utf8Path>) -> Utf8PathBuf {
        match (self.0.strip_prefix("~"), home) {
            (Some(""), Some(home)) => home.to_owned(),
            (Some(rest), Some(home)) if rest.starts_with('/') => {
                home.join(rest.trim_start_matches('/'))
            }
            // Findings show the path, where a leading `./` has no meaning.
            _ if base == "." => self.0.clone().into(),
            _ => base.join(&self.0),
        }
    }
}

impl Word for LocalPath {
    const FORMAT: &'static str = "local-path";
    const PATTERN: &'static str = "^.";
    const EXPECTED: &'static str = "a path on this machine";
    const HELP: &'static str =
        "write a path relative to the manifest, an absolute one, or one below `~/`";
}

impl FromStr for LocalPath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match printable_problem(text) {
            Some(problem) => Err(NameError::new::<Self>(text, problem)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for LocalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A relative path without `..`, used on both machines: below the compose file's directory on this
/// one, and below the project's directory on the VPU.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(String);

impl RelativePath {
    /// Returns the normalised path, keeping the trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the normalised path without a trailing slash.
    pub fn bare(&self) -> &str {
        self.0.trim_end_matches('/')
    }

    /// Whether it has a trailing slash, which means a directory.
    pub fn is_dir_hint(&self) -> bool {
        self.0.ends_with('/')
    }

    /// Returns the last segment.
    pub fn file_name(&self) -> &str {
        self.bare().rsplit('/').next().unwrap_or_default()
    }
}

impl Word for RelativePath {
    const FORMAT: &'static str = "relative-path";
    const PATTERN: &'static str = "^[^/~]";
    const EXPECTED: &'static str = "a path below the compose file";
    const HELP: &'static str = "write a relative path without `..`, e.g. `conf/app.json`";
}

impl FromStr for RelativePath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |problem: &str| NameError::new::<Self>(text, problem);
        if let Some(problem) = printable_problem(text) {
            return Err(refuse(problem));
        }
        if text.starts_with('/') {
            return Err(refuse("it is absolute"));
        }
        if text == "~" || text.starts_with("~/") {
            return Err(refuse("it starts at the home directory"));
        }
        let segments: Vec<&str> = text
            .split('/')
            .filter(|segment| !matches!(*segment, "" | "."))
            .collect();
        if segments.contains(&"..") {
            return Err(refuse("it contains `..`"));
        }
        if segments.is_empty() {
            return Err(refuse("it names the whole directory"));
        }
        let slash = if text.ends_with('/') { "/" } else { "" };
        Ok(Self(segments.join("/") + slash))
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_form!(RemotePath, LocalPath, RelativePath);

/// Returns the absolute path of one that may begin with `~`. `home` is the home directory.
pub fn absolute(path: &str, home: &str) -> String {
    match path.strip_prefix('~') {
        Some(rest) => format!("{home}{rest}"),
        None => path.to_owned(),
    }
}

/// Returns an absolute path as it is shown and queried: with `~` where it is in the home directory.
pub fn below_home(path: &str, home: &str) -> String {
    if is_within(path, home) {
        format!("~{}", &path[home.len()..])
    } else {
        path.to_owned()
    }
}

/// Whether a path is `directory` or below it; everything is below the empty one.
pub fn is_within(path: &str, directory: &str) -> bool {
    directory.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> RemotePath {
        text.parse().unwrap()
    }

    #[test]
    fn remote_paths_are_normalised_and_resolved() {
        for (written, normal, resolved) in [
            ("~", "~", "/home/oem"),
            ("~/", "~/", "/home/oem"),
            ("/", "/", "/"),
            ("//", "/", "/"),
            ("~//a/./b", "~/a/b", "/home/oem/a/b"),
            ("~/a/", "~/a/", "/home/oem/a"),
            ("/usr//share/", "/usr/share/", "/usr/share"),
            ("~/a$b 'c'", "~/a$b 'c'", "/home/oem/a$b 'c'"),
        ] {
            let path = remote(written);
            assert_eq!(path.as_written(), normal, "{written}");
            assert_eq!(path.resolve("/home/oem"), resolved, "{written}");
            assert_eq!(
                remote(path.as_written()),
                path,
                "parsing again changes nothing"
            );
        }
    }

    #[test]
    fn hostile_remote_paths_are_refused() {
        for text in [
            "", "a", "~root/x", "$HOME/x", "/a/../b", "~/..", "/a\nb", "/a\0", "./x",
        ] {
            assert!(text.parse::<RemotePath>().is_err(), "{text:?}");
        }
        let error = "/a\u{1b}[2Jb".parse::<RemotePath>().unwrap_err();
        assert_eq!(
            error.to_string(),
            r"`/a\u{1b}[2Jb` is not a path on the VPU: it contains a control character"
        );
    }

    #[test]
    fn a_remote_path_has_a_parent_a_name_and_children() {
        assert_eq!(remote("~/a/b/").file_name(), Some("b"));
        assert_eq!(remote("~").file_name(), None);
        assert_eq!(remote("/").file_name(), None);
        assert_eq!(remote("/a").parent(), Some(remote("/")));
        assert_eq!(remote("~/a").parent(), Some(remote("~")));
        assert_eq!(remote("~").parent(), None);
        assert!(remote("~/a").contains(&remote("~/a/b")));
        assert!(remote("~/a/").contains(&remote("/home/oem/a")));
        assert!(!remote("~/a").contains(&remote("~/ab")));
        assert!(remote("/").contains(&remote("~")));
    }

    #[test]
    fn local_paths_resolve_below_the_manifest() {
        let base = Utf8Path::new("/home/me/app");
        let home = Some(Utf8Path::new("/home/me"));
        for (written, resolved) in [
            ("dist/x.tar", "/home/me/app/dist/x.tar"),
            ("../x.tar", "/home/me/app/../x.tar"),
            ("/x.tar", "/x.tar"),
            ("~/x.tar", "/home/me/x.tar"),
            ("~x", "/home/me/app/~x"),
        ] {
            assert_eq!(
                written.parse::<LocalPath>().unwrap().resolve(base, home),
                resolved
            );
        }
    }

    #[test]
    fn relative_paths_stay_below() {
        assert_eq!(
            "./conf//a.json".parse::<RelativePath>().unwrap().as_str(),
            "conf/a.json"
        );
        assert!("conf/".parse::<RelativePath>().unwrap().is_dir_hint());
        for text in ["", ".", "./", "/a", "../a", "a/../b", "~/a", "a\nb"] {
            assert!(text.parse::<RelativePath>().is_err(), "{text:?}");
        }
    }
}
