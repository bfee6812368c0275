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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::{Image, ImageContent},
        offers::{Arriving, LayerOffer, Offers, Part},
        testing,
    };

    #[test]
    fn what_arrived_of_a_part_needs_no_more_room() {
        let part = |bytes: u64, have: u64| PartOffer {
            part: Part {
                up_to: 1,
                layers: [].into(),
            },
            bytes,
            tag: None,
            arriving: Some(Arriving {
                name: "part".into(),
                have,
            }),
        };
        let arriving = |parts: Vec<PartOffer>| {
            let offer = ImageOffer {
                parts,
                ..ImageOffer::default()
            };
            let mut need = Need::default();
            need.add(&offer, &BTreeSet::new());
            need.arriving
        };
        assert_eq!(arriving(vec![part(100, 0)]), 100);
        assert_eq!(arriving(vec![part(100, 30)]), 70);
        assert_eq!(arriving(vec![part(100, 130)]), 0);
        assert_eq!(arriving(vec![part(100, 30), part(50, 10)]), 110);
    }

    #[test]
    fn a_part_is_received_while_the_one_before_is_loaded() {
        let layer = |name: &str, spooled: u64| LayerOffer {
            diff_id: Digest::of(name),
            bytes: spooled,
            unpacked: None,
            spooled,
        };
        let part = |name: &str| PartOffer {
            part: Part {
                up_to: 1,
                layers: [Digest::of(name)].into(),
            },
            bytes: 1,
            tag: None,
            arriving: None,
        };
        let offer = ImageOffer {
            layers: vec![layer("a", 10), layer("b", 20), layer("c", 1)],
            base_bytes: 5,
            parts: ["a", "b", "c"].map(part).into(),
            ..ImageOffer::default()
        };
        let mut need = Need::default();
        need.add(&offer, &BTreeSet::new());
        assert_eq!(need.received, (5 + 10) + (5 + 20));
        assert_eq!(need.arriving, 0);
    }

    /// What is blocked where an image of 50 bytes arrives in a file, and docker then needs 120 for it; by the disks'
    /// sizes and free bytes.
    fn blocked(docker: (u64, u64), home: (u64, u64)) -> String {
        let layer = LayerOffer {
            diff_id: Digest::of("a"),
            bytes: 20,
            unpacked: Some(100),
            spooled: 20,
        };
        let part = PartOffer {
            part: Part {
                up_to: 1,
                layers: [layer.diff_id].into(),
            },
            bytes: 50,
            tag: None,
            arriving: Some(Arriving {
                name: "part".into(),
                have: 0,
            }),
        };
        let offer = ImageOffer {
            layers: vec![layer],
            parts: vec![part],
            ..ImageOffer::default()
        };
        let mut desired = testing::desired(vec![]);
        desired.images = vec![Image {
            name: "web:1".into(),
            content: Some(ImageContent {
                config_digest: Digest::of(b"web"),
                layers: vec![layer.diff_id],
                staging_tag: "o3r-deploy/app:1".into(),
            }),
            source: None,
        }];
        let mut observed = testing::observed();
        let readings = &mut observed.readings;
        (readings.docker_total, readings.docker_free) = (Some(docker.0), Some(docker.1));
        (readings.home_total, readings.home_free) = (Some(home.0), Some(home.1));
        let offers = Offers {
            images: [("web:1".to_owned(), offer)].into(),
            ..Offers::default()
        };
        let mut builder = Builder::new(&desired, &observed, &offers);
        plan(&mut builder);
        let blocked = builder.finish("host").blocked;
        let mut blocked = blocked.iter();
        let first = blocked.next().map(|blocked| blocked.reason.clone());
        assert!(blocked.next().is_none());
        first.unwrap_or_default()
    }

    #[test]
    fn an_image_needs_room_where_it_arrives_and_where_it_is_unpacked() {
        // Disks of their own.
        assert_eq!(blocked((1000, 120), (500, 50)), "");
        assert!(blocked((1000, 119), (500, 50)).starts_with("docker's disk"));
        assert!(blocked((1000, 120), (500, 49)).starts_with("the home directory's disk"));
        // Disks of one size, or with as much room, are still two.
        assert_eq!(blocked((1000, 120), (1000, 121)), "");
        assert_eq!(blocked((1000, 120), (900, 120)), "");
        // One disk.
        assert_eq!(blocked((1000, 170), (1000, 170)), "");
        assert!(blocked((1000, 169), (1000, 169)).starts_with("docker's disk"));
        assert!(blocked((1000, 30), (1000, 30)).starts_with("docker's disk"));
    }
}
