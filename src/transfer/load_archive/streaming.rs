//! Compresses a layer while it is sent: compressing the next bytes overlaps with sending the
//! previous ones.

use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;

use crate::cache::LayerCache;
use crate::error::ImageError;
use crate::layer::LayerBytes;
use crate::tail_gate::TailGate;
use crate::{layer, load_archive};
use o3r_core::compression::Compression;

/// Writes of `deflate::pack` that are queued for sending; each has a few megabytes.
const WAITING: usize = 1;

/// Compresses a layer to `out`, and into the cache if that can be written.
///
/// Holds the last byte back until the digest is known, so that a damaged layer leaves a file that
/// cannot be unpacked.
///
/// # Errors
/// The layer cannot be read or does not match its diff ID; `out` fails.
pub(crate) fn pack(
    layer: &LayerBytes,
    origin: &str,
    level: Compression,
    cache: Option<&LayerCache>,
    out: &mut dyn Write,
) -> Result<(), ImageError> {
    let (sender, pieces) = mpsc::sync_channel(WAITING);
    let mut held = TailGate::new(out, 1);
    let (packed, sent) = thread::scope(|scope| {
        let mut pieces_to = Pieces(sender);
        let packing = scope.spawn(move || match cache {
            Some(cache) => cache.add_while(layer, origin, level, &mut pieces_to),
            None => layer::compress_to(layer, origin, level, &mut pieces_to, &|_| {}).map(drop),
        });
        let sent = pieces
            .iter()
            .try_for_each(|piece: Vec<u8>| held.write_all(&piece));
        // Closes the channel, so that the compressor ends if sending failed.
        drop(pieces);
        match packing.join() {
            Ok(packed) => (packed, sent),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    sent.map_err(load_archive::output)?;
    packed?;
    held.release().map_err(load_archive::output)
}

/// Forwards what is written to the channel.
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
