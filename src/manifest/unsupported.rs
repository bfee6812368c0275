//! Finds keys that this version does not support, in manifests and in the schema; they are rejected instead of
//! ignored.

use serde_json::Value;

use super::{
    FindingCode, diagnostics::Diagnostic, loaded::Loaded, names::escape, spans::split_last,
};

/// The unsupported keys, as pointers with `*` for any one
/// key. A version that supports one removes its entry.
const LATER: &[&str] = &[
    "/images/*/registry",
    "/images/*/build",
    "/downloads/*",
    "/absent/*",
    "/logs/*",
    "/usb/*",
    "/registries/*",
];

/// Returns an error for every unsupported key in the manifest.
/// A key that is `false` has no effect and is accepted.
pub fn unsupported(loaded: &Loaded) -> Vec<Diagnostic> {
    let value = serde_json::to_value(&loaded.manifest).unwrap_or_default();
    let is_asked_for = |pointer: &str| value.pointer(pointer) != Some(&Value::Bool(false));
    loaded
        .pointers()
        .filter(|pointer| LATER.iter().any(|pattern| matches(pattern, pointer)))
        .filter(|pointer| is_asked_for(pointer))
        .map(|pointer| {
            loaded.diagnostic(
                pointer,
                FindingCode::Unsupported,
                format!("{} is not supported yet", name(pointer)),
                "not supported",
                "remove it, or use a version of o3r-deploy that supports it",
            )
        })
        .collect()
}

/// Marks the unsupported keys in the schema of a manifest, so that editors show it.
pub(super) fn mark(schema: &mut Value) {
    for pattern in LATER {
        let keys: Vec<&str> = pattern.split('/').skip(1).collect();
        mark_below(schema, &keys);
    }
}

fn mark_below(schema: &mut Value, keys: &[&str]) {
    let Some((key, rest)) = keys.split_first() else {
        if let Some(Value::String(description)) = schema.get_mut("description") {
            description.push_str("\n\nNot supported yet: `check`, `plan` and `apply` reject it.");
        }
        return;
    };
    match (*key, schema.get("items")) {
        ("*", Some(_)) => mark_below(&mut schema["items"], rest),
        (key, _) => {
            let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
            for (name, property) in properties.into_iter().flatten() {
                if key == "*" || key == name {
                    mark_below(property, rest);
                }
            }
        }
    }
}

fn matches(pattern: &str, pointer: &str) -> bool {
    let mut keys = pointer.split('/');
    pattern
        .split('/')
        .all(|part| keys.next().is_some_and(|key| part == "*" || part == key))
        && keys.next().is_none()
}

/// Returns the name of a key: `[[downloads]]`, or `` `health` ``.
fn name(pointer: &str) -> String {
    match split_last(pointer) {
        Some((list, index)) if index.parse::<usize>().is_ok() => {
            format!("[[{}]]", list.trim_start_matches('/'))
        }
        Some((table, key)) if table.matches('/').count() == 1 => {
            format!("`{}` in [{}]", escape(&key), table.trim_start_matches('/'))
        }
        Some((_, key)) => format!("`{}`", escape(&key)),
        None => "the manifest".to_owned(),
    }
}
