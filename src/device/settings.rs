//! Compares declared settings with the device's configuration, and asks its schema whether it accepts them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{DeviceError, configuration::Configuration, saved::is_read_only};
use crate::host::Host;
use o3r_core::{
    device_words::{Settings, fragment, is_same_value},
    facts::Setting,
};

/// Returns the current and the saved value of each declared setting, and why the device would reject it.
pub(super) async fn observe<H: Host>(
    configuration: &Configuration<'_, H>,
    init: &Value,
    wanted: &Settings,
) -> Result<BTreeMap<String, Setting>, DeviceError> {
    let now = configuration.now().await?;
    let is_in = |config: &Value, pointer: &str, wanted: &Value| {
        let found = config.pointer(pointer);
        found.is_some_and(|found| is_same_value(found, wanted))
    };
    let mut settings: BTreeMap<String, Setting> = wanted
        .keys()
        .map(|pointer| {
            let setting = Setting {
                now: now.pointer(pointer).cloned(),
                saved: init.pointer(pointer).cloned(),
                ..Setting::default()
            };
            (pointer.clone(), setting)
        })
        .collect();
    let mut all = wanted.iter();
    if all.all(|(pointer, wanted)| is_in(now, pointer, wanted) && is_in(init, pointer, wanted)) {
        return Ok(settings);
    }
    let schema = configuration.schema().await?;
    for (pointer, setting) in &mut settings {
        setting.read_only = is_read_only(schema, pointer);
    }
    let differing = wanted.iter();
    let differing = differing.filter(|(pointer, wanted)| !is_in(now, pointer, wanted));
    let differing: Vec<(&str, &Value)> = differing
        .map(|(pointer, wanted)| (pointer.as_str(), wanted))
        .collect();
    for (pointer, reason) in refused(schema, &differing) {
        if let Some(setting) = settings.get_mut(pointer) {
            setting.refused.get_or_insert(reason);
        }
    }
    Ok(settings)
}

/// Returns the settings that the schema rejects, and why.
fn refused<'a>(schema: &Value, settings: &[(&'a str, &'a Value)]) -> Vec<(&'a str, String)> {
    let mut refused: Vec<(&str, String)> = settings
        .iter()
        .filter(|(pointer, _)| is_read_only(schema, pointer))
        .map(|(pointer, _)| (*pointer, "it is read-only".to_owned()))
        .collect();
    let mut schema = schema.clone();
    of_parts(&mut schema);
    // A schema that is not understood decides nothing: the device does.
    let Ok(validator) = jsonschema::validator_for(&schema) else {
        return refused;
    };
    let whole = fragment(settings.iter().copied());
    for error in validator.iter_errors(&whole) {
        let at = error.instance_path().as_str().to_owned();
        let unknown = match error.kind() {
            jsonschema::error::ValidationErrorKind::AdditionalProperties { unexpected } => {
                unexpected
                    .iter()
                    .map(|key| format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")))
                    .collect()
            }
            _ => vec![],
        };
        let is_below = |pointer: &str, above: &str| {
            let rest = pointer.strip_prefix(above);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        for (pointer, _) in settings {
            if unknown.iter().any(|unknown| is_below(pointer, unknown)) {
                refused.push((pointer, "the device has no such attribute".to_owned()));
            } else if unknown.is_empty() && (is_below(pointer, &at) || is_below(&at, pointer)) {
                refused.push((pointer, error.to_string()));
            }
        }
    }
    refused
}

/// What a schema requires of a whole, which a part need not have.
const OF_WHOLE: [&str; 8] = [
    "required",
    "minProperties",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "if",
    "then",
    "else",
];

/// What has schemas by names of its own.
const NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];

/// Makes a schema accept a part of what it describes.
fn of_parts(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for word in OF_WHOLE {
                members.remove(word);
            }
            // A part may fit several alternatives.
            if let Some(alternatives) = members.remove("oneOf") {
                members.entry("anyOf").or_insert(alternatives);
            }
            for (word, member) in members {
                match member {
                    Value::Object(named) if NAMED.contains(&word.as_str()) => {
                        named.values_mut().for_each(of_parts);
                    }
                    member => of_parts(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(of_parts),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_schema_says_what_the_device_rejects() {
        let schema = json!({
            "type": "object",
            "required": ["device", "ports"],
            "additionalProperties": false,
            "properties": {
                "device": {"properties": {"serial": {"type": "string", "readOnly": true}}},
                "ports": {
                    "type": "object",
                    "required": ["port0"],
                    "patternProperties": {"^port[0-6]$": {
                        "type": "object",
                        "required": ["state"],
                        "additionalProperties": false,
                        "properties": {
                            "state": {"enum": ["RUN", "IDLE"]},
                            "rate": {"type": "number", "maximum": 20},
                            "required": {"type": "boolean"},
                            "offset": {"oneOf": [{"type": "number"}, {"type": "integer"}]},
                        },
                    }},
                    "additionalProperties": false,
                },
            },
        });
        let run = json!("RUN");
        let said = |pointer: &str, value: &Value| {
            let refused = refused(&schema, &[("/ports/port1/state", &run), (pointer, value)]);
            assert!(
                refused.iter().all(|(refused, _)| *refused == pointer),
                "{refused:?}"
            );
            refused
                .into_iter()
                .map(|(_, reason)| reason)
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert_eq!(said("/ports/port0/rate", &json!(20)), "");
        assert_eq!(said("/ports/port0/offset", &json!(1)), "");
        assert_eq!(said("/ports/port0/required", &json!(true)), "");
        assert_eq!(said("/device/serial", &json!("1")), "it is read-only");
        let unknown = "the device has no such attribute";
        assert_eq!(said("/ports/port0/rat", &json!(20)), unknown);
        assert_eq!(said("/ports/port7/rate", &json!(20)), unknown);
        assert_eq!(said("/prots/port0/rate", &json!(20)), unknown);
        assert_eq!(
            said("/ports/port0/rate", &json!(21)),
            "21 is greater than the maximum of 20"
        );
        let text = said("/ports/port0/state", &json!("run"));
        assert_eq!(text, "\"run\" is not one of \"RUN\" or \"IDLE\"");
        let text = said("/ports/port0/rate", &json!("5"));
        assert_eq!(text, "\"5\" is not of type \"number\"");
        assert_eq!(refused(&json!(true), &[("/a", &json!(1))]), []);
    }
}
