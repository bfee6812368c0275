//! Determines what the device saved for its next boot, and what saving again would persist.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{DeviceError, NAME, call, json};
use crate::host::Host;
use o3r_core::facts::Saved;

/// Returns what is saved. Compares current values only if the saved name is not `wanted`, the
/// declared one.
pub(super) async fn saved<H: Host>(
    host: &H,
    port: u16,
    wanted: &str,
) -> Result<Saved, DeviceError> {
    let init = call(host, port, &["getInit"]).await?;
    let init = if init.trim().is_empty() {
        Value::Null // nothing was ever saved
    } else {
        json(&init)?
    };
    let mut saved = read(&init);
    let is_saved = saved.name.as_deref() == Some(wanted);
    if is_saved || saved.pointers.iter().all(|pointer| pointer == NAME) {
        return Ok(saved);
    }
    // The whole configuration: a pointer to a missing value would fail the whole call.
    let now = json(&call(host, port, &["get"]).await?)?;
    compare(&mut saved, &init, &now);
    if !saved.differing.is_empty() || !saved.missing.is_empty() {
        // Clocks and counters change all the time. A device without a schema is assumed to have
        // none.
        if let Ok(schema) = call(host, port, &["getSchema"]).await {
            forget_read_only(&mut saved, &json(&schema)?);
        }
    }
    Ok(saved)
}

/// Reads the saved name and the pointers of all saved values.
fn read(init: &Value) -> Saved {
    let mut pointers = BTreeSet::new();
    leaves(init, &mut String::new(), &mut pointers);
    Saved {
        name: init
            .pointer(NAME)
            .and_then(Value::as_str)
            .map(str::to_owned),
        pointers,
        ..Saved::default()
    }
}

// The JSON parser limits the depth.
fn leaves(value: &Value, path: &mut String, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                let length = path.len();
                path.push('/');
                path.push_str(&key.replace('~', "~0").replace('/', "~1"));
                leaves(member, path, found);
                path.truncate(length);
            }
        }
        _ if path.is_empty() => {}
        _ => drop(found.insert(path.clone())),
    }
}

/// Records which saved values differ now or are missing. The name is not compared: the plan sets
/// it.
fn compare(saved: &mut Saved, init: &Value, now: &Value) {
    for pointer in saved.pointers.iter().filter(|pointer| *pointer != NAME) {
        match (init.pointer(pointer), now.pointer(pointer)) {
            (Some(saved), Some(now)) if is_same_value(saved, now) => {}
            (_, Some(_)) => drop(saved.differing.insert(pointer.clone())),
            (_, None) => drop(saved.missing.insert(pointer.clone())),
        }
    }
}

/// Whether two values are the same setting: `1` and `1.0` are.
fn is_same_value(one: &Value, two: &Value) -> bool {
    one == two
        || matches!((one.as_f64(), two.as_f64()), (Some(one), Some(two)) if (one - two).abs() <= f64::EPSILON * one.abs())
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

fn is_read_only(schema: &Value, pointer: &str) -> bool {
    let mut node = schema;
    for key in pointer.split('/').skip(1) {
        let key = key.replace("~1", "/").replace("~0", "~");
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
        compare(&mut saved, &init, &now);
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
