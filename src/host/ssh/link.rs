//! Holds a connection: logs in, verifies that commands run, and opens no more sessions than sshd
//! allows.

use std::{
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    super::{HostError, chain},
    SshOptions,
    client::Client,
    directory,
    master::{Ended, Master},
    refusal::{self, Context, login_error},
};
use crate::shell::Argv;

/// sshd allows 10 sessions for a connection by default (`MaxSessions`); two are left for a user's
/// `ssh -S` and for sessions that are just ending.
const MAX_SESSIONS: usize = 8;

/// The minimum that [`Client`] allows for connecting. A login may take longer by what the user's
/// `ssh_config` adds to that.
const USUAL_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes that a login shell may print before its first command.
const GREETING_LIMIT: usize = 1 << 20;

/// The most bytes of its stderr that are kept.
const COMPLAINT_LIMIT: u64 = 16 << 10;

/// The interval at which a waiting session checks whether a slot can become free at all.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A session that has ended on this machine may still be open in sshd: how often and after which
/// pause to try again.
const REFUSED_TRIES: usize = 20;
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

pub(super) type Child = openssh::Child<Arc<openssh::Session>>;

/// A logged-in connection. Dropping it ends it.
pub(super) struct Link {
    host: String,
    session: Arc<openssh::Session>,
    slots: Arc<Slots>,
    // Dropped before the directory with its socket.
    master: Master,
    directory: directory::Private,
}

/// Whether a login may ask a person for a password or a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    /// If there is a terminal.
    MayAsk,
    /// It fails instead.
    AsksNothing,
}

/// The stdin of a session.
pub(super) enum Input<'a> {
    Nothing,
    /// A pipe that the caller writes to.
    Piped,
    /// A copy of this reader.
    Pipe(&'a std::io::PipeReader),
}

/// Why a session did not start.
pub(super) enum NoChild {
    /// Held sessions occupy all sessions that sshd allows.
    Full,
    Error(HostError),
}

impl Link {
    pub(super) async fn connect(
        options: &SshOptions,
        limit: Duration,
        login: Login,
    ) -> Result<Self, HostError> {
        let directory = directory::private().map_err(|source| HostError::Start {
            program: "ssh".into(),
            source,
        })?;
        let control = directory.path().join("ctl");
        let mut client = Client::of(options, directory.path()).await?;
        if login == Login::AsksNothing {
            client.asks_nothing();
        }
        let limit = limit + client.connect_timeout.saturating_sub(USUAL_CONNECT_TIMEOUT);
        let mut master = Master::start(&client.master(&control))?;
        let mut ready = master.ready(&control, limit).await;
        let too_many = refusal::offered_too_many_keys(&master.words());
        if ready.is_err() && options.identity.is_some() && too_many {
            client.offers_one_key();
            master = Master::start(&client.master(&control))?;
            ready = master.ready(&control, limit).await;
        }
        let context = Context {
            options,
            configured: &client.configured,
        };
        if let Err(ended) = ready {
            let said = master.words();
            // The connection must be gone before the key is probed.
            drop(master);
            return Err(match ended {
                Ended::Exited(code) => login_error(&context, &said, code).await,
                Ended::TimedOut => refusal::timed_out(&context, &said, limit),
            });
        }
        let session = openssh::Session::resume_mux(control.into_boxed_path(), None);
        let link = Self {
            host: options.host.clone(),
            session: Arc::new(session),
            slots: Arc::default(),
            master,
            directory,
        };
        let greeted = tokio::time::timeout(limit, link.greet()).await;
        let greeted = greeted.unwrap_or(Ok(Some(Greeting::Silent)));
        if let Some(greeting) = greeted? {
            let said = link.master.words();
            drop(link);
            return Err(refusal::no_command(&context, &greeting, &said));
        }
        tracing::debug!("logged in");
        Ok(link)
    }

    /// Runs a first command. Returns the output if it is not the expected one.
    async fn greet(&self) -> Result<Option<Greeting>, HostError> {
        let word = crate::nonce::nonce();
        let command = Argv::new("echo").arg(&word).to_any_shell();
        let spawned = self.spawn(&command, &Input::Nothing).await;
        let (mut child, _slot) = spawned.map_err(|error| match error {
            NoChild::Full => self.no_session(),
            NoChild::Error(error) => error,
        })?;
        let stderr = child.stderr().take();
        let stdout = child.stdout().take();
        let complaint = async {
            let mut text = vec![];
            if let Some(pipe) = stderr {
                let _ = pipe.take(COMPLAINT_LIMIT).read_to_end(&mut text).await;
            }
            text
        };
        let seen = async {
            match stdout {
                Some(pipe) => look_for(pipe, word.as_bytes()).await,
                None => Seen::End(vec![]),
            }
        };
        let (seen, complaint) = tokio::join!(seen, complaint);
        Ok(match seen {
            Seen::Word => {
                let _ = child.wait().await;
                None
            }
            Seen::End(mut said) => {
                said.extend(complaint);
                Some(Greeting::Other(String::from_utf8_lossy(&said).into_owned()))
            }
            Seen::TooMuch => Some(Greeting::Endless),
        })
    }

    /// Starts a session, when fewer are open than sshd allows.
    pub(super) async fn spawn(
        &self,
        command: &str,
        input: &Input<'_>,
    ) -> Result<(Child, Slot), NoChild> {
        let mut tries = 0;
        loop {
            let slot = self.slots.take().await.ok_or(NoChild::Full)?;
            match self.start(command, input).await {
                Ok(child) => return Ok((child, slot)),
                Err(error) if is_refused(&error) => {
                    if self.slots.others_than_one() {
                        slot.gives_up();
                    } else if tries < REFUSED_TRIES {
                        tries += 1;
                        tokio::time::sleep(REFUSED_PAUSE).await;
                    } else {
                        return Err(NoChild::Error(self.no_session()));
                    }
                }
                Err(error) => {
                    let doing = "starting a command on the VPU";
                    return Err(NoChild::Error(self.error(doing, &error)));
                }
            }
        }
    }

    async fn start(&self, command: &str, input: &Input<'_>) -> Result<Child, openssh::Error> {
        let mut remote = Arc::clone(&self.session).arc_raw_command(command);
        match input {
            Input::Nothing => remote.stdin(openssh::Stdio::null()),
            Input::Piped => remote.stdin(openssh::Stdio::piped()),
            Input::Pipe(reader) => {
                let copy = reader.try_clone().map_err(openssh::Error::ChildIo)?;
                remote.stdin(OwnedFd::from(copy))
            }
        };
        remote
            .stdout(openssh::Stdio::piped())
            .stderr(openssh::Stdio::piped());
        // Spawning drops our copy of the pipe's reader: as long as it is open, a payload whose
        // reader died would block forever.
        remote.spawn().await
    }

    /// Returns the path of a socket that is forwarded to a port on the VPU.
    pub(super) async fn forward(&self, port: u16) -> Result<PathBuf, HostError> {
        let path = self.directory.path().join(format!("port-{port}"));
        if !path.exists() {
            tracing::debug!(port, "a forwarded port");
            let from = openssh::Socket::UnixSocket {
                path: path.clone().into(),
            };
            let to = openssh::Socket::TcpSocket {
                host: "127.0.0.1".into(),
                port,
            };
            let forwarded =
                self.session
                    .request_port_forward(openssh::ForwardType::Local, from, to);
            forwarded
                .await
                .map_err(|error| self.error("forwarding a port", &error))?;
        }
        Ok(path)
    }

    /// ssh's messages since the connection was started.
    pub(super) fn words(&self) -> String {
        self.master.words()
    }

    pub(super) fn error(&self, doing: &str, error: &openssh::Error) -> HostError {
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

    pub(super) fn no_session(&self) -> HostError {
        HostError::NoSession {
            host: self.host.clone(),
        }
    }
}

/// Whether sshd refuses another session. The crate has no error code for that; the message is fixed
/// in OpenSSH's mux protocol.
fn is_refused(error: &openssh::Error) -> bool {
    chain(error).contains("Session open refused")
}

/// The output in place of the first command's.
#[derive(Debug)]
pub(super) enum Greeting {
    /// Nothing, for a long time.
    Silent,
    /// More than the limit.
    Endless,
    /// This text.
    Other(String),
}

enum Seen {
    Word,
    End(Vec<u8>),
    TooMuch,
}

/// Reads until `word` occurs. Skips whatever the login shell prints before it, in any encoding.
async fn look_for(mut pipe: impl AsyncRead + Unpin, word: &[u8]) -> Seen {
    let mut all = vec![];
    let mut piece = vec![0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut piece).await {
        let old = all.len().saturating_sub(word.len());
        all.extend_from_slice(&piece[..count]);
        if all[old..].windows(word.len()).any(|window| window == word) {
            return Seen::Word;
        }
        if all.len() > GREETING_LIMIT {
            return Seen::TooMuch;
        }
    }
    Seen::End(all)
}

/// The sessions that a connection may have at a time. Learns from sshd's refusals.
struct Slots {
    free: Arc<Semaphore>,
    total: AtomicUsize,
    held: AtomicUsize,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            free: Arc::new(Semaphore::new(MAX_SESSIONS)),
            total: AtomicUsize::new(MAX_SESSIONS),
            held: AtomicUsize::new(0),
        }
    }
}

impl Slots {
    /// Waits for a slot; `None` if held sessions occupy all slots.
    async fn take(self: &Arc<Self>) -> Option<Slot> {
        loop {
            if self.total.load(Relaxed) <= self.held.load(Relaxed) {
                return None;
            }
            let permit = Arc::clone(&self.free).acquire_owned();
            if let Ok(permit) = tokio::time::timeout(LOOK_AGAIN, permit).await {
                return Some(Slot {
                    permit: Some(permit.ok()?),
                    slots: Arc::clone(self),
                    is_held: false,
                });
            }
        }
    }

    /// Whether another slot is taken.
    fn others_than_one(&self) -> bool {
        self.free.available_permits() + 1 < self.total.load(Relaxed)
    }
}

/// A slot for a session, returned when this is dropped.
pub(super) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    slots: Arc<Slots>,
    is_held: bool,
}

impl Slot {
    /// Marks a session that lasts until its client ends it: others must not wait for it.
    pub(super) fn held(mut self) -> Self {
        self.is_held = true;
        self.slots.held.fetch_add(1, Relaxed);
        self
    }

    /// Removes a slot that sshd does not grant.
    fn gives_up(mut self) {
        if let Some(permit) = self.permit.take() {
            permit.forget();
            self.slots.total.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.is_held {
            self.slots.held.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_greeting_of_any_bytes_is_skipped_unless_it_is_endless() {
        for greeting in [
            &b""[..],
            b"hello$ ",
            b"\xe4\xf6\n\0",
            b"o3r-\no3r-",
            &[b'x'; 5000],
        ] {
            let said = [greeting, b"o3r-word\n"].concat();
            let seen = look_for(std::io::Cursor::new(said), b"o3r-word").await;
            assert!(matches!(seen, Seen::Word), "{greeting:?}");
        }
        let other = look_for(std::io::Cursor::new(b"not available\n"), b"o3r-word").await;
        assert!(matches!(other, Seen::End(said) if said == b"not available\n"));
        let endless = look_for(tokio::io::repeat(b'y'), b"o3r-word").await;
        assert!(matches!(endless, Seen::TooMuch));
    }

    #[tokio::test]
    async fn refused_slots_are_given_up_and_held_ones_not_waited_for() {
        let slots = Arc::<Slots>::default();
        let first = slots.take().await.unwrap();
        assert!(!slots.others_than_one());
        for _ in 1..MAX_SESSIONS {
            let refused = slots.take().await.unwrap();
            assert!(slots.others_than_one());
            refused.gives_up();
        }
        assert_eq!(slots.total.load(Relaxed), 1);
        // With a single slot left, a second session waits.
        let waits = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.take().await.is_some() }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waits.is_finished());
        drop(first);
        assert!(waits.await.unwrap());
        let held = slots.take().await.unwrap().held();
        assert!(slots.take().await.is_none());
        drop(held);
        assert!(slots.take().await.is_some());
    }
}
