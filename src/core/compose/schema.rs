//! Validates a compose file against docker-compose's own
//! schemas and explains in the user's words what does not fit.

use std::sync::OnceLock;

use jsonschema::{
    Draft, JsonType, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::Value as Json;

use super::{
    Refusal, Release,
    node::{Kind, Node, Value},
    ports,
};
use crate::closest::did_you_mean;

/// The schemas of one release, by file format.
macro_rules! schemas {
    ($($format:literal),*) => {
        &[$(($format, include_str!(concat!("schemas/1.25.4/config_schema_v", $format, ".json")))),*]
    };
}

/// 1.25.4 has a schema for each format.
const V1_25: &[(&str, &str)] = schemas![
    "2.0", "2.1", "2.2", "2.3", "2.4", "3.0", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7"
];
/// 1.29.2 has one schema for all formats.
const V1_29: &str = include_str!("schemas/1.29.2/compose_spec.json");

/// The format with the most keys that every firmware supports.
const BEST_FORMAT: &str = "2.4";

/// The key of a table that represents a date, which JSON does not have; no schema knows it.
const DATE: &str = "\u{0}date";

/// A schema and its compiled validator.
struct Compiled {
    schema: Json,
    validator: Validator,
}

/// Returns the formats that 1.25.4 knows, e.g. `2.4`.
pub(super) fn formats() -> impl Iterator<Item = &'static str> {
    V1_25.iter().map(|(format, _)| *format)
}

fn compiled(release: Release, format: &str) -> Option<&'static Compiled> {
    static OLD: [OnceLock<Compiled>; V1_25.len()] = [const { OnceLock::new() }; V1_25.len()];
    static NEW: OnceLock<Compiled> = OnceLock::new();
    Some(match release {
        Release::V1_29 => NEW.get_or_init(|| compile(V1_29)),
        Release::V1_25 => {
            let at = V1_25.iter().position(|(known, _)| *known == format)?;
            OLD[at].get_or_init(|| compile(V1_25[at].1))
        }
    })
}

#[expect(
    clippy::expect_used,
    reason = "the schemas are constants, and a test compiles every one"
)]
fn compile(text: &str) -> Compiled {
    let mut schema: Json = serde_json::from_str(text).expect("the schema is JSON");
    remove_ids(&mut schema);
    let validator = jsonschema::options()
        .with_draft(Draft::Draft4)
        .should_validate_formats(true)
        .with_format("ports", |text: &str| ports::split(text).is_ok())
        .with_format("expose", ports::is_expose)
        .with_format("subnet_ip_address", ports::is_cidr)
        // docker-compose does not check this format.
        .with_format("duration", |_: &str| true)
        .build(&schema)
        .expect("the schema is valid");
    Compiled { schema, validator }
}

/// Removes ids: they look like URLs, but cannot be resolved.
fn remove_ids(schema: &mut Json) {
    match schema {
        Json::Object(object) => {
            if object.get("id").is_some_and(Json::is_string) {
                object.remove("id");
            }
            // All schemas are read by the rules of draft 4, as docker-compose does.
            object.remove("$schema");
            object.values_mut().for_each(remove_ids);
        }
        Json::Array(values) => values.iter_mut().for_each(remove_ids),
        _ => {}
    }
}

/// Returns everything in a file that the schema of its format does not allow.
pub(super) fn validate(root: &Node, release: Release, format: &str) -> Vec<Refusal> {
    let Some(Compiled { schema, validator }) = compiled(release, format) else {
        return Vec::new();
    };
    let explainer = Explainer {
        root,
        schema,
        is_other_format: release == Release::V1_25 && format != BEST_FORMAT,
    };
    validator
        .iter_errors(&json(root))
        .flat_map(|error| explainer.explain(&error))
        .collect()
}

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::String(text) => Json::String(text.clone()),
        Value::List(list) => list.iter().map(json).collect(),
        Value::Map(map) => {
            let entries = map.iter();
            Json::Object(entries.map(|(k, v)| (k.name.clone(), json(v))).collect())
        }
        Value::Other(other) => match other.kind {
            Kind::Bool(value) => Json::Bool(value),
            Kind::Int(value) => match i64::try_from(value) {
                Ok(value) => value.into(),
                Err(_) => u64::try_from(value).unwrap_or(u64::MAX).into(),
            },
            // JSON has no infinity.
            Kind::Float(value) => Json::from(value.clamp(f64::MIN, f64::MAX)),
            Kind::Date => serde_json::json!({ DATE: other.text }),
        },
    }
}

struct Explainer<'a> {
    root: &'a Node,
    schema: &'a Json,
    /// Whether the format differs from the one that every firmware supports.
    is_other_format: bool,
}

impl Explainer<'_> {
    fn explain(&self, error: &ValidationError<'_>) -> Vec<Refusal> {
        let path = Path::of(error.instance_path().as_str());
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
                .iter()
                .map(|key| self.unknown_key(&path, key))
                .collect(),
            ValidationErrorKind::AnyOf { context }
            | ValidationErrorKind::OneOfNotValid { context } => self.branches(&path, context),
            kind => vec![self.refusal(&path, kind, error.instance())],
        }
    }

    /// Explains the errors of the branch that fits best: the first whose type matches.
    fn branches(&self, path: &Path, branches: &[Vec<ValidationError<'static>>]) -> Vec<Refusal> {
        let is_type = |error: &ValidationError<'_>| {
            error.instance_path().as_str() == path.pointer
                && matches!(error.kind(), ValidationErrorKind::Type { .. })
        };
        if let Some(errors) = branches.iter().find(|errors| !errors.iter().any(is_type)) {
            return errors
                .iter()
                .flat_map(|error| self.explain(error))
                .collect();
        }
        let mut wanted: Vec<JsonType> = Vec::new();
        for error in branches.iter().flatten().filter(|error| is_type(error)) {
            if let ValidationErrorKind::Type { kind } = error.kind() {
                wanted.extend(types(kind));
            }
        }
        vec![self.wrong_type(path, &wanted)]
    }

    fn refusal(&self, path: &Path, kind: &ValidationErrorKind, found: &Json) -> Refusal {
        let subject = path.subject();
        let text = found.as_str().unwrap_or_default();
        let (message, help) = match kind {
            ValidationErrorKind::Type { kind } => {
                return self.wrong_type(path, &types(kind).collect::<Vec<_>>());
            }
            ValidationErrorKind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                (
                    format!("gives {subject} no `{key}`"),
                    format!("add `{key}:`"),
                )
            }
            ValidationErrorKind::Format { format } => match format.as_str() {
                "ports" => {
                    let problem = ports::split(text).err().unwrap_or_default();
                    (
                        format!("has the port `{text}`: {problem}"),
                        "write `\"HOST:CONTAINER\"`, e.g. `\"8080:80\"`".to_owned(),
                    )
                }
                "expose" => (
                    format!("exposes `{text}`, which is no port"),
                    "write `\"80\"`, `\"80/udp\"` or `\"80-82\"`".to_owned(),
                ),
                _ => (
                    format!("gives {subject} the address `{text}`, which is no network"),
                    "write it as `172.28.0.0/16`".to_owned(),
                ),
            },
            ValidationErrorKind::UniqueItems => (
                format!("lists something twice in {subject}"),
                "remove one of the two".to_owned(),
            ),
            ValidationErrorKind::Enum { options } => {
                let options: Vec<String> = options
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(ToString::to_string)
                    .collect();
                (
                    format!("gives {subject} the value {found}, which is not allowed there"),
                    format!("write {}", options.join(" or ")),
                )
            }
            ValidationErrorKind::Pattern { pattern } => (
                format!("gives {subject} the value {found}, which does not have the required form"),
                format!("it must match `{pattern}`"),
            ),
            ValidationErrorKind::Minimum { limit } => (
                format!("gives {subject} a value below {limit}"),
                format!("write {limit} or more"),
            ),
            ValidationErrorKind::Maximum { limit } => (
                format!("gives {subject} a value above {limit}"),
                format!("write {limit} or less"),
            ),
            ValidationErrorKind::OneOfMultipleValid { .. } | ValidationErrorKind::Not { .. } => (
                format!("gives {subject} keys that exclude each other"),
                "keep one of them".to_owned(),
            ),
            _ => (
                format!("gives {subject} a value that is not allowed there"),
                "see the reference of the compose file's format".to_owned(),
            ),
        };
        let place = path.node(self.root).map(|node| node.place);
        Refusal::new(place, message, help)
    }

    fn wrong_type(&self, path: &Path, wanted: &[JsonType]) -> Refusal {
        let words = |wanted: &JsonType| match wanted {
            JsonType::Array => "a list",
            JsonType::Boolean => "`true` or `false`",
            JsonType::Integer => "an integer",
            JsonType::Number => "a number",
            JsonType::Null => "nothing",
            JsonType::Object => "a table",
            JsonType::String => "a string",
        };
        let mut takes: Vec<&str> = wanted.iter().map(words).collect();
        let mut seen = Vec::new();
        takes.retain(|word| {
            let is_new = !seen.contains(word);
            seen.push(*word);
            is_new
        });
        let takes = takes.join(" or ");
        let node = path.node(self.root);
        let is = node.map_or("something else", Node::what);
        let is = if is == "empty" { "nothing" } else { is };
        let message = format!("gives {} {is}; expected {takes}", path.subject());
        let written = node.and_then(Node::text);
        let takes_text = wanted.contains(&JsonType::String);
        let help = match node.map(|node| &node.value) {
            Some(Value::Other(_)) if takes_text && path.is_duration() => {
                "write a duration such as `2s`".to_owned()
            }
            Some(Value::Other(_)) if takes_text => "write it in quotes".to_owned(),
            Some(Value::String(text)) if wanted == [JsonType::Array] => {
                format!("write `[\"{text}\"]`")
            }
            Some(Value::String(_)) if written.is_some() && !wanted.contains(&JsonType::Array) => {
                format!("write {takes}, without quotes")
            }
            Some(Value::Null) => "write a value, or remove the key".to_owned(),
            Some(Value::Map(_)) if path.is_env_file() => {
                "write the path alone; `path:` and `required:` belong to docker compose 2"
                    .to_owned()
            }
            Some(Value::Map(_)) if path.is_environment_entry() => {
                "write `- NAME=value`, or a table without the dashes".to_owned()
            }
            _ => format!("write {takes}"),
        };
        Refusal::new(node.map(|node| node.place), message, help)
    }

    fn unknown_key(&self, path: &Path, key: &str) -> Refusal {
        let table = path.node(self.root);
        if key == DATE {
            return self.wrong_type(path, &[JsonType::String]);
        }
        let place = table.and_then(|node| match &node.value {
            Value::Map(map) => map.place_of(key),
            _ => None,
        });
        if let [section] = path.keys.as_slice() {
            let message = format!("has the name `{key}` in `{section}`, which is not valid");
            let help = "names have letters, digits, `.`, `_` and `-`";
            return Refusal::new(place, message, help);
        }
        let message = match path.keys.as_slice() {
            [] => format!("has the top-level key `{key}`, which docker-compose does not know"),
            _ => format!(
                "has the key `{key}` in {}, which docker-compose does not know there",
                path.subject()
            ),
        };
        let known = known_keys(self.schema, path);
        let best = compiled(Release::V1_25, BEST_FORMAT).filter(|_| self.is_other_format);
        let help = if let Some(help) = of_compose_2(path, key) {
            help.to_owned()
        } else if best.is_some_and(|best| known_keys(&best.schema, path).contains(&key)) {
            format!("write `version: \"{BEST_FORMAT}\"`, which has the key on every firmware")
        } else if let Some(meant) = did_you_mean(key, known.iter().copied()) {
            format!("did you mean `{meant}`?")
        } else if path.keys.is_empty() {
            "services go below `services:`; notes of your own begin with `x-`".to_owned()
        } else {
            "remove it, or correct its name or its indentation".to_owned()
        };
        Refusal::new(place, message, help)
    }
}

/// Returns the keys that a schema knows in a table, as far as hints need them.
fn known_keys<'s>(schema: &'s Json, path: &Path) -> Vec<&'s str> {
    let definition = match path.keys.as_slice() {
        [] => "/properties",
        [section, _] => match section.as_str() {
            "services" => "/definitions/service/properties",
            "networks" => "/definitions/network/properties",
            "volumes" => "/definitions/volume/properties",
            _ => "/definitions/secret/properties",
        },
        [_, _, key] => match key.as_str() {
            "healthcheck" => "/definitions/healthcheck/properties",
            "deploy" => "/definitions/deployment/properties",
            _ => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    let properties = schema.pointer(definition).and_then(Json::as_object);
    properties
        .into_iter()
        .flat_map(|keys| keys.keys().map(String::as_str))
        .collect()
}

fn types(kind: &TypeKind) -> impl Iterator<Item = JsonType> {
    let all = match kind {
        TypeKind::Single(wanted) => vec![*wanted],
        TypeKind::Multiple(set) => set.iter().collect(),
    };
    all.into_iter()
}

/// Returns the help for keys that only docker compose 2 knows.
fn of_compose_2(path: &Path, key: &str) -> Option<&'static str> {
    let depth = path.keys.len();
    Some(match (depth, key) {
        (0, "include") => {
            "`include:` belongs to docker compose 2; write the services in this file, or use `extends:`"
        }
        (0, "name") => "remove it; the project's name is the one in [[compose]]",
        (2, "gpus") => "`gpus:` is of docker compose 2; write `runtime: nvidia`",
        (
            2,
            "develop" | "post_start" | "pre_stop" | "provider" | "models" | "attach"
            | "annotations" | "pull_policy" | "use_api_socket" | "label_file" | "uts" | "cgroup",
        ) => "the key is of docker compose 2; remove it",
        (_, "content" | "environment") if path.is_of("configs") || path.is_of("secrets") => {
            "this is of docker compose 2; put it into a file and mount that"
        }
        (_, "start_interval") => "`start_interval:` is of docker compose 2; remove it",
        (_, "required" | "restart") if path.keys.get(2).is_some_and(|key| key == "depends_on") => {
            "this is of docker compose 2; remove it"
        }
        (_, "create_host_path") => "this is of docker compose 2; remove it",
        _ => return None,
    })
}

/// A JSON pointer with its keys.
struct Path {
    pointer: String,
    keys: Vec<String>,
}

impl Path {
    /// Whether the key takes a number with a unit of time.
    fn is_duration(&self) -> bool {
        let is_time = |key: &String| {
            let times = ["interval", "timeout", "start_period", "stop_grace_period"];
            times.contains(&key.as_str()) || ["delay", "monitor", "window"].contains(&key.as_str())
        };
        self.keys.last().is_some_and(is_time)
    }

    fn of(pointer: &str) -> Self {
        let keys = pointer.split('/').skip(1);
        Self {
            pointer: pointer.to_owned(),
            keys: keys
                .map(|key| key.replace("~1", "/").replace("~0", "~"))
                .collect(),
        }
    }

    fn node<'n>(&self, root: &'n Node) -> Option<&'n Node> {
        self.keys
            .iter()
            .try_fold(root, |node, key| match &node.value {
                Value::Map(map) => map.get(key),
                Value::List(list) => list.get(key.parse::<usize>().ok()?),
                _ => None,
            })
    }

    /// Returns the subject of a message: `` `services.web.ports` ``.
    fn subject(&self) -> String {
        let keys: Vec<&str> = self
            .keys
            .iter()
            .map(String::as_str)
            .filter(|key| key.parse::<usize>().is_err())
            .collect();
        if keys.is_empty() {
            return "the file".to_owned();
        }
        format!("`{}`", keys.join("."))
    }

    fn is_of(&self, section: &str) -> bool {
        self.keys.first().is_some_and(|first| first == section)
    }

    fn is_env_file(&self) -> bool {
        self.keys.get(2).is_some_and(|key| key == "env_file")
    }

    fn is_environment_entry(&self) -> bool {
        self.keys.len() == 4 && self.keys.get(2).is_some_and(|key| key == "environment")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_compiles() {
        for format in formats() {
            assert!(compiled(Release::V1_25, format).is_some(), "{format}");
        }
        assert!(compiled(Release::V1_29, "").is_some());
        assert!(compiled(Release::V1_25, "3.8").is_none());
    }
}
