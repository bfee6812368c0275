//! Divides an image into parts that are sent and loaded one after the other: arrived parts are
//! kept, the next part is sent while docker unpacks the previous one, and docker needs less space
//! at a time.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use crate::{
    digest::{Digest, DigestWriter},
    image::{ImageError, ImageSender},
    observe::{Arrived, Observed},
    offers::{Arriving, ImageOffer, Part, PartOffer},
};

/// When an image is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Division {
    /// A part is complete when the tars of its layers have this size in bytes.
    pub part_bytes: u64,
    /// A part that takes at least this many seconds is received in a file first, so that it can be
    /// resumed after a lost connection.
    pub long_seconds: u64,
}

impl Default for Division {
    /// Parts are so large that the 0.2 s that any `docker load` takes do not matter on a link of up
    /// to 1 Gbit/s. Files are used where sending a part again would be noticeable.
    fn default() -> Self {
        Self {
            part_bytes: 32 << 20,
            long_seconds: 10,
        }
    }
}

/// Returns the parts of an image that lacks the layers `missing`; empty if it is sent at once.
///
/// # Errors
/// Arrived bytes must be compared with the image, which cannot be read.
pub(super) fn divide(
    (image, staging_tag): (&ImageSender, &str),
    offer: &ImageOffer,
    missing: &BTreeSet<Digest>,
    observed: &Observed,
    division: Division,
) -> Result<Vec<PartOffer>, ImageError> {
    let link = observed.readings.speeds.link();
    // One part arrives while another one is loaded.
    let room = observed.readings.home_free().unwrap_or(0) / 2;
    let mut parts = vec![];
    for part in groups(offer, missing, division.part_bytes) {
        let bytes = image.part_len(staging_tag, &part);
        let is_last = part.up_to == offer.layers.len();
        let tag = (!is_last).then(|| image.part_tag(part.up_to));
        let name = Digest::of(tag.as_deref().unwrap_or(staging_tag)).short();
        let have = match observed.facts.arrived.get(&name) {
            Some(arrived) if is_start_of(arrived, image, staging_tag, &part)? => arrived.bytes,
            _ => 0,
        };
        // Arrived bytes are not sent again, however fast the link now seems to be; and they occupy
        // space themselves.
        let is_long = bytes / link >= division.long_seconds || have > 0;
        let has_room = have > 0 || bytes <= room;
        let arriving = (is_long && has_room).then_some(Arriving { name, have });
        parts.push(PartOffer {
            part,
            bytes,
            tag,
            arriving,
        });
    }
    let at_once = parts.len() == 1 && parts.iter().all(|part| part.arriving.is_none());
    Ok(if at_once { vec![] } else { parts })
}

/// Groups neighbouring layers that are sent together. A small rest joins the previous part: a load
/// of its own would take longer than sending it.
fn groups(offer: &ImageOffer, missing: &BTreeSet<Digest>, part_bytes: u64) -> Vec<Part> {
    let mut parts: Vec<Part> = vec![];
    let (mut layers, mut bytes) = (BTreeSet::new(), 0);
    for (index, layer) in offer.layers.iter().enumerate() {
        let is_last = index + 1 == offer.layers.len();
        if missing.contains(&layer.diff_id) && layers.insert(layer.diff_id) {
            // The uncompressed size is independent of compression, so that the parts are the same
            // next time and arrived bytes match.
            bytes += layer.unpacked.unwrap_or(layer.bytes);
        }
        if is_last
            && bytes < part_bytes
            && let Some(part) = parts.last_mut()
        {
            part.layers.append(&mut layers);
        } else if bytes >= part_bytes || (is_last && !layers.is_empty()) {
            parts.push(Part {
                up_to: index + 1,
                layers: std::mem::take(&mut layers),
            });
            bytes = 0;
        }
    }
    // If the last layers are not missing, the image must still be named by the last part.
    if let Some(part) = parts.last_mut() {
        part.up_to = part.up_to.max(offer.layers.len());
    }
    parts
}

/// Whether the arrived bytes are the beginning of the part.
fn is_start_of(
    arrived: &Arrived,
    image: &ImageSender,
    staging_tag: &str,
    part: &Part,
) -> Result<bool, ImageError> {
    let Some(sha256) = arrived.sha256 else {
        return Ok(false);
    };
    let mut start = Start {
        hash: DigestWriter::new(io::sink()),
        left: arrived.bytes,
    };
    match image.write_part(staging_tag, part, &mut start) {
        Err(ImageError::Output { .. }) if start.left == 0 => {}
        other => other?,
    }
    Ok(start.left == 0 && start.hash.finish().1 == sha256)
}

/// Hashes the first bytes, then fails.
struct Start {
    hash: DigestWriter<io::Sink>,
    left: u64,
}

impl Write for Start {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let count = self.hash.write(&bytes[..bytes.len().min(most)])?;
        self.left -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
