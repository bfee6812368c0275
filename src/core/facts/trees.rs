//! Describes the targets of transfers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Probed;
use crate::digest::Digest;

/// The size in bytes from which files are hashed only if their size is the expected one: comparing
/// the size costs less than reading a mebibyte, and more than reading a page.
pub const LARGE: u64 = 1 << 20;

/// The size, in a query, of a file that is hashed however large it is.
pub const ANY_SIZE: u64 = i64::MAX as u64;

/// The name of the staging directory on a file system other than the home directory's.
pub const HIDDEN_STAGING: &str = ".o3r-staging";

/// What to observe of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeQuery {
    /// The target, absolute or below `~`.
    pub target: String,
    /// Whether to list everything below it.
    pub all: bool,
    /// The expected paths below the target (empty: the target itself); files have their size and
    /// are hashed.
    pub names: BTreeMap<String, Option<u64>>,
}

impl TreeQuery {
    /// Whether the target is expected to be a directory.
    pub fn is_directory(&self) -> bool {
        self.names.get("") == Some(&None)
    }
}

/// The state of the targets of transfers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trees {
    /// The mount point of the home directory's file system.
    pub home_mount: String,
    /// Staging directories that an interrupted apply left; absolute or below `~`.
    pub left: BTreeSet<String>,
    /// By target as queried.
    pub targets: BTreeMap<String, Probed<Tree>>,
}

impl Trees {
    /// Whether nothing was observed.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.left.is_empty()
    }
}

/// The state of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// The nearest directory at or above the target; absolute or below `~`.
    pub parent: String,
    /// Our access to that directory.
    pub access: Access,
    /// The mount point of its file system.
    pub mount: String,
    /// Expected paths below the target that exist or could not be determined. A queried path
    /// without an entry is missing.
    #[serde(default)]
    pub nodes: BTreeMap<String, Probed<Node>>,
    /// All other paths, if everything was queried.
    #[serde(default)]
    pub others: BTreeMap<String, Other>,
    /// Paths that a list cannot contain, escaped.
    #[serde(default)]
    pub odd: BTreeSet<String>,
}

/// Our access to a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Create and remove entries.
    Full,
    /// Read at most.
    None,
    /// There is no directory: its path, or a part of it, is something else.
    InTheWay,
}

/// The state of an expected path.
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
        /// Digest of the content; `None` if it was not hashed, because the file is unreadable or is
        /// large and has another size.
        sha256: Option<Digest>,
    },
    /// A directory; the target itself may be a symbolic link to one.
    Directory {
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Whether we can list it.
        readable: bool,
        /// Whether we can change its entries.
        writable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// The link's target; empty if a list cannot contain it.
        target: String,
        /// Owner.
        uid: u32,
    },
    /// A device, a socket, a pipe.
    Special,
}

/// The type of an unexpected path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Other {
    /// A directory.
    Directory {
        /// Whether we can list it.
        readable: bool,
        /// Whether we can change its entries.
        writable: bool,
    },
    /// Anything else.
    File,
}
