//! Selects the VPU to connect to, and rejects an address that belongs to another one.

use super::{CommandError, ErrorCode, look, session};
use crate::surroundings::variable;
use crate::{
    cli::Global,
    deployment::{FACTORY_ADDRESS, described},
    host::SshOptions,
    manifest::{
        LoadError, Loaded,
        names::{HostKeys, HostName, escape, is_same_host},
        types::Vpu,
    },
    shell::quote,
    ui::Ui,
};

/// Why nothing says which VPU is meant.
pub(super) const NO_MANIFEST: &str = "there is no deploy.toml in this folder or above";

/// The login user of a VPU if nothing names another one.
pub(super) const USUAL_USER: &str = "oem";

/// Determines how to reach the VPU: from the command line, then the manifest, then the environment.
///
/// # Errors
/// `--host` is the address of another VPU of the manifest that is distinguishable from the chosen
/// one, or nothing says which of several VPUs is meant.
pub(super) fn ssh_options(
    global: &Global,
    loaded: Option<&Loaded>,
) -> Result<SshOptions, CommandError> {
    selected(global, loaded)?;
    let (host, options) = match loaded.map(described) {
        Some(described) => (described.host, described.options),
        None => (None, SshOptions::default()),
    };
    if let (Some(address), Some(loaded)) = (&global.host, loaded) {
        let address = address.as_str();
        let is_declared = host
            .as_ref()
            .is_some_and(|host| is_same_host(host, address));
        if let Some(other) = other_vpu(loaded, address).filter(|_| !is_declared) {
            return Err(refused(address, &other, loaded));
        }
    }
    let host = match global.host.as_ref().map(ToString::to_string).or(host) {
        Some(host) => host,
        None => environment()?.map_or_else(|| FACTORY_ADDRESS.to_owned(), |host| host.to_string()),
    };
    Ok(SshOptions { host, ..options })
}

/// Returns the words to give to ssh and scp: `-i ~/.ssh/vpu oem@192.168.0.69`; without an address if the manifest cannot
/// be read.
pub(super) fn login(global: &Global) -> String {
    let loaded = look::read(global).map(|(loaded, _)| loaded);
    let Ok(options) = loaded.and_then(|loaded| ssh_options(global, loaded.as_ref())) else {
        return format!("{USUAL_USER}@ADDRESS");
    };
    let user = options.user.as_deref().unwrap_or(USUAL_USER);
    let key = options.identity.as_ref();
    let key = key.map_or_else(String::new, |key| format!("-i {} ", quote(key.as_str())));
    format!("{key}{user}@{}", options.host)
}

/// Checks that a VPU is selected: the factory address, which all of them share, selects none.
///
/// # Errors
/// The manifest declares several VPUs, and neither `--vpu`, `--host` nor `[vpu].host` selects one; or `--host` is the
/// address of one that `--vpu` does not select.
pub(super) fn selected(global: &Global, loaded: Option<&Loaded>) -> Result<(), CommandError> {
    let Some(loaded) = loaded else {
        return Ok(());
    };
    if let Some(address) = &global.host {
        return match unselected(loaded, address.as_str()) {
            Some(other) => Err(refused(address.as_str(), &other, loaded)),
            None => Ok(()),
        };
    }
    loaded
        .selection()
        .map_err(|error| session::load_error(LoadError::NoVpuSelected(error)))
}

/// Whether the factory address is used because nothing names a VPU: neither the manifest (`is_named`), nor `--host`,
/// nor `$IFM3D_IP`.
///
/// # Errors
/// `$IFM3D_IP` is not an address.
pub(super) fn is_guessed(global: &Global, is_named: bool) -> Result<bool, CommandError> {
    Ok(!is_named && global.host.is_none() && environment()?.is_none())
}

/// Says so if the factory address is used because nothing names a VPU.
///
/// # Errors
/// `$IFM3D_IP` is not an address.
pub(super) fn say_guessed(
    global: &Global,
    loaded: Option<&Loaded>,
    ui: Ui,
) -> Result<(), CommandError> {
    let has_host = loaded.is_some_and(|loaded| loaded.manifest.vpu.host.is_some());
    if is_guessed(global, has_host)? {
        let why = match loaded {
            Some(_) => "no host in the manifest, --host or $IFM3D_IP",
            None => NO_MANIFEST,
        };
        ui.note(&format!(
            "{why}: connecting to the factory address {FACTORY_ADDRESS}"
        ));
    }
    Ok(())
}

/// Returns `$IFM3D_IP`, if set.
fn environment() -> Result<Option<HostName>, CommandError> {
    let Some(text) = variable("IFM3D_IP") else {
        return Ok(None);
    };
    if text.is_empty() {
        return Ok(None);
    }
    let parsed: Result<HostName, _> = text.parse();
    parsed.map(Some).map_err(|error| {
        CommandError::message(
            ErrorCode::BadAddress,
            format!("$IFM3D_IP: {error}"),
            Some("set it to a host name or an IP address alone, or unset it".into()),
        )
    })
}

/// Another VPU than the chosen one with this address: its pins
/// contradict those of the chosen one, or only it has pins.
struct OtherVpu {
    /// NAME in `[vpus.NAME]`; `None` for `[vpu]`.
    name: Option<String>,
    /// The place of its address in the manifest.
    place: String,
}

/// Returns the VPU of the manifest that has this address and that `--vpu` does not select: its values would not be used.
fn unselected(loaded: &Loaded, address: &str) -> Option<OtherVpu> {
    if loaded.chosen.is_some() {
        return None;
    }
    loaded.manifest.vpus.keys().find_map(|name| {
        let other = loaded.for_vpu(name)?;
        let host = other.manifest.vpu.host.as_ref()?;
        is_same_host(host.as_str(), address).then(|| OtherVpu {
            name: Some(name.clone()),
            place: other.place("/vpu/host"),
        })
    })
}

fn other_vpu(loaded: &Loaded, address: &str) -> Option<OtherVpu> {
    let chosen = &loaded.manifest.vpu;
    let has_address = |vpu: &Vpu| {
        vpu.host
            .as_ref()
            .is_some_and(|host| is_same_host(host.as_str(), address))
    };
    let is_other = |vpu: &Vpu| {
        has_address(vpu) && vpu.is_pinned() && !(chosen.is_pinned() && chosen.may_be(vpu))
    };
    let named = loaded.manifest.vpus.keys().filter_map(|name| {
        let other = loaded.for_vpu(name)?;
        is_other(&other.manifest.vpu).then(|| OtherVpu {
            name: Some(name.clone()),
            place: other.place("/vpu/host"),
        })
    });
    let unnamed = is_other(&loaded.declared_vpu).then(|| OtherVpu {
        name: None,
        place: loaded.source_place("/vpu/host"),
    });
    named.chain(unnamed).next()
}

/// Returns another VPU of the manifest for which the presented host key is pinned, with the place:
/// the address belongs to that one.
pub(super) fn owner_of_key(loaded: &Loaded, presented: &str) -> Option<String> {
    let words = |key: &str| {
        let mut words = key.split_whitespace().map(str::to_owned);
        (words.next(), words.next())
    };
    let presented = words(presented);
    let has_key = |vpu: &Vpu| {
        let mut keys = vpu.host_key.iter().flat_map(HostKeys::as_slice);
        keys.any(|key| words(key.as_str()) == presented)
    };
    let mut others = loaded.manifest.vpus.keys();
    others.find_map(|name| {
        let other = loaded.for_vpu(name)?;
        let is_other = loaded.chosen.as_ref() != Some(name) && has_key(&other.manifest.vpu);
        let place = || other.place("/vpu/host_key");
        is_other.then(|| format!("[vpus.{}] at {}", escape(name), place()))
    })
}

/// The manifest's table that describes the chosen VPU.
pub(super) struct Table {
    /// The header: `[vpus.agv-17]`.
    pub(super) header: String,
    /// The file, as shown to people.
    pub(super) file: String,
    /// Whether there is one.
    pub(super) exists: bool,
}

impl Default for Table {
    /// Returns the table of a manifest that is still to be written.
    fn default() -> Self {
        Self {
            header: "[vpu]".to_owned(),
            file: "a deploy.toml".to_owned(),
            exists: false,
        }
    }
}

impl Table {
    pub(super) fn of(loaded: Option<&Loaded>) -> Self {
        let Some(loaded) = loaded else {
            return Self::default();
        };
        let chosen = loaded.chosen.as_deref();
        Self {
            header: match chosen {
                Some(name) => format!("[vpus.{}]", escape(name)),
                None => "[vpu]".to_owned(),
            },
            file: escape(loaded.vpu_file(chosen)),
            exists: true,
        }
    }
}

fn refused(address: &str, other: &OtherVpu, loaded: &Loaded) -> CommandError {
    let chosen = Table::of(Some(loaded)).header;
    let (owner, help) = match &other.name {
        Some(name) => (
            format!("[vpus.{}]", escape(name)),
            format!("select it: --vpu {}", escape(name)),
        ),
        None => ("[vpu]".to_owned(), "leave out --vpu".to_owned()),
    };
    CommandError::message(
        ErrorCode::HostOfOtherVpu,
        format!(
            "--host {address} is the address of {owner} at {}, another VPU than {chosen}; nothing was done",
            other.place
        ),
        Some(help),
    )
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;
    use crate::manifest::{self, Options};

    #[test]
    fn a_key_that_is_pinned_for_another_vpu_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(directory.path()).unwrap();
        let path = path.join("deploy.toml");
        let one =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
        let two =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC";
        let text = format!(
            "[release]\nname = \"app\"\n[vpus.one]\nhost = \"10.0.0.1\"\nhost_key = \"{one}\"\n\
             [vpus.two]\nhost = \"10.0.0.1\"\nhost_key = \"{two} two\"\n"
        );
        fs_err::write(&path, text).unwrap();
        let chosen = |name: &str| {
            let options = Options {
                vpu: Some(name.to_owned()),
                ..Options::default()
            };
            manifest::load_with(&path, &options).unwrap()
        };
        let of = |name: &str, key: &str| owner_of_key(&chosen(name), key);
        let told = of("two", one).unwrap();
        assert!(
            told.starts_with("[vpus.one] at ") && told.ends_with("deploy.toml:5"),
            "{told}"
        );
        assert!(of("one", &format!("{two} root@vpu")).is_some());
        assert_eq!(of("one", one), None, "its own");
        assert_eq!(of("one", "ssh-ed25519 AAAAother"), None);
    }
}
