//! Maps errors to exit codes and reports.

use std::{fmt, io};

use miette::Diagnostic;
use serde_json::{Value, json};

use super::{
    ErrorCode,
    target::{Table, USUAL_USER},
};
pub(super) use crate::host::chain;
use crate::{
    apply::Locked,
    deployment,
    host::HostError,
    manifest::{Diagnostics, names::escape_lines},
};

/// How a command ended: the documented exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Manifest or command line invalid, declined, or no terminal and no `--yes`.
    Usage = 1,
    /// `--exit-code` found changes.
    Changes = 2,
    /// The VPU cannot be reached or refuses the login, or its host key is not the pinned one.
    Unreachable = 3,
    /// A step failed, and nothing was restored, or not everything.
    Failed = 4,
    /// Applied but not converged.
    NotConverged = 5,
    /// A step failed, and the previous release was restored.
    Restored = 6,
    /// Locked by another apply.
    Locked = 7,
    /// The saved plan is stale.
    Stale = 8,
    /// Blocked: nothing was done.
    Blocked = 9,
    /// The connection was lost while a release was being started: the VPU rolls back automatically
    /// unless an apply takes over.
    Undecided = 10,
    /// Interrupted.
    Interrupted = 130,
}

/// The error of a command that did not do what was asked.
#[derive(Debug)]
pub struct CommandError {
    /// The exit code.
    pub exit: Exit,
    said: Option<Said>,
    /// The findings in a manifest, as [`Diagnostics`] serializes them.
    findings: Option<Value>,
}

#[derive(Debug)]
struct Said {
    code: ErrorCode,
    report: Box<dyn Diagnostic + Send + Sync>,
}

impl CommandError {
    fn new(code: ErrorCode, report: impl Diagnostic + Send + Sync + 'static) -> Self {
        let report = Box::new(report);
        Self {
            exit: code.exit(),
            said: Some(Said { code, report }),
            findings: None,
        }
    }

    /// Creates an error from the findings in a manifest.
    pub fn findings(findings: Diagnostics) -> Self {
        let value = serde_json::to_value(&findings).ok();
        Self {
            findings: value,
            ..Self::new(ErrorCode::InvalidManifest, findings)
        }
    }

    /// Creates an error from a message and the next thing to do.
    pub fn message(code: ErrorCode, message: impl Into<String>, help: Option<String>) -> Self {
        Self::new(
            code,
            Message {
                // Much of it quotes a VPU.
                message: escape_lines(&message.into()),
                help: help.map(|help| escape_lines(&help)),
            },
        )
    }

    /// Creates an exit code without a message, for an error that is reported already.
    pub fn silent(exit: Exit) -> Self {
        Self {
            exit,
            said: None,
            findings: None,
        }
    }

    /// Returns what to show.
    pub fn report(&self) -> Option<&dyn Diagnostic> {
        let said = self.said.as_ref()?;
        Some(&*said.report)
    }

    /// Returns the code; `None` if the error is reported already.
    pub fn code(&self) -> Option<ErrorCode> {
        Some(self.said.as_ref()?.code)
    }

    /// Returns the error for programs: `{"code", "message", "help"}`, and `findings` if it is about
    /// a manifest. Null if it is reported already.
    pub fn document(&self) -> Value {
        let Some(Said { code, report }) = &self.said else {
            return Value::Null;
        };
        let mut error = json!({
            "code": code.name(),
            "message": report.to_string(),
            "help": report.help().map(|help| help.to_string()),
        });
        if let Some(findings) = &self.findings {
            error["findings"] = findings.clone();
        }
        error
    }
}

#[derive(Debug)]
struct Message {
    message: String,
    help: Option<String>,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Message {}

impl Diagnostic for Message {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
}

impl From<HostError> for CommandError {
    fn from(error: HostError) -> Self {
        Self::unreachable(&error, &Table::default())
    }
}

impl CommandError {
    /// Creates the error of a VPU that cannot be reached
    /// and that this table of the manifest describes.
    pub(super) fn unreachable(error: &HostError, table: &Table) -> Self {
        let mut help = error.help_for(&table.header, &table.file);
        if let (HostError::HostKeyUnknown { host, .. }, false) = (error, table.exists) {
            let ssh = format!("\n\nor let ssh remember the key: ssh {USUAL_USER}@{host} true");
            help = help.map(|help| help + &ssh);
        }
        Self::message(code_of(error), chain(error), help)
    }

    /// Creates the error for another VPU of the manifest answering, which has this host key.
    pub(super) fn other_vpu_answers(error: &HostError, table: &Table, owner: &str) -> Self {
        let help = format!(
            "this key is pinned for {owner}, whose VPU answers at this address; check `host` of {}",
            table.header
        );
        Self::message(code_of(error), chain(error), Some(help))
    }
}

fn code_of(error: &HostError) -> ErrorCode {
    match error {
        HostError::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            ErrorCode::SshMissing
        }
        HostError::Unreachable { .. } => ErrorCode::Unreachable,
        HostError::Refused { .. } => ErrorCode::LoginRefused,
        HostError::HostKeyUnknown { .. } => ErrorCode::HostKeyUnknown,
        HostError::HostKeyChanged { .. } => ErrorCode::HostKeyChanged,
        HostError::HostKeyRevoked { .. } => ErrorCode::HostKeyRevoked,
        HostError::JumpHost { .. } => ErrorCode::JumpHostFailed,
        HostError::Login { .. } => ErrorCode::LoginFailed,
        HostError::NoSession { .. } => ErrorCode::NoSession,
        HostError::Disconnected { .. } => ErrorCode::ConnectionLost,
        HostError::LockLost => ErrorCode::LockLost,
        HostError::NoAnswer { .. } => ErrorCode::NoAnswer,
        HostError::Payload(_) => ErrorCode::NotSent,
        HostError::Start { .. } | HostError::Transport { .. } => ErrorCode::SshFailed,
    }
}

impl From<deployment::Error> for CommandError {
    fn from(error: deployment::Error) -> Self {
        use deployment::Error;
        let error = match error {
            Error::Load(error) => return super::session::load_error(error),
            error => error,
        };
        let report = "run it again with -vv; if it fails again, report it with that output";
        let (code, help) = match &error {
            Error::Host(error) | Error::Locked(Locked::Host(error)) => {
                return Self::unreachable(error, &Table::default());
            }
            // The VPU is connected, but its state is unknown: nothing may be done.
            Error::Observe(_) | Error::Silent => (ErrorCode::StateUnknown, Some(report.to_owned())),
            Error::DockerHangs { .. } => {
                let help = "check on the VPU: docker info; power-cycle the VPU if dockerd hangs";
                (ErrorCode::DockerHangs, Some(help.to_owned()))
            }
            Error::Prepare(error) => (ErrorCode::NotPrepared, error.source.help()),
            Error::Unsound { .. } => {
                let help = "report it with the file that this command writes: o3r-deploy observe -o observed.json";
                (ErrorCode::UnsoundPlan, Some(help.to_owned()))
            }
            Error::Blocked(_) => (ErrorCode::Blocked, None),
            Error::Stale => (ErrorCode::StalePlan, None),
            Error::Locked(_) => (ErrorCode::Locked, None),
            Error::NotConverged(_) | Error::NotVerified(_) => (ErrorCode::NotConverged, None),
            Error::Load(_) => (ErrorCode::InvalidManifest, None),
        };
        Self::message(code, chain(&error), help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The errors of ssh that the twin's tests do not provoke.
    #[test]
    fn errors_of_the_host_have_their_own_codes() {
        let host = || "10.0.0.1".to_owned();
        let lost = || io::Error::other("the file changed");
        for (error, code) in [
            (
                HostError::Start {
                    program: "ssh".into(),
                    source: io::ErrorKind::NotFound.into(),
                },
                ErrorCode::SshMissing,
            ),
            (
                HostError::Login {
                    host: host(),
                    reason: "the account is locked".into(),
                    help: None,
                },
                ErrorCode::LoginFailed,
            ),
            (
                HostError::Disconnected { host: host() },
                ErrorCode::ConnectionLost,
            ),
            (HostError::LockLost, ErrorCode::LockLost),
            (
                HostError::NoAnswer {
                    what: "dockerd".into(),
                    seconds: 70,
                },
                ErrorCode::NoAnswer,
            ),
            (HostError::Payload(lost()), ErrorCode::NotSent),
            (
                HostError::Transport {
                    doing: "starting a command".into(),
                    reason: "no more sessions".into(),
                },
                ErrorCode::SshFailed,
            ),
        ] {
            let error = CommandError::from(error);
            assert_eq!(error.code(), Some(code));
            assert_eq!(error.exit, Exit::Unreachable);
            assert_eq!(error.document()["code"], code.name());
        }
    }

    #[test]
    fn a_vpu_whose_state_is_unknown_blocks() {
        let error = CommandError::from(deployment::Error::Silent);
        assert_eq!(error.code(), Some(ErrorCode::StateUnknown));
        assert_eq!(error.exit, Exit::Blocked);
    }
}
