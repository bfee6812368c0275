//! Keeps the committed schema and the example current.

use std::{env, fs};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/deploy.schema.json");

#[test]
fn the_committed_schema_is_current() {
    let schema = o3r_deploy::manifest::schema::schema();
    let generated = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if env::var_os("O3R_DEPLOY_UPDATE_SCHEMA").is_some() {
        fs::write(COMMITTED, &generated).unwrap();
    }
    let committed = fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(
        committed == generated,
        "schemas/deploy.schema.json is stale: O3R_DEPLOY_UPDATE_SCHEMA=1 cargo test --test manifest_schema"
    );
}
