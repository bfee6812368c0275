//! Reads OCI archives as skopeo, buildah and buildx write them.

use serde::Deserialize;

use super::{names, programs};
use crate::cache::MAX_CONFIG;
use crate::error::ImageError;
use crate::files::Slice;
use crate::image::contents::{Config, Contents, MAX_MANIFEST};
use crate::layer;
use crate::layer::LayerBytes;
use crate::platform::Platform;
use crate::tarball::TarIndex;
use o3r_core::digest::Digest;

/// The member that makes a tar an OCI archive.
pub(crate) const LAYOUT: &str = "oci-layout";

const INDEX: &str = "index.json";

/// The deepest nesting of indexes; writers use two levels.
const MAX_DEPTH: usize = 4;

/// The most manifests that are read; a multi-platform image with attestations has some dozens.
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

/// The annotations in use; there may be any number of others.
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

/// An index or a manifest. The content decides, because media types are often omitted.
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
    /// The image's names; bare tags only if it has no full name.
    fn names(&self) -> Vec<String> {
        let Some(annotations) = &self.annotations else {
            return Vec::new();
        };
        let names = [&annotations.containerd_name, &annotations.reference];
        let mut names: Vec<String> = names.into_iter().flatten().cloned().collect();
        if names.iter().any(|name| !names::is_bare_tag(name)) {
            names.retain(|name| !names::is_bare_tag(name));
        }
        names
    }

    /// Whether this is an attestation: a signed statement about an image, stored next to it like
    /// another image.
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

/// An entry of `index.json`: an image for one or several platforms.
#[derive(Debug, Clone)]
struct Root {
    /// The name of its blob in the archive.
    path: String,
    names: Vec<String>,
    /// Whether the entry states a platform.
    has_platform: bool,
}

impl Root {
    fn label(&self) -> String {
        let digest: String = self.path.rsplit('/').next().unwrap_or_default().to_owned();
        let short = digest.get(..12).unwrap_or(&digest);
        match self.names.first() {
            Some(name) if names::is_bare_tag(name) => format!("{name} ({short})"),
            Some(name) => name.clone(),
            None => short.to_owned(),
        }
    }
}

/// An image manifest found in the archive.
struct Candidate {
    /// The name of its manifest's blob, which identifies it.
    path: String,
    /// The entry of `index.json` that leads to it.
    root: Root,
    platform: Platform,
    layers: Vec<Descriptor>,
    config_digest: Digest,
    config: Descriptor,
}

/// Opens the image `name` for `wanted`.
pub(crate) fn read(
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
        let root = Root {
            path: descriptor.path(),
            names: descriptor.names(),
            has_platform: descriptor.platform().is_some(),
        };
        search.descend(&descriptor, &root, INDEX, 0)?;
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
    contents(index, chosen, wanted)
}

/// Collects the image manifests below `index.json`.
struct Search<'a> {
    index: &'a TarIndex,
    wanted: &'a Platform,
    candidates: Vec<Candidate>,
    /// The first missing blob; reported only if nothing else is found.
    missing: Option<ImageError>,
    seen: usize,
}

impl Search<'_> {
    fn descend(
        &mut self,
        descriptor: &Descriptor,
        root: &Root,
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
            // `docker save` of one platform keeps the index of all platforms.
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
                self.descend(inner, root, &path, depth + 1)?;
            }
            return Ok(());
        }
        match document.config {
            Some(config) => {
                let said = descriptor.platform();
                let layers = document.layers.unwrap_or_default();
                self.candidate(config, layers, (root, said), path)
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
        (root, said): (&Root, Option<Platform>),
        path: String,
    ) -> Result<(), ImageError> {
        // Helm charts, signatures and other artifacts have manifests too.
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
        let platform = match said {
            Some(said) => platform.or(&said),
            None => platform,
        };
        self.candidates.push(Candidate {
            path,
            root: root.clone(),
            platform,
            layers,
            config_digest,
            config,
        });
        Ok(())
    }
}

/// Returns the candidate that runs on `wanted` and is named `name`, or belongs to the only image.
fn choose<'a>(
    index: &TarIndex,
    candidates: &'a [Candidate],
    name: &str,
    wanted: &Platform,
) -> Result<&'a Candidate, ImageError> {
    let ambiguous = |pool: &[&Candidate]| ImageError::Ambiguous {
        origin: index.origin().to_owned(),
        wanted: name.to_owned(),
        names: labels(pool.iter().copied()),
    };
    let having = |is: fn(&str, &str) -> bool| -> Vec<&Candidate> {
        let has = |c: &&Candidate| c.root.names.iter().any(|found| is(found, name));
        candidates.iter().filter(has).collect()
    };
    let mut pool = having(names::same);
    if pool.is_empty() {
        pool = having(names::is_tag_of);
        // Regardless of platform: one of them may be another image with the same tag.
        if labels(pool.iter().copied()).len() > 1 {
            return Err(ambiguous(&pool));
        }
    }
    if pool.is_empty() {
        if !is_one_image(candidates) {
            let mut names = candidates.iter().flat_map(|c| &c.root.names);
            return Err(ImageError::Several {
                origin: index.origin().to_owned(),
                wanted: name.to_owned(),
                names: labels(candidates),
                choice: names.find(|name| !names::is_bare_tag(name)).cloned(),
            });
        }
        pool = candidates.iter().collect();
    }
    let mut fitting = pool.clone();
    fitting.retain(|c| c.platform == *wanted);
    if fitting.is_empty() {
        fitting.clone_from(&pool);
        fitting.retain(|c| c.platform.fits(wanted));
    }
    let Some(first) = fitting.first().copied() else {
        return Err(ImageError::WrongPlatform {
            origin: index.origin().to_owned(),
            found: pool.iter().map(|c| c.platform.clone()).collect(),
            wanted: wanted.clone(),
        });
    };
    // Within one image, docker also takes the first that fits.
    let same = |c: &&Candidate| c.path == first.path || c.root.path == first.root.path;
    if fitting.iter().all(same) {
        Ok(first)
    } else {
        Err(ambiguous(&fitting))
    }
}

/// Whether `index.json` lists a single image: once, under the same name for each platform, or with
/// platforms only.
fn is_one_image(candidates: &[Candidate]) -> bool {
    let first = &candidates[0];
    let names = &first.root.names;
    let is_alike = |c: &Candidate| {
        c.root.names == *names
            && (!names.is_empty() || c.root.has_platform && first.root.has_platform)
    };
    candidates
        .iter()
        .all(|c| c.path == first.path || c.root.path == first.root.path || is_alike(c))
}

/// Returns the labels of the images for messages, each once.
fn labels<'a>(candidates: impl IntoIterator<Item = &'a Candidate>) -> Vec<String> {
    let mut labels: Vec<String> = vec![];
    let mut seen: Vec<&str> = vec![];
    for candidate in candidates {
        if !seen.contains(&candidate.root.path.as_str()) {
            seen.push(&candidate.root.path);
            labels.push(candidate.root.label());
        }
    }
    labels
}

fn contents(
    index: &TarIndex,
    chosen: &Candidate,
    wanted: &Platform,
) -> Result<Contents, ImageError> {
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
    let said = chosen.platform.clone();
    let platform = programs::platform(said, &layers, index.origin(), wanted)?;
    Ok(Contents {
        origin: index.origin().to_owned(),
        config: bytes,
        config_digest: chosen.config_digest,
        platform,
        repo_tags: chosen.root.names.clone(),
        layers,
    })
}

/// Reads a small blob and verifies its digest.
fn blob(
    index: &TarIndex,
    descriptor: &Descriptor,
    needed_by: &str,
    limit: u64,
) -> Result<(Vec<u8>, Digest), ImageError> {
    let expected = sha256(index, descriptor, needed_by)?;
    stored(index, descriptor, needed_by)?;
    let bytes = index.document(&descriptor.path(), needed_by, limit)?;
    layer::check(
        index.origin(),
        &descriptor.path(),
        expected,
        Digest::of(&bytes),
    )?;
    Ok((bytes, expected))
}

/// Locates a blob and checks its size.
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
        .map_err(|error: o3r_core::digest::ParseDigestError| {
            index.metadata(needed_by, &error.to_string())
        })
}
