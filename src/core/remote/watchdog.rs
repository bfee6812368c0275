//! Builds the commands that arm and end the watchdog: the program on the VPU that rolls back if its apply falls silent.

use crate::shell::Argv;

/// The exit code of [`disarm`] when the watchdog has decided before: the VPU rolls back automatically.
pub const DECIDED: i32 = 78;

/// Who holds the lock while the VPU rolls back, as its owner file says.
pub const WATCHDOG_HOLDER: &str = "the watchdog of this VPU";

/// The part of the watchdog's program that is the same for every release.
pub const WATCHDOG: &str = concat!(
    include_str!("watchdog-unit.sh"),
    include_str!("watchdog.sh")
);

/// Arms the watchdog with the program on stdin, of that many bytes: after `seconds` without a client, or a restart, the VPU runs it. `nonce`
/// is a word of `a-z0-9-`.
pub fn arm(
    release: &str,
    nonce: &str,
    seconds: u64,
    token: &str,
    after_restart: bool,
    bytes: usize,
) -> Argv {
    let script = concat!(include_str!("watchdog-unit.sh"), include_str!("arm.sh"));
    let after_restart = if after_restart { "yes" } else { "no" };
    Argv::script(script, "o3r-arm", [release, nonce])
        .arg(seconds.to_string())
        .args([token, after_restart])
        .arg(bytes.to_string())
}

/// The exit code of [`answer`] when no release waits with this token.
pub const UNKNOWN_TOKEN: i32 = 79;

/// Leaves the decision on a version to a person: the VPU rolls back after `seconds`, unless [`answer`] comes first.
pub fn await_answer(release: &str, nonce: &str, seconds: u64, version: &str) -> Argv {
    let script = include_str!("await.sh");
    Argv::script(script, "o3r-await", [release, nonce])
        .arg(seconds.to_string())
        .arg(version)
}

/// A person's decision on a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It stays.
    Confirm,
    /// The VPU rolls back.
    Cancel,
}

/// Confirms or cancels the release that waits with this token. Prints the verdict of a rollback.
pub fn answer(answer: Answer, token: &str) -> Argv {
    let verb = match answer {
        Answer::Confirm => "confirm",
        Answer::Cancel => "cancel",
    };
    Argv::script(include_str!("answer.sh"), "o3r-answer", [verb, token])
}

/// Ends the watchdog: the new release stays, or the client has rolled back.
pub fn disarm(release: &str, nonce: &str) -> Argv {
    let script = concat!(include_str!("watchdog-unit.sh"), include_str!("disarm.sh"));
    Argv::script(script, "o3r-disarm", [release, nonce])
}

/// Ends the watchdog of a client that has rolled back: its verdict, on stdin, stays for the status.
pub fn disarm_with_verdict(release: &str, nonce: &str) -> Argv {
    disarm(release, nonce).arg("verdict")
}

/// The file in which [`super::run`] notes the step that begins, below `~/.o3r-deploy/watchdog`.
pub fn mark(release: &str, nonce: &str) -> String {
    format!("{release}/{nonce}.at")
}
