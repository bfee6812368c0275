//! Reads the settings of the device that a manifest declares.

use serde_json::Value;

use super::Resolver;
use crate::{
    desired::DeviceSettings,
    manifest::{
        Diagnostic, FindingCode, Source,
        device::{Config, Device},
        names::escape,
        template,
    },
};
use o3r_core::device_words::{NAME, settings};

/// The setting that `[vpu].name` declares, and those that let somebody log in.
const ELSEWHERE: [(&str, &str); 2] = [
    (NAME, "write it as `name` in [vpu]"),
    (
        "/device/network/authorized_keys",
        "leave it out: keys that let somebody log in are no part of a release",
    ),
];

/// What is found of a secret.
const SECRET: &str = "`config` has a value of this machine's environment";
const SECRET_HELP: &str =
    "leave values of `env` out: plans show the settings, and records keep them";

/// Returns the strings of a value, without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    }
}

impl Resolver<'_> {
    /// Returns the declared settings; `None` if there are none, or findings.
    pub(super) fn device(&mut self, device: &Device) -> Option<DeviceSettings> {
        let pointer = "/device/config";
        let fragment = match device.config.as_ref()? {
            Config::Table(_) if device.template => {
                let help = "variables of a table are written as in any string: `${vars.NAME}`; remove `template`";
                self.find(
                    "/device/template",
                    "`template` is only for a file",
                    "this key",
                    help,
                );
                return None;
            }
            Config::Table(members) => Value::Object(members.clone()),
            Config::File(path) => {
                let local = path.resolve(self.loaded.base(), self.home.as_deref());
                let read = fs_err::read(&local);
                let bytes = match read {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        self.find(pointer, error.to_string(), "this file", "make it readable");
                        return None;
                    }
                };
                let rendered = if device.template {
                    template::render(self.loaded, &local, &bytes)
                } else {
                    Ok(bytes)
                };
                // An error shows the text around its place.
                if let Ok(bytes) = &rendered
                    && self.has_secret(bytes)
                {
                    self.find(pointer, SECRET, "in this", SECRET_HELP);
                    return None;
                }
                let parsed =
                    rendered.and_then(|bytes| parse(local.as_str(), &bytes).map_err(Box::new));
                match parsed {
                    Ok(fragment) => fragment,
                    Err(finding) => {
                        self.findings.push(*finding);
                        return None;
                    }
                }
            }
        };
        if !fragment.is_object() {
            let help =
                "write an object of settings: { \"ports\": { \"port2\": { \"state\": \"RUN\" } } }";
            self.find(pointer, "`config` is not a JSON object", "this file", help);
            return None;
        }
        let values = settings(&fragment, false);
        // As they are compared: JSON would escape quotes and backslashes.
        let texts = values
            .iter()
            .flat_map(|(key, value)| [key.clone(), plain(value)]);
        let texts: Vec<String> = texts.collect();
        if texts.iter().any(|text| self.has_secret(text.as_bytes())) {
            self.find(pointer, SECRET, "in this", SECRET_HELP);
            return None;
        }
        for (elsewhere, help) in ELSEWHERE {
            if values.contains_key(elsewhere) {
                let message = format!("`config` has {elsewhere}");
                self.find(pointer, message, "in this", help);
                return None;
            }
        }
        (!values.is_empty()).then(|| DeviceSettings {
            values,
            save: device.save,
            network: device.network,
            source: Some(self.loaded.place("/device")),
        })
    }
}

/// Parses a JSON file; an error is at its place in the file.
fn parse(name: &str, bytes: &[u8]) -> Result<Value, Diagnostic> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = String::from_utf8_lossy(bytes);
        let (line, column) = (error.line(), error.column());
        let before = text.split_inclusive('\n').take(line.saturating_sub(1));
        let start: usize = before.map(str::len).sum();
        let at = (start + column.saturating_sub(1)).min(text.len());
        let said = error.to_string();
        let said = said.split(" at line ").next().unwrap_or_default();
        let source = Source::new(name, text.into_owned());
        let message = format!("{name}:{line} is not valid JSON: {}", escape(said));
        Diagnostic::error(FindingCode::LocalFile, &source, message)
            .label(at..at, "here")
            .help("correct the file; it holds the settings as JSON")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_found_at_its_place() {
        let finding = parse("o3r.json", b"{\n  \"ports\": {,}\n}\n").unwrap_err();
        assert_eq!(
            finding.message,
            "o3r.json:2 is not valid JSON: key must be a string"
        );
        assert_eq!(finding.line_and_column(), (2, 13));
        let finding = parse("o3r.json", b"").unwrap_err();
        assert_eq!(finding.line_and_column(), (1, 1));
    }
}
