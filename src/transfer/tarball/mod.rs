//! Reads tar files: walks their members, or finds one by name without unpacking the others.

mod index;
mod walk;

pub(crate) use self::index::{TarIndex, is_in_file_system};
pub(crate) use self::walk::{BLOCK, Entry, Kind, Walker, is_header};
