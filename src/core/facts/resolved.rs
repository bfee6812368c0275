//! Describes projects as docker-compose on a VPU resolves them, and the questions to it.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::{compose::ComposeFile, digest::Digest, rendered::Content};

/// A project and everything that docker-compose's answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The project's name.
    pub project: String,
    /// Digest of the files, docker-compose's version, the login's environment and the files read
    /// outside of the project.
    pub asked: Digest,
    /// Whether `asked` covers all of that, so that the answer can be cached.
    pub is_complete: bool,
    /// The files that docker-compose reads.
    pub files: Vec<QuestionFile>,
    /// Absolute paths that it reads but only the apply creates.
    pub awaited: BTreeSet<String>,
    /// Services with environment files among those: their environment is not final.
    pub apart: BTreeSet<String>,
}

/// A file of a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionFile {
    /// Its path below the project's directory.
    pub relative: String,
    /// Its path on this machine.
    pub local: Utf8PathBuf,
    /// Digest of its content, as read before.
    pub sha256: Digest,
    /// Its content, if this machine made it.
    pub rendered: Option<Content>,
}

/// A project's files as docker-compose on the VPU resolves them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// [`Question::asked`].
    pub asked: Digest,
    /// Its answer.
    pub answer: Answer,
    /// Its warnings, one a line, without values of environment files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The fully resolved project.
    Project(Box<ComposeFile>),
    /// docker-compose rejects the files.
    Refused {
        /// Its message, without values of environment files.
        words: String,
        /// The place, such as `docker-compose.yml:4`, if it can be determined.
        place: Option<String>,
    },
    /// No answer, and why.
    Unknown(String),
}

/// The answers by project.
pub type AllResolved = BTreeMap<String, Resolved>;
