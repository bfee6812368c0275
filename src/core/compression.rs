//! Chooses how layers are compressed for a VPU and the link to it.

use crate::speeds::Speeds;

/// Cost of decompressing and loading a byte of a layer, in tenths of the CPU probe's cost of a
/// byte. 26 to 35 were measured for layers that are compressed one at a time (688 MB, docker 20.10
/// on a twin with two cores, one, a half and a quarter: 89, 61, 31 and 15 MB/s; 142 to 21 MB/s for
/// uncompressed layers). An archive that is compressed as a whole takes a fifth less with two
/// cores, because docker decompresses while it receives, and a fifth more with one; a VPU has six.
/// The value is at the low end: the probe may be a third too low, and at half the rate at which
/// both ways take the same time, uncompressed layers take a third longer.
const LOADED_PACKED: u64 = 24;

/// Link rate (bytes a second) above which uncompressed layers arrive
/// sooner if the VPU's CPU was not probed, which is the case if sending
/// takes less than half a second (PC with two cores, 10 MB of layers).
const PLAIN_FROM: u64 = 160_000_000;

/// Link rate (bytes a second; about 100 Mbit/s) up to which layers are compressed hard: a twelfth
/// fewer bytes, at half the speed on this machine, which is paid once for all VPUs.
const SMALL_TO: u64 = 14_000_000;

/// A format and an effort of compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Compression {
    /// The format.
    pub codec: Codec,
    /// The effort.
    pub effort: Effort,
}

/// A format of compressed files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// Gzip, which any docker decompresses while receiving.
    Gzip,
    /// Zstd, which needs the zstd program.
    Zstd,
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effort {
    /// For links that are faster than compression.
    Fast,
    /// For slow links: fewer bytes for more time.
    Small,
}

impl Compression {
    /// Gzip, fast.
    pub const GZIP_FAST: Self = Self::new(Codec::Gzip, Effort::Fast);
    /// Gzip, small.
    pub const GZIP_SMALL: Self = Self::new(Codec::Gzip, Effort::Small);
    /// Zstd, fast.
    pub const ZSTD_FAST: Self = Self::new(Codec::Zstd, Effort::Fast);
    /// Zstd, small.
    pub const ZSTD_SMALL: Self = Self::new(Codec::Zstd, Effort::Small);

    const fn new(codec: Codec, effort: Effort) -> Self {
        Self { codec, effort }
    }

    /// Returns the best compression for a VPU with or without the zstd program; `None` if
    /// uncompressed layers arrive sooner.
    pub fn best(speeds: Speeds, zstd: bool) -> Option<Self> {
        let plain_from = speeds
            .cpu
            .map_or(PLAIN_FROM, |cpu| cpu.saturating_mul(10) / LOADED_PACKED);
        match (speeds.link(), zstd) {
            (bytes, _) if bytes > plain_from => None,
            (..=SMALL_TO, true) => Some(Self::ZSTD_SMALL),
            (..=SMALL_TO, false) => Some(Self::GZIP_SMALL),
            (_, true) => Some(Self::ZSTD_FAST),
            (_, false) => Some(Self::GZIP_FAST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_not_compressed_if_the_link_is_faster_than_the_vpu_decompresses() {
        let best = |mbit: u64, cpu: Option<u64>, zstd| {
            let link = Some(mbit * 125_000);
            Compression::best(Speeds { link, cpu }, zstd)
        };
        let (pc, weak) = (Some(280_000_000), Some(40_000_000));
        assert_eq!(best(1000, pc, false), None);
        assert_eq!(best(1000, pc, true), None);
        assert_eq!(best(500, pc, false), Some(Compression::GZIP_FAST));
        assert_eq!(best(500, pc, true), Some(Compression::ZSTD_FAST));
        assert_eq!(best(100, pc, false), Some(Compression::GZIP_SMALL));
        assert_eq!(best(200, weak, false), None);
        assert_eq!(best(10, weak, false), Some(Compression::GZIP_SMALL));
        assert_eq!(best(1000, None, false), Some(Compression::GZIP_FAST));
        assert_eq!(best(10_000, None, false), None);
        assert_eq!(best(100, None, true), Some(Compression::ZSTD_SMALL));
        assert_eq!(best(100, None, false), Some(Compression::GZIP_SMALL));
    }
}
