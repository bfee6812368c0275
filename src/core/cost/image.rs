//! Estimates how long it takes to get an image onto a VPU:
//! sent as layers, or built there from another image.
//!
//! The VPU's part was measured with docker 20.10 on a twin with two cores, one, a half and a
//! quarter, for which `cpu` of [`Speeds`] was 310, 205, 98 and 40 MB/s (`benches/transfer.sh 1 2
//! "top deps base" "ours limit"`).

use crate::{
    offers::{DeltaOffer, Grain},
    speeds::Speeds,
};

/// Cost of loading a byte of unpacked layers into docker, in tenths of the CPU probe's cost of a
/// byte: 10 to 22 were measured, the most for many small files.
const LOADED: u64 = 16;

/// Cost of building a byte of an archive, in the same unit:
/// 3 to 16 were measured, the most for many files.
const BUILT: u64 = 10;

/// Cost of unpacking a recipe and starting a container, in
/// bytes of the CPU probe: 70 to 100 MB were measured.
const START: u64 = 90_000_000;

/// The largest compression ratio assumed for layers; those of programs compress to a third.
const SMALLEST: u64 = 10;

/// The percentage of a file's bytes that is sent after compression, as for files of programs.
const COMPRESSED: u64 = 40;

/// Returns the milliseconds to send and load an archive of `bytes` with `unpacked` bytes of layers.
pub fn whole(speeds: Speeds, bytes: u64, unpacked: u64) -> u64 {
    let loading = speeds.working(unpacked.saturating_mul(LOADED) / 10);
    speeds.sending(bytes).saturating_add(loading)
}

/// Returns the milliseconds to send a delta, build the archive and load it.
pub fn delta(speeds: Speeds, offer: &DeltaOffer) -> u64 {
    let building = speeds.working(offer.archive_bytes.saturating_mul(BUILT) / 10);
    whole(speeds, offer.bytes, offer.archive_bytes)
        .saturating_add(speeds.working(START))
        .saturating_add(building)
}

/// Whether even the smallest delta could be faster than
/// sending layers of `bytes`, which may not be compressed yet.
pub fn may_pay(speeds: Speeds, bytes: u64) -> bool {
    speeds.sending(bytes / 100 * COMPRESSED) > speeds.working(START)
}

/// Whether a delta is faster than sending the layers, however well they compress.
pub fn surely_pays(speeds: Speeds, offer: &DeltaOffer) -> bool {
    let smallest = offer.archive_bytes / SMALLEST;
    delta(speeds, offer) < whole(speeds, smallest, offer.archive_bytes)
}

/// Returns the sizes from which copying is worth it: searching a file
/// pays if sending it takes a tenth of a second, copying a range of
/// one if sending it takes the 10 ms of the two programs that copy it.
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

    /// The CPU probe's rate on a twin; and, for layers of 10.5, 286 and 487 MB, the milliseconds to
    /// load them, and to build and load them.
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
                // For small layers, most of the time is the
                // start of `docker load`, which both ways have.
                if bytes > 100_000_000 {
                    near(whole(speeds, 0, bytes), loaded);
                }
            }
        }
    }
}
