//! What a plan was made from: a manifest, or what stands for one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::ReleaseName;

/// The manifest that a plan was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ManifestRef {
    /// Its path as given.
    pub path: String,
    /// sha256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl ManifestRef {
    /// Returns what stands for a manifest where the VPU keeps the release.
    pub fn kept(name: &ReleaseName, version: &str) -> Self {
        let path = match version {
            "" => format!("the kept release of {name}"),
            version => format!("release {version} of {name}"),
        };
        Self {
            path,
            sha256: String::new(),
        }
    }

    /// Returns what stands for a manifest where a release is destroyed.
    pub fn destruction(name: &ReleaseName) -> Self {
        Self {
            path: format!("{DESTRUCTION}{name}"),
            sha256: String::new(),
        }
    }

    /// Returns the release that is destroyed, if it stands for that.
    pub fn destroyed(&self) -> Option<&str> {
        self.path
            .strip_prefix(DESTRUCTION)
            .filter(|_| self.sha256.is_empty())
    }

    /// Whether a path is one that [`ManifestRef::kept`] gives.
    pub fn is_path_of_kept(path: &str) -> bool {
        path.starts_with("the kept release of ")
            || path.starts_with("release ") && path.contains(" of ")
    }

    /// Whether it stands for a release that the VPU keeps: there is no manifest.
    pub fn is_kept(&self) -> bool {
        self.sha256.is_empty() && self.destroyed().is_none()
    }
}

/// What the path begins with that stands for a manifest where a release is destroyed.
const DESTRUCTION: &str = "the destruction of ";
