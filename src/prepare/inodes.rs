//! Counts the inodes that layers take, where docker's disk may lack them.

use std::collections::{BTreeMap, BTreeSet};

use super::{PrepareError, Senders};
use crate::{digest::Digest, image::WorkProgress, observe::Observed, offers::Offers};

/// The fewest bytes of a layer's tar that have an inode: its header.
const BYTES_PER_INODE: u64 = 512;

/// Counts the inodes of the layers to send, unless docker's disk has enough for as many files as their tars could hold.
/// Reads those layers, which takes a second for some 100 MiB if they are compressed.
pub(super) fn count(
    offers: &mut Offers,
    senders: &Senders,
    to_send: &BTreeMap<String, BTreeSet<Digest>>,
    observed: &Observed,
    progress: &dyn Fn(&str, WorkProgress),
) -> Result<(), PrepareError> {
    let Some(free) = observed
        .readings
        .docker_disk
        .as_ref()
        .and_then(|disk| disk.inodes)
    else {
        return Ok(());
    };
    let sent = offers.images.iter().filter_map(|(name, offer)| {
        let missing = to_send.get(name)?;
        Some(offer.unpacked_bytes(missing) / BYTES_PER_INODE)
    });
    if sent.sum::<u64>() <= free {
        return Ok(());
    }
    for (name, offer) in &mut offers.images {
        let (Some(missing), Some(sender)) = (to_send.get(name), senders.get(name)) else {
            continue;
        };
        for layer in &mut offer.layers {
            if missing.contains(&layer.diff_id) {
                layer.inodes = sender
                    .count_inodes(layer.diff_id, &|work| progress(name, work))
                    .map_err(|source| PrepareError::new(name, source))?;
            }
        }
    }
    Ok(())
}
