//! Reads environment variables and starts programs: the one place that does, so that all of them are in sight.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use tokio::process::Command;

/// A program of this machine, found on `PATH`.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    Command::new(name)
}

/// An environment variable that is set and UTF-8.
pub(crate) fn variable(name: &str) -> Option<String> {
    variable_os(name)?.into_string().ok()
}

/// An environment variable that is set.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn variable_os(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The directory for temporary files: `TMPDIR`, or what the system has.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn temporary() -> PathBuf {
    std::env::temp_dir()
}
