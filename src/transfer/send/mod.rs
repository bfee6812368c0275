//! Sends images: prepares their layers for a VPU, builds deltas from what it has, and writes what goes over the link.

mod delta;
mod making;
mod prepare;
mod write;

pub use self::making::{Making, Manner};
pub use self::prepare::{ImageSender, Layer};
pub use self::write::LayerSpan;
