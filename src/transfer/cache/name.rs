//! Names the files that hold layers, by diff ID, form and digest.
//!
//! The file of a layer is `layers/DIFF_ID.STORED_DIGEST.LENGTH.gz`: the digest of its uncompressed
//! tar, the digest of the file's bytes, and the uncompressed length. `.small.gz` is compressed at
//! the slow level; `.zst` and `.small.zst` are the same for a VPU that has zstd. `.source.gz` and
//! `.source.zst` are in the form the image's source has. `.tar` is uncompressed because compression
//! does not pay, `.plain.tar` because it was not tried yet.

use camino::Utf8PathBuf;

use crate::{compress::Encoding, files::Slice, layer::LayerBytes};
use o3r_core::{compression::Compression, digest::Digest};

/// What a cached file's name states.
pub(super) struct Name {
    pub(super) diff_id: Digest,
    pub(super) stored: Digest,
    pub(super) unpacked: u64,
    pub(super) form: Form,
}

/// The form in which a layer is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Gzip,
    SmallGzip,
    Zstd,
    SmallZstd,
    /// gzip, compressed by the image's creator.
    SourceGzip,
    /// zstd, compressed by the image's creator.
    SourceZstd,
    /// Uncompressed: compression does not pay.
    Tar,
    /// Uncompressed: compression was not tried.
    PlainTar,
}

impl Form {
    /// All forms with their file name extensions.
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

    /// The usable forms for a packing, the best one first.
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
            // Layers that their source compressed with gzip are sent unchanged, whatever the
            // packing.
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

    /// The layer in the file of this name, at `path`.
    pub(super) fn bytes(&self, stored: Slice, path: Utf8PathBuf) -> LayerBytes {
        let encoding = self.form.encoding();
        LayerBytes {
            diff_id: self.diff_id,
            // Docker 20.10 accepts no zstd layers: they are sent uncompressed.
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
