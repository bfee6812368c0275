//! Pins host keys: writes the private `known_hosts` and asks a box which key it presents.

use std::{io::Write as _, path::Path, process::Stdio};

use tokio::process::Command;

use super::error::PresentedKey;

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

/// The ed25519 key (else any) that the box presents now. Trusts nothing; for showing to people.
pub(super) async fn presented(host: &str, port: Option<u16>) -> Option<PresentedKey> {
    let mut scan = Command::new("ssh-keyscan");
    scan.args(["-T", "5"]);
    if let Some(port) = port {
        scan.args(["-p", &port.to_string()]);
    }
    let output = scan
        .arg(host)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .await
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
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
