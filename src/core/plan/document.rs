//! Reads a saved plan.

use serde::{Deserialize, de::IgnoredAny};

use super::{FORMAT, Plan};

/// A text that is not a plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Something else.
    #[error("not a plan: {0}")]
    Json(#[from] serde_json::Error),
    /// Another document of ours.
    #[error("what `{command}` wrote, and not a plan")]
    Other {
        /// The command that wrote it.
        command: &'static str,
    },
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
            Self::Json(_) | Self::Other { .. } => "create it with: o3r-deploy plan -o FILE",
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
