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
fn the_example_says_everything_that_can_be_said() {
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

/// In the example and in the schema, where an editor shows it.
#[test]
fn what_is_refused_is_marked() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/o3r-deploy.toml.example");
    let text = fs::read_to_string(path).unwrap();
    let loaded = manifest::parse("o3r-deploy.toml.example", text.as_bytes()).unwrap();
    let refused = manifest::unsupported::unsupported(&loaded);
    let lines: Vec<&str> = text.lines().collect();
    // In the same line, or somewhere above it in the same paragraph.
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
        "/properties/compose/items/properties/health",
        "/properties/apply/properties/watchdog",
    ] {
        assert!(marked(pointer), "{pointer}");
    }
    assert!(!marked("/properties/images/items/properties/archive"));
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
