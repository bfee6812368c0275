//! Prepares what a VPU lacks (layers and patches), so that a plan can state how much is sent:
//! offers, which are data, and payloads, which are the bytes.

mod archive;
mod inodes;
mod parts;
mod patches;
mod payloads;
mod repairs;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

pub use self::{
    archive::write_archive,
    parts::Division,
    patches::{Outdated, PatchCache, outdated},
    payloads::Payloads,
    repairs::repairs,
};
use crate::{
    compression::{Codec, Compression},
    cost::image as cost,
    desired::{Desired, Image, ImageContent},
    digest::Digest,
    image::{
        self, ImageError, ImageSender, LayerCache, LayerSelection, Making, Manner, WorkProgress,
    },
    observe::{Facts, Observed},
    offers::{Base, DeltaOffer, ImageOffer, LayerOffer, Offers},
    plan::{delta_bases, layers_to_send, takes_parts},
    resolve::LocalImages,
    speeds::Speeds,
};

/// A layer cannot be prepared.
#[derive(Debug, thiserror::Error)]
#[error("image {name} cannot be sent")]
pub struct PrepareError {
    /// The image, as declared.
    pub name: String,
    /// The reason.
    pub source: Box<ImageError>,
}

/// How exactly a plan must know the sizes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// To the byte: all layers are compressed in advance.
    Exact,
    /// Estimated: the plan is applied at once, and large layers are compressed while they are sent.
    About,
}

impl PrepareError {
    fn new(name: &str, source: ImageError) -> Self {
        Self {
            name: name.to_owned(),
            source: Box::new(source),
        }
    }
}

/// What was prepared.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The input of a plan.
    pub offers: Offers,
    /// The bytes that the plan may send.
    pub payloads: Payloads,
}

/// How layers and patches are prepared.
#[derive(Debug)]
pub struct Preparation {
    /// Where packed layers are cached.
    pub layers: LayerCache,
    /// Where patches are cached.
    pub patches: PatchCache,
    /// When an image is divided into parts.
    pub division: Division,
    /// How exactly a plan must know the sizes.
    pub sizes: Sizes,
    /// Whether the files of images on the VPU's disk are compared with their sources.
    pub verifies: AtomicBool,
}

/// Creates offers without preparing anything but the repairs of damaged files: the sizes are those of the sources.
pub fn unprepared(desired: &Desired, local: &LocalImages) -> Prepared {
    let senders: Senders = each(desired, local)
        .map(|(image, _, local)| (image.name.clone(), ImageSender::new(Arc::clone(local))))
        .collect();
    Prepared {
        offers: Offers {
            images: known(desired, &senders),
            ..Offers::default()
        },
        payloads: Payloads::new(desired, senders, BTreeMap::new()),
    }
}

/// The senders of the local images, by their names in the manifest.
type Senders = BTreeMap<String, ImageSender>;

/// Creates offers of images, as far as their sizes are known by now.
fn known(desired: &Desired, senders: &Senders) -> BTreeMap<String, ImageOffer> {
    let images = desired.images.iter().filter_map(|image| {
        let staging_tag = &image.content.as_ref()?.staging_tag;
        let offer = measured(senders.get(&image.name)?, staging_tag);
        Some((image.name.clone(), offer))
    });
    images.collect()
}

/// Returns the images that come from this machine.
fn each<'a>(
    desired: &'a Desired,
    local: &'a LocalImages,
) -> impl Iterator<Item = (&'a Image, &'a ImageContent, &'a Arc<image::Image>)> {
    desired.images.iter().filter_map(|image| {
        let content = image.content.as_ref()?;
        Some((image, content, local.get(content.config_digest)?))
    })
}

/// Creates the offer of an image, as far as its sizes are known by now.
fn measured(image: &ImageSender, staging_tag: &str) -> ImageOffer {
    let size = |selection: &LayerSelection| image.archive_len(staging_tag, selection);
    let base_bytes = size(&LayerSelection::Only(BTreeSet::new()));
    let layers = image.layers().into_iter().map(|layer| {
        let only = LayerSelection::Only([layer.diff_id].into());
        let bytes = size(&only).saturating_sub(base_bytes);
        LayerOffer {
            diff_id: layer.diff_id,
            bytes,
            unpacked: layer.unpacked,
            spooled: layer.spooled.unwrap_or(bytes),
            inodes: None,
        }
    });
    let mut offer = ImageOffer {
        layers: layers.collect(),
        base_bytes,
        whole_bytes: size(&LayerSelection::All),
        estimated: !image.is_exact(),
        packed: true,
        ..ImageOffer::default()
    };
    // An engine reports the size of the files, not of their archive.
    let all = offer.layers.iter().map(|layer| layer.diff_id).collect();
    offer.whole_bytes = offer.whole_bytes.max(offer.archive_bytes(&all));
    offer
}

impl Preparation {
    /// Creates a preparation with this layer cache.
    pub fn new(layers: LayerCache, sizes: Sizes) -> Self {
        Self {
            layers,
            patches: PatchCache::default(),
            division: Division::default(),
            sizes,
            verifies: AtomicBool::new(false),
        }
    }

    /// Prepares what the observed VPU lacks, and divides large images into parts. Calls `progress`
    /// with the image's name and the progress of its layer. Blocks.
    ///
    /// # Errors
    /// A layer cannot be read or does not match its diff ID.
    pub fn prepare(
        &self,
        desired: &Desired,
        local: &LocalImages,
        observed: &Observed,
        progress: &dyn Fn(&str, WorkProgress),
    ) -> Result<Prepared, PrepareError> {
        let to_send = layers_to_send(desired, &observed.facts);
        let bases = delta_bases(desired, &observed.facts);
        let takes_parts = takes_parts(&observed.facts);
        let mut senders: Senders = each(desired, local)
            .map(|(image, _, local)| {
                let sender = ImageSender::new(Arc::clone(local)).with_cache(&self.layers);
                (image.name.clone(), sender)
            })
            .collect();
        let mut offers = Offers {
            images: known(desired, &senders),
            repairs: repairs::prepared(&mut senders, &observed.facts, progress)?,
            ..Offers::default()
        };
        let all: Vec<Preparing<'_>> = each(desired, local)
            .filter_map(|(image, content, _)| {
                let bases = bases.get(&image.name).filter(|_| takes_parts);
                Some(Preparing {
                    with: self,
                    observed,
                    name: &image.name,
                    staging_tag: &content.staging_tag,
                    wanted: to_send.get(&image.name)?,
                    bases: bases.map_or(&[][..], Vec::as_slice),
                    takes_parts,
                    progress,
                })
            })
            .collect();
        for one in &all {
            let (Some(sender), Some(offer)) =
                (senders.get_mut(one.name), offers.images.get_mut(one.name))
            else {
                continue;
            };
            let bytes = offer.archive_bytes(one.wanted);
            *offer = one.offer(sender, bytes)?;
        }
        if !has_room(&offers, &to_send, observed) {
            for one in &all {
                let (Some(sender), Some(offer)) =
                    (senders.get_mut(one.name), offers.images.get_mut(one.name))
                else {
                    continue;
                };
                if offer.framing == Some(Codec::Gzip) && offer.packed {
                    *offer = one.make_ready(sender, offer.delta.take(), true, Manner::Layers)?;
                }
            }
        }
        inodes::count(&mut offers, &senders, &to_send, observed, progress)?;
        if self.verifies.load(Ordering::Relaxed) {
            for (name, missing) in &to_send {
                let Some(sender) = senders.get_mut(name) else {
                    continue;
                };
                // Docker verifies what it loads; after an interrupted load, it may have the layer already.
                let is_whole = !observed.facts.system.load_interrupted
                    && sender
                        .image()
                        .diff_ids()
                        .iter()
                        .all(|id| missing.contains(id));
                let sums = if is_whole {
                    Ok(None)
                } else {
                    sender.prepare_sums(&|work| progress(name, work))
                };
                let sums = sums.map_err(|source| PrepareError::new(name, source))?;
                offers.sums.extend(sums.map(|sums| (name.clone(), sums)));
            }
        }
        let patches = patches::patches(desired, observed, &self.patches);
        offers.patches = patches
            .iter()
            .map(|(file, patch)| (file.clone(), patch.offer))
            .collect();
        Ok(Prepared {
            offers,
            payloads: Payloads::new(desired, senders, patches),
        })
    }

    /// Estimates the bytes of the images that this VPU lacks, before they are packed.
    pub fn bytes_to_send(&self, desired: &Desired, local: &LocalImages, facts: &Facts) -> u64 {
        let to_send = layers_to_send(desired, facts);
        let images = each(desired, local).filter_map(|(image, content, local)| {
            let missing = to_send.get(&image.name)?;
            // An engine does not report the sizes of layers.
            let guess = || {
                let sender = ImageSender::new(Arc::clone(local));
                measured(&sender, &content.staging_tag).archive_bytes(missing)
            };
            let known = missing.iter().map(|layer| self.layers.unpacked(*layer));
            Some(known.sum::<Option<u64>>().unwrap_or_else(guess))
        });
        images.sum()
    }
}

/// An image to prepare.
struct Preparing<'a> {
    with: &'a Preparation,
    observed: &'a Observed,
    name: &'a str,
    staging_tag: &'a str,
    /// The layers to send.
    wanted: &'a BTreeSet<Digest>,
    /// The images that a delta could be built from.
    bases: &'a [Base],
    takes_parts: bool,
    progress: &'a dyn Fn(&str, WorkProgress),
}

impl Preparing<'_> {
    /// Prepares the image; `bytes` is an estimate of its layers' size.
    fn offer(&self, sender: &mut ImageSender, bytes: u64) -> Result<ImageOffer, PrepareError> {
        let speeds = self.observed.readings.speeds;
        let mut delta = None;
        if !self.bases.is_empty() && cost::may_pay(speeds, bytes) {
            sender
                .fetch_layers(self.wanted, &self.told())
                .map_err(|source| PrepareError::new(self.name, source))?;
            delta = self.delta(sender, speeds);
        }
        // Compressing at the slow level takes longer than most deltas: it is done only if a delta
        // does not surely pay.
        let surely_pays = |offer: &DeltaOffer| cost::surely_pays(speeds, offer);
        let packed = !delta.as_ref().is_some_and(surely_pays);
        let at_once = self.with.sizes == Sizes::About
            && delta.is_none()
            // Arrived bytes are compared with the beginning of their part, which must be compressed
            // for that.
            && self.observed.facts.arrived.is_empty();
        let manner = if !self.takes_parts {
            Manner::Layers
        } else if at_once || !packed {
            Manner::OnTheWay
        } else {
            Manner::Whole
        };
        self.make_ready(sender, delta, packed, manner)
    }

    fn told(&self) -> impl Fn(WorkProgress) {
        |progress| (self.progress)(self.name, progress)
    }

    /// Prepares layers, measures them, and divides large images into parts.
    fn make_ready(
        &self,
        sender: &mut ImageSender,
        delta: Option<DeltaOffer>,
        packed: bool,
        manner: Manner,
    ) -> Result<ImageOffer, PrepareError> {
        let failed = |source| PrepareError::new(self.name, source);
        let making = Making {
            compression: compression(self.observed),
            manner,
        };
        // Comparing with arrived bytes may find a damaged layer in the cache, which is then
        // rebuilt.
        let mut damaged = 0;
        let (mut offer, parts) = loop {
            sender
                .prepare_layers(self.wanted, making, &self.told())
                .map_err(failed)?;
            let offer = measured(sender, self.staging_tag);
            // Layers that a delta almost surely replaces are not divided: the files of their parts
            // would have to be searched for.
            if !self.takes_parts || !packed {
                break (offer, vec![]);
            }
            let image = (&*sender, self.staging_tag);
            let (wanted, division) = (self.wanted, self.with.division);
            match parts::divide(image, &offer, wanted, self.observed, division) {
                Err(ImageError::DamagedCache { layer }) if damaged < wanted.len() => {
                    sender.forget(layer);
                    damaged += 1;
                }
                parts => break (offer, parts.map_err(failed)?),
            }
        };
        offer.framing = making.framing();
        offer.packed = packed;
        offer.delta = delta;
        offer.parts = parts;
        Ok(offer)
    }

    /// Computes a delta from which the VPU could build the image.
    fn delta(&self, sender: &mut ImageSender, speeds: Speeds) -> Option<DeltaOffer> {
        let grain = cost::grain(speeds);
        let made = sender.prepare_delta(self.wanted, self.bases, self.staging_tag, grain);
        made.unwrap_or_else(|error| {
            tracing::warn!(%error, "no delta could be built; layers are sent whole");
            None
        })
    }
}

/// Selects the compression of layers for this VPU.
fn compression(observed: &Observed) -> Option<Compression> {
    let readings = &observed.readings;
    Compression::best(readings.speeds, readings.zstd)
}

/// Whether docker's disk surely holds what docker spools of an archive, all layers, and the parts
/// that arrive before.
fn has_room(
    offers: &Offers,
    to_send: &BTreeMap<String, BTreeSet<Digest>>,
    observed: &Observed,
) -> bool {
    let unpacked = offers.images.iter().filter_map(|(name, offer)| {
        let missing = to_send.get(name)?;
        Some(offer.unpacked_bytes(missing))
    });
    let (all, most) = unpacked.fold((0_u64, 0), |(all, most), bytes| {
        (all.saturating_add(bytes), bytes.max(most))
    });
    let needed = all.saturating_add(most.saturating_mul(2));
    // The arrived bytes may be on the same disk.
    let arrived = observed.facts.arrived.values();
    let arrived: u64 = arrived.map(|arrived| arrived.bytes).sum();
    let free = observed.readings.docker_free();
    free.is_none_or(|free| free.saturating_add(arrived) >= needed)
}
