//! Models how long a large file takes to get onto a VPU: whole, or built there from its old version.

use super::Patch;
use crate::link::{millis, rate};

/// Milliseconds that it takes to ask for the sums of a file's blocks, however small.
const ASKING: u64 = 300;

/// Bytes of a file whose blocks are summed in a second.
const SUMMED_PER_SECOND: u64 = 40_000_000;

/// Bytes of a file that are put together and hashed in a second.
const BUILT_PER_SECOND: u64 = 100_000_000;

/// Milliseconds that a piece of a recipe takes: a process.
const PIECE: u64 = 3;

/// Milliseconds to send so many bytes.
pub fn whole(link: Option<u64>, bytes: u64) -> u64 {
    millis(bytes, rate(link))
}

/// Milliseconds to send a patch and build the file of so many bytes.
pub fn patched(link: Option<u64>, bytes: u64, patch: &Patch) -> u64 {
    let built = millis(bytes, BUILT_PER_SECOND).saturating_add(patch.pieces.saturating_mul(PIECE));
    millis(patch.bytes, rate(link)).saturating_add(built)
}

/// Whether it pays to ask for the sums of a file of `size` bytes that is to become one of `bytes`: half a
/// chance of a patch is to be worth it.
pub fn worth_asking(link: Option<u64>, size: u64, bytes: u64) -> bool {
    let asking = ASKING.saturating_add(millis(size, SUMMED_PER_SECOND));
    let building = millis(bytes, BUILT_PER_SECOND);
    asking.saturating_add(building).saturating_mul(2) < whole(link, bytes)
}
