//! Names the files that hold layers: what a layer is, in which form, and what it hashes to.
//!
//! `layers/DIFF_ID.STORED_DIGEST.LENGTH.gz` holds a layer: its name says what it unpacks to, what its
//! bytes hash to, and how long it is unpacked. `.small.gz` is one that was compressed hard, `.zst` and
//! `.small.zst` are such ones for a VPU that has zstd, `.source.gz` and `.source.zst` are as the image's source has them,
//! `.tar` is one that compressing does not make smaller, `.plain.tar` one that was not compressed so far.

use camino::Utf8PathBuf;

use crate::{compress::Encoding, files::Slice, layer::LayerBytes};
use o3r_core::{compression::Compression, digest::Digest};

/// What a cached file's name says.
pub(super) struct Name {
    pub(super) diff_id: Digest,
    pub(super) stored: Digest,
    pub(super) unpacked: u64,
    pub(super) form: Form,
}

/// How a layer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Gzip,
    SmallGzip,
    Zstd,
    SmallZstd,
    /// With gzip, by whoever made the image.
    SourceGzip,
    /// With zstd, likewise.
    SourceZstd,
    /// As it is: compressing does not pay.
    Tar,
    /// As it is: nobody has tried to compress it.
    PlainTar,
}

impl Form {
    /// With how each is written behind the name.
    const ALL: [(Self, &'static str); 8] = [
        (Self::Gzip, "gz"),
        (Self::SmallGzip, "small.gz"),
        (Self::Zstd, "zst"),
        (Self::SmallZstd, "small.zst"),
        (Self::SourceGzip, "source.gz"),
        (Self::SourceZstd, "source.zst"),
        (Self::Tar, "tar"),
        (Self::PlainTar, "plain.tar"),
    ];

    pub(super) fn of(level: Compression) -> Self {
        match level {
            Compression::GZIP_FAST => Self::Gzip,
            Compression::GZIP_SMALL => Self::SmallGzip,
            Compression::ZSTD_FAST => Self::Zstd,
            Compression::ZSTD_SMALL => Self::SmallZstd,
        }
    }

    pub(super) fn encoding(self) -> Encoding {
        match self {
            Self::Gzip | Self::SmallGzip | Self::SourceGzip => Encoding::Gzip,
            Self::Zstd | Self::SmallZstd | Self::SourceZstd => Encoding::Zstd,
            Self::Tar | Self::PlainTar => Encoding::Plain,
        }
    }

    /// The forms that serve, the best one first.
    pub(super) fn wanted(packing: Option<Compression>) -> &'static [Self] {
        match packing {
            None => &[
                Self::Tar,
                Self::PlainTar,
                Self::Zstd,
                Self::SmallZstd,
                Self::SourceZstd,
                Self::Gzip,
                Self::SmallGzip,
                Self::SourceGzip,
            ],
            // What comes compressed with gzip is sent like that, however it is packed otherwise.
            Some(Compression::GZIP_FAST) => {
                &[Self::SmallGzip, Self::Gzip, Self::SourceGzip, Self::Tar]
            }
            Some(Compression::GZIP_SMALL) => &[Self::SmallGzip, Self::SourceGzip, Self::Tar],
            Some(Compression::ZSTD_FAST) => &[
                Self::SmallZstd,
                Self::Zstd,
                Self::SourceZstd,
                Self::SourceGzip,
                Self::Tar,
            ],
            Some(Compression::ZSTD_SMALL) => &[
                Self::SmallZstd,
                Self::SourceZstd,
                Self::SourceGzip,
                Self::Tar,
            ],
        }
    }
}

impl Name {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.splitn(4, '.');
        let (diff_id, stored, unpacked) = (parts.next()?, parts.next()?, parts.next()?);
        let ending = parts.next()?;
        let (form, _) = Form::ALL.into_iter().find(|(_, text)| *text == ending)?;
        Some(Self {
            diff_id: Digest::from_hex(diff_id)?,
            stored: Digest::from_hex(stored)?,
            unpacked: unpacked.parse().ok()?,
            form,
        })
    }

    /// The layer that is in the file of this name, at `path`.
    pub(super) fn bytes(&self, stored: Slice, path: Utf8PathBuf) -> LayerBytes {
        let encoding = self.form.encoding();
        LayerBytes {
            diff_id: self.diff_id,
            // Docker takes no zstd layer.
            size: if encoding == Encoding::Zstd {
                self.unpacked
            } else {
                stored.len()
            },
            stored,
            encoding,
            stored_digest: Some(self.stored),
            unpacked: Some(self.unpacked),
            told: None,
            cached: Some(path),
            on_the_way: None,
        }
    }

    pub(super) fn text(&self) -> String {
        let endings = Form::ALL.into_iter();
        let ending = endings.filter(|(form, _)| *form == self.form);
        let ending: String = ending.map(|(_, text)| text).collect();
        let (diff_id, stored) = (self.diff_id.hex(), self.stored.hex());
        format!("{diff_id}.{stored}.{}.{ending}", self.unpacked)
    }
}
