//! Words of the device's API that commands of plans use.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The JSON pointer to the device's name in its configuration.
pub const NAME: &str = "/device/info/name";

/// Values of the device's configuration by JSON pointer; none of them is an object.
pub type Settings = BTreeMap<String, Value>;

/// Returns the JSON fragment that has these values.
pub fn fragment<'a>(settings: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Value {
    let mut root = Value::Object(Map::new());
    for (pointer, value) in settings {
        let mut node = &mut root;
        for key in pointer.split('/').skip(1) {
            if !node.is_object() {
                *node = Value::Object(Map::new());
            }
            node = &mut node[unescape(key)];
        }
        value.clone_into(node);
    }
    root
}

/// Returns the values of a fragment: what is not an object, and empty objects if `has_empty`.
pub fn settings(fragment: &Value, has_empty: bool) -> Settings {
    let mut found = Settings::new();
    leaves(fragment, &mut String::new(), has_empty, &mut found);
    found
}

// The JSON parser limits the depth.
fn leaves(value: &Value, path: &mut String, has_empty: bool, found: &mut Settings) {
    match value {
        Value::Object(members) if !(members.is_empty() && has_empty) => {
            for (key, member) in members {
                let length = path.len();
                path.push('/');
                path.push_str(&key.replace('~', "~0").replace('/', "~1"));
                leaves(member, path, has_empty, found);
                path.truncate(length);
            }
        }
        _ if path.is_empty() => {}
        _ => drop(found.insert(path.clone(), value.clone())),
    }
}

/// Returns a key of a JSON pointer.
pub fn unescape(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

/// Whether two values are the same setting: `1` and `1.0` are.
pub fn is_same_value(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len()
                && one
                    .iter()
                    .zip(two)
                    .all(|(one, two)| is_same_value(one, two))
        }
        _ => {
            one == two
                || matches!((one.as_f64(), two.as_f64()),
                    (Some(one), Some(two)) if (one - two).abs() <= f64::EPSILON * one.abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fragment_has_what_its_pointers_name() {
        let value = json!({"ports": {"port0": {"state": "RUN", "a/b~c": [1, {"x": 2}]}}, "empty": {}, "device": {"n": null}});
        let found = settings(&value, false);
        let pointers: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(
            pointers,
            ["/device/n", "/ports/port0/a~1b~0c", "/ports/port0/state"]
        );
        let again = fragment(
            found
                .iter()
                .map(|(pointer, value)| (pointer.as_str(), value)),
        );
        assert_eq!(again.pointer("/ports"), value.pointer("/ports"));
        assert_eq!(settings(&value, true).len(), 4);
        assert_eq!(settings(&json!({}), true).len(), 0);
    }

    #[test]
    fn numbers_are_compared_by_value() {
        for (one, two, is_same) in [
            (json!(1), json!(1.0), true),
            (json!([1, 2.0]), json!([1.0, 2]), true),
            (json!([1]), json!([1, 2]), false),
            (json!(0.1), json!(0.2), false),
            (json!("1"), json!(1), false),
        ] {
            assert_eq!(is_same_value(&one, &two), is_same, "{one} {two}");
        }
    }
}
