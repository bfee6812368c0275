//! The tables that describe a VPU: `[vpu]`, and `[vpus.NAME]` that overrides it and may also be in
//! `vpus.toml` next to the manifest.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    names::{
        DeviceName, FirmwareRange, HostKeys, HostName, LocalPath, SerialNumber, UserName, escape,
    },
    types::Arch,
};

/// The name of the file next to a manifest that may have `[vpus.NAME]` tables.
pub const VPUS_FILE: &str = "vpus.toml";

/// The default port of the device's JSON configuration.
pub const DEFAULT_API_PORT: u16 = 80;

/// A VPU: how to reach it, and what it must be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vpu {
    /// The address: a host name, an IP address or an alias of your `ssh_config`. Default: the
    /// environment variable `IFM3D_IP`, then `192.168.0.69`. Example: `10.1.4.17`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// The device's name, which is set and saved through the device's API. Default: unchanged.
    /// Example: `agv-17-front`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DeviceName>,
    /// The ssh port. Default: the one in your `ssh_config`, else 22. Example: `2222`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// The ssh user. Default: the one in your `ssh_config`, else `oem`. Example: `oem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The private ssh key to log in with. Default: the keys of your `ssh_config` and ssh-agent.
    /// Example: `~/.ssh/id_ed25519`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<LocalPath>,
    /// The VPU's ssh host key, or a list of accepted keys; `o3r-deploy plan` shows an unknown one.
    /// Default: the keys in your `known_hosts`. Example: `ssh-ed25519 AAAA…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<HostKeys>,
    /// The VPU's serial number; any other VPU is rejected. Default: any. Example: `000018988497`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<SerialNumber>,
    /// The accepted firmware; any other is rejected. `1.4` accepts 1.4 and later, below 2; `=1.4.30` accepts only
    /// 1.4.30. Only the first three numbers are compared.
    /// Default: any. Example: `>=1.4.30, <2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<FirmwareRange>,
    /// The architecture that images must have. Default: `arm64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// The port of the device's API. Default: 80. Example: `8080`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub api_port: Option<u16>,
    /// Variables of this VPU, which override those of `[vars]`. Default: none. Example: `{ robot_id = "18" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, String>,
}

impl Vpu {
    /// Returns the architecture that images must have.
    pub fn arch(&self) -> Arch {
        self.arch.unwrap_or_default()
    }

    /// Returns the port of the device's JSON configuration.
    pub fn api_port(&self) -> u16 {
        self.api_port.unwrap_or(DEFAULT_API_PORT)
    }

    /// Returns this VPU with the keys that `over` has replaced by those.
    #[must_use]
    pub fn overridden_by(&self, over: &Self) -> Self {
        // Listed by name, so that a new key cannot be forgotten.
        let Self {
            host,
            name,
            port,
            user,
            identity,
            host_key,
            serial,
            firmware,
            arch,
            api_port,
            vars,
        } = over.clone();
        let mut base = self.clone();
        base.vars.extend(vars);
        Self {
            host: host.or(base.host),
            name: name.or(base.name),
            port: port.or(base.port),
            user: user.or(base.user),
            identity: identity.or(base.identity),
            host_key: host_key.or(base.host_key),
            serial: serial.or(base.serial),
            firmware: firmware.or(base.firmware),
            arch: arch.or(base.arch),
            api_port: api_port.or(base.api_port),
            vars: base.vars,
        }
    }

    /// Whether both may be the same VPU: no pin of one contradicts a pin of the other.
    pub fn may_be(&self, other: &Self) -> bool {
        let keys = |vpu: &Self| vpu.host_key.as_ref().map(|keys| keys.as_slice().to_vec());
        let share_a_key = match (keys(self), keys(other)) {
            (Some(one), Some(two)) => one.iter().any(|key| two.contains(key)),
            _ => true,
        };
        share_a_key
            && (self.serial.is_none() || other.serial.is_none() || self.serial == other.serial)
    }

    /// Whether connecting to another VPU would be noticed.
    pub fn is_pinned(&self) -> bool {
        self.serial.is_some() || self.host_key.is_some()
    }
}

/// Further VPUs for the application in the `deploy.toml` beside this file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vpus {
    /// Each table overrides keys of `[vpu]` in `deploy.toml`, and is selected with `--vpu NAME`.
    #[serde(default)]
    pub vpus: BTreeMap<String, Vpu>,
}

/// The selected name is not in any `[vpus.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no VPU `{}` in {files}", escape(.name))]
pub struct UnknownVpu {
    /// The name that was selected.
    pub name: String,
    /// The manifest, and `vpus.toml` if there is one.
    pub files: String,
    /// The names that exist.
    pub known: Vec<String>,
}

impl UnknownVpu {
    /// Returns the next thing to type.
    pub fn help(&self) -> String {
        let known = self.known.iter().map(String::as_str);
        match crate::closest::did_you_mean(&self.name, known) {
            _ if self.known.is_empty() => format!(
                "add `[vpus.NAME]` to the manifest, or to {VPUS_FILE} beside it; --vpu chooses one"
            ),
            Some(meant) => format!(
                "did you mean --vpu {}? there are: {}",
                escape(meant),
                list(&self.known)
            ),
            None => format!("there are: {}", list(&self.known)),
        }
    }
}

/// Several `[vpus.NAME]` of which none is selected, and a `[vpu]` that is not a VPU of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} VPUs are declared in {files}, and none is selected; nothing was done", .known.len())]
pub struct NoVpuSelected {
    /// The manifest or `vpus.toml`, or both.
    pub files: String,
    /// The names that exist.
    pub known: Vec<String>,
}

impl NoVpuSelected {
    /// Returns the next thing to type.
    pub fn help(&self) -> String {
        format!("select one with --vpu NAME: {}", list(&self.known))
    }
}

/// Lists the names of VPUs for people.
fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| escape(name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vpu(text: &str) -> Vpu {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn every_key_is_overridden_and_kept() {
        let base = "host = '10.0.0.1'\nname = 'a'\nport = 1\nuser = 'u'\nidentity = 'i'\n\
                    host_key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKx4qOKaTLRhJhoDM7Vkj3w0x1WnZ1aBtk8UeVWKpYJf'\n\
                    serial = '1'\nfirmware = '1.4'\narch = 'amd64'\napi_port = 1";
        let base = vpu(base);
        assert_eq!(base.overridden_by(&Vpu::default()), base);
        assert_eq!(Vpu::default().overridden_by(&base), base);
        let over = vpu("host = '10.0.0.2'");
        let both = base.overridden_by(&over);
        assert_eq!(both.host, over.host);
        assert_eq!(both.serial, base.serial);
    }

    #[test]
    fn pins_distinguish_vpus() {
        let (one, two) = (vpu("serial = '1'"), vpu("serial = '2'"));
        assert!(!one.may_be(&two) && one.may_be(&one));
        assert!(one.may_be(&Vpu::default()) && !Vpu::default().is_pinned());
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_existing_ones() {
        let unknown = |known: &[&str]| UnknownVpu {
            name: "agv-18-frnt".into(),
            files: "deploy.toml".into(),
            known: known.iter().map(ToString::to_string).collect(),
        };
        let help = unknown(&["agv-17-front", "agv-18-front"]).help();
        assert_eq!(
            help,
            "did you mean --vpu agv-18-front? there are: agv-17-front, agv-18-front"
        );
        assert_eq!(unknown(&["other"]).help(), "there are: other");
        assert!(unknown(&[]).help().contains("[vpus.NAME]"));
    }

    #[test]
    fn several_vpus_are_selected_from_by_name() {
        let none = NoVpuSelected {
            files: "deploy.toml and vpus.toml".into(),
            known: vec!["agv-17".into(), "agv-18".into()],
        };
        assert_eq!(
            format!("{none}\n{}", none.help()),
            "2 VPUs are declared in deploy.toml and vpus.toml, and none is selected; nothing was done\n\
             select one with --vpu NAME: agv-17, agv-18"
        );
    }
}
