//! Maps what went wrong to an exit code and a report.

use std::fmt;

use miette::Diagnostic;
use serde_json::{Value, json};

pub(super) use crate::host::chain;
use crate::{
    host::HostError,
    manifest::{Diagnostics, names::escape_lines},
    observe::ObserveError,
};

/// How a command ended: the exit codes of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Manifest or command line wrong, declined, or no terminal and no `--yes`.
    Usage = 1,
    /// `--exit-code` found changes.
    Changes = 2,
    /// The VPU cannot be reached, or refuses us, or its host key is not the pinned one.
    Unreachable = 3,
    /// A step failed, and nothing or not all was restored.
    Failed = 4,
    /// Applied but not converged.
    NotConverged = 5,
    /// Failed, and the previous release was restored.
    Restored = 6,
    /// Locked by another apply.
    Locked = 7,
    /// The saved plan is stale.
    Stale = 8,
    /// Blocked: nothing was done.
    Blocked = 9,
    /// Interrupted.
    Interrupted = 130,
}

/// A command that did not do what was asked.
#[derive(Debug)]
pub struct CommandError {
    /// The exit code.
    pub exit: Exit,
    report: Option<Box<dyn Diagnostic + Send + Sync>>,
    /// Of a manifest, as [`Diagnostics`] writes them for programs.
    findings: Option<Value>,
}

impl CommandError {
    /// A report of its own.
    pub fn new(exit: Exit, report: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self {
            exit,
            report: Some(Box::new(report)),
            findings: None,
        }
    }

    /// What is wrong with a manifest.
    pub fn findings(findings: Diagnostics) -> Self {
        let value = serde_json::to_value(&findings).ok();
        Self {
            findings: value,
            ..Self::new(Exit::Usage, findings)
        }
    }

    /// A message, what caused it, and the next thing to do.
    pub fn message(exit: Exit, message: impl Into<String>, help: Option<String>) -> Self {
        Self::new(
            exit,
            Message {
                // Much of it is what a VPU said.
                message: escape_lines(&message.into()),
                help: help.map(|help| escape_lines(&help)),
            },
        )
    }

    /// An exit code alone; what there is to say was said.
    pub fn silent(exit: Exit) -> Self {
        Self {
            exit,
            report: None,
            findings: None,
        }
    }

    /// What to show.
    pub fn report(&self) -> Option<&dyn Diagnostic> {
        self.report
            .as_deref()
            .map(|report| report as &dyn Diagnostic)
    }

    /// What it says, for programs: `{"message", "help"}`, with the `findings` in a manifest where
    /// it is about those. Null where all was said.
    pub fn document(&self) -> Value {
        let Some(report) = &self.report else {
            return Value::Null;
        };
        let mut error = json!({
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
        Self::message(Exit::Unreachable, chain(&error), error.help())
    }
}

impl CommandError {
    /// A box that cannot be reached, described by this table of the manifest.
    pub(super) fn unreachable(error: &HostError, table: &str) -> Self {
        Self::message(Exit::Unreachable, chain(error), error.help_for(table))
    }
}

impl From<ObserveError> for CommandError {
    fn from(error: ObserveError) -> Self {
        match error {
            ObserveError::Host(error) => error.into(),
            // We are connected and cannot tell what is there: nothing may be done.
            other => Self::message(
                Exit::Blocked,
                chain(&other),
                Some("run it again with -vv, and report it with that output if it stays".into()),
            ),
        }
    }
}
