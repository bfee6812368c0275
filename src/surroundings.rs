//! Reads environment variables and starts programs: the
//! only place that does, so that all uses are visible.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use camino::Utf8PathBuf;
use tokio::process::Command;

/// Returns a command for a program on this machine, found on `PATH`.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    Command::new(name)
}

/// Returns an environment variable, if it is set and UTF-8.
pub(crate) fn variable(name: &str) -> Option<String> {
    variable_os(name)?.into_string().ok()
}

/// Returns an environment variable, if it is set.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn variable_os(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Returns the directory for temporary files: `TMPDIR`, or the system's default.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn temporary() -> PathBuf {
    std::env::temp_dir()
}

/// Returns the working directory, if it exists and its path is UTF-8.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn current_directory() -> Option<Utf8PathBuf> {
    Utf8PathBuf::from_path_buf(std::env::current_dir().ok()?).ok()
}
