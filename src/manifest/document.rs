//! Reads a TOML document against a schema: bytes to text,
//! text to a tree, reporting all findings at once.

use std::collections::BTreeSet;

use serde_json::Value;
use toml::de::DeTable;

use super::{
    FindingCode,
    diagnostics::{Diagnostic, Source},
    interpolate::interpolate,
    names::{escape, is_unprintable},
    schema::Document,
    spans::{self, SpanMap},
    validate,
    variables::Variables,
};

/// The maximum size in bytes: a larger file is not a manifest.
const MAX_BYTES: usize = 1 << 20;

/// The maximum length of a line in bytes: a report that
/// points into a longer one cannot be laid out.
const MAX_LINE_BYTES: usize = 8 << 10;

/// The number of findings above which the meaning is not checked.
const MAX_PRUNED: usize = 50;

/// The result of reading a document.
#[derive(Debug)]
pub(super) struct Read {
    /// The document without its invalid parts, if the rest is still valid.
    pub(super) value: Option<Value>,
    /// The places of its keys and values.
    pub(super) spans: SpanMap,
    /// Its name and text.
    pub(super) source: Source,
    /// The findings.
    pub(super) findings: Vec<Diagnostic>,
}

/// Returns the tree of a document, as far as it can be read.
pub(super) fn tree(bytes: &[u8]) -> Value {
    let Ok((text, source)) = decode("", bytes) else {
        return Value::Null;
    };
    let (table, _) = DeTable::parse_recoverable(text);
    spans::convert(table.get_ref(), &source).value
}

/// Reads as much as possible, and replaces variables. `prepare` may change the tree first.
pub(super) fn read(
    document: Document,
    name: &str,
    bytes: &[u8],
    variables: &Variables<'_>,
    prepare: impl FnOnce(&mut Value),
) -> Read {
    let (text, source) = match decode(name, bytes) {
        Ok(decoded) => decoded,
        Err((source, findings)) => {
            return Read {
                value: None,
                spans: SpanMap::default(),
                source,
                findings,
            };
        }
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let tree = spans::convert(table.get_ref(), &source);
    let (mut value, mut spans) = (tree.value, tree.spans);
    prepare(&mut value);
    let mut findings = tree.findings;
    findings.extend(interpolate(&mut value, variables, &spans, &source));
    let refused: BTreeSet<String> = findings
        .iter()
        .map(|finding| finding.pointer.clone())
        .collect();
    let invalid = validate::validate(document, &value, &spans, &source);
    findings.extend(
        invalid
            .into_iter()
            .filter(|finding| !refused.contains(&finding.pointer)),
    );

    // In a document with syntax errors, the parsed part is reliable only above the first error, and
    // a missing key may follow below it.
    let first_break = errors
        .iter()
        .filter_map(toml::de::Error::span)
        .map(|span| span.start)
        .min();
    if let Some(first_break) = first_break {
        findings.retain(|finding| {
            finding.code != FindingCode::MissingKey
                && finding
                    .labels
                    .iter()
                    .all(|label| label.span.end <= first_break)
        });
    }
    findings.extend(
        without_consequences(document, &errors, source.text())
            .into_iter()
            .map(|error| syntax_finding(document, error, &spans, &source)),
    );
    let is_hopeless = !errors.is_empty() || findings.len() > MAX_PRUNED;
    let is_whole = !is_hopeless && validate::prune(document, &mut value, &mut spans);
    Read {
        value: is_whole.then_some(value),
        spans,
        source,
        findings,
    }
}

/// Decodes the document, and returns it with the text to show: of the same length in bytes, without
/// characters that would move the cursor.
fn decode<'a>(name: &str, bytes: &'a [u8]) -> Result<(&'a str, Source), (Source, Vec<Diagnostic>)> {
    if bytes.len() > MAX_BYTES {
        let source = Source::new(name, String::new());
        let message = format!(
            "the file has {} bytes, far more than a manifest",
            bytes.len()
        );
        let finding = Diagnostic::error(FindingCode::TooLarge, &source, message)
            .help("name the right file with `-f FILE`");
        return Err((source, vec![finding]));
    }
    let mut lines = bytes.split(|&byte| byte == b'\n');
    if let Some(line) = lines.position(|line| line.len() > MAX_LINE_BYTES) {
        let source = Source::new(name, String::new());
        let message = format!("line {} is longer than {MAX_LINE_BYTES} bytes", line + 1);
        let finding = Diagnostic::error(FindingCode::TooLarge, &source, message)
            .help("break it, or name the right file with `-f FILE`");
        return Err((source, vec![finding]));
    }
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let source = Source::new(name, printable(&String::from_utf8_lossy(bytes)));
            let at = error.valid_up_to();
            let byte = bytes.get(at).copied().unwrap_or_default();
            let finding =
                Diagnostic::error(FindingCode::Encoding, &source, "the file is not UTF-8")
                    .label(
                        at..at + char::REPLACEMENT_CHARACTER.len_utf8(),
                        format!("byte 0x{byte:02x}"),
                    )
                    .help("save the file as UTF-8");
            return Err((source, vec![finding]));
        }
    };
    let source = Source::new(name, printable(text));
    let controls: Vec<Diagnostic> = text
        .char_indices()
        .filter(|(_, c)| c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r'))
        .map(|(at, c)| {
            let message = format!(
                "the file contains the control character U+{:04X}",
                u32::from(c)
            );
            Diagnostic::error(FindingCode::ControlCharacter, &source, message)
                .label(at..at + 1, "here")
                .help("remove it, or write it as an escape in a string in double quotes")
        })
        .collect();
    if controls.is_empty() {
        Ok((text, source))
    } else {
        Err((source, controls))
    }
}

/// Replaces every character that would move the cursor by replacements of the same length in bytes.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\t' | '\n' => shown.push(c),
            '\r' if chars.peek() == Some(&'\n') => shown.push(' '),
            c if is_unprintable(c) && c.len_utf8() == char::REPLACEMENT_CHARACTER.len_utf8() => {
                shown.push(char::REPLACEMENT_CHARACTER);
            }
            c if is_unprintable(c) => shown.extend(std::iter::repeat_n('?', c.len_utf8())),
            c => shown.push(c),
        }
    }
    shown
}

fn syntax_finding(
    document: Document,
    error: &toml::de::Error,
    spans: &SpanMap,
    source: &Source,
) -> Diagnostic {
    const CODE: FindingCode = FindingCode::Syntax;
    let text = source.text();
    let span = error.span().unwrap_or(text.len()..text.len());
    let key = text
        .get(span.clone())
        .filter(|_| error.message() == "duplicate key");
    if let Some(key) = key {
        let before = text.get(..span.start).unwrap_or_default();
        let header = before.rsplit('\n').next().unwrap_or_default().trim();
        let help = if header.starts_with('[') && validate::is_table_list(document, key) {
            format!("write `[[{key}]]`, once for each")
        } else {
            "remove one of the two".to_owned()
        };
        let finding = Diagnostic::error(CODE, source, format!("`{}` is given twice", escape(key)))
            .label(span.clone(), "given again here")
            .help(help);
        return match spans.last_key_before(span.start, key, text) {
            Some(first) => finding.label(first, "given here"),
            None => finding,
        };
    }
    let (message, wanted) = match error.message().split_once(", expected ") {
        Some((message, wanted)) => (message, Some(wanted).filter(|wanted| *wanted != "nothing")),
        None => (error.message(), None),
    };
    let finding = Diagnostic::error(CODE, source, escape(message)).label(span.clone(), "here");
    if message == "unexpected leading zero" {
        return match quoted_number(text, span.start) {
            Some(line) => finding.help(format!("write it in quotes: `{}`", escape(&line))),
            None => finding.help("remove the zero, or write it in quotes where text is expected"),
        };
    }
    match wanted {
        Some("literal string") if text.get(span).is_some_and(is_like_a_boolean) => {
            finding.help("write `true` or `false`; text needs quotes")
        }
        // The parser's "literal string" is one in single quotes; double quotes are valid as well.
        Some("literal string") => finding.help("write text in quotes: \"…\""),
        Some(wanted) => finding.help(format!("expected {}", escape(wanted))),
        None => finding,
    }
}

/// Returns the errors without keys that are duplicates only because the table around them is: that one
/// should be `[[…]]`, and says so.
fn without_consequences<'a>(
    document: Document,
    errors: &'a [toml::de::Error],
    text: &str,
) -> Vec<&'a toml::de::Error> {
    let headers: Vec<usize> = text.match_indices("\n[").map(|(at, _)| at + 1).collect();
    let place = |error: &toml::de::Error| {
        let span = error
            .span()
            .filter(|_| error.message() == "duplicate key")?;
        let last = headers
            .partition_point(|&header| header < span.start)
            .checked_sub(1)?;
        let above = text.get(*headers.get(last)?..span.start)?;
        let is_header = !above.contains('\n');
        Some((last, is_header, text.get(span)?))
    };
    let given_twice: BTreeSet<usize> = errors
        .iter()
        .filter_map(place)
        .filter(|(_, is_header, key)| *is_header && validate::is_table_list(document, key))
        .map(|(header, ..)| header)
        .collect();
    let follows = |error: &toml::de::Error| {
        place(error)
            .is_some_and(|(header, is_header, _)| !is_header && given_twice.contains(&header))
    };
    errors.iter().filter(|error| !follows(error)).collect()
}

/// Whether the text is a boolean in another spelling or in YAML's.
fn is_like_a_boolean(text: &str) -> bool {
    let words = ["yes", "no", "on", "off", "true", "false"];
    words.contains(&text.trim().to_lowercase().as_str())
}

/// Returns the number at a byte offset with its key, as text:
/// `mode = "0775"`; `None` if the key takes an integer.
fn quoted_number(text: &str, at: usize) -> Option<String> {
    let (before, number) = text.split_at_checked(at)?;
    let key = before.trim_end().strip_suffix('=')?.trim_end();
    let key = key.rsplit([' ', '\t', '\n', '{', ',']).next()?;
    let number: String = number.chars().take_while(char::is_ascii_digit).collect();
    let is_text = matches!(key, "mode" | "serial") && !number.is_empty();
    is_text.then(|| format!("{key} = \"{number}\""))
}
