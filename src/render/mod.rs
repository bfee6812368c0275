//! Turns plans into text: for people, for programs, for a shell. Prints nothing itself.

mod changes;
mod sh;
mod status;
mod text;
mod units;

pub use changes::Details;
pub use sh::{Script, SecretPayload, sh};
pub use status::{status_schema, status_text};
pub use text::{Style, paint, text, text_with};
pub use units::{bytes, duration, time};

use crate::plan::Plan;

/// The plan document, as `schemas/plan.schema.json` describes it, with a final newline.
pub fn json(plan: &Plan) -> String {
    document(plan)
}

/// The schema of the plan document (JSON Schema 2020-12), with a final newline.
pub fn plan_schema() -> String {
    schema_text::<Plan>()
}

fn schema_text<T: schemars::JsonSchema>() -> String {
    let schema = schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>();
    document(&schema)
}

/// A JSON document for people to read and programs to parse, with a final newline.
pub fn document(value: &impl serde::Serialize) -> String {
    // Every key is a string and every number finite: this cannot fail.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
