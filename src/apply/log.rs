//! Writes the log of an apply: every command with its exit code, duration and output's end.

use std::{
    fmt::Display,
    io::Write as _,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use camino::{Utf8Path, Utf8PathBuf};

use crate::host::Output;

/// Lines of each command's output that are kept.
const TAIL_LINES: usize = 40;

/// A log file, or nothing where none can be written.
#[derive(Debug)]
pub struct Log {
    file: Option<Mutex<fs_err::File>>,
    path: Utf8PathBuf,
}

impl Log {
    /// Creates `<directory>/<time>.log`.
    pub fn create(directory: &Utf8Path, now: SystemTime) -> std::io::Result<Self> {
        fs_err::create_dir_all(directory)?;
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
        })
    }

    /// A log that keeps nothing.
    pub fn none() -> Self {
        Self {
            file: None,
            path: Utf8PathBuf::new(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Adds a line.
    pub fn line(&self, text: &str) {
        let Some(Ok(mut file)) = self.file.as_ref().map(Mutex::lock) else {
            return;
        };
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        if let Err(error) = writeln!(file, "{time} {text}") {
            tracing::warn!(%error, "cannot write the log");
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
