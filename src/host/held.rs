//! Keeps a command running on a host as long as its client, such as the one that holds the lock.

use std::time::Duration;

use tokio::{
    io::{
        AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite,
        AsyncWriteExt as _,
    },
    sync::watch,
    task::JoinHandle,
};

/// The interval of the sign of life that is sent to the command.
const BEAT: Duration = Duration::from_secs(5);

/// The most bytes that are read until the command is ready: the output of the login shell, and a
/// line every ten seconds while it waits.
const WORDS_LIMIT: u64 = 256 << 10;

/// The word that reports readiness.
const READY: &str = "held";

/// A running command that ends when this is dropped, or when the host has not heard from us for too
/// long.
#[derive(Debug)]
pub struct Held {
    token: String,
    ended: watch::Receiver<bool>,
    task: Option<JoinHandle<()>>,
}

impl Held {
    /// Takes over a command that has reported that it is ready: writes a line to `stdin` every few
    /// seconds, and takes the end of `stdout` for the end of the command. `keep` is dropped after
    /// both.
    pub(super) fn over<W, R, K>(token: &str, mut stdin: W, mut stdout: R, keep: K) -> Self
    where
        W: AsyncWrite + Send + Unpin + 'static,
        R: AsyncRead + Send + Unpin + 'static,
        K: Send + 'static,
    {
        let (sender, ended) = watch::channel(false);
        let task = tokio::spawn(async move {
            let keep = keep;
            let beat = async {
                loop {
                    tokio::time::sleep(BEAT).await;
                    if stdin.write_all(b"\n").await.is_err() || stdin.flush().await.is_err() {
                        return;
                    }
                }
            };
            let end = async {
                let mut words = [0; 1024];
                while let Ok(1..) = stdout.read(&mut words).await {}
            };
            tokio::select! {
                () = beat => {}
                () = end => {}
            }
            // The command ended while we are alive: something on the host ended it.
            let _ = sender.send(true);
            drop((stdin, stdout, keep));
        });
        Self {
            token: token.to_owned(),
            ended,
            task: Some(task),
        }
    }

    /// A `Held` that lasts as long as `ended` is false.
    // Not documented: public only for the in-memory VPU of the tests.
    #[doc(hidden)]
    pub fn new(token: &str, ended: watch::Receiver<bool>) -> Self {
        Self {
            token: token.to_owned(),
            ended,
            task: None,
        }
    }

    /// The word that identifies the command on its host.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Waits until the command ends although this is not dropped: something on the host ended it.
    pub async fn lost(&self) {
        let mut ended = self.ended.clone();
        if ended.wait_for(|ended| *ended).await.is_err() && !*ended.borrow() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the command has ended.
    pub fn is_lost(&self) -> bool {
        *self.ended.borrow()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Reads the lines that begin with `token` until the command is ready; other lines are the login
/// shell's. Calls `said` with every line but the last, without the token. False if the command
/// ended before.
pub(super) async fn is_ready<R: AsyncBufRead + Unpin>(
    stdout: &mut R,
    token: &str,
    said: &(dyn Fn(&str) + Sync),
) -> bool {
    let mut stdout = stdout.take(WORDS_LIMIT);
    let mut line = vec![];
    loop {
        line.clear();
        match stdout.read_until(b'\n', &mut line).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return false,
        }
        let text = String::from_utf8_lossy(&line);
        let words = text.trim_end_matches(['\n', '\r']).strip_prefix(token);
        match words.and_then(|words| words.strip_prefix(' ')) {
            Some(READY) => return true,
            Some(words) => said(words),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    async fn ready(text: &[u8]) -> (bool, Vec<String>) {
        let said = Mutex::new(vec![]);
        let note = |words: &str| said.lock().unwrap().push(words.to_owned());
        let mut text = text;
        let ready = is_ready(&mut text, "o3r-1", &note).await;
        (ready, said.into_inner().unwrap())
    }

    #[tokio::test]
    async fn only_the_token_counts_whatever_a_login_shell_prints() {
        let (is, said) =
            ready(b"Welcome\nlocked\nheld\n\xff\xfe\no3r-12 held\nno3r-1 held\n").await;
        assert!(!is && said.is_empty());
        let (is, said) = ready(b"no line end\no3r-1 waits 7 docker\r\n\no3r-1 held\nmore").await;
        assert!(is);
        assert_eq!(said, ["waits 7 docker"]);
        let endless = vec![b'x'; usize::try_from(2 * WORDS_LIMIT).unwrap()];
        assert!(!ready(&endless).await.0);
    }
}
