//! Says how layers are packed for a link of a given speed.

use super::deflate::Level;

/// From this many bytes a second on, layers are sent as they are: gunzip on the VPU (written in Go, one
/// core: some 80 MB/s of what it unpacks to on its A57) then takes longer than sending the two thirds
/// more that layers commonly have uncompressed.
const PLAIN_FROM: u64 = 50_000_000;

/// Up to this many, layers are compressed hard: a twelfth fewer bytes, at half the speed here.
const SMALL_TO: u64 = 2_500_000;

/// How layers are packed that are not compressed where they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// Quickly.
    Fast,
    /// As small as it gets.
    Small,
}

impl Packing {
    /// The best one for a link of so many bytes a second.
    pub fn for_link(bytes_per_second: u64) -> Self {
        match bytes_per_second {
            PLAIN_FROM.. => Self::Plain,
            ..=SMALL_TO => Self::Small,
            _ => Self::Fast,
        }
    }

    /// How hard to compress.
    pub(super) fn level(self) -> Option<Level> {
        match self {
            Self::Plain => None,
            Self::Fast => Some(Level::Fast),
            Self::Small => Some(Level::Small),
        }
    }
}
