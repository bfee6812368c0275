//! Sends images: prepares their layers for a VPU, creates deltas against its images, and writes
//! what is sent.

mod count;
mod delta;
mod listing;
mod making;
mod prepare;
mod repair;
mod write;

pub use self::listing::{ListedFile, Listing};
pub use self::making::{Making, Manner};
pub use self::prepare::{ImageSender, Layer};
pub use self::write::LayerSpan;
