//! Reads a `deploy.toml`: its types, its words, its schema, and everything that can be wrong with
//! it, each finding at its place in the file.
//!
//! Must not talk to a VPU: whatever is found here is found offline.

pub mod names;
pub mod types;

pub use types::Manifest;
