//! What docker-compose on a VPU makes of projects, and what it is asked.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::{compose::ComposeFile, digest::Digest};

/// A project, and all that docker-compose's answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The project's name.
    pub project: String,
    /// Over the files, docker-compose's version, the login's environment and what is read outside of the project.
    pub asked: Digest,
    /// Whether `asked` covers all of that, so that the answer may be remembered.
    pub is_complete: bool,
    /// The files that docker-compose reads.
    pub files: Vec<QuestionFile>,
    /// Absolute paths that it reads and that only the apply puts there.
    pub awaited: BTreeSet<String>,
    /// Services that have environment files among those: their environment is not what it will be.
    pub apart: BTreeSet<String>,
}

/// A file of a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionFile {
    /// Its path below the project's directory.
    pub relative: String,
    /// Where it is on this machine.
    pub local: Utf8PathBuf,
    /// Of its bytes, as they were read before.
    pub sha256: Digest,
}

/// What docker-compose on the VPU makes of a project's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// [`Question::asked`].
    pub asked: Digest,
    /// What it says.
    pub answer: Answer,
    /// What it warns of, a line each, without values of environment files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The project with everything resolved.
    Project(Box<ComposeFile>),
    /// It refuses the files.
    Refused {
        /// In its words, without values of environment files.
        words: String,
        /// Where, as `docker-compose.yml:4`, if that can be told.
        place: Option<String>,
    },
    /// There is none, and why.
    Unknown(String),
}

/// What was said of each project.
pub type AllResolved = BTreeMap<String, Resolved>;
