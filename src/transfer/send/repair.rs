//! Extracts files of a layer whose copies on a VPU are damaged: as a tar of the layer's own members, so that owners, modes
//! and extended attributes are those of the layer.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
};

use super::ImageSender;
use crate::{
    compress,
    delta::image::normalised,
    error::ImageError,
    files::{self, CHUNK, Slice},
    layer::LayerBytes,
    tarball::{self, Kind, Walker},
    work::WorkProgress,
};
use o3r_core::{
    digest::{Digest, DigestWriter},
    offers::RepairOffer,
};

/// The end of a tar.
const END: [u8; 1024] = [0; 1024];

impl ImageSender {
    /// Extracts the files at `paths` of a layer; `None` if the layer lacks one of them. Runs `docker save` for an
    /// engine's image only if the cache lacks the layer. Blocks.
    ///
    /// # Errors
    /// The layer cannot be read, or scratch files cannot be written.
    pub fn prepare_repair(
        &mut self,
        diff_id: Digest,
        paths: &BTreeSet<String>,
        progress: &dyn Fn(WorkProgress),
    ) -> Result<Option<RepairOffer>, ImageError> {
        let Some(cache) = self.cache.clone() else {
            return Ok(None);
        };
        if self.layer_bytes(diff_id, &cache).is_none() {
            self.image.contents_while(progress)?;
        }
        let Some(layer) = self.layer_bytes(diff_id, &cache) else {
            return Ok(None);
        };
        let Some(spans) = spans(&layer, paths)? else {
            return Ok(None);
        };
        let scratch = cache.scratch();
        let mut out = DigestWriter::new(scratch.file()?);
        copy(&layer, &spans, &mut out)?;
        out.write_all(&END).map_err(|error| scratch.error(error))?;
        let (file, sha256, _) = out.finish();
        let bytes = Slice::whole(file).map_err(|error| scratch.error(error))?;
        let offer = RepairOffer {
            layer: diff_id,
            bytes: bytes.len(),
            sha256,
        };
        self.deltas.insert(sha256, bytes);
        Ok(Some(offer))
    }
}

/// The offsets and lengths of the members at these paths, with their headers and padding, in the layer's order. A hard
/// link takes the member with it that it links to.
fn spans(
    layer: &LayerBytes,
    paths: &BTreeSet<String>,
) -> Result<Option<Vec<(u64, u64)>>, ImageError> {
    let name = format!("layer {}", layer.diff_id);
    let failed = |error| files::read_error(&name, 0, error);
    let mut wanted: BTreeSet<Box<[u8]>> = paths.iter().map(|path| path.as_bytes().into()).collect();
    let mut members = vec![];
    let mut found = BTreeSet::new();
    let read = compress::unpacked(&layer.stored, layer.encoding).map_err(failed)?;
    let mut walker = Walker::new(io::BufReader::with_capacity(CHUNK, read), &name);
    while let Some(entry) = walker.next()? {
        let Some(path) = normalised(&entry.path) else {
            continue;
        };
        members.push((path, entry));
    }
    for (path, entry) in &members {
        if let (Kind::Hardlink(target), true) = (&entry.kind, wanted.contains(path)) {
            wanted.extend(normalised(target.as_bytes()));
        }
    }
    let mut spans = vec![];
    for (
        path,
        tarball::Entry {
            start, offset, len, ..
        },
    ) in &members
    {
        if wanted.contains(path) {
            found.insert(path.clone());
            spans.push((
                *start,
                offset + len.next_multiple_of(tarball::BLOCK) - start,
            ));
        }
    }
    Ok((found == wanted).then_some(spans))
}

fn copy(layer: &LayerBytes, spans: &[(u64, u64)], out: &mut impl Write) -> Result<(), ImageError> {
    let name = format!("layer {}", layer.diff_id);
    let mut at = 0;
    let mut copied = || -> io::Result<()> {
        let mut read = compress::unpacked(&layer.stored, layer.encoding)?;
        for (start, len) in spans {
            io::copy(&mut (&mut read).take(start - at), &mut io::sink())?;
            let done = io::copy(&mut (&mut read).take(*len), out)?;
            at = start + len;
            if done < *len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    };
    copied().map_err(|error| files::read_error(&name, 0, error))
}
