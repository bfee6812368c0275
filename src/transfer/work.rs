//! Says what takes a while before anything is sent, and how far it is.

use o3r_core::digest::Digest;

/// What takes a while before anything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The engine saves the image; it begins to write when it has it together.
    Fetching,
    /// The layer with this diff id is compressed.
    Compressing(Digest),
}

/// How far preparing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkProgress {
    /// What is being done.
    pub work: Work,
    /// The bytes of it that are done.
    pub done: u64,
    /// All of them; about as many, of what is fetched.
    pub total: u64,
}
