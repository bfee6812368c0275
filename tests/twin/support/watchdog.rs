//! Ends a program that hangs, and says what all processes of this machine, and so of its twins,
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

/// More than any program takes that a test runs.
const LIMIT: Duration = Duration::from_secs(200);

/// Less than nextest gives a test.
const OF_TEST: Duration = Duration::from_secs(280);

/// When the first program was started: with nextest a test has a process of its own.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Over a program that runs; dropped when it has ended.
pub(crate) struct Watchdog(#[expect(dead_code, reason = "dropping it is what tells")] Sender<()>);

impl Watchdog {
    /// Watches a process: it and its descendants are killed after [`LIMIT`], or when [`OF_TEST`] is over.
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

/// Not by a macro: what those print is kept until the test ends, which a hang may prevent.
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
        // May wait for a process that hangs in the kernel: therefore the last.
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
    /// Pid, parent, state and the function of the kernel that it waits in.
    shown: String,
}

/// All processes, by number: nearly always parents before their children. Threads of the kernel are left out.
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
