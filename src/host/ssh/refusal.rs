//! Says why a login failed, from ssh's words.

use tokio::{io::AsyncReadExt as _, process::Child};

use super::{
    super::{HostError, error::PresentedKey, known_hosts::Destination},
    SshOptions,
};

/// The shell's exit code for a program that is not there.
const COMMAND_NOT_FOUND: i32 = 127;

/// The key that the box presents, and the command that shows it, where they can be told.
async fn presented_key(options: &SshOptions) -> (Option<PresentedKey>, Option<String>) {
    match Destination::of(&options.host, options.port).await {
        Some(there) => (there.presented().await, there.scan()),
        None => (None, None),
    }
}

/// Turns ssh's words into one of ours. OpenSSH has no codes: its messages are stable since 2000
/// and in English whatever the locale.
pub(super) async fn login_error(
    options: &SshOptions,
    user: Option<&str>,
    mut master: Child,
) -> HostError {
    let mut said = String::new();
    if let Some(stderr) = &mut master.stderr {
        let _ = stderr.read_to_string(&mut said).await;
    }
    let status = master.wait().await;
    if status.is_ok_and(|status| status.code() == Some(COMMAND_NOT_FOUND)) {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return HostError::Start {
            program: "ssh".into(),
            source,
        };
    }
    let host = options.host.clone();
    let pinned = !options.host_keys.is_empty();
    let expected_by = if pinned {
        "pinned in the manifest"
    } else {
        "in known_hosts"
    };
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines.last().copied().unwrap_or_default().to_owned();
    if said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED")
        || (pinned && said.contains("host key is known for"))
        || (pinned && said.contains("no matching host key type"))
    {
        let (presented, scan) = presented_key(options).await;
        return HostError::HostKeyChanged {
            host,
            expected_by,
            presented,
            scan,
        };
    }
    if said.contains("host key is known for") || said.contains("Host key verification failed") {
        let (presented, scan) = presented_key(options).await;
        return HostError::HostKeyUnknown {
            host,
            presented,
            scan,
        };
    }
    if said.contains("Permission denied") || said.contains("Too many authentication failures") {
        let user = user.unwrap_or("the user in ssh_config").to_owned();
        return HostError::Refused {
            host,
            user,
            reason: last,
        };
    }
    if last.is_empty() {
        let reason = "ssh ended without a word, or the login shell runs no commands".to_owned();
        return HostError::Transport {
            doing: format!("logging in to {host}"),
            reason,
        };
    }
    HostError::Unreachable { host, reason: last }
}
