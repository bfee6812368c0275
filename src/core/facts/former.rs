//! Describes what a release has on the VPU that is no longer declared.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What the recorded release put somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Former {
    /// A regular file.
    File {
        /// Of its bytes.
        sha256: Digest,
        /// How many.
        bytes: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its target.
        target: String,
    },
}

/// What the recorded release has that the desired state does not declare.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Undeclared {
    /// What it transferred, by target and path below the target.
    pub transfers: BTreeMap<String, BTreeMap<String, Former>>,
    /// The directories that it or an earlier release has, also for volumes; absolute.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub directories: BTreeSet<String>,
    /// Directories of its volumes, by absolute path, that another release has, too.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub shared: BTreeSet<String>,
    /// Whether any directory of a volume may be another release's, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub any_shared: bool,
    /// Why the rest is unknown, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

impl Undeclared {
    /// Whether there is nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What is in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Whether nothing is in it.
    pub is_empty: bool,
    /// Whether a part of it could not be read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_partial: bool,
}
