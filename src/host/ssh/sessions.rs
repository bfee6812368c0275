//! Runs commands as sessions of the connection, and forwards ports over it.

use std::time::{Duration, Instant};

use tokio::{io::BufReader, sync::OnceCell};

use super::{
    super::{
        ByteStream, Dialled, Held, Host, HostError, Output, Stdin, feed, held, no_pipes,
        payload_error, read_bounded, read_outputs,
    },
    LOGIN_TIMEOUT, SshHost,
    client::asks_nothing,
    link::{Child, Input, Link, Login, NoChild, Slot},
};
use crate::shell::Argv;

/// The shell's exit code for a program that does not exist.
const COMMAND_NOT_FOUND: i32 = 127;

/// How long to wait for ssh's message on why a forwarded port was closed.
const FORWARD_WORD: Duration = Duration::from_millis(500);

impl SshHost {
    /// Starts a session: on the spare connection if the first one has none left.
    async fn spawn(
        &self,
        command: &Argv,
        input: &Input<'_>,
    ) -> Result<(&Link, Child, Slot), HostError> {
        let words = command.to_any_shell();
        match self.link.spawn(&words, input).await {
            Ok((child, slot)) => return Ok((&self.link, child, slot)),
            Err(NoChild::Error(error)) => return Err(error),
            Err(NoChild::Full) => {}
        }
        let connect = || {
            tracing::debug!(
                "sshd allows no more sessions on a connection: opening another connection"
            );
            // Boxed, because it is rare and large.
            Box::pin(Link::connect(&self.options, self.limit, Login::MayAsk))
        };
        let spare = self.spare.get_or_try_init(connect).await?;
        match spare.spawn(&words, input).await {
            Ok((child, slot)) => Ok((spare, child, slot)),
            Err(NoChild::Error(error)) => Err(error),
            Err(NoChild::Full) => Err(spare.no_session()),
        }
    }
}

/// Waits for the exit code of a session.
async fn code(link: &Link, child: Child, doing: &str) -> Result<i32, HostError> {
    match child.wait().await {
        Ok(status) => Ok(status.code().unwrap_or(-1)),
        // The crate reports exit code 127 this way.
        Err(openssh::Error::Remote(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(COMMAND_NOT_FOUND)
        }
        Err(error) => Err(link.error(doing, &error)),
    }
}

impl Host for SshHost {
    async fn run(&self, command: &Argv, stdin: Stdin) -> Result<Output, HostError> {
        const DOING: &str = "running a command on the VPU";
        tracing::debug!(command = %command.to_display(), "session on the VPU");
        let feeder = stdin.into_payload().map(feed).transpose();
        let feeder = feeder.map_err(HostError::Payload)?;
        let (reader, feeder) = feeder.unzip();
        let input = reader.as_ref().map_or(Input::Nothing, Input::Pipe);
        let (link, mut child, _slot) = self.spawn(command, &input).await?;
        // As long as it is open, a payload whose reader died would block forever.
        drop(reader);
        let (stdout, stderr) = (child.stdout().take(), child.stderr().take());
        let outputs = read_outputs(stdout, stderr).await;
        // Only after all output is read: the exit code may arrive first, and taking it ends the
        // session with whatever the master has not passed on by then (seen on a busy machine).
        let code = code(link, child, DOING).await?;
        if let Some(task) = feeder {
            payload_error(task.await)?;
        }
        let (stdout, stderr) = outputs?;
        tracing::debug!(code, "a session ended");
        Ok(Output {
            code,
            stdout,
            stderr,
        })
    }

    async fn run_afresh(&self, command: &Argv, stdin: Stdin) -> Result<Output, HostError> {
        let link = Box::pin(Link::connect(
            &self.options,
            LOGIN_TIMEOUT,
            Login::AsksNothing,
        ))
        .await;
        let link = match link {
            Ok(link) => link,
            // Its password was typed, or its code: sshd answers, and this is all that can be told without a person.
            Err(HostError::Refused { .. }) if !asks_nothing() => {
                return self.run(command, stdin).await;
            }
            Err(error) => return Err(error),
        };
        let host = Self {
            options: self.options.clone(),
            limit: self.limit,
            link,
            spare: OnceCell::new(),
        };
        host.run(command, stdin).await
    }

    async fn hold(
        &self,
        command: &Argv,
        token: &str,
        said: &(dyn Fn(&str) + Sync),
    ) -> Result<Result<Held, Output>, HostError> {
        const DOING: &str = "starting a command on the VPU";
        let (link, mut child, slot) = self.spawn(command, &Input::Piped).await?;
        let stdin = child.stdin().take();
        let stderr = child.stderr().take();
        // Continuously: a login shell may print more than a pipe holds.
        let stderr = tokio::spawn(async move {
            match stderr {
                Some(pipe) => read_bounded(pipe).await.unwrap_or_default(),
                None => vec![],
            }
        });
        if let (Some(stdin), Some(stdout)) = (stdin, child.stdout().take()) {
            let mut stdout = BufReader::new(stdout);
            if held::is_ready(&mut stdout, token, said).await {
                // Dropping stdin ends the command; dropping the child would kill it now.
                return Ok(Ok(Held::over(token, stdin, stdout, (child, slot.held()))));
            }
        }
        Ok(Err(Output {
            code: code(link, child, DOING).await?,
            stdout: vec![],
            stderr: stderr.await.unwrap_or_default(),
        }))
    }

    async fn dial(&self, command: &Argv) -> Result<Box<dyn ByteStream>, HostError> {
        tracing::debug!(command = %command.to_display(), "session on the VPU: a stream");
        let (_, mut child, slot) = self.spawn(command, &Input::Piped).await?;
        let (stdin, stdout) = (child.stdin().take(), child.stdout().take());
        if let Some(mut stderr) = child.stderr().take() {
            // Unread messages would block the command when the pipe is full.
            tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
        }
        let (stdout, stdin) = stdout.zip(stdin).ok_or_else(no_pipes)?;
        Ok(Box::new(Dialled::new(stdout, stdin, (child, slot))))
    }

    async fn connect(&self, port: u16) -> Result<Box<dyn ByteStream>, HostError> {
        let path = self.link.forward(port).await?;
        let stream = tokio::net::UnixStream::connect(&path)
            .await
            .map_err(|error| HostError::Transport {
                doing: format!("connecting to port {port} of the VPU"),
                reason: error.to_string(),
            })?;
        Ok(Box::new(stream))
    }

    async fn forbids_connecting(&self) -> bool {
        let start = Instant::now();
        loop {
            let words = self.link.words();
            if words.contains("open failed: administratively prohibited") {
                return true;
            }
            if words.contains("open failed: connect failed") || start.elapsed() > FORWARD_WORD {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
