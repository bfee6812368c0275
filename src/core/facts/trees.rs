//! What is at the targets of transfers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Probed;
use crate::digest::Digest;

/// From this size on, in bytes, files are hashed only where their size is the wanted one: one look
/// costs less than reading a mebibyte, and more than reading a page.
pub const LARGE: u64 = 1 << 20;

/// The name of the staging directory on a file system that the home directory is not on.
pub const HIDDEN_STAGING: &str = ".o3r-staging";

/// What to ask about one target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeQuery {
    /// The target, absolute or below `~`.
    pub target: String,
    /// Whether everything below it is to be listed.
    pub all: bool,
    /// What is expected, by path below the target (empty: the target itself); files with their
    /// size, which are hashed.
    pub names: BTreeMap<String, Option<u64>>,
}

impl TreeQuery {
    /// Whether the target is to be a directory.
    pub fn is_directory(&self) -> bool {
        self.names.get("") == Some(&None)
    }
}

/// What is at the targets of transfers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trees {
    /// The mount point of the home directory's file system.
    pub home_mount: String,
    /// Staging directories that an interrupted apply left behind; absolute or below `~`.
    pub left: BTreeSet<String>,
    /// By target as asked.
    pub targets: BTreeMap<String, Probed<Tree>>,
}

impl Trees {
    /// Whether nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.left.is_empty()
    }
}

/// What is at one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// The nearest directory at or above the target; absolute or below `~`.
    pub parent: String,
    /// Whether we can make things in it.
    pub access: Access,
    /// The mount point of its file system.
    pub mount: String,
    /// What was expected and is there or cannot be told, by path below the target. What is not in
    /// here and was asked for is missing.
    #[serde(default)]
    pub nodes: BTreeMap<String, Probed<Node>>,
    /// What else is there, where everything was asked for.
    #[serde(default)]
    pub others: BTreeMap<String, Other>,
    /// Paths that no list can carry, escaped.
    #[serde(default)]
    pub odd: BTreeSet<String>,
}

/// What we can do in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Make and remove things.
    Full,
    /// Look, perhaps; not change anything.
    None,
    /// There is none: its path, or a part of it, is something else.
    InTheWay,
}

/// What was expected and is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Node {
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Bytes.
        size: u64,
        /// Of the contents; `None` where it was not hashed: it is large and has another size, or
        /// cannot be read.
        sha256: Option<Digest>,
    },
    /// A directory; the target itself may be a symbolic link to one.
    Directory {
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Whether we can look into it.
        readable: bool,
        /// Whether we can change what is in it.
        writable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points; empty if no list can carry it.
        target: String,
        /// Owner.
        uid: u32,
    },
    /// A device, a socket, a pipe.
    Special,
}

/// Something that was not expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Other {
    /// A directory.
    Directory {
        /// Whether we can look into it.
        readable: bool,
        /// Whether we can change what is in it.
        writable: bool,
    },
    /// Anything else.
    File,
}
