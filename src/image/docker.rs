//! Reads what `docker save` writes: the old layout and the one with OCI blobs.

use serde::Deserialize;

use super::contents::{self, Config, Contents, LayerBytes, MAX_CONFIG, MAX_MANIFEST};
use super::tarindex::TarIndex;
use super::{ImageError, Platform, names};
use crate::digest::Digest;

/// The document that makes a tar an image archive of docker's.
pub(super) const MANIFEST: &str = "manifest.json";

/// Images in one archive that are looked at; `docker save` of everything has fewer.
const MAX_IMAGES: usize = 1024;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Item {
    fn tags(&self) -> &[String] {
        self.repo_tags.as_deref().unwrap_or_default()
    }

    fn layers(&self) -> &[String] {
        self.layers.as_deref().unwrap_or_default()
    }

    /// The digest that the configuration's name promises, in either layout.
    fn promised(&self) -> Option<Digest> {
        blob_digest(self.config.strip_suffix(".json").unwrap_or(&self.config))
    }
}

/// Opens the image `name` for `wanted`.
pub(super) fn read(
    index: &TarIndex,
    name: &str,
    wanted: &Platform,
) -> Result<Contents, ImageError> {
    let document = index.document(MANIFEST, "docker's layout", MAX_MANIFEST)?;
    let items: Vec<Item> = index.parse(MANIFEST, &document)?;
    if items.len() > MAX_IMAGES {
        return Err(index.metadata(MANIFEST, "more images than any archive has"));
    }
    let mut found = Vec::new();
    for item in choose(index, &items, name)? {
        let bytes = index.document(&item.config, MANIFEST, MAX_CONFIG)?;
        let config = Config::parse(index.origin(), &bytes, item.layers().len())?;
        if !config.platform().fits(wanted) {
            found.push(config.platform());
            continue;
        }
        let digest = Digest::of(&bytes);
        if let Some(promised) = item.promised() {
            contents::check(
                index.origin(),
                "the image's configuration",
                promised,
                digest,
            )?;
        }
        return Ok(Contents {
            origin: index.origin().to_owned(),
            layers: layers(index, item, &config)?,
            config: bytes,
            config_digest: digest,
            platform: config.platform(),
            repo_tags: item.tags().to_vec(),
        });
    }
    Err(ImageError::WrongPlatform {
        origin: index.origin().to_owned(),
        found,
        wanted: wanted.clone(),
    })
}

/// The entries that may be the image `name`: those with its name, or the only image there is.
fn choose<'a>(
    index: &TarIndex,
    items: &'a [Item],
    name: &str,
) -> Result<Vec<&'a Item>, ImageError> {
    let named: Vec<_> = items
        .iter()
        .filter(|item| item.tags().iter().any(|tag| names::same(tag, name)))
        .collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let Some(first) = items.first() else {
        return Err(index.metadata(MANIFEST, "names no image"));
    };
    // The platforms of one image share its tags.
    if items.iter().all(|item| {
        item.config == first.config || item.tags() == first.tags() && !first.tags().is_empty()
    }) {
        return Ok(items.iter().collect());
    }
    let label = |item: &Item| match item.tags().first() {
        Some(tag) => tag.clone(),
        None => item
            .promised()
            .map_or_else(|| item.config.clone(), |digest| digest.short()),
    };
    Err(ImageError::Several {
        origin: index.origin().to_owned(),
        wanted: name.to_owned(),
        names: items.iter().map(label).collect(),
    })
}

fn layers(index: &TarIndex, item: &Item, config: &Config) -> Result<Vec<LayerBytes>, ImageError> {
    let mut layers = Vec::new();
    for (number, (path, diff_id)) in item.layers().iter().zip(config.diff_ids()).enumerate() {
        let stored = index.find(path, MANIFEST)?;
        let part = format!("layer {}", number + 1);
        layers.push(LayerBytes::new(
            *diff_id,
            stored,
            blob_digest(path),
            index.origin(),
            &part,
        )?);
    }
    Ok(layers)
}

/// The digest in a name such as `blobs/sha256/<hex>`, or `<hex>` alone.
fn blob_digest(name: &str) -> Option<Digest> {
    let hex = name.strip_prefix("blobs/sha256/").unwrap_or(name);
    Digest::from_hex(hex)
}
