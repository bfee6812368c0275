//! Reads a saved observation.

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, de::IgnoredAny};

use super::{Document, FORMAT};

/// More bytes than any observation has: a larger file is something else.
const MAX_BYTES: u64 = 64 << 20;

/// Why a file cannot be used as an observation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// The file is larger than any observation.
    #[error("{path} has {bytes} bytes, far more than an observation")]
    TooLarge {
        /// The file.
        path: Utf8PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The file is something else.
    #[error("{path} is not an observation: {source}")]
    Json {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The file is a plan.
    #[error("{path} is a plan, not an observation")]
    Plan {
        /// The file.
        path: Utf8PathBuf,
    },
    /// The file was written by a later version.
    #[error("{path} has the format {found}; this version reads {FORMAT}")]
    Format {
        /// The file.
        path: Utf8PathBuf,
        /// Its format.
        found: u32,
    },
}

impl DocumentError {
    /// What to type next.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Format { .. } => "observe again, or use the version of o3r-deploy that wrote it",
            Self::Plan { .. } => {
                "apply it with: o3r-deploy apply FILE; an observation is created with: o3r-deploy observe -o FILE"
            }
            Self::Read(_) | Self::TooLarge { .. } | Self::Json { .. } => {
                "create it with: o3r-deploy observe -o FILE"
            }
        }
    }
}

/// Reads an observation that `observe` wrote.
///
/// # Errors
/// The file cannot be read or is not an observation.
pub fn read_document(path: &Utf8Path) -> Result<Document, DocumentError> {
    /// Parsed first: a later format may have other keys.
    #[derive(Deserialize)]
    struct Head {
        format: u32,
        steps: Option<IgnoredAny>,
    }
    let bytes = fs_err::metadata(path)?.len();
    if bytes > MAX_BYTES {
        let path = path.to_owned();
        return Err(DocumentError::TooLarge { path, bytes });
    }
    let text = fs_err::read(path)?;
    let json = |source| DocumentError::Json {
        path: path.to_owned(),
        source,
    };
    let Head { format, steps } = serde_json::from_slice(&text).map_err(json)?;
    if steps.is_some() {
        let path = path.to_owned();
        return Err(DocumentError::Plan { path });
    }
    if format != FORMAT {
        let path = path.to_owned();
        return Err(DocumentError::Format {
            path,
            found: format,
        });
    }
    serde_json::from_slice(&text).map_err(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_rejected_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::try_from(directory.path().join("file.json")).unwrap();
        let refused = |text: &str| {
            fs_err::write(&path, text).unwrap();
            let error = read_document(&path).unwrap_err().to_string();
            error.replace(path.as_str(), "FILE")
        };
        let later = "{\"format\":2,\"everything\":\"else\"}";
        assert_eq!(
            refused(later),
            "FILE has the format 2; this version reads 1"
        );
        assert_eq!(
            refused(r#"{"format":2,"steps":[]}"#),
            "FILE is a plan, not an observation"
        );
        assert!(refused("[release]").starts_with("FILE is not an observation: "));
        assert!(refused("{\"format\":1}").contains("missing field `tool`"));
    }
}
