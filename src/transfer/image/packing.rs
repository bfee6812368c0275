//! Says how layers are packed for a VPU and the way to it.

use super::deflate::Level;
use super::frames::Framing;
use o3r_core::speeds::Speeds;

/// So many tenths of what the processors make up and hash take as long as a byte of a layer that docker decompresses
/// and loads. Of layers that are compressed each by itself 26 to 35 were measured (688 MB, docker 20.10 on a twin with two
/// cores, one, a half and a quarter: 89, 61, 31 and 15 MB/s; and 142 to 21 MB/s of layers as they are). An archive that is
/// compressed as a whole takes a fifth less with two cores, for docker decompresses while it receives, and a fifth more
/// with one; a VPU has six. The least is taken, for what is measured may be a third too little, and at half the rate where
/// the two ways are equally quick, plain layers take a third longer.
const LOADED_PACKED: u64 = 24;

/// Where that was not measured, for what is sent takes no longer than half a second: from so many bytes a second on, a
/// PC with two cores has 10 MB of layers sooner as they are.
const PLAIN_FROM: u64 = 160_000_000;

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
    /// With gzip, hard.
    Small,
    /// The whole archive with zstd, quickly.
    ZstdFast,
    /// The whole archive with zstd, hard.
    ZstdSmall,
}

/// How archives are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Making {
    /// How layers are packed.
    pub packing: Packing,
    /// When, and into what.
    pub manner: Manner,
}

/// How an archive holds packed layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Each by itself; with zstd as [`Manner::Whole`], for docker takes no zstd layer.
    Layers,
    /// The archive is compressed as a whole: docker decompresses it while it receives it, and so writes down more before
    /// it loads it.
    Whole,
    /// Likewise, and large layers are packed only while they are sent, so that their number of bytes is not known before.
    OnTheWay,
}

impl From<Packing> for Making {
    /// Each layer by itself, before anything is sent.
    fn from(packing: Packing) -> Self {
        let manner = Manner::Layers;
        Self { packing, manner }
    }
}

impl Making {
    /// What archives are wrapped into.
    pub fn framing(self) -> Option<Framing> {
        match (self.packing, self.manner) {
            (Packing::ZstdFast | Packing::ZstdSmall, _) => Some(Framing::Zstd),
            (Packing::Plain, _) | (_, Manner::Layers) => None,
            (_, Manner::Whole | Manner::OnTheWay) => Some(Framing::Gzip),
        }
    }
}

impl Packing {
    /// The best one for a VPU that has the zstd program or not.
    pub fn best(speeds: Speeds, zstd: bool) -> Self {
        let plain_from = speeds
            .cpu
            .map_or(PLAIN_FROM, |cpu| cpu.saturating_mul(10) / LOADED_PACKED);
        match (speeds.link(), zstd) {
            (bytes, _) if bytes > plain_from => Self::Plain,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_vpu_decompresses_more_slowly_than_the_link_brings_it_is_sent_as_it_is() {
        let best = |mbit: u64, cpu: Option<u64>, zstd| {
            let link = Some(mbit * 125_000);
            Packing::best(Speeds { link, cpu }, zstd)
        };
        let (pc, weak) = (Some(280_000_000), Some(40_000_000));
        assert_eq!(best(1000, pc, false), Packing::Plain);
        assert_eq!(best(1000, pc, true), Packing::Plain);
        assert_eq!(best(500, pc, false), Packing::Fast);
        assert_eq!(best(500, pc, true), Packing::ZstdFast);
        assert_eq!(best(100, pc, false), Packing::Small);
        assert_eq!(best(200, weak, false), Packing::Plain);
        assert_eq!(best(10, weak, false), Packing::Small);
        assert_eq!(best(1000, None, false), Packing::Fast);
        assert_eq!(best(10_000, None, false), Packing::Plain);
        assert_eq!(best(100, None, true), Packing::ZstdSmall);
        assert_eq!(best(100, None, false), Packing::Small);
    }
}
