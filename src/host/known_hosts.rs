//! Pins host keys: writes the private `known_hosts` and asks a box which key it presents.

use std::{io::Write as _, path::Path, process::Stdio};

use tokio::process::Command;

use super::error::PresentedKey;
use crate::shell::quote;

/// The name that pinned keys are kept under: all boxes ship with one address, so the address
/// says nothing about the box.
pub(super) const ALIAS: &str = "o3r-vpu";

/// Writes `known_hosts` lines for the pinned keys into `path`.
pub(super) fn write(path: &Path, keys: &[String]) -> std::io::Result<()> {
    let mut file = fs_err::File::create(path)?;
    for key in keys {
        writeln!(file, "{ALIAS} {}", key.trim())?;
    }
    Ok(())
}

/// Where ssh really goes for a host: what `ssh_config` makes of a name or an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    /// Name or address.
    host: String,
    /// Port.
    port: u16,
    /// Whether the way there leads through another program or host.
    is_proxied: bool,
}

impl Destination {
    /// Asks ssh.
    pub(super) async fn of(host: &str, port: Option<u16>) -> Option<Self> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-G");
        if let Some(port) = port {
            ssh.args(["-p", &port.to_string()]);
        }
        let output = ssh.args(["--", host]).stdin(Stdio::null()).output().await;
        Self::parse(&String::from_utf8_lossy(&output.ok()?.stdout))
    }

    fn parse(configuration: &str) -> Option<Self> {
        let value = |key: &str| {
            let mut lines = configuration.lines();
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        };
        let is_set = |key| value(key).is_some_and(|value| value != "none");
        Some(Self {
            host: value("hostname")?.to_owned(),
            port: value("port")?.parse().ok()?,
            is_proxied: is_set("proxyjump") || is_set("proxycommand"),
        })
    }

    /// The command by which a person sees the key.
    pub(super) fn scan(&self) -> Option<String> {
        let Self {
            host,
            port,
            is_proxied,
        } = self;
        (!is_proxied).then(|| format!("ssh-keyscan -p {port} {}", quote(host)))
    }

    /// The ed25519 key (else any) that the box presents now. Trusts nothing; for showing to people.
    /// Not through a proxy: what answers at the same name from here may be another box.
    pub(super) async fn presented(&self) -> Option<PresentedKey> {
        if self.is_proxied {
            return None;
        }
        let output = Command::new("ssh-keyscan")
            .args(["-T", "5", "-p", &self.port.to_string()])
            .args(["--", &self.host])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .await
            .ok()?;
        first_key(output.stdout).await
    }
}

async fn first_key(scanned: Vec<u8>) -> Option<PresentedKey> {
    let text = String::from_utf8(scanned).ok()?;
    let keys: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' ').map(|(_, key)| key.trim()))
        .collect();
    let key = keys
        .iter()
        .find(|key| key.starts_with("ssh-ed25519 "))
        .or(keys.first())?;
    Some(PresentedKey {
        key: (*key).to_owned(),
        fingerprint: fingerprint(key).await?,
    })
}

async fn fingerprint(key: &str) -> Option<String> {
    use tokio::io::AsyncWriteExt as _;
    let mut child = Command::new("ssh-keygen")
        .args(["-l", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child
        .stdin
        .take()?
        .write_all(format!("{key}\n").as_bytes())
        .await
        .ok()?;
    let output = child.wait_with_output().await.ok()?;
    String::from_utf8(output.stdout)
        .ok()?
        .split(' ')
        .nth(1)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_the_key_is_asked_for_where_ssh_goes() {
        let there = |more: &str| {
            let text = format!("user oem\nhostname 10.1.4.18\nport 2222\n{more}identityfile x\n");
            Destination::parse(&text).unwrap()
        };
        for direct in ["", "proxycommand none\n"] {
            let scan = there(direct).scan();
            assert_eq!(scan.as_deref(), Some("ssh-keyscan -p 2222 10.1.4.18"));
        }
        for proxied in ["proxyjump gate\n", "proxycommand nc -X 5 %h %p\n"] {
            assert_eq!(there(proxied).scan(), None);
        }
        assert_eq!(Destination::parse("usage: ssh\n"), None);
    }
}
