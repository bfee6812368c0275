//! Computes deltas against an old version: of an image's layers, and of single files.

pub mod file;
pub(crate) mod image;
