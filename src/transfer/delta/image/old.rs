//! Reads layers on this machine: new ones in order, and the changed files of old ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write as _};

use super::matches::Matches;
use super::pack::Pack;
use super::view::FileId;
use crate::compress::Encoding;
use crate::error::ImageError;
use crate::files::{CHUNK, ScratchDir, Slice};
use crate::layer::LayerBytes;
use crate::{compress, files};
use o3r_core::digest::Digest;

/// The most bytes of old files that are unpacked to find ranges in them.
const MAX_OLD: u64 = 1 << 30;

/// The content of old files.
#[derive(Debug, Default)]
pub(crate) struct OldBytes(HashMap<FileId, Slice>);

impl OldBytes {
    /// Unpacks the old files in which ranges are searched, if this machine has their layers.
    ///
    /// # Errors
    /// Scratch files cannot be written. A layer that cannot be read is no error: its files are
    /// missing from the result.
    pub(crate) fn fetch(
        matches: &Matches,
        layer: impl Fn(Digest) -> Option<LayerBytes>,
        scratch: &ScratchDir,
    ) -> Result<Self, ImageError> {
        let mut wanted: BTreeMap<usize, BTreeSet<(u64, FileId)>> = BTreeMap::new();
        let all = matches.layers.values().flat_map(|(_, found)| found);
        let mut total = 0;
        for found in all.filter(|found| !found.whole) {
            let Some((_, file)) = matches.view.file(found.old) else {
                continue;
            };
            let files = wanted.entry(file.layer).or_default();
            if total + file.content.len <= MAX_OLD && files.insert((file.content.offset, found.old))
            {
                total += file.content.len;
            }
        }
        let mut old = Self::default();
        for (number, files) in wanted {
            let bytes = matches.base.layers.get(number).and_then(|id| layer(*id));
            let Some(bytes) = bytes else { continue };
            let mut read = LayerReader::new(&bytes, true)?;
            for (offset, id) in files {
                let Some((_, file)) = matches.view.file(id) else {
                    continue;
                };
                let unread = read.skip_to(offset).is_err();
                let slice = read.spool(file.content.len, scratch)?;
                let (digest, _) =
                    Digest::of_reader(slice.reader()).map_err(|error| scratch.error(error))?;
                if unread || digest != file.content.digest {
                    tracing::debug!(layer = number, "an old layer differs from its listing");
                    break;
                }
                old.0.insert(id, slice);
            }
        }
        Ok(old)
    }

    pub(crate) fn get(&self, id: FileId) -> Option<&Slice> {
        self.0.get(&id)
    }
}

/// Reads a layer from start to end.
pub(crate) struct LayerReader {
    read: Box<dyn Read>,
    name: String,
    at: u64,
}

impl LayerReader {
    /// Reads the layer's tar, or, without `tar`, the bytes that are sent for it.
    pub(crate) fn new(layer: &LayerBytes, tar: bool) -> Result<Self, ImageError> {
        // Docker accepts gzip layers unchanged.
        let encoding = match layer.encoding {
            Encoding::Gzip if !tar => Encoding::Plain,
            encoding => encoding,
        };
        let name = format!("layer {}", layer.diff_id);
        let read = compress::unpacked(&layer.stored, encoding)
            .map_err(|error| files::read_error(&name, 0, error))?;
        Ok(Self { read, name, at: 0 })
    }

    /// Writes everything up to this offset, or to the end, as literals.
    pub(crate) fn literal_until(
        &mut self,
        offset: u64,
        pack: &mut Pack<'_>,
    ) -> Result<(), ImageError> {
        self.pass(offset.saturating_sub(self.at), |piece| pack.literal(piece))
    }

    /// Skips `len` bytes.
    pub(crate) fn skip(&mut self, len: u64) -> Result<(), ImageError> {
        self.pass(len, |_| Ok(()))
    }

    fn skip_to(&mut self, offset: u64) -> Result<(), ImageError> {
        self.skip(offset.saturating_sub(self.at))
    }

    /// Copies `len` bytes to a scratch file.
    pub(crate) fn spool(&mut self, len: u64, scratch: &ScratchDir) -> Result<Slice, ImageError> {
        let mut file = scratch.file()?;
        self.pass(len, |piece| {
            file.write_all(piece).map_err(|error| scratch.error(error))
        })?;
        Slice::whole(file).map_err(|error| scratch.error(error))
    }

    fn pass(
        &mut self,
        len: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let mut piece = vec![0; usize::try_from(len).map_or(CHUNK, |len| len.min(CHUNK))];
        let mut left = len;
        while left > 0 {
            let want = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let got = files::read_some(&mut self.read, &mut piece[..want])
                .map_err(|error| files::read_error(&self.name, self.at, error))?;
            if got == 0 {
                return Ok(());
            }
            take(&piece[..got])?;
            self.at += got as u64;
            left -= got as u64;
        }
        Ok(())
    }
}
