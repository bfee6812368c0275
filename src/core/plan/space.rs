//! Blocks an apply that does not fit on the VPU's disks, with what it needs on each of them.

use std::collections::BTreeSet;

use super::{
    Address, Command, Phase, ResourceKind,
    builder::Builder,
    layers_to_send,
    obstacle::{BlockCode, Obstacle},
};
use crate::{
    desired::ProjectState,
    digest::Digest,
    facts::Disk,
    offers::{ImageOffer, PartOffer},
    units::bytes,
};

/// Returns the address that a lack of space blocks.
pub fn address() -> Address {
    Address::new(ResourceKind::Vpu, "space")
}

/// How to free space.
pub const REMEDY: &str = "check on the VPU: df -h; df -i; docker system df; du -sh ~/*; free space, for example by applying the \
                      deployed release with a lower `keep_releases` in [apply], or with docker image prune -a, which \
                      removes images that no container uses: also those that `o3r-deploy rollback` needs";

/// Bytes that a file takes on a file system beyond its contents, at most.
const BLOCK: u64 = 4096;

/// Bytes of the lock, the records and the watchdog's state, beside what the steps send.
const RECORDS: u64 = 16 << 10;

/// How many files those are.
const RECORD_FILES: u64 = 16;

/// Bytes that stay free on docker's disk during the switch, so that containers can be created and log, also those of the
/// previous release if it comes back. Docker 20.10 writes some 100 KiB for a container.
const WAY_BACK: u64 = 8 << 20;

/// Inodes that docker 20.10 takes for a layer beside its files: 12 were counted.
const LAYER_INODES: u64 = 16;

/// Inodes that docker 20.10 takes for a container: 44 were counted.
const CONTAINER_INODES: u64 = 64;

/// What the transfers write on one file system before any old file is removed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Staged {
    /// Bytes of the files' blocks.
    bytes: u64,
    /// How many files.
    files: u64,
}

impl Staged {
    /// Adds a file of that size.
    pub(super) fn add(&mut self, bytes: u64) {
        self.bytes += bytes.next_multiple_of(BLOCK);
        self.files += 1;
    }
}

/// Bytes that images need on the VPU while they are sent.
#[derive(Debug, Default)]
struct Need {
    /// Bytes that remain: the unpacked layers. A lower bound if a layer's size is not known.
    unpacked: u64,
    /// The most bytes of archives that docker stores at a time before it unpacks them.
    received: u64,
    /// The most bytes at a time that still have to arrive in files of parts.
    arriving: u64,
    /// Inodes of the unpacked layers; only docker's own where their files were not counted.
    files: u64,
}

impl Need {
    fn add(&mut self, offer: &ImageOffer, missing: &BTreeSet<Digest>) {
        self.unpacked += offer.unpacked_bytes(missing);
        self.files += offer.inodes(missing) + LAYER_INODES * missing.len() as u64;
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

/// What an apply needs of one disk.
struct Demand<'a> {
    /// What the disk is called in messages.
    name: String,
    disk: &'a Disk,
    /// Bytes by purpose.
    bytes: Vec<(u64, &'static str)>,
    /// How many files it creates.
    files: u64,
}

impl Demand<'_> {
    /// Returns what the disk lacks, in words: bytes, inodes, or both.
    fn lacks(&self) -> impl Iterator<Item = String> {
        self.lacks_bytes().into_iter().chain(self.lacks_inodes())
    }

    fn lacks_bytes(&self) -> Option<String> {
        let needed: u64 = self.bytes.iter().map(|(bytes, _)| bytes).sum();
        let free = self.disk.free;
        let parts = self.bytes.iter().filter(|(bytes, _)| *bytes > 0);
        let parts = parts.map(|(needed, purpose)| format!("{} {purpose}", bytes(*needed)));
        let parts: Vec<String> = parts.collect();
        (needed > free).then(|| {
            format!(
                "{} has {} free, but needs {}: {}",
                self.name,
                bytes(free),
                bytes(needed),
                parts.join(", ")
            )
        })
    }

    fn lacks_inodes(&self) -> Option<String> {
        let inodes = self.disk.inodes.filter(|inodes| self.files > *inodes)?;
        Some(format!(
            "{} can hold {inodes} more files (inodes), but needs {}",
            self.name, self.files
        ))
    }
}

/// Blocks the apply if a disk cannot hold what it sends and what a rollback needs. Docker writes an archive into its own
/// directory before it unpacks it.
pub(super) fn plan(builder: &mut Builder<'_>) {
    let to_send = layers_to_send(builder.desired, builder.facts);
    let mut images = Need::default();
    for (name, offer) in &builder.offers.images {
        if let Some(missing) = to_send.get(name) {
            images.add(offer, missing);
        }
    }
    if !builder.has_steps() && images.received == 0 {
        return;
    }
    let lacks: Vec<String> = demands(builder, &images)
        .iter()
        .flat_map(Demand::lacks)
        .collect();
    if !lacks.is_empty() {
        let obstacle = Obstacle::new(BlockCode::NoSpace, lacks.join("; "), REMEDY);
        builder.block(address(), obstacle);
    }
}

/// Returns what is needed of each disk, each named once: docker's, the home directory's, those of transfers.
fn demands<'a>(builder: &Builder<'a>, images: &Need) -> Vec<Demand<'a>> {
    let (way_back, containers) = if builder.has_steps_in(Phase::Switch) {
        let present = builder.desired.projects.iter();
        let present = present.filter(|project| project.state != ProjectState::Absent);
        let services = present.flat_map(|project| project.services.values());
        (
            WAY_BACK,
            services.map(|service| service.replicas as u64).sum(),
        )
    } else {
        (0, 0)
    };
    let records = builder.steps().flat_map(|step| &step.undo);
    let records: u64 = records.map(size).sum();
    let mut demands: Vec<Demand<'a>> = vec![];
    let mut need = |disk: Option<&'a Disk>, name: &str, amounts: &[(u64, &'static str)], files| {
        let Some(disk) = disk else { return };
        let known = demands.iter_mut().find(|known| known.disk.is_same(disk));
        if let Some(known) = known {
            known.bytes.extend(amounts);
            known.files += files;
        } else {
            demands.push(Demand {
                name: name.to_owned(),
                disk,
                bytes: amounts.to_vec(),
                files,
            });
        }
    };
    need(
        builder.readings.docker_disk.as_ref(),
        "docker's disk",
        &[
            (images.unpacked, "for unpacked layers"),
            (images.received, "to receive images"),
            (way_back, "to start containers, also after a rollback"),
        ],
        images.files + containers * CONTAINER_INODES,
    );
    need(
        builder.readings.home_disk.as_ref(),
        "the home directory's disk",
        &[
            (images.arriving, "for parts of images"),
            (RECORDS + records, "for records and the rollback"),
        ],
        RECORD_FILES,
    );
    for (mount, staged) in &builder.staged {
        need(
            builder.readings.disks.get(mount),
            &format!("the disk of {mount}"),
            &[(staged.bytes, "for files of transfers")],
            staged.files,
        );
    }
    demands
}

/// Bytes of a command in the program that the VPU keeps for a rollback.
fn size(command: &Command) -> u64 {
    let stdin = command.stdin.as_ref().map_or(0, |payload| payload.bytes);
    stdin + command.to_display().len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::{Image, ImageContent},
        offers::{Arriving, LayerOffer, Offers, Part},
        plan::{Action, Cause, builder::Draft},
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
            inodes: None,
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

    /// What is blocked where an image of 50 MiB arrives in a file, and docker then needs 120 for it; by the disks' sizes
    /// and free bytes in MiB.
    fn blocked(docker: (u64, u64), home: (u64, u64)) -> String {
        let layer = LayerOffer {
            diff_id: Digest::of("a"),
            bytes: 20 << 20,
            unpacked: Some(100 << 20),
            spooled: 20 << 20,
            inodes: None,
        };
        let part = PartOffer {
            part: Part {
                up_to: 1,
                layers: [layer.diff_id].into(),
            },
            bytes: 50 << 20,
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
            found: None,
            source: None,
        }];
        let disk = |(total, free): (u64, u64), mount: &str| Disk {
            total: total << 20,
            free: free << 20,
            inodes: Some(RECORD_FILES + LAYER_INODES),
            mount: mount.into(),
            ..Disk::default()
        };
        let mut observed = testing::observed();
        let readings = &mut observed.readings;
        readings.docker_disk = Some(disk(docker, "/docker"));
        readings.home_disk = Some(disk(home, "/home"));
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
        // Disks of their own; the home directory's also takes the records.
        assert_eq!(blocked((1000, 120), (500, 51)), "");
        assert!(blocked((1000, 119), (500, 51)).starts_with("docker's disk"));
        assert!(blocked((1000, 120), (500, 50)).starts_with("the home directory's disk"));
        // Disks of one size, or with as much room, are still two.
        assert_eq!(blocked((1000, 120), (1000, 121)), "");
        assert_eq!(blocked((1000, 120), (900, 120)), "");
        // One disk.
        assert_eq!(blocked((1000, 171), (1000, 171)), "");
        assert!(blocked((1000, 170), (1000, 170)).starts_with("docker's disk"));
        assert!(blocked((1000, 30), (1000, 30)).starts_with("docker's disk"));
    }

    #[test]
    fn layers_need_an_inode_for_each_file_and_some_of_dockers_own() {
        let layer = |name: &str, inodes| LayerOffer {
            diff_id: Digest::of(name),
            bytes: 1,
            unpacked: None,
            spooled: 1,
            inodes,
        };
        let offer = ImageOffer {
            layers: vec![
                layer("a", Some(1000)),
                layer("b", None),
                layer("c", Some(7)),
            ],
            ..ImageOffer::default()
        };
        let mut need = Need::default();
        need.add(&offer, &["a", "b"].map(Digest::of).into());
        assert_eq!(need.files, 1000 + 2 * LAYER_INODES);
    }

    #[test]
    fn everything_that_is_lacking_is_named_with_its_amount() {
        assert_eq!(
            blocked((1000, 100), (500, 20)),
            "docker's disk has 100 MiB free, but needs 120 MiB: 100 MiB for unpacked layers, 20.0 MiB to receive images; \
             the home directory's disk has 20.0 MiB free, but needs 50.0 MiB: 50.0 MiB for parts of images, 16.0 KiB for \
             records and the rollback"
        );
    }

    #[test]
    fn a_home_needs_room_for_a_lock_and_records_where_anything_is_done() {
        let desired = testing::desired(vec![]);
        let is_blocked = |free: u64, has_step| {
            let mut observed = testing::observed();
            observed.readings.home_disk = Some(Disk {
                free,
                ..Disk::default()
            });
            let offers = Offers::default();
            let mut builder = Builder::new(&desired, &observed, &offers);
            if has_step {
                let address = Address::new(ResourceKind::Volume, "share");
                let (action, phase) = (Action::Create, Phase::Stage);
                builder.step(Draft::new(address, action, phase, Cause::Missing));
            }
            plan(&mut builder);
            builder.is_blocked()
        };
        assert!(is_blocked(RECORDS - 1, true));
        assert!(!is_blocked(RECORDS, true));
        assert!(!is_blocked(0, false));
    }

    #[test]
    fn files_need_inodes() {
        let lacks = |inodes, needed| -> Vec<String> {
            let demand = Demand {
                name: "the disk of /data".into(),
                disk: &Disk {
                    free: 1 << 20,
                    inodes,
                    ..Disk::default()
                },
                bytes: vec![(needed, "for files of transfers")],
                files: 3400,
            };
            demand.lacks().collect()
        };
        assert_eq!(lacks(None, 4096), [""; 0]);
        assert_eq!(lacks(Some(3400), 1 << 20), [""; 0]);
        let inodes = "the disk of /data can hold 120 more files (inodes), but needs 3400";
        assert_eq!(lacks(Some(120), 4096), [inodes]);
        let bytes = "the disk of /data has 1.00 MiB free, but needs 2.00 MiB: 2.00 MiB for files of transfers";
        assert_eq!(lacks(Some(120), 2 << 20), [bytes, inodes]);
    }
}
