//! Runs commands on a VPU over one OpenSSH connection, multiplexed.

mod client;
mod directory;
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

/// How long a login may take where nobody is asked for a password, beside what the user's own `ConnectTimeout` adds:
/// that ends with the server's first words, and between them and the login ssh itself waits without end.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// The same where somebody may be asked for passwords and codes, on jump hosts, too. sshd itself waits two minutes.
const PROMPTED_LOGIN_TIMEOUT: Duration = Duration::from_secs(300);

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
    options: SshOptions,
    limit: Duration,
    link: Link,
    /// Another connection, for an sshd that allows so few sessions on one (`MaxSessions`) that those which are held
    /// leave none for commands.
    spare: OnceCell<Link>,
}

impl SshHost {
    /// Connects and logs in.
    ///
    /// Asks for a password or a key's passphrase on the terminal where there is one (ssh itself
    /// asks; it never passes through this program), and never accepts a host key unasked.
    pub async fn connect(options: &SshOptions) -> Result<Self, HostError> {
        let limit = if asks_nothing() {
            LOGIN_TIMEOUT
        } else {
            PROMPTED_LOGIN_TIMEOUT
        };
        Self::connect_within(options, limit).await
    }

    async fn connect_within(options: &SshOptions, limit: Duration) -> Result<Self, HostError> {
        Ok(Self {
            link: Box::pin(Link::connect(options, limit, Login::MayAsk)).await?,
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
        let connected = SshHost::connect_within(&options, Duration::from_secs(1)).await;
        let error = connected.err().map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some("cannot reach 127.0.0.1: it answers, but not to a login within 1 s")
        );
        assert!(server.join().unwrap() > 0, "the client's words");
    }
}
