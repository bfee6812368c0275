//! Holds the content of an opened image: its configuration and the location of its layers.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::names;
use crate::error::ImageError;
use crate::layer::LayerBytes;
use crate::platform::Platform;
use o3r_core::digest::Digest;

/// Largest manifest or index, in bytes.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;

/// Docker's layer store refuses more layers (`max depth exceeded`).
const MAX_LAYERS: usize = 125;

/// An image whose bytes are available.
#[derive(Debug)]
pub(crate) struct Contents {
    /// What the user named.
    pub(crate) origin: String,
    /// The configuration, byte for byte.
    pub(crate) config: Vec<u8>,
    pub(crate) config_digest: Digest,
    pub(crate) platform: Platform,
    pub(crate) repo_tags: Vec<String>,
    pub(crate) layers: Vec<LayerBytes>,
}

impl Contents {
    /// Returns the layers by diff ID, each once.
    pub(crate) fn by_diff_id(&self) -> BTreeMap<Digest, &LayerBytes> {
        let layers = self.layers.iter();
        layers.map(|layer| (layer.diff_id, layer)).collect()
    }

    /// Whether one of its names is `name`.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.repo_tags.iter().any(|tag| names::same(tag, name))
    }
}

/// The fields of a configuration that are used.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    /// Some writers leave these empty or omit them.
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    os: Option<String>,
    variant: Option<String>,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

impl Config {
    /// Parses a configuration and checks that it has `layers` layers.
    pub(crate) fn parse(origin: &str, bytes: &[u8], layers: usize) -> Result<Self, ImageError> {
        let problem = |problem: String| ImageError::Metadata {
            origin: origin.to_owned(),
            part: "the image's configuration".to_owned(),
            problem,
        };
        let config: Self =
            serde_json::from_slice(bytes).map_err(|error| problem(error.to_string()))?;
        let diff_ids = config.diff_ids().len();
        if diff_ids != layers {
            return Err(problem(format!(
                "names {diff_ids} layers, the manifest {layers}"
            )));
        }
        if layers > MAX_LAYERS {
            return Err(ImageError::TooMuch {
                origin: origin.to_owned(),
                part: "the image".to_owned(),
                found: format!("{layers} layers"),
                limit: MAX_LAYERS as u64,
            });
        }
        Ok(config)
    }

    pub(crate) fn platform(&self) -> Platform {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (os, architecture) = (text(&self.os), text(&self.architecture));
        Platform::new(&os, &architecture, self.variant.as_deref())
    }

    pub(crate) fn diff_ids(&self) -> &[Digest] {
        self.rootfs.diff_ids.as_deref().unwrap_or_default()
    }
}
