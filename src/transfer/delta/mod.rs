//! Finds what of something new need not be sent because an old version of it is there: of an image's layers, and of a
//! single file.

pub mod file;
pub(crate) mod image;
