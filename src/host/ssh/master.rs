//! Runs the ssh process of a connection, and ends it with all its helper processes.

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, getpgrp, kill_process, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Child,
    task::JoinHandle,
    time::Instant,
};

use super::client::asks_nothing;
use crate::surroundings::program;
use crate::{host::HostError, nonce::nonce};

/// Starts ssh, and ends it when stdin closes, which happens however this process ends. With
/// `terminal` as first argument, ignores the signals that a terminal sends to all its processes: we
/// handle Ctrl-C, and the connection must outlive it. (A separate process group would have the same
/// effect, but then ssh could not ask for a password.)
const GUARD: &str = r#"
[ "$1" = terminal ] && trap '' INT QUIT HUP
shift
exec 3<&0
"$@" </dev/null 3<&- &
ssh=$!
{ cat <&3 >/dev/null; kill "$ssh"; } 2>/dev/null &
exec 3<&- </dev/null
wait "$ssh"
"#;

/// The environment variable that marks all processes of a connection, including proxies.
const MARK: &str = "O3R_DEPLOY_CONNECTION";

/// The most bytes of ssh's messages that are kept, from their end.
const WORDS_LIMIT: usize = 64 << 10;

/// The interval at which the socket is checked.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long to wait for ssh's last messages after it ended: a proxy may keep the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// An ssh process. Dropping it ends it with its proxies.
pub(super) struct Master {
    child: Child,
    words: Words,
    /// Its process group, if it has its own.
    group: Option<Pid>,
    mark: String,
}

/// Why there is no connection.
pub(super) enum Ended {
    /// ssh ended with this exit code.
    Exited(Option<i32>),
    /// It neither ended nor logged in within the limit.
    TimedOut,
}

impl Master {
    /// Starts `ssh ARGUMENTS…`.
    pub(super) fn start(arguments: &[String]) -> Result<Self, HostError> {
        let has_terminal = !asks_nothing();
        let mark = nonce();
        let mut sh = program("sh");
        sh.args(["-c", GUARD, "ssh"])
            .arg(if has_terminal { "terminal" } else { "alone" })
            .arg("ssh")
            .args(arguments)
            .env(MARK, &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if !has_terminal {
            sh.process_group(0);
        }
        let mut child = sh.spawn().map_err(|source| HostError::Start {
            program: "ssh".into(),
            source,
        })?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self {
            words: Words::of(child.stderr.take()),
            group: pid.filter(|_| !has_terminal),
            child,
            mark,
        })
    }

    /// Waits until ssh accepts sessions at `control`.
    pub(super) async fn ready(&mut self, control: &Path, limit: Duration) -> Result<(), Ended> {
        let end = Instant::now() + limit;
        while !control.exists() {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.words.end(LAST_WORDS).await;
                return Err(Ended::Exited(status.code()));
            }
            if Instant::now() > end {
                return Err(Ended::TimedOut);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// ssh's messages so far.
    pub(super) fn words(&self) -> String {
        self.words.text()
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let said = self.words();
        if !said.trim().is_empty() {
            tracing::debug!(said = %said.trim().escape_debug(), "ssh ends");
        }
        drop(self.child.stdin.take());
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        } else {
            for process in marked(&self.mark) {
                let _ = kill_process(process, Signal::KILL);
            }
        }
    }
}

/// A process's messages, read continuously so that it never blocks.
struct Words {
    kept: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Words {
    fn of(pipe: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&kept);
        let reader = tokio::spawn(async move {
            let Some(mut pipe) = pipe else { return };
            let mut piece = vec![0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut piece).await {
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                all.extend_from_slice(&piece[..count]);
                let surplus = all.len().saturating_sub(WORDS_LIMIT);
                all.drain(..surplus);
            }
        });
        Self { kept, reader }
    }

    async fn end(&mut self, limit: Duration) {
        let _ = tokio::time::timeout(limit, &mut self.reader).await;
    }

    fn text(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Returns the marked processes of our process group. A process that left the group is meant to
/// outlive us, such as a master that the user's `ControlPersist` keeps on a jump host.
fn marked(mark: &str) -> Vec<Pid> {
    let ours = getpgrp().as_raw_nonzero().get();
    let variable = format!("{MARK}={mark}");
    let is_marked = |directory: &Path| {
        let environment = fs_err::read(directory.join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|one| one == variable.as_bytes())
    };
    let group_of = |directory: &Path| {
        let stat = fs_err::read_to_string(directory.join("stat")).ok()?;
        // PID (NAME) STATE PARENT GROUP …; NAME may contain any characters.
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(2)?.parse::<i32>().ok()
    };
    let Ok(processes) = fs_err::read_dir("/proc") else {
        return vec![];
    };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let path = entry.path();
            (group_of(&path) == Some(ours) && is_marked(&path)).then(|| Pid::from_raw(pid))?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_end_of_endless_messages_is_kept() {
        let text = b"0123456789abcdef".repeat(2 * WORDS_LIMIT / 16);
        let mut words = Words::of(Some(std::io::Cursor::new([&text[..], b"end"].concat())));
        words.end(Duration::from_secs(10)).await;
        let kept = words.text();
        assert_eq!(kept.len(), WORDS_LIMIT);
        assert!(kept.ends_with("end"));
    }
}
