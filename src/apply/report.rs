//! The result of an apply: what failed, why, and what was restored.

use std::fmt;

use o3r_core::trouble::Trouble;

use crate::{device::DeviceError, host::HostError, plan::Phase};

/// How an execution ended.
#[must_use]
#[derive(Debug)]
pub struct Report {
    /// Steps that were completed.
    pub completed: usize,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an execution ended.
#[derive(Debug)]
pub enum Outcome {
    /// All steps are done.
    Done,
    /// What runs is new, and waits for a person: then the VPU does the rest, or rolls back.
    Unconfirmed {
        /// The token for `confirm` and `cancel`.
        token: String,
    },
    /// A step failed.
    Failed(Box<Failure>),
    /// Interrupted by Ctrl-C, in the middle of this step or before it.
    Interrupted {
        /// The address of the step.
        at: String,
        /// Whether it had begun.
        begun: bool,
    },
}

/// A step that failed.
#[derive(Debug)]
pub struct Failure {
    /// The step's address.
    pub address: String,
    /// Its phase.
    pub phase: Phase,
    /// What the command does: a purpose for scripts, the words of a plain command.
    pub command: String,
    /// The reason.
    pub reason: FailureReason,
    /// What was rolled back.
    pub restored: Restored,
}

/// Why a command failed.
#[derive(Debug)]
pub enum FailureReason {
    /// The command exited with a failure.
    Exit {
        /// Its exit code.
        code: i32,
        /// The end of its output.
        tail: String,
    },
    /// It could not be run.
    Host(HostError),
    /// The device's API refused it.
    Device(DeviceError),
}

impl FailureReason {
    /// Whether the VPU is out of reach: the link broke, or another apply may have the lock.
    pub(super) fn is_out_of_reach(&self) -> bool {
        matches!(
            self,
            Self::Host(HostError::Disconnected { .. } | HostError::LockLost)
        )
    }

    /// Whether docker found its disk full.
    pub fn is_docker_full(&self) -> bool {
        matches!(self, Self::Exit { tail, .. } if Trouble::of(tail) == Trouble::DockerDiskFull)
    }
}

impl From<HostError> for FailureReason {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl From<DeviceError> for FailureReason {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Connect(error) => Self::Host(error),
            other => Self::Device(other),
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit { tail, .. } => f.write_str(tail),
            Self::Host(error) => write!(f, "{error}"),
            Self::Device(error) => write!(f, "{error}"),
        }
    }
}

/// How a failure was rolled back.
#[derive(Debug, PartialEq, Eq)]
pub enum Restored {
    /// Nothing that runs was touched: nothing to restore.
    NotNeeded,
    /// The new release runs and is recorded; removing what it replaced failed.
    Recorded,
    /// `--no-rollback`.
    NotWanted,
    /// The previous release runs again.
    Previous,
    /// The link or the lock was lost, so nothing could be restored.
    OutOfReach,
    /// The link or the lock was lost, and the watchdog is armed: the VPU rolls back automatically, unless an apply takes over.
    Undecided {
        /// After how many seconds without a client.
        seconds: u64,
        /// Whether the answer to the confirmation was lost: then the release may be confirmed.
        confirming: bool,
    },
    /// The rollback is incomplete: this resource could not be restored.
    Failed {
        /// Its address.
        address: String,
        /// Why.
        reason: String,
    },
}
