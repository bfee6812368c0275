//! Says how ssh is called: our options, and what the user's own configuration has to say.

use std::{path::Path, time::Duration};

use tokio::process::Command;

use super::{
    super::{HostError, known_hosts},
    SshOptions,
};

/// How long a TCP connection may take: a VPU on a cable answers in milliseconds, one behind a
/// plant's VPN in a second or two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A dead link is noticed when three probes were not answered, and a fourth one would be due: after 12 s.
const ALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// The cipher that processors help with.
const QUICK_CIPHER: &str = "aes128-gcm@openssh.com";

/// The one that is quick on those that do not.
const PORTABLE_CIPHER: &str = "chacha20-poly1305@openssh.com";

/// The `-o` options of the master connection.
pub(super) fn client_options(
    options: &SshOptions,
    pinned: &Path,
) -> Result<Vec<String>, HostError> {
    let mut list = vec![
        "StrictHostKeyChecking=yes".to_owned(),
        "Compression=no".to_owned(),
        "ForwardX11=no".to_owned(),
        "ForwardAgent=no".to_owned(),
        "ClearAllForwardings=yes".to_owned(),
        "RequestTTY=no".to_owned(),
        "PermitLocalCommand=no".to_owned(),
        "LogLevel=ERROR".to_owned(),
        format!("ConnectTimeout={}", CONNECT_TIMEOUT.as_secs()),
        format!("ServerAliveInterval={}", ALIVE_INTERVAL.as_secs()),
        "ServerAliveCountMax=3".to_owned(),
        "ControlPersist=no".to_owned(),
    ];
    if asks_nothing() {
        list.push("BatchMode=yes".to_owned());
    }
    if !options.host_keys.is_empty() {
        known_hosts::write(pinned, &options.host_keys).map_err(|source| HostError::Start {
            program: "ssh".into(),
            source,
        })?;
        list.push(format!("UserKnownHostsFile={}", pinned.display()));
        list.push("GlobalKnownHostsFile=/dev/null".to_owned());
        list.push(format!("HostKeyAlias={}", known_hosts::ALIAS));
        list.push("UpdateHostKeys=no".to_owned());
    }
    Ok(list)
}

/// Whether ssh has nobody whom it could ask for a password.
pub(super) fn asks_nothing() -> bool {
    !std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("SSH_ASKPASS").is_none()
}
/// What the user's ssh says of a connection.
#[derive(Debug, Default)]
pub(super) struct Configured {
    /// Whom to log in as.
    pub(super) user: Option<String>,
    /// The ciphers that are offered.
    pub(super) ciphers: Option<String>,
}

impl Configured {
    /// Asks `ssh -G`.
    pub(super) async fn of(options: &SshOptions) -> Self {
        let asked = Command::new("ssh")
            .args(["-G", "--", &options.host])
            .output();
        let text = match asked.await {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(_) => String::new(),
        };
        let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        Self {
            user: login_user(options, line("user ")).await,
            ciphers: line("ciphers ").and_then(quick_first),
        }
    }
}

/// The user to log in as: the given one; else `None` where `ssh_config` names one; else `oem`.
///
/// `ssh -G` prints the local user's name where no `User` line applies.
async fn login_user(options: &SshOptions, configured: Option<&str>) -> Option<String> {
    if options.user.is_some() {
        return options.user.clone();
    }
    let local = Command::new("id").arg("-un").output().await.ok()?;
    let local = String::from_utf8_lossy(&local.stdout).trim().to_owned();
    (configured? == local).then(|| "oem".to_owned())
}

/// The ciphers with the quickest one first, if nobody chose an order: up to OpenSSH 9, ssh itself puts the
/// one first that is quick without help of the processor. With it (a PC's, and a VPU's Cortex-A57),
/// AES-GCM takes a third of the time: 400 MB 0.23 s of a PC's core for 0.68 s.
fn quick_first(ciphers: &str) -> Option<String> {
    let others: Vec<&str> = ciphers
        .split(',')
        .filter(|name| *name != QUICK_CIPHER)
        .collect();
    let untouched = others.first() == Some(&PORTABLE_CIPHER) && ciphers.contains(QUICK_CIPHER);
    untouched.then(|| format!("{QUICK_CIPHER},{}", others.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_somebody_chose_stays() {
        let quick = quick_first("chacha20-poly1305@openssh.com,aes128-ctr,aes128-gcm@openssh.com");
        let expected = "aes128-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr";
        assert_eq!(quick.as_deref(), Some(expected));
        for chosen in [
            "aes256-ctr,aes128-gcm@openssh.com",
            "chacha20-poly1305@openssh.com",
            "",
        ] {
            assert_eq!(quick_first(chosen), None, "{chosen}");
        }
    }
}
