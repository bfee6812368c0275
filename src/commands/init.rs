//! `init`: writes a commented manifest for the contents of a folder. Overwrites nothing.

use std::io::{self, Write as _};

use camino::Utf8Path;

use super::{CommandError, ErrorCode, Exit, authorize, schema, session};
use crate::{
    cli::{self, DEFAULT_FILE, Global},
    image::LayerCache,
    manifest::{self, Diagnostics, LoadError},
    scaffold::{self, Found},
    shell::quote,
    ui::Ui,
};

/// The name of the schema file next to the manifest.
const SCHEMA_FILE: &str = "deploy.schema.json";

pub(super) async fn run(
    global: &Global,
    args: &cli::Init,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    if args.yes && global.host.is_none() {
        return Err(CommandError::message(
            ErrorCode::NotWritten,
            "--yes trusts the host key of a VPU, and none is named; nothing was written",
            Some("name it with --host, or remove --yes".to_owned()),
        ));
    }
    let path = &global.file;
    // A quick check before the search; the creation of the file decides.
    if path.symlink_metadata().is_ok() {
        return Err(exists(path));
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_str().is_empty() => parent,
        _ => Utf8Path::new("."),
    };
    if !folder.is_dir() {
        return Err(CommandError::message(
            ErrorCode::NotWritten,
            format!("there is no folder {folder}; nothing was written"),
            Some(format!(
                "create it with: mkdir -p {}",
                quote(folder.as_str())
            )),
        ));
    }
    let mut found = scaffold::find(folder, &cache.scratch());
    if let Some(name) = &args.name {
        found.name = name.to_string();
    }
    for note in &found.notes {
        ui.note(note);
    }
    let text = scaffold::text(&found, &format!("./{SCHEMA_FILE}"));
    create(path, &text)?;
    ui.say(&format!("{} {path}: {}", ui.good("wrote"), summary(&found)));
    let schema = path.with_file_name(SCHEMA_FILE);
    match create_new(&schema, &schema::manifest_schema()) {
        Ok(()) => ui.say(&format!(
            "{} {schema}: enables completion and hover help in editors",
            ui.good("wrote")
        )),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => ui.note(&format!("no schema for editors: {error}")),
    }
    let has_vpu = global.host.is_some();
    if has_vpu {
        let args = cli::Authorize {
            key: None,
            yes: args.yes,
        };
        Box::pin(authorize::run(global, &args, ui)).await?;
    }
    let findings = findings(path, cache, ui).await?;
    if findings.is_empty() {
        ui.say(&next(path, &found, has_vpu));
    } else {
        ui.report(&findings);
        ui.say(&format!(
            "next: fix this, then run: o3r-deploy{} check",
            option(path)
        ));
    }
    Ok(Exit::Done)
}

/// Returns what to do by hand, and the next command.
fn next(path: &Utf8Path, found: &Found, has_vpu: bool) -> String {
    let images = found.images_without_source();
    let source = match images.as_slice() {
        [] => String::new(),
        [image] => format!(" say where {image} comes from (`engine` or `archive`),"),
        images => {
            let images = images.join(", ");
            format!(" say where the images come from (`engine` or `archive`): {images};")
        }
    };
    let option = option(path);
    let vpu = if has_vpu {
        ""
    } else {
        " set your VPU in [vpu],"
    };
    let run = format!("run: o3r-deploy{option} check, then: o3r-deploy{option} plan");
    match (source.is_empty(), has_vpu) {
        (true, true) => format!("next: {run}"),
        _ => format!("next: in {path},{source}{vpu} then {run}"),
    }
}

/// Returns the option that names the manifest, if it does not have the default name.
fn option(path: &Utf8Path) -> String {
    if path == DEFAULT_FILE {
        String::new()
    } else {
        format!(" -f {}", quote(path.as_str()))
    }
}

/// Returns what the new manifest still lacks.
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

/// `release hello; docker-compose.yml with 1 image, 2 archives`.
fn summary(found: &Found) -> String {
    let count = |number: usize, what: &str| {
        format!("{number} {what}{}", if number == 1 { "" } else { "s" })
    };
    let mut parts = Vec::new();
    if let Some(compose) = &found.compose {
        let images = count(compose.images.len(), "image");
        parts.push(format!("{} with {images}", compose.file));
    }
    if !found.archives.is_empty() {
        parts.push(count(found.archives.len(), "archive"));
    }
    if parts.is_empty() {
        parts.push("no compose file and no archives found".to_owned());
    }
    format!("release {}; {}", found.name, parts.join(", "))
}
