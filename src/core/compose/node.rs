//! A YAML document as a tree whose nodes know their place.

use super::{ComposeError, Place};

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// The value of a node.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    String(String),
    /// A plain word that YAML 1.1 reads as something other than a string.
    Other(Other),
    List(Vec<Node>),
    Map(Map),
}

/// A boolean, a number or a date.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Other {
    /// The text that docker-compose uses where a string is needed: `2222:22` is `133342`.
    pub(super) text: String,
    pub(super) kind: Kind,
}

/// The type of a plain word.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Bool(bool),
    Int(i128),
    Float(f64),
    Date,
}

/// A key of a table.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) place: Place,
    /// Whether YAML reads it as a string.
    pub(super) is_string: bool,
}

/// A table, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Map(pub(super) Vec<(Key, Node)>);

impl Node {
    // The recursion depth is bounded by the YAML reader.
    fn write(&self, text: &mut String) {
        match &self.value {
            Value::Null => text.push('~'),
            Value::String(word) => text.push_str(&quoted(word)),
            Value::Other(other) => text.push_str(&other.text),
            Value::List(list) => {
                text.push('[');
                for node in list {
                    node.write(text);
                    text.push(',');
                }
                text.push(']');
            }
            Value::Map(map) => map.write(text),
        }
    }
}

/// Quotes a string so that it cannot equal another value's text.
fn quoted(word: &str) -> String {
    format!("{word:?}")
}

impl Map {
    /// Writes the values without their places, keys sorted: equal values give equal text.
    pub(super) fn write(&self, text: &mut String) {
        let mut entries: Vec<_> = self.0.iter().collect();
        entries.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        text.push('{');
        for (key, node) in entries {
            text.push_str(&quoted(&key.name));
            text.push(':');
            node.write(text);
            text.push(',');
        }
        text.push('}');
    }

    pub(super) fn entry(&self, key: &str) -> Option<(&Key, &Node)> {
        let mut entries = self.0.iter();
        entries
            .find(|(found, _)| found.name == key)
            .map(|(key, node)| (key, node))
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, node)| node)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let mut entries = self.0.iter_mut();
        entries
            .find(|(found, _)| found.name == key)
            .map(|(_, node)| node)
    }

    /// Returns the place of a key, if it exists.
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        self.entry(key).map(|(key, _)| key.place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Node)> {
        self.0.iter().map(|(key, node)| (key, node))
    }

    /// Sets a key, replacing an existing one in its position.
    pub(super) fn set(&mut self, key: Key, node: Node) {
        match self.0.iter_mut().find(|(found, _)| found.name == key.name) {
            Some(entry) => *entry = (key, node),
            None => self.0.push((key, node)),
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.0.retain(|(found, _)| found.name != key);
    }
}

/// The value of an empty table.
static EMPTY: Map = Map(Vec::new());

impl Node {
    pub(super) fn string(text: impl Into<String>, place: Place) -> Self {
        Self {
            value: Value::String(text.into()),
            place,
        }
    }

    /// Returns the value as a table; an empty value is an empty table.
    pub(super) fn map(&self, key: &str) -> Result<&Map, ComposeError> {
        self.as_map().ok_or_else(|| ComposeError::Shape {
            key: key.to_owned(),
            expected: "a table",
            place: self.place,
        })
    }

    /// Returns the value as a table, if it is one or empty.
    pub(super) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            Value::Null => Some(&EMPTY),
            _ => None,
        }
    }

    /// Returns the value as a mutable table, if it is one.
    pub(super) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Returns the mutable value of a key, if this is a table that has it.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        self.as_map_mut()?.get_mut(key)
    }

    /// Returns the value of a key, if this is a table that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(map) => map.get(key),
            _ => None,
        }
    }

    /// Returns the value as text, if it is a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            Value::Other(other) => Some(&other.text),
            _ => None,
        }
    }

    /// Returns the value if it is a string.
    pub(super) fn as_string(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<u64> {
        self.text()?.trim().parse().ok()
    }

    /// Whether the value is true, in any of YAML's spellings.
    pub(super) fn is_true(&self) -> bool {
        self.text().is_some_and(|text| {
            matches!(
                text.to_ascii_lowercase().as_str(),
                "true" | "yes" | "on" | "y"
            )
        })
    }

    /// Whether Python treats the value as false: null, an empty value, zero.
    pub(super) fn is_falsy(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Other(other) => match other.kind {
                Kind::Bool(value) => !value,
                Kind::Int(value) => value == 0,
                Kind::Float(value) => value == 0.0,
                Kind::Date => false,
            },
            Value::List(list) => list.is_empty(),
            Value::Map(map) => map.0.is_empty(),
        }
    }

    /// Returns the elements of a list; none for anything else.
    pub(super) fn elements(&self) -> std::slice::Iter<'_, Node> {
        match &self.value {
            Value::List(list) => list.iter(),
            _ => [].iter(),
        }
    }

    /// Returns the elements of a list, or the value alone; none for null.
    pub(super) fn one_or_many(&self) -> std::slice::Iter<'_, Node> {
        match &self.value {
            Value::List(list) => list.iter(),
            Value::Null => [].iter(),
            _ => std::slice::from_ref(self).iter(),
        }
    }

    /// Returns the type in words.
    pub(super) fn what(&self) -> &'static str {
        match &self.value {
            Value::Null => "empty",
            Value::String(_) => "a string",
            Value::Other(other) => match other.kind {
                Kind::Bool(_) => "a boolean",
                Kind::Int(_) => "an integer",
                Kind::Float(_) => "a number",
                Kind::Date => "a date",
            },
            Value::List(_) => "a list",
            Value::Map(_) => "a table",
        }
    }
}
