//! Blocks transfers that do not fit on their file systems.

use std::collections::{BTreeMap, BTreeSet};

use super::{Planned, address};
use crate::{
    desired::Contents,
    plan::{
        builder::Builder,
        obstacle::{BlockCode, Obstacle},
    },
    remote, units,
};

/// Bytes that a file takes on a file system beyond its contents, at most.
const BLOCK: u64 = 4096;

/// Blocks transfers that do not fit, as all files arrive before the first old one is removed;
/// returns the mount points of the file systems that are too full.
pub(super) fn without_space<'a>(
    builder: &mut Builder<'_>,
    planned: &[Planned<'a>],
) -> BTreeSet<&'a str> {
    let mut full = BTreeSet::new();
    let mut needed: BTreeMap<&str, u64> = BTreeMap::new();
    for one in planned {
        let is_copied = |bytes: &u64| {
            let is_here = builder.desired.contents == Contents::Here;
            is_here || *bytes < remote::LARGE
        };
        let files = one.files().filter(is_copied);
        let files = files.map(|bytes| bytes.next_multiple_of(BLOCK));
        *needed.entry(one.mount).or_default() += files.sum::<u64>();
    }
    for one in planned {
        let needed = needed[one.mount];
        let free = builder.readings.free.get(one.mount).copied();
        if let Some(free) = free.filter(|free| needed > *free) {
            let (needed, free) = (units::bytes(needed), units::bytes(free));
            let reason = format!(
                "the transfers need {needed} on {}, which has {free} free",
                one.mount
            );
            let remedy = "free disk space on the VPU: see df -h, du -sh ~/* and docker system df; or remove what is kept \
                          for `o3r-deploy rollback`: rm -r ~/.o3r-deploy/generations ~/.o3r-deploy/store";
            let obstacle = Obstacle::new(BlockCode::NoSpace, reason, remedy);
            builder.block(address(one.transfer), obstacle);
            full.insert(one.mount);
        }
    }
    full
}
