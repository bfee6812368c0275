//! Holds what a reader found: the configuration and where each layer's bytes are.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use serde::Deserialize;

use super::compress::{self, Encoding};
use super::slice::Slice;
use super::{ImageError, Platform, names};
use o3r_core::compression::Compression;
use o3r_core::digest::{Digest, DigestWriter};

/// Largest configuration; real ones have some kilobytes, labels and history included.
pub(super) const MAX_CONFIG: u64 = 8 << 20;

/// Largest manifest or index.
pub(super) const MAX_MANIFEST: u64 = 4 << 20;

/// Docker's layer store refuses a longer chain (`max depth exceeded`).
const MAX_LAYERS: usize = 125;

/// An image whose bytes are at hand.
#[derive(Debug)]
pub(super) struct Contents {
    /// What the user named.
    pub(super) origin: String,
    /// The configuration, byte for byte.
    pub(super) config: Vec<u8>,
    pub(super) config_digest: Digest,
    pub(super) platform: Platform,
    pub(super) repo_tags: Vec<String>,
    pub(super) layers: Vec<LayerBytes>,
}

impl Contents {
    /// The layers, each once.
    pub(super) fn by_diff_id(&self) -> BTreeMap<Digest, &LayerBytes> {
        let layers = self.layers.iter();
        layers.map(|layer| (layer.diff_id, layer)).collect()
    }

    /// Whether one of its names is this one.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.repo_tags.iter().any(|tag| names::same(tag, name))
    }
}

/// The bytes of one layer.
#[derive(Debug, Clone)]
pub(super) struct LayerBytes {
    pub(super) diff_id: Digest,
    pub(super) stored: Slice,
    pub(super) encoding: Encoding,
    /// The digest of the stored bytes, where the source promises one.
    pub(super) stored_digest: Option<Digest>,
    /// Bytes that are sent.
    pub(super) size: u64,
    /// Bytes unpacked, where that is known.
    pub(super) unpacked: Option<u64>,
    /// The same as a gzip file says it of itself, which nobody has checked.
    pub(super) told: Option<u64>,
    /// Its file, if that is the layer cache's.
    pub(super) cached: Option<Utf8PathBuf>,
    /// How hard it is compressed while it is sent; then `size` is about what it becomes, and `unpacked` is known.
    pub(super) on_the_way: Option<Compression>,
}

impl LayerBytes {
    /// Takes a layer as it is stored; `part` names it in errors.
    ///
    /// A zstd layer is unpacked once to learn its size, since docker 20.10 takes no zstd.
    pub(super) fn new(
        diff_id: Digest,
        stored: Slice,
        stored_digest: Option<Digest>,
        origin: &str,
        part: &str,
    ) -> Result<Self, ImageError> {
        let name = format!("{origin}: {part}");
        let encoding = Encoding::of(&stored, &name)?;
        let (size, unpacked, told) = match encoding {
            Encoding::Plain => (stored.len(), Some(stored.len()), None),
            Encoding::Gzip => (
                stored.len(),
                None,
                Some(compress::gzip_len(&stored, &name)?),
            ),
            Encoding::Zstd => {
                let (found, size) = measure(&stored, encoding, &name)?;
                check(origin, part, diff_id, found)?;
                (size, Some(size), None)
            }
        };
        Ok(Self {
            diff_id,
            stored,
            encoding,
            stored_digest,
            size,
            unpacked,
            told,
            cached: None,
            on_the_way: None,
        })
    }

    /// Takes a layer whose unpacked bytes have been measured.
    pub(super) fn measured(
        diff_id: Digest,
        stored: Slice,
        encoding: Encoding,
        unpacked: u64,
    ) -> Self {
        let size = if encoding == Encoding::Zstd {
            unpacked
        } else {
            stored.len()
        };
        Self {
            diff_id,
            stored,
            encoding,
            stored_digest: None,
            size,
            unpacked: Some(unpacked),
            told: None,
            cached: None,
            on_the_way: None,
        }
    }
}

/// The digest and number of the unpacked bytes.
pub(super) fn measure(
    slice: &Slice,
    encoding: Encoding,
    origin: &str,
) -> Result<(Digest, u64), ImageError> {
    let mut sink = DigestWriter::new(std::io::sink());
    compress::copy_unpacked(slice, encoding, origin, &mut sink, |source| {
        ImageError::Output { source }
    })?;
    let (_, digest, size) = sink.finish();
    Ok((digest, size))
}

/// Compares a digest with the promised one.
pub(super) fn check(
    origin: &str,
    part: &str,
    expected: Digest,
    found: Digest,
) -> Result<(), ImageError> {
    if expected == found {
        return Ok(());
    }
    Err(ImageError::DigestMismatch {
        origin: origin.to_owned(),
        part: part.to_owned(),
        expected,
        found,
    })
}

/// What of a configuration is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    /// Some writers leave these empty, or out.
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
    /// Parses and checks a configuration for an image of `layers` layers.
    pub(super) fn parse(origin: &str, bytes: &[u8], layers: usize) -> Result<Self, ImageError> {
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

    pub(super) fn platform(&self) -> Platform {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (os, architecture) = (text(&self.os), text(&self.architecture));
        Platform::new(&os, &architecture, self.variant.as_deref())
    }

    pub(super) fn diff_ids(&self) -> &[Digest] {
        self.rootfs.diff_ids.as_deref().unwrap_or_default()
    }
}
