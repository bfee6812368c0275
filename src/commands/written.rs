//! Writes a new manifest with its schema, and says what it still lacks. Overwrites nothing.

use std::io::{self, Write as _};

use camino::Utf8Path;

use super::{CommandError, ErrorCode, Exit, schema, session};
use crate::{
    cli::DEFAULT_FILE,
    image::LayerCache,
    manifest::{self, Diagnostics, LoadError},
    shell::quote,
    ui::Ui,
};

/// The schema's file next to the manifest.
const SCHEMA_FILE: &str = "deploy.schema.json";

/// The path of the schema in the manifest.
pub(super) const SCHEMA: &str = "./deploy.schema.json";

/// Returns the folder that a new manifest belongs to.
///
/// # Errors
/// The manifest exists, or the folder does not.
pub(super) fn folder(path: &Utf8Path) -> Result<&Utf8Path, CommandError> {
    // A quick check; the creation of the file decides.
    if path.symlink_metadata().is_ok() {
        return Err(exists(path));
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_str().is_empty() => parent,
        _ => Utf8Path::new("."),
    };
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(CommandError::message(
        ErrorCode::NotWritten,
        format!("there is no folder {folder}; nothing was written"),
        Some(format!(
            "create it with: mkdir -p {}",
            quote(folder.as_str())
        )),
    ))
}

/// Writes a manifest, and its schema if there is none yet.
pub(super) fn write(
    path: &Utf8Path,
    text: &str,
    summary: &str,
    ui: Ui,
) -> Result<(), CommandError> {
    create(path, text)?;
    ui.say(&format!("{} {path}: {summary}", ui.good("wrote")));
    let schema = path.with_file_name(SCHEMA_FILE);
    match create_new(&schema, &schema::manifest_schema()) {
        Ok(()) => ui.say(&format!(
            "{} {schema}: enables completion and hover help in editors",
            ui.good("wrote")
        )),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => ui.note(&format!("no schema for editors: {error}")),
    }
    Ok(())
}

/// Reports what a new manifest lacks; if nothing, says what comes next.
pub(super) async fn judge(
    path: &Utf8Path,
    next: &str,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    let findings = findings(path, cache, ui).await?;
    if findings.is_empty() {
        ui.say(next);
    } else {
        ui.report(&findings);
        let rest = next.strip_prefix("next: ").unwrap_or(next);
        ui.say(&format!(
            "next: fix this; then {}",
            rest.trim_start_matches("then ")
        ));
    }
    Ok(Exit::Done)
}

/// Returns the option that names the manifest, if it does not have the default name.
pub(super) fn option(path: &Utf8Path) -> String {
    if path == DEFAULT_FILE {
        String::new()
    } else {
        format!(" -f {}", quote(path.as_str()))
    }
}

async fn findings(
    path: &Utf8Path,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Diagnostics, CommandError> {
    match manifest::load(path) {
        Err(LoadError::Invalid(findings)) => Ok(findings),
        Err(error) => Err(session::load_error(error)),
        Ok(loaded) => {
            let mut findings = loaded.warnings.clone();
            let resolved = session::resolve(&loaded, cache, ui).await;
            findings.extend(resolved.err().unwrap_or_default());
            Ok(Diagnostics::new(findings))
        }
    }
}

fn create(path: &Utf8Path, text: &str) -> Result<(), CommandError> {
    create_new(path, text).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => CommandError::message(
            ErrorCode::NotWritten,
            error.to_string(),
            Some("name another file with `-f FILE`".into()),
        ),
    })
}

fn create_new(path: &Utf8Path, text: &str) -> io::Result<()> {
    let mut options = fs_err::OpenOptions::new();
    let mut file = options.write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

fn exists(path: &Utf8Path) -> CommandError {
    CommandError::message(
        ErrorCode::FileExists,
        format!("{path} exists; nothing was written"),
        Some("move it away, or name another file with `-f FILE`".into()),
    )
}
