//! Composes a YAML document into a tree, accepting and
//! refusing what `PyYAML` does for docker-compose.

use std::collections::BTreeMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput, Tag};

use super::{
    ComposeError, Place,
    node::{Key, Kind, Map, Node, Other, Value},
    scalar,
};

/// The maximum depth, beyond that of any compose file; it bounds recursion over the tree.
const MAX_DEPTH: usize = 24;
/// The maximum number of values with aliases expanded, beyond that of any compose file.
const MAX_NODES: usize = 100_000;
/// The maximum size in bytes, beyond that of any compose file.
const MAX_BYTES: usize = 1 << 20;

/// Parses a YAML document, bounded against alias bombs; `file` is the file index of its places.
pub(super) fn parse(text: &str, file: usize) -> Result<Node, ComposeError> {
    if text.len() > MAX_BYTES {
        return Err(ComposeError::Yaml {
            message: format!("it has {} bytes, far more than a compose file", text.len()),
            place: None,
        });
    }
    // A BOM is skipped, but counts in the places.
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut options = Options::default();
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    options.emit_anchor_events = true;
    options.max_buffered_comment_events = usize::MAX;
    let mut composer = Composer {
        parser: Parser::new_from_str_with_options(bare, options),
        file,
        skipped: text.len() - bare.len(),
        anchors: BTreeMap::new(),
        names: BTreeMap::new(),
        nodes: 0,
        tabs_allowed: Vec::new(),
    };
    composer.unprintable(bare)?;
    let root = composer.document()?;
    composer.tabs(bare)?;
    Ok(root)
}

struct Composer<'t> {
    parser: Parser<'t, StrInput<'t>>,
    file: usize,
    skipped: usize,
    /// The finished nodes that have an anchor.
    anchors: BTreeMap<usize, Node>,
    /// The place of each anchor's name.
    names: BTreeMap<String, Place>,
    nodes: usize,
    /// Ranges where tabs are content: quotes, blocks and comments.
    tabs_allowed: Vec<std::ops::Range<usize>>,
}

type Composed<T> = Result<T, ComposeError>;

impl<'t> Composer<'t> {
    fn place(&self, span: &Span) -> Place {
        let start = span.start.byte_offset().unwrap_or_default();
        let end = span.end.byte_offset().unwrap_or(start).max(start);
        Place {
            file: self.file,
            line: span.start.line(),
            start: start + self.skipped,
            end: end + self.skipped,
        }
    }

    fn fail<T>(place: Place, message: impl Into<String>) -> Composed<T> {
        Err(ComposeError::Yaml {
            message: message.into(),
            place: Some(place),
        })
    }

    /// Returns the next event that is part of the tree.
    fn next(&mut self) -> Composed<(Event<'t>, Span)> {
        loop {
            let next = match self.parser.next_event() {
                Some(Ok(next)) => next,
                Some(Err(error)) => {
                    let at = Span::empty(*error.marker());
                    return Self::fail(self.place(&at), error.info());
                }
                None => return Ok((Event::StreamEnd, Span::default())),
            };
            match next {
                (Event::Comment(..), span) => self.allow_tabs(&span),
                (Event::StreamStart, _) => {}
                (Event::Anchor(_, name), span) => {
                    let place = self.place(&span);
                    if self.names.insert(name.to_string(), place).is_some() {
                        let message = format!("the anchor `&{name}` is defined twice");
                        return Self::fail(place, message);
                    }
                }
                next => return Ok(next),
            }
        }
    }

    fn allow_tabs(&mut self, span: &Span) {
        if let Some(range) = span.byte_range() {
            self.tabs_allowed.push(range);
        }
    }

    fn document(&mut self) -> Composed<Node> {
        let (event, span) = self.next()?;
        let start = self.place(&span);
        if matches!(event, Event::StreamEnd) {
            return Ok(Node {
                value: Value::Null,
                place: start,
            });
        }
        let (event, span) = self.next()?;
        let root = self.node(event, &span, 0)?;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(..), span) => {
                    let message =
                        "it has more than one YAML document, and docker-compose reads one";
                    return Self::fail(self.place(&span), message);
                }
                _ => {}
            }
        }
    }

    // The recursion is bounded by MAX_DEPTH.
    fn node(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Composed<Node> {
        let mut place = self.place(span);
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Self::fail(place, "it nests deeper than any compose file");
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                if style != ScalarStyle::Plain {
                    self.allow_tabs(span);
                }
                let value = match tag {
                    Some(tag) => tagged(&text, &tag, place)?,
                    None if style == ScalarStyle::Plain => scalar::resolve(&text),
                    None => Value::String(text.into_owned()),
                };
                (value, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                collection_tag(tag.as_deref(), "seq", place)?;
                let mut list = Vec::new();
                let end = loop {
                    match self.next()? {
                        (Event::SequenceEnd, span) => break span,
                        (event, span) => list.push(self.node(event, &span, depth + 1)?),
                    }
                };
                place.end = self.place(&end).end.max(place.end);
                (Value::List(list), anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                collection_tag(tag.as_deref(), "map", place)?;
                let (map, end) = self.mapping(depth)?;
                place.end = self.place(&end).end.max(place.end);
                (Value::Map(map), anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Self::fail(place, "an alias refers to what contains it");
                };
                self.nodes += count(&node);
                if self.nodes > MAX_NODES {
                    return Self::fail(place, "its aliases expand far beyond any compose file");
                }
                return Ok(node);
            }
            _ => return Self::fail(place, "it is no complete YAML document"),
        };
        let node = Node { value, place };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn mapping(&mut self, depth: usize) -> Composed<(Map, Span)> {
        let mut own = Map::default();
        // The tables that `<<` merges in; earlier ones take precedence.
        let mut merged: Vec<Map> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                for map in merged {
                    for (key, node) in map.0 {
                        if own.get(&key.name).is_none() {
                            own.0.push((key, node));
                        }
                    }
                }
                return Ok((own, span));
            }
            let is_merge = matches!(
                &event,
                Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<"
            );
            let key = self.node(event, &span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, &span, depth + 1)?;
            if is_merge {
                merge(value, &mut merged)?;
                continue;
            }
            let key = Self::key(&key)?;
            if let Some(earlier) = own.place_of(&key.name) {
                return Err(ComposeError::Duplicate {
                    key: key.name,
                    place: key.place,
                    earlier,
                });
            }
            own.0.push((key, value));
        }
    }

    fn key(node: &Node) -> Composed<Key> {
        let name = match &node.value {
            Value::Null => "None".to_owned(),
            Value::String(text) => text.clone(),
            Value::Other(other) => other.text.clone(),
            Value::List(_) | Value::Map(_) => {
                return Self::fail(node.place, "a list or a table cannot be a key");
            }
        };
        Ok(Key {
            name,
            place: node.place,
            is_string: matches!(node.value, Value::String(_)),
        })
    }

    /// Refuses control characters, as `PyYAML` does.
    fn unprintable(&self, text: &str) -> Composed<()> {
        let is_allowed = |c: char| {
            matches!(c,
                '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}'
                | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        };
        match text.char_indices().find(|(_, c)| !is_allowed(*c)) {
            Some((at, c)) => Self::fail(
                self.at(text, at),
                format!(
                    "the character U+{:04X} is not allowed in YAML",
                    u32::from(c)
                ),
            ),
            None => Ok(()),
        }
    }

    /// Refuses tabs outside of quotes, blocks and comments, as `PyYAML` does.
    fn tabs(&self, text: &str) -> Composed<()> {
        let is_allowed = |at| self.tabs_allowed.iter().any(|range| range.contains(&at));
        match text.match_indices('\t').find(|(at, _)| !is_allowed(*at)) {
            Some((at, _)) => Self::fail(
                self.at(text, at),
                "a tab between words: docker-compose's YAML allows only blanks there",
            ),
            None => Ok(()),
        }
    }

    fn at(&self, text: &str, offset: usize) -> Place {
        Place {
            file: self.file,
            line: text[..offset].matches('\n').count() + 1,
            start: offset + self.skipped,
            end: offset + self.skipped + 1,
        }
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(list) => list.iter().map(count).sum(),
        Value::Map(map) => map.iter().map(|(_, node)| count(node)).sum(),
        _ => 0,
    }
}

/// Adds the tables that `<<` names.
fn merge(value: Node, merged: &mut Vec<Map>) -> Composed<()> {
    let place = value.place;
    let refused = |place| {
        Composer::fail(
            place,
            "`<<` takes a table or a list of tables, as `<<: *common`",
        )
    };
    match value.value {
        Value::Map(map) => merged.push(map),
        Value::List(list) => {
            for node in list {
                let place = node.place;
                match node.value {
                    Value::Map(map) => merged.push(map),
                    _ => return refused(place),
                }
            }
        }
        _ => return refused(place),
    }
    Ok(())
}

/// Returns the value of a scalar with one of YAML's own tags.
fn tagged(text: &str, tag: &Tag, place: Place) -> Composed<Value> {
    // `!` alone makes a string.
    if matches!(tag.handle(), "" | "!") && tag.suffix().is_empty() {
        return Ok(Value::String(text.to_owned()));
    }
    let value = match tag.core_suffix() {
        Some("str") => Value::String(text.to_owned()),
        Some("null") => Value::Null,
        Some("float") => match scalar::resolve(text) {
            Value::Other(Other {
                kind: Kind::Int(value),
                ..
            }) => {
                let text = format!("{value}.0");
                scalar::resolve(&text)
            }
            value => value,
        },
        Some("bool" | "int") => scalar::resolve(text),
        _ => return unknown_tag(tag, place),
    };
    Ok(value)
}

fn collection_tag(tag: Option<&Tag>, wanted: &str, place: Place) -> Composed<()> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.core_suffix() == Some(wanted) => Ok(()),
        Some(tag) => unknown_tag(tag, place),
    }
}

fn unknown_tag<T>(tag: &Tag, place: Place) -> Composed<T> {
    let tag = tag.original();
    let message = match tag.as_str() {
        "!reset" | "!override" => {
            format!("the tag `{tag}` is of docker compose 2, and docker-compose 1 refuses it")
        }
        _ => format!("docker-compose does not know the tag `{tag}`"),
    };
    Composer::fail(place, message)
}
