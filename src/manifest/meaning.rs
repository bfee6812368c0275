//! Checks what a manifest means.

use super::{diagnostics::Diagnostic, load::Loaded};
use camino::Utf8Path;
/// Files.
pub trait LocalFiles {}
/// Disk.
#[derive(Debug)]
pub struct Disk;
impl LocalFiles for Disk {}
/// Checks.
pub fn check(_: &Loaded, _: &dyn LocalFiles) -> Vec<Diagnostic> {
    let _ = Utf8Path::new("");
    Vec::new()
}
