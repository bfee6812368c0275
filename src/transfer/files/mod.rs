//! Reads ranges of open files, including sparse ones, and creates temporary files that vanish with
//! the process.

mod read;
mod scratch;
mod slice;
mod sparse;

pub(crate) use self::read::{CHUNK, read_error, read_some};
pub use self::scratch::ScratchDir;
pub(crate) use self::slice::{Skip, Slice};
pub(crate) use self::sparse::Holes;
