//! Makes deltas: what a VPU needs to build an image's missing layers from the files of an image that it
//! has, with nothing but its shell and docker.
//!
//! The archive for `docker load` is cut into literals, which are sent, and ranges of old files, which
//! are copied there, in a throw-away container of the old image; [`pack`] says how. Docker checks
//! the digest of every layer, so that a wrong rebuild is never accepted.

mod index;
mod matches;
mod old;
mod pack;
mod rolling;
mod store;
mod view;

use std::collections::{BTreeMap, BTreeSet};

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

/// Old images that are looked at.
const MAX_BASES: usize = 3;

/// A layer is rebuilt where at least this part of it, in percent, is there: below that, what is saved
/// hardly pays for copying the rest.
const MIN_SHARE: u64 = 20;

/// Smaller layers are embedded whole.
const MIN_LAYER: u64 = 16 << 10;

/// Keeps the list of what is in a layer in the cache, in the background, if it is not there. A layer that cannot be read is
/// reported by who sends it.
pub(crate) fn list(cache: &LayerCache, layer: &LayerBytes) {
    let (diff_id, layer, owned) = (layer.diff_id, layer.clone(), cache.clone());
    cache.once_listed(diff_id, move || {
        if let Err(error) = store::index(&owned, diff_id, || Some(layer)) {
            tracing::debug!(%error, "the layer is not listed");
        }
    });
}

/// What a delta is made of, and for.
pub(crate) struct Making<'a> {
    /// The new image's configuration, byte for byte, and its digest.
    pub(crate) config: &'a [u8],
    pub(crate) config_digest: Digest,
    /// Of all its layers, lowest first.
    pub(crate) diff_ids: &'a [Digest],
    /// The bytes of a layer, where they are at hand.
    pub(crate) layer: &'a dyn Fn(Digest) -> Option<LayerBytes>,
    /// Where the lists of what is in layers are kept.
    pub(crate) cache: &'a LayerCache,
    pub(crate) grain: Grain,
}

impl Making<'_> {
    /// A delta for the layers `missing` of an archive that names the image `tag`, out of the best of some images that the
    /// VPU has, of which the better ones come first, and its bytes. None if none has anything to copy. Blocks.
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
            let Some(view) = self.view(base)? else {
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

    fn view(&self, base: &Base) -> Result<Option<View>, ImageError> {
        let mut builder = View::builder();
        for diff_id in &base.layers {
            let layer = || (self.layer)(*diff_id);
            let added = match store::index(self.cache, *diff_id, layer)? {
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
            // Seen from the recipe's directory, which is at the root there.
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

/// A file as literals and ranges of an old one.
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
