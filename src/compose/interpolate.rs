//! Replaces variables as docker-compose does, and reads the `.env` file that sets them.

use std::collections::BTreeMap;

use super::{
    ComposeError,
    node::{Node, Value},
};

/// Variables and their values.
pub type Environment = BTreeMap<String, String>;

/// Reads a `.env` file: `NAME=value` lines; comments, blank lines and lines without `=` are passed.
pub fn parse_env(text: &str) -> Environment {
    text.lines()
        .filter_map(|line| {
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line);
            if line.starts_with('#') {
                return None;
            }
            let (name, value) = line.split_once('=')?;
            Some((name.trim().to_owned(), env_value(value.trim())))
        })
        .collect()
}

/// A value without its quotes, or without the comment behind it.
fn env_value(text: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(rest) = text.strip_prefix(quote)
            && let Some((value, _)) = rest.split_once(quote)
        {
            return value.to_owned();
        }
    }
    text.split(" #")
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

/// Replaces the variables in every string; returns those that nothing sets, with their lines.
pub(super) fn interpolate(
    node: &mut Node,
    environment: &Environment,
) -> Result<Vec<(String, usize)>, ComposeError> {
    let mut unset = Vec::new();
    replace(node, environment, &mut unset)?;
    unset.dedup();
    Ok(unset)
}

// Recursion is bounded by the depth that the YAML reader lets pass.
fn replace(
    node: &mut Node,
    environment: &Environment,
    unset: &mut Vec<(String, usize)>,
) -> Result<(), ComposeError> {
    let line = node.line;
    match &mut node.value {
        Value::String(text) if text.contains('$') => {
            let mut report = |name: &str| unset.push((name.to_owned(), line));
            *text =
                expand(text, environment, &mut report).ok_or_else(|| ComposeError::Variable {
                    text: text.clone(),
                    line,
                })?;
        }
        Value::List(list) => {
            for node in list {
                replace(node, environment, unset)?;
            }
        }
        Value::Map(map) => {
            for node in map.nodes_mut() {
                replace(node, environment, unset)?;
            }
        }
        Value::Null | Value::String(_) | Value::Other(_) => {}
    }
    Ok(())
}

/// One string with its variables replaced; none where a `$` is not followed by anything known.
fn expand(text: &str, environment: &Environment, report: &mut dyn FnMut(&str)) -> Option<String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let end = after.find('}')?;
            expanded.push_str(&braced(&after[..end], environment, report)?);
            rest = &after[end + 1..];
        } else {
            let (name, after) = after.split_at(name_length(after));
            if name.is_empty() {
                return None;
            }
            expanded.push_str(&value_of(name, environment, report));
            rest = after;
        }
    }
    expanded.push_str(rest);
    Some(expanded)
}

/// The inside of `${…}`: a name, alone or with `-`, `:-`, `?` or `:?` and a text.
fn braced(inside: &str, environment: &Environment, report: &mut dyn FnMut(&str)) -> Option<String> {
    let (name, rest) = inside.split_at(name_length(inside));
    if name.is_empty() {
        return None;
    }
    let value = environment.get(name);
    let value_if_filled = value.filter(|value| !value.is_empty());
    if rest.is_empty() || rest.starts_with('?') {
        Some(value_of(name, environment, report))
    } else if let Some(default) = rest.strip_prefix(":-") {
        Some(value_if_filled.map_or(default, String::as_str).to_owned())
    } else if let Some(default) = rest.strip_prefix('-') {
        Some(value.map_or(default, String::as_str).to_owned())
    } else if rest.starts_with(":?") {
        if value_if_filled.is_none() {
            report(name);
        }
        Some(value.cloned().unwrap_or_default())
    } else {
        None
    }
}

fn value_of(name: &str, environment: &Environment, report: &mut dyn FnMut(&str)) -> String {
    environment.get(name).cloned().unwrap_or_else(|| {
        report(name);
        String::new()
    })
}

/// How many bytes at the start of a text are a variable's name.
fn name_length(text: &str) -> usize {
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}
