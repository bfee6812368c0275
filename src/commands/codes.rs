//! The codes of errors, with the exit code that each ends a command with.

use super::Exit;

o3r_core::codes! {
    /// Why a command failed.
    pub enum ErrorCode {
        /// The manifest is not valid: its findings say what is wrong and where.
        InvalidManifest = "invalid-manifest",
        /// A manifest, saved plan or observation cannot be read, or has the format of another version.
        UnreadableFile = "unreadable-file",
        /// An output file cannot be written.
        NotWritten = "not-written",
        /// This version does not have the command yet; the help says what to use instead.
        NotSupported = "not-supported",
        /// The manifest exists already: `init` does not overwrite it.
        FileExists = "file-exists",
        /// `migrate` cannot read the command line of the earlier tool.
        BadFlags = "bad-flags",
        /// `init --from-vpu` found nothing to describe on the VPU, or several releases.
        NotDescribed = "not-described",
        /// `--vpu` names no VPU of the manifest.
        UnknownVpu = "unknown-vpu",
        /// The manifest declares several VPUs, and neither `--vpu` nor `--host` selects one.
        NoVpuSelected = "no-vpu-selected",
        /// `--host` is the address of another VPU in the manifest than the selected one.
        HostOfOtherVpu = "host-of-other-vpu",
        /// `$IFM3D_IP` is neither a host name nor an IP address.
        BadAddress = "bad-address",
        /// There is no valid manifest: `status --exit-code` needs one, and `confirm` and `cancel` need one or `--host`.
        NoManifest = "no-manifest",
        /// `apply` needs a terminal to ask for confirmation; use `--yes` without one.
        NoTerminal = "no-terminal",
        /// The question was not answered with yes.
        Declined = "declined",
        /// The cache directory could not be determined or created.
        NoCache = "no-cache",
        /// An image or a file could not be prepared for sending.
        NotPrepared = "not-prepared",
        /// Everything was applied, but the log is incomplete.
        LogIncomplete = "log-incomplete",
        /// The OpenSSH client is not installed on this machine.
        SshMissing = "ssh-missing",
        /// The VPU cannot be reached: the cable or the address is wrong, or nothing listens on the port.
        Unreachable = "unreachable",
        /// The VPU refuses the login.
        LoginRefused = "login-refused",
        /// The host key is neither pinned in the manifest nor in known_hosts.
        HostKeyUnknown = "host-key-unknown",
        /// The host key is not the pinned or known one: it is another VPU, or one whose host key changed.
        HostKeyChanged = "host-key-changed",
        /// The host key is revoked by known_hosts or `RevokedHostKeys`.
        HostKeyRevoked = "host-key-revoked",
        /// A jump host or proxy on the way to the VPU failed.
        JumpHostFailed = "jump-host-failed",
        /// The login failed for another reason; the message quotes it.
        LoginFailed = "login-failed",
        /// `authorize` has no usable key, or could not add it to the VPU.
        NotAuthorized = "not-authorized",
        /// sshd on the VPU allows no session on the connection.
        NoSession = "no-session",
        /// The connection to the VPU was lost.
        ConnectionLost = "connection-lost",
        /// This apply no longer holds the lock on the VPU.
        LockLost = "lock-lost",
        /// A command on the VPU did not answer in time.
        NoAnswer = "no-answer",
        /// A payload could not be read or built.
        NotSent = "not-sent",
        /// ssh failed for another reason.
        SshFailed = "ssh-failed",
        /// After a reconnect, another VPU answers at the address.
        OtherVpu = "other-vpu",
        /// A step failed, and the previous release was not restored or only in part: the message says what runs.
        StepFailed = "step-failed",
        /// The lock on the VPU cannot be taken, for example because its disk is full or read-only.
        LockUnavailable = "lock-unavailable",
        /// A bug in o3r-deploy: the plan contradicts itself. Nothing was done.
        UnsoundPlan = "unsound-plan",
        /// All steps succeeded, but a second plan is not empty.
        NotConverged = "not-converged",
        /// A step failed, and the previous release was restored.
        RolledBack = "rolled-back",
        /// The connection was lost while containers were being replaced: the VPU rolls back automatically unless an apply takes
        /// over in time. `status` shows the outcome.
        Undecided = "undecided",
        /// `--confirm-within` cannot be kept: the watchdog is off.
        CannotRollBack = "cannot-roll-back",
        /// No release waits to be confirmed with this token.
        UnknownToken = "unknown-token",
        /// The VPU keeps no such release, or none to return to; `history` lists what it keeps.
        UnknownRelease = "unknown-release",
        /// A release that the VPU keeps cannot be read.
        ReleaseUnreadable = "release-unreadable",
        /// Another apply holds the lock, or a process that it started still runs.
        Locked = "locked",
        /// The saved plan is stale: the VPU or a file changed since.
        StalePlan = "stale-plan",
        /// The plan has blocked resources; each says why.
        Blocked = "blocked",
        /// dockerd on the VPU does not answer.
        DockerHangs = "docker-hangs",
        /// The state of the VPU could not be determined: a command did not answer, or its output could not be parsed.
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
            | Self::BadFlags
            | Self::NotDescribed
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
            | Self::UnknownRelease
            | Self::ReleaseUnreadable
            | Self::LogIncomplete => Exit::Usage,
            Self::SshMissing
            | Self::Unreachable
            | Self::LoginRefused
            | Self::HostKeyUnknown
            | Self::HostKeyChanged
            | Self::HostKeyRevoked
            | Self::JumpHostFailed
            | Self::LoginFailed
            | Self::NotAuthorized
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
