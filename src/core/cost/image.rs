//! Models how long an image takes to get onto a VPU: as layers, or built there from another image.
//!
//! What the VPU does was measured with docker 20.10 on a twin with two cores, one, a half and a quarter, to which
//! `cpu` of [`Speeds`] was 310, 205, 98 and 40 MB/s (`benches/transfer.sh 1 2 "top deps base" "ours limit"`).

use crate::{
    offers::{DeltaOffer, Grain},
    speeds::Speeds,
};

/// So many tenths of what the processors make up and hash take as long as a byte of unpacked layers that docker
/// loads: 10 to 22 were measured, the most for many small files.
const LOADED: u64 = 16;

/// The same for a byte of an archive that is put together: 3 to 16, the most for many files.
const BUILT: u64 = 10;

/// What takes as long as unpacking a recipe and starting a container: 70 to 100 MB were measured.
const START: u64 = 90_000_000;

/// Layers become a tenth at the very most: those of programs become a third.
const SMALLEST: u64 = 10;

/// The part of a file's bytes that is sent, of a hundred: files of programs compress like that.
const COMPRESSED: u64 = 40;

/// Milliseconds to send and load an archive of `bytes` whose layers have `unpacked`.
pub fn whole(speeds: Speeds, bytes: u64, unpacked: u64) -> u64 {
    let loading = speeds.working(unpacked.saturating_mul(LOADED) / 10);
    speeds.sending(bytes).saturating_add(loading)
}

/// Milliseconds to send a delta, build the archive and load it.
pub fn delta(speeds: Speeds, offer: &DeltaOffer) -> u64 {
    let building = speeds.working(offer.archive_bytes.saturating_mul(BUILT) / 10);
    whole(speeds, offer.bytes, offer.archive_bytes)
        .saturating_add(speeds.working(START))
        .saturating_add(building)
}

/// Whether a delta, be it ever so small, could be quicker than sending layers of `bytes` that may still be to be
/// compressed.
pub fn may_pay(speeds: Speeds, bytes: u64) -> bool {
    speeds.sending(bytes / 100 * COMPRESSED) > speeds.working(START)
}

/// Whether a delta is quicker than sending the layers, however small they can be made.
pub fn surely_pays(speeds: Speeds, offer: &DeltaOffer) -> bool {
    let smallest = offer.archive_bytes / SMALLEST;
    delta(speeds, offer) < whole(speeds, smallest, offer.archive_bytes)
}

/// How long a thing must be to be copied rather than sent: looking into a file pays where sending it
/// takes a tenth of a second, a range of one where it takes the two programs' 10 ms.
pub fn grain(speeds: Speeds) -> Grain {
    let bytes = |part: u64| speeds.link() / part * 100 / COMPRESSED;
    Grain {
        file: bytes(10).clamp(64 << 10, 16 << 20),
        range: bytes(100).clamp(4 << 10, 1 << 20),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{digest::Digest, offers::Reach};

    /// What the processors of a twin made up and hashed; and, of layers of 10.5, 286 and 487 MB, the milliseconds to load
    /// them, and to build and load them.
    const MEASURED: [(u64, [(u64, u64); 3]); 4] = [
        (310_000_000, [(140, 460), (1430, 2100), (2700, 4300)]),
        (205_000_000, [(200, 760), (2000, 3360), (5070, 8000)]),
        (98_000_000, [(630, 1380), (4280, 5930), (9350, 15_900)]),
        (40_000_000, [(1880, 3600), (8470, 15_400), (17_900, 39_000)]),
    ];

    #[test]
    fn the_model_is_within_a_half_of_what_was_measured() {
        for (cpu, layers) in MEASURED {
            let speeds = Speeds {
                link: Some(u64::MAX),
                cpu: Some(cpu),
            };
            for (bytes, (loaded, built)) in [10_500_000, 286_000_000, 487_000_000]
                .into_iter()
                .zip(layers)
            {
                let offer = DeltaOffer {
                    base: String::new(),
                    reach: Reach::Inside,
                    bytes: 0,
                    sha256: Digest::of(""),
                    archive_bytes: bytes,
                    copied_bytes: 0,
                    layers: BTreeSet::new(),
                };
                let near = |model: u64, measured: u64| {
                    assert!(
                        model * 3 >= measured * 2 && model * 2 <= measured * 3,
                        "{cpu} {bytes}: {model} instead of {measured}"
                    );
                };
                near(delta(speeds, &offer), built);
                // Of little, most is the start of docker load, which both ways have.
                if bytes > 100_000_000 {
                    near(whole(speeds, 0, bytes), loaded);
                }
            }
        }
    }
}
