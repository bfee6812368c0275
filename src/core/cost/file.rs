//! Models how long a large file takes to get onto a VPU: whole, or built there from its old version.
//!
//! What the VPU does was measured with a file of 300 MB on a twin with two cores, one, a half and a quarter, to which
//! `cpu` of [`Speeds`] was 310, 205, 98 and 40 MB/s.

use crate::{blocks::block_size, offers::PatchOffer, speeds::Speeds};

/// What takes as long as starting to sum a file's blocks, however small: a few processes.
const ASKING: u64 = 2_000_000;

/// So many tenths of what the processors make up and hash take as long as a byte of a file whose blocks are summed:
/// 8 to 12 were measured.
const SUMMED: u64 = 10;

/// Bytes that say what a block is.
const SAID: u64 = 120;

/// The same as [`SUMMED`] for a byte of a file that is put together and hashed: 5 to 10. A flash may be slower.
const BUILT: u64 = 10;

/// What takes as long as a piece of a recipe, a process: 130 to 190 kB were measured.
const PIECE: u64 = 200_000;

/// Milliseconds to send a patch and build the file, of `bytes` bytes.
pub fn patched(speeds: Speeds, bytes: u64, patch: &PatchOffer) -> u64 {
    let built = building(bytes).saturating_add(patch.pieces.saturating_mul(PIECE));
    speeds
        .sending(patch.bytes)
        .saturating_add(speeds.working(built))
}

/// Whether it pays to ask for the sums of a file of `size` bytes that is to become one of `bytes`: half a
/// chance of a patch is to be worth it.
pub fn worth_asking(speeds: Speeds, size: u64, bytes: u64) -> bool {
    let summing = ASKING.saturating_add(size.saturating_mul(SUMMED) / 10);
    let working = speeds.working(summing.saturating_add(building(bytes)));
    let said = speeds.sending(size / block_size(size) * SAID);
    working.saturating_add(said).saturating_mul(2) < speeds.sending(bytes)
}

fn building(bytes: u64) -> u64 {
    bytes.saturating_mul(BUILT) / 10
}
