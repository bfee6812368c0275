//! Checks that files which compose files mount from their directory are sent with them, and that
//! their volumes match the manifest's.

use camino::Utf8Path;

use super::Project;
use crate::{
    closest::did_you_mean,
    compose::{ComposeFile, Mount, MountSource, Place, is_placed},
    manifest::{FindingCode, meaning::FileKind, types::Compose},
};
use o3r_core::names::{USUAL_HOME, is_within};

impl Project<'_, '_> {
    pub(super) fn volumes(&mut self, file: &ComposeFile, compose: &Compose) {
        let declared: Vec<String> = self
            .checker
            .loaded
            .manifest
            .volumes
            .iter()
            .map(|volume| volume.name.to_string())
            .collect();
        for volume in &file.volumes {
            if !volume.external {
                let (name, _) = volume.docker_names(compose.name.as_str());
                if declared.contains(&name) {
                    let message =
                        format!("creates the volume `{name}`, which [[volumes]] also creates");
                    self.error(
                        FindingCode::ComposeVolume,
                        Some(volume.place),
                        &message,
                        "add `external: true`",
                    );
                } else if volume.name.is_none() && declared.contains(&volume.key) {
                    let key = &volume.key;
                    let message = format!(
                        "creates the volume `{name}` and does not use `{key}` of [[volumes]]"
                    );
                    let help = format!(
                        "add `external: true` to use `{key}` of [[volumes]], or give one of the two another name"
                    );
                    self.warning(
                        FindingCode::ComposeVolume,
                        Some(volume.place),
                        &message,
                        &help,
                    );
                }
                continue;
            }
            let name = volume.external_name();
            if declared.iter().any(|declared| declared == name) {
                continue;
            }
            let message = format!("expects the volume `{name}`, which no [[volumes]] declares");
            let help = match did_you_mean(name, declared.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("add [[volumes]] with `name = \"{name}\"` and a `path`"),
            };
            self.error(
                FindingCode::ComposeVolume,
                Some(volume.place),
                &message,
                &help,
            );
        }
    }

    /// Checks mounts and secrets from the compose file's directory.
    pub(super) fn travelling(&mut self, file: &ComposeFile) {
        let listed = self.listed.clone();
        let placed = |path: &str| is_placed(path, listed.iter().map(String::as_str));
        for service in &file.services {
            for secret in &service.secret_files {
                let path = relative(&secret.value);
                if let Some(path) = path.filter(|path| path.starts_with("..") || !placed(path)) {
                    let message = format!(
                        "takes a secret from `{path}`, which is not among the `extra_files`"
                    );
                    let help = if path.starts_with("..") {
                        help_for(&path, "file")
                    } else {
                        format!("add `\"{path}\"` to `extra_files`")
                    };
                    self.error(
                        FindingCode::ComposeFile,
                        Some(secret.place),
                        &message,
                        &help,
                    );
                }
            }
            for Mount { source, place, .. } in &service.mounts {
                let MountSource::Bind(source) = source else {
                    continue;
                };
                let path = relative(source);
                if path.is_none() {
                    self.undeclared_below_home(&service.name, source, *place);
                }
                if let Some(path) = path.filter(|path| path.starts_with("..") || !placed(path)) {
                    // If only files below it are sent, it is a directory to be filled.
                    let is_parent = |extra: &str| extra.starts_with(&format!("{path}/"));
                    let has_parts = listed.iter().any(|extra| is_parent(extra));
                    if !path.is_empty() && !has_parts {
                        self.left_behind(&service.name, &path, *place);
                    }
                }
            }
        }
    }

    /// Warns of a directory below the VPU's home that nothing declares.
    fn undeclared_below_home(&mut self, service: &str, source: &str, place: Place) {
        let below = source
            .strip_prefix("~/")
            .or_else(|| source.strip_prefix(USUAL_HOME)?.strip_prefix('/'));
        let Some(below) = below.map(|path| path.trim_end_matches('/')) else {
            return;
        };
        // A file is probably there: docker does not create one.
        if below.is_empty() || Utf8Path::new(below).extension().is_some() {
            return;
        }
        let path = format!("{USUAL_HOME}/{below}");
        let manifest = &self.checker.loaded.manifest;
        let directories = manifest.directories.iter().map(|declared| &declared.path);
        let volumes = manifest.volumes.iter().map(|declared| &declared.path);
        let transfers = manifest.transfers.iter().map(|declared| &declared.dst);
        let mut declared = directories
            .chain(volumes)
            .chain(transfers)
            .map(|path| path.resolve(USUAL_HOME));
        // What is declared is created with all above it; a transfer may have directories of its own.
        if declared.any(|declared| is_within(&declared, &path) || is_within(&path, &declared)) {
            return;
        }
        let message = format!("mounts `~/{below}` into `{service}`, which nothing declares");
        let help = format!(
            "declare it, or docker creates it as an empty directory of root:\n\n  [[directories]]\n  path = \"~/{below}\""
        );
        self.warning(FindingCode::ComposeFile, Some(place), &message, &help);
    }

    fn left_behind(&mut self, service: &str, path: &str, place: Place) {
        let here = self.checker.files.kind(&self.directory.join(path)).ok();
        let is_above = path.starts_with("..");
        let why = if is_above {
            "which is not below the compose file and is not deployed"
        } else {
            "which is not among the `extra_files`"
        };
        let message = format!("mounts `{path}` into `{service}`, {why}");
        match here {
            Some(FileKind::File) => {
                self.error(
                    FindingCode::ComposeFile,
                    Some(place),
                    &message,
                    &help_for(path, "file"),
                );
            }
            Some(FileKind::Directory) if is_above => {
                self.error(
                    FindingCode::ComposeFile,
                    Some(place),
                    &message,
                    &help_for(path, "directory"),
                );
            }
            Some(FileKind::Directory) => {
                self.error(
                    FindingCode::ComposeFile,
                    Some(place),
                    &message,
                    &help_for(path, "directory"),
                );
            }
            Some(FileKind::Other) => {}
            // A directory that the container fills.
            None => {
                self.warning(
                    FindingCode::ComposeFile,
                    Some(place),
                    &message,
                    &help_for(path, "directory"),
                );
            }
        }
    }
}

/// Returns a path relative to the compose file, if it is relative.
fn relative(path: &str) -> Option<String> {
    if path.starts_with(['/', '~']) {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match (part, parts.last()) {
            ("" | ".", _) => {}
            ("..", Some(&last)) if last != ".." => drop(parts.pop()),
            (part, _) => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn help_for(path: &str, what: &str) -> String {
    if path.starts_with("..") {
        return format!(
            "send the {what} with [[transfers]], e.g. to `dst = \"~/share/…\"`, and mount it from there"
        );
    }
    let slash = if what == "directory" { "/" } else { "" };
    format!(
        "add `\"{path}{slash}\"` to `extra_files`: otherwise docker creates an empty directory there that belongs to root; \
         for data of the container, use [[volumes]]"
    )
}
