//! Selects when the layers of an archive are compressed, and whether each layer or the whole
//! archive is a compressed file.

use o3r_core::compression::{Codec, Compression};

/// How archives are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Making {
    /// The compression of layers that their source does not compress.
    pub compression: Option<Compression>,
    /// When it is applied, and to what.
    pub manner: Manner,
}

/// How an archive holds compressed layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Each layer is compressed on its own. With zstd, the same as [`Manner::Whole`], because
    /// docker accepts no zstd layers.
    Layers,
    /// The archive is compressed as a whole. Docker decompresses it while receiving it, so that it
    /// writes more to its temporary directory before it loads it.
    Whole,
    /// As [`Manner::Whole`], but large layers are compressed while they are sent, so that their
    /// size is not known in advance.
    OnTheWay,
}

impl From<Option<Compression>> for Making {
    /// Each layer on its own, before anything is sent.
    fn from(compression: Option<Compression>) -> Self {
        let manner = Manner::Layers;
        Self {
            compression,
            manner,
        }
    }
}

impl Making {
    /// The compressed file that wraps archives, if any.
    pub fn framing(self) -> Option<Codec> {
        match (self.compression?.codec, self.manner) {
            (Codec::Gzip, Manner::Layers) => None,
            (codec, _) => Some(codec),
        }
    }
}
