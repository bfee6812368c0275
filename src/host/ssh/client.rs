//! Determines ssh's command line from our options and the user's own configuration.

use crate::surroundings::{program, variable_os};
use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use super::{super::HostError, SshOptions, known_hosts};
use o3r_core::names::escape;

/// How long the TCP connection and the server's banner may take, unless `ssh_config` allows more: a
/// VPU on a cable answers in milliseconds, one behind a plant's VPN in a second or two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A dead link is detected when three probes are unanswered and a fourth one is due: after 12 s.
const ALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// How long ssh may take to read its configuration: `Match exec` runs programs.
const CONFIGURATION_TIMEOUT: Duration = Duration::from_secs(20);

/// A cipher with hardware support.
const QUICK_CIPHER: &str = "aes128-gcm@openssh.com";

/// A cipher that is fast without hardware support.
const PORTABLE_CIPHER: &str = "chacha20-poly1305@openssh.com";

/// A name that no user has; [`Client::of`] uses it to find out whether `ssh_config` names a user.
const NOBODY: &str = "o3r-deploy-names-no-user";

/// Options for every connection, whatever `ssh_config` has: only our commands run, on this machine
/// and on the VPU, and ssh reports why it fails. (`-N` stands for `SessionType`, `-M` and `-S` for
/// `ControlMaster` and `ControlPath`.)
const ALWAYS: &[&str] = &[
    "StrictHostKeyChecking=yes",
    "Compression=no",
    "ForwardX11=no",
    "ForwardAgent=no",
    "ClearAllForwardings=yes",
    "ExitOnForwardFailure=no",
    "Tunnel=no",
    "RequestTTY=no",
    "RemoteCommand=none",
    "PermitLocalCommand=no",
    "ControlPersist=no",
    "VisualHostKey=no",
    "LogLevel=INFO",
    "ServerAliveCountMax=3",
];

/// Options for pinned keys: nothing else identifies the VPU.
const PINNED: &[&str] = &[
    "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
    "CheckHostIP=no",
    "VerifyHostKeyDNS=no",
    "NoHostAuthenticationForLocalhost=no",
];

/// Further options, which ssh up to 8.4 neither knows nor needs.
const NEWER: &[&str] = &["ForkAfterAuthentication=no", "LogVerbose=none"];
const NEWER_PINNED: &[&str] = &["KnownHostsCommand=none"];

/// How ssh is called for a host.
pub(super) struct Client {
    /// Options, then the host.
    words: Vec<String>,
    /// The resulting configuration, including the user's `ssh_config`.
    pub(super) configured: Configured,
    /// How long the connection may take up to the server's banner.
    pub(super) connect_timeout: Duration,
}

impl Client {
    /// Asks ssh for its configuration of a host. `directory` is private to the connection.
    pub(super) async fn of(options: &SshOptions, directory: &Path) -> Result<Self, HostError> {
        let is_pinned = !options.host_keys.is_empty();
        let mut words: Vec<String> = vec![];
        if let Some(port) = options.port {
            words.extend(["-p".into(), port.to_string()]);
        }
        if let Some(identity) = &options.identity {
            words.extend(["-i".into(), identity.to_string()]);
        }
        if let Some(user) = &options.user {
            words.extend(["-l".into(), user.clone()]);
        }
        let newer = NEWER
            .iter()
            .chain(NEWER_PINNED.iter().filter(|_| is_pinned));
        let mut newer: Vec<&str> = newer.copied().collect();
        let mut configured = loop {
            let mut asked = words.clone();
            asked.extend(newer.iter().flat_map(|one| ["-o".into(), (*one).into()]));
            match configuration(options, &asked).await? {
                Ok(configured) => {
                    words = asked;
                    break configured;
                }
                // Each iteration removes an option or ends the loop.
                Err(said) => match newer.iter().position(|one| is_unknown(&said, one)) {
                    Some(unknown) => drop(newer.remove(unknown)),
                    None => return Err(misconfigured(options, &said)),
                },
            }
        };
        if options.user.is_none() && !names_user(&configured, options, &words, directory).await? {
            words.extend(["-l".into(), "oem".into()]);
            configured = match configuration(options, &words).await? {
                Ok(configured) => configured,
                Err(said) => return Err(misconfigured(options, &said)),
            };
        }
        let connect_timeout = configured.connect_timeout().max(CONNECT_TIMEOUT);
        words.extend([
            "-o".into(),
            format!("ConnectTimeout={}", connect_timeout.as_secs()),
        ]);
        let alive = ALIVE_INTERVAL.as_secs();
        words.extend(["-o".into(), format!("ServerAliveInterval={alive}")]);
        let batch = asks_nothing().then_some("BatchMode=yes");
        let pinned = PINNED.iter().filter(|_| is_pinned).chain(&batch);
        for option in ALWAYS.iter().chain(pinned) {
            words.extend(["-o".into(), (*option).into()]);
        }
        if is_pinned {
            let file = directory.join("known_hosts");
            let revoked = known_hosts::revoked(configured.known_hosts_files());
            known_hosts::write(&file, &options.host_keys, &revoked).map_err(|source| {
                HostError::Start {
                    program: "ssh".into(),
                    source,
                }
            })?;
            let file = file.display();
            words.extend(["-o".into(), format!("UserKnownHostsFile=\"{file}\"")]);
            words.extend(["-o".into(), format!("HostKeyAlias={}", known_hosts::ALIAS)]);
        }
        if let Some(ciphers) = configured.value("ciphers").and_then(quick_first) {
            words.extend(["-c".into(), ciphers]);
        }
        words.extend(["--".into(), options.host.clone()]);
        Ok(Self {
            words,
            configured,
            connect_timeout,
        })
    }

    /// Offers only the manifest's key: an agent may have more keys than sshd tries.
    pub(super) fn offers_one_key(&mut self) {
        let option = ["-o", "IdentitiesOnly=yes"].map(str::to_owned);
        self.words.splice(0..0, option);
    }

    /// Fails where a person would be asked.
    pub(super) fn asks_nothing(&mut self) {
        let option = ["-o", "BatchMode=yes"].map(str::to_owned);
        self.words.splice(0..0, option);
    }

    /// The arguments with which ssh connects and accepts sessions at `control`.
    pub(super) fn master(&self, control: &Path) -> Vec<String> {
        let mut words = ["-M", "-N", "-S"].map(str::to_owned).to_vec();
        words.push(control.display().to_string());
        words.extend_from_slice(&self.words);
        words
    }
}

/// Whether ssh has no way to ask for a password.
pub(super) fn asks_nothing() -> bool {
    !std::io::IsTerminal::is_terminal(&std::io::stderr()) && variable_os("SSH_ASKPASS").is_none()
}

/// The output of `ssh -G`: a line for each option, with its name in lower case.
#[derive(Debug, Default)]
pub(super) struct Configured(String);

impl Configured {
    /// The first value of an option.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
    }

    /// All values of an option that may occur several times.
    pub(super) fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.0.lines();
        lines.filter_map(move |line| line.strip_prefix(key)?.strip_prefix(' '))
    }

    /// Whether the host is reached through another program or host.
    pub(super) fn is_proxied(&self) -> bool {
        let is_set = |key| self.value(key).is_some_and(|value| value != "none");
        is_set("proxyjump") || is_set("proxycommand")
    }

    /// The user to log in as.
    pub(super) fn user(&self) -> &str {
        self.value("user").unwrap_or("oem")
    }

    fn connect_timeout(&self) -> Duration {
        let seconds = self
            .value("connecttimeout")
            .and_then(|text| text.parse().ok());
        seconds.map_or(Duration::ZERO, Duration::from_secs)
    }

    /// The `known_hosts` files of the user and of the machine.
    fn known_hosts_files(&self) -> impl Iterator<Item = PathBuf> {
        let keys = ["userknownhostsfile", "globalknownhostsfile"];
        let values = keys.into_iter().flat_map(|key| self.values(key));
        let files = values.flat_map(|value| value.split(' '));
        files.map(|file| {
            let home = || crate::user::home().unwrap_or_default();
            let rest = file.strip_prefix("~/").or(file.strip_prefix("%d/"));
            rest.map_or_else(|| file.into(), |rest| home().join(rest).into())
        })
    }

    #[cfg(test)]
    pub(super) fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Returns ssh's configuration of a host, or its message if the configuration is invalid.
async fn configuration(
    options: &SshOptions,
    words: &[String],
) -> Result<Result<Configured, String>, HostError> {
    let output = asked(options, words).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(if output.status.success() {
        Ok(Configured(text(&output.stdout)))
    } else {
        Err(text(&output.stderr))
    })
}

async fn asked(options: &SshOptions, words: &[String]) -> Result<Output, HostError> {
    let mut ssh = program("ssh");
    ssh.arg("-G")
        .args(words)
        .args(["--", &options.host])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    match tokio::time::timeout(CONFIGURATION_TIMEOUT, ssh.output()).await {
        Ok(output) => output.map_err(|source| HostError::Start {
            program: "ssh".into(),
            source,
        }),
        Err(_) => Err(HostError::Login {
            host: options.host.clone(),
            reason: format!(
                "ssh does not read its configuration within {} s",
                CONFIGURATION_TIMEOUT.as_secs()
            ),
            help: Some(format!(
                "a `Match exec` in ssh_config may hang; see: ssh -vvG {}",
                options.host
            )),
        }),
    }
}

/// Whether ssh rejects this option of ours as unknown.
fn is_unknown(said: &str, option: &str) -> bool {
    let name = option.split('=').next().unwrap_or_default();
    let mut lines = said.lines().filter(|line| line.starts_with("command-line"));
    lines.any(|line| line.to_lowercase().contains(&name.to_lowercase()))
}

fn misconfigured(options: &SshOptions, said: &str) -> HostError {
    let lines: Vec<String> = said.lines().take(10).map(escape).collect();
    HostError::Login {
        host: options.host.clone(),
        reason: lines.join("\n"),
        help: Some(format!(
            "correct your ssh_config; see: ssh -G {}",
            options.host
        )),
    }
}

/// Whether `ssh_config` names a user. Without one, `ssh -G` prints the local user's name, which may
/// also be the configured one; to distinguish the two, asks again with another user as the last
/// default.
async fn names_user(
    configured: &Configured,
    options: &SshOptions,
    words: &[String],
    directory: &Path,
) -> Result<bool, HostError> {
    let id = program("id").arg("-un").output().await;
    let id = id.map(|output| output.stdout).unwrap_or_default();
    if configured.value("user") != Some(String::from_utf8_lossy(&id).trim()) {
        return Ok(true);
    }
    let file = directory.join("config");
    let text = format!(
        "Include ~/.ssh/config\nHost *\nInclude /etc/ssh/ssh_config\nHost *\nUser {NOBODY}\n"
    );
    fs_err::write(&file, text).map_err(|source| HostError::Start {
        program: "ssh".into(),
        source,
    })?;
    let mut asked = vec!["-F".to_owned(), file.display().to_string()];
    asked.extend_from_slice(words);
    let answer = configuration(options, &asked).await?;
    Ok(answer.is_ok_and(|answer| answer.user() != NOBODY))
}

/// Moves the fastest cipher to the front, unless the user configured an order. Up to OpenSSH 9, ssh
/// prefers the cipher that is fast without hardware support. With it (on PCs and on a VPU's
/// Cortex-A57), AES-GCM takes a third of the time: for 400 MB, 0.23 s of a PC's core instead of
/// 0.68 s.
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
    fn a_configured_cipher_order_is_kept() {
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

    #[test]
    fn an_option_unknown_to_an_old_ssh_is_omitted() {
        let said = "command-line: line 0: Bad configuration option: knownhostscommand\n";
        assert!(is_unknown(said, "KnownHostsCommand=none"));
        assert!(!is_unknown(said, "LogVerbose=none"));
        let own = "/home/me/.ssh/config: line 2: Bad configuration option: logverbose\n";
        assert!(!is_unknown(own, "LogVerbose=none"));
    }

    /// ssh's own view of a hostile `ssh_config` with our options.
    #[tokio::test]
    async fn no_ssh_config_overrides_a_pin_or_changes_what_runs() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("user");
        fs_err::write(
            &config,
            "KnownHostsCommand /bin/echo %H\nVerifyHostKeyDNS yes\nNoHostAuthenticationForLocalhost yes\n\
             StrictHostKeyChecking no\nGlobalKnownHostsFile /evil\nUserKnownHostsFile /evil\nHostKeyAlias evil\n\
             UpdateHostKeys yes\nCheckHostIP yes\nRemoteCommand tmux\nRequestTTY force\nSessionType none\n\
             PermitLocalCommand yes\nLocalCommand touch /evil\nForkAfterAuthentication yes\nTunnel yes\n\
             LocalForward 1234 localhost:22\nExitOnForwardFailure yes\nLogLevel QUIET\nControlPersist yes\n\
             ForwardAgent yes\nForwardX11 yes\nCompression yes\nConnectTimeout 30\nUser root\nVisualHostKey yes\n",
        )
        .unwrap();
        let options = SshOptions {
            host: "127.0.0.1".into(),
            host_keys: vec!["ssh-ed25519 AAAA".into()],
            ..SshOptions::default()
        };
        let client = Client::of(&options, directory.path()).await.unwrap();
        let mut words = vec!["-F".to_owned(), config.display().to_string()];
        words.extend_from_slice(&client.words[..client.words.len() - 2]);
        let configured = configuration(&options, &words).await.unwrap().unwrap();
        let ours = directory.path().join("known_hosts");
        for (key, expected) in [
            ("knownhostscommand", None),
            ("verifyhostkeydns", Some("false")),
            ("nohostauthenticationforlocalhost", Some("no")),
            ("stricthostkeychecking", Some("true")),
            ("globalknownhostsfile", Some("/dev/null")),
            ("userknownhostsfile", ours.to_str()),
            ("hostkeyalias", Some(known_hosts::ALIAS)),
            ("updatehostkeys", Some("false")),
            ("checkhostip", Some("no")),
            ("remotecommand", None),
            ("requesttty", Some("false")),
            ("permitlocalcommand", Some("no")),
            ("forkafterauthentication", Some("no")),
            ("tunnel", Some("false")),
            ("clearallforwardings", Some("yes")),
            ("exitonforwardfailure", Some("no")),
            ("loglevel", Some("INFO")),
            ("controlpersist", Some("no")),
            ("forwardagent", Some("no")),
            ("forwardx11", Some("no")),
            ("compression", Some("no")),
            ("visualhostkey", Some("no")),
        ] {
            let value = configured.value(key).filter(|value| *value != "none");
            assert_eq!(value, expected, "{key}");
        }
    }
}
