//! Reads ranges of open files, also of sparse ones, and keeps temporary files that vanish with the process.

mod read;
mod scratch;
mod slice;
mod sparse;

pub(crate) use self::read::{CHUNK, read_error, read_some};
pub use self::scratch::ScratchDir;
pub(crate) use self::slice::{Skip, Slice};
pub(crate) use self::sparse::Holes;
