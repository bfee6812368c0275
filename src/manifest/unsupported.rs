//! stub
use super::{diagnostics::Diagnostic, load::Loaded};
/// stub
pub fn unsupported(_: &Loaded) -> Vec<Diagnostic> {
    vec![]
}
