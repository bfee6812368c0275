//! Findings in a manifest, with a code, labelled places and a help line.

use std::{fmt, ops::Range, sync::Arc};

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::FindingCode;

/// The maximum number of findings that one document reports.
const MAX_FINDINGS: usize = 100;

/// A document's name and text, shared by all findings in it.
#[derive(Debug, Clone)]
pub struct Source(Arc<NamedSource<String>>);

impl Source {
    /// Creates a document with the name by which findings refer to it.
    pub fn new(name: &str, text: String) -> Self {
        Self(Arc::new(NamedSource::new(name, text)))
    }

    /// Returns the name, as given by the user.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        self.0.inner()
    }

    /// Returns the line and column of a byte offset, both from 1, the column in characters.
    pub fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let text = self.text();
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        let line = before.split(|&b| b == b'\n').count();
        // Counts the bytes that start a character.
        let column = 1 + before[line_start..]
            .iter()
            .filter(|&&b| b & 0xC0 != 0x80)
            .count();
        (line, column)
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.text() == other.text()
    }
}

impl Eq for Source {}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The manifest cannot be used.
    Error,
    /// It can be used, but may not do what its author intends.
    Warning,
}

/// A place in the document, with a text that explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The byte range in the document.
    pub span: Range<usize>,
    /// The explanation.
    pub text: String,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The kind of finding.
    pub code: FindingCode,
    /// The severity.
    pub severity: Severity,
    /// What is wrong, in lower case without a full stop.
    pub message: String,
    /// The JSON pointer of the key that it is about; empty for the document.
    pub pointer: String,
    /// The places; the first one is the place of the finding.
    pub labels: Vec<Label>,
    /// What to type next.
    pub help: Option<String>,
    /// The document.
    pub source: Source,
}

impl Diagnostic {
    /// Creates an error without a place.
    pub fn error(code: FindingCode, source: &Source, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            pointer: String::new(),
            labels: Vec::new(),
            help: None,
            source: source.clone(),
        }
    }

    /// Turns it into a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Sets the key that it is about.
    #[must_use]
    pub fn at(mut self, pointer: &str) -> Self {
        pointer.clone_into(&mut self.pointer);
        self
    }

    /// Adds a labelled place.
    #[must_use]
    pub fn label(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.labels.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    /// Sets what to type next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Returns the line and column of the first label, from
    /// 1; the document's start if there is none.
    pub fn line_and_column(&self) -> (usize, usize) {
        self.source.line_and_column(self.offset())
    }

    /// Whether it makes the manifest unusable.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    fn offset(&self) -> usize {
        self.labels.first().map_or(0, |label| label.span.start)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source.0)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let text = self.source.text();
        Some(Box::new(self.labels.iter().map(|label| {
            LabeledSpan::new_with_span(Some(label.text.clone()), first_line(text, &label.span))
        })))
    }
}

/// Returns the part of a span on its first line: a label
/// over a whole table would hide what is around it.
fn first_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = span.start.min(text.len());
    let end = span.end.min(text.len()).max(start);
    let length = text.as_bytes()[start..end]
        .iter()
        .position(|&b| b == b'\n' || b == b'\r')
        .unwrap_or(end - start);
    start..start + length
}

/// The format of `check --format json`.
impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (line, column) = self.line_and_column();
        let mut object = serializer.serialize_struct("Diagnostic", 8)?;
        object.serialize_field("code", self.code.name())?;
        object.serialize_field("severity", &self.severity)?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("pointer", &self.pointer)?;
        object.serialize_field("file", self.source.name())?;
        object.serialize_field("line", &line)?;
        object.serialize_field("column", &column)?;
        object.serialize_field("help", &self.help)?;
        object.end()
    }
}

/// All findings in a manifest and in the files next to it, ordered by place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics {
    findings: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Orders findings by place, errors before warnings at the same place, and removes duplicates.
    pub fn new(mut findings: Vec<Diagnostic>) -> Self {
        findings.sort_by(|a, b| {
            (
                a.source.name(),
                a.offset(),
                a.severity,
                a.code.name(),
                &a.message,
            )
                .cmp(&(
                    b.source.name(),
                    b.offset(),
                    b.severity,
                    b.code.name(),
                    &b.message,
                ))
        });
        findings.dedup();
        // Errors matter more, so warnings are dropped first if there are too many.
        if findings.len() > MAX_FINDINGS {
            findings.sort_by_key(|finding| finding.severity);
            findings.truncate(MAX_FINDINGS);
        }
        Self { findings }
    }

    /// Returns the findings.
    pub fn as_slice(&self) -> &[Diagnostic] {
        &self.findings
    }

    /// Converts into the findings.
    pub fn into_vec(self) -> Vec<Diagnostic> {
        self.findings
    }

    /// Whether there are no findings.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether any finding makes the manifest unusable.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Diagnostic::is_error)
    }

    /// Renders all findings one below the other, without colours, `width` columns wide.
    pub fn render_plain(&self, width: usize) -> String {
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
            .with_width(width)
            .with_links(false);
        let mut rendered = String::new();
        for finding in &self.findings {
            // Writing to a string fails only if the report itself fails.
            if handler.render_report(&mut rendered, finding).is_err() {
                rendered.push_str(&finding.message);
            }
            rendered.push('\n');
        }
        // Guides end in blanks, which editors and git strip.
        rendered
            .lines()
            .flat_map(|line| [line.trim_end(), "\n"])
            .collect()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self
            .findings
            .iter()
            .filter(|finding| finding.is_error())
            .count();
        let warnings = self.findings.len() - errors;
        let count = |number: usize, word: &str| {
            (number > 0).then(|| format!("{number} {word}{}", if number == 1 { "" } else { "s" }))
        };
        let counts: Vec<String> = [count(errors, "error"), count(warnings, "warning")]
            .into_iter()
            .flatten()
            .collect();
        let mut names: Vec<&str> = self.findings.iter().map(|f| f.source.name()).collect();
        names.dedup();
        match names.as_slice() {
            [] => f.write_str("the manifest has no findings"),
            [name] => write!(f, "{name} has {}", counts.join(" and ")),
            names => write!(f, "{} have {}", names.join(" and "), counts.join(" and ")),
        }
    }
}

impl std::error::Error for Diagnostics {}

/// A report whose related reports are the findings.
impl miette::Diagnostic for Diagnostics {
    fn severity(&self) -> Option<miette::Severity> {
        Some(if self.has_errors() {
            miette::Severity::Error
        } else {
            miette::Severity::Warning
        })
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        Some(Box::new(
            self.findings
                .iter()
                .map(|finding| finding as &dyn miette::Diagnostic),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let source = Source::new("deploy.toml", "aé\nbü = 1\n".to_owned());
        assert_eq!(source.line_and_column(0), (1, 1));
        assert_eq!(source.line_and_column(4), (2, 1));
        assert_eq!(source.line_and_column(7), (2, 3));
        assert_eq!(source.line_and_column(999), (3, 1));
    }
}
