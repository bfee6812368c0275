//! `schema`: prints the JSON schema of a document, as committed in `schemas/`.

use super::Exit;
use crate::{
    cli::{self, Document},
    manifest, render,
    ui::Ui,
};

/// Returns the schema of `deploy.toml`.
pub(super) fn manifest_schema() -> String {
    render::document(&manifest::schema())
}

pub(super) fn run(args: &cli::Schema, ui: Ui) -> Exit {
    ui.data(&match args.document {
        Document::Manifest => manifest_schema(),
        Document::Vpus => render::document(&manifest::schema_of(manifest::Document::Vpus)),
        Document::Plan => render::plan_schema(),
        Document::Status => render::status_schema(),
        Document::Doctor => render::doctor_schema(),
    });
    Exit::Done
}
