//! Reads a saved plan.

use serde::{Deserialize, de::IgnoredAny};

use super::{FORMAT, Plan};

/// The text is not a plan that this version reads.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Not JSON, or not a plan.
    #[error("not a plan: {0}")]
    Json(#[from] serde_json::Error),
    /// A document that another command wrote.
    #[error("not a plan, but the output of `{command}`")]
    Other {
        /// The command that wrote it.
        command: &'static str,
    },
    /// A plan of another version's format.
    #[error("a plan of format {found}; this version reads format {FORMAT}")]
    Format {
        /// Its format.
        found: u32,
    },
}

impl PlanError {
    /// Returns the next thing to do.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Json(_) | Self::Other { .. } => "create it with: o3r-deploy plan -o FILE",
            Self::Format { .. } => {
                "plan again: o3r-deploy plan -o FILE; or apply it with the version of o3r-deploy that wrote it"
            }
        }
    }
}

impl Plan {
    /// Reads a plan that `plan -o` wrote.
    ///
    /// # Errors
    /// The text is not a plan, or a plan of another format.
    pub fn read(text: &[u8]) -> Result<Self, PlanError> {
        /// Read first: a plan of another format may have other keys.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
            facts: Option<IgnoredAny>,
            drift: Option<IgnoredAny>,
        }
        let Head {
            format,
            facts,
            drift,
        } = serde_json::from_slice(text)?;
        let others = [(facts, "o3r-deploy observe"), (drift, "o3r-deploy status")];
        if let Some((_, command)) = others.into_iter().find(|(key, _)| key.is_some()) {
            return Err(PlanError::Other { command });
        }
        if format != FORMAT {
            return Err(PlanError::Format { found: format });
        }
        Ok(serde_json::from_slice(text)?)
    }
}
