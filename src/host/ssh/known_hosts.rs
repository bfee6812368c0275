//! Pins host keys: writes a private `known_hosts`, and reads the key that a VPU presents.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use fs_err::os::unix::fs::OpenOptionsExt as _;

use super::{super::error::PresentedKey, client::Configured};
use crate::shell::quote;
use crate::surroundings::program;

/// The host name of pinned keys: all VPUs ship with the same address, so an address does not
/// identify a VPU.
pub(super) const ALIAS: &str = "o3r-vpu";

/// The most bytes of a `known_hosts` that are searched for revoked keys.
const KNOWN_HOSTS_LIMIT: u64 = 16 << 20;

/// Writes `known_hosts` lines for the pinned keys and for the revoked ones, which no pin overrides.
pub(super) fn write(path: &Path, keys: &[String], revoked: &[String]) -> std::io::Result<()> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path)?;
    for key in keys {
        writeln!(file, "{ALIAS} {}", key.trim())?;
    }
    for key in revoked {
        writeln!(file, "@revoked {ALIAS} {key}")?;
    }
    file.flush()
}

/// Returns the keys that these `known_hosts` files revoke for any host: a key that was stolen from
/// one VPU proves nothing about another. An unreadable file counts as empty, as in ssh.
pub(super) fn revoked(files: impl Iterator<Item = PathBuf>) -> Vec<String> {
    let mut keys = vec![];
    for file in files {
        let mut text = vec![];
        let read = fs_err::File::open(file)
            .and_then(|file| file.take(KNOWN_HOSTS_LIMIT).read_to_end(&mut text));
        if read.is_ok() {
            let text = String::from_utf8_lossy(&text);
            keys.extend(text.lines().filter_map(revoked_key));
        }
    }
    keys
}

/// Converts `@revoked HOSTS TYPE KEY COMMENT` to `TYPE KEY`.
fn revoked_key(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let is_revoked = words.next() == Some("@revoked");
    let (_, kind, key) = (words.next(), words.next()?, words.next()?);
    is_revoked.then(|| format!("{kind} {key}"))
}

/// Where ssh connects to for a host, after `ssh_config` resolved a name or an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    /// Name or address.
    host: String,
    /// Port.
    port: u16,
    /// Whether the host is reached through another program or host.
    is_proxied: bool,
}

impl Destination {
    /// Parses the output of `ssh -G`.
    pub(super) fn of(configured: &Configured) -> Option<Self> {
        Some(Self {
            host: configured.value("hostname")?.to_owned(),
            port: configured.value("port")?.parse().ok()?,
            is_proxied: configured.is_proxied(),
        })
    }

    /// The command with which a user sees the key.
    pub(super) fn scan(&self) -> Option<String> {
        let Self {
            host,
            port,
            is_proxied,
        } = self;
        (!is_proxied).then(|| format!("ssh-keyscan -p {port} {}", quote(host)))
    }

    /// Returns the ed25519 key (otherwise any) that the VPU presents now, only to be shown: it is
    /// not trusted. `None` behind a proxy, because this machine may reach another VPU by the same
    /// name.
    pub(super) async fn presented(&self) -> Option<PresentedKey> {
        if self.is_proxied {
            return None;
        }
        let output = program("ssh-keyscan")
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
    let mut child = program("ssh-keygen")
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
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn regression_the_key_is_scanned_at_ssh_s_destination() {
        let there = |more: &str| {
            let text = format!("user oem\nhostname 10.1.4.18\nport 2222\n{more}identityfile x\n");
            Destination::of(&Configured::from_text(&text)).unwrap()
        };
        for direct in ["", "proxycommand none\n"] {
            let scan = there(direct).scan();
            assert_eq!(scan.as_deref(), Some("ssh-keyscan -p 2222 10.1.4.18"));
        }
        for proxied in ["proxyjump gate\n", "proxycommand nc -X 5 %h %p\n"] {
            assert_eq!(there(proxied).scan(), None);
        }
        assert_eq!(
            Destination::of(&Configured::from_text("usage: ssh\n")),
            None
        );
    }

    #[test]
    fn keys_that_are_revoked_for_any_host_are_revoked_for_ours() {
        let directory = tempfile::tempdir().unwrap();
        let (theirs, ours) = (
            directory.path().join("theirs"),
            directory.path().join("ours"),
        );
        std::fs::write(
            &theirs,
            b"# @revoked x y z\nhost ssh-rsa AAAA\n@revoked |1|abc= ssh-ed25519 BBBB stolen\n@revoked *\n\xff\n\
              @cert-authority * ssh-rsa CCCC\n@revoked  *,!a\tssh-rsa\tDDDD\n",
        )
        .unwrap();
        let files = [directory.path().join("none"), theirs];
        let revoked = revoked(files.into_iter());
        assert_eq!(revoked, ["ssh-ed25519 BBBB", "ssh-rsa DDDD"]);
        write(&ours, &["ssh-rsa EEEE".into()], &revoked[..1]).unwrap();
        assert_eq!(
            std::fs::read_to_string(&ours).unwrap(),
            "o3r-vpu ssh-rsa EEEE\n@revoked o3r-vpu ssh-ed25519 BBBB\n"
        );
        assert_eq!(ours.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
