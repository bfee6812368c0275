//! `init`: writes a commented manifest for the contents of a folder. Overwrites nothing.

use camino::Utf8Path;

use super::{CommandError, ErrorCode, Exit, authorize, from_vpu, written};
use crate::{
    cli::{self, Global},
    image::LayerCache,
    scaffold::{self, Found},
    ui::Ui,
};

pub(super) async fn run(
    global: &Global,
    args: &cli::Init,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    if args.from_vpu {
        return Box::pin(from_vpu::run(global, args, cache, ui)).await;
    }
    if args.yes && global.host.is_none() {
        return Err(CommandError::message(
            ErrorCode::NotWritten,
            "--yes trusts the host key of a VPU, and none is named; nothing was written",
            Some("name it with --host, or remove --yes".to_owned()),
        ));
    }
    let path = &global.file;
    let folder = written::folder(path)?;
    let mut found = scaffold::find(folder, &cache.scratch());
    if let Some(name) = &args.name {
        found.name = name.to_string();
    }
    for note in &found.notes {
        ui.note(note);
    }
    let text = scaffold::text(&found, written::SCHEMA);
    written::write(path, &text, &summary(&found), ui)?;
    let has_vpu = global.host.is_some();
    if has_vpu {
        let args = cli::Authorize {
            key: None,
            yes: args.yes,
        };
        Box::pin(authorize::run(global, &args, ui)).await?;
    }
    written::judge(path, &next(path, &found, has_vpu), cache, ui).await
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
    let option = written::option(path);
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
