//! Writes an image as an archive for `docker load`, whole or without layers that the engine has.
//!
//! The layout is the old one of `docker save`, which every docker since 1.10 and podman read:
//! `manifest.json`, the configuration, and one tar per layer. A layer that occurs twice in an image
//! is written once and listed twice. The archive may be wrapped in a compressed file.

mod frames;
mod streaming;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use serde::Serialize;
use tar::{EntryType, Header};

use self::frames::{Framing as _, Raw};
use crate::cache::LayerCache;
use crate::compress::Encoding;
use crate::error::ImageError;
use crate::files::CHUNK;
use crate::layer::LayerBytes;
use crate::tarball::BLOCK;
use crate::{compress, files, layer};
use o3r_core::compression::{Codec, Compression};
use o3r_core::digest::{Digest, DigestWriter};

/// The member that makes a tar a docker image archive.
pub(crate) const MANIFEST: &str = "manifest.json";

/// Bytes at the end of a tar: two blocks of zeros.
pub(crate) const END: u64 = 2 * BLOCK;

/// Which layers go into an archive.
///
/// `docker load` with a classic image store accepts an archive without layers it already has, if it
/// also has every layer below them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerSelection {
    /// The whole image.
    All,
    /// Only the layers with these diff IDs.
    Only(BTreeSet<Digest>),
}

impl LayerSelection {
    /// Whether the layer goes into the archive.
    pub fn contains(&self, diff_id: &Digest) -> bool {
        match self {
            Self::All => true,
            Self::Only(diff_ids) => diff_ids.contains(diff_id),
        }
    }
}

/// The content of an archive.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// What the user named: the file, or the image in the engine.
    pub(crate) origin: &'a str,
    pub(crate) config: &'a [u8],
    pub(crate) config_digest: Digest,
    /// The diff IDs of all layers, lowest first.
    pub(crate) diff_ids: &'a [Digest],
    /// The layers that may be selected.
    pub(crate) layers: BTreeMap<Digest, LayerBytes>,
    /// The compressed file that wraps the archive, if any.
    pub(crate) framing: Option<Codec>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item<'a> {
    config: String,
    repo_tags: [&'a str; 1],
    layers: Vec<String>,
}

fn config_name(config_digest: Digest) -> String {
    format!("{}.json", config_digest.hex())
}

fn layer_name(diff_id: Digest) -> String {
    format!("{}/layer.tar", diff_id.hex())
}

fn manifest(parts: &Parts<'_>, tag: &str) -> Vec<u8> {
    let layers = parts.diff_ids.iter().copied();
    let item = Item {
        config: config_name(parts.config_digest),
        repo_tags: [tag],
        layers: layers.map(layer_name).collect(),
    };
    let mut json = serde_json::json!([item]).to_string().into_bytes();
    json.push(b'\n');
    json
}

/// Returns the layers to write, each once.
fn selected<'a>(parts: &'a Parts<'_>, include: &LayerSelection) -> Vec<&'a LayerBytes> {
    let mut seen = BTreeSet::new();
    let diff_ids = parts.diff_ids.iter();
    diff_ids
        .filter(|diff_id| include.contains(diff_id) && seen.insert(**diff_id))
        .filter_map(|diff_id| parts.layers.get(diff_id))
        .collect()
}

/// How a layer is written.
enum Form {
    /// Its tar, in existing frames.
    Frames,
    /// Its tar, compressed while it is sent.
    OnTheWay(Compression),
    /// In its stored form, unchanged (zstd is decompressed, because docker does not accept it).
    AsItIs,
}

impl Form {
    fn of(layer: &LayerBytes, framing: Option<Codec>) -> Self {
        match (framing, layer.on_the_way) {
            (Some(_), Some(level)) => Self::OnTheWay(level),
            (Some(framing), None) if is_frame(framing, layer) => Self::Frames,
            _ => Self::AsItIs,
        }
    }

    /// The length of the archive member that docker sees.
    fn member_len(&self, layer: &LayerBytes) -> u64 {
        match self {
            Self::Frames | Self::OnTheWay(_) => layer.unpacked.unwrap_or(layer.size),
            Self::AsItIs => layer.size,
        }
    }
}

/// Whether a layer's bytes are frames of this format with a known digest and uncompressed length.
fn is_frame(framing: Codec, layer: &LayerBytes) -> bool {
    let encoding = match framing {
        Codec::Gzip => Encoding::Gzip,
        Codec::Zstd => Encoding::Zstd,
    };
    layer.encoding == encoding && layer.stored_digest.is_some() && layer.unpacked.is_some()
}

/// Bytes of a layer that docker writes to its temporary directory before it loads the layer.
pub(crate) fn spooled(layer: &LayerBytes, framing: Option<Codec>) -> u64 {
    Form::of(layer, framing).member_len(layer)
}

/// A part of an archive.
#[derive(Debug)]
pub(crate) enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The layer with this diff ID.
    Layer(Digest),
}

/// Returns what [`write()`] writes, piece by piece.
///
/// # Errors
/// A name does not fit a tar header.
pub(crate) fn pieces(
    parts: &Parts<'_>,
    tag: &str,
    include: &LayerSelection,
) -> io::Result<Vec<Piece>> {
    let mut bytes = vec![];
    document(&mut bytes, MANIFEST, &manifest(parts, tag))?;
    document(&mut bytes, &config_name(parts.config_digest), parts.config)?;
    let mut pieces = vec![];
    for layer in selected(parts, include) {
        let len = Form::of(layer, parts.framing).member_len(layer);
        let header = header(&layer_name(layer.diff_id), len)?;
        bytes.extend_from_slice(header.as_bytes());
        pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
        pieces.push(Piece::Layer(layer.diff_id));
        pad(&mut bytes, len)?;
    }
    zeros(&mut bytes, END)?;
    pieces.push(Piece::Bytes(bytes));
    Ok(pieces)
}

/// The bytes that are sent for a piece; an estimate for a layer that is compressed while it is
/// sent.
pub(crate) fn piece_len(parts: &Parts<'_>, piece: &Piece) -> u64 {
    let raw = |len| {
        parts
            .framing
            .map_or(len, |framing: Codec| framing.raw_len(len))
    };
    let layer = match piece {
        Piece::Bytes(bytes) => return raw(bytes.len() as u64),
        Piece::Layer(diff_id) => parts.layers.get(diff_id),
    };
    layer.map_or(0, |layer| match Form::of(layer, parts.framing) {
        Form::Frames => layer.stored.len(),
        Form::OnTheWay(_) => layer.size,
        Form::AsItIs => raw(layer.size),
    })
}

/// The number of bytes that [`write()`] writes, as exact as [`piece_len`].
///
/// # Errors
/// As [`pieces`].
pub(crate) fn len(parts: &Parts<'_>, tag: &str, include: &LayerSelection) -> io::Result<u64> {
    let pieces = pieces(parts, tag, include)?;
    Ok(pieces.iter().map(|piece| piece_len(parts, piece)).sum())
}

/// Writes the archive; see [`super::ImageSender::write_archive`]. Layers that are compressed while
/// they are sent are cached as well.
///
/// # Errors
/// A layer cannot be read or does not match its digest; `out` fails.
pub(crate) fn write(
    parts: &Parts<'_>,
    tag: &str,
    include: &LayerSelection,
    cache: Option<&LayerCache>,
    out: &mut dyn Write,
) -> Result<(), ImageError> {
    for piece in pieces(parts, tag, include).map_err(output)? {
        match piece {
            Piece::Bytes(bytes) => as_it_is(parts.framing, bytes.len() as u64, out, |out| {
                out.write_all(&bytes).map_err(output)
            })?,
            Piece::Layer(diff_id) => {
                let Some(layer) = parts.layers.get(&diff_id) else {
                    continue;
                };
                let written = match Form::of(layer, parts.framing) {
                    Form::Frames => stored(parts, layer, out),
                    Form::OnTheWay(level) => {
                        let known = cache.and_then(|cache| cache.packed(diff_id, level));
                        match known {
                            // Cached since then, by an earlier transfer or from another image.
                            Some(known) => {
                                stored(parts, &known, out).map_err(|e| blame(&known, cache, e))
                            }
                            None => streaming::pack(layer, parts.origin, level, cache, out),
                        }
                    }
                    Form::AsItIs => as_it_is(parts.framing, layer.size, out, |out| {
                        self::layer(parts, layer, out)
                    }),
                };
                written.map_err(|error| blame(layer, cache, error))?;
            }
        }
    }
    out.flush().map_err(output)
}

/// Writes `len` bytes uncompressed, in a frame of their own if the archive consists of frames.
fn as_it_is(
    framing: Option<Codec>,
    len: u64,
    out: &mut dyn Write,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    match framing {
        None => write(out),
        Some(framing) => write(&mut Raw::new(framing, len, out).map_err(output)?),
    }
}

/// Writes a layer in the form in which it is sent.
fn layer(parts: &Parts<'_>, layer: &LayerBytes, out: &mut dyn Write) -> Result<(), ImageError> {
    // A gzip layer is passed through unchanged.
    let unpack = match layer.encoding {
        Encoding::Zstd => Encoding::Zstd,
        Encoding::Plain | Encoding::Gzip => Encoding::Plain,
    };
    let body = Body {
        unpack,
        len: layer.size,
        check: Check::new(layer),
    };
    body.copy(parts, layer, out)
}

/// Writes a layer's stored bytes and verifies their digest.
fn stored(parts: &Parts<'_>, layer: &LayerBytes, out: &mut dyn Write) -> Result<(), ImageError> {
    let digest = layer.stored_digest.unwrap_or(layer.diff_id);
    let body = Body {
        unpack: Encoding::Plain,
        len: layer.stored.len(),
        check: Check::Stored(digest, DigestWriter::new(io::sink())),
    };
    body.copy(parts, layer, out)
}

/// Attributes an error in a cached layer to the cache, not to the user's file, and removes the
/// cached file.
fn blame(layer: &LayerBytes, cache: Option<&LayerCache>, error: ImageError) -> ImageError {
    match &layer.cached {
        // A `DamagedCache` error is about another file, already removed.
        Some(path)
            if !matches!(
                error,
                ImageError::Output { .. } | ImageError::DamagedCache { .. }
            ) =>
        {
            if let Some(cache) = cache {
                cache.discard(path);
            }
            ImageError::DamagedCache {
                layer: layer.diff_id,
            }
        }
        _ => error,
    }
}

pub(crate) fn output(source: io::Error) -> ImageError {
    ImageError::Output { source }
}

/// Creates a reproducible header: the same for the same name and size.
pub(crate) fn header(name: &str, len: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_size(len);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    Ok(header)
}

fn document(out: &mut dyn Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    let len = bytes.len() as u64;
    out.write_all(header(name, len)?.as_bytes())?;
    out.write_all(bytes)?;
    pad(out, len)
}

/// Pads with zeros to a whole block.
pub(crate) fn pad(out: &mut dyn Write, len: u64) -> io::Result<()> {
    zeros(out, len.wrapping_neg() % BLOCK)
}

pub(crate) fn zeros(out: &mut dyn Write, len: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(len), out).map(|_| ())
}

/// A layer's bytes while they are sent.
struct Body {
    /// How the stored bytes are decompressed.
    unpack: Encoding,
    /// The length after that.
    len: u64,
    check: Check,
}

impl Body {
    /// Copies a layer and verifies it. Holds the last piece back until the digest is known, so that
    /// a damaged layer leaves the archive truncated in the middle of a member.
    fn copy(
        mut self,
        parts: &Parts<'_>,
        layer: &LayerBytes,
        out: &mut dyn Write,
    ) -> Result<(), ImageError> {
        let part = format!("layer {}", layer.diff_id);
        let name = format!("{}: {part}", parts.origin);
        let failed = |at, error| files::read_error(&name, at, error);
        let mut reader =
            compress::unpacked(&layer.stored, self.unpack).map_err(|e| failed(0, e))?;
        let (mut piece, mut held) = (vec![0; CHUNK], Vec::with_capacity(CHUNK));
        let mut len = 0;
        loop {
            let n = files::read_some(&mut reader, &mut piece).map_err(|e| failed(len, e))?;
            len += n as u64;
            if n == 0 || len > self.len {
                break;
            }
            self.check
                .write_all(&piece[..n])
                .map_err(|e| failed(len, e))?;
            out.write_all(&held).map_err(output)?;
            held.clear();
            held.extend_from_slice(&piece[..n]);
        }
        if len != self.len {
            let problem = format!("{} bytes were expected; did the file change?", self.len);
            return Err(ImageError::Damaged {
                origin: name,
                offset: len,
                problem,
            });
        }
        let (expected, found) = self.check.finish().map_err(|e| failed(len, e))?;
        layer::check(parts.origin, &part, expected, found)?;
        out.write_all(&held).map_err(output)
    }
}

/// Hashes a layer while it is sent: the stored bytes if the source states their digest, otherwise
/// the uncompressed ones.
enum Check {
    Stored(Digest, DigestWriter<io::Sink>),
    Unpacked(
        Digest,
        Box<flate2::write::MultiGzDecoder<DigestWriter<io::Sink>>>,
    ),
}

impl Check {
    fn new(layer: &LayerBytes) -> Self {
        let hash = DigestWriter::new(io::sink());
        match (layer.encoding, layer.stored_digest) {
            (Encoding::Gzip, Some(stored)) => Self::Stored(stored, hash),
            (Encoding::Gzip, None) => Self::Unpacked(
                layer.diff_id,
                Box::new(flate2::write::MultiGzDecoder::new(hash)),
            ),
            (Encoding::Plain | Encoding::Zstd, _) => Self::Stored(layer.diff_id, hash),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stored(_, hash) => hash.write_all(bytes),
            Self::Unpacked(_, gunzip) => gunzip.write_all(bytes),
        }
    }

    /// Returns the expected digest and the computed one.
    fn finish(self) -> io::Result<(Digest, Digest)> {
        let (expected, hash) = match self {
            Self::Stored(expected, hash) => (expected, hash),
            Self::Unpacked(expected, gunzip) => (expected, gunzip.finish()?),
        };
        Ok((expected, hash.finish().1))
    }
}
