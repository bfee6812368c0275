//! Runs commands on a VPU over one OpenSSH connection, multiplexed.

mod client;
mod refusal;
mod sessions;

use std::{process::Stdio, sync::Arc, time::Duration};

use camino::Utf8PathBuf;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, Command},
    sync::Semaphore,
};

use self::{
    client::{Configured, asks_nothing, client_options},
    refusal::login_error,
};
use super::HostError;

/// sshd takes 10 sessions on one connection by default (`MaxSessions`); one is the master's own
/// and one is left free for a person's `ssh -S`.
const MAX_SESSIONS: usize = 8;

/// How long a login may take where nobody is asked for a password. [`CONNECT_TIMEOUT`] ends with the server's first
/// words, and [`ALIVE_INTERVAL`] begins after the login: between them ssh itself waits for ever.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

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
}
