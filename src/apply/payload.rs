//! Opens the bytes that a plan's commands read.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::Arc,
};

use crate::{
    desired::{Desired, ImageContent, Transfer, write_archive},
    host,
    image::LayerSelection,
    plan::{Payload, PayloadSource},
};

/// Bytes between two progress reports: a few hundred a second on the fastest link.
const REPORT_EVERY: u64 = 256 << 10;

/// Where payloads come from: local files, the plan itself, the desired images and transfers.
#[derive(Debug, Default)]
pub struct Payloads {
    images: BTreeMap<String, ImageContent>,
    transfers: Arc<Vec<Transfer>>,
}

impl Payloads {
    /// The payloads of a plan for `desired`.
    pub fn new(desired: &Desired) -> Self {
        let images = desired.images.iter();
        let images = images.filter_map(|image| Some((image.name.clone(), image.content.clone()?)));
        Self {
            images: images.collect(),
            transfers: Arc::new(desired.transfers.clone()),
        }
    }

    /// A payload that reports how many bytes it has written so far.
    ///
    /// # Errors
    /// A local file that cannot be opened, an image that is not among the desired ones.
    pub fn open(
        &self,
        payload: &Payload,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> io::Result<host::Payload> {
        let write: host::Payload = match &payload.from {
            PayloadSource::Inline(text) => {
                let text = text.clone();
                Box::new(move |out| out.write_all(text.as_bytes()))
            }
            PayloadSource::File(path) => {
                let mut file = fs_err::File::open(path)?;
                Box::new(move |out| io::copy(&mut file, out).map(drop))
            }
            PayloadSource::Stream(_) if !payload.members.is_empty() => {
                let (transfers, members) = (Arc::clone(&self.transfers), payload.members.clone());
                Box::new(move |out| write_archive(&transfers, &members, out))
            }
            PayloadSource::Stream(name) => {
                let content = self.images.get(name);
                let missing = || io::Error::other(format!("no image {name} in the manifest"));
                let content = content.ok_or_else(missing)?;
                let image = Arc::clone(content.local.as_ref().ok_or_else(missing)?);
                if payload.delta.is_some() {
                    let sha256 = payload.sha256;
                    return Ok(counted(
                        Box::new(move |out| image.write_delta(sha256, out)),
                        sent,
                    ));
                }
                let tag = content.staging_tag.clone();
                let layers = match &payload.layers {
                    None => LayerSelection::All,
                    Some(layers) => LayerSelection::Only(layers.clone()),
                };
                Box::new(move |out| {
                    image
                        .write_archive(&tag, &layers, out)
                        .map_err(io::Error::other)
                })
            }
        };
        Ok(counted(write, sent))
    }
}

/// The same, reporting how many bytes it has written so far.
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

/// Counts what passes through.
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
