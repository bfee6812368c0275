//! Describes the payloads that could be sent to a VPU, and their sizes: data that a plan is made
//! from. Whoever makes the offers creates and keeps the bytes.

use std::collections::{BTreeMap, BTreeSet};

use crate::{compression::Codec, digest::Digest};

/// The repository of the names that parts of images have on a VPU until the image is complete.
pub const PART_REPOSITORY: &str = "o3r-deploy-part";

/// The smallest size, in bytes, of both versions of a file
/// for it to be patched; smaller ones are sent whole.
pub const SMALLEST_PATCHED: u64 = 1 << 20;

/// Everything that could be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offers {
    /// Images, by their names in the manifest.
    pub images: BTreeMap<String, ImageOffer>,
    /// Files of transfers that the VPU builds from its own versions because that is faster than
    /// sending them, by the transfer's number, from 0, and the path below its target.
    pub patches: BTreeMap<(usize, String), PatchOffer>,
    /// Damaged files of images on the VPU, by the names of the images in the manifest.
    pub repairs: BTreeMap<String, Vec<RepairOffer>>,
    /// The files of images that the VPU lacks and that share layers with images that it has, by the names of the images
    /// in the manifest; only if files are compared.
    pub sums: BTreeMap<String, SumsOffer>,
}

/// The list of an image's files, to compare them once it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SumsOffer {
    /// How they are read.
    pub reach: Reach,
    /// Bytes to send.
    pub bytes: u64,
    /// Digest of these bytes.
    pub sha256: Digest,
}

/// The files of a layer that replace damaged ones on the VPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairOffer {
    /// The diff ID of the layer.
    pub layer: Digest,
    /// Bytes to send.
    pub bytes: u64,
    /// Digest of these bytes.
    pub sha256: Digest,
}

/// The ways to send an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageOffer {
    /// Its layers, lowest first.
    pub layers: Vec<LayerOffer>,
    /// Bytes of an archive without any layer.
    pub base_bytes: u64,
    /// Bytes of the whole image in its source.
    pub whole_bytes: u64,
    /// Whether sizes are estimates, because a layer is compressed only while it is sent.
    pub estimated: bool,
    /// The format in which a whole archive is compressed, if any.
    pub framing: Option<Codec>,
    /// Whether the missing layers were prepared for sending; not done if a delta is clearly faster.
    pub packed: bool,
    /// The parts in which it is sent, in this order; empty if it is sent in one piece.
    pub parts: Vec<PartOffer>,
    /// A delta from which the VPU could build it with an image that it has.
    pub delta: Option<DeltaOffer>,
}

/// A layer of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerOffer {
    /// Digest of its uncompressed tar.
    pub diff_id: Digest,
    /// Bytes that it adds to an archive.
    pub bytes: u64,
    /// Bytes of its uncompressed tar, if known.
    pub unpacked: Option<u64>,
    /// Bytes of it that docker stores before loading it.
    pub spooled: u64,
    /// How many files, directories and links it has; known only where docker's disk may lack inodes.
    pub inodes: Option<u64>,
}

impl ImageOffer {
    /// Returns the bytes of an archive with these layers.
    pub fn archive_bytes(&self, layers: &BTreeSet<Digest>) -> u64 {
        let sent = self.each_once(layers).map(|layer| layer.bytes);
        self.base_bytes + sent.sum::<u64>()
    }

    /// Returns the bytes of these layers' tars; a lower bound if a layer's size is not known.
    pub fn unpacked_bytes(&self, layers: &BTreeSet<Digest>) -> u64 {
        let bytes = |layer: &LayerOffer| layer.unpacked.unwrap_or(layer.bytes);
        self.each_once(layers).map(bytes).sum()
    }

    /// Returns the bytes that docker stores of an archive with these layers before loading it.
    pub fn spooled_bytes(&self, layers: &BTreeSet<Digest>) -> u64 {
        let spooled = self.each_once(layers).map(|layer| layer.spooled);
        self.base_bytes + spooled.sum::<u64>()
    }

    /// Returns how many files these layers have, as far as it is known.
    pub fn inodes(&self, layers: &BTreeSet<Digest>) -> u64 {
        let inodes = self.each_once(layers).filter_map(|layer| layer.inodes);
        inodes.sum()
    }

    fn each_once(&self, layers: &BTreeSet<Digest>) -> impl Iterator<Item = &LayerOffer> {
        let mut left = layers.clone();
        let layers = self.layers.iter();
        layers.filter(move |layer| left.remove(&layer.diff_id))
    }
}

/// A part of an image that can be loaded alone: an image of
/// its lowest layers, without those that are loaded before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The number of layers of that image; if it is all of them, it is the image itself.
    pub up_to: usize,
    /// The diff IDs of the layers in the archive.
    pub layers: BTreeSet<Digest>,
}

/// An image part that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartOffer {
    /// The layers in it.
    pub part: Part,
    /// Bytes of its archive.
    pub bytes: u64,
    /// The name that it has until the image is complete; `None` for the last part.
    pub tag: Option<String>,
    /// The file that it arrives in; `None` if it goes to docker directly.
    pub arriving: Option<Arriving>,
}

/// The file on the VPU that a part arrives in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arriving {
    /// Its name.
    pub name: String,
    /// Bytes that have arrived already.
    pub have: u64,
}

/// An image on a VPU that another one could be built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its ID there.
    pub id: String,
    /// Its layers, lowest first.
    pub layers: Vec<Digest>,
}

/// The sizes, derived from the link's speed, from which copying on the VPU is faster than sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grain {
    /// The smallest file, in bytes, that is searched for ranges to copy.
    pub file: u64,
    /// The smallest range, in bytes, that is copied.
    pub range: u64,
}

/// How a delta reads the old image's files on the VPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The recipe runs in a container of the old image, by the image's own shell.
    Inside,
    /// The old image has no shell: its files are copied out
    /// of it, and the recipe runs next to them.
    Outside,
}

/// A delta of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaOffer {
    /// The ID of the old image.
    pub base: String,
    /// How its files are read.
    pub reach: Reach,
    /// Bytes to send.
    pub bytes: u64,
    /// Digest of these bytes.
    pub sha256: Digest,
    /// Bytes of the archive that is built from them.
    pub archive_bytes: u64,
    /// Bytes that are copied from old files.
    pub copied_bytes: u64,
    /// The layers in the archive.
    pub layers: BTreeSet<Digest>,
}

/// A patch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatchOffer {
    /// Bytes of a block of the old file.
    pub block: u64,
    /// Bytes to send.
    pub bytes: u64,
    /// Digest of these bytes.
    pub sha256: Digest,
    /// The number of processes that build the file.
    pub pieces: u64,
}
