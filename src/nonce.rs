//! Random words that nobody else uses.

use std::hash::{BuildHasher as _, RandomState};

/// A word of `a-z0-9-` that no probed text contains by accident, and that is never made again.
pub(crate) fn nonce() -> String {
    let word = || RandomState::new().hash_one(std::process::id());
    format!("o3r-{:016x}{:016x}", word(), word())
}
