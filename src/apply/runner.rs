//! Runs commands on the VPU while it holds the lock.

use std::time::Duration;

use super::watchdog::Watching;
use crate::{
    host::{Held, Host, HostError, Output, Stdin},
    remote::{self, How},
    shell::Argv,
};

/// The exit code of a command that was killed.
const KILLED: i32 = 137;

/// How long after that it shows that the lock was lost, too.
const ENDS_WITH: Duration = Duration::from_secs(2);

/// How long to wait for a host that may be gone.
const IS_THERE: Duration = Duration::from_secs(10);

/// A host on which commands run only while the lock is held: the VPU checks it before each command.
pub(super) struct Runner<'a, H> {
    pub(super) host: &'a H,
    /// `None` if no other client can exist, as in tests.
    pub(super) lock: Option<&'a Held>,
}

impl<H: Host> Runner<'_, H> {
    /// Runs one command. On the VPU it runs to its end even if the link breaks. `begins` is the step that it begins, for
    /// the watchdog.
    pub(super) async fn run(
        &self,
        how: How,
        begins: Option<(usize, &Watching)>,
        command: &Argv,
        stdin: Stdin,
    ) -> Result<Output, HostError> {
        let Some(lock) = self.lock else {
            return self.host.run(command, stdin).await;
        };
        let token = lock.token();
        let begins = begins.map(|(step, watching)| (step, watching.mark.as_str()));
        let guarded = remote::run(token, how, begins, command);
        let running = self.host.run(&guarded, stdin);
        self.guarded(lock, running).await
    }

    /// Runs one command over a connection of its own.
    pub(super) async fn run_afresh(&self, command: &Argv) -> Result<Output, HostError> {
        let Some(lock) = self.lock else {
            return self.host.run_afresh(command, Stdin::Empty).await;
        };
        let guarded = remote::run(lock.token(), How::Works, None, command);
        let running = self.host.run_afresh(&guarded, Stdin::Empty);
        self.guarded(lock, running).await
    }

    /// Waits for a guarded command while the lock is held.
    async fn guarded(
        &self,
        lock: &Held,
        running: impl Future<Output = Result<Output, HostError>>,
    ) -> Result<Output, HostError> {
        let token = lock.token();
        let output = tokio::select! {
            biased;
            output = running => output?,
            () = lock.lost() => return Err(self.why_lost().await),
        };
        let lost = format!("{token} lost");
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.code == remote::LOST && stderr.lines().any(|line| line == lost) {
            return Err(HostError::LockLost);
        }
        // Who takes the lock kills what still runs under it.
        let killed = output.code == KILLED;
        if killed && tokio::time::timeout(ENDS_WITH, lock.lost()).await.is_ok() {
            return Err(self.why_lost().await);
        }
        Ok(output)
    }

    /// The lock ends with the link, too.
    async fn why_lost(&self) -> HostError {
        let nothing = Argv::new("true");
        let asked = self.host.run(&nothing, Stdin::Empty);
        match tokio::time::timeout(IS_THERE, asked).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => HostError::LockLost,
        }
    }
}
