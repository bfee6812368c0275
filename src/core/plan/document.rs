//! Reads a plan that was kept as a document.

use serde::Deserialize;

use super::{FORMAT, Plan};

/// A text that is not a plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Something else.
    #[error("not a plan: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version's.
    #[error("a plan of format {found}; this version reads format {FORMAT}")]
    Format {
        /// Its format.
        found: u32,
    },
}

impl PlanError {
    /// The next thing to do.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Json(_) => "make it with: o3r-deploy plan -o FILE",
            Self::Format { .. } => {
                "plan again: o3r-deploy plan -o FILE; or apply it with the version of o3r-deploy that wrote it"
            }
        }
    }
}

impl Plan {
    /// Reads one that `plan -o` wrote.
    ///
    /// # Errors
    /// It is something else, or of another format.
    pub fn read(text: &[u8]) -> Result<Self, PlanError> {
        /// Looked at first: another format has other keys.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = serde_json::from_slice(text)?;
        if format != FORMAT {
            return Err(PlanError::Format { found: format });
        }
        Ok(serde_json::from_slice(text)?)
    }
}
