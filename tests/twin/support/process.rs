//! Runs programs to their end or to a point, and keeps all of their output.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread::JoinHandle,
    time::Duration,
};

use super::watchdog::Watchdog;

/// Long enough for anything but a hang, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that ended.
pub(crate) struct Ran {
    /// Its exit code; if a signal ended it, 128 plus the signal, as in a shell.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    what: String,
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            stdout,
            stderr,
            what,
        } = self;
        write!(
            f,
            "{what}\nended with {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---"
        )
    }
}

impl Ran {
    fn new(command: &Command, status: ExitStatus, stdout: &[u8], stderr: &[u8]) -> Self {
        Self {
            code: status
                .code()
                .or_else(|| status.signal().map(|signal| 128 + signal)),
            stdout: String::from_utf8_lossy(stdout).into_owned(),
            stderr: String::from_utf8_lossy(stderr).into_owned(),
            what: format!("{command:?}"),
        }
    }

    /// Panics, showing all output, unless it ended with `code`.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert!(self.code == Some(code), "wanted exit code {code}: {self:?}");
        self
    }

    /// Panics, showing all output, unless the output contains
    /// this (ignoring line breaks and miette's margin).
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Self {
        let all = plain(&format!("{} {}", self.stdout, self.stderr));
        assert!(all.contains(&plain(text)), "wanted «{text}»: {self:?}");
        self
    }

    /// Panics, showing all output, if the output contains this.
    #[track_caller]
    pub(crate) fn says_not(&self, text: &str) -> &Self {
        let all = plain(&format!("{} {}", self.stdout, self.stderr));
        assert!(!all.contains(&plain(text)), "not wanted «{text}»: {self:?}");
        self
    }
}

/// Joins lines, without the margin of a wrapped report.
fn plain(text: &str) -> String {
    let words = text
        .split_whitespace()
        .filter(|word| *word != "│" && *word != "×");
    words.collect::<Vec<_>>().join(" ")
}

/// Runs a command without standard input to its end.
#[must_use]
pub(crate) fn run(command: &mut Command) -> Ran {
    feed(command, b"")
}

/// Runs a command that reads `input` to its end.
#[must_use]
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let _watchdog = Watchdog::over(child.id());
    // The output is small enough for its pipes while the input is written.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Ran::new(command, output.status, &output.stdout, &output.stderr)
}

/// Runs a command on its own terminal, on which `typed` is typed each time it shows `prompt`.
/// Everything that the terminal shows is returned as standard output.
#[must_use]
pub(crate) fn in_terminal(command: &Command, prompt: &str, typed: &str) -> Ran {
    let mut script = Command::new("script");
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    script.args([
        "--quiet",
        "--return",
        "--command",
        &line.join(" "),
        "/dev/null",
    ]);
    script.env_clear();
    for (name, value) in command.get_envs() {
        script.env(name, value.unwrap_or_default());
    }
    if let Some(directory) = command.get_current_dir() {
        script.current_dir(directory);
    }
    let mut child = script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{script:?}: {error}"));
    let _watchdog = Watchdog::over(child.id());
    let mut keyboard = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();
    let mut shown = vec![];
    let mut answered = 0;
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = screen.read(&mut chunk) {
        shown.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&shown);
        let prompts = text.matches(prompt).count();
        if prompts > answered {
            answered = prompts;
            let _ = keyboard.write_all(typed.as_bytes());
        }
    }
    drop(keyboard);
    let output = child.wait_with_output().unwrap();
    Ran::new(&script, output.status, &shown, &output.stderr)
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A running program.
pub(crate) struct Running {
    child: Child,
    _watchdog: Watchdog,
    lines: Receiver<String>,
    seen: String,
    stdout: JoinHandle<String>,
    what: String,
}

impl Running {
    /// Starts a command without standard input.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut pipe = child.stdout.take().unwrap();
        let stdout = std::thread::spawn(move || {
            let mut text = vec![];
            let _ = pipe.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self {
            _watchdog: Watchdog::over(child.id()),
            child,
            lines,
            seen: String::new(),
            stdout,
            what: format!("{command:?}"),
        }
    }

    #[must_use]
    /// Waits until it prints a line with `text` on standard error; returns false if it ends before.
    pub(crate) fn wait_for(&mut self, text: &str) -> bool {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                return false;
            };
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(text) {
                return true;
            }
        }
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        run(Command::new("kill").args(["-s", name, &pid])).exits(0);
    }

    /// Returns the maximum memory that it used until it ended, in kilobytes.
    pub(crate) fn peak_memory(&mut self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let mut peak = 0;
        while self.child.try_wait().unwrap().is_none() {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let words = line.map(|line| line.trim().trim_end_matches(" kB"));
            peak = words.and_then(|word| word.parse().ok()).unwrap_or(peak);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        peak
    }

    /// Waits for its end.
    #[must_use]
    pub(crate) fn finish(mut self) -> Ran {
        let status = self.child.wait().unwrap();
        let stdout = self.stdout.join().unwrap();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        Ran {
            code: status
                .code()
                .or_else(|| status.signal().map(|signal| 128 + signal)),
            stdout,
            stderr: self.seen,
            what: self.what,
        }
    }
}
