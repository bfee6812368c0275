//! Estimates how long it takes to get a large file onto a
//! VPU: sent whole, or built there from its old version.
//!
//! The VPU's part was measured with a file of 300 MB on a twin with two cores, one, a half and a
//! quarter, for which `cpu` of [`Speeds`] was 310, 205, 98 and 40 MB/s.

use crate::{blocks::block_size, offers::PatchOffer, speeds::Speeds};

/// Fixed cost of summing a file's blocks, a few processes, in bytes of the CPU probe.
const ASKING: u64 = 2_000_000;

/// Cost of summing a byte of a file's blocks, in tenths of
/// the CPU probe's cost of a byte: 8 to 12 were measured.
const SUMMED: u64 = 10;

/// Bytes in which the VPU reports the sums of a block.
const SAID: u64 = 120;

/// Cost of building and hashing a byte of a file, in the unit of [`SUMMED`]: 5 to 10 were measured.
/// Flash memory may be slower.
const BUILT: u64 = 10;

/// Cost of a piece of a recipe, which is a process, in
/// bytes of the CPU probe: 130 to 190 kB were measured.
const PIECE: u64 = 200_000;

/// Returns the milliseconds to send a patch and build the file of `bytes` bytes.
pub fn patched(speeds: Speeds, bytes: u64, patch: &PatchOffer) -> u64 {
    let built = building(bytes).saturating_add(patch.pieces.saturating_mul(PIECE));
    speeds
        .sending(patch.bytes)
        .saturating_add(speeds.working(built))
}

/// Whether it pays to ask for the block sums of a file of `size` bytes that becomes one of `bytes`:
/// it must be worth it with half a chance of a patch.
pub fn worth_asking(speeds: Speeds, size: u64, bytes: u64) -> bool {
    let summing = ASKING.saturating_add(size.saturating_mul(SUMMED) / 10);
    let working = speeds.working(summing.saturating_add(building(bytes)));
    let said = speeds.sending(size / block_size(size) * SAID);
    working.saturating_add(said).saturating_mul(2) < speeds.sending(bytes)
}

fn building(bytes: u64) -> u64 {
    bytes.saturating_mul(BUILT) / 10
}
