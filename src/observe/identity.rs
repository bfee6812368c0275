//! Distinguishes machines with the same address.

use std::collections::BTreeSet;

use crate::{
    host::{Host, HostError, Stdin},
    nonce::nonce,
    shell::Argv,
};

/// What identifies a machine. Unknown parts are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The kernel's boot ID, which is unique.
    pub boot: String,
    /// Hardware addresses of its network devices.
    pub macs: BTreeSet<String>,
    /// Its host keys, `ssh-ed25519 AAAA…`.
    pub keys: BTreeSet<String>,
}

impl Identity {
    /// Queries a host.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn of<H: Host>(host: &H) -> Result<Self, HostError> {
        let begin = nonce();
        let script = include_str!("identity.sh");
        let command = Argv::script(script, "o3r-identity", [begin.as_str()]);
        let output = host.run(&command, Stdin::Empty).await?;
        Ok(Self::parse(
            &String::from_utf8_lossy(&output.stdout),
            &begin,
        ))
    }

    fn parse(text: &str, begin: &str) -> Self {
        let mut identity = Self::default();
        for line in text.lines().skip_while(|line| *line != begin).skip(1) {
            match line.split_once(' ') {
                Some(("boot", boot)) => boot.trim().clone_into(&mut identity.boot),
                Some(("mac", mac)) if mac.bytes().any(|b| !b"0:".contains(&b)) => {
                    identity.macs.insert(mac.to_owned());
                }
                Some(("key", key)) => {
                    identity.keys.insert(key.to_owned());
                }
                _ => {}
            }
        }
        identity
    }

    /// Whether this is the same boot of the same machine.
    pub fn is_same_boot(&self, other: &Self) -> bool {
        !self.boot.is_empty() && self.boot == other.boot
    }

    /// Whether this is the same machine, perhaps rebooted. Serial numbers decide if both are known
    /// (an unknown one is empty); otherwise, a common host key or hardware address. Without proof,
    /// it counts as another machine.
    pub fn is_same_machine(&self, serial: &str, other: &Self, other_serial: &str) -> bool {
        if self.is_same_boot(other) {
            return true;
        }
        if !serial.is_empty() && !other_serial.is_empty() {
            return serial == other_serial;
        }
        !self.keys.is_disjoint(&other.keys) || !self.macs.is_disjoint(&other.macs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(boot: &str, mac: &str, key: &str) -> Identity {
        let text = format!(
            "Welcome\nboot x\nn\nboot {boot}\nmac {mac}\nmac 00:00:00:00:00:00\nkey {key}\n"
        );
        let identity = Identity::parse(&text, "n");
        assert_eq!(identity.boot, boot);
        assert!(identity.macs.len() <= 1);
        identity
    }

    #[test]
    fn a_machine_is_the_same_only_with_proof() {
        let planned = identity("b1", "00:02:01:aa:bb:01", "ssh-ed25519 A");
        let same = |serial: &str, other: &Identity, other_serial: &str| {
            planned.is_same_machine(serial, other, other_serial)
        };
        assert!(same("1", &planned, ""));
        let restarted = identity("b2", "00:02:01:aa:bb:01", "ssh-ed25519 A");
        assert!(
            same("1", &restarted, "1") && same("1", &restarted, "") && same("", &restarted, "")
        );
        // The same VPU with another disk image, and a cloned VPU.
        let reset = identity("b2", "00:02:01:aa:bb:02", "ssh-ed25519 B");
        assert!(same("1", &reset, "1"));
        assert!(!same("1", &restarted, "2"), "a clone");
        // No proof.
        assert!(!same("1", &reset, "") && !same("", &reset, ""));
        assert!(!same("", &Identity::default(), "1"));
        assert!(!Identity::default().is_same_machine("", &Identity::default(), ""));
    }
}
