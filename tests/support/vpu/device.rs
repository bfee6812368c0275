//! Answers the device's API for the in-memory VPU.

use serde_json::{Value, json};

use super::{Fault, Inner, world::World};

/// The fault codes of the device.
const JSON_SYNTAX: i32 = 104_010;
const INVALID_PATH: i32 = 104_012;
/// The fault code of xmlrpc-c for an unknown method.
const METHOD_UNKNOWN: i32 = -506;

/// Returns the answer to a call, as XML; `None` if the connection breaks.
pub(super) fn answer(inner: &mut Inner, request: &str) -> Option<String> {
    let Ok(call) = dxr::MethodCall::from_xml(request) else {
        return Some(fault(-503, "cannot parse the call"));
    };
    let words = strings(&call.params);
    let reads = matches!(&*call.name, "get" | "getInit" | "getSchema");
    if reads {
        return Some(ran(&mut inner.world, &call.name, &words));
    }
    let number = inner.commands.len();
    inner
        .commands
        .push(format!("device-api {} {}", call.name, words.join(" ")));
    match inner.fault {
        Some(Fault::Fails(at)) if at == number => return Some(fault(104_014, "injected failure")),
        Some(Fault::LinkLostBefore(at)) if number >= at => return None,
        Some(Fault::LinkLostAfter(at)) if number > at => return None,
        _ => {}
    }
    let answer = ran(&mut inner.world, &call.name, &words);
    if inner.fault == Some(Fault::FailsAfter(number)) {
        return Some(fault(104_014, "injected failure, after it was done"));
    }
    (inner.fault != Some(Fault::LinkLostAfter(number))).then_some(answer)
}

fn ran(world: &mut World, method: &str, words: &[String]) -> String {
    let done = match method {
        "get" => get(&current(world), words).map(|value| value.to_string()),
        "getInit" => Ok(world.saved_settings.to_string()),
        "getSchema" => Ok(
            json!({"properties": {"device": {"properties": {"info": {"properties": {
                "serialNumber": {"readOnly": true},
            }}}}}})
            .to_string(),
        ),
        "set" => set(world, words),
        "saveInit" => get(&world.settings, words).map(|value| {
            world.saved_settings = value;
            String::new()
        }),
        other => Err((METHOD_UNKNOWN, format!("Method '{other}' not defined"))),
    };
    match done {
        Ok(text) => envelope(&format!(
            "<params><param><value><string>{}</string></value></param></params>",
            escaped(&text)
        )),
        Err((code, text)) => fault(code, &text),
    }
}

/// Returns the parameters' strings, with lists flattened.
fn strings(values: &[dxr::Value]) -> Vec<String> {
    use dxr::TryFromValue as _;
    let list = |value: &dxr::Value| {
        let one = String::try_from_value(value).map(|text| vec![text]);
        one.or_else(|_| Vec::<String>::try_from_value(value))
            .unwrap_or_default()
    };
    values.iter().flat_map(list).collect()
}

fn current(world: &World) -> Value {
    let mut current = world.settings.clone();
    let fixed = json!({"device": {
        "info": {"serialNumber": world.serial},
        "swVersion": {"firmware": world.firmware},
    }});
    merge(&mut current, &fixed);
    current
}

fn set(world: &mut World, words: &[String]) -> Result<String, (i32, String)> {
    let fragment = words
        .first()
        .and_then(|text| serde_json::from_str(text).ok());
    let fragment: Value = fragment.ok_or((JSON_SYNTAX, "JSON syntax error".to_owned()))?;
    merge(&mut world.settings, &fragment);
    Ok(String::new())
}

/// Returns the values at the pointers, nested at their full paths; without pointers, everything.
fn get(tree: &Value, pointers: &[String]) -> Result<Value, (i32, String)> {
    if pointers.is_empty() {
        return Ok(tree.clone());
    }
    let mut selected = json!({});
    for pointer in pointers {
        let value = tree.pointer(pointer);
        let value =
            value.ok_or_else(|| (INVALID_PATH, format!("JSON Path not valid: {pointer}")))?;
        let keys = pointer.split('/').skip(1).collect::<Vec<_>>();
        let nested = keys
            .iter()
            .rev()
            .fold(value.clone(), |value, key| json!({*key: value}));
        merge(&mut selected, &nested);
    }
    Ok(selected)
}

/// Merges objects by key, and replaces anything else.
pub(super) fn merge(into: &mut Value, fragment: &Value) {
    match (into, fragment) {
        (Value::Object(into), Value::Object(fragment)) => {
            for (key, value) in fragment {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, fragment) => fragment.clone_into(into),
    }
}

fn envelope(content: &str) -> String {
    format!("<?xml version='1.0'?><methodResponse>{content}</methodResponse>")
}

fn fault(code: i32, text: &str) -> String {
    envelope(&format!(
        "<fault><value><struct><member><name>faultCode</name><value><int>{code}</int></value></member>\
         <member><name>faultString</name><value><string>{}</string></value></member></struct></value></fault>",
        escaped(text)
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
