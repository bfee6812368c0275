//! A YAML document as a tree that knows its lines.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Options, Spanned};

use super::ComposeError;

/// No compose file nests deeper; recursion over the tree stays shallow.
const MAX_DEPTH: usize = 24;
/// No compose file has more values, aliases expanded.
const MAX_NODES: usize = 100_000;
/// No compose file is larger.
const MAX_BYTES: usize = 1 << 20;

/// A value and its line.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) line: usize,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    String(String),
    /// A number or a boolean, as text.
    Other(String),
    List(Vec<Node>),
    Map(Map),
}

/// A table, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Map(Vec<(String, usize, Node)>);

impl Map {
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.0
            .iter()
            .find(|(name, _, _)| name == key)
            .map(|(_, _, node)| node)
    }

    /// The line of a key, if it is there.
    pub(super) fn line_of(&self, key: &str) -> Option<usize> {
        self.0
            .iter()
            .find(|(name, _, _)| name == key)
            .map(|(_, line, _)| *line)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, usize, &Node)> {
        self.0
            .iter()
            .map(|(key, line, node)| (key.as_str(), *line, node))
    }

    pub(super) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.0.iter_mut().map(|(_, _, node)| node)
    }
}

/// What stands for a table that was left empty.
static EMPTY: Map = Map(Vec::new());

impl Node {
    /// Its value as a table; nothing at all is an empty one.
    pub(super) fn map(&self, key: &str) -> Result<&Map, ComposeError> {
        match &self.value {
            Value::Map(map) => Ok(map),
            Value::Null => Ok(&EMPTY),
            _ => Err(ComposeError::Shape {
                key: key.to_owned(),
                expected: "a table",
                line: self.line,
            }),
        }
    }

    /// A key of its value, if that is a table that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(map) => map.get(key),
            _ => None,
        }
    }

    /// Its value as text, if it is a single one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) | Value::Other(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<u64> {
        self.text()?.parse().ok()
    }

    /// Whether it is true, in any of YAML's words.
    pub(super) fn is_true(&self) -> bool {
        self.text().is_some_and(|text| {
            matches!(
                text.to_ascii_lowercase().as_str(),
                "true" | "yes" | "on" | "y"
            )
        })
    }

    /// The elements of a list; those of anything else are none.
    pub(super) fn elements(&self) -> std::slice::Iter<'_, Node> {
        match &self.value {
            Value::List(list) => list.iter(),
            _ => [].iter(),
        }
    }

    /// The elements of a list, or the value alone.
    pub(super) fn one_or_many(&self) -> std::slice::Iter<'_, Node> {
        match &self.value {
            Value::List(list) => list.iter(),
            _ => std::slice::from_ref(self).iter(),
        }
    }
}

/// Parses a YAML document, bounded against alias bombs.
pub(super) fn parse(text: &str) -> Result<Node, ComposeError> {
    if text.len() > MAX_BYTES {
        let message = format!("it has {} bytes, far more than a compose file", text.len());
        return Err(ComposeError::Yaml {
            message,
            line: None,
        });
    }
    let mut options = Options::default();
    if let Some(budget) = &mut options.budget {
        budget.max_depth = MAX_DEPTH;
        budget.flow_nesting_limit = MAX_DEPTH;
        budget.max_nodes = MAX_NODES;
        budget.max_events = 2 * MAX_NODES;
    }
    options.with_snippet = false;
    serde_saphyr::from_str_with_options(text, options).map_err(|error| ComposeError::Yaml {
        message: error
            .without_snippet()
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
        line: error
            .location()
            .and_then(|location| usize::try_from(location.line()).ok()),
    })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let line = usize::try_from(spanned.referenced.line()).unwrap_or(usize::MAX);
        Ok(Self {
            value: spanned.value,
            line,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Other(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Other(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Other(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Other(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Other(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Other(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = access.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::default();
        while let Some((key, node)) = access.next_entry::<Node, Node>()? {
            let name = key.text().unwrap_or_default().to_owned();
            map.0.push((name, key.line, node));
        }
        Ok(Value::Map(map))
    }
}
