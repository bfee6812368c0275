//! Counts the files of a layer, for disks that may lack inodes.

use std::io;

use super::ImageSender;
use crate::{
    compress,
    error::ImageError,
    files::{self, CHUNK},
    tarball::{Kind, Walker},
    work::WorkProgress,
};
use o3r_core::digest::Digest;

impl ImageSender {
    /// Counts the files, directories and links of a layer that need an inode each; `None` if the image has no such
    /// layer. Reads the whole layer, and runs `docker save` for an engine's image only if the cache lacks it. Blocks.
    ///
    /// # Errors
    /// The layer cannot be read.
    pub fn count_inodes(
        &self,
        diff_id: Digest,
        progress: &dyn Fn(WorkProgress),
    ) -> Result<Option<u64>, ImageError> {
        let Some(cache) = &self.cache else {
            return Ok(None);
        };
        if self.layer_bytes(diff_id, cache).is_none() {
            self.image.contents_while(progress)?;
        }
        let Some(layer) = self.layer_bytes(diff_id, cache) else {
            return Ok(None);
        };
        let name = format!("layer {diff_id}");
        let read = compress::unpacked(&layer.stored, layer.encoding)
            .map_err(|error| files::read_error(&name, 0, error))?;
        let mut walker = Walker::new(io::BufReader::with_capacity(CHUNK, read), &name);
        let mut inodes = 0;
        while let Some(entry) = walker.next()? {
            inodes += u64::from(!matches!(entry.kind, Kind::Hardlink(_)));
        }
        Ok(Some(inodes))
    }
}
