//! Caches how docker-compose on VPUs resolved projects, so that a plan without changes does not
//! wait for it.

use camino::Utf8PathBuf;

use super::{Answer, Question, Resolved};
use crate::{digest::Digest, documents};

/// The most answers that are kept; each has some kilobytes.
const MOST: usize = 200;

/// The cache: `compose/DIGEST.json` in the cache directory, by a digest of everything that an
/// answer depends on. Contains no values of environment variables.
#[derive(Debug, Clone)]
pub struct Remembered {
    directory: Utf8PathBuf,
}

impl Remembered {
    /// Uses `directory`, which need not exist yet.
    pub fn new(directory: impl Into<Utf8PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    fn path(&self, asked: Digest) -> Utf8PathBuf {
        let name = format!("{}.json", asked.hex());
        self.directory.join("compose").join(name)
    }

    /// Returns the cached answer to a question.
    pub fn find(&self, question: &Question) -> Option<Resolved> {
        if !question.is_complete {
            return None;
        }
        let known: Resolved = documents::read(&self.path(question.asked))?;
        (known.asked == question.asked).then_some(known)
    }

    /// Caches a resolved project. A rejection is queried again, because its cause may be anywhere.
    pub fn keep(&self, question: &Question, resolved: &Resolved) {
        if !question.is_complete || !matches!(resolved.answer, Answer::Project(_)) {
            return;
        }
        if let Err(error) = documents::write(&self.path(question.asked), resolved, MOST) {
            tracing::warn!(%error, "the cache cannot be written");
        }
    }
}
