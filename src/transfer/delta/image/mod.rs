//! Creates deltas, from which a VPU builds an image's missing layers out of the files of an image
//! that it has, with only its shell and docker.
//!
//! The archive for `docker load` is divided into literals, which are sent, and ranges of old files,
//! which are copied in a temporary container of the old image; [`pack`] has the details. Docker
//! verifies the digest of every layer, so that it never accepts a wrong result.

mod index;
mod matches;
mod old;
mod pack;
mod rolling;
mod store;
mod view;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use self::index::normalised;
use self::matches::Matches;
use self::old::{LayerReader, OldBytes};
use self::pack::{Pack, Packed};
use self::view::View;
use crate::cache::LayerCache;
use crate::error::ImageError;
use crate::files::{CHUNK, ScratchDir, Slice};
use crate::layer::LayerBytes;
use crate::load_archive::{LayerSelection, Parts, Piece};
use crate::{files, load_archive};
use o3r_core::{
    digest::Digest,
    offers::{Base, DeltaOffer, Grain, Reach},
};

/// The most old images that are considered.
const MAX_BASES: usize = 3;

/// The percentage of a layer that the old image must have: below that, the bytes saved hardly pay
/// for the copying.
const MIN_SHARE: u64 = 20;

/// Smaller layers are sent whole.
const MIN_LAYER: u64 = 16 << 10;

/// Lists the content of a layer in the background and caches the list, unless it is cached. If the
/// layer cannot be read, sending it reports that.
pub(crate) fn list(cache: &LayerCache, layer: &LayerBytes) {
    let (diff_id, layer, owned) = (layer.diff_id, layer.clone(), cache.clone());
    cache.once_listed(diff_id, move || {
        if let Err(error) = store::index(&owned, diff_id, || Some(layer)) {
            tracing::debug!(%error, "the layer is not listed");
        }
    });
}

/// Returns the file system of an image with these layers, lowest first, from cached lists or the bytes that `layer`
/// returns. `None` if a layer is missing or strange.
///
/// # Errors
/// A layer cannot be read.
pub(crate) fn view(
    cache: &LayerCache,
    layers: &[Digest],
    layer: &dyn Fn(Digest) -> Option<LayerBytes>,
) -> Result<Option<View>, ImageError> {
    let mut builder = View::builder();
    for diff_id in layers {
        let bytes = || layer(*diff_id);
        let added = match store::index(cache, *diff_id, bytes)? {
            Some(index) => builder.add(&index),
            None => None,
        };
        match added {
            Some(added) => builder = added,
            None => return Ok(None),
        }
    }
    Ok(Some(builder.build()))
}

/// What a delta is computed from.
pub(crate) struct Making<'a> {
    /// The new image's configuration, byte for byte, and its digest.
    pub(crate) config: &'a [u8],
    pub(crate) config_digest: Digest,
    /// The diff IDs of all its layers, lowest first.
    pub(crate) diff_ids: &'a [Digest],
    /// Returns the bytes of a layer, if they are available.
    pub(crate) layer: &'a dyn Fn(Digest) -> Option<LayerBytes>,
    /// Where the lists of layers are cached.
    pub(crate) cache: &'a LayerCache,
    pub(crate) grain: Grain,
}

impl Making<'_> {
    /// Creates a delta for the layers `missing` of an archive that names the image `tag`, and
    /// returns its bytes with it. Selects the best of the images `bases` that the VPU has; the more
    /// promising ones should come first. `None` if no image has anything to copy. Blocks.
    ///
    /// # Errors
    /// A layer of this image cannot be read, or scratch files cannot be written.
    pub(crate) fn make(
        &self,
        missing: &BTreeSet<Digest>,
        bases: &[Base],
        tag: &str,
    ) -> Result<Option<(DeltaOffer, Slice)>, ImageError> {
        let mut best: Option<Matches> = None;
        for base in bases.iter().take(MAX_BASES) {
            let Some(view) = view(self.cache, &base.layers, self.layer)? else {
                continue;
            };
            let found = self.matches(missing, base, view)?;
            let better = |best: &Matches| found.copied() > best.copied();
            if found.copied() > 0 && best.as_ref().is_none_or(better) {
                best = Some(found);
            }
        }
        let Some(best) = best else {
            return Ok(None);
        };
        let mut parts = Parts {
            origin: "the layer cache",
            config: self.config,
            config_digest: self.config_digest,
            diff_ids: self.diff_ids,
            layers: BTreeMap::new(),
            framing: None,
        };
        for diff_id in missing {
            let Some(mut layer) = (self.layer)(*diff_id) else {
                return Ok(None);
            };
            if let Some((len, _)) = best.layers.get(diff_id) {
                layer.size = *len;
            }
            parts.layers.insert(*diff_id, layer);
        }
        let include = LayerSelection::Only(missing.clone());
        let Ok(archive_bytes) = load_archive::len(&parts, tag, &include) else {
            return Ok(None);
        };
        let packed = self.packed(&parts, tag, &include, &best)?;
        let offer = DeltaOffer {
            base: best.base.id.clone(),
            reach: best.reach,
            bytes: packed.bytes.len(),
            sha256: packed.sha256,
            archive_bytes,
            copied_bytes: best.copied(),
            layers: missing.clone(),
        };
        Ok(Some((offer, packed.bytes)))
    }

    fn matches(
        &self,
        missing: &BTreeSet<Digest>,
        base: &Base,
        view: View,
    ) -> Result<Matches, ImageError> {
        let mut matches = Matches::new(base.clone(), view);
        for diff_id in missing {
            let layer = || (self.layer)(*diff_id);
            if let Some(index) = store::index(self.cache, *diff_id, layer)? {
                matches.add(*diff_id, &index, self.grain);
            }
        }
        matches.settle(|len, copied| len >= MIN_LAYER && copied * 100 >= len * MIN_SHARE);
        Ok(matches)
    }

    fn packed(
        &self,
        parts: &Parts<'_>,
        tag: &str,
        include: &LayerSelection,
        matches: &Matches,
    ) -> Result<Packed, ImageError> {
        let scratch = self.cache.scratch();
        let old = OldBytes::fetch(matches, self.layer, &scratch)?;
        let prefix = match matches.reach {
            // Relative to the directory of the recipe, which is in the root of the container.
            Reach::Inside => "../",
            Reach::Outside => "old/",
        };
        let mut pack = Pack::new(&scratch, prefix)?;
        let pieces =
            load_archive::pieces(parts, tag, include).map_err(|error| scratch.error(error))?;
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => pack.literal(&bytes)?,
                Piece::Layer(diff_id) => {
                    let Some(layer) = parts.layers.get(&diff_id) else {
                        continue;
                    };
                    let found = matches
                        .layers
                        .get(&diff_id)
                        .map(|(_, found)| found.as_slice());
                    let mut layer = LayerReader::new(layer, found.is_some())?;
                    for found in found.unwrap_or_default() {
                        layer.literal_until(found.content.offset, &mut pack)?;
                        let Some((path, file)) = matches.view.file(found.old) else {
                            continue;
                        };
                        let len = found.content.len;
                        if found.whole {
                            layer.skip(len)?;
                            pack.copy(path, (0, len), file.content.len)?;
                        } else if let Some(old) = old.get(found.old) {
                            let new = layer.spool(len, &scratch)?;
                            ranged(&new, (path, old), self.grain, &scratch, &mut pack)?;
                        }
                    }
                    layer.literal_until(u64::MAX, &mut pack)?;
                }
            }
        }
        let names = matches.names();
        pack.finish(names.as_deref())
    }
}

/// Writes a file as literals and ranges of an old file.
fn ranged(
    new: &Slice,
    (path, old): (&[u8], &Slice),
    grain: Grain,
    scratch: &ScratchDir,
    pack: &mut Pack<'_>,
) -> Result<(), ImageError> {
    let failed = |error| scratch.error(error);
    let literal = |from: u64, until: u64, pack: &mut Pack<'_>| {
        let mut reader = new.part(from, until - from).reader();
        let mut piece = vec![0; CHUNK];
        loop {
            match files::read_some(&mut reader, &mut piece).map_err(failed)? {
                0 => return Ok(()),
                got => pack.literal(&piece[..got])?,
            }
        }
    };
    let mut done = 0;
    for range in rolling::ranges(new, old, grain.range).map_err(failed)? {
        literal(done, range.new, pack)?;
        pack.copy(path, (range.old, range.len), old.len())?;
        done = range.new + range.len;
    }
    literal(done, new.len(), pack)
}
