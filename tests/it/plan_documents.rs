//! Complete plans as text and as JSON, and their schema.

use std::fs;

use o3r_deploy::internal::{plan::Plan, render};

use crate::committed::is_current;

#[test]
fn the_committed_schemas_are_current() {
    for (path, generated) in [
        ("schemas/plan.schema.json", render::plan_schema()),
        ("schemas/status.schema.json", render::status_schema()),
    ] {
        is_current(path, &generated);
    }
    let program = env!("CARGO_BIN_EXE_o3r-deploy");
    let schema = std::process::Command::new(program)
        .args(["schema", "doctor"])
        .output();
    let schema = String::from_utf8(schema.unwrap().stdout).unwrap();
    is_current("schemas/doctor.schema.json", &schema);
}

/// A plan document that an earlier version wrote: it is
/// read as long as its format is the current one.
#[test]
fn old_documents_are_read_and_keep_the_schema() {
    let text = fs::read_to_string("tests/fixtures/plan/format-2.json").unwrap();
    let plan = Plan::read(text.as_bytes()).unwrap();
    assert_eq!(render::json(&plan), text);
    let schema = serde_json::from_str(&render::plan_schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let document = serde_json::from_str(&text).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|e| e.to_string())
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    insta::assert_snapshot!(render::text(
        &plan,
        render::Style {
            verbose: true,
            ..render::Style::default()
        }
    ));
    insta::assert_snapshot!("script", render::sh(&plan).text);
}

#[test]
fn documents_of_other_formats_are_refused_with_a_remedy() {
    let text = "{\"format\": 1, \"everything\": \"else\"}";
    let error = Plan::read(text.as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a plan of format 1; this version reads format 2"
    );
    assert!(
        error
            .help()
            .starts_with("plan again: o3r-deploy plan -o FILE")
    );
    let error = Plan::read(b"[release]").unwrap_err();
    assert!(error.to_string().starts_with("not a plan: "), "{error}");
}
