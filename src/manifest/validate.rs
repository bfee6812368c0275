//! Validates a document against its schema and explains in the user's words what does not fit.

use crate::closest::did_you_mean;
use std::sync::OnceLock;

use jsonschema::{
    JsonType, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::{Map, Value};

use super::{
    FindingCode,
    diagnostics::{Diagnostic, Source},
    names,
    schema::{Document, schema_of},
    spans::{SpanMap, child, split_last},
    variables::{help_for_variable, no_variable, unknown_variable},
};

/// A schema and its compiled validator.
struct Compiled {
    schema: Value,
    validator: Validator,
}

#[expect(
    clippy::expect_used,
    reason = "the schema is ours, and every test compiles it"
)]
fn compiled(document: Document) -> &'static Compiled {
    static MANIFEST: OnceLock<Compiled> = OnceLock::new();
    static VPUS: OnceLock<Compiled> = OnceLock::new();
    let compiled = match document {
        Document::Manifest => &MANIFEST,
        Document::Vpus => &VPUS,
    };
    compiled.get_or_init(|| {
        let mut schema = schema_of(document);
        // Patterns are for editors. The formats' parsers decide, and explain what is wrong.
        remove_patterns(&mut schema);
        let mut options = jsonschema::options().should_validate_formats(true);
        for &(format, check) in names::CHECKS {
            options = options.with_format(format, move |text: &str| check(text).is_ok());
        }
        let validator = options
            .build(&schema)
            .expect("the generated schema is valid");
        Compiled { schema, validator }
    })
}

fn remove_patterns(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("pattern").is_some_and(Value::is_string) {
                object.remove("pattern");
            }
            object.values_mut().for_each(remove_patterns);
        }
        Value::Array(values) => values.iter_mut().for_each(remove_patterns),
        _ => {}
    }
}

/// Returns everything in `value` that the schema does not allow.
pub(super) fn validate(
    document: Document,
    value: &Value,
    spans: &SpanMap,
    source: &Source,
) -> Vec<Diagnostic> {
    let Compiled { schema, validator } = compiled(document);
    let context = Context {
        document,
        schema,
        spans,
        source,
    };
    validator
        .iter_errors(value)
        .flat_map(|error| context.explain(&error))
        .collect()
}

/// Replaces or removes what the schema does not allow, so that the rest can be checked; elements of lists keep
/// their places in `spans`. Returns whether the rest is a valid manifest.
pub(super) fn prune(document: Document, value: &mut Value, spans: &mut SpanMap) -> bool {
    /// With more removals than this, the meaning is not worth checking.
    const MAX_REMOVALS: usize = 100;
    for _ in 0..MAX_REMOVALS {
        let Some(error) = compiled(document).validator.iter_errors(value).next() else {
            return true;
        };
        let mut pointer = error.instance_path().as_str().to_owned();
        let is_required = matches!(error.kind(), ValidationErrorKind::Required { .. });
        if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind()
            && let Some(key) = unexpected.first()
        {
            pointer = child(&pointer, key);
        }
        // A text with spaces is rather a command line.
        let word = error.instance().as_str().filter(|text| !text.contains(' '));
        let is_lone_word = word.is_some() && wants_list(error.kind());
        drop(error);
        if is_lone_word && let Some(word) = value.pointer_mut(&pointer) {
            // What it lists is meant, and need not be reported as missing, too.
            *word = Value::Array(vec![word.take()]);
        } else if pointer.is_empty() && is_required {
            // Only `[release]` is required, and nothing else depends on its contents.
            value["release"] = serde_json::json!({ "name": "unnamed" });
        } else if !remove(value, spans, &pointer) {
            return false;
        }
    }
    false
}

/// Whether the value is to be a list.
fn wants_list(kind: &ValidationErrorKind) -> bool {
    matches!(
        kind,
        ValidationErrorKind::Type {
            kind: TypeKind::Single(JsonType::Array)
        }
    )
}

/// Removes the value at a pointer from its table or list; the document itself cannot be removed.
fn remove(value: &mut Value, spans: &mut SpanMap, pointer: &str) -> bool {
    let Some((parent, key)) = split_last(pointer) else {
        return false;
    };
    match value.pointer_mut(parent) {
        Some(Value::Object(object)) => {
            spans.remove(pointer);
            object.shift_remove(&key).is_some()
        }
        Some(Value::Array(elements)) => match key.parse::<usize>() {
            Ok(index) if index < elements.len() => {
                spans.remove_element(parent, index);
                elements.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

/// What explanations are looked up in.
struct Context<'a> {
    document: Document,
    schema: &'a Value,
    spans: &'a SpanMap,
    source: &'a Source,
}

impl Context<'_> {
    fn explain(&self, error: &ValidationError<'_>) -> Vec<Diagnostic> {
        let pointer = error.instance_path().as_str();
        // The schema around the keyword that failed.
        let schema_path = error.schema_path().as_str();
        let around = schema_path
            .rsplit_once('/')
            .map_or("", |(parent, _)| parent);
        let schema = self.schema.pointer(around).unwrap_or(&Value::Null);
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
                .iter()
                .map(|key| self.unknown_key(pointer, key, schema))
                .collect(),
            ValidationErrorKind::Required { property } => {
                vec![self.missing_key(pointer, property.as_str().unwrap_or_default())]
            }
            ValidationErrorKind::AnyOf { context } => {
                // The branch that fits best is the one whose type matches.
                let is_type = |error: &ValidationError<'_>| {
                    error.instance_path().as_str() == pointer
                        && matches!(error.kind(), ValidationErrorKind::Type { .. })
                };
                match context.iter().find(|errors| !errors.iter().any(is_type)) {
                    Some(errors) => errors
                        .iter()
                        .flat_map(|error| self.explain(error))
                        .collect(),
                    None => context
                        .first()
                        .into_iter()
                        .flatten()
                        .flat_map(|e| self.explain(e))
                        .collect(),
                }
            }
            ValidationErrorKind::Type { kind } => {
                vec![self.wrong_type(pointer, kind, error.instance(), schema)]
            }
            _ => vec![self.wrong_value(pointer, error)],
        }
    }

    fn unknown_key(&self, table: &str, key: &str, schema: &Value) -> Diagnostic {
        let pointer = child(table, key);
        let properties = schema.get("properties").and_then(Value::as_object);
        let known: Vec<&str> = properties
            .into_iter()
            .flat_map(Map::keys)
            .map(String::as_str)
            .collect();
        let help = if let Some(meant) = did_you_mean(key, known.iter().copied()) {
            format!("did you mean `{meant}`?")
        } else if self.document == Document::Vpus && table.is_empty() {
            format!("write `[vpus.{}]`", names::escape(key))
        } else if let Some(owner) = self.owner_of(key) {
            format!("`{key}` is a key of {owner}")
        } else {
            format!("known keys: {}", known.join(", "))
        };
        let key = names::escape(key);
        let (message, label) = if table.is_empty() {
            let label = match self.document {
                Document::Manifest => "not a key of a manifest",
                Document::Vpus => "not a key of vpus.toml",
            };
            (format!("unknown key `{key}`"), label)
        } else {
            (
                format!("unknown key `{key}` in {}", header(table)),
                "unknown key",
            )
        };
        Diagnostic::error(FindingCode::UnknownKey, self.source, message)
            .at(&pointer)
            .label(self.spans.key(&pointer), label)
            .help(help)
    }

    /// Returns the table that has this key, if there is exactly one.
    fn owner_of(&self, key: &str) -> Option<String> {
        let tables = self.schema.get("properties")?.as_object()?;
        let mut owners = tables.iter().filter_map(|(name, table)| {
            let (table, header) = match table.get("items") {
                Some(items) => (items, format!("[[{name}]]")),
                None => (table, format!("[{name}]")),
            };
            table.get("properties")?.get(key).map(|_| header)
        });
        owners.next().filter(|_| owners.next().is_none())
    }

    fn missing_key(&self, table: &str, key: &str) -> Diagnostic {
        let finding = if table.is_empty() {
            Diagnostic::error(
                FindingCode::MissingKey,
                self.source,
                format!("the table `[{key}]` is missing"),
            )
            .label(
                self.source.text().len()..self.source.text().len(),
                "expected somewhere",
            )
            .help("add `[release]` with the `name` of what is deployed")
        } else {
            let message = format!("`{key}` is missing in {}", header(table));
            Diagnostic::error(FindingCode::MissingKey, self.source, message)
                .label(self.spans.value(table), format!("`{key}` belongs here"))
                .help(format!("add `{key} = …`"))
        };
        finding.at(table)
    }

    fn wrong_type(
        &self,
        pointer: &str,
        kind: &TypeKind,
        found: &Value,
        schema: &Value,
    ) -> Diagnostic {
        let wanted = match kind {
            TypeKind::Single(wanted) => *wanted,
            TypeKind::Multiple(set) => set
                .iter()
                .find(|kind| *kind == JsonType::String)
                .or_else(|| set.iter().next())
                .unwrap_or(JsonType::String),
        };
        let is_table_list = wanted == JsonType::Array
            && schema
                .pointer("/items/type")
                .is_some_and(|items| items == "object");
        let name = subject(pointer);
        let takes = match wanted {
            JsonType::Array if is_table_list => "a list of tables",
            JsonType::Array => "a list",
            JsonType::Boolean => "`true` or `false`",
            JsonType::Integer => "an integer",
            JsonType::Number => "a number",
            JsonType::Null => "nothing",
            JsonType::Object => "a table",
            JsonType::String => "a string",
        };
        let is = match found {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(number) if number.is_f64() => "a float",
            Value::Number(_) => "an integer",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "a table",
        };
        let example = example(pointer, wanted, schema);
        let format = schema.get("format").and_then(Value::as_str);
        let help = match (wanted, found) {
            (JsonType::String, Value::Number(_)) if is_quantity(format) => match example {
                Some(example) => format!("write it in quotes, with a unit: `{example}`"),
                None => "write it in quotes, with a unit".to_owned(),
            },
            (JsonType::String, Value::Number(_) | Value::Bool(_)) => {
                "write it in quotes".to_owned()
            }
            (JsonType::String, Value::Array(_)) => "write a single string".to_owned(),
            (JsonType::Array, Value::Object(_)) if is_table_list => {
                format!(
                    "write `[[{}]]`, once for each",
                    pointer.trim_start_matches('/')
                )
            }
            (JsonType::Object, Value::Array(_)) => {
                format!(
                    "write `[{}]`, once",
                    pointer.trim_start_matches('/').replace('/', ".")
                )
            }
            (JsonType::Array, Value::String(text)) => match list_of_words(text) {
                Some(list) if pointer.ends_with("/command") => format!("write `{list}`"),
                _ => format!("write `[{text:?}]`"),
            },
            (JsonType::Integer, Value::String(text)) if text.parse::<i64>().is_ok() => {
                "write it without quotes".to_owned()
            }
            (JsonType::Boolean, _) => format!("write {takes}"),
            _ => match example {
                Some(example) => format!("write {takes}: `{example}`"),
                None => format!("write {takes}"),
            },
        };
        Diagnostic::error(
            FindingCode::WrongType,
            self.source,
            format!("{name} takes {takes}, not {is}"),
        )
        .at(pointer)
        .label(self.spans.value(pointer), format!("this is {is}"))
        .help(help)
    }

    fn wrong_value(&self, pointer: &str, error: &ValidationError<'_>) -> Diagnostic {
        let name = subject(pointer);
        let found = error.instance();
        let mut code = FindingCode::WrongValue;
        let (message, help) = match error.kind() {
            ValidationErrorKind::Format { .. }
                if let Some(name) = found.as_str().and_then(unknown_variable) =>
            {
                code = FindingCode::UnknownVariable;
                (no_variable(name), help_for_variable(name))
            }
            ValidationErrorKind::Format { format } => {
                match names::check(format, found.as_str().unwrap_or_default()) {
                    Err(problem) => (problem.to_string(), problem.help),
                    // The validator uses the same parser, so this is not reached.
                    Ok(()) => (format!("{name} is not valid"), format!("write a {format}")),
                }
            }
            ValidationErrorKind::Enum { options } => {
                let words: Vec<&str> = options
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                let text = found.as_str().unwrap_or_default();
                let help = match did_you_mean(text, words.iter().copied()) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => format!("write \"{}\"", words.join("\" or \"")),
                };
                (format!("{name} cannot be `{}`", names::escape(text)), help)
            }
            ValidationErrorKind::Minimum { limit } => (
                format!("{name} is below {limit}"),
                format!("write {limit} or more"),
            ),
            ValidationErrorKind::Maximum { limit } => (
                format!("{name} is above {limit}"),
                format!("write {limit} or less"),
            ),
            ValidationErrorKind::MinItems { limit } => (
                format!("{name} has too few elements"),
                format!("list at least {limit}, or leave the key out"),
            ),
            ValidationErrorKind::MaxItems { limit } => (
                format!("{name} has too many elements"),
                format!("list at most {limit}"),
            ),
            _ => (
                error.to_string(),
                "see the schema: `o3r-deploy schema`".to_owned(),
            ),
        };
        Diagnostic::error(code, self.source, message)
            .at(pointer)
            .label(self.spans.value(pointer), "here")
            .help(help)
    }
}

/// Whether a string of this format is a number with a unit.
fn is_quantity(format: Option<&str>) -> bool {
    let quantities = [
        <names::Duration as names::Word>::FORMAT,
        <names::ByteSize as names::Word>::FORMAT,
    ];
    format.is_some_and(|format| quantities.contains(&format))
}

/// Returns a line of TOML with the example of a key's description: `settle = "10s"`.
fn example(pointer: &str, wanted: JsonType, schema: &Value) -> Option<String> {
    let (_, key) = split_last(pointer)?;
    if key.parse::<usize>().is_ok() {
        return None;
    }
    let description = schema.get("description")?.as_str()?;
    let (_, example) = description.split_once("Example: `")?;
    let (example, _) = example.split_once('`')?;
    let key = names::escape(&key);
    Some(if wanted == JsonType::String {
        format!("{key} = {example:?}")
    } else {
        format!("{key} = {example}")
    })
}

/// Converts a command line to a TOML list of words: `["curl", "-f", "localhost"]`; `None` if a
/// shell would not split it at spaces alone.
pub(super) fn list_of_words(text: &str) -> Option<String> {
    let words: Vec<String> = text.split_whitespace().map(|w| format!("{w:?}")).collect();
    let is_plain = !words.is_empty() && !text.contains(['"', '\'', '\\']);
    is_plain.then(|| format!("[{}]", words.join(", ")))
}

/// Whether a top-level key is a list of tables, such as `[[compose]]`.
pub(super) fn is_table_list(document: Document, key: &str) -> bool {
    let schema = compiled(document).schema.get("properties");
    let schema = schema.and_then(|properties| properties.get(key));
    schema
        .and_then(|schema| schema.pointer("/items/type"))
        .is_some_and(|items| items == "object")
}

/// Returns the name of a pointer's last key in a sentence.
fn subject(pointer: &str) -> String {
    match split_last(pointer) {
        None => "the manifest".to_owned(),
        Some((parent, key)) if key.parse::<usize>().is_ok() => match split_last(parent) {
            Some((_, list)) => format!("an element of `{list}`"),
            None => "an element".to_owned(),
        },
        Some((_, key)) => format!("`{}`", names::escape(&key)),
    }
}

/// Returns the header of a table in TOML: `[vpu]`, `[[images]]`, `images.rootfs`.
fn header(pointer: &str) -> String {
    let keys: Vec<&str> = pointer.split('/').skip(1).collect();
    let is_index = |key: &&str| key.parse::<usize>().is_ok();
    let path: Vec<&str> = keys.iter().copied().filter(|key| !is_index(key)).collect();
    match (keys.as_slice(), path.as_slice()) {
        ([_, last], [table]) if is_index(last) => format!("[[{table}]]"),
        (_, [table]) => format!("[{table}]"),
        _ => format!("`{}`", names::escape(&path.join("."))),
    }
}
