//! Replaces `${release.version}` in the strings of a document.

use serde_json::Value;

use super::{
    diagnostics::{Diagnostic, Source, did_you_mean},
    names::escape,
    spans::{SpanMap, child},
};

/// How a variable of ours starts; any other `${…}` is left to whoever reads the string.
const START: &str = "${release.";

/// Replaces the variable everywhere but in `release.version` itself.
pub(super) fn interpolate(value: &mut Value, spans: &SpanMap, source: &Source) -> Vec<Diagnostic> {
    let version = value
        .pointer("/release/version")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let mut walk = Walk {
        version,
        spans,
        source,
        findings: Vec::new(),
    };
    walk.value(value, "");
    walk.findings
}

struct Walk<'a> {
    version: Option<String>,
    spans: &'a SpanMap,
    source: &'a Source,
    findings: Vec<Diagnostic>,
}

impl Walk<'_> {
    fn value(&mut self, value: &mut Value, pointer: &str) {
        match value {
            Value::String(text) if text.contains(START) && pointer != "/release/version" => {
                *text = self.text(text, pointer);
            }
            Value::Array(elements) => {
                for (index, element) in elements.iter_mut().enumerate() {
                    self.value(element, &format!("{pointer}/{index}"));
                }
            }
            Value::Object(object) => {
                for (key, value) in object.iter_mut() {
                    self.value(value, &child(pointer, key));
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str, pointer: &str) -> String {
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(START) {
            replaced.push_str(&rest[..at]);
            let name_and_rest = &rest[at + START.len()..];
            let name = name_and_rest.find('}').map(|end| &name_and_rest[..end]);
            match (name, &self.version) {
                (Some("version"), Some(version)) => replaced.push_str(version),
                (Some("version"), None) => self.finding(
                    pointer,
                    "`${release.version}` is not known".to_owned(),
                    "set `version` in [release], or give `--release-version`".to_owned(),
                ),
                (Some(name), _) => self.finding(
                    pointer,
                    format!("there is no variable `${{release.{}}}`", escape(name)),
                    match did_you_mean(name, ["version"]) {
                        Some(_) => "did you mean `${release.version}`?".to_owned(),
                        None => "the only variable is `${release.version}`".to_owned(),
                    },
                ),
                (None, _) => self.finding(
                    pointer,
                    "a variable does not close".to_owned(),
                    "write `${release.version}`".to_owned(),
                ),
            }
            let length = name.map_or(name_and_rest.len(), |name| name.len() + 1);
            rest = &name_and_rest[length..];
        }
        replaced.push_str(rest);
        replaced
    }

    fn finding(&mut self, pointer: &str, message: String, help: String) {
        self.findings.push(
            Diagnostic::error("o3r::manifest::unknown_variable", self.source, message)
                .at(pointer)
                .label(self.spans.value(pointer), "in this string")
                .help(help),
        );
    }
}
