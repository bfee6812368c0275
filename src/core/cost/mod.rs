//! Models how long the ways of getting something onto a VPU take, and chooses among them.

pub mod file;
pub mod image;
