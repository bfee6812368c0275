//! What could be sent to a VPU that lacks something, and how large it is: data that a plan is made from. The bytes
//! themselves are made and kept by whoever makes the offers.

use std::collections::{BTreeMap, BTreeSet};

use crate::{compression::Codec, digest::Digest};

/// The repository of the names that parts of images have on a VPU until the whole is there.
pub const PART_REPOSITORY: &str = "o3r-deploy-part";

/// Smallest size, in bytes, that both versions of a file must have to be patched; smaller ones are sent whole.
pub const SMALLEST_PATCHED: u64 = 1 << 20;

/// All that could be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offers {
    /// Images, by the names that the manifest has for them.
    pub images: BTreeMap<String, ImageOffer>,
    /// Files of transfers that are built on the VPU from the versions that it has, where that is quicker than sending
    /// them, by the transfer's number, from 0, and the path below its target.
    pub patches: BTreeMap<(usize, String), PatchOffer>,
}

/// What can be sent of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageOffer {
    /// Its layers, lowest first.
    pub layers: Vec<LayerOffer>,
    /// Bytes of an archive without any layer.
    pub base_bytes: u64,
    /// Bytes of the whole image as its source has it.
    pub whole_bytes: u64,
    /// Whether sizes are estimates, for some layer is compressed only while it is sent.
    pub estimated: bool,
    /// What archives are wrapped into.
    pub framing: Option<Codec>,
    /// Whether missing layers are sent rather than a delta, as far as can be told before: a delta that is much quicker
    /// leaves them unprepared.
    pub packed: bool,
    /// The parts in which it is sent, in this order; none where it is sent at once.
    pub parts: Vec<PartOffer>,
    /// How it could be built on the VPU from an image there.
    pub delta: Option<DeltaOffer>,
}

/// A layer of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerOffer {
    /// Digest of its uncompressed tar.
    pub diff_id: Digest,
    /// Bytes that it adds to an archive.
    pub bytes: u64,
    /// Bytes of its uncompressed tar, where that is known.
    pub unpacked: Option<u64>,
    /// Bytes that docker writes down of it before it loads it.
    pub spooled: u64,
}

impl ImageOffer {
    /// Bytes of an archive with these layers.
    pub fn archive_bytes(&self, layers: &BTreeSet<Digest>) -> u64 {
        let sent = self.each_once(layers).map(|layer| layer.bytes);
        self.base_bytes + sent.sum::<u64>()
    }

    /// Bytes of these layers' tars; at least, where a layer's size is not known.
    pub fn unpacked_bytes(&self, layers: &BTreeSet<Digest>) -> u64 {
        let bytes = |layer: &LayerOffer| layer.unpacked.unwrap_or(layer.bytes);
        self.each_once(layers).map(bytes).sum()
    }

    /// Bytes that docker writes down of an archive with these layers before it loads it.
    pub fn spooled_bytes(&self, layers: &BTreeSet<Digest>) -> u64 {
        let spooled = self.each_once(layers).map(|layer| layer.spooled);
        self.base_bytes + spooled.sum::<u64>()
    }

    fn each_once(&self, layers: &BTreeSet<Digest>) -> impl Iterator<Item = &LayerOffer> {
        let mut left = layers.clone();
        let layers = self.layers.iter();
        layers.filter(move |layer| left.remove(&layer.diff_id))
    }
}

/// A part of an image that can be loaded on its own: an image of its lowest layers, without those that are there by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// How many layers that image has; where it is all of them, it is the image itself.
    pub up_to: usize,
    /// The diff ids of the layers that are in the archive.
    pub layers: BTreeSet<Digest>,
}

/// A part of an image that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartOffer {
    /// What is in it.
    pub part: Part,
    /// Bytes of its archive.
    pub bytes: u64,
    /// The name that it has until the whole is there; `None` for the last part.
    pub tag: Option<String>,
    /// Where it arrives, if not in docker at once.
    pub arriving: Option<Arriving>,
}

/// A file of the VPU that a part arrives in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arriving {
    /// Its name.
    pub name: String,
    /// Bytes of it that are there already.
    pub have: u64,
}

/// An image that is on a VPU, from which another one could be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its id there.
    pub id: String,
    /// Its layers, lowest first.
    pub layers: Vec<Digest>,
}

/// What a link is worth: how long a thing must be to be copied rather than sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grain {
    /// Files of which ranges are looked for.
    pub file: u64,
    /// The ranges.
    pub range: u64,
}

/// How old files are reached on the VPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The recipe runs in a container of the old image, by its own shell.
    Inside,
    /// The old image has no shell: files are taken out of it, and the recipe runs beside them.
    Outside,
}

/// What a delta of an image would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaOffer {
    /// The id of the old image.
    pub base: String,
    /// How its files are reached.
    pub reach: Reach,
    /// Bytes to send.
    pub bytes: u64,
    /// Of these bytes.
    pub sha256: Digest,
    /// Bytes of the archive that is made of them.
    pub archive_bytes: u64,
    /// Bytes of old files that are copied for it.
    pub copied_bytes: u64,
    /// The layers in it.
    pub layers: BTreeSet<Digest>,
}

/// What a patch of a file would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatchOffer {
    /// Bytes of a block of the old file.
    pub block: u64,
    /// Bytes that are sent.
    pub bytes: u64,
    /// Of these bytes.
    pub sha256: Digest,
    /// Processes that build the file.
    pub pieces: u64,
}
