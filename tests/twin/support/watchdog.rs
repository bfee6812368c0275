//! Ends a program that hangs, and says what all processes of this machine, and so of its twins,
//! were doing then.

use std::{
    collections::HashSet,
    fmt::Write as _,
    fs,
    io::Write as _,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    time::Duration,
};

/// More than any program takes that a test runs, and less than nextest gives a test.
const LIMIT: Duration = Duration::from_secs(200);

/// Over a program that runs; dropped when it has ended.
pub(crate) struct Watchdog(#[expect(dead_code, reason = "dropping it is what tells")] Sender<()>);

impl Watchdog {
    /// Watches a process: it and its descendants are killed after [`LIMIT`].
    pub(crate) fn over(pid: u32) -> Self {
        let (sender, ended) = channel();
        std::thread::spawn(move || {
            if ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                bark(pid);
            }
        });
        Self(sender)
    }
}

fn bark(pid: u32) {
    let processes = processes();
    let mut text = format!("{pid} hangs and is killed; all processes:\n");
    let mut tree = HashSet::from([pid]);
    for process in &processes {
        let Process {
            pid,
            parent,
            state,
            waits,
            command,
        } = process;
        let _ = writeln!(text, "{pid:>7} {parent:>7} {state} {waits:<24} {command}");
        if tree.contains(parent) {
            tree.insert(*pid);
        }
    }
    // Not by a macro: what those print is kept until the test ends, which a hang may prevent.
    let _ = std::io::stderr().write_all(text.as_bytes());
    for pid in tree {
        let _ = std::process::Command::new("kill")
            .args(["-s", "KILL", &pid.to_string()])
            .status();
    }
}

struct Process {
    pid: u32,
    parent: u32,
    state: String,
    /// The function of the kernel that it waits in.
    waits: String,
    command: String,
}

/// All processes, by number: nearly always parents before their children.
fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut all: Vec<Process> = pids.filter_map(process).collect();
    all.sort_by_key(|process| process.pid);
    all
}

fn process(pid: u32) -> Option<Process> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
    let stat = read("stat").ok()?;
    let (_, stat) = stat.rsplit_once(") ")?;
    let mut words = stat.split(' ');
    let (state, parent) = (words.next()?, words.next()?);
    let command = read("cmdline").ok()?;
    // Threads of the kernel have none.
    (!command.is_empty()).then(|| Process {
        pid,
        parent: parent.parse().unwrap_or(0),
        state: state.to_owned(),
        waits: read("wchan").unwrap_or_default(),
        command: command.replace('\0', " "),
    })
}
