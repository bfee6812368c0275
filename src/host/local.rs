//! Runs commands on this machine with a given shell and environment.

use std::{ffi::OsString, os::fd::OwnedFd, os::unix::process::ExitStatusExt as _, process::Stdio};

use super::{
    ByteStream, Dialled, Held, Host, HostError, Output, Stdin, feed, held, no_pipes, payload_error,
    read_bounded, read_outputs,
};
use crate::shell::Argv;
use crate::surroundings::program;

/// This machine as a host: used if the tool runs on the VPU itself, and to test the scripts with
/// every shell that a VPU may have.
#[derive(Debug, Clone)]
pub struct LocalHost {
    shell: Vec<OsString>,
    env: Option<Vec<(OsString, OsString)>>,
}

impl Default for LocalHost {
    fn default() -> Self {
        Self {
            shell: vec!["sh".into()],
            env: None,
        }
    }
}

impl LocalHost {
    /// A host whose login shell is `shell`, e.g. `["busybox", "sh"]`.
    pub fn with_shell<S: Into<OsString>>(shell: impl IntoIterator<Item = S>) -> Self {
        Self {
            shell: shell.into_iter().map(Into::into).collect(),
            env: None,
        }
    }

    /// Replaces the whole environment.
    #[must_use]
    pub fn with_env<K: Into<OsString>, V: Into<OsString>>(
        mut self,
        env: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.env = Some(
            env.into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        );
        self
    }

    fn command(&self, argv: &Argv) -> tokio::process::Command {
        let mut command = program(&self.shell[0]);
        command
            .args(&self.shell[1..])
            .arg("-c")
            .arg(argv.to_shell());
        if let Some(env) = &self.env {
            command
                .env_clear()
                .envs(env.iter().map(|(key, value)| (key, value)));
        }
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn start_error(&self, source: std::io::Error) -> HostError {
        HostError::Start {
            program: self.shell[0].to_string_lossy().into_owned(),
            source,
        }
    }
}

impl Host for LocalHost {
    async fn run(&self, command: &Argv, stdin: Stdin) -> Result<Output, HostError> {
        let mut process = self.command(command);
        let feeder = match stdin.into_payload() {
            None => {
                process.stdin(Stdio::null());
                None
            }
            Some(payload) => {
                let (reader, task) = feed(payload).map_err(HostError::Payload)?;
                process.stdin(OwnedFd::from(reader));
                Some(task)
            }
        };
        let mut child = process.spawn().map_err(|error| self.start_error(error))?;
        drop(process);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (outputs, status) = tokio::join!(read_outputs(stdout, stderr), child.wait());
        if let Some(task) = feeder {
            payload_error(task.await)?;
        }
        let status = status.map_err(|error| self.start_error(error))?;
        let code = status
            .code()
            .or(status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1);
        let (stdout, stderr) = outputs?;
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
        let mut process = self.command(command);
        process.stdin(Stdio::piped()).kill_on_drop(false);
        let mut child = process.spawn().map_err(|error| self.start_error(error))?;
        let stdin = child.stdin.take();
        let stderr = child.stderr.take();
        let stderr = tokio::spawn(async move {
            match stderr {
                Some(pipe) => read_bounded(pipe).await.unwrap_or_default(),
                None => vec![],
            }
        });
        if let (Some(stdin), Some(stdout)) = (stdin, child.stdout.take()) {
            let mut stdout = tokio::io::BufReader::new(stdout);
            if held::is_ready(&mut stdout, token, said).await {
                return Ok(Ok(Held::over(token, stdin, stdout, child)));
            }
        }
        let status = child
            .wait()
            .await
            .map_err(|error| self.start_error(error))?;
        Ok(Err(Output {
            code: status.code().unwrap_or(-1),
            stdout: vec![],
            stderr: stderr.await.unwrap_or_default(),
        }))
    }

    async fn dial(&self, command: &Argv) -> Result<Box<dyn ByteStream>, HostError> {
        let mut process = self.command(command);
        process.stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = process.spawn().map_err(|error| self.start_error(error))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let pipes = stdout.zip(stdin).ok_or_else(no_pipes)?;
        Ok(Box::new(Dialled::new(pipes.0, pipes.1, child)))
    }

    async fn connect(&self, port: u16) -> Result<Box<dyn ByteStream>, HostError> {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(|error| HostError::Transport {
                doing: format!("connecting to port {port}"),
                reason: error.to_string(),
            })?;
        Ok(Box::new(stream))
    }
}
