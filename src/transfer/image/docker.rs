//! Reads the archives of `docker save`: the old layout and the one with OCI blobs.

use serde::Deserialize;

use super::programs;
use crate::cache::MAX_CONFIG;
use crate::error::ImageError;
use crate::image::contents::{Config, Contents, MAX_MANIFEST};
use crate::layer::LayerBytes;
use crate::load_archive::MANIFEST;
use crate::platform::Platform;
use crate::tarball::TarIndex;
use o3r_core::digest::Digest;

/// The most images in an archive; saving every image of an engine yields fewer.
const MAX_IMAGES: usize = 1024;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Item {
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

    fn is_named(&self, name: &str) -> bool {
        self.tags().iter().any(|tag| super::names::same(tag, name))
    }

    /// The digest that the configuration's name states, in either layout.
    fn promised(&self) -> Option<Digest> {
        blob_digest(self.config.strip_suffix(".json").unwrap_or(&self.config))
    }
}

/// Returns the images that docker's document lists; none if the document is another one: `null`, or
/// any other file called `manifest.json`.
///
/// # Errors
/// The document cannot be read, or one of its items is not an image.
pub(crate) fn items(index: &TarIndex) -> Result<Vec<Item>, ImageError> {
    let document = index.document(MANIFEST, "docker's layout", MAX_MANIFEST)?;
    let value: serde_json::Value = index.parse(MANIFEST, &document)?;
    if !value.is_array() {
        return Ok(vec![]);
    }
    let items: Vec<Item> = index.parse(MANIFEST, &document)?;
    if items.len() > MAX_IMAGES {
        return Err(index.metadata(MANIFEST, "more images than any archive has"));
    }
    Ok(items)
}

/// Whether a file called `manifest.json` is docker's.
pub(crate) fn is_manifest(document: &[u8]) -> bool {
    serde_json::from_slice::<Vec<Item>>(document).is_ok_and(|items| !items.is_empty())
}

/// Whether one of the images has the name `name`.
pub(crate) fn names(items: &[Item], name: &str) -> bool {
    items.iter().any(|item| item.is_named(name))
}

/// Opens the image `name` for `wanted`.
pub(crate) fn read(
    index: &TarIndex,
    items: &[Item],
    name: &str,
    wanted: &Platform,
) -> Result<Contents, ImageError> {
    let mut others = vec![];
    let mut fitting: Vec<Contents> = vec![];
    for item in choose(index, items, name)? {
        let bytes = index.document(&item.config, MANIFEST, MAX_CONFIG)?;
        let config = Config::parse(index.origin(), &bytes, item.layers().len())?;
        let platform = config.platform();
        if !platform.fits(wanted) {
            others.push(platform);
            continue;
        }
        // Not the digest in the file's name: docker, too, hashes the content.
        let config_digest = Digest::of(&bytes);
        if fitting.iter().any(|one| one.config_digest == config_digest) {
            continue;
        }
        let layers = layers(index, item, &config)?;
        match programs::platform(platform, &layers, index.origin(), wanted) {
            Ok(platform) => fitting.push(Contents {
                origin: index.origin().to_owned(),
                layers,
                config: bytes,
                config_digest,
                platform,
                repo_tags: item.tags().to_vec(),
            }),
            Err(ImageError::WrongPlatform { found, .. }) => others.extend(found),
            Err(error) => return Err(error),
        }
    }
    if let [_, _, ..] = fitting[..] {
        let label = |one: &Contents| match one.repo_tags.first() {
            Some(tag) => format!("{tag} ({})", one.config_digest.short()),
            None => one.config_digest.short(),
        };
        return Err(ImageError::Ambiguous {
            origin: index.origin().to_owned(),
            wanted: name.to_owned(),
            names: fitting.iter().map(label).collect(),
        });
    }
    fitting.pop().ok_or_else(|| ImageError::WrongPlatform {
        origin: index.origin().to_owned(),
        found: others,
        wanted: wanted.clone(),
    })
}

/// Returns the images that may be `name`: those with that name, or the only image.
fn choose<'a>(
    index: &TarIndex,
    items: &'a [Item],
    name: &str,
) -> Result<Vec<&'a Item>, ImageError> {
    let named: Vec<_> = items.iter().filter(|item| item.is_named(name)).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let Some(first) = items.first() else {
        return Err(index.metadata(MANIFEST, "names no image"));
    };
    // The platforms of an image share its tags.
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
        choice: items.iter().flat_map(Item::tags).next().cloned(),
    })
}

fn layers(index: &TarIndex, item: &Item, config: &Config) -> Result<Vec<LayerBytes>, ImageError> {
    let mut layers = Vec::new();
    for (number, (path, diff_id)) in item.layers().iter().zip(config.diff_ids()).enumerate() {
        let part = format!("layer {}", number + 1);
        if path.is_empty() {
            let problem = "is missing: docker omitted it when it wrote the archive";
            let remedy = "save the image itself: `docker save -o FILE IMAGE`";
            return Err(index.unusable(&part, problem, remedy));
        }
        let stored = index.find(path, MANIFEST)?;
        layers.push(LayerBytes::new(
            *diff_id,
            stored,
            // Docker ignores the name of the file.
            None,
            index.origin(),
            &part,
        )?);
    }
    Ok(layers)
}

/// Parses the digest in a name such as `blobs/sha256/<hex>` or `<hex>`.
fn blob_digest(name: &str) -> Option<Digest> {
    let hex = name.strip_prefix("blobs/sha256/").unwrap_or(name);
    Digest::from_hex(hex)
}
