//! Streams an image: whole, without layers that the engine has, or one part at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::Range;

use serde_json::json;

use crate::compress::Encoding;
use crate::delta::image as delta;
use crate::error::ImageError;
use crate::image::Contents;
use crate::layer::LayerBytes;
use crate::load_archive;
use crate::load_archive::{LayerSelection, Parts, Piece};
use crate::send::ImageSender;
use o3r_core::{
    digest::Digest,
    offers::{PART_REPOSITORY, Part},
};

/// The position of a layer in the bytes that are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSpan {
    /// The number of the layer in the image, from 1; one that occurs twice counts once.
    pub number: usize,
    /// The number of layers in the image, counted the same way.
    pub of: usize,
    /// Its range in the bytes that are sent.
    pub bytes: Range<u64>,
    /// Bytes of its tar, if known.
    pub unpacked: Option<u64>,
}

/// The content of an archive to write.
struct Wanted<'a> {
    diff_ids: &'a [Digest],
    include: LayerSelection,
    tag: String,
    /// The configuration, if it is not the image's own.
    config: Option<Vec<u8>>,
}

impl ImageSender {
    /// The number of bytes that [`ImageSender::write_archive`] writes. Estimated from docker's
    /// image size for an engine's image before [`Image::prepare`](crate::Image::prepare), and from
    /// samples while a layer is still to be compressed ([`ImageSender::is_exact`]); exact
    /// otherwise.
    pub fn archive_len(&self, tag: &str, include: &LayerSelection) -> u64 {
        self.len(&self.whole(tag, include))
    }

    /// Streams the image in the format of `docker save`, named `tag`, with the layers of `include`.
    ///
    /// Deterministic for the same image, tag and selection. Every layer is verified against its
    /// digest while it is sent; a mismatch ends the stream inside that layer, so that loading the
    /// incomplete stream fails too. Memory use does not grow with the image.
    pub fn write_archive(
        &self,
        tag: &str,
        include: &LayerSelection,
        out: &mut dyn Write,
    ) -> Result<(), ImageError> {
        self.write(&self.whole(tag, include), out)
    }

    /// The number of bytes that [`ImageSender::write_part`] writes, as exact as
    /// [`ImageSender::archive_len`].
    pub fn part_len(&self, tag: &str, part: &Part) -> u64 {
        self.len(&self.part(tag, part))
    }

    /// Streams a part, as [`ImageSender::write_archive`] does the whole image. The last part is
    /// named `tag`, others [`ImageSender::part_tag`].
    pub fn write_part(
        &self,
        tag: &str,
        part: &Part,
        out: &mut dyn Write,
    ) -> Result<(), ImageError> {
        self.write(&self.part(tag, part), out)
    }

    /// The positions of the layers in what [`ImageSender::write_archive`] writes; empty while sizes
    /// are unknown.
    pub fn archive_layers(&self, tag: &str, include: &LayerSelection) -> Vec<LayerSpan> {
        self.layer_spans(&self.whole(tag, include))
    }

    /// The positions of the layers in what [`ImageSender::write_part`] writes, as
    /// [`ImageSender::archive_layers`].
    pub fn part_layers(&self, tag: &str, part: &Part) -> Vec<LayerSpan> {
        self.layer_spans(&self.part(tag, part))
    }

    /// The name of the image that a part creates, if it is not the last part.
    pub fn part_tag(&self, up_to: usize) -> String {
        part_tag(&self.part_config(up_to))
    }

    fn whole(&self, tag: &str, include: &LayerSelection) -> Wanted<'_> {
        Wanted {
            diff_ids: self.image.diff_ids(),
            include: include.clone(),
            tag: tag.to_owned(),
            config: None,
        }
    }

    fn part(&self, tag: &str, part: &Part) -> Wanted<'_> {
        let include = LayerSelection::Only(part.layers.clone());
        let Some(diff_ids) = self.image.diff_ids().get(..part.up_to) else {
            return self.whole(tag, &include);
        };
        if diff_ids.len() == self.image.diff_ids().len() {
            return self.whole(tag, &include);
        }
        let config = self.part_config(part.up_to);
        Wanted {
            diff_ids,
            include,
            tag: part_tag(&config),
            config: Some(config),
        }
    }

    /// Creates a minimal configuration with only what docker needs to load the part.
    fn part_config(&self, up_to: usize) -> Vec<u8> {
        let platform = self.image.platform();
        let diff_ids = self.image.diff_ids().get(..up_to).unwrap_or_default();
        let config = json!({
            "architecture": platform.architecture,
            "os": platform.os,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        config.to_string().into_bytes()
    }

    fn len(&self, wanted: &Wanted<'_>) -> u64 {
        let len = |parts: &Parts<'_>| load_archive::len(parts, &wanted.tag, &wanted.include);
        let exact = self.with_parts(wanted, len).and_then(Result::ok);
        exact.unwrap_or_else(|| self.about(wanted))
    }

    /// Estimates the size if the bytes of some layers are not available: they share equally what
    /// the known layers leave of the whole image's size.
    fn about(&self, wanted: &Wanted<'_>) -> u64 {
        let known = self.known(self.image.at_hand());
        let all: BTreeSet<&Digest> = self.image.diff_ids().iter().collect();
        let unpacked = |layer: &LayerBytes| layer.unpacked.unwrap_or(layer.size);
        let there: u64 = all
            .iter()
            .filter_map(|id| known.get(id))
            .map(unpacked)
            .sum();
        let unknown = all
            .iter()
            .filter(|id| !known.contains_key(id))
            .count()
            .max(1) as u64;
        let share = self.image.estimate().saturating_sub(there) / unknown;
        let selected: BTreeSet<&Digest> = wanted.diff_ids.iter().collect();
        let selected = selected
            .into_iter()
            .filter(|id| wanted.include.contains(id));
        selected
            .map(|id| known.get(id).map_or(share, |layer| layer.size))
            .sum()
    }

    fn layer_spans(&self, wanted: &Wanted<'_>) -> Vec<LayerSpan> {
        let spans = self.with_parts(wanted, |parts| {
            let pieces = load_archive::pieces(parts, &wanted.tag, &wanted.include).ok()?;
            let mut seen = BTreeSet::new();
            let distinct = self.image.diff_ids().iter().filter(|id| seen.insert(**id));
            let distinct: Vec<&Digest> = distinct.collect();
            let mut at = 0;
            let mut spans = vec![];
            for piece in &pieces {
                let len = load_archive::piece_len(parts, piece);
                if let Piece::Layer(diff_id) = piece {
                    let place = distinct.iter().position(|id| *id == diff_id)?;
                    spans.push(LayerSpan {
                        number: place + 1,
                        of: distinct.len(),
                        bytes: at..at + len,
                        unpacked: parts.layers.get(diff_id)?.unpacked,
                    });
                }
                at += len;
            }
            Some(spans)
        });
        spans.flatten().unwrap_or_default()
    }

    /// Calls `ask` with the content of the archive; `None` if its bytes are not available.
    fn with_parts<T>(&self, wanted: &Wanted<'_>, ask: impl FnOnce(&Parts<'_>) -> T) -> Option<T> {
        let here = self.image.at_hand();
        let own = self.config.as_deref();
        let own = own.or_else(|| here.map(|contents| contents.config.as_slice()));
        let config = wanted.config.as_deref().or(own);
        let mut layers = self.known(here);
        let diff_ids = wanted.diff_ids;
        let selected = diff_ids.iter().filter(|id| wanted.include.contains(id));
        for diff_id in selected {
            let layer = layers.get_mut(diff_id)?;
            if let Some(sent) = self.sent(layer) {
                *layer = sent;
            }
        }
        let parts = Parts {
            origin: "",
            config: config?,
            config_digest: self.digest_of(wanted),
            diff_ids,
            layers,
            framing: self.framing,
        };
        Some(ask(&parts))
    }

    fn write(&self, wanted: &Wanted<'_>, out: &mut dyn Write) -> Result<(), ImageError> {
        let config = wanted.config.as_deref().or(self.config.as_deref());
        let mut parts = Parts {
            origin: "the layer cache",
            config: config.unwrap_or_default(),
            config_digest: self.digest_of(wanted),
            diff_ids: wanted.diff_ids,
            layers: self.layers.clone(),
            framing: self.framing,
        };
        let mut selected = wanted
            .diff_ids
            .iter()
            .filter(|id| wanted.include.contains(id));
        if config.is_none() || !selected.all(|id| parts.layers.contains_key(id)) {
            let contents = self.image.contents()?;
            parts.origin = &contents.origin;
            parts.config = wanted.config.as_deref().unwrap_or(&contents.config);
            parts.layers = self.known(Some(contents));
        }
        // A later delta needs the lists of layers: plain layers are listed now, others are cached, to
        // be listed then.
        if let Some(cache) = &self.cache {
            let sent = wanted
                .diff_ids
                .iter()
                .filter(|id| wanted.include.contains(id));
            let sent = sent.filter_map(|id| parts.layers.get(id));
            for layer in sent.filter(|layer| layer.on_the_way.is_none()) {
                if layer.encoding == Encoding::Plain {
                    delta::list(cache, layer);
                } else if layer.cached.is_none() {
                    cache.keep_stored(layer, parts.origin);
                }
            }
        }
        let (tag, include) = (&wanted.tag, &wanted.include);
        load_archive::write(&parts, tag, include, self.cache.as_ref(), out)
    }

    fn digest_of(&self, wanted: &Wanted<'_>) -> Digest {
        let config = wanted.config.as_ref();
        config.map_or(self.image.config_digest(), Digest::of)
    }

    /// Returns all layers whose bytes are available, prepared ones first.
    fn known(&self, here: Option<&Contents>) -> BTreeMap<Digest, LayerBytes> {
        let mut layers = self.layers.clone();
        for layer in here.iter().flat_map(|contents| &contents.layers) {
            layers.entry(layer.diff_id).or_insert_with(|| layer.clone());
        }
        layers
    }

    /// Returns a layer from the cache if it was compressed while it was sent.
    pub(crate) fn sent(&self, layer: &LayerBytes) -> Option<LayerBytes> {
        let cache = self.cache.as_ref()?;
        cache.packed(layer.diff_id, layer.on_the_way?)
    }
}

fn part_tag(config: &[u8]) -> String {
    format!("{PART_REPOSITORY}:{}", Digest::of(config).short())
}
