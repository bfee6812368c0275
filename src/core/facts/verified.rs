//! What a comparison of an image's files on the disk with its source found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The files of an image on a VPU, compared with its source: docker verifies a layer only while it loads it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// How many files were compared.
    pub files: usize,
    /// How many were not: their names have line breaks, backslashes or bytes that are not UTF-8.
    #[serde(default, skip_serializing_if = "is_none")]
    pub omitted: usize,
    /// The files that differ, sorted by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedFile>,
}

/// A file of an image that differs on the VPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DamagedFile {
    /// Its path in containers, relative to the root.
    pub path: String,
    /// The diff ID of its layer.
    pub layer: Digest,
    /// What is found there.
    pub found: Damage,
}

/// What is found in place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// Nothing.
    Missing,
    /// An empty file, as a power cut leaves one.
    Empty,
    /// Other contents, or the disk cannot read them.
    Differs,
}

// The signature that serde asks for.
#[expect(clippy::trivially_copy_pass_by_ref)]
fn is_none(number: &usize) -> bool {
    *number == 0
}
