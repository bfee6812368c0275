//! Models how long an image takes to get onto a VPU: as layers, or built there from another image.

use crate::{
    image::{Grain, Offer},
    link::{millis, rate},
};

/// Bytes of unpacked layers that docker loads in a second: 275 MB took 6.9 s of dockerd 20.10 on two
/// cores of a PC. A VPU is slower, but at this as at the rest.
const LOADED_PER_SECOND: u64 = 40_000_000;

/// Milliseconds that a delta takes before its first byte is copied: unpacking the recipe and starting
/// a container.
const START: u64 = 1500;

/// Bytes of an archive that are put together, and received uncompressed, in a second.
const BUILT_PER_SECOND: u64 = 150_000_000;

/// Layers become a tenth at the very most: those of programs become a third.
const SMALLEST: u64 = 10;

/// The part of a file's bytes that is sent, of a hundred: files of programs compress like that.
const COMPRESSED: u64 = 40;

/// Milliseconds to send and load an archive of `bytes` whose layers have `unpacked`.
pub(super) fn whole(link: Option<u64>, bytes: u64, unpacked: u64) -> u64 {
    millis(bytes, rate(link)).saturating_add(millis(unpacked, LOADED_PER_SECOND))
}

/// Milliseconds to send a delta, build the archive and load it.
pub(super) fn delta(link: Option<u64>, offer: &Offer) -> u64 {
    whole(link, offer.bytes, offer.archive_bytes)
        .saturating_add(START)
        .saturating_add(millis(offer.archive_bytes, BUILT_PER_SECOND))
}

/// Whether a delta, be it ever so small, could be quicker than sending layers of `bytes` that may still be to be
/// compressed.
pub fn may_pay(link: Option<u64>, bytes: u64) -> bool {
    millis(bytes / 100 * COMPRESSED, rate(link)) > START
}

/// Whether a delta is quicker than sending the layers, however small they can be made.
pub fn surely_pays(link: Option<u64>, offer: &Offer) -> bool {
    let smallest = offer.archive_bytes / SMALLEST;
    delta(link, offer) < whole(link, smallest, offer.archive_bytes)
}

/// How long a thing must be to be copied rather than sent: looking into a file pays where sending it
/// takes a tenth of a second, a range of one where it takes the two programs' 10 ms.
pub fn grain(link: Option<u64>) -> Grain {
    let bytes = |part: u64| rate(link) / part * 100 / COMPRESSED;
    Grain {
        file: bytes(10).clamp(64 << 10, 16 << 20),
        range: bytes(100).clamp(4 << 10, 1 << 20),
    }
}
