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
use std::io::{self, Write};

use self::matches::Matches;
use self::old::{LayerReader, OldBytes};
use self::pack::{Pack, Packed};
use self::view::View;
use super::compress::{self, CHUNK};
use super::contents::LayerBytes;
use super::slice::Slice;
use super::write::{self, Parts, Piece};
use super::{ImageError, ImageSender, LayerCache, LayerSelection, ScratchDir};
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

/// Keeps the list of what is in a layer in the cache, if it is not there.
///
/// # Errors
/// The layer cannot be read.
pub(super) fn list(cache: &LayerCache, layer: LayerBytes) -> Result<(), ImageError> {
    store::index(cache, layer.diff_id, || Some(layer)).map(drop)
}

impl ImageSender {
    /// Makes a delta for the layers `missing`, out of the best of some images that the VPU has; the
    /// better ones should come first. None if none has anything to copy. Blocks; what layers have
    /// in them is kept in the cache.
    ///
    /// # Errors
    /// A layer of this image cannot be read, or scratch files cannot be written.
    pub fn prepare_delta(
        &mut self,
        missing: &BTreeSet<Digest>,
        bases: &[Base],
        tag: &str,
        grain: Grain,
    ) -> Result<Option<DeltaOffer>, ImageError> {
        let (Some(config), Some(cache)) = (self.config.clone(), self.cache.clone()) else {
            return Ok(None);
        };
        let cache = &cache;
        let mut best: Option<Matches> = None;
        for base in bases.iter().take(MAX_BASES) {
            let Some(view) = self.view(base, cache)? else {
                continue;
            };
            let found = self.matches(missing, base, view, cache, grain)?;
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
            config: &config,
            config_digest: self.image.config_digest(),
            diff_ids: self.image.diff_ids(),
            layers: BTreeMap::new(),
            framing: None,
        };
        for diff_id in missing {
            let Some(mut layer) = self.layer_bytes(*diff_id, cache) else {
                return Ok(None);
            };
            if let Some((len, _)) = best.layers.get(diff_id) {
                layer.size = *len;
            }
            parts.layers.insert(*diff_id, layer);
        }
        let include = LayerSelection::Only(missing.clone());
        let Ok(archive_bytes) = write::len(&parts, tag, &include) else {
            return Ok(None);
        };
        let packed = self.packed(&parts, tag, &include, &best, cache, grain)?;
        let offer = DeltaOffer {
            base: best.base.id.clone(),
            reach: best.reach,
            bytes: packed.bytes.len(),
            sha256: packed.sha256,
            archive_bytes,
            copied_bytes: best.copied(),
            layers: missing.clone(),
        };
        self.deltas.insert(packed.sha256, packed.bytes);
        Ok(Some(offer))
    }

    /// Writes the bytes of an [`DeltaOffer`].
    ///
    /// # Errors
    /// No such delta was made by this process, or what was made of it cannot be read.
    pub fn write_delta(&self, sha256: Digest, out: &mut dyn Write) -> io::Result<()> {
        let delta = self.deltas.get(&sha256).cloned();
        let delta = delta.ok_or_else(|| io::Error::other(format!("no delta {sha256} was made")))?;
        io::copy(&mut delta.reader(), out).map(drop)
    }

    /// A layer's bytes, wherever they are; not fetched from the engine for this.
    fn layer_bytes(&self, diff_id: Digest, cache: &LayerCache) -> Option<LayerBytes> {
        let ready = self.layers.get(&diff_id).cloned();
        let ready = ready.filter(|layer| layer.on_the_way.is_none());
        let here = || Some((*self.image.at_hand()?.by_diff_id().get(&diff_id)?).clone());
        // In any form: it is only read.
        ready.or_else(here).or_else(|| cache.layer(diff_id, None))
    }

    fn view(&self, base: &Base, cache: &LayerCache) -> Result<Option<View>, ImageError> {
        let mut builder = View::builder();
        for diff_id in &base.layers {
            let layer = || self.layer_bytes(*diff_id, cache);
            let added = match store::index(cache, *diff_id, layer)? {
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
        cache: &LayerCache,
        grain: Grain,
    ) -> Result<Matches, ImageError> {
        let mut matches = Matches::new(base.clone(), view);
        for diff_id in missing {
            let layer = || self.layer_bytes(*diff_id, cache);
            if let Some(index) = store::index(cache, *diff_id, layer)? {
                matches.add(*diff_id, &index, grain);
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
        cache: &LayerCache,
        grain: Grain,
    ) -> Result<Packed, ImageError> {
        let scratch = cache.scratch();
        let layer = |diff_id| self.layer_bytes(diff_id, cache);
        let old = OldBytes::fetch(matches, layer, &scratch)?;
        let prefix = match matches.reach {
            // Seen from the recipe's directory, which is at the root there.
            Reach::Inside => "../",
            Reach::Outside => "old/",
        };
        let mut pack = Pack::new(&scratch, prefix)?;
        let pieces = write::pieces(parts, tag, include).map_err(|error| scratch.error(error))?;
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
                            ranged(&new, (path, old), grain, &scratch, &mut pack)?;
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
            match compress::read_some(&mut reader, &mut piece).map_err(failed)? {
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
