//! Chooses how layers are compressed for a VPU and the link to it.

use crate::speeds::Speeds;

/// Cost of decompressing and loading a byte of a layer, in tenths of the CPU probe's cost of a byte. 26 to 35 were measured
/// of layers that are compressed one at a time (688 MB, docker 20.10 on a twin with two cores, one, a half and a quarter:
/// 89, 61, 31 and 15 MB/s; and 142 to 21 MB/s of uncompressed layers). An archive that is compressed as a whole takes a
/// fifth less with two cores, for docker decompresses while it receives, and a fifth more with one; a VPU has six. The
/// least is taken: the measure may be a third too low, and at half the rate where both ways are equally quick,
/// uncompressed layers take a third longer.
const LOADED_PACKED: u64 = 24;

/// Rate of the link (bytes a second) above which uncompressed layers arrive sooner where the VPU's CPU was not probed, which
/// it is not where sending takes less than half a second (PC with two cores, 10 MB of layers).
const PLAIN_FROM: u64 = 160_000_000;

/// Up to this many (100 Mbit/s), layers are compressed hard: a twelfth fewer bytes, at half the speed here, but only
/// once for all robots.
const SMALL_TO: u64 = 14_000_000;

/// How something is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Compression {
    /// The format.
    pub codec: Codec,
    /// How hard.
    pub effort: Effort,
}

/// A format of compressed files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// Gzip, which any docker decompresses while it receives it.
    Gzip,
    /// Zstd, for the zstd program.
    Zstd,
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effort {
    /// For links that are faster than compressing.
    Fast,
    /// For links where every byte counts.
    Small,
}

impl Compression {
    /// Gzip, quickly.
    pub const GZIP_FAST: Self = Self::new(Codec::Gzip, Effort::Fast);
    /// Gzip, hard.
    pub const GZIP_SMALL: Self = Self::new(Codec::Gzip, Effort::Small);
    /// Zstd, quickly.
    pub const ZSTD_FAST: Self = Self::new(Codec::Zstd, Effort::Fast);
    /// Zstd, hard.
    pub const ZSTD_SMALL: Self = Self::new(Codec::Zstd, Effort::Small);

    const fn new(codec: Codec, effort: Effort) -> Self {
        Self { codec, effort }
    }

    /// The best one for a VPU that has the zstd program or not; `None` where uncompressed layers are there sooner.
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
    fn what_the_vpu_decompresses_more_slowly_than_the_link_brings_it_is_sent_as_it_is() {
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
