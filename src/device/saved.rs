//! Determines what the device saved for its next boot, and what saving again would persist.

use serde_json::Value;

use super::{DeviceError, NAME, configuration::Configuration};
use crate::host::Host;
use o3r_core::{
    device_words::{Settings, is_same_value, settings, unescape},
    facts::Saved,
};

/// Returns what is saved. Compares current values only if a value of `wanted` is to be saved.
pub(super) async fn saved<H: Host>(
    configuration: &Configuration<'_, H>,
    init: &Value,
    wanted: &Settings,
) -> Result<Saved, DeviceError> {
    let mut saved = read(init);
    let is_saved = wanted.iter().all(|(pointer, wanted)| {
        let saved = init.pointer(pointer);
        saved.is_some_and(|saved| is_same_value(saved, wanted))
    });
    if is_saved
        || saved
            .pointers
            .iter()
            .all(|pointer| wanted.contains_key(pointer))
    {
        return Ok(saved);
    }
    compare(&mut saved, init, configuration.now().await?, wanted);
    if !saved.differing.is_empty() || !saved.missing.is_empty() {
        // Clocks and counters change all the time. A device without a schema is assumed to have
        // none.
        if let Ok(schema) = configuration.schema().await {
            forget_read_only(&mut saved, schema);
        }
    }
    Ok(saved)
}

/// Reads the saved name and the pointers of all saved values.
fn read(init: &Value) -> Saved {
    let pointers = settings(init, true).into_keys().collect();
    Saved {
        name: init
            .pointer(NAME)
            .and_then(Value::as_str)
            .map(str::to_owned),
        pointers,
        ..Saved::default()
    }
}

/// Records which saved values differ now or are missing. Those of `wanted` are not compared: the plan sets them.
fn compare(saved: &mut Saved, init: &Value, now: &Value, wanted: &Settings) {
    let others = saved.pointers.iter();
    for pointer in others.filter(|pointer| !wanted.contains_key(*pointer)) {
        match (init.pointer(pointer), now.pointer(pointer)) {
            (Some(saved), Some(now)) if is_same_value(saved, now) => {}
            (_, Some(_)) => drop(saved.differing.insert(pointer.clone())),
            (_, None) => drop(saved.missing.insert(pointer.clone())),
        }
    }
}

/// Removes settings that are read-only.
fn forget_read_only(saved: &mut Saved, schema: &Value) {
    for set in [
        &mut saved.pointers,
        &mut saved.differing,
        &mut saved.missing,
    ] {
        set.retain(|pointer| !is_read_only(schema, pointer));
    }
}

pub(super) fn is_read_only(schema: &Value, pointer: &str) -> bool {
    let mut node = schema;
    for key in pointer.split('/').skip(1) {
        let key = unescape(key);
        let Some(next) = node.get("properties").and_then(|keys| keys.get(&key)) else {
            return false;
        };
        if next.get("readOnly") == Some(&Value::Bool(true)) {
            return true;
        }
        node = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn temporary_and_missing_settings_differ_from_read_only_ones() {
        let init = json!({
            "device": {"info": {"name": "old"}, "clock": {"now": 1}, "list": [1, 2], "a/b~c": {}},
            "ports": {"port0": {"state": "RUN", "gain": 1}, "port2": {"state": "RUN"}},
        });
        let mut saved = read(&init);
        assert_eq!(saved.name.as_deref(), Some("old"));
        assert!(saved.pointers.contains("/device/a~1b~0c"));
        let now = json!({
            "device": {"info": {"name": "x"}, "clock": {"now": 2}, "list": [2, 1], "a/b~c": {}},
            "ports": {"port0": {"state": "RUN", "gain": 1.0}},
        });
        let named = Settings::from([(NAME.to_owned(), json!("new"))]);
        compare(&mut saved, &init, &now, &named);
        let schema = json!({"properties": {"device": {"properties": {
            "clock": {"properties": {"now": {"readOnly": true}}},
        }}}});
        forget_read_only(&mut saved, &schema);
        assert_eq!(Vec::from_iter(&saved.differing), ["/device/list"]);
        assert_eq!(Vec::from_iter(&saved.missing), ["/ports/port2/state"]);
        assert!(!saved.pointers.contains("/device/clock/now"));
    }

    #[test]
    fn nothing_saved_is_empty() {
        for init in [json!(null), json!({}), json!("")] {
            assert_eq!(read(&init), Saved::default(), "{init}");
        }
    }
}
