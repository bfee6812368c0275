//! Renders plans: as text, as JSON, as a shell script. Prints nothing itself.

mod changes;
mod doctor;
mod essential;
mod history;
mod sh;
mod sign;
mod status;
mod text;
mod wrap;

pub use changes::Details;
pub(crate) use doctor::{doctor_schema, doctor_text};
pub use essential::{numbers, shows_bytes};
pub(crate) use history::{KeptRelease, ShownRelease, history_text};
use o3r_core::units;
pub use o3r_core::units::{bytes, duration, time};
pub use sh::{Script, SecretPayload, sh};
pub use sign::{Sign, ascii};
pub use status::{status_schema, status_text};
pub use text::{Style, paint, text, text_with};
pub use wrap::wrapped;

use std::fmt::Write as _;

use serde_json::Value;

use crate::plan::Plan;
use o3r_core::names::{escape, escape_lines, is_unprintable};

/// The members of our documents that may have several lines.
const MANY_LINES: &[&str] = &["reason", "remedy", "commands"];

/// Renders a plan as text, without colours.
pub fn plan_text(plan: &Plan) -> String {
    text(plan, Style::default())
}

/// Renders the status document, as `schemas/status.schema.json` describes it, with a final newline.
pub fn status_json(status: &crate::status::Status) -> String {
    document(status)
}

/// Renders the plan document, as `schemas/plan.schema.json` describes it, with a final newline.
pub fn json(plan: &Plan) -> String {
    document(plan)
}

/// Returns the schema of the plan document (JSON Schema 2020-12), with a final newline.
pub fn plan_schema() -> String {
    schema_text::<Plan>()
}

fn schema_text<T: schemars::JsonSchema>() -> String {
    let schema = schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>();
    document(&schema)
}

/// Renders a JSON document, indented, with a final newline.
pub fn document(value: &impl serde::Serialize) -> String {
    // Every key is a string and every number is finite: this cannot fail.
    let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut text = String::with_capacity(pretty.len() + 1);
    // JSON allows these in strings, but terminals interpret them.
    let is_escaped = |c| c != '\n' && is_unprintable(c);
    let mut rest = pretty.as_str();
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_escaped(*c)) {
        text.push_str(&rest[..at]);
        let _ = write!(text, "\\u{:04x}", u32::from(c));
        rest = &rest[at + c.len_utf8()..];
    }
    text.push_str(rest);
    text.push('\n');
    text
}

/// Returns the value with all control characters in its strings escaped. Newlines are kept in
/// members that may have several lines: rendering indents them.
fn harmless<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> Option<T> {
    let mut tree = serde_json::to_value(value).ok()?;
    disarm(&mut tree, false);
    serde_json::from_value(tree).ok()
}

fn disarm(value: &mut Value, has_lines: bool) {
    match value {
        Value::String(text) if text.chars().any(is_unprintable) => {
            *text = if has_lines {
                escape_lines(text)
            } else {
                escape(text)
            };
        }
        Value::Array(items) => items.iter_mut().for_each(|item| disarm(item, has_lines)),
        Value::Object(members) => {
            for (key, member) in members {
                disarm(member, MANY_LINES.contains(&key.as_str()));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOSTILE: &str = "\x1b[2J\x1b]0;title\x07\u{9b}31m\n✓ all is well\r\u{202e}";

    fn vpu() -> Value {
        let said = [
            "host", "name", "serial", "firmware", "arch", "docker", "compose",
        ];
        said.into_iter().map(|key| (key, HOSTILE)).collect()
    }

    fn is_harmless(text: &str) -> bool {
        !text.chars().any(|c| c != '\n' && is_unprintable(c))
    }

    #[test]
    fn no_text_in_a_document_moves_the_cursor() {
        let text = document(&json!({ HOSTILE: [HOSTILE] }));
        assert!(is_harmless(&text), "{text:?}");
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, json!({ HOSTILE: [HOSTILE] }));
    }

    #[test]
    fn no_text_of_an_image_or_a_vpu_moves_the_cursor_or_adds_a_line() {
        let status: crate::status::Status = serde_json::from_value(json!({
            "format": 1,
            "tool": "o3r-deploy",
            "vpu": vpu(),
            "uptime_seconds": 1,
            "releases": [{ "name": HOSTILE, "version": HOSTILE, "at": HOSTILE, "by": HOSTILE, "projects": [] }],
            "projects": [{
                "name": HOSTILE,
                "release": HOSTILE,
                "after_boot": null,
                "containers": [{
                    "name": HOSTILE, "service": HOSTILE, "image": HOSTILE, "state": "running", "exit_code": 0,
                    "health": HOSTILE, "uptime_seconds": 1,
                }],
            }],
            "autostart": null,
            "disks": [],
            "memory": null,
            "drift": { "state": "unknown", "reason": HOSTILE },
            "unknown": [{ "what": HOSTILE, "reason": HOSTILE }],
        }))
        .unwrap();
        let text = status_text(&status, Style::default());
        assert!(is_harmless(&text), "{text:?}");
        assert!(!text.contains("\n✓ all is well"), "{text}");
    }

    #[test]
    fn the_reasons_in_a_plan_are_indented() {
        let plan: Plan = serde_json::from_value(json!({
            "format": 1,
            "tool": "o3r-deploy",
            "vpu": vpu(),
            "manifest": crate::desired::ManifestRef::default(),
            "fingerprint": crate::digest::Digest::of(b""),
            "steps": [],
            "blocked": [{ "address": "vpu.serial", "code": "wrong-serial", "reason": HOSTILE, "remedy": HOSTILE }],
            "notes": [{ "code": "wrong-clock", "text": HOSTILE }],
            "unmanaged": [],
            "not_restorable": [{ "address": "image.a", "reason": HOSTILE }],
            "summary": crate::plan::Summary::default(),
        }))
        .unwrap();
        let text = text(&plan, Style::default());
        assert!(is_harmless(&text), "{text:?}");
        assert!(!text.contains("\n✓ all is well"), "{text}");
    }
}
