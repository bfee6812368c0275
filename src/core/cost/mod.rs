//! Estimates how long each way of getting something onto a VPU takes, and chooses the fastest.

pub mod file;
pub mod image;
