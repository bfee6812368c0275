//! Extracts docker-compose's warnings from the output of successful commands, which would otherwise only be in the log.

use std::{collections::BTreeSet, sync::Mutex};

use crate::{
    host::Output,
    plan::{Command, Note},
    redact::redact_words,
    shell::Argv,
};

/// The most warnings that one apply shows.
const WARNINGS: usize = 20;

/// The most characters of a warning.
const LENGTH: usize = 300;

/// The beginnings of docker-compose's progress lines: without a terminal, nothing else tells them from warnings.
const PROGRESS: &[&str] = &[
    "Attaching ",
    "Creating ",
    "Found orphan containers ",
    "Killing ",
    "Pausing ",
    "Pulling ",
    "Recreating ",
    "Removing ",
    "Restarting ",
    "Starting ",
    "Stopping ",
    "Unpausing ",
];

/// The warnings of an apply, each once.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    told: Mutex<BTreeSet<String>>,
    notes: Vec<Note>,
}

impl Warnings {
    /// Leaves out what the plan's notes say already.
    pub(super) fn beside(notes: &[Note]) -> Self {
        Self {
            notes: notes.to_vec(),
            ..Self::default()
        }
    }

    /// The new warnings of a command.
    pub(super) fn new_of(&self, command: &Command, output: &Output) -> Vec<String> {
        let mut known = match self.told.lock() {
            Ok(known) => known,
            Err(poisoned) => poisoned.into_inner(),
        };
        let stderr = String::from_utf8_lossy(&output.stderr);
        let mut new = vec![];
        let plain = without_colours(&stderr);
        let lines = plain.split(['\n', '\r']);
        for line in lines.filter_map(|line| warning(command, line)) {
            let line: String = redact_words(line).chars().take(LENGTH).collect();
            let is_noted = self.notes.iter().any(|note| note.text.contains(&line));
            if is_noted || known.len() > WARNINGS || known.contains(&line) {
                continue;
            }
            known.insert(line.clone());
            new.push(if known.len() > WARNINGS {
                "the log has more warnings".to_owned()
            } else {
                line
            });
        }
        new
    }
}

/// Removes terminal control sequences: docker-compose 1.25 writes them even without a terminal.
pub(super) fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic());
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    plain + rest
}

/// Whether the command runs docker-compose.
fn is_composed(argv: &Argv) -> bool {
    match argv.script_name() {
        Some("o3r-in") => argv.words().iter().any(|word| word == "docker-compose"),
        name => name == Some("o3r-recreate"),
    }
}

/// Whether a line of docker-compose's says what it does.
pub(super) fn is_progress(line: &str) -> bool {
    PROGRESS.iter().any(|word| line.starts_with(word))
        || line.ends_with(" is up-to-date")
        || line.ends_with(" ... done")
}

/// The warning in a line, if it is one.
fn warning<'a>(command: &Command, line: &'a str) -> Option<&'a str> {
    let line = line.trim_end();
    if let Some(said) = line.strip_prefix("WARNING: ") {
        return Some(said);
    }
    let is_composed = match command.argv.in_turn() {
        Some(commands) => commands.iter().any(is_composed),
        None => is_composed(&command.argv),
    };
    // What Python says of libraries begins with a path, and continues indented.
    let is_of_python = line.starts_with(['/', ' ', '\t']);
    let is_warning = is_composed && !line.is_empty() && !is_of_python && !is_progress(line);
    is_warning.then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::NoteCode, remote};

    fn said(command: Argv, stderr: &str, warnings: &Warnings) -> Vec<String> {
        let output = Output {
            code: 0,
            stdout: b"app\n".to_vec(),
            stderr: stderr.as_bytes().to_vec(),
        };
        warnings.new_of(&Command::new(command), &output)
    }

    #[test]
    fn warnings_are_told_from_progress_and_each_is_said_once() {
        let warnings = Warnings::default();
        let up = || remote::compose("app", ["up", "-d"]);
        let stderr = "The ROBOT variable is not set. Defaulting to a blank string.\n\
            /usr/lib/python3/x.py:12: DeprecationWarning: old\n  import old\n\
            Creating network \"app_default\" with the default driver\n\
            Creating app_web_1 ... \r\nCreating app_web_1 ... done\n\
            \u{1b}[2A\u{1b}[2K\rRecreating 73ed_app_web_1 ... \u{1b}[32mdone\u{1b}[0m\r\u{1b}[2B\n\
            app_db_1 is up-to-date\n\n\
            Volume s: label \"a\" has changed. It may need to be recreated. password=hunter2 http://me:hunter2@host/\n\
            WARNING: The ROBOT variable is not set. Defaulting to a blank string.\n";
        let expected = [
            "The ROBOT variable is not set. Defaulting to a blank string.",
            "Volume s: label \"a\" has changed. It may need to be recreated. password=*** http://***@host/",
        ];
        assert_eq!(said(up(), stderr, &warnings), expected);
        assert_eq!(said(up(), stderr, &warnings), Vec::<String>::new());
        let noted = Warnings::beside(&[Note::new(
            NoteCode::ComposeWarning,
            format!("compose.app: {}", expected[0]),
        )]);
        assert_eq!(said(up(), stderr, &noted), expected[1..]);
        // Other programs say what they do in their own way.
        let load = || Argv::new("docker").args(["load"]);
        assert_eq!(said(load(), "anything\n", &warnings), Vec::<String>::new());
        assert_eq!(said(load(), "WARNING: old\n", &warnings), ["old"]);
    }

    #[test]
    fn warnings_have_limits() {
        let warnings = Warnings::default();
        let lines = (0..100).map(|n| format!("warning {n} {}", "x".repeat(1000)));
        let many = lines.collect::<Vec<_>>().join("\n");
        let said = said(remote::compose("app", ["up"]), &many, &warnings);
        assert_eq!(said.len(), WARNINGS + 1);
        assert!(said.iter().all(|line| line.len() <= LENGTH));
        assert!(said[WARNINGS].contains("the log has more"));
    }
}
