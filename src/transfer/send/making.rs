//! Says when the layers of an archive are compressed, and what is a compressed file of its own: each layer, or the whole.

use o3r_core::compression::{Codec, Compression};

/// How archives are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Making {
    /// How layers are compressed that are not compressed where they come from.
    pub compression: Option<Compression>,
    /// When, and into what.
    pub manner: Manner,
}

/// How an archive holds packed layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Each one alone; with zstd as [`Manner::Whole`], for docker takes no zstd layer.
    Layers,
    /// The archive is compressed as a whole: docker decompresses it while it receives it, and so writes down more before
    /// it loads it.
    Whole,
    /// Likewise, and large layers are packed only while they are sent, so that their number of bytes is not known before.
    OnTheWay,
}

impl From<Option<Compression>> for Making {
    /// Each layer alone, before anything is sent.
    fn from(compression: Option<Compression>) -> Self {
        let manner = Manner::Layers;
        Self {
            compression,
            manner,
        }
    }
}

impl Making {
    /// What archives are wrapped into.
    pub fn framing(self) -> Option<Codec> {
        match (self.compression?.codec, self.manner) {
            (Codec::Gzip, Manner::Layers) => None,
            (codec, _) => Some(codec),
        }
    }
}
