//! Runs commands on a VPU over one OpenSSH connection, multiplexed.

use std::{os::fd::OwnedFd, path::Path, process::Stdio, sync::Arc, time::Duration};

use camino::Utf8PathBuf;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, Command},
    sync::Semaphore,
};

use super::{
    ByteStream, Held, Host, HostError, Output, Stdin, chain,
    error::PresentedKey,
    feed,
    known_hosts::{self, Destination},
    payload_error, read_bounded, read_outputs,
};
use crate::shell::Argv;

/// sshd takes 10 sessions on one connection by default (`MaxSessions`); one is the master's own
/// and one is left free for a person's `ssh -S`.
const MAX_SESSIONS: usize = 8;

/// How long a TCP connection may take: a VPU on a cable answers in milliseconds, one behind a
/// plant's VPN in a second or two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a login may take where nobody is asked for a password. [`CONNECT_TIMEOUT`] ends with the server's first
/// words, and [`ALIVE_INTERVAL`] begins after the login: between them ssh itself waits for ever.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A dead link is noticed when three probes were not answered, and a fourth one would be due: after 12 s.
const ALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// What the master runs on the VPU: says that login worked and lives as long as our end.
const MASTER_COMMAND: &str = "echo o3r-ready; exec cat >/dev/null";

/// The line by which [`MASTER_COMMAND`] says that login worked.
const READY: &str = "o3r-ready";

/// Most bytes that a login shell may print before its first command.
const GREETING_LIMIT: u64 = 64 << 10;

/// Starts ssh with signals ignored that a terminal sends to all its processes: Ctrl-C is ours to
/// handle, and the connection must outlive it. (A process group of its own would do the same, but
/// then ssh could not ask for a password.)
const UNINTERRUPTED: &str = "trap '' INT QUIT HUP; exec \"$0\" \"$@\"";

/// The cipher that processors help with.
const QUICK_CIPHER: &str = "aes128-gcm@openssh.com";

/// The one that is quick on those that do not.
const PORTABLE_CIPHER: &str = "chacha20-poly1305@openssh.com";

/// The shell's exit code for a program that is not there.
const COMMAND_NOT_FOUND: i32 = 127;

/// How to reach a VPU. What is `None` is left to the user's `ssh_config`.
#[derive(Debug, Clone, Default)]
pub struct SshOptions {
    /// Host name, address or `ssh_config` alias.
    pub host: String,
    /// Port.
    pub port: Option<u16>,
    /// User; `oem` where neither this nor `ssh_config` names one.
    pub user: Option<String>,
    /// Private key file.
    pub identity: Option<Utf8PathBuf>,
    /// Pinned host keys (`ssh-ed25519 AAAA…`); empty means the user's `known_hosts`, strictly.
    pub host_keys: Vec<String>,
}

/// A VPU behind ssh. Dropping it ends the connection.
pub struct SshHost {
    host: String,
    session: Arc<openssh::Session>,
    sessions: Semaphore,
    directory: tempfile::TempDir,
    _master: Child,
}

impl SshHost {
    /// Connects and logs in.
    ///
    /// Asks for a password or a key's passphrase on the terminal where there is one (ssh itself
    /// asks; it never passes through this program), and never accepts a host key by itself.
    pub async fn connect(options: &SshOptions) -> Result<Self, HostError> {
        Self::connect_within(options, asks_nothing().then_some(LOGIN_TIMEOUT)).await
    }

    async fn connect_within(
        options: &SshOptions,
        limit: Option<Duration>,
    ) -> Result<Self, HostError> {
        let directory = tempfile::Builder::new()
            .prefix("o3r-ssh-")
            .tempdir()
            .map_err(|source| HostError::Start {
                program: "ssh".into(),
                source,
            })?;
        let control = directory.path().join("ctl");
        let configured = Configured::of(options).await;
        let user = configured.user;
        let mut ssh = Command::new("sh");
        ssh.args(["-c", UNINTERRUPTED, "ssh", "-M", "-S"])
            .arg(&control);
        for option in client_options(options, &directory.path().join("known_hosts"))? {
            ssh.args(["-o", &option]);
        }
        if let Some(ciphers) = &configured.ciphers {
            ssh.args(["-c", ciphers]);
        }
        if let Some(port) = options.port {
            ssh.args(["-p", &port.to_string()]);
        }
        if let Some(identity) = &options.identity {
            ssh.args(["-i", identity.as_str()]);
        }
        if let Some(user) = &user {
            ssh.args(["-l", user]);
        }
        ssh.args(["--", &options.host, MASTER_COMMAND]);
        ssh.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut master = ssh.spawn().map_err(|source| HostError::Start {
            program: "ssh".into(),
            source,
        })?;
        let ready = match (master.stdout.take(), limit) {
            (Some(stdout), Some(limit)) => {
                let ready = tokio::time::timeout(limit, is_ready(stdout)).await;
                ready.map_err(|_| HostError::Unreachable {
                    host: options.host.clone(),
                    reason: format!(
                        "it answers, but not to a login within {} s",
                        limit.as_secs()
                    ),
                })?
            }
            (Some(stdout), None) => is_ready(stdout).await,
            (None, _) => false,
        };
        if !ready {
            return Err(login_error(options, user.as_deref(), master).await);
        }
        if let Some(mut stderr) = master.stderr.take() {
            // Whatever ssh says later (a lost link) is also seen as a failed command.
            tokio::spawn(async move {
                let mut line = Vec::new();
                let _ = stderr.read_to_end(&mut line).await;
                tracing::debug!(said = %String::from_utf8_lossy(&line).trim(), "ssh ended");
            });
        }
        tracing::debug!("logged in");
        let session = openssh::Session::resume_mux(control.into_boxed_path(), None);
        let session = Arc::new(session);
        Ok(Self {
            host: options.host.clone(),
            session,
            sessions: Semaphore::new(MAX_SESSIONS),
            directory,
            _master: master,
        })
    }

    fn error(&self, doing: &str, error: &openssh::Error) -> HostError {
        use openssh::Error as E;
        match error {
            E::Disconnected | E::RemoteProcessTerminated | E::SshMux(_) | E::Master(_) => {
                HostError::Disconnected {
                    host: self.host.clone(),
                }
            }
            other => HostError::Transport {
                doing: doing.into(),
                reason: chain(other),
            },
        }
    }
}

impl Host for SshHost {
    async fn run(&self, command: &Argv, stdin: Stdin) -> Result<Output, HostError> {
        const DOING: &str = "running a command on the VPU";
        let _permit = self.sessions.acquire().await;
        tracing::debug!(command = %command.to_display(), "session on the VPU");
        let mut remote = self.session.raw_command(command.to_shell());
        let feeder = match stdin.into_payload() {
            None => {
                remote.stdin(openssh::Stdio::null());
                None
            }
            Some(payload) => {
                let (reader, task) = feed(payload).map_err(HostError::Payload)?;
                remote.stdin(OwnedFd::from(reader));
                Some(task)
            }
        };
        remote
            .stdout(openssh::Stdio::piped())
            .stderr(openssh::Stdio::piped());
        let mut child = remote
            .spawn()
            .await
            .map_err(|error| self.error(DOING, &error))?;
        // The command owns our copy of the pipe's reading end: while it lives, a payload whose
        // reader died would block for ever.
        drop(remote);
        let (stdout, stderr) = (child.stdout().take(), child.stderr().take());
        let outputs = read_outputs(stdout, stderr).await;
        // Not before all output is read: the exit code may come first, and to take it ends the
        // session, with what the master has not passed on by then (seen on a busy machine).
        let status = child
            .wait()
            .await
            .map_err(|error| self.error(DOING, &error))?;
        if let Some(task) = feeder {
            payload_error(task.await)?;
        }
        let code = status.code().unwrap_or(-1);
        let (stdout, stderr) = outputs?;
        tracing::debug!(code, "a session ended");
        Ok(Output {
            code,
            stdout,
            stderr,
        })
    }

    async fn hold(&self, command: &Argv) -> Result<Result<Held, Output>, HostError> {
        const DOING: &str = "starting a command on the VPU";
        let session = Arc::clone(&self.session);
        let mut remote = session.arc_raw_command(command.to_shell());
        remote
            .stdin(openssh::Stdio::piped())
            .stdout(openssh::Stdio::piped())
            .stderr(openssh::Stdio::piped());
        let mut child = remote
            .spawn()
            .await
            .map_err(|error| self.error(DOING, &error))?;
        let stdin = child.stdin().take();
        let mut first = String::new();
        let mut stdout = child.stdout().take().map(BufReader::new);
        if let Some(stdout) = &mut stdout {
            let _ = stdout.read_line(&mut first).await;
        }
        if first.is_empty() {
            let stderr = match child.stderr().take() {
                Some(pipe) => read_bounded(pipe).await.unwrap_or_default(),
                None => vec![],
            };
            let status = child
                .wait()
                .await
                .map_err(|error| self.error(DOING, &error))?;
            return Ok(Err(Output {
                code: status.code().unwrap_or(-1),
                stdout: vec![],
                stderr,
            }));
        }
        // Dropping stdin is what ends the command; dropping the child would end it now.
        Ok(Ok(Held::new((stdin, stdout, child))))
    }

    async fn connect(&self, port: u16) -> Result<Box<dyn ByteStream>, HostError> {
        let path = self.directory.path().join(format!("port-{port}"));
        if !path.exists() {
            tracing::debug!(port, "session on the VPU: a forwarded port");
            self.session
                .request_port_forward(
                    openssh::ForwardType::Local,
                    openssh::Socket::UnixSocket {
                        path: path.clone().into(),
                    },
                    openssh::Socket::TcpSocket {
                        host: "127.0.0.1".into(),
                        port,
                    },
                )
                .await
                .map_err(|error| self.error("forwarding a port", &error))?;
        }
        let stream = tokio::net::UnixStream::connect(&path)
            .await
            .map_err(|error| HostError::Transport {
                doing: format!("connecting to port {port} of the VPU"),
                reason: error.to_string(),
            })?;
        Ok(Box::new(stream))
    }
}

/// The `-o` options of the master connection.
fn client_options(options: &SshOptions, pinned: &Path) -> Result<Vec<String>, HostError> {
    let mut list = vec![
        "StrictHostKeyChecking=yes".to_owned(),
        "Compression=no".to_owned(),
        "ForwardX11=no".to_owned(),
        "ForwardAgent=no".to_owned(),
        "ClearAllForwardings=yes".to_owned(),
        "RequestTTY=no".to_owned(),
        "PermitLocalCommand=no".to_owned(),
        "LogLevel=ERROR".to_owned(),
        format!("ConnectTimeout={}", CONNECT_TIMEOUT.as_secs()),
        format!("ServerAliveInterval={}", ALIVE_INTERVAL.as_secs()),
        "ServerAliveCountMax=3".to_owned(),
        "ControlPersist=no".to_owned(),
    ];
    if asks_nothing() {
        list.push("BatchMode=yes".to_owned());
    }
    if !options.host_keys.is_empty() {
        known_hosts::write(pinned, &options.host_keys).map_err(|source| HostError::Start {
            program: "ssh".into(),
            source,
        })?;
        list.push(format!("UserKnownHostsFile={}", pinned.display()));
        list.push("GlobalKnownHostsFile=/dev/null".to_owned());
        list.push(format!("HostKeyAlias={}", known_hosts::ALIAS));
        list.push("UpdateHostKeys=no".to_owned());
    }
    Ok(list)
}

/// Whether ssh has nobody whom it could ask for a password.
fn asks_nothing() -> bool {
    !std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("SSH_ASKPASS").is_none()
}

/// Whether the login's command runs. What a login shell prints before it is passed over.
async fn is_ready(stdout: tokio::process::ChildStdout) -> bool {
    let mut lines = BufReader::new(stdout.take(GREETING_LIMIT)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line == READY {
            return true;
        }
    }
    false
}

/// What the user's ssh says of a connection.
#[derive(Debug, Default)]
struct Configured {
    /// Whom to log in as.
    user: Option<String>,
    /// The ciphers that are offered.
    ciphers: Option<String>,
}

impl Configured {
    /// Asks `ssh -G`.
    async fn of(options: &SshOptions) -> Self {
        let asked = Command::new("ssh")
            .args(["-G", "--", &options.host])
            .output();
        let text = match asked.await {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(_) => String::new(),
        };
        let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        Self {
            user: login_user(options, line("user ")).await,
            ciphers: line("ciphers ").and_then(quick_first),
        }
    }
}

/// The user to log in as: the given one; else `None` where `ssh_config` names one; else `oem`.
///
/// `ssh -G` prints the local user's name where no `User` line applies.
async fn login_user(options: &SshOptions, configured: Option<&str>) -> Option<String> {
    if options.user.is_some() {
        return options.user.clone();
    }
    let local = Command::new("id").arg("-un").output().await.ok()?;
    let local = String::from_utf8_lossy(&local.stdout).trim().to_owned();
    (configured? == local).then(|| "oem".to_owned())
}

/// The ciphers with the quickest one first, if nobody chose an order: up to OpenSSH 9, ssh itself puts the
/// one first that is quick without help of the processor. With it (a PC's, and a VPU's Cortex-A57),
/// AES-GCM takes a third of the time: 400 MB 0.23 s of a PC's core for 0.68 s.
fn quick_first(ciphers: &str) -> Option<String> {
    let others: Vec<&str> = ciphers
        .split(',')
        .filter(|name| *name != QUICK_CIPHER)
        .collect();
    let untouched = others.first() == Some(&PORTABLE_CIPHER) && ciphers.contains(QUICK_CIPHER);
    untouched.then(|| format!("{QUICK_CIPHER},{}", others.join(",")))
}

/// The key that the box presents, and the command that shows it, where they can be told.
async fn presented_key(options: &SshOptions) -> (Option<PresentedKey>, Option<String>) {
    match Destination::of(&options.host, options.port).await {
        Some(there) => (there.presented().await, there.scan()),
        None => (None, None),
    }
}

/// Turns ssh's words into one of ours. OpenSSH has no codes: its messages are stable since 2000
/// and in English whatever the locale.
async fn login_error(options: &SshOptions, user: Option<&str>, mut master: Child) -> HostError {
    let mut said = String::new();
    if let Some(stderr) = &mut master.stderr {
        let _ = stderr.read_to_string(&mut said).await;
    }
    let status = master.wait().await;
    if status.is_ok_and(|status| status.code() == Some(COMMAND_NOT_FOUND)) {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return HostError::Start {
            program: "ssh".into(),
            source,
        };
    }
    let host = options.host.clone();
    let pinned = !options.host_keys.is_empty();
    let expected_by = if pinned {
        "pinned in the manifest"
    } else {
        "in known_hosts"
    };
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines.last().copied().unwrap_or_default().to_owned();
    if said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED")
        || (pinned && said.contains("host key is known for"))
        || (pinned && said.contains("no matching host key type"))
    {
        let (presented, scan) = presented_key(options).await;
        return HostError::HostKeyChanged {
            host,
            expected_by,
            presented,
            scan,
        };
    }
    if said.contains("host key is known for") || said.contains("Host key verification failed") {
        let (presented, scan) = presented_key(options).await;
        return HostError::HostKeyUnknown {
            host,
            presented,
            scan,
        };
    }
    if said.contains("Permission denied") || said.contains("Too many authentication failures") {
        let user = user.unwrap_or("the user in ssh_config").to_owned();
        return HostError::Refused {
            host,
            user,
            reason: last,
        };
    }
    if last.is_empty() {
        let reason = "ssh ended without a word, or the login shell runs no commands".to_owned();
        return HostError::Transport {
            doing: format!("logging in to {host}"),
            reason,
        };
    }
    HostError::Unreachable { host, reason: last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_login_that_is_not_answered_ends() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let options = SshOptions {
            host: "127.0.0.1".into(),
            port: Some(listener.local_addr().unwrap().port()),
            ..SshOptions::default()
        };
        let server = std::thread::spawn(move || {
            use std::io::Write as _;
            let (mut client, _) = listener.accept().unwrap();
            client.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
            // Until the client has gone.
            std::io::copy(&mut client, &mut std::io::sink()).unwrap_or_default()
        });
        let connected = SshHost::connect_within(&options, Some(Duration::from_secs(1))).await;
        let error = connected.err().map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some("cannot reach 127.0.0.1: it answers, but not to a login within 1 s")
        );
        assert!(server.join().unwrap() > 0, "the client's words");
    }

    #[test]
    fn an_order_that_somebody_chose_stays() {
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
}
