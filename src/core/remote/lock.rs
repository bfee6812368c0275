//! Builds the commands that take the VPU's lock and that run others only while it is held.

use crate::shell::Argv;

/// The exit code of [`lock`] when another apply has it (`EX_TEMPFAIL`).
pub const LOCKED: i32 = 75;

/// The exit code of [`lock`] when a process of a dead apply does not end.
pub const LEFTOVER: i32 = 76;

/// The exit code of [`run`] when the lock was lost; it then says `TOKEN lost` on stderr.
pub const LOST: i32 = 77;

pub use crate::shell::RUN_NAME;

/// How long [`lock`] waits for that: a container may take 10 seconds to stop; this is several.
const LEFTOVER_SECONDS: u32 = 60;

/// The most characters of a command that are shown.
const DISPLAY_LIMIT: usize = 200;

/// How the VPU's lock is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Only if it is free and no process of a dead apply runs.
    Try,
    /// If it is free; waits for the processes of a dead apply.
    Wait,
    /// As `Wait`, from the holder with this token, if it still has it.
    Take(String),
    /// From any holder; waits for images that are being loaded.
    Break,
}

/// Who takes the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// A unique word of `a-z0-9-`.
    pub token: String,
    /// The client's process and machine, on one line.
    pub client: String,
    /// Who applies and when, as members of a JSON object.
    pub who: String,
    /// Seconds without a line on stdin after which the lock ends. A busy link delays a line by what is buffered before
    /// it: some megabytes, at 100 kB/s.
    pub silence: u32,
}

/// Holds the VPU's lock.
pub fn lock(holder: &Holder, claim: &Claim) -> Argv {
    let (word, patience) = match claim {
        Claim::Try => ("keep".to_owned(), 0),
        Claim::Wait => ("keep".to_owned(), LEFTOVER_SECONDS),
        Claim::Take(token) => (format!("take:{token}"), LEFTOVER_SECONDS),
        Claim::Break => ("break".to_owned(), LEFTOVER_SECONDS),
    };
    lock_program()
        .args([&holder.token, &holder.client, &holder.who, &word])
        .arg(patience.to_string())
        .arg(holder.silence.to_string())
}

/// [`lock`] without its arguments.
pub fn lock_program() -> Argv {
    let script = concat!(
        include_str!("flush-images.sh"),
        include_str!("forget-unfinished.sh"),
        include_str!("process-start.sh"),
        include_str!("lock.sh")
    );
    Argv::script(script, "o3r-lock", [] as [&str; 0])
}

/// What the next apply does with a command that outlives this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It reads from the link, or changes nothing: it is killed.
    Brings,
    /// It reads little and then works: it is waited for, then killed.
    Reads,
    /// It works on its own: it is waited for.
    Works,
    /// It loads an image that has arrived: it is waited for longer.
    Loads,
}

impl How {
    fn word(self) -> &'static str {
        match self {
            Self::Brings => "brings",
            Self::Reads => "reads",
            Self::Works => "works",
            Self::Loads => "loads",
        }
    }
}

/// Runs a command if the lock has this token; to its end, even if the client is gone. `begins` is the number of the step
/// that it begins and the file that notes it for the watchdog, see [`super::mark`].
pub fn run(token: &str, how: How, begins: Option<(usize, &str)>, command: &Argv) -> Argv {
    let display: String = command.to_display().chars().take(DISPLAY_LIMIT).collect();
    let display = display.replace(|c: char| c.is_control(), " ");
    let id = format!("{}:{token}", how.word());
    let begins = begins.map(|(step, file)| format!("{step} {file}"));
    let words = [id, display, begins.unwrap_or_default()];
    Argv::script(include_str!("run.sh"), RUN_NAME, words).args(command.words().iter().cloned())
}
