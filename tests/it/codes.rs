//! The codes of blocked resources, notes, findings and errors:
//! their reference, and a check that a test provokes each.

use std::{collections::BTreeSet, fmt::Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use o3r_deploy::internal::{
    commands::ErrorCode,
    manifest::FindingCode,
    plan::{BlockCode, NoteCode},
};

use crate::committed::is_current;

/// A table of the reference: names and meanings.
type Table = Vec<(&'static str, String)>;

fn table<C: Copy>(
    codes: &[C],
    name: fn(C) -> &'static str,
    meaning: impl Fn(C) -> String,
) -> Table {
    codes
        .iter()
        .map(|code| (name(*code), meaning(*code)))
        .collect()
}

fn blocked() -> Table {
    table(BlockCode::ALL, BlockCode::name, |c| c.meaning().to_owned())
}

fn notes() -> Table {
    table(NoteCode::ALL, NoteCode::name, |c| c.meaning().to_owned())
}

fn findings() -> Table {
    table(FindingCode::ALL, FindingCode::name, |c| {
        c.meaning().to_owned()
    })
}

fn errors() -> Table {
    table(ErrorCode::ALL, ErrorCode::name, |code| {
        format!("{} Exit code {}.", code.meaning(), code.exit() as u8)
    })
}

fn reference() -> String {
    let mut page = "# Codes\n\n\
        Errors, blocked resources, notes and findings have codes, which stay the same when the messages change. Text output shows \
        a code after `code:` or in brackets, JSON as `code`. This page is generated from the program's tables by \
        `tests/run.sh bless-local`.\n"
        .to_owned();
    for (title, what, table) in [
        (
            "Errors",
            "A command that fails has one of these codes, and its exit code.",
            errors(),
        ),
        (
            "Blocked resources",
            "In a plan. While a resource is blocked, `apply` does nothing (exit code 9).",
            blocked(),
        ),
        ("Notes", "In a plan. They change nothing.", notes()),
        (
            "Findings",
            "In a manifest or the files that it names. `check` and every command that reads a manifest report them.",
            findings(),
        ),
    ] {
        let _ = writeln!(
            page,
            "\n## {title}\n\n{what}\n\n| code | meaning |\n|---|---|"
        );
        for (name, meaning) in table {
            let _ = writeln!(page, "| `{name}` | {} |", meaning.replace('|', "\\|"));
        }
    }
    page
}

#[test]
fn reference_is_current() {
    is_current("docs/errors.md", &reference());
}

#[test]
fn names_are_words_joined_by_hyphens_and_unique() {
    for table in [blocked(), notes(), findings(), errors()] {
        let names: BTreeSet<&str> = table.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), table.len());
        for (name, meaning) in &table {
            let is_word = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(name.chars().all(is_word), "{name}");
            assert!(meaning.ends_with('.') && meaning.len() > 20, "{name}");
        }
    }
}

/// Codes that no test can provoke, and why.
const NOT_PROVOKED: &[(&str, &str)] = &[(
    "unsound-plan",
    "a fault of the program itself; what it checks, `plan::lint`, has tests of its own",
)];

/// The codes that the tests expect, in their sources, snapshots and transcripts: as text and JSON
/// show them, or as `BlockCode::PortTaken`.
fn expected() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    let mut folders = vec![Utf8PathBuf::from("tests"), Utf8PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir_utf8().expect("a folder of the project") {
            let path = entry.expect("a file of the project").into_path();
            if path.is_dir() {
                folders.push(path);
            } else if is_expectation(&path) {
                let text = fs_err::read_to_string(&path).expect("UTF-8");
                let is_source = path.starts_with("src") && path.extension() == Some("rs");
                let tests = match text.split_once("#[cfg(test)]\nmod tests") {
                    Some((_, tests)) => tests,
                    None if is_source => "",
                    None => &text,
                };
                let is_text = path.extension() != Some("rs");
                tests
                    .lines()
                    .for_each(|line| shown(line, is_text, &mut codes));
            }
        }
    }
    codes
}

fn is_expectation(path: &Utf8Path) -> bool {
    match path.extension() {
        Some("rs") => path.file_name() != Some("codes.rs"),
        Some("snap" | "trycmd" | "stderr") => true,
        _ => false,
    }
}

/// Collects the codes of a line; `is_text` for output of the program, as opposed to a source.
fn shown(line: &str, is_text: bool, codes: &mut BTreeSet<String>) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == ':';
    for (start, _) in line.match_indices(is_name) {
        let (before, rest) = line.split_at(start);
        if before.ends_with(is_name) {
            continue;
        }
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let is_shown = (before.ends_with('[') && after.starts_with(']'))
            || before.ends_with("code: ")
            || before.ends_with("\"code\": \"")
            || before.ends_with("Error: ")
            || before.ends_with("Warning: ")
            || (is_text && line.trim() == name)
            || name.contains("Code::");
        if is_shown {
            let mut path = name.rsplit("::");
            let variant = path.next().unwrap_or_default();
            codes.insert(match path.next() {
                Some(kind) => format!("{kind}::{variant}"),
                None => variant.to_owned(),
            });
        }
    }
}

#[test]
fn every_code_is_provoked_by_a_test() {
    let expected = expected();
    let excused: BTreeSet<&str> = NOT_PROVOKED.iter().map(|(name, _)| *name).collect();
    let tables = [
        ("BlockCode", blocked()),
        ("NoteCode", notes()),
        ("FindingCode", findings()),
        ("ErrorCode", errors()),
    ];
    let names = |(_, table): &(&str, Table)| table.iter().map(|(name, _)| *name).collect();
    let names: Vec<Vec<&str>> = tables.iter().map(names).collect();
    let is_ambiguous = |name| names.iter().filter(|names| names.contains(&name)).count() > 1;
    let mut missing = vec![];
    for (kind, table) in tables {
        for (name, _) in table {
            // The name alone does not say which table it belongs to.
            let is_shown = expected.contains(name) && !is_ambiguous(name);
            let is_expected = is_shown || expected.contains(&format!("{kind}::{}", variant(name)));
            if !is_expected && !excused.contains(name) {
                missing.push(format!("{kind} {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// `port-taken` as `PortTaken`.
fn variant(name: &str) -> String {
    let words = name.split('-');
    words
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect()
}
