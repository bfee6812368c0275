//! Compresses a layer while it is sent: the next bytes are compressed while the ones before are on their way.

use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;

use super::contents::{self, LayerBytes};
use super::deflate;
use super::slice::Slice;
use super::{ImageError, LayerCache, compress, write};
use crate::held_back::HeldBack;
use o3r_core::compression::Compression;

/// Writes of [`deflate::pack`] that wait to be sent, each of a few megabytes.
const WAITING: usize = 1;

/// How many pieces of a layer are looked at to tell what it becomes: enough to meet what compresses.
const SAMPLES: u64 = 64;

/// Bytes of a piece.
const SAMPLE: u64 = 16 << 10;

/// So many hundredths of what its samples become: as a whole it is compressed better (11 % in the mean of four layers of
/// 10 to 275 MB; each is told within 13 %).
const OF_SAMPLES: u128 = 90;

/// Compressing pays where at least a thirtieth is saved.
const PAYS: u128 = 30;

/// Compresses a layer to `out`, and into the cache where that can be written.
///
/// The last byte is held back until the digest is known, so that a damaged layer leaves a file that cannot be unpacked.
///
/// # Errors
/// The layer cannot be read or is not what it should be; `out` says so.
pub(super) fn pack(
    layer: &LayerBytes,
    origin: &str,
    level: Compression,
    cache: Option<&LayerCache>,
    out: &mut dyn Write,
) -> Result<(), ImageError> {
    let (sender, pieces) = mpsc::sync_channel(WAITING);
    let mut held = HeldBack::new(out, 1);
    let (packed, sent) = thread::scope(|scope| {
        let mut pieces_to = Pieces(sender);
        let packing = scope.spawn(move || match cache {
            Some(cache) => cache.add_while(layer, origin, level, &mut pieces_to),
            None => to(layer, origin, level, &mut pieces_to, &|_| {}).map(drop),
        });
        let sent = pieces
            .iter()
            .try_for_each(|piece: Vec<u8>| held.write_all(&piece));
        // Nobody takes any more: what is still being compressed ends.
        drop(pieces);
        match packing.join() {
            Ok(packed) => (packed, sent),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    sent.map_err(write::output)?;
    packed?;
    held.let_go().map_err(write::output)
}

/// Compresses a layer to `out` and checks that it is what it should be.
///
/// # Errors
/// As [`pack`].
pub(super) fn to(
    layer: &LayerBytes,
    origin: &str,
    level: Compression,
    out: &mut dyn Write,
    progress: &dyn Fn(u64),
) -> Result<deflate::Packed, ImageError> {
    let part = format!("layer {}", layer.diff_id);
    let unreadable = |source| compress::read_error(&format!("{origin}: {part}"), 0, source);
    let mut read = compress::unpacked(&layer.stored, layer.encoding).map_err(unreadable)?;
    let packed = deflate::pack(&mut read, level, out, progress).map_err(|error| match error {
        deflate::Error::Read(source) => unreadable(source),
        deflate::Error::Write(source) => write::output(source),
    })?;
    contents::check(origin, &part, layer.diff_id, packed.digest)?;
    Ok(packed)
}

/// Hands on what is written.
struct Pieces(mpsc::SyncSender<Vec<u8>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.send(bytes.to_vec()).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// About how many bytes an uncompressed layer becomes; nothing where compressing it does not pay. Always the same of the
/// same bytes.
///
/// # Errors
/// It cannot be read.
pub(super) fn about(
    layer: &LayerBytes,
    origin: &str,
    level: Compression,
) -> Result<Option<u64>, ImageError> {
    let name = format!("{origin}: layer {}", layer.diff_id);
    let sampled = sampled(&layer.stored, level);
    sampled.map_err(|error| compress::read_error(&name, 0, error))
}

fn sampled(plain: &Slice, level: Compression) -> io::Result<Option<u64>> {
    let (mut read, mut packed) = (0, 0);
    let apart = plain.len() / SAMPLES;
    let mut compressor = deflate::Compressor::new(level)?;
    for sample in 0..SAMPLES {
        let bytes = plain.part(sample * apart, SAMPLE).start(SAMPLE)?;
        read += bytes.len() as u128;
        packed += compressor.len(&bytes)? as u128;
    }
    if packed + read / PAYS > read {
        return Ok(None);
    }
    let about = u128::from(plain.len()) * packed * OF_SAMPLES / (read.max(1) * 100);
    Ok(Some(u64::try_from(about).unwrap_or(u64::MAX)))
}
