//! `schema`: prints the JSON schema of a document.

use super::Exit;
use crate::{
    cli::{self, Document},
    manifest, render,
    ui::Ui,
};

/// As committed in `schemas/deploy.schema.json`.
fn manifest_schema() -> String {
    let mut text = serde_json::to_string_pretty(&manifest::schema()).unwrap_or_default();
    text.push('\n');
    text
}

pub(super) fn run(args: &cli::Schema, ui: Ui) -> Exit {
    match args.document {
        Document::Manifest => ui.data(&manifest_schema()),
        Document::Plan => ui.data(&render::plan_schema()),
    }
    Exit::Done
}
