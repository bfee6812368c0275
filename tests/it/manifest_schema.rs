//! Keeps the committed schema and the example current.

use std::{collections::BTreeSet, fs};

use o3r_deploy::internal::manifest;
use serde_json::Value;

use crate::committed::is_current;

#[test]
fn the_committed_schemas_are_current() {
    for (document, name) in [
        (manifest::Document::Manifest, "deploy"),
        (manifest::Document::Vpus, "vpus"),
    ] {
        let schema = manifest::schema_of(document);
        let generated = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        is_current(&format!("schemas/{name}.schema.json"), &generated);
    }
}

#[test]
fn the_example_uses_every_key() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/o3r-deploy.toml.example");
    let loaded = manifest::parse("o3r-deploy.toml.example", &fs::read(path).unwrap())
        .unwrap_or_else(|findings| panic!("{}", findings.render_plain(100)));
    assert_eq!(loaded.warnings, []);
    let written: BTreeSet<String> = loaded.spans.pointers().map(without_positions).collect();
    let mut known = BTreeSet::new();
    keys(&manifest::schema(), "", &mut known);
    let missing: Vec<&String> = known.difference(&written).collect();
    assert!(missing.is_empty(), "the example lacks {missing:?}");
}

/// In the example, and in the schema, where an editor shows it.
#[test]
fn unsupported_keys_are_marked() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/o3r-deploy.toml.example");
    let text = fs::read_to_string(path).unwrap();
    let loaded = manifest::parse("o3r-deploy.toml.example", text.as_bytes()).unwrap();
    let refused = manifest::unsupported::unsupported(&loaded);
    let lines: Vec<&str> = text.lines().collect();
    // In the same line, or above it in the same paragraph.
    let is_marked = |number: usize| {
        let above = lines[..number].iter().rev();
        let mut paragraph = above.take_while(|line| !line.is_empty());
        paragraph.any(|line| line.contains("NOT YET"))
    };
    for finding in &refused {
        let (line, _) = finding.line_and_column();
        assert!(is_marked(line), "{}: {}", line, finding.message);
    }
    let marks = lines.iter().filter(|line| line.contains("NOT YET:"));
    let tables: BTreeSet<&str> = refused
        .iter()
        .map(|finding| finding.pointer.rsplit_once('/').unwrap().0)
        .collect();
    assert_eq!(marks.count(), tables.len(), "{tables:?}");
    let schema = manifest::schema();
    let marked = |pointer: &str| {
        let description = schema
            .pointer(pointer)
            .and_then(|it| it["description"].as_str());
        description
            .unwrap_or_else(|| panic!("{pointer}"))
            .contains("Not supported yet")
    };
    for pointer in [
        "/properties/images/items/properties/registry",
        "/properties/downloads/items",
        "/properties/images/items/properties/build",
    ] {
        assert!(marked(pointer), "{pointer}");
    }
    assert!(!marked("/properties/images/items/properties/archive"));
}

/// The text that an editor shows on hovering: what a key does, its default, and one value.
#[test]
fn every_key_is_explained_with_its_default_and_an_example() {
    for document in [manifest::Document::Manifest, manifest::Document::Vpus] {
        let mut lacking = vec![];
        unexplained(&manifest::schema_of(document), "", &mut lacking);
        assert!(lacking.is_empty(), "{lacking:#?}");
    }
}

fn unexplained(schema: &Value, pointer: &str, lacking: &mut Vec<String>) {
    let required = schema["required"].as_array();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let pointer = format!("{pointer}/{key}");
        let text = property["description"].as_str().unwrap_or_default();
        if text.len() < 10 {
            lacking.push(format!("{pointer}: what it does"));
        }
        let is_map_of_texts = property["additionalProperties"]["type"] == "string";
        let is_table = !is_map_of_texts
            && [property, &property["items"]]
                .iter()
                .any(|it| it["properties"].is_object() || it["additionalProperties"].is_object());
        // Editors offer all values of these.
        let is_listed = property["enum"].is_array()
            || property["oneOf"].is_array()
            || property["type"] == "boolean";
        let is_map_of_texts = property["additionalProperties"]["type"] == "string";
        let wants_example = is_map_of_texts || !is_table && !is_listed;
        if wants_example && !text.contains("Example: `") {
            lacking.push(format!("{pointer}: an example"));
        }
        let is_required = required.is_some_and(|keys| keys.iter().any(|it| it == key));
        // Only one of the sources of an image is used.
        let is_choice = pointer.starts_with("/images/*/") && !pointer.contains("rootfs/");
        let wants_default = (!is_table || is_map_of_texts) && !is_required && !is_choice;
        if wants_default && !text.contains("Default: ") {
            lacking.push(format!("{pointer}: its default"));
        }
        unexplained(property, &pointer, lacking);
        for inner in ["items", "additionalProperties"] {
            unexplained(&property[inner], &format!("{pointer}/*"), lacking);
        }
    }
}

/// A pointer with `*` for positions in lists and for names that the user chooses.
fn without_positions(pointer: &str) -> String {
    let mut keys: Vec<&str> = pointer.split('/').collect();
    let is_named = |keys: &[&str]| keys.last().is_some_and(|table| *table == "vpus");
    for at in 0..keys.len() {
        if keys[at].parse::<usize>().is_ok() || is_named(&keys[..at]) {
            keys[at] = "*";
        }
    }
    keys.join("/")
}

/// Collects the pointers of every key that a schema knows.
fn keys(schema: &Value, pointer: &str, known: &mut BTreeSet<String>) {
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let pointer = format!("{pointer}/{key}");
        keys(property, &pointer, known);
        known.insert(pointer);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            keys(&schema[inner], &format!("{pointer}/*"), known);
        }
    }
}

/// What `SchemaStore`'s catalogue requires: the format of
/// an entry, and file names that match manifests.
#[test]
fn the_catalogue_entry_matches_manifests() {
    let text = fs::read_to_string("schemas/schemastore.json").unwrap();
    let entry: Value = serde_json::from_str(&text).unwrap();
    let keys: Vec<&String> = entry.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["name", "description", "fileMatch", "url"]);
    let description = entry["description"].as_str().unwrap();
    // Their linter refuses words that every entry would have.
    assert!(!description.to_lowercase().contains("schema"));
    assert_eq!(
        entry["fileMatch"],
        serde_json::json!(["deploy.toml", "*.deploy.toml"])
    );
    // The URL of schemas that are stored in their repository.
    assert_eq!(entry["url"], "https://www.schemastore.org/o3r-deploy.json");
    let page = fs::read_to_string("docs/editors.md").unwrap();
    assert!(page.contains("schemas/schemastore.json"));
}
