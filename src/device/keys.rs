//! Adds a key to those that may log in: through the device's configuration, or to the file that old firmware reads.

use serde_json::json;

use super::{DeviceError, call, json, sealed};
use crate::{
    host::{Host, HostError, Output, Stdin},
    shell::Argv,
};

/// The keys that may log in: one string, a key on each line.
const KEYS: &str = "/device/network/authorized_keys";

/// Adds a public key to the device's configuration, and reads it back; returns whether it was missing. Never drops a key of
/// others. The password is needed where one protects the setting.
///
/// # Errors
/// The API does not answer, or this firmware has no such setting, or protects it.
pub async fn add_key<H: Host>(
    host: &H,
    port: u16,
    key: &str,
    password: Option<&str>,
) -> Result<bool, DeviceError> {
    let before = keys(host, port).await?;
    let Some(wanted) = with_key(&before, key) else {
        return Ok(false);
    };
    let fragment = json!({"device": {"network": {"authorized_keys": wanted}}});
    match password {
        Some(password) => sealed::set(host, port, password, &fragment).await?,
        None => drop(call(host, port, &["set", fragment.to_string().as_str()]).await?),
    }
    let after = keys(host, port).await?;
    let is_there = |line: &str| after.lines().any(|other| other.trim() == line.trim());
    if wanted.lines().all(is_there) {
        Ok(true)
    } else {
        Err(DeviceError::NotSet { pointer: KEYS })
    }
}

async fn keys<H: Host>(host: &H, port: u16) -> Result<String, DeviceError> {
    let config = json(&call(host, port, &["get", KEYS]).await?)?;
    let keys = config.pointer(KEYS).and_then(serde_json::Value::as_str);
    Ok(keys.unwrap_or_default().to_owned())
}

/// Returns the keys with another one; `None` if it is among them, perhaps with another comment.
fn with_key(keys: &str, key: &str) -> Option<String> {
    let base64 = |line: &str| line.split_whitespace().nth(1).map(ToOwned::to_owned);
    let own = base64(key);
    let mut lines: Vec<&str> = keys
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    // A line may begin with options.
    let is_own = |line: &&str| {
        let is_comment = line.trim_start().starts_with('#');
        let has_key = |own: &String| line.split_whitespace().any(|word| word == own);
        !is_comment && own.as_ref().is_some_and(has_key)
    };
    if lines.iter().any(is_own) {
        return None;
    }
    lines.push(key.trim());
    Some(lines.join("\n"))
}

/// Adds a public key to `~/.ssh/authorized_keys` of the user that is logged in.
///
/// # Errors
/// The connection is lost. A command that failed is no error.
pub async fn add_key_to_file<H: Host>(host: &H, key: &str) -> Result<Output, HostError> {
    let base64 = key.split_whitespace().nth(1).unwrap_or(key);
    let script = include_str!("add-key.sh");
    let command = Argv::script(script, "o3r-add-key", [key.trim(), base64]);
    host.run(&command, Stdin::Empty).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_added_once_and_all_others_stay() {
        let key = "ssh-ed25519 AAAA me@pc";
        assert_eq!(with_key("", key).unwrap(), key);
        let others = "ssh-rsa BBBB a\n\nfrom=\"10.0.0.1\" ssh-rsa CCCC b\n";
        let all = "ssh-rsa BBBB a\nfrom=\"10.0.0.1\" ssh-rsa CCCC b\nssh-ed25519 AAAA me@pc";
        assert_eq!(with_key(others, key).unwrap(), all);
        assert_eq!(with_key(all, "ssh-ed25519 AAAA other comment"), None);
        assert_eq!(with_key(all, "ssh-rsa CCCC"), None);
        let commented = "# ssh-ed25519 AAAA old";
        assert_eq!(
            with_key(commented, key).unwrap(),
            format!("{commented}\n{key}")
        );
    }
}
