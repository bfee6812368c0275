//! Generates the JSON schema of a `deploy.toml` from its types.
//!
//! Uses only keywords that both taplo and tombi read: no `$ref`, no `null` (TOML has none), no
//! `oneOf` for a list of words.

use schemars::{
    Schema,
    generate::SchemaSettings,
    transform::{Transform, transform_subschemas},
};
use serde_json::{Value, json};

use super::{Manifest, unsupported, vpu::Vpus};

/// A TOML document with a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// `deploy.toml`.
    Manifest,
    /// `vpus.toml`.
    Vpus,
}

/// Returns the schema of a `deploy.toml`, in draft 2020-12, with everything inlined.
pub fn schema() -> Value {
    schema_of(Document::Manifest)
}

/// Returns the schema of a document, in draft 2020-12, with everything inlined.
pub fn schema_of(document: Document) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.transforms = vec![Box::new(ForToml)];
    });
    let generator = settings.into_generator();
    let (mut schema, title) = match document {
        Document::Manifest => (
            generator.into_root_schema_for::<Manifest>(),
            "deploy.toml of o3r-deploy",
        ),
        Document::Vpus => (
            generator.into_root_schema_for::<Vpus>(),
            "vpus.toml of o3r-deploy",
        ),
    };
    schema.insert("title".to_owned(), json!(title));
    let mut schema = schema.to_value();
    unsupported::mark(&mut schema);
    schema
}

/// Removes what TOML does not have and what its tools do not read.
#[derive(Debug, Clone)]
struct ForToml;

impl Transform for ForToml {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else {
            return;
        };
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                object.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(branches)) = object.get_mut("anyOf") {
            branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
            if let [Value::Object(only)] = branches.as_slice() {
                let only = only.clone();
                object.remove("anyOf");
                for (keyword, value) in only {
                    object.entry(keyword).or_insert(value);
                }
            }
        }
        if let Some(words) = object.get("oneOf").and_then(words_of) {
            object.remove("oneOf");
            let descriptions: Vec<String> = words
                .iter()
                .map(|(word, description)| format!("- `{word}`: {description}"))
                .collect();
            let text = object
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let text = format!("{text}\n\n{}", descriptions.join("\n"));
            let words: Vec<&String> = words.iter().map(|(word, _)| word).collect();
            object.insert("type".to_owned(), json!("string"));
            object.insert("enum".to_owned(), json!(words));
            object.insert("description".to_owned(), json!(text));
        }
        if let Some(Value::String(text)) = object.get_mut("description") {
            *text = unwrap_paragraphs(text);
        }
        // It only states the width of the Rust type; the bounds are present as well.
        if let Some(Value::String(format)) = object.get("format")
            && format.starts_with("uint")
        {
            object.remove("format");
        }
    }
}

/// Joins the lines of every paragraph: line breaks of the source mean nothing to a reader.
fn unwrap_paragraphs(text: &str) -> String {
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| {
            if paragraph.starts_with("- ") {
                paragraph.to_owned()
            } else {
                paragraph.lines().collect::<Vec<_>>().join(" ")
            }
        })
        .collect();
    paragraphs.join("\n\n")
}

/// Returns the words of an enum with their descriptions, if all its branches are words.
fn words_of(branches: &Value) -> Option<Vec<(String, String)>> {
    branches
        .as_array()?
        .iter()
        .map(|branch| {
            let word = branch.get("const")?.as_str()?;
            let description = branch.get("description").and_then(Value::as_str)?;
            Some((word.to_owned(), description.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `see` for every schema object inside `value`.
    fn walk(value: &Value, see: &mut impl FnMut(&serde_json::Map<String, Value>)) {
        match value {
            Value::Object(object) => {
                see(object);
                object.values().for_each(|value| walk(value, see));
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, see)),
            _ => {}
        }
    }

    fn both(see: &mut impl FnMut(&serde_json::Map<String, Value>)) {
        walk(&schema(), see);
        walk(&schema_of(Document::Vpus), see);
    }

    #[test]
    fn only_keywords_that_both_tools_read_are_used() {
        both(&mut |object| {
            for keyword in [
                "$ref",
                "$defs",
                "oneOf",
                "unevaluatedProperties",
                "prefixItems",
                "dependentRequired",
            ] {
                assert!(!object.contains_key(keyword), "{keyword} in {object:?}");
            }
            assert_ne!(object.get("type"), Some(&json!("null")), "{object:?}");
            assert_ne!(object.get("default"), Some(&Value::Null), "{object:?}");
        });
    }

    #[test]
    fn every_key_is_described_and_every_table_closed() {
        both(&mut |object| {
            let Some(properties) = object.get("properties").and_then(Value::as_object) else {
                return;
            };
            let others = object.get("additionalProperties");
            let are_names = properties.keys().eq(["env"]); // `[vars]`
            let is_closed = others == Some(&json!(false));
            assert!(
                is_closed || are_names && others == Some(&json!({"type": "string"})),
                "{object:?}"
            );
            for (key, property) in properties {
                assert!(
                    property.get("description").is_some(),
                    "{key} has no description"
                );
            }
        });
    }
}
