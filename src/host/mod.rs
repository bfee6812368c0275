//! Runs commands on a host: over ssh, or on this machine.

mod direct;
mod error;
mod held;
mod local;
mod ssh;

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

pub use direct::DirectHost;
pub(crate) use error::chain;
pub use error::{HostError, PresentedKey};
pub use held::Held;
pub use local::LocalHost;
pub use ssh::{SshHost, SshOptions};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::shell::Argv;

/// The most bytes of a command's stdout or stderr that are kept: a probe of a full VPU is well
/// below 1 MiB, and a misbehaving VPU must not fill this machine's memory.
pub const OUTPUT_LIMIT: usize = 64 << 20;

/// A machine that runs commands.
pub trait Host: Sync {
    /// Runs a command to its end. An exit code other than 0 is no error.
    fn run(
        &self,
        command: &Argv,
        stdin: Stdin,
    ) -> impl Future<Output = Result<Output, HostError>> + Send;

    /// Runs one command over a connection of its own, which proves that the host lets the next client in. Over the
    /// existing one where this host has no other way, or where a login needs a person again.
    fn run_afresh(
        &self,
        command: &Argv,
        stdin: Stdin,
    ) -> impl Future<Output = Result<Output, HostError>> + Send {
        self.run(command, stdin)
    }

    /// Starts a command that prints `token held` when it is ready, and that runs until [`Held`] is
    /// dropped (which closes its stdin) or the host has not heard from us for too long. Calls
    /// `said` with the rest of every earlier line that begins with `token`. Returns the output if
    /// the command ends before it is ready.
    fn hold(
        &self,
        command: &Argv,
        token: &str,
        said: &(dyn Fn(&str) + Sync),
    ) -> impl Future<Output = Result<Result<Held, Output>, HostError>> + Send;

    /// Starts a command and opens a byte stream to its stdin and from its stdout. Dropping the
    /// stream ends the command. If the command cannot be started, the stream ends.
    ///
    /// # Errors
    /// The connection failed, or this kind of host has no streams (the default).
    fn dial(
        &self,
        command: &Argv,
    ) -> impl Future<Output = Result<Box<dyn ByteStream>, HostError>> + Send {
        let doing = format!("opening a stream to {}", command.to_display());
        async {
            Err(HostError::Transport {
                doing,
                reason: "this host has no such streams".to_owned(),
            })
        }
    }

    /// Opens a byte stream to a TCP port on the host itself (`127.0.0.1:port`).
    fn connect(
        &self,
        port: u16,
    ) -> impl Future<Output = Result<Box<dyn ByteStream>, HostError>> + Send;

    /// Whether the host forbids [`Host::connect`]: through a tunnel, that looks like a port without
    /// a listener. Call this after a stream ended at once.
    fn forbids_connecting(&self) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }
}

/// A bidirectional byte stream.
pub trait ByteStream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> ByteStream for T {}

/// A command's stdout and stdin, and what keeps the command running.
struct Dialled<R, W, K> {
    stream: tokio::io::Join<R, W>,
    _keep: K,
}

impl<R: AsyncRead, W: AsyncWrite, K> Dialled<R, W, K> {
    fn new(stdout: R, stdin: W, keep: K) -> Self {
        Self {
            stream: tokio::io::join(stdout, stdin),
            _keep: keep,
        }
    }
}

/// Reports a command that was started without the requested pipes.
fn no_pipes() -> HostError {
    HostError::Transport {
        doing: "starting a command".to_owned(),
        reason: "it has no pipes".to_owned(),
    }
}

impl<R: AsyncRead + Unpin, W: Unpin, K: Unpin> AsyncRead for Dialled<R, W, K> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<R: Unpin, W: AsyncWrite + Unpin, K: Unpin> AsyncWrite for Dialled<R, W, K> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Writes a payload; runs on a thread of its own and may block.
///
/// An error ends the command's stdin early. The reader must detect a truncated payload itself (by
/// its digest, or because the end of the archive is missing), because a lost link looks the same.
pub type Payload = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// The stdin of a command.
pub enum Stdin {
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
    /// What the payload writes.
    Stream(Payload),
}

impl Stdin {
    /// Returns a payload, if there is anything to write.
    fn into_payload(self) -> Option<Payload> {
        match self {
            Self::Empty => None,
            Self::Bytes(bytes) => Some(Box::new(move |out| out.write_all(&bytes))),
            Self::Stream(payload) => Some(payload),
        }
    }
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; 128 + n if signal n ended the command.
    pub code: i32,
    /// At most [`OUTPUT_LIMIT`] bytes.
    pub stdout: Vec<u8>,
    /// At most [`OUTPUT_LIMIT`] bytes.
    pub stderr: Vec<u8>,
}

impl Output {
    /// The output of a successful command that printed `text`.
    pub(crate) fn said(text: String) -> Self {
        Self {
            code: 0,
            stdout: text.into_bytes(),
            stderr: vec![],
        }
    }

    /// Whether the exit code is 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }

    /// Returns the last `lines` lines of stderr, or of stdout if stderr is empty.
    pub fn tail(&self, lines: usize) -> String {
        let bytes = if self.stderr.trim_ascii().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let text = String::from_utf8_lossy(bytes);
        let all: Vec<&str> = text.trim_end().lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// Reads to the end but keeps at most [`OUTPUT_LIMIT`] bytes.
async fn read_bounded<R: tokio::io::AsyncRead + Unpin>(reader: R) -> io::Result<Vec<u8>> {
    use tokio::io::AsyncReadExt;
    let mut kept = Vec::new();
    let mut limited = reader.take(OUTPUT_LIMIT as u64);
    limited.read_to_end(&mut kept).await?;
    // Drain the rest, so that a full pipe does not block the command.
    tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await?;
    Ok(kept)
}

/// Reads stdout and stderr of a command to their ends.
async fn read_outputs<O, E>(
    stdout: Option<O>,
    stderr: Option<E>,
) -> Result<(Vec<u8>, Vec<u8>), HostError>
where
    O: tokio::io::AsyncRead + Unpin,
    E: tokio::io::AsyncRead + Unpin,
{
    async fn read<R: tokio::io::AsyncRead + Unpin>(pipe: Option<R>) -> io::Result<Vec<u8>> {
        match pipe {
            Some(pipe) => read_bounded(pipe).await,
            None => Ok(vec![]),
        }
    }
    tokio::try_join!(read(stdout), read(stderr)).map_err(|error| HostError::Transport {
        doing: "reading a command's output".into(),
        reason: error.to_string(),
    })
}

/// Returns a pipe for a command's stdin, which `payload` fills on a thread of its own.
fn feed(
    payload: Payload,
) -> io::Result<(std::io::PipeReader, tokio::task::JoinHandle<io::Result<()>>)> {
    let (reader, mut writer) = std::io::pipe()?;
    let task = tokio::task::spawn_blocking(move || payload(&mut writer));
    Ok((reader, task))
}

/// Distinguishes a failed payload from a closed reader, which the exit code explains.
fn payload_error(result: Result<io::Result<()>, tokio::task::JoinError>) -> Result<(), HostError> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if is_broken_pipe(&error) => Ok(()),
        Ok(Err(error)) => Err(HostError::Payload(error)),
        Err(error) => Err(HostError::Payload(io::Error::other(error))),
    }
}

/// Whether an error, or an error that it wraps, is a broken pipe.
fn is_broken_pipe(error: &io::Error) -> bool {
    let mut inner: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = inner {
        if let Some(error) = current.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return true;
        }
        // `io::Error::source` returns the source of the wrapped error, not the wrapped error.
        let content = current
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        inner = match content {
            Some(content) => Some(content),
            None => current.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write the archive")]
    struct Wrapper(#[source] io::Error);

    #[test]
    fn a_wrapped_broken_pipe_is_recognised() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&pipe()));
        assert!(is_broken_pipe(&io::Error::other(Wrapper(pipe()))));
        assert!(!is_broken_pipe(&io::Error::other(Wrapper(
            io::Error::other("disk")
        ))));
    }
}
