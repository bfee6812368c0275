//! Reports the progress of slow work that comes before sending.

use o3r_core::digest::Digest;

/// Slow work before the first byte is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The engine saves the image; it writes nothing until it has collected all of it.
    Fetching,
    /// Compresses the layer with this diff ID.
    Compressing(Digest),
}

/// The progress of [`Work`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkProgress {
    /// The current work.
    pub work: Work,
    /// Bytes done so far.
    pub done: u64,
    /// Bytes in all; an estimate for [`Work::Fetching`].
    pub total: u64,
}
