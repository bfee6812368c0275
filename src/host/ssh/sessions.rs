//! Runs commands as sessions of the master connection, and forwards ports by it.

use std::{os::fd::OwnedFd, sync::Arc};

use tokio::io::BufReader;

use super::{
    super::{
        ByteStream, Held, Host, HostError, Output, Stdin, chain, feed, held, payload_error,
        read_bounded, read_outputs,
    },
    SshHost,
};
use crate::shell::Argv;

impl SshHost {
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

    async fn hold(
        &self,
        command: &Argv,
        token: &str,
        said: &(dyn Fn(&str) + Sync),
    ) -> Result<Result<Held, Output>, HostError> {
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
        let stderr = child.stderr().take();
        // All the time: what a login shell prints may be more than a pipe takes.
        let stderr = tokio::spawn(async move {
            match stderr {
                Some(pipe) => read_bounded(pipe).await.unwrap_or_default(),
                None => vec![],
            }
        });
        if let (Some(stdin), Some(stdout)) = (stdin, child.stdout().take()) {
            let mut stdout = BufReader::new(stdout);
            if held::is_ready(&mut stdout, token, said).await {
                // Dropping stdin is what ends the command; dropping the child would end it now.
                return Ok(Ok(Held::over(token, stdin, stdout, child)));
            }
        }
        let status = child
            .wait()
            .await
            .map_err(|error| self.error(DOING, &error))?;
        Ok(Err(Output {
            code: status.code().unwrap_or(-1),
            stdout: vec![],
            stderr: stderr.await.unwrap_or_default(),
        }))
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
