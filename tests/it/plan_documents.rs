//! Whole plans, as text and as JSON, and the schema that they keep.

use std::fs;

use o3r_deploy::{plan::Plan, render};

#[test]
fn the_committed_schemas_are_current() {
    for (path, generated) in [
        ("schemas/plan.schema.json", render::plan_schema()),
        ("schemas/status.schema.json", render::status_schema()),
    ] {
        if std::env::var_os("O3R_DEPLOY_UPDATE").is_some() {
            fs::write(path, &generated).unwrap();
        }
        let committed = fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == generated,
            "{path} is stale: tests/run.sh bless-local writes what is generated now"
        );
    }
}

/// A plan document of an earlier version of this program: it must parse for ever.
#[test]
fn old_documents_are_read_and_keep_the_schema() {
    let text = fs::read_to_string("tests/fixtures/plan/format-1.json").unwrap();
    let plan: Plan = serde_json::from_str(&text).unwrap();
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
            color: false,
            commands: true
        }
    ));
    insta::assert_snapshot!("script", render::sh(&plan).text);
}
