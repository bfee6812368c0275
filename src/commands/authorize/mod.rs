//! `authorize`: lets a key of this machine log in to a VPU, and pins the VPU in the manifest.

mod key;

use camino::{Utf8Path, Utf8PathBuf};

use self::key::Key;
use super::{
    CommandError, ErrorCode, Exit, again, agreed, files, look, session,
    target::{self, Table},
};
use crate::{
    cli::{self, Global},
    device::{self, DeviceError},
    host::{DirectHost, HostError, PresentedKey, SshHost, SshOptions},
    manifest::{DEFAULT_API_PORT, LoadError, Loaded, edit, names::escape},
    observe::{Device, Identity, Probed, Query},
    ui::Ui,
    user,
};
use o3r_core::names;

/// The most attempts to log in: one for the host key, one for the user's key, and the last.
const ATTEMPTS: usize = 3;

/// The lines of output that are shown if the VPU fails.
const TAIL_LINES: usize = 5;

pub(super) async fn run(
    global: &Global,
    args: &cli::Authorize,
    ui: Ui,
) -> Result<Exit, CommandError> {
    let (loaded, _) = look::read(global)?;
    let loaded = loaded.as_ref();
    // Of an address that none of them has, nothing says whose keys to write.
    if let Some(Err(undecided)) = loaded.map(Loaded::selection) {
        return Err(session::load_error(LoadError::NoVpuSelected(undecided)));
    }
    let authorized = Authorized::open(global, loaded, args, ui).await?;
    authorized.write(loaded)?;
    if loaded.is_some() {
        ui.say(&format!("next: run: {}", again("plan")));
    }
    Ok(Exit::Done)
}

/// A VPU that lets this machine log in, and what a manifest needs to know of it.
pub(super) struct Authorized {
    pub(super) host: SshHost,
    login: Login,
    device: Device,
    host_key: Option<String>,
}

impl Authorized {
    /// Logs in; if the VPU does not let this machine do so yet, adds a key.
    pub(super) async fn open(
        global: &Global,
        loaded: Option<&Loaded>,
        args: &cli::Authorize,
        ui: Ui,
    ) -> Result<Self, CommandError> {
        let mut options = target::ssh_options(global, loaded)?;
        target::say_guessed(global, loaded, ui)?;
        let is_named = args.key.is_some();
        if let Some(identity) = options
            .identity
            .as_deref()
            .filter(|path| !is_named && path.extension() == Some("pub"))
        {
            let table = Table::of(loaded);
            return Err(CommandError::message(
                ErrorCode::NotAuthorized,
                format!(
                    "`identity` of {} is a public key, and ssh needs the private one; nothing was done",
                    table.header
                ),
                Some(format!(
                    "in {}, set:\n\n  identity = \"{}\"",
                    table.file,
                    below_home(&identity.with_extension(""))
                )),
            ));
        }
        let key = match args.key.as_deref().or(options.identity.as_deref()) {
            Some(path) => Some(Key::read(path).await?),
            None => None,
        };
        if is_named {
            options.identity = key.as_ref().map(|key| key.private.clone());
        }
        let port = loaded.map_or(DEFAULT_API_PORT, |loaded| loaded.manifest.vpu.api_port());
        let direct = DirectHost::new(&options.host);
        let query = Query {
            api_port: port,
            ..Query::default()
        };
        let (device, _) = device::observe(&direct, &query).await;
        check_serial(loaded, &device, "no key was added")?;
        let mut login = Login {
            options,
            key,
            direct,
            port,
            device,
            table: Table::of(loaded),
            pinned: None,
            is_named,
            is_added: false,
            ui,
        };
        let host = login.run(args.yes).await?;
        // Only now is it certain which device this is.
        let (device, _) = device::observe(&host, &query).await;
        check_serial(loaded, &device, "the manifest was not changed")?;
        check_same(&login.device, &device, login.is_added)?;
        let keys = Identity::of(&host).await?.keys;
        let host_key = login.pinned.as_ref().map(|key| key.key.clone());
        let host_key =
            host_key.or_else(|| keys.into_iter().find(|key| key.starts_with("ssh-ed25519 ")));
        let device = device.known().cloned().unwrap_or_default();
        ui.say(&format!(
            "{} in to {} with {}",
            ui.good("logged"),
            described(&login.options.host, &device),
            login.used(),
        ));
        Ok(Self {
            host,
            login,
            device,
            host_key,
        })
    }

    /// Returns the VPU's address.
    pub(super) fn address(&self) -> &str {
        &self.login.options.host
    }

    /// Writes what the manifest lacks.
    pub(super) fn write(&self, loaded: Option<&Loaded>) -> Result<(), CommandError> {
        let host_key = self.host_key.clone();
        let missing = missing(loaded, &self.login, host_key, &self.device.serial);
        write(loaded, &missing, self.login.ui)
    }
}

/// The way to a login.
struct Login {
    options: SshOptions,
    /// The key that the command line or the manifest names.
    key: Option<Key>,
    direct: DirectHost,
    port: u16,
    /// What the device says of itself to anybody.
    device: Probed<Device>,
    table: Table,
    /// The host key that was not known before.
    pinned: Option<PresentedKey>,
    /// Whether the command line names the key.
    is_named: bool,
    /// Whether the user's key was added.
    is_added: bool,
    ui: Ui,
}

impl Login {
    async fn run(&mut self, yes: bool) -> Result<SshHost, CommandError> {
        for _ in 0..ATTEMPTS {
            let error = match SshHost::connect_unattended(&self.options).await {
                Ok(host) => return Ok(host),
                Err(error) => error,
            };
            match &error {
                HostError::HostKeyUnknown {
                    presented: Some(presented),
                    ..
                } if self.pinned.is_none() => {
                    let presented = presented.clone();
                    self.trust(&presented, yes).await?;
                    self.options.host_keys = vec![presented.key.clone()];
                    self.pinned = Some(presented);
                }
                HostError::Refused { .. } if !self.is_added => {
                    let key = match self.key.take() {
                        Some(key) => key,
                        None => Key::usual(self.ui).await?,
                    };
                    self.add_key(&key.public).await?;
                    self.is_added = true;
                    self.options.identity = Some(key.private);
                }
                _ => return Err(CommandError::unreachable(&error, &self.table)),
            }
        }
        Err(CommandError::message(
            ErrorCode::NotAuthorized,
            format!("{} still rejects {}", self.options.host, self.used()),
            Some("check on the VPU: ls -la ~ ~/.ssh".to_owned()),
        ))
    }

    /// Returns how it logs in.
    fn used(&self) -> String {
        match &self.options.identity {
            Some(identity) => identity.to_string(),
            None => "a key that ssh finds".to_owned(),
        }
    }

    /// Asks whether the VPU that presents this host key is the right one.
    async fn trust(&self, presented: &PresentedKey, yes: bool) -> Result<(), CommandError> {
        let unknown = Device::default();
        let device = self.device.known().unwrap_or(&unknown);
        let what = format!(
            "{} presents the host key {}",
            described(&self.options.host, device),
            presented.fingerprint
        );
        if yes {
            self.ui.note(&format!("{what}; trusted (--yes)"));
            return Ok(());
        }
        if !self.ui.can_ask() {
            return Err(CommandError::message(
                ErrorCode::NoTerminal,
                format!(
                    "{what}, and there is no terminal to ask whether it is your VPU; nothing was done"
                ),
                Some(format!("if it is, trust it: {}", again("authorize --yes"))),
            ));
        }
        let question = format!("{what}. Is it your VPU?");
        agreed(self.ui, question).await
    }

    fn say_added(&self, is_new: bool) {
        if is_new {
            self.ui.say("added the key through the device's API");
        }
    }

    /// Asks for the password that protects the device's settings.
    async fn settings_password(&self) -> Result<String, CommandError> {
        let what = "a password protects the ssh keys of this device (its sealed settings, from firmware 1.21.6 on)";
        if !self.ui.can_ask() {
            let help = "run this on a terminal, and type the password there; ifm3d's `sealed_box` sets and removes it";
            return Err(not_added(what, help));
        }
        self.ui.note(what);
        let ui = self.ui;
        let asked =
            tokio::task::spawn_blocking(move || ui.secret("password of the device's settings"));
        let typed = asked
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        typed.ok_or_else(|| {
            not_added(
                "no password was typed",
                "type the password that protects the settings",
            )
        })
    }

    /// Adds the user's key through the device's API; if that does not work, by a login with a password.
    async fn add_key(&self, public: &str) -> Result<(), CommandError> {
        let by_api = device::add_key(&self.direct, self.port, public, None).await;
        let mut refused = match by_api {
            Ok(is_new) => {
                self.say_added(is_new);
                return Ok(());
            }
            Err(error) => error,
        };
        if matches!(refused, DeviceError::Fault { .. })
            && device::is_protected(&self.direct, self.port).await
        {
            let password = self.settings_password().await?;
            let password = Some(password.as_str());
            refused = match device::add_key(&self.direct, self.port, public, password).await {
                Ok(is_new) => {
                    self.say_added(is_new);
                    return Ok(());
                }
                Err(error) => error,
            };
            let help = "check the password; it is not that of the login, and whoever protected the settings knows it";
            return Err(not_added(&refused.to_string(), help));
        }
        let by_api = refused;
        if self.ui.can_ask() {
            self.ui.note(&format!(
                "the key cannot be added through the device's API ({by_api}); log in once with the password (`oem`, as delivered)"
            ));
            let options = SshOptions {
                identity: None,
                ..self.options.clone()
            };
            let host = SshHost::connect(&options).await;
            let host = host.map_err(|error| CommandError::unreachable(&error, &self.table))?;
            let output = device::add_key_to_file(&host, public).await?;
            if output.success() {
                return Ok(());
            }
            let reason = output.tail(TAIL_LINES);
            return Err(not_added(
                &reason,
                "check on the VPU: ls -la ~/.ssh; df -h ~",
            ));
        }
        let help = match by_api {
            DeviceError::Fault { .. } => {
                "if the device protects its settings with a password (from firmware 1.21.6), remove the protection or add the key \
                 in ifm's Vision Assistant; if the firmware takes passwords, run this in a terminal and type the one of the login"
            }
            _ => {
                "check the address; if the firmware takes passwords, run this in a terminal and type the one of the login"
            }
        };
        Err(not_added(&by_api.to_string(), help))
    }
}

fn not_added(reason: &str, help: &str) -> CommandError {
    CommandError::message(
        ErrorCode::NotAuthorized,
        format!("the key was not added: {reason}"),
        Some(help.to_owned()),
    )
}

/// Formats `192.168.0.69 (serial 000…, firmware 1.4.30)`.
fn described(host: &str, device: &Device) -> String {
    if device.serial.is_empty() {
        return host.to_owned();
    }
    escape(&format!(
        "{host} (serial {}, firmware {})",
        device.serial, device.firmware
    ))
}

/// Checks that the device is the one that the manifest requires; if not, the error ends with what was done `so_far`.
fn check_serial(
    loaded: Option<&Loaded>,
    device: &Probed<Device>,
    so_far: &str,
) -> Result<(), CommandError> {
    let wanted = loaded.and_then(|loaded| loaded.manifest.vpu.serial.as_ref());
    let found = device.known().map(|device| device.serial.as_str());
    match (wanted, found) {
        (Some(wanted), Some(found)) if !found.is_empty() && found != wanted.as_str() => {
            Err(CommandError::message(
                ErrorCode::OtherVpu,
                format!(
                    "this is the VPU with serial {}, and the manifest requires {wanted}; {so_far}",
                    escape(found)
                ),
                Some(match loaded.filter(|loaded| loaded.chosen.is_some() && loaded.declared_vpu.serial.is_some()) {
                    Some(_) => "if it is the right VPU: the serial number of [vpu] holds for every [vpus.NAME] without one; move `serial` and \
                                `host_key` from [vpu] to the table of the VPU that they belong to"
                        .to_owned(),
                    None => {
                        "check the cable and the address; every VPU ships with the same one".to_owned()
                    }
                }),
            ))
        }
        _ => Ok(()),
    }
}

/// Checks that ssh reaches the device whose API answered at the same address: `ssh_config` may lead elsewhere.
fn check_same(
    direct: &Probed<Device>,
    by_ssh: &Probed<Device>,
    is_added: bool,
) -> Result<(), CommandError> {
    let serial = |device: &Probed<Device>| {
        let serial = device.known().map(|device| device.serial.clone());
        serial.filter(|serial| !serial.is_empty())
    };
    match (serial(direct), serial(by_ssh)) {
        (Some(direct), Some(by_ssh)) if direct != by_ssh => {
            let added = if is_added {
                "; the key was added to the former"
            } else {
                ""
            };
            Err(CommandError::message(
                ErrorCode::OtherVpu,
                format!(
                    "the VPU with serial {} answers at this address, and ssh reaches the one with serial {}{added}; the \
                     manifest was not changed",
                    escape(&direct),
                    escape(&by_ssh)
                ),
                Some("check `HostName`, `ProxyJump` and `ProxyCommand` for this address in your ssh_config".to_owned()),
            ))
        }
        _ => Ok(()),
    }
}

/// Returns the keys that the manifest does not have yet.
fn missing(
    loaded: Option<&Loaded>,
    login: &Login,
    host_key: Option<String>,
    serial: &str,
) -> Vec<(&'static str, String)> {
    let vpu = loaded.map(|loaded| loaded.manifest.vpu.clone());
    let vpu = vpu.unwrap_or_default();
    let identity = login.options.identity.as_deref();
    let identity = identity.filter(|_| login.is_added || login.is_named);
    let keys = [
        ("host", vpu.host.is_none(), Some(login.options.host.clone())),
        ("identity", vpu.identity.is_none(), identity.map(below_home)),
        ("host_key", vpu.host_key.is_none(), host_key),
        ("serial", vpu.serial.is_none(), Some(serial.to_owned())),
    ];
    let missing = keys.into_iter().filter_map(|(key, is_missing, text)| {
        let text = text.filter(|text| is_missing && !text.is_empty())?;
        Some((key, text))
    });
    missing.collect()
}

/// Returns a path as a manifest names it: `~/.ssh/id_ed25519`.
fn below_home(path: &Utf8Path) -> String {
    let home = user::home();
    home.map_or_else(
        || path.to_string(),
        |home| names::below_home(path.as_str(), home.as_str()),
    )
}

/// Writes the keys into the manifest's table of the VPU; without a manifest, prints them.
fn write(
    loaded: Option<&Loaded>,
    keys: &[(&'static str, String)],
    ui: Ui,
) -> Result<(), CommandError> {
    let table = Table::of(loaded);
    let names: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
    let Some(loaded) = loaded else {
        let text = edit::with_keys("", &["vpu"], keys).unwrap_or_default();
        ui.data(&text);
        ui.say("add these lines to a deploy.toml, or write one: o3r-deploy init");
        return Ok(());
    };
    if names.is_empty() {
        ui.say(&format!(
            "nothing to add: {} in {} has host, host_key and serial",
            table.header, table.file
        ));
        return Ok(());
    }
    let chosen = loaded.chosen.as_deref();
    let path = match chosen {
        Some(name) => vec!["vpus", name],
        None => vec!["vpu"],
    };
    // A manifest may be a link into a repository.
    let file = Utf8PathBuf::from(loaded.vpu_file(chosen));
    let file = file.canonicalize_utf8().unwrap_or(file);
    let failed = |error: &dyn std::fmt::Display| {
        CommandError::message(
            ErrorCode::NotWritten,
            format!("{}: {error}", table.file),
            Some(format!(
                "write into {}:\n\n{}",
                table.header,
                edit::with_keys("", &[], keys).unwrap_or_default()
            )),
        )
    };
    let text = fs_err::read_to_string(&file).map_err(|error| failed(&error))?;
    let text = edit::with_keys(&text, &path, keys).map_err(|error| failed(&error))?;
    files::replace(&file, &text).map_err(|error| failed(&error))?;
    ui.say(&format!(
        "wrote {} to {} in {}",
        names.join(", "),
        table.header,
        table.file
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_and_ssh_must_reach_the_same_device() {
        let device = |serial: &str| {
            Probed::Known(Device {
                serial: serial.to_owned(),
                ..Device::default()
            })
        };
        let unknown = || Probed::Unknown("no answer".to_owned());
        for (direct, by_ssh) in [("1", "1"), ("1", ""), ("", "2")] {
            assert!(check_same(&device(direct), &device(by_ssh), true).is_ok());
        }
        assert!(check_same(&unknown(), &device("2"), true).is_ok());
        for (is_added, told) in [
            (true, "the key was added to the former"),
            (false, "serial 2; the"),
        ] {
            let error = check_same(&device("1"), &device("2"), is_added).unwrap_err();
            assert_eq!(error.code(), Some(ErrorCode::OtherVpu));
            assert!(error.report().unwrap().to_string().contains(told));
        }
    }
}
