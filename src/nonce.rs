//! Random words that are unique.

use std::hash::{BuildHasher as _, RandomState};

/// Returns a word of `a-z0-9-` that no probed text contains by accident, different at each call.
pub(crate) fn nonce() -> String {
    let word = || RandomState::new().hash_one(std::process::id());
    format!("o3r-{:016x}{:016x}", word(), word())
}
