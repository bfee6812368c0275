//! Turns a parsed TOML document into a JSON value and records the place of each key and value.

use std::{collections::BTreeMap, ops::Range};

use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    FindingCode,
    diagnostics::{Diagnostic, Source},
};

/// The places of a key and its value, as byte ranges of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The key; `None` for an element of a list.
    pub key: Option<Range<usize>>,
    /// The value; for a table or an element of `[[…]]`, its header.
    pub value: Range<usize>,
}

/// The places in a document by JSON pointer, e.g. `/images/0/name`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpanMap {
    places: BTreeMap<String, Place>,
}

impl SpanMap {
    /// Returns the place of exactly this pointer.
    pub fn get(&self, pointer: &str) -> Option<&Place> {
        self.places.get(pointer)
    }

    /// Whether the document has this pointer.
    pub fn contains(&self, pointer: &str) -> bool {
        self.places.contains_key(pointer)
    }

    /// Returns all pointers, sorted.
    pub fn pointers(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Returns the place of the value at a pointer, or of the closest written value around it.
    pub fn value(&self, pointer: &str) -> Range<usize> {
        self.closest(pointer)
            .map_or(0..0, |place| place.value.clone())
    }

    /// Returns the place of the key at a pointer; without a key, that of [`SpanMap::value`].
    pub fn key(&self, pointer: &str) -> Range<usize> {
        match self.get(pointer).and_then(|place| place.key.clone()) {
            Some(key) => key,
            None => self.value(pointer),
        }
    }

    /// Returns the last key with this text that starts before a byte of the document.
    pub(super) fn last_key_before(
        &self,
        offset: usize,
        key: &str,
        text: &str,
    ) -> Option<Range<usize>> {
        let keys = self.places.values().filter_map(|place| place.key.clone());
        keys.filter(|span| span.start < offset && text.get(span.clone()) == Some(key))
            .max_by_key(|span| span.start)
    }

    fn closest(&self, mut pointer: &str) -> Option<&Place> {
        loop {
            if let Some(place) = self.places.get(pointer) {
                return Some(place);
            }
            pointer = &pointer[..pointer.rfind('/')?];
        }
    }

    /// Removes a pointer and all pointers below it.
    pub(super) fn remove(&mut self, pointer: &str) {
        let below = format!("{pointer}/");
        self.places
            .retain(|place, _| place != pointer && !place.starts_with(&below));
    }

    /// Removes element `index` of a list and renumbers those after it.
    pub(super) fn remove_element(&mut self, list: &str, index: usize) {
        self.remove(&format!("{list}/{index}"));
        let below = format!("{list}/");
        let places = std::mem::take(&mut self.places);
        let moved = |pointer: String| {
            let Some(rest) = pointer.strip_prefix(&below) else {
                return pointer;
            };
            let (position, rest) = rest.split_once('/').map_or((rest, ""), |(p, r)| (p, r));
            match position.parse::<usize>() {
                Ok(position) if position > index => {
                    let slash = if rest.is_empty() { "" } else { "/" };
                    format!("{below}{}{slash}{rest}", position - 1)
                }
                _ => pointer,
            }
        };
        self.places = places
            .into_iter()
            .map(|(pointer, place)| (moved(pointer), place))
            .collect();
    }
}

/// Appends a key to a JSON pointer.
pub(super) fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Splits a JSON pointer into its parent and its last key.
pub(super) fn split_last(pointer: &str) -> Option<(&str, String)> {
    let (parent, last) = pointer.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}

/// The contents of a TOML document, without comments and formatting.
#[derive(Debug)]
pub(super) struct Tree {
    /// The document as JSON, keys in the order of the file.
    pub(super) value: Value,
    /// The places of its keys and values.
    pub(super) spans: SpanMap,
    /// Findings about values that JSON does not have.
    pub(super) findings: Vec<Diagnostic>,
}

/// Converts a parsed document.
pub(super) fn convert(table: &DeTable<'_>, source: &Source) -> Tree {
    let mut converter = Converter {
        source,
        spans: SpanMap::default(),
        findings: Vec::new(),
    };
    let value = converter.table(table, "");
    Tree {
        value,
        spans: converter.spans,
        findings: converter.findings,
    }
}

struct Converter<'a> {
    source: &'a Source,
    spans: SpanMap,
    findings: Vec<Diagnostic>,
}

impl Converter<'_> {
    // The recursion is bounded: the TOML parser refuses more than 80 nested levels.
    fn table(&mut self, table: &DeTable<'_>, pointer: &str) -> Value {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut object = Map::new();
        for (key, value) in entries {
            let pointer = child(pointer, key.get_ref());
            let converted = self.value(value, Some(key.span()), &pointer);
            object.insert(key.get_ref().to_string(), converted);
        }
        Value::Object(object)
    }

    fn value(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        key: Option<Range<usize>>,
        pointer: &str,
    ) -> Value {
        let span = value.span();
        self.spans.places.insert(
            pointer.to_owned(),
            Place {
                key,
                value: span.clone(),
            },
        );
        match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(boolean) => Value::Bool(*boolean),
            DeValue::Integer(integer) => {
                match i64::from_str_radix(integer.as_str(), integer.radix()) {
                    Ok(number) => Value::Number(number.into()),
                    Err(_) => self.refuse(
                        pointer,
                        span,
                        "this number is too large",
                        "write a smaller one",
                    ),
                }
            }
            DeValue::Float(float) => {
                match float
                    .as_str()
                    .parse::<f64>()
                    .ok()
                    .and_then(Number::from_f64)
                {
                    Some(number) => Value::Number(number),
                    None => self.refuse(
                        pointer,
                        span,
                        "this number is not finite",
                        "write a finite one",
                    ),
                }
            }
            DeValue::Datetime(_) => self.refuse(
                pointer,
                span,
                "no key takes a date or a time",
                "write text in quotes",
            ),
            DeValue::Array(elements) => Value::Array(
                elements
                    .iter()
                    .enumerate()
                    .map(|(index, element)| {
                        self.value(element, None, &format!("{pointer}/{index}"))
                    })
                    .collect(),
            ),
            DeValue::Table(table) => self.table(table, pointer),
        }
    }

    fn refuse(&mut self, pointer: &str, span: Range<usize>, message: &str, help: &str) -> Value {
        self.findings.push(
            Diagnostic::error(FindingCode::WrongType, self.source, message)
                .at(pointer)
                .label(span, "here")
                .help(help),
        );
        Value::Null
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Tree {
        let source = Source::new("deploy.toml", text.to_owned());
        convert(DeTable::parse(text).unwrap().get_ref(), &source)
    }

    #[test]
    fn every_value_has_a_place() {
        let text = "[[images]]\nname = 'a'\n[[images]]\nname = 'b'\n";
        let spans = tree(text).spans;
        assert_eq!(&text[spans.value("/images/1")], "[[images]]");
        assert_eq!(spans.value("/images/1").start, 22);
        assert_eq!(&text[spans.key("/images/1/name")], "name");
        assert_eq!(&text[spans.value("/images/1/name")], "'b'");
        assert_eq!(
            spans.value("/images/1/archive"),
            spans.value("/images/1"),
            "the closest"
        );
    }

    #[test]
    fn removing_an_element_renumbers_those_after_it() {
        let mut spans = tree("a = [1, 2, 3]\nab = 1").spans;
        let third = spans.value("/a/2");
        spans.remove_element("/a", 1);
        assert_eq!(spans.value("/a/1"), third);
        assert!(!spans.contains("/a/2"));
        assert!(spans.contains("/ab"));
    }

    #[test]
    fn what_json_lacks_is_found() {
        let tree = tree("a = nan\nb = 1979-05-27\nc = 99999999999999999999\nd = 0x7f");
        assert_eq!(tree.findings.len(), 3);
        assert_eq!(tree.value["d"], 127);
    }
}
