//! Writes the log of an apply: every command with its exit code, duration and the end of its output.

use std::{
    fmt::Display,
    io::Write as _,
    os::unix::fs::DirBuilderExt as _,
    sync::{Mutex, OnceLock},
    time::{Duration, SystemTime},
};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err::os::unix::fs::OpenOptionsExt as _;

use crate::{host::Output, manifest::names::escape_lines};

/// Lines of each command's output that are kept.
const TAIL_LINES: usize = 100;

/// A log file, or nothing if none can be written.
#[derive(Debug)]
pub struct Log {
    file: Option<Mutex<fs_err::File>>,
    path: Utf8PathBuf,
    /// Why it is incomplete.
    failed: OnceLock<String>,
}

impl Log {
    /// Creates `<directory>/<time>.log`.
    pub fn create(directory: &Utf8Path, now: SystemTime) -> std::io::Result<Self> {
        // What runs on a robot, and how, is nobody else's business.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        // Colons are not allowed on file systems that people copy logs to.
        let time = humantime::format_rfc3339_seconds(now)
            .to_string()
            .replace(':', "-");
        let mut path = directory.join(format!("{time}.log"));
        let mut number = 1;
        let file = loop {
            match fs_err::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
            {
                Ok(file) => break file,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    number += 1;
                    path = directory.join(format!("{time}-{number}.log"));
                }
                Err(error) => return Err(error),
            }
        };
        Ok(Self {
            file: Some(Mutex::new(file)),
            path,
            failed: OnceLock::new(),
        })
    }

    #[cfg(test)]
    pub(crate) fn on_a_full_disk() -> Self {
        let mut options = fs_err::OpenOptions::new();
        Self {
            file: options.write(true).open("/dev/full").ok().map(Mutex::new),
            path: "/dev/full".into(),
            failed: OnceLock::new(),
        }
    }

    /// A log that writes nothing.
    pub fn none() -> Self {
        Self {
            file: None,
            path: Utf8PathBuf::new(),
            failed: OnceLock::new(),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Why it is incomplete, if it is: a full disk, for example.
    pub fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// Adds a line; indents further lines of the text, and escapes control characters that the VPU printed.
    pub fn line(&self, text: &str) {
        let Some(Ok(mut file)) = self.file.as_ref().map(Mutex::lock) else {
            return;
        };
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let text = escape_lines(text.trim_end()).replace('\n', "\n  | ");
        // In one piece, so that a line is whole or missing.
        if let Err(error) = file.write_all(format!("{time} {text}\n").as_bytes()) {
            let _ = self.failed.set(error.to_string());
        }
    }

    /// Adds a command that ran, or could not be run.
    pub fn command<E: Display>(&self, command: &str, took: Duration, result: &Result<Output, E>) {
        let seconds = took.as_secs_f64();
        match result {
            Ok(output) => {
                self.line(&format!(
                    "exit {} after {seconds:.3} s: {command}",
                    output.code
                ));
                for line in output.tail(TAIL_LINES).lines() {
                    self.line(&format!("  | {line}"));
                }
            }
            Err(error) => self.line(&format!("failed after {seconds:.3} s: {command}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_log_is_private_harmless_and_knows_when_it_is_not_whole() {
        let directory = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(directory.path()).unwrap().join("a/b");
        let log = Log::create(&directory, SystemTime::UNIX_EPOCH).unwrap();
        log.line("failed: \x1b[2J\x07\nsecond\tline\r\n");
        let output = Output {
            code: 1,
            stdout: vec![],
            stderr: b"\x1b]0;title\x07\n2026-11-28T00:00:00.000Z forged".to_vec(),
        };
        log.command::<std::io::Error>("do", Duration::ZERO, &Ok(output));
        let text = fs_err::read_to_string(log.path()).unwrap();
        assert!(!text.contains(['\x1b', '\x07', '\r']), "{text:?}");
        assert!(
            text.contains("\\u{1b}[2J") && text.contains("\n  | second\tline"),
            "{text}"
        );
        assert!(
            text.lines()
                .all(|line| line.starts_with("20") || line.starts_with("  | ")),
            "{text}"
        );
        assert!(
            !text.contains("\n2026-11-28T00:00:00.000Z forged"),
            "{text}"
        );
        let mode = |path: &Utf8Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(log.path()), mode(&directory)), (0o600, 0o700));
        assert_eq!(log.failure(), None);
        let full = Log::on_a_full_disk();
        full.line("lost");
        assert!(
            full.failure().unwrap().contains("No space left"),
            "{:?}",
            full.failure()
        );
    }
}
