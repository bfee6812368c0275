//! Examines the key files of a login that failed: ssh says little of a key that it does not use.

use std::{path::Path, process::Stdio, time::Duration};

use super::{super::error::OPEN_TO_OTHERS, client::asks_nothing, refusal::Context};
use crate::{surroundings::program, user};
use o3r_core::names::escape;

/// How long the check of a key file may take.
const KEY_TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of a key file that are read.
const KEY_LIMIT: u64 = 64 << 10;

/// Whether a line of ssh is about a key file that it does not use.
pub(super) fn is_of_a_key(line: &str) -> bool {
    [
        "UNPROTECTED PRIVATE KEY FILE",
        "Permissions 0",
        "It is required that your private key files",
        "This private key will be ignored",
        "Load key ",
    ]
    .iter()
    .any(|words| line.contains(words))
}

/// Finds problems of key files that ssh does not report.
pub(super) async fn troubles(context: &Context<'_>) -> Vec<String> {
    let home = user::home();
    let files: Vec<String> = match &context.options.identity {
        Some(file) => vec![file.to_string()],
        None => context
            .configured
            .values("identityfile")
            .map(str::to_owned)
            .collect(),
    };
    let mut troubles = vec![];
    for file in files {
        let path = match (file.strip_prefix("~/"), &home) {
            (Some(rest), Some(home)) => home.join(rest).into_std_path_buf(),
            _ => file.clone().into(),
        };
        if let Some(trouble) = trouble(&path).await {
            troubles.push(format!("{} {trouble}", escape(&file)));
        }
    }
    troubles
}

async fn trouble(path: &Path) -> Option<String> {
    let trouble = content_trouble(path).await;
    if let (None, Some(mode)) = (trouble, user::open_mode(path)) {
        return Some(format!(
            "{} (mode {mode:04o}), and ssh ignores such a key",
            OPEN_TO_OTHERS.trim_start()
        ));
    }
    trouble.map(str::to_owned)
}

async fn content_trouble(path: &Path) -> Option<&'static str> {
    use tokio::io::AsyncReadExt as _;
    if path.is_dir() {
        return Some("is a directory, not a key file");
    }
    let mut bytes = vec![];
    let file = tokio::fs::File::open(path).await.ok()?;
    file.take(KEY_LIMIT).read_to_end(&mut bytes).await.ok()?;
    if bytes.is_empty() {
        return Some("is an empty file");
    }
    if ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|kind| bytes.starts_with(kind.as_bytes()))
    {
        return Some("is a public key, and ssh needs the private one");
    }
    if bytes.starts_with(b"PuTTY-User-Key-File-") {
        return Some("is a key of PuTTY's, which ssh does not read");
    }
    if bytes.windows(2).any(|pair| pair == b"\r\n") {
        return Some("has line ends of Windows, which ssh does not read");
    }
    if !asks_nothing() {
        return None;
    }
    let keygen = program("ssh-keygen")
        .args(["-y", "-P", "", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(KEY_TIMEOUT, keygen).await.ok()?.ok()?;
    String::from_utf8_lossy(&output.stderr)
        .contains("incorrect passphrase")
        .then_some("has a passphrase, and there is no terminal to ask for it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostError;

    #[test]
    fn what_ssh_says_of_the_vpu_stays() {
        assert!(is_of_a_key("Load key \"id\": bad permissions"));
        for line in [
            "Too many authentication failures",
            "oem@10.0.0.9: Permission denied (publickey).",
        ] {
            assert!(!is_of_a_key(line));
        }
    }

    #[tokio::test]
    async fn a_key_file_that_ssh_does_not_explain_is_examined() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id");
        for (text, told, helps) in [
            ("", "empty", "set a key file"),
            ("ssh-ed25519 AAAA me\n", "public key", "without .pub"),
            (
                "PuTTY-User-Key-File-3: ssh-ed25519\r\n",
                "PuTTY",
                "puttygen",
            ),
            ("-----BEGIN\r\n", "line ends of Windows", "tr -d"),
        ] {
            std::fs::write(&path, text).unwrap();
            let trouble = trouble(&path).await.unwrap();
            assert!(trouble.contains(told), "{trouble}");
            // ssh also reports that others can read the file, which is not the problem.
            let reason = format!("id {trouble}\nLoad key \"id\": bad permissions");
            let (host, user) = (String::new(), "oem".to_owned());
            let help = HostError::Refused { host, user, reason }.help().unwrap();
            assert!(help.contains(helps), "{help}");
        }
        assert!(
            trouble(directory.path())
                .await
                .unwrap()
                .contains("directory")
        );
        assert_eq!(trouble(Path::new("/nowhere")).await, None);
    }
}
