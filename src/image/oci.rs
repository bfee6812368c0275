//! Reads OCI archives, as skopeo, buildah and buildx write them.

use serde::Deserialize;

use super::contents::{self, Config, Contents, LayerBytes, MAX_CONFIG, MAX_MANIFEST};
use super::slice::Slice;
use super::tarindex::TarIndex;
use super::{ImageError, Platform, names};
use crate::digest::Digest;

/// The document that makes a tar an OCI archive.
pub(super) const LAYOUT: &str = "oci-layout";

const INDEX: &str = "index.json";

/// Indexes inside indexes; writers use two.
const MAX_DEPTH: usize = 4;

/// Manifests looked at; a many-platform image with attestations has some dozens.
const MAX_DESCRIPTORS: usize = 1024;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<PlatformField>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

/// The annotations that matter; others may be of any number.
#[derive(Debug, Clone, Deserialize)]
struct Annotations {
    #[serde(rename = "io.containerd.image.name")]
    containerd_name: Option<String>,
    #[serde(rename = "org.opencontainers.image.ref.name")]
    reference: Option<String>,
    #[serde(rename = "vnd.docker.reference.type")]
    docker_type: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct PlatformField {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

/// An index or a manifest: the content decides, media types are often left out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

impl Descriptor {
    fn names(&self) -> Vec<String> {
        let Some(annotations) = &self.annotations else {
            return Vec::new();
        };
        [&annotations.containerd_name, &annotations.reference]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Signed statements about an image, stored beside it as if they were one.
    fn is_attestation(&self) -> bool {
        let typed = self
            .annotations
            .as_ref()
            .is_some_and(|a| a.docker_type.is_some());
        typed
            || self
                .platform
                .as_ref()
                .is_some_and(|p| p.os == "unknown" && p.architecture == "unknown")
    }

    fn platform(&self) -> Option<Platform> {
        let field = self.platform.as_ref().filter(|p| !p.os.is_empty())?;
        Some(Platform::new(
            &field.os,
            &field.architecture,
            field.variant.as_deref(),
        ))
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replacen(':', "/", 1))
    }
}

/// An image manifest found in the archive.
struct Candidate {
    /// The name of its manifest's blob, which tells it from the others.
    path: String,
    /// What the descriptor in `index.json` is called.
    names: Vec<String>,
    platform: Platform,
    layers: Vec<Descriptor>,
    config_digest: Digest,
    config: Descriptor,
}

/// Opens the image `name` for `wanted`.
pub(super) fn read(
    index: &TarIndex,
    name: &str,
    wanted: &Platform,
) -> Result<Contents, ImageError> {
    let bytes = index.document(INDEX, LAYOUT, MAX_MANIFEST)?;
    let top: Document = index.parse(INDEX, &bytes)?;
    let mut search = Search {
        index,
        wanted,
        candidates: Vec::new(),
        missing: None,
        seen: 0,
    };
    for descriptor in top.manifests.unwrap_or_default() {
        search.descend(&descriptor, &descriptor.names(), INDEX, 0)?;
    }
    let Search {
        candidates,
        missing,
        ..
    } = search;
    if candidates.is_empty() {
        return Err(missing.unwrap_or_else(|| index.metadata(INDEX, "names no image")));
    }
    let chosen = choose(index, &candidates, name, wanted)?;
    contents(index, chosen)
}

/// Collects the image manifests below `index.json`.
struct Search<'a> {
    index: &'a TarIndex,
    wanted: &'a Platform,
    candidates: Vec<Candidate>,
    /// The first blob that is not there, which only matters if nothing else is found.
    missing: Option<ImageError>,
    seen: usize,
}

impl Search<'_> {
    fn descend(
        &mut self,
        descriptor: &Descriptor,
        names: &[String],
        needed_by: &str,
        depth: usize,
    ) -> Result<(), ImageError> {
        self.seen += 1;
        if depth > MAX_DEPTH || self.seen > MAX_DESCRIPTORS {
            return Err(self
                .index
                .metadata(needed_by, "more nested manifests than any image has"));
        }
        if descriptor.is_attestation() {
            return Ok(());
        }
        let path = descriptor.path();
        if !self.index.contains(&path) {
            // `docker save` of one platform keeps the index of all.
            let relevant = descriptor.platform().is_none_or(|p| p.fits(self.wanted));
            if relevant && self.missing.is_none() {
                self.missing = self.index.find(&path, needed_by).err();
            }
            return Ok(());
        }
        let (bytes, _) = blob(self.index, descriptor, needed_by, MAX_MANIFEST)?;
        let document: Document = self.index.parse(&path, &bytes)?;
        if let Some(manifests) = document.manifests {
            for inner in &manifests {
                self.descend(inner, names, &path, depth + 1)?;
            }
            return Ok(());
        }
        match document.config {
            Some(config) => {
                self.candidate(config, document.layers.unwrap_or_default(), names, path)
            }
            None if document.schema_version == Some(1) => Err(self
                .index
                .metadata(&path, "a version 1 manifest, which is obsolete")),
            None => Ok(()), // some other artifact
        }
    }

    fn candidate(
        &mut self,
        config: Descriptor,
        layers: Vec<Descriptor>,
        names: &[String],
        path: String,
    ) -> Result<(), ImageError> {
        // Charts, signatures and such have manifests too.
        let is_image = matches!(
            config.media_type.as_str(),
            "" | "application/vnd.oci.image.config.v1+json"
                | "application/vnd.docker.container.image.v1+json"
        );
        if !is_image {
            return Ok(());
        }
        let (bytes, config_digest) = blob(self.index, &config, &path, MAX_CONFIG)?;
        let platform = Config::parse(self.index.origin(), &bytes, layers.len())?.platform();
        let names = names.to_vec();
        self.candidates.push(Candidate {
            path,
            names,
            platform,
            layers,
            config_digest,
            config,
        });
        Ok(())
    }
}

/// The candidate named `name`, or of the only image, that runs on `wanted`.
fn choose<'a>(
    index: &TarIndex,
    candidates: &'a [Candidate],
    name: &str,
    wanted: &Platform,
) -> Result<&'a Candidate, ImageError> {
    let is_named = |c: &&Candidate| c.names.iter().any(|found| names::same(found, name));
    let mut pool: Vec<_> = candidates.iter().filter(is_named).collect();
    if pool.is_empty() {
        let first = &candidates[0];
        let one = candidates
            .iter()
            .all(|c| c.names == first.names || c.path == first.path);
        if !one {
            let mut names: Vec<_> = candidates
                .iter()
                .map(|c| {
                    c.names
                        .first()
                        .cloned()
                        .unwrap_or_else(|| c.config_digest.short())
                })
                .collect();
            names.dedup();
            return Err(ImageError::Several {
                origin: index.origin().to_owned(),
                wanted: name.to_owned(),
                names,
            });
        }
        pool = candidates.iter().collect();
    }
    let exact = pool.iter().find(|c| c.platform == *wanted);
    exact
        .or_else(|| pool.iter().find(|c| c.platform.fits(wanted)))
        .copied()
        .ok_or_else(|| ImageError::WrongPlatform {
            origin: index.origin().to_owned(),
            found: pool.iter().map(|c| c.platform.clone()).collect(),
            wanted: wanted.clone(),
        })
}

fn contents(index: &TarIndex, chosen: &Candidate) -> Result<Contents, ImageError> {
    let (bytes, _) = blob(index, &chosen.config, &chosen.path, MAX_CONFIG)?;
    let config = Config::parse(index.origin(), &bytes, chosen.layers.len())?;
    let mut layers = Vec::new();
    for (number, (layer, diff_id)) in chosen.layers.iter().zip(config.diff_ids()).enumerate() {
        let part = format!("layer {}", number + 1);
        if layer.media_type.contains("encrypted") {
            return Err(index.metadata(&part, "encrypted layers are not supported"));
        }
        let digest = sha256(index, layer, &chosen.path)?;
        let stored = stored(index, layer, &chosen.path)?;
        layers.push(LayerBytes::new(
            *diff_id,
            stored,
            Some(digest),
            index.origin(),
            &part,
        )?);
    }
    Ok(Contents {
        origin: index.origin().to_owned(),
        config: bytes,
        config_digest: chosen.config_digest,
        platform: chosen.platform.clone(),
        repo_tags: chosen.names.clone(),
        layers,
    })
}

/// A small blob, checked against its digest.
fn blob(
    index: &TarIndex,
    descriptor: &Descriptor,
    needed_by: &str,
    limit: u64,
) -> Result<(Vec<u8>, Digest), ImageError> {
    let expected = sha256(index, descriptor, needed_by)?;
    stored(index, descriptor, needed_by)?;
    let bytes = index.document(&descriptor.path(), needed_by, limit)?;
    contents::check(
        index.origin(),
        &descriptor.path(),
        expected,
        Digest::of(&bytes),
    )?;
    Ok((bytes, expected))
}

/// Where a blob is, its size as promised.
fn stored(index: &TarIndex, descriptor: &Descriptor, needed_by: &str) -> Result<Slice, ImageError> {
    let slice = index.find(&descriptor.path(), needed_by)?;
    if slice.len() == descriptor.size {
        return Ok(slice);
    }
    let problem = format!(
        "has {} bytes, {needed_by} says {}",
        slice.len(),
        descriptor.size
    );
    Err(index.metadata(&descriptor.path(), &problem))
}

fn sha256(
    index: &TarIndex,
    descriptor: &Descriptor,
    needed_by: &str,
) -> Result<Digest, ImageError> {
    descriptor
        .digest
        .parse()
        .map_err(|error: crate::digest::ParseDigestError| {
            index.metadata(needed_by, &error.to_string())
        })
}
