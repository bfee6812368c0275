//! Blocks images that do not fit on docker's disk, or on the one that their parts arrive on.

use std::collections::BTreeSet;

use super::{
    Address, ResourceKind,
    builder::Builder,
    layers_to_send,
    obstacle::{BlockCode, Obstacle},
};
use crate::{
    digest::Digest,
    facts::Readings,
    offers::{ImageOffer, PartOffer},
    units::bytes,
};

/// Returns the address that a lack of space blocks.
pub fn address() -> Address {
    Address::new(ResourceKind::Vpu, "space")
}

/// How to free space on docker's disk.
pub const REMEDY: &str = "check on the VPU: docker system df; remove images that no container uses, such as those \
                          of earlier releases, with: docker image prune -a";

/// Bytes that images need on the VPU while they are sent.
#[derive(Debug, Default)]
struct Need {
    /// Bytes that remain: the unpacked layers. A lower bound if a layer's size is not known.
    unpacked: u64,
    /// The most bytes of archives that docker stores at a time before it unpacks them.
    received: u64,
    /// The most bytes at a time that still have to arrive in files of parts.
    arriving: u64,
}

impl Need {
    fn add(&mut self, offer: &ImageOffer, missing: &BTreeSet<Digest>) {
        self.unpacked += offer.unpacked_bytes(missing);
        if offer.parts.is_empty() {
            self.received = self.received.max(offer.spooled_bytes(missing));
            return;
        }
        let streamed = |part: &PartOffer| {
            if part.arriving.is_none() {
                offer.spooled_bytes(&part.part.layers)
            } else {
                0
            }
        };
        let rest = |part: &PartOffer| {
            let arriving = part.arriving.as_ref();
            arriving.map_or(0, |arriving| part.bytes - arriving.have.min(part.bytes))
        };
        // A part is sent while the one before it is loaded.
        for (at, part) in offer.parts.iter().enumerate() {
            let next = offer.parts.get(at + 1);
            let loaded = offer.spooled_bytes(&part.part.layers);
            self.received = self.received.max(loaded + next.map_or(0, streamed));
            self.arriving = self.arriving.max(rest(part) + next.map_or(0, rest));
        }
    }
}

/// Blocks images that docker's disk, or the one of the home directory, cannot hold. Docker writes
/// an archive into its own directory before unpacking it.
pub(super) fn plan(builder: &mut Builder<'_>) {
    let Some(free) = builder.readings.docker_free else {
        return;
    };
    let to_send = layers_to_send(builder.desired, builder.facts);
    let mut need = Need::default();
    for (name, offer) in &builder.offers.images {
        if let Some(missing) = to_send.get(name) {
            need.add(offer, missing);
        }
    }
    let shared = one_file_system(builder.readings);
    let arriving = if shared { need.arriving } else { 0 };
    let docker = need.unpacked + need.received + arriving;
    if docker > free {
        let what = if need.unpacked == 0 {
            format!("{} to receive the images", bytes(docker))
        } else {
            format!(
                "{} for the images: {} unpacked, and {} to receive them",
                bytes(docker),
                bytes(need.unpacked),
                bytes(need.received + arriving)
            )
        };
        let reason = format!("docker's disk has {} free, but needs {what}", bytes(free));
        let obstacle = Obstacle::new(BlockCode::NoSpace, reason, REMEDY);
        builder.block(address(), obstacle);
    }
    let home = builder.readings.home_free;
    if let Some(home) = home.filter(|home| !shared && need.arriving > *home) {
        let (home, need) = (bytes(home), bytes(need.arriving));
        let reason = format!(
            "the home directory's disk has {home} free, but receiving the images needs {need}"
        );
        let remedy = "check on the VPU: du -sh ~/*";
        let obstacle = Obstacle::new(BlockCode::NoSpace, reason, remedy);
        builder.block(address(), obstacle);
    }
}

/// Whether docker and the home directory share a file system, judged by equal total and free sizes.
fn one_file_system(readings: &Readings) -> bool {
    readings.home_total == readings.docker_total && readings.home_free == readings.docker_free
}
