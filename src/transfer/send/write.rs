//! Streams an image, whole, without layers that are there already, or a part of it at a time.

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

/// Where a layer is in the bytes that are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSpan {
    /// Which of the image's layers it is, from 1; one that it has twice counts once.
    pub number: usize,
    /// How many layers the image has, so counted.
    pub of: usize,
    /// Its bytes among those that are sent, counted from the first one.
    pub bytes: Range<u64>,
    /// Bytes of its tar, where that is known.
    pub unpacked: Option<u64>,
}

/// What an archive is to hold.
struct Wanted<'a> {
    diff_ids: &'a [Digest],
    include: LayerSelection,
    tag: String,
    /// The configuration, where it is not the image's own.
    config: Option<Vec<u8>>,
}

impl ImageSender {
    /// How many bytes [`ImageSender::write_archive`] writes: exact, except that it is an estimate from
    /// docker's image size for an engine's image before [`Image::prepare`](crate::Image::prepare), and from samples while a layer is still to
    /// be compressed ([`ImageSender::is_exact`]).
    pub fn archive_len(&self, tag: &str, include: &LayerSelection) -> u64 {
        self.len(&self.whole(tag, include))
    }

    /// Streams the image as `docker save` writes it, named `tag`, with the layers of `include`.
    ///
    /// The same image, tag and selection give the same bytes. Every layer is checked against its
    /// digest on the way; a mismatch ends the stream inside that layer, so that a loader which is
    /// handed the incomplete stream fails too. Memory does not grow with the image.
    pub fn write_archive(
        &self,
        tag: &str,
        include: &LayerSelection,
        out: &mut dyn Write,
    ) -> Result<(), ImageError> {
        self.write(&self.whole(tag, include), out)
    }

    /// How many bytes [`ImageSender::write_part`] writes, as [`ImageSender::archive_len`] tells.
    pub fn part_len(&self, tag: &str, part: &Part) -> u64 {
        self.len(&self.part(tag, part))
    }

    /// Streams a part as [`ImageSender::write_archive`] streams the whole. Its name is `tag` where it is the
    /// last one, else [`ImageSender::part_tag`].
    pub fn write_part(
        &self,
        tag: &str,
        part: &Part,
        out: &mut dyn Write,
    ) -> Result<(), ImageError> {
        self.write(&self.part(tag, part), out)
    }

    /// Where the layers are in what [`ImageSender::write_archive`] writes; none where sizes are not exact yet.
    pub fn archive_layers(&self, tag: &str, include: &LayerSelection) -> Vec<LayerSpan> {
        self.layer_spans(&self.whole(tag, include))
    }

    /// Where the layers are in what [`ImageSender::write_part`] writes, as [`ImageSender::archive_layers`] tells.
    pub fn part_layers(&self, tag: &str, part: &Part) -> Vec<LayerSpan> {
        self.layer_spans(&self.part(tag, part))
    }

    /// The name of the image that a part makes which is not the last one.
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

    /// A configuration that only says what docker must know to load it.
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

    /// About as many, where the bytes of some layers are not at hand: what those that are leave of the whole image's size,
    /// in equal shares.
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

    /// Asks something of what is to be written; nothing where the bytes are not at hand.
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
        // A later delta needs to know what is in a layer: what is in the cache can be listed then.
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

    /// All layers whose bytes are known, prepared ones first.
    fn known(&self, here: Option<&Contents>) -> BTreeMap<Digest, LayerBytes> {
        let mut layers = self.layers.clone();
        for layer in here.iter().flat_map(|contents| &contents.layers) {
            layers.entry(layer.diff_id).or_insert_with(|| layer.clone());
        }
        layers
    }

    /// A layer as the cache has it since it was compressed while it was sent.
    pub(crate) fn sent(&self, layer: &LayerBytes) -> Option<LayerBytes> {
        let cache = self.cache.as_ref()?;
        cache.packed(layer.diff_id, layer.on_the_way?)
    }
}

fn part_tag(config: &[u8]) -> String {
    format!("{PART_REPOSITORY}:{}", Digest::of(config).short())
}
