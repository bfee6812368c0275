//! Sends images: prepares their layers for a VPU, creates deltas against its images, and writes
//! what is sent.

mod delta;
mod making;
mod prepare;
mod write;

pub use self::making::{Making, Manner};
pub use self::prepare::{ImageSender, Layer};
pub use self::write::LayerSpan;
