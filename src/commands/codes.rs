//! The codes of errors, with the exit code that each ends a command with.

use super::Exit;

o3r_core::codes! {
    /// Why a command did not do what was asked.
    pub enum ErrorCode {
        /// The manifest is not valid: its findings say what and where.
        InvalidManifest = "invalid-manifest",
        /// A file that the command line names cannot be read, or is no document of this version: a manifest, a saved
        /// plan, an observation.
        UnreadableFile = "unreadable-file",
        /// A file that the command line asks for cannot be written.
        NotWritten = "not-written",
        /// The command is to come in a later version; the help says what to do until then.
        NotSupported = "not-supported",
        /// `init` never writes over a manifest.
        FileExists = "file-exists",
        /// `--vpu` names no VPU of the manifest.
        UnknownVpu = "unknown-vpu",
        /// The manifest declares several VPUs, and neither `--vpu` nor `--host` selects one.
        NoVpuSelected = "no-vpu-selected",
        /// `--host` is the address of another VPU of the manifest than the chosen one.
        HostOfOtherVpu = "host-of-other-vpu",
        /// `$IFM3D_IP` is no host name and no IP address.
        BadAddress = "bad-address",
        /// `status --exit-code` compares with a manifest, and there is none that can be used.
        NoManifest = "no-manifest",
        /// `apply` asks before it does anything, and there is no terminal to ask on: `--yes` answers beforehand.
        NoTerminal = "no-terminal",
        /// The question was not answered with yes.
        Declined = "declined",
        /// There is no directory of the user's own for what is prepared.
        NoCache = "no-cache",
        /// An image or a file cannot be made ready to be sent.
        NotPrepared = "not-prepared",
        /// Everything was applied, but the log is not complete.
        LogIncomplete = "log-incomplete",
        /// The OpenSSH client is not installed on this machine.
        SshMissing = "ssh-missing",
        /// No connection to the VPU: wrong cable, wrong address, nothing listens.
        Unreachable = "unreachable",
        /// The VPU does not let the user in.
        LoginRefused = "login-refused",
        /// The host key is neither pinned in the manifest nor in known_hosts.
        HostKeyUnknown = "host-key-unknown",
        /// The host key is another one than the pinned or known one: another VPU, or one that was set up again.
        HostKeyChanged = "host-key-changed",
        /// The host key is revoked by known_hosts or `RevokedHostKeys`.
        HostKeyRevoked = "host-key-revoked",
        /// A jump host or proxy in front of the VPU fails.
        JumpHostFailed = "jump-host-failed",
        /// The login fails for a reason of its own, which the message has.
        LoginFailed = "login-failed",
        /// sshd on the VPU allows no session on a connection.
        NoSession = "no-session",
        /// The connection broke.
        ConnectionLost = "connection-lost",
        /// The lock on the VPU is not this apply's any more.
        LockLost = "lock-lost",
        /// Something on the VPU has not answered in time.
        NoAnswer = "no-answer",
        /// What was to be sent could not be read or made.
        NotSent = "not-sent",
        /// Anything else that failed in ssh.
        SshFailed = "ssh-failed",
        /// After the link broke, another VPU answers at the address.
        OtherVpu = "other-vpu",
        /// A step failed, and the previous release was not restored, or not wholly: the message says what runs.
        StepFailed = "step-failed",
        /// The lock on the VPU cannot be taken: its disk is full or read-only, say.
        LockUnavailable = "lock-unavailable",
        /// A fault of o3r-deploy: the plan contradicts itself. Nothing was done.
        UnsoundPlan = "unsound-plan",
        /// All steps were done, and a second plan is not empty.
        NotConverged = "not-converged",
        /// A step failed, and the previous release was restored.
        RolledBack = "rolled-back",
        /// The link broke while the release was being started: the VPU rolls back on its own unless an apply takes over in
        /// time. `status` tells the outcome.
        Undecided = "undecided",
        /// `--confirm-within` cannot be kept: there is no earlier release, or the watchdog is off.
        CannotRollBack = "cannot-roll-back",
        /// No release waits to be confirmed with this token.
        UnknownToken = "unknown-token",
        /// Another apply holds the lock, or a process that it left still acts.
        Locked = "locked",
        /// What would be done now is not what the saved plan says.
        StalePlan = "stale-plan",
        /// Something in the plan is blocked: each says why.
        Blocked = "blocked",
        /// dockerd on the VPU does not answer.
        DockerHangs = "docker-hangs",
        /// What is on the VPU cannot be told: it did not say, or not in a way that is understood.
        StateUnknown = "state-unknown",
        /// A signal ended the command.
        Interrupted = "interrupted",
    }
}

impl ErrorCode {
    /// Returns the exit code of a command that ends with this error.
    pub fn exit(self) -> Exit {
        match self {
            Self::InvalidManifest
            | Self::UnreadableFile
            | Self::NotWritten
            | Self::NotSupported
            | Self::FileExists
            | Self::UnknownVpu
            | Self::NoVpuSelected
            | Self::HostOfOtherVpu
            | Self::BadAddress
            | Self::NoManifest
            | Self::NoTerminal
            | Self::Declined
            | Self::NoCache
            | Self::NotPrepared
            | Self::CannotRollBack
            | Self::UnknownToken
            | Self::LogIncomplete => Exit::Usage,
            Self::SshMissing
            | Self::Unreachable
            | Self::LoginRefused
            | Self::HostKeyUnknown
            | Self::HostKeyChanged
            | Self::HostKeyRevoked
            | Self::JumpHostFailed
            | Self::LoginFailed
            | Self::NoSession
            | Self::ConnectionLost
            | Self::LockLost
            | Self::NoAnswer
            | Self::NotSent
            | Self::SshFailed
            | Self::OtherVpu => Exit::Unreachable,
            Self::StepFailed | Self::LockUnavailable | Self::UnsoundPlan => Exit::Failed,
            Self::NotConverged => Exit::NotConverged,
            Self::RolledBack => Exit::Restored,
            Self::Undecided => Exit::Undecided,
            Self::Locked => Exit::Locked,
            Self::StalePlan => Exit::Stale,
            Self::Blocked | Self::DockerHangs | Self::StateUnknown => Exit::Blocked,
            Self::Interrupted => Exit::Interrupted,
        }
    }
}
