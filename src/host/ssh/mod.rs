//! Runs commands on a VPU over one multiplexed OpenSSH connection.

mod client;
mod directory;
mod key_files;
mod known_hosts;
mod link;
mod master;
mod refusal;
mod sessions;

use std::time::Duration;

use camino::Utf8PathBuf;
use tokio::sync::OnceCell;

use self::{
    client::asks_nothing,
    link::{Link, Login},
};
use super::HostError;

/// How long a login without prompts may take, in addition to the user's own `ConnectTimeout`: that
/// ends with the server's banner, and ssh sets no limit between the banner and the login.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// The same if the user may be asked for passwords and codes, also on jump hosts. sshd itself waits
/// two minutes.
const PROMPTED_LOGIN_TIMEOUT: Duration = Duration::from_secs(300);

/// How to reach a VPU. The user's `ssh_config` decides whatever is `None`.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SshOptions {
    /// Host name, address or `ssh_config` alias.
    pub host: String,
    /// Port.
    pub port: Option<u16>,
    /// User; `oem` if neither this nor `ssh_config` names one.
    pub user: Option<String>,
    /// Private key file.
    pub identity: Option<Utf8PathBuf>,
    /// Pinned host keys (`ssh-ed25519 AAAA…`); empty means the user's `known_hosts`, strictly.
    pub host_keys: Vec<String>,
}

/// A VPU behind ssh. Dropping it ends the connection.
pub struct SshHost {
    options: SshOptions,
    limit: Duration,
    link: Link,
    /// A second connection, for an sshd that allows so few sessions (`MaxSessions`) that held
    /// sessions leave none for commands.
    spare: OnceCell<Link>,
}

impl SshHost {
    /// Connects and logs in.
    ///
    /// ssh itself asks for a password or a key's passphrase, if there is a terminal; neither passes
    /// through this program. An unknown host key is never accepted.
    pub async fn connect(options: &SshOptions) -> Result<Self, HostError> {
        let limit = if asks_nothing() {
            LOGIN_TIMEOUT
        } else {
            PROMPTED_LOGIN_TIMEOUT
        };
        Self::connect_within(options, limit).await
    }

    /// Connects and logs in, and fails if that needs a password or a passphrase.
    ///
    /// # Errors
    /// Those of [`SshHost::connect`].
    pub async fn connect_unattended(options: &SshOptions) -> Result<Self, HostError> {
        Self::connect_as(options, LOGIN_TIMEOUT, Login::AsksNothing).await
    }

    async fn connect_within(options: &SshOptions, limit: Duration) -> Result<Self, HostError> {
        Self::connect_as(options, limit, Login::MayAsk).await
    }

    async fn connect_as(
        options: &SshOptions,
        limit: Duration,
        login: Login,
    ) -> Result<Self, HostError> {
        Ok(Self {
            link: Box::pin(Link::connect(options, limit, login)).await?,
            options: options.clone(),
            limit,
            spare: OnceCell::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_login_without_an_answer_times_out() {
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
            // Until the client has disconnected.
            std::io::copy(&mut client, &mut std::io::sink()).unwrap_or_default()
        });
        let connected = SshHost::connect_within(&options, Duration::from_secs(1)).await;
        let error = connected.err().map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some("cannot reach 127.0.0.1: it answers, but the login did not complete within 1 s")
        );
        assert!(server.join().unwrap() > 0, "the client's words");
    }
}
