//! Replaces variables as docker-compose does, and converts the resulting values.

use super::{
    At, ComposeError, Environment, Place, Release, convert,
    node::{Map, Node, Value},
};

/// The sections whose variables are replaced; in the rest of a file, a `$` has no meaning.
const SECTIONS: &[&str] = &["services", "volumes", "networks", "secrets", "configs"];

/// The result of replacing variables.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Variables that have no default and are not set; docker-compose makes them empty.
    pub(super) unset: Vec<At<String>>,
    /// What docker-compose refuses.
    pub(super) problems: Vec<At<Problem>>,
}

/// A problem in a string with variables that docker-compose refuses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// A `$` starts nothing that compose knows.
    Invalid { text: String },
    /// `${NAME:?text}` without a value.
    Required { name: String, said: String },
    /// The value is not of the type that the key takes.
    Type {
        key: String,
        wanted: &'static str,
        text: String,
    },
}

/// Replaces the variables in every string; returns an error for the first invalid `$`.
pub(super) fn interpolate(
    root: &mut Node,
    environment: &Environment,
) -> Result<Vec<At<String>>, ComposeError> {
    let mut replacer = Replacer::new(environment, None);
    replacer.document(root);
    for problem in replacer.outcome.problems {
        if let Problem::Invalid { text } = problem.value {
            let place = problem.place;
            return Err(ComposeError::Variable { text, place });
        }
    }
    Ok(replacer.outcome.unset)
}

/// Replaces the variables in every string and converts the values as the release does.
pub(super) fn process(root: &mut Node, environment: &Environment, release: Release) -> Outcome {
    let mut replacer = Replacer::new(environment, Some(release));
    replacer.document(root);
    replacer.outcome
}

struct Replacer<'a> {
    environment: &'a Environment,
    /// The release whose conversions are applied; `None` for no conversion.
    release: Option<Release>,
    outcome: Outcome,
}

impl<'a> Replacer<'a> {
    fn new(environment: &'a Environment, release: Option<Release>) -> Self {
        Self {
            environment,
            release,
            outcome: Outcome::default(),
        }
    }

    fn document(&mut self, root: &mut Node) {
        let Value::Map(root) = &mut root.value else {
            return;
        };
        for section in SECTIONS {
            let Some(Value::Map(entries)) = root.get_mut(section).map(|node| &mut node.value)
            else {
                continue;
            };
            for (name, node) in &mut entries.0 {
                // docker-compose turns an empty entry into an empty table at this point.
                if self.release.is_some() && matches!(node.value, Value::Null) {
                    node.value = Value::Map(Map::default());
                }
                self.replace(section, &name.name, &mut Vec::new(), node);
            }
        }
        self.outcome.unset.dedup();
    }

    // The recursion depth is bounded by the YAML reader.
    fn replace(&mut self, section: &str, name: &str, path: &mut Vec<String>, node: &mut Node) {
        match &mut node.value {
            Value::List(list) => {
                for node in list {
                    self.replace(section, name, path, node);
                }
                return;
            }
            Value::Map(map) => {
                for (key, node) in &mut map.0 {
                    path.push(key.name.clone());
                    self.replace(section, name, path, node);
                    path.pop();
                }
                return;
            }
            Value::String(text) if text.contains('$') => {
                if let Some(expanded) = self.expand(text, node.place) {
                    *text = expanded;
                } else {
                    let text = text.clone();
                    self.problem(Problem::Invalid { text }, node.place);
                }
            }
            Value::Null | Value::String(_) | Value::Other(_) => {}
        }
        if let Some(release) = self.release {
            let place = node.place;
            if let Err(wanted) = convert::convert(section, path, node, release) {
                let key = format!("{section}.{name}.{}", path.join("."));
                let text = node.text().unwrap_or_default().to_owned();
                self.problem(Problem::Type { key, wanted, text }, place);
            }
        }
    }

    fn problem(&mut self, value: Problem, place: Place) {
        self.outcome.problems.push(At { value, place });
    }

    /// Replaces the variables in a string; `None` if it has an invalid `$`.
    fn expand(&mut self, text: &str, place: Place) -> Option<String> {
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
                expanded.push_str(&self.braced(&after[..end], place)?);
                rest = &after[end + 1..];
            } else {
                let (name, after) = after.split_at(name_length(after));
                if name.is_empty() {
                    return None;
                }
                expanded.push_str(&self.value_of(name, place));
                rest = after;
            }
        }
        expanded.push_str(rest);
        Some(expanded)
    }

    /// Expands the inside of `${…}`: a name, alone or
    /// followed by `-`, `:-`, `?` or `:?` and a text.
    fn braced(&mut self, inside: &str, place: Place) -> Option<String> {
        let (name, rest) = inside.split_at(name_length(inside));
        if name.is_empty() {
            return None;
        }
        if rest.is_empty() {
            return Some(self.value_of(name, place));
        }
        let value = self.environment.get(name);
        let filled = value.filter(|value| !value.is_empty());
        if let Some(default) = rest.strip_prefix(":-") {
            return Some(filled.map_or(default, String::as_str).to_owned());
        }
        if let Some(default) = rest.strip_prefix('-') {
            return Some(value.map_or(default, String::as_str).to_owned());
        }
        let (found, said) = match rest.strip_prefix(":?") {
            Some(said) => (filled, said),
            None => (value, rest.strip_prefix('?')?),
        };
        if found.is_none() {
            self.unset(name, place);
            let (name, said) = (name.to_owned(), said.to_owned());
            self.problem(Problem::Required { name, said }, place);
        }
        Some(found.cloned().unwrap_or_default())
    }

    fn value_of(&mut self, name: &str, place: Place) -> String {
        if let Some(value) = self.environment.get(name) {
            return value.clone();
        }
        self.unset(name, place);
        String::new()
    }

    fn unset(&mut self, name: &str, place: Place) {
        let value = name.to_owned();
        self.outcome.unset.push(At { value, place });
    }
}

/// Returns the length in bytes of the variable name at the start of a text.
fn name_length(text: &str) -> usize {
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}
