//! Opens the payloads of a plan's commands.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::Arc,
};

use o3r_core::rendered::Rendered;

use super::{Senders, write_archive};
use crate::{
    desired::{Desired, Transfer},
    digest::Digest,
    host,
    image::{ImageSender, LayerSelection, LayerSpan},
    offers,
    patch::Patch,
    plan::{Part, Payload, PayloadSource},
};

/// Bytes between two progress reports: a few hundred reports a second on the fastest link.
const REPORT_EVERY: u64 = 256 << 10;

/// The sources of payloads: local files, the plan itself, local images, transfers and patches.
#[derive(Debug, Default)]
pub struct Payloads {
    /// By their names in the manifest, with their staging tags.
    images: BTreeMap<String, (Arc<ImageSender>, String)>,
    transfers: Arc<Vec<Transfer>>,
    rendered: Arc<Rendered>,
    patches: BTreeMap<Digest, Patch>,
}

impl Payloads {
    /// Creates the payloads of a plan for `desired`.
    pub(super) fn new(
        desired: &Desired,
        mut senders: Senders,
        patches: BTreeMap<(usize, String), Patch>,
    ) -> Self {
        let images = desired.images.iter().filter_map(|image| {
            let tag = image.content.as_ref()?.staging_tag.clone();
            let sender = senders.remove(&image.name)?;
            Some((image.name.clone(), (Arc::new(sender), tag)))
        });
        let patches = patches.into_values();
        Self {
            images: images.collect(),
            transfers: Arc::new(desired.transfers.clone()),
            rendered: Arc::new(desired.rendered.clone()),
            patches: patches.map(|patch| (patch.offer.sha256, patch)).collect(),
        }
    }

    /// Opens a payload that calls `sent` with the bytes written so far.
    ///
    /// # Errors
    /// A local file cannot be opened, or an image is not among the desired ones.
    pub fn open(
        &self,
        payload: &Payload,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> io::Result<host::Payload> {
        let write: host::Payload = match &payload.source {
            PayloadSource::Inline { text } => {
                let text = text.clone();
                Box::new(move |out| out.write_all(text.as_bytes()))
            }
            PayloadSource::File { .. } if self.rendered.contains_key(&payload.sha256) => {
                let content = self.rendered[&payload.sha256].clone();
                Box::new(move |out| out.write_all(content.bytes()))
            }
            PayloadSource::File { path } => {
                let mut file = fs_err::File::open(path)?;
                Box::new(move |out| io::copy(&mut file, out).map(drop))
            }
            PayloadSource::FilePatch { .. } => {
                let patch = self.patch(payload)?;
                Box::new(move |out| patch.write(out))
            }
            PayloadSource::Files { members, .. } => {
                let (transfers, members) = (Arc::clone(&self.transfers), members.clone());
                let rendered = Arc::clone(&self.rendered);
                Box::new(move |out| write_archive(&transfers, &rendered, &members, out))
            }
            PayloadSource::ImageDelta { name, .. }
            | PayloadSource::ImageFiles { name, .. }
            | PayloadSource::ImageSums { name } => {
                let (image, _) = self.image(name)?;
                let sha256 = payload.sha256;
                Box::new(move |out| image.write_delta(sha256, out))
            }
            PayloadSource::Image { name, .. } | PayloadSource::ImageParts { name, .. } => {
                let (image, tag) = self.image(name)?;
                let layers = selection(payload);
                Box::new(move |out| {
                    image
                        .write_archive(&tag, &layers, out)
                        .map_err(io::Error::other)
                })
            }
        };
        Ok(counted(write, sent))
    }

    /// Opens a part of a payload from the first byte that the VPU lacks. Calls `sent` as
    /// [`Payloads::open`] does.
    ///
    /// # Errors
    /// As [`Payloads::open`].
    pub(crate) fn open_part(
        &self,
        payload: &Payload,
        part: &Part,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> io::Result<host::Payload> {
        let PayloadSource::ImageParts { name, .. } = &payload.source else {
            return Err(io::Error::other("only an image is sent in parts"));
        };
        let (image, tag) = self.image(name)?;
        let (have, part) = (part.received_bytes, of_image(part));
        let write: host::Payload = Box::new(move |out| {
            let mut rest = Skipping { out, left: have };
            image
                .write_part(&tag, &part, &mut rest)
                .map_err(io::Error::other)
        });
        Ok(counted(write, sent))
    }

    /// The positions of an image's layers in what is sent of it, for all parts together; empty if
    /// the VPU builds the image from a delta.
    pub fn layers(&self, payload: &Payload) -> Vec<LayerSpan> {
        match &payload.source {
            PayloadSource::Image { name, .. } => match self.image(name) {
                Ok((image, tag)) => image.archive_layers(&tag, &selection(payload)),
                Err(_) => vec![],
            },
            PayloadSource::ImageParts { name, parts, .. } => match self.image(name) {
                Ok((image, tag)) => layers_of_parts(&image, &tag, parts),
                Err(_) => vec![],
            },
            _ => vec![],
        }
    }

    /// The bytes to send of a payload; an estimate is replaced by what is known by now.
    pub(crate) fn bytes(&self, payload: &Payload) -> u64 {
        let (PayloadSource::Image { name, .. } | PayloadSource::ImageParts { name, .. }, true) =
            (&payload.source, payload.estimated)
        else {
            return payload.bytes;
        };
        let Ok((image, tag)) = self.image(name) else {
            return payload.bytes;
        };
        match payload.parts() {
            [] => image.archive_len(&tag, &selection(payload)),
            parts => parts
                .iter()
                .map(|part| part_bytes(&image, &tag, part))
                .sum(),
        }
    }

    fn patch(&self, payload: &Payload) -> io::Result<Patch> {
        let missing = || io::Error::other(format!("there is no delta {}", payload.sha256));
        let patch = self.patches.get(&payload.sha256).cloned();
        patch.ok_or_else(missing)
    }

    fn image(&self, name: &str) -> io::Result<(Arc<ImageSender>, String)> {
        let missing = || io::Error::other(format!("no image {name} in the manifest"));
        self.images.get(name).cloned().ok_or_else(missing)
    }
}

/// The layers of an image that are sent.
fn selection(payload: &Payload) -> LayerSelection {
    match payload.layers() {
        None => LayerSelection::All,
        Some(layers) => LayerSelection::Only(layers.clone()),
    }
}

/// The positions of the layers in what is sent of these parts.
fn layers_of_parts(image: &ImageSender, tag: &str, parts: &[Part]) -> Vec<LayerSpan> {
    let mut spans = vec![];
    let mut before = 0;
    for part in parts {
        let placed = |at: u64| before + at.saturating_sub(part.received_bytes);
        let layers = image.part_layers(tag, &of_image(part));
        let layers = layers.into_iter().map(|span| LayerSpan {
            bytes: placed(span.bytes.start)..placed(span.bytes.end),
            ..span
        });
        spans.extend(layers.filter(|span| !span.bytes.is_empty()));
        before += part_bytes(image, tag, part);
    }
    spans
}

/// The bytes to send of a part, as far as is known by now.
fn part_bytes(image: &ImageSender, tag: &str, part: &Part) -> u64 {
    let bytes = image.part_len(tag, &of_image(part));
    bytes.saturating_sub(part.received_bytes)
}

fn of_image(part: &Part) -> offers::Part {
    offers::Part {
        up_to: part.layer_count,
        layers: part.layers.clone(),
    }
}

/// Wraps a payload to report the bytes written so far.
fn counted(write: host::Payload, sent: impl Fn(u64) + Send + Sync + 'static) -> host::Payload {
    Box::new(move |out| {
        let mut counter = Counter {
            out,
            sent: 0,
            reported: 0,
            report: &sent,
        };
        write(&mut counter)?;
        sent(counter.sent);
        Ok(())
    })
}

/// Skips the first bytes.
struct Skipping<'a> {
    out: &'a mut dyn Write,
    left: u64,
}

impl Write for Skipping<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = bytes
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= skipped as u64;
        if skipped == bytes.len() {
            return Ok(skipped);
        }
        Ok(skipped + self.out.write(&bytes[skipped..])?)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Counts the bytes that pass through.
struct Counter<'a> {
    out: &'a mut dyn Write,
    sent: u64,
    reported: u64,
    report: &'a (dyn Fn(u64) + Send + Sync),
}

impl Write for Counter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sent += written as u64;
        if self.sent - self.reported >= REPORT_EVERY {
            self.reported = self.sent;
            (self.report)(self.sent);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
