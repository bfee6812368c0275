//! Renders changes of files: a few of many, the rest as counts.

use std::{collections::BTreeMap, fmt::Write as _};

use anstyle::AnsiColor;

use super::{
    text::{BELOW, Style, below, paint},
    wrap::line,
};
use crate::plan::{Address, Change, ChangeKind, Step};
use o3r_core::names::escape;

/// Unified text diffs, by step and path of the change.
pub type Details = BTreeMap<(Address, String), String>;

/// The number of changes shown of a step with many; `-v` shows all.
const FEW: usize = 10;

/// Renders the changes of a step.
pub(super) fn changes(out: &mut String, step: &Step, style: Style, details: &Details) {
    // A resource that is a single file has no list, at most a diff.
    let listed = step.changes.iter().filter(|change| !change.path.is_empty());
    let listed: Vec<&Change> = listed.collect();
    let shown = if style.verbose || listed.len() <= FEW + 1 {
        listed.len()
    } else {
        FEW
    };
    for change in &listed[..shown] {
        let (sign, word, color) = match change.change {
            ChangeKind::Added => ("+", "add", AnsiColor::Green),
            ChangeKind::Changed | ChangeKind::Mode => ("~", "change", AnsiColor::Yellow),
            ChangeKind::Deleted => ("-", "delete", AnsiColor::Red),
        };
        let sign = paint(style.color, color.on_default(), sign);
        let mut what = format!("{sign} {word:<6} {}", escape(&change.path));
        let is_mode = change.change == ChangeKind::Mode;
        // A changed content is shown as a diff, or only its digests are known.
        if let (Some(found), Some(wanted)) = (&change.found, &change.wanted)
            && (is_mode || style.verbose)
        {
            let mode = if is_mode { "mode " } else { "" };
            let _ = write!(what, "  ({mode}{} -> {})", escape(found), escape(wanted));
        }
        line(out, style, BELOW + 2, &below(&what));
        diff(out, step, &change.path, style, details);
    }
    if shown < listed.len() {
        let rest = &listed[shown..];
        let more = format!("and {} more: {}", number(rest.len()), counts(rest));
        line(out, style, BELOW, &below(&more));
    }
    // The diff of a resource that is a single file.
    diff(out, step, "", style, details);
}

/// Whether a diff of a step's single file is shown.
pub(super) fn has_diff(step: &Step, details: &Details) -> bool {
    details.contains_key(&(step.address.clone(), String::new()))
}

/// The number of lines shown of a diff; `-v` shows all.
const FEW_LINES: usize = 30;

fn diff(out: &mut String, step: &Step, path: &str, style: Style, details: &Details) {
    let key = (step.address.clone(), path.to_owned());
    let diff = details.get(&key).map(String::as_str).unwrap_or_default();
    let count = diff.lines().count();
    let shown = if style.verbose || count <= FEW_LINES + 1 {
        count
    } else {
        FEW_LINES
    };
    for line in diff.lines().take(shown) {
        let color = match line.as_bytes().first() {
            Some(b'+') => Some(AnsiColor::Green),
            Some(b'-') => Some(AnsiColor::Red),
            Some(b'@') => Some(AnsiColor::Cyan),
            _ => None,
        };
        // A file's content must not move the cursor; tabs are harmless.
        let line = line.split('\t').map(escape).collect::<Vec<_>>().join("\t");
        let line = match color {
            Some(color) => paint(style.color, color.on_default(), &line),
            None => line,
        };
        let _ = writeln!(out, "{}", below(&format!("    {line}")));
    }
    if shown < count {
        let more = format!("    and {} more lines: -v", number(count - shown));
        let _ = writeln!(out, "{}", below(&more));
    }
}

/// Formats `9,000 added, 990 changed`.
fn counts(changes: &[&Change]) -> String {
    let kinds = [
        (ChangeKind::Added, "added"),
        (ChangeKind::Changed, "changed"),
        (ChangeKind::Mode, "with other permissions"),
        (ChangeKind::Deleted, "deleted"),
    ];
    let counts = kinds.iter().filter_map(|(kind, name)| {
        let count = changes
            .iter()
            .filter(|change| change.change == *kind)
            .count();
        (count > 0).then(|| format!("{} {name}", number(count)))
    });
    counts.collect::<Vec<_>>().join(", ")
}

/// Formats `12,345`.
fn number(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_groups_of_three() {
        for (count, want) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(number(count), want);
        }
    }
}
