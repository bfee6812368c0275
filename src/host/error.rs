//! Describes why a host could not be reached or a command could not be run, and what to do about
//! it.

use std::io;

/// Where an expected host key comes from, if it is `host_key` of the manifest or of `vpus.toml`.
pub(super) const PINNED: &str = "pinned in the manifest";

/// A host cannot run commands. A command that ran and failed is no `HostError`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The ssh client is not installed or could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// No connection: wrong cable, wrong address, or no listener.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// The host as given.
        host: String,
        /// ssh's message.
        reason: String,
    },
    /// The VPU rejects the login.
    #[error("{}", refused(host, user, reason))]
    Refused {
        /// The host as given.
        host: String,
        /// The user that was tried.
        user: String,
        /// ssh's message.
        reason: String,
    },
    /// The host key is neither pinned nor known.
    #[error("the host key of {host} is not known")]
    HostKeyUnknown {
        /// The host as given.
        host: String,
        /// `ssh-ed25519 AAAA…` as the VPU presents it now, if it could be determined.
        presented: Option<PresentedKey>,
        /// A command that shows the key, if there is one.
        scan: Option<String>,
    },
    /// The host key differs from the pinned or known one.
    #[error("the host key of {host} is not the one that is {expected_by}")]
    HostKeyChanged {
        /// The host as given.
        host: String,
        /// `pinned in the manifest` or `in known_hosts`.
        expected_by: &'static str,
        /// The key that the VPU presents now, if it could be determined.
        presented: Option<PresentedKey>,
        /// A command that shows the key, if there is one.
        scan: Option<String>,
    },
    /// The host key is revoked by `known_hosts` or `RevokedHostKeys`, whether pinned or not.
    #[error("the host key of {host} is revoked: {reason}")]
    HostKeyRevoked {
        /// The host as given.
        host: String,
        /// ssh's message.
        reason: String,
    },
    /// A jump host or a proxy in front of the VPU failed.
    #[error("the connection to {host} fails at its jump host or proxy: {reason}")]
    JumpHost {
        /// The host as given.
        host: String,
        /// ssh's message.
        reason: String,
    },
    /// The login failed for another reason.
    #[error("cannot log in to {host}: {reason}")]
    Login {
        /// The host as given.
        host: String,
        /// The message of ssh or of the VPU.
        reason: String,
        /// What to do next.
        help: Option<String>,
    },
    /// The login succeeded, but sshd lets no command run.
    #[error("sshd on {host} allows no session on a connection, but o3r-deploy needs one")]
    NoSession {
        /// The host as given.
        host: String,
    },
    /// The connection was lost while a command ran.
    #[error("the connection to {host} was lost")]
    Disconnected {
        /// The host as given.
        host: String,
    },
    /// The lock on the VPU is no longer ours.
    #[error(
        "the lock on the VPU was lost: its process there ended, or another apply took it (--break-lock)"
    )]
    LockLost,
    /// A command on the host does not answer.
    #[error("{what} has not answered for {seconds} s")]
    NoAnswer {
        /// The command or program.
        what: String,
        /// How long it has not answered.
        seconds: u64,
    },
    /// The data to send could not be read or created.
    #[error("cannot send: {0}")]
    Payload(#[source] io::Error),
    /// Another failure of the connection.
    #[error("{doing}: {reason}")]
    Transport {
        /// The operation that failed.
        doing: String,
        /// Why it failed.
        reason: String,
    },
}

/// A host key as the VPU presented it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentedKey {
    /// `ssh-ed25519 AAAA…`
    pub key: String,
    /// `SHA256:…`
    pub fingerprint: String,
}

impl HostError {
    /// The host key that the VPU presents, if it is not the expected one.
    pub fn presented(&self) -> Option<&PresentedKey> {
        match self {
            Self::HostKeyUnknown { presented, .. } | Self::HostKeyChanged { presented, .. } => {
                presented.as_ref()
            }
            _ => None,
        }
    }

    /// What to do next.
    pub fn help(&self) -> Option<String> {
        self.help_for("[vpu]", "the manifest")
    }

    /// What to do next, if `table` in `file` describes the VPU.
    pub fn help_for(&self, table: &str, file: &str) -> Option<String> {
        match self {
            Self::Start { .. } => {
                Some("install the OpenSSH client: apt-get install openssh-client".into())
            }
            Self::Unreachable { .. } => Some(format!(
                "check the cable, the power and the address: `{table}.host`, --host or $IFM3D_IP \
                 (a VPU leaves the factory as 192.168.0.69)"
            )),
            Self::HostKeyRevoked { .. } => Some(format!(
                "do not pin this key and do not log in: another machine may have it. If the key was revoked by mistake, \
                 remove it from known_hosts or `RevokedHostKeys`; otherwise create a new host key on the VPU, and set \
                 `host_key` in {table}"
            )),
            Self::JumpHost { .. } => Some(format!(
                "the VPU was not reached: check `ProxyJump` or `ProxyCommand` in your ssh_config; leave `host_key` and \
                 `identity` in {table} unchanged"
            )),
            Self::Login { help, .. } => help.clone(),
            Self::NoSession { .. } => {
                Some("set MaxSessions in the VPU's sshd_config to 1 or more (10 is usual)".into())
            }
            Self::Refused { reason, .. } if key_help(reason).is_some() => key_help(reason),
            Self::Refused { user, host, .. } => Some(format!(
                "if no key of yours is on this VPU yet, add one with: o3r-deploy authorize\n\
                 otherwise set your key as `identity` in {table}, or load it into ssh-agent; firmware from 1.1.41 on accepts \
                 keys only, older firmware also accepts {user}'s password on a terminal; try: ssh {user}@{host} true"
            )),
            Self::HostKeyUnknown {
                presented: Some(key),
                ..
            } => Some(format!(
                "the VPU presents {}\n\
                 if that is your VPU, pin its key with: o3r-deploy authorize\n\
                 or in {file}, in {table}, set:\n\n  host_key = \"{}\"",
                key.fingerprint, key.key
            )),
            Self::HostKeyChanged {
                presented: Some(key),
                expected_by,
                ..
            } => {
                let pin = if *expected_by == PINNED {
                    "replace its key"
                } else {
                    "remove the old key from known_hosts, or pin the new one"
                };
                Some(format!(
                    "the VPU presents {}\n\
                     another VPU at the same address, or a firmware update, has another key; if that is your VPU, \
                     {pin}: in {file}, in {table}, set:\n\n  host_key = \"{}\"",
                    key.fingerprint, key.key
                ))
            }
            Self::HostKeyUnknown { scan, .. } | Self::HostKeyChanged { scan, .. } => {
                let by = scan.as_ref().map(|scan| format!(", or with: {scan}"));
                Some(format!(
                    "read the key on the VPU with: ssh-keyscan localhost{}; then set `host_key` in {table}",
                    by.unwrap_or_default()
                ))
            }
            Self::Disconnected { .. } | Self::LockLost => {
                Some("run `apply` again to resume where it stopped".into())
            }
            Self::NoAnswer { .. } => Some(
                "check on the VPU: docker info; power-cycle the VPU if dockerd hangs; then run `apply` again"
                    .into(),
            ),
            Self::Payload(_) | Self::Transport { .. } => None,
        }
    }
}

/// What follows the name of a key file in the reason that ssh does not use it, before its mode.
pub(super) const OPEN_TO_OTHERS: &str = " can be read by others";

/// What a message says of a key file of this machine, which the VPU never sees.
const OF_THE_KEY: [&str; 8] = [
    OPEN_TO_OTHERS,
    "is a directory, not a key",
    "is an empty file",
    "is a public key",
    "is a key of PuTTY's",
    "has line ends of Windows",
    "has a passphrase",
    "not accessible: No such file",
];

/// Describes a login that failed: no key is usable, or the VPU rejects it.
fn refused(host: &str, user: &str, reason: &str) -> String {
    let first = reason.lines().next().unwrap_or_default();
    if OF_THE_KEY.iter().any(|words| first.contains(words)) {
        format!("cannot log in to {host} as {user}: {reason}")
    } else {
        format!("{host} rejects the login of {user}: {reason}")
    }
}

/// What to do about a key that ssh cannot use.
fn key_help(reason: &str) -> Option<String> {
    let says = |words: &str| reason.contains(words);
    let text = if says("Too many authentication failures") {
        "the agent offers more keys than sshd accepts: set the right one as `identity`, and `IdentitiesOnly yes` for this \
         host in ssh_config"
    } else if says("is a directory, not a key") || says("is an empty file") {
        "set a key file as `identity`; create one with: ssh-keygen -t ed25519"
    } else if says("is a public key") {
        "set the private key as `identity`: usually the file of that name without .pub"
    } else if says("is a key of PuTTY's") {
        "convert it with: puttygen FILE -O private-openssh-new -o NEW; or create another with: ssh-keygen -t ed25519"
    } else if says("line ends of Windows") {
        "remove the carriage returns from the key file: tr -d '\\r' <FILE >NEW, and chmod 600 NEW"
    } else if let Some((file, _)) = reason.split_once(OPEN_TO_OTHERS) {
        return Some(format!(
            "make the key file readable only for you: chmod 600 {file}"
        ));
    } else if says("UNPROTECTED PRIVATE KEY FILE") || says("bad permissions") {
        "make the key file readable only for you: chmod 600 FILE"
    } else if says("not accessible") || says("no such identity") {
        "set a key file that exists as `identity`"
    } else if says("passphrase") {
        "load the key into ssh-agent with: ssh-add FILE; or run this on a terminal, where ssh asks for the passphrase"
    } else if says("Load key") {
        "the key file is damaged, or has a format that this ssh does not read; check with: ssh-keygen -y -f FILE"
    } else if says("no mutual signature algorithm") || says("signing failed") {
        "sshd on the VPU does not accept this kind of key: create another with: ssh-keygen -t ed25519"
    } else {
        return None;
    };
    Some(text.to_owned())
}

/// Formats an error and all its sources on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
