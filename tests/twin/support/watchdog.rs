//! Ends a program that hangs, and reports what all processes of this machine, including its twins',
//! were doing then.

use std::{
    collections::HashSet,
    fs,
    io::Write as _,
    sync::{
        LazyLock,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

/// The time limit of a program, longer than any that a test runs takes.
const LIMIT: Duration = Duration::from_secs(200);

/// The time limit of a test, shorter than nextest's.
const OF_TEST: Duration = Duration::from_secs(280);

/// The time when the first program was started: with nextest, each test is a process.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Watches a running program; dropped when it has ended.
pub(crate) struct Watchdog(#[expect(dead_code, reason = "dropping it is what tells")] Sender<()>);

impl Watchdog {
    /// Watches a process: it and its descendants are killed
    /// after [`LIMIT`], or when [`OF_TEST`] is over.
    pub(crate) fn over(pid: u32) -> Self {
        let left = OF_TEST.saturating_sub(START.elapsed());
        let limit = LIMIT.min(left.max(Duration::from_secs(10)));
        let (sender, ended) = channel();
        std::thread::spawn(move || {
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                bark(pid);
            }
        });
        Self(sender)
    }
}

/// Not by a macro: the output of macros is captured until the test ends, which a hang may prevent.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn bark(pid: u32) {
    say(&format!("{pid} hangs and is killed; all processes:\n"));
    let mut tree = HashSet::from([pid]);
    for Process { pid, parent, shown } in processes() {
        if tree.contains(&parent) {
            tree.insert(pid);
        }
        say(&shown);
        // Last, because it may wait for a process that hangs in the kernel.
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        say(&format!(" {}\n", command.replace('\0', " ")));
    }
    for pid in tree {
        let _ = std::process::Command::new("kill")
            .args(["-s", "KILL", &pid.to_string()])
            .status();
    }
}

struct Process {
    pid: u32,
    parent: u32,
    /// Process ID, parent, state and the kernel function that it waits in.
    shown: String,
}

/// Returns all processes by ID, nearly always parents
/// before their children, without kernel threads.
fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut all: Vec<Process> = pids.filter_map(process).collect();
    all.sort_by_key(|process| process.pid);
    all
}

fn process(pid: u32) -> Option<Process> {
    const KERNEL_THREADS: u32 = 2;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, stat) = stat.rsplit_once(") ")?;
    let mut words = stat.split(' ');
    let (state, parent) = (words.next()?, words.next()?.parse().ok()?);
    let waits = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    (parent != KERNEL_THREADS).then(|| Process {
        pid,
        parent,
        shown: format!("{pid:>7} {parent:>7} {state} {waits:<24}"),
    })
}
