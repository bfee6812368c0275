//! Refuses images that cannot fit where docker keeps them.

use super::{Address, builder::Builder};
use crate::render::bytes;

/// What is blocked where space is wanting.
pub(crate) fn address() -> Address {
    Address::new("vpu", "space")
}

/// Docker writes an archive to its own directory before it unpacks it.
pub(super) fn plan(builder: &mut Builder<'_>) {
    let Some(free) = builder.readings.docker_free else {
        return;
    };
    let largest = builder.archives().max().unwrap_or(0);
    let all: u64 = builder.archives().sum();
    if largest > free {
        builder.block(
            address(),
            format!(
                "docker's disk has {} free, and it needs {} to receive the largest image before \
                 it unpacks it",
                bytes(free),
                bytes(largest)
            ),
            "see on the VPU: docker system df; images that nothing uses go with: docker image \
             prune",
        );
    } else if all + largest > free {
        builder.notes.push(format!(
            "docker's disk has {} free; the images may need {} while they are received and unpacked",
            bytes(free),
            bytes(all + largest)
        ));
    }
}
