//! Suggests the existing path that a mistyped one was meant to be.

use camino::Utf8Path;

use super::{FileKind, LocalFiles};
use crate::closest::did_you_mean;

/// Returns the existing path that `written` was meant to be, written in the same way; it was looked
/// for at `resolved`.
pub(super) fn meant(
    files: &dyn LocalFiles,
    written: &str,
    resolved: &Utf8Path,
    wanted: Option<FileKind>,
) -> Option<String> {
    let exists = |path: &Utf8Path| path.as_str().is_empty() || files.kind(path).is_ok();
    let mut paths = resolved.ancestors();
    let missing = paths.find(|path| path.parent().is_some_and(exists))?;
    let (directory, mistyped) = (missing.parent()?, missing.file_name()?);
    let names = files.names(directory);
    let name = did_you_mean(mistyped, names.iter().map(String::as_str))?;
    let below = resolved.strip_prefix(missing).ok()?;
    let mut path = directory.join(name);
    path.extend(below);
    let kind = files.kind(&path).ok()?;
    if wanted.is_some_and(|wanted| wanted != kind) {
        return None;
    }
    let mut parts: Vec<&str> = written.trim_end_matches('/').split('/').collect();
    let at = parts.len().checked_sub(1 + below.components().count())?;
    if parts.get(at) != Some(&mistyped) {
        return None;
    }
    parts[at] = name;
    let slash = if kind == FileKind::Directory { "/" } else { "" };
    Some(format!("{}{slash}", parts.join("/")))
}
