//! Says how layers are packed for a link of a given speed.

use super::deflate::Level;

/// From this many bytes a second on, layers are sent as they are: gunzip on the VPU (written in Go, one
/// core: some 80 MB/s of what it unpacks to on its A57) then takes longer than sending the two thirds
/// more that layers commonly have uncompressed.
const PLAIN_FROM: u64 = 50_000_000;

/// Up to this many (100 Mbit/s), layers are compressed hard: a twelfth fewer bytes, at half the speed here, but only
/// once for all robots.
const SMALL_TO: u64 = 14_000_000;

/// How layers are packed that are not compressed where they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// With gzip, quickly.
    Fast,
    /// With gzip, as small as it gets.
    Small,
    /// The whole archive with zstd, quickly.
    ZstdFast,
    /// The whole archive with zstd, as small as it gets.
    ZstdSmall,
}

impl Packing {
    /// The best one for a link of so many bytes a second, and a VPU that has the zstd program or not.
    pub fn for_link(bytes_per_second: u64, zstd: bool) -> Self {
        match (bytes_per_second, zstd) {
            (PLAIN_FROM.., _) => Self::Plain,
            (..=SMALL_TO, true) => Self::ZstdSmall,
            (..=SMALL_TO, false) => Self::Small,
            (_, true) => Self::ZstdFast,
            (_, false) => Self::Fast,
        }
    }

    /// Whether the archive is a zstd file.
    pub fn is_zstd(self) -> bool {
        matches!(self, Self::ZstdFast | Self::ZstdSmall)
    }

    /// How hard to compress.
    pub(super) fn level(self) -> Option<Level> {
        match self {
            Self::Plain => None,
            Self::Fast => Some(Level::Fast),
            Self::Small => Some(Level::Small),
            Self::ZstdFast => Some(Level::ZstdFast),
            Self::ZstdSmall => Some(Level::ZstdSmall),
        }
    }
}
