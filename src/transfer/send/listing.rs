//! Lists the files of an image with their digests, to compare them with what a VPU has on its disk.

use std::io::Write as _;

use super::ImageSender;
use crate::{delta::image as delta, error::ImageError, files::Slice, work::WorkProgress};
use o3r_core::{
    digest::Digest,
    offers::{Reach, SumsOffer},
};

/// The programs with which a container compares its own files.
const PROGRAMS: [&str; 2] = ["sh", "sha256sum"];

/// The regular files that containers of an image see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Sorted by path.
    pub files: Vec<ListedFile>,
    /// How many are not listed: their names have line breaks, backslashes or bytes that are not UTF-8.
    pub omitted: usize,
    /// Whether a container of the image can compare them itself.
    pub reach: Reach,
}

/// A file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Relative to the root.
    pub path: String,
    /// The diff ID of the layer that has it.
    pub layer: Digest,
    /// Digest of the content.
    pub sha256: Digest,
}

impl Listing {
    /// The list as `sha256sum -c` reads it, compressed with gzip.
    pub fn sums(&self) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
        for file in &self.files {
            // Writing to memory cannot fail.
            let _ = writeln!(out, "{}  {}", file.sha256.hex(), file.path);
        }
        out.finish().unwrap_or_default()
    }
}

impl ImageSender {
    /// Prepares the list of the image's files, to compare them once the image is loaded; `None` as for
    /// [`ImageSender::listing`]. Blocks.
    ///
    /// # Errors
    /// The source cannot be read, or scratch files cannot be written.
    pub fn prepare_sums(
        &mut self,
        progress: &dyn Fn(WorkProgress),
    ) -> Result<Option<SumsOffer>, ImageError> {
        let (Some(listing), Some(cache)) = (self.listing(progress)?, &self.cache) else {
            return Ok(None);
        };
        let scratch = cache.scratch();
        let sums = listing.sums();
        let mut file = scratch.file()?;
        file.write_all(&sums)
            .map_err(|error| scratch.error(error))?;
        let slice = Slice::whole(file).map_err(|error| scratch.error(error))?;
        let offer = SumsOffer {
            reach: listing.reach,
            bytes: slice.len(),
            sha256: Digest::of(&sums),
        };
        self.deltas.insert(offer.sha256, slice);
        Ok(Some(offer))
    }

    /// Lists the image's files. Reads its layers unless their lists are cached; runs `docker save` for an engine's image
    /// only if the cache lacks one. `None` if it is uncertain what docker makes of them. Blocks.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn listing(&self, progress: &dyn Fn(WorkProgress)) -> Result<Option<Listing>, ImageError> {
        let Some(cache) = &self.cache else {
            return Ok(None);
        };
        let diff_ids = self.image.diff_ids();
        let bytes = |diff_id| self.layer_bytes(diff_id, cache);
        let mut view = delta::view(cache, diff_ids, &bytes)?;
        if view.is_none() && self.image.at_hand().is_none() {
            self.image.contents_while(progress)?;
            view = delta::view(cache, diff_ids, &bytes)?;
        }
        let Some(view) = view else {
            return Ok(None);
        };
        let reach = if PROGRAMS.iter().all(|name| view.has_program(name)) {
            Reach::Inside
        } else {
            Reach::Outside
        };
        let mut listing = Listing {
            files: vec![],
            omitted: 0,
            reach,
        };
        for (_, path, file) in view.files() {
            let path = std::str::from_utf8(path).ok();
            let path = path.filter(|path| !path.contains(['\n', '\r', '\\']));
            match (path, diff_ids.get(file.layer)) {
                (Some(path), Some(layer)) => listing.files.push(ListedFile {
                    path: path.to_owned(),
                    layer: *layer,
                    sha256: file.content.digest,
                }),
                _ => listing.omitted += 1,
            }
        }
        Ok(Some(listing))
    }
}
