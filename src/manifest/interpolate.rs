//! Replaces `${release.version}` in the strings of a document.

use serde_json::Value;

use super::{
    FindingCode,
    diagnostics::{Diagnostic, Source},
    names::{ReleaseVersion, escape},
    spans::{SpanMap, child},
};
use crate::closest::did_you_mean;

/// The start of a variable of a manifest; any other `${…}` is left to the reader of the string.
const START: &str = "${release.";

/// The value of `${release.version}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Version {
    /// A valid version.
    Known(String),
    /// No version is given.
    Missing,
    /// The version is invalid, which has its own finding.
    Wrong,
}

impl Version {
    /// Returns the version of a manifest.
    pub(super) fn of(manifest: &Value) -> Self {
        match manifest.pointer("/release/version") {
            None => Self::Missing,
            Some(Value::String(text)) if text.parse::<ReleaseVersion>().is_ok() => {
                Self::Known(text.clone())
            }
            Some(_) => Self::Wrong,
        }
    }
}

/// Replaces an invalid version in strings, so that it causes no further findings.
const PLACEHOLDER: &str = "0";

/// Replaces the variable in every string except `release.version` itself.
pub(super) fn interpolate(
    value: &mut Value,
    version: &Version,
    spans: &SpanMap,
    source: &Source,
) -> Vec<Diagnostic> {
    let mut walk = Walk {
        version,
        spans,
        source,
        findings: Vec::new(),
    };
    walk.value(value, "");
    walk.findings
}

/// Returns the name of the first variable, `version` in `app:${version}`, of a string whose variables are
/// replaced: one that is left does not exist.
pub(super) fn unknown_variable(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("${")?;
    let (name, _) = after.split_once('}')?;
    Some(name)
}

/// The message about a variable that does not exist.
pub(super) fn no_variable(name: &str) -> String {
    format!("there is no variable `${{{}}}`", escape(name))
}

/// The help for a variable that does not exist.
pub(super) fn help_for_variable(name: &str) -> String {
    let is_meant = did_you_mean(name, ["version", "release.version"]).is_some();
    if is_meant {
        "did you mean `${release.version}`?".to_owned()
    } else {
        "the only variable is `${release.version}`".to_owned()
    }
}

struct Walk<'a> {
    version: &'a Version,
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
            match (name, self.version) {
                (Some("version"), Version::Known(version)) => replaced.push_str(version),
                (Some("version"), Version::Wrong) => replaced.push_str(PLACEHOLDER),
                (Some("version"), Version::Missing) => self.finding(
                    pointer,
                    "`${release.version}` is not known".to_owned(),
                    "set `version` in [release], or use `--release-version`".to_owned(),
                ),
                (Some(name), _) => {
                    let name = format!("release.{name}");
                    self.finding(pointer, no_variable(&name), help_for_variable(&name));
                }
                (None, _) => self.finding(
                    pointer,
                    "a variable is not closed".to_owned(),
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
            Diagnostic::error(FindingCode::UnknownVariable, self.source, message)
                .at(pointer)
                .label(self.spans.value(pointer), "in this string")
                .help(help),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn interpolated(mut value: Value) -> (Value, Vec<String>) {
        let version = Version::of(&value);
        let source = Source::new("deploy.toml", String::new());
        let findings = interpolate(&mut value, &version, &SpanMap::default(), &source);
        (value, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_variable_is_replaced_in_every_string_but_the_version() {
        let (value, findings) = interpolated(json!({
            "release": {"name": "app-${release.version}", "version": "1.4"},
            "images": [{"name": "app:${release.version}", "rootfs": {"env": {"V": "${release.version}+${release.version}"}}}],
            "list": ["a", "${release.version}"],
            "number": 7,
        }));
        assert_eq!(findings, Vec::<String>::new());
        assert_eq!(
            value,
            json!({
                "release": {"name": "app-1.4", "version": "1.4"},
                "images": [{"name": "app:1.4", "rootfs": {"env": {"V": "1.4+1.4"}}}],
                "list": ["a", "1.4"],
                "number": 7,
            })
        );
    }

    #[test]
    fn other_variables_are_left_to_the_reader_of_the_string() {
        let text = "${HOME} $release.version ${release} $${x}";
        let (value, findings) = interpolated(json!({"release": {"version": "1"}, "a": text}));
        assert_eq!((value["a"].as_str(), findings.len()), (Some(text), 0));
    }

    #[test]
    fn what_cannot_be_replaced_is_found_once() {
        let found =
            |release: Value, text: &str| interpolated(json!({"release": release, "a": text})).1;
        assert_eq!(
            found(json!({}), "${release.version}"),
            ["`${release.version}` is not known"]
        );
        assert_eq!(
            found(
                json!({"version": "1"}),
                "${release.vresion} ${release.name} ${release.ver"
            ),
            [
                "there is no variable `${release.vresion}`",
                "there is no variable `${release.name}`",
                "a variable is not closed"
            ]
        );
        // An invalid version has its own finding.
        for wrong in [json!(1.4), json!("a b"), json!("${release.version}")] {
            assert_eq!(
                found(json!({"version": wrong}), "app:${release.version}"),
                Vec::<String>::new()
            );
        }
    }
}
