//! Reads a manifest: bytes to text, text to a document, a document to types, all findings at once.

use std::{collections::BTreeSet, io};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::{
    Manifest,
    diagnostics::{Diagnostic, Diagnostics, Source},
    interpolate::interpolate,
    meaning,
    names::{ReleaseVersion, escape, is_unprintable},
    spans::{self, SpanMap},
    validate,
};

/// No manifest is larger; whatever is, is some other file.
const MAX_BYTES: usize = 1 << 20;

/// Nobody reads a longer line, and a report that points into one cannot be laid out.
const MAX_LINE_BYTES: usize = 8 << 10;

/// A manifest with everything that later stages need to point into it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What it says.
    pub manifest: Manifest,
    /// The path it was read from, as given.
    pub path: Utf8PathBuf,
    /// Its name and text.
    pub source: Source,
    /// The SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// Where everything stands in it.
    pub spans: SpanMap,
    /// Findings that do not make it unusable.
    pub warnings: Vec<Diagnostic>,
}

impl Loaded {
    /// The directory that the manifest's relative paths start from.
    pub fn base(&self) -> &Utf8Path {
        match self.path.parent() {
            Some(parent) if !parent.as_str().is_empty() => parent,
            _ => Utf8Path::new("."),
        }
    }

    /// The line of a key, counted from 1, or of the closest table around it that was written.
    pub fn line(&self, pointer: &str) -> Option<usize> {
        let span = self.spans.key(pointer);
        (span != (0..0)).then(|| self.source.line_and_column(span.start).0)
    }

    /// Where a key stands, as `deploy.toml:12`.
    pub fn place(&self, pointer: &str) -> String {
        match self.line(pointer) {
            Some(line) => format!("{}:{line}", self.source.name()),
            None => self.source.name().to_owned(),
        }
    }

    /// An error at a key's value.
    pub fn diagnostic(
        &self,
        pointer: &str,
        code: &'static str,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic::error(code, &self.source, message)
            .at(pointer)
            .label(self.spans.value(pointer), label)
            .help(help)
    }
}

/// With more findings than this nobody misses those about the meaning.
const MAX_PRUNED: usize = 50;

/// What the command line says beside the manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Overrides `release.version`.
    pub release_version: Option<ReleaseVersion>,
}

/// Why a manifest could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file was read, and at least one finding is an error.
    #[error(transparent)]
    Invalid(Diagnostics),
}

impl LoadError {
    /// The next thing to type.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("name the manifest with `-f FILE`")
            }
            Self::Read { .. } | Self::Invalid(_) => None,
        }
    }
}

/// Reads a manifest and checks its syntax, its keys and its meaning, local files included.
///
/// # Errors
/// The file cannot be read, or there are findings that make it unusable; then all are reported.
pub fn load(path: &Utf8Path) -> Result<Loaded, LoadError> {
    load_with(path, &Options::default())
}

/// Reads a manifest as [`load`] does, with what the command line says beside it.
///
/// # Errors
/// Those of [`load`].
pub fn load_with(path: &Utf8Path, options: &Options) -> Result<Loaded, LoadError> {
    let bytes = fs_err::read(path).map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })?;
    check(path.as_str(), &bytes, options, &meaning::Disk).map_err(LoadError::Invalid)
}

/// Checks everything about a manifest, its local files seen through `files`.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn check(
    name: &str,
    bytes: &[u8],
    options: &Options,
    files: &dyn meaning::LocalFiles,
) -> Result<Loaded, Diagnostics> {
    let (loaded, mut findings) = read(name, bytes, options);
    if let Some(loaded) = &loaded {
        findings.extend(meaning::check(loaded, files));
    }
    finish(loaded, findings)
}

/// Parses a manifest without looking at its meaning or at any other file.
///
/// # Errors
/// All findings in its bytes, its syntax and its keys.
pub fn parse(source_name: &str, text: &[u8]) -> Result<Loaded, Diagnostics> {
    let (loaded, findings) = read(source_name, text, &Options::default());
    finish(loaded, findings)
}

fn finish(loaded: Option<Loaded>, findings: Vec<Diagnostic>) -> Result<Loaded, Diagnostics> {
    let diagnostics = Diagnostics::new(findings);
    match loaded {
        Some(loaded) if !diagnostics.has_errors() => Ok(Loaded {
            warnings: diagnostics.into_vec(),
            ..loaded
        }),
        _ => Err(diagnostics),
    }
}

/// Reads what can be read: the findings, and the manifest without what they are about, as far as
/// it is still one.
fn read(name: &str, bytes: &[u8], options: &Options) -> (Option<Loaded>, Vec<Diagnostic>) {
    let (text, source) = match decode(name, bytes) {
        Ok(decoded) => decoded,
        Err(findings) => return (None, findings),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let tree = spans::convert(table.get_ref(), &source);
    let (mut value, mut spans) = (tree.value, tree.spans);
    if let Some(version) = &options.release_version {
        set_version(&mut value, version);
    }
    let mut findings = tree.findings;
    findings.extend(interpolate(&mut value, &spans, &source));
    let refused: BTreeSet<String> = findings
        .iter()
        .map(|finding| finding.pointer.clone())
        .collect();
    let invalid = validate::validate(&value, &spans, &source);
    findings.extend(
        invalid
            .into_iter()
            .filter(|finding| !refused.contains(&finding.pointer)),
    );

    // What the parser made of a broken document is only sure above the first break, and what is
    // missing there may stand below.
    let first_break = errors
        .iter()
        .filter_map(toml::de::Error::span)
        .map(|span| span.start)
        .min();
    if let Some(first_break) = first_break {
        findings.retain(|finding| {
            finding.code != "o3r::manifest::missing_key"
                && finding
                    .labels
                    .iter()
                    .all(|label| label.span.end <= first_break)
        });
    }
    findings.extend(
        errors
            .iter()
            .map(|error| syntax_finding(error, &spans, &source)),
    );
    let is_hopeless = !errors.is_empty() || findings.len() > MAX_PRUNED;
    if is_hopeless || !validate::prune(&mut value, &mut spans) {
        return (None, findings);
    }
    match serde_json::from_value::<Manifest>(value) {
        Ok(manifest) => {
            let loaded = Loaded {
                manifest,
                path: name.into(),
                source,
                sha256: hex(&Sha256::digest(bytes)),
                spans,
                warnings: Vec::new(),
            };
            (Some(loaded), findings)
        }
        Err(error) => {
            // The schema allows nothing that the types refuse; should it, this is better than a panic.
            findings.push(
                Diagnostic::error("o3r::manifest::wrong_value", &source, error.to_string())
                    .help("please report this: the schema let it pass"),
            );
            (None, findings)
        }
    }
}

/// The document as text, and as it is shown: the same bytes long, without characters that would
/// move the cursor.
fn decode<'a>(name: &str, bytes: &'a [u8]) -> Result<(&'a str, Source), Vec<Diagnostic>> {
    if bytes.len() > MAX_BYTES {
        let source = Source::new(name, String::new());
        let message = format!(
            "the file has {} bytes, far more than a manifest",
            bytes.len()
        );
        return Err(vec![
            Diagnostic::error("o3r::manifest::too_large", &source, message)
                .help("name the right file with `-f FILE`"),
        ]);
    }
    let mut lines = bytes.split(|&byte| byte == b'\n');
    if let Some(line) = lines.position(|line| line.len() > MAX_LINE_BYTES) {
        let source = Source::new(name, String::new());
        let message = format!("line {} is longer than {MAX_LINE_BYTES} bytes", line + 1);
        return Err(vec![
            Diagnostic::error("o3r::manifest::too_large", &source, message)
                .help("break it, or name the right file with `-f FILE`"),
        ]);
    }
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let source = Source::new(name, printable(&String::from_utf8_lossy(bytes)));
            let at = error.valid_up_to();
            let byte = bytes.get(at).copied().unwrap_or_default();
            return Err(vec![
                Diagnostic::error("o3r::manifest::encoding", &source, "the file is not UTF-8")
                    .label(
                        at..at + char::REPLACEMENT_CHARACTER.len_utf8(),
                        format!("byte 0x{byte:02x}"),
                    )
                    .help("save the file as UTF-8"),
            ]);
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
            Diagnostic::error("o3r::manifest::control_character", &source, message)
                .label(at..at + 1, "here")
                .help("remove it; in a string in double quotes it is written as an escape")
        })
        .collect();
    if controls.is_empty() {
        Ok((text, source))
    } else {
        Err(controls)
    }
}

/// Replaces every character that would move the cursor by something as many bytes long.
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

fn syntax_finding(error: &toml::de::Error, spans: &SpanMap, source: &Source) -> Diagnostic {
    const CODE: &str = "o3r::manifest::syntax";
    let text = source.text();
    let span = error.span().unwrap_or(text.len()..text.len());
    let key = text
        .get(span.clone())
        .filter(|_| error.message() == "duplicate key");
    if let Some(key) = key {
        let finding = Diagnostic::error(CODE, source, format!("`{}` is given twice", escape(key)))
            .label(span.clone(), "given again here")
            .help("remove one of the two");
        return match spans.last_key_before(span.start, key, text) {
            Some(first) => finding.label(first, "given here"),
            None => finding,
        };
    }
    let (message, wanted) = match error.message().split_once(", expected ") {
        Some((message, wanted)) => (message, Some(wanted).filter(|wanted| *wanted != "nothing")),
        None => (error.message(), None),
    };
    let finding = Diagnostic::error(CODE, source, escape(message)).label(span, "here");
    match wanted {
        // What the parser calls a literal string is one in single quotes; both kinds will do.
        Some("literal string") => finding.help("write text in quotes: \"…\""),
        Some(wanted) => finding.help(format!("expected {}", escape(wanted))),
        None => finding,
    }
}

fn set_version(value: &mut Value, version: &ReleaseVersion) {
    let Value::Object(root) = value else { return };
    let release = root
        .entry("release")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(release) = release {
        release.insert("version".to_owned(), Value::String(version.to_string()));
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
