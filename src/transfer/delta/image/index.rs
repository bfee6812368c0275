//! Lists what is in a layer's tar: every path, and of each file where its bytes are and their digest.

use std::io::{self, Read};

use crate::error::ImageError;
use crate::files::{CHUNK, Skip};
use crate::layer::{self, LayerBytes};
use crate::tarball::Walker;
use crate::{compress, files, tarball};
use o3r_core::digest::{Digest, DigestWriter};

/// Most entries of a layer that is listed. A whole Debian with Python's scientific stack has 60 000;
/// an index of this many takes 16 MB of memory.
const MAX_ENTRIES: usize = 100_000;

/// Most bytes of all paths of a layer.
const MAX_PATHS: usize = 8 << 20;

/// Longest path of Linux.
const MAX_PATH: usize = 4096;

/// The prefix by which a layer says that something below it is gone.
const WHITEOUT: &[u8] = b".wh.";

/// The name by which a layer says that a directory hides all that is below it in other layers.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What is in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    /// Bytes of the layer's tar.
    pub(crate) len: u64,
    /// In the order of the tar.
    pub(crate) entries: Vec<Entry>,
}

/// One thing in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// From the root, without a leading slash, `.` or `..`.
    pub(crate) path: Box<[u8]>,
    pub(crate) kind: Kind,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File(Content),
    /// The same file as the one at this path of the same layer.
    Hardlink(Box<[u8]>),
    /// Where it leads.
    Symlink(Box<[u8]>),
    Directory,
    /// A device, a pipe, a file with holes.
    Other,
    /// What other layers have at the path is gone.
    Whiteout,
    /// What other layers have below the path is gone.
    Opaque,
}

/// A regular file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    /// Where they start in the tar.
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) digest: Digest,
}

impl Index {
    /// Reads a whole layer; `origin` names it in errors. None if it has more, or odder, entries than
    /// a file system needs: such a layer is sent whole.
    ///
    /// # Errors
    /// It cannot be read, is no tar, or is not the layer of its diff id.
    pub(crate) fn of_layer(layer: &LayerBytes, origin: &str) -> Result<Option<Self>, ImageError> {
        let part = format!("layer {}", layer.diff_id);
        let name = format!("{origin}: {part}");
        let failed = |error| files::read_error(&name, 0, error);
        let read = compress::unpacked(&layer.stored, layer.encoding).map_err(failed)?;
        let mut walker = Walker::new(Hashed::new(read), &name);
        let Some(entries) = entries(&mut walker)? else {
            return Ok(None);
        };
        let mut rest = walker.into_inner();
        io::copy(&mut rest, &mut io::sink()).map_err(failed)?;
        let (_, found, len) = rest.hash.finish();
        layer::check(origin, &part, layer.diff_id, found)?;
        Ok(Some(Self { len, entries }))
    }
}

fn entries(walker: &mut Walker<'_, Hashed>) -> Result<Option<Vec<Entry>>, ImageError> {
    let mut entries = vec![];
    let mut paths = 0;
    while let Some(found) = walker.next()? {
        let Some(path) = normalised(&found.path) else {
            return Ok(None);
        };
        paths += path.len();
        if entries.len() >= MAX_ENTRIES || paths > MAX_PATHS || path.len() > MAX_PATH {
            return Ok(None);
        }
        let entry = match whiteout(&path) {
            Some(entry) => entry,
            None => Entry {
                kind: kind(walker, found)?,
                path,
            },
        };
        entries.push(entry);
    }
    Ok(Some(entries))
}

fn kind(walker: &mut Walker<'_, Hashed>, found: tarball::Entry) -> Result<Kind, ImageError> {
    let link = |target: &str| target.len() <= MAX_PATH && !target.contains('\u{fffd}');
    Ok(match found.kind {
        tarball::Kind::File => {
            let mut hash = DigestWriter::new(io::sink());
            walker.pass_to(&mut |piece| {
                // A sink takes everything.
                let _ = io::Write::write_all(&mut hash, piece);
            })?;
            let (_, digest, len) = hash.finish();
            Kind::File(Content {
                offset: found.offset,
                len,
                digest,
            })
        }
        tarball::Kind::Directory => Kind::Directory,
        tarball::Kind::Symlink(target) if link(&target) => {
            Kind::Symlink(target.into_bytes().into())
        }
        tarball::Kind::Hardlink(target) if link(&target) => {
            normalised(target.as_bytes()).map_or(Kind::Other, Kind::Hardlink)
        }
        _ => Kind::Other,
    })
}

/// What a whiteout says, if the path is one.
fn whiteout(path: &[u8]) -> Option<Entry> {
    let at = path.iter().rposition(|byte| *byte == b'/');
    let (parent, name) = at.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
    if name == OPAQUE {
        return Some(Entry {
            path: parent.into(),
            kind: Kind::Opaque,
        });
    }
    let hidden = name.strip_prefix(WHITEOUT)?;
    let mut path = parent.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(hidden);
    Some(Entry {
        path: path.into(),
        kind: Kind::Whiteout,
    })
}

/// The path from the root; none if it leaves the root or holds a NUL.
pub(crate) fn normalised(path: &[u8]) -> Option<Box<[u8]>> {
    let mut out = Vec::with_capacity(path.len());
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            part if part.contains(&0) => return None,
            part => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(part);
            }
        }
    }
    Some(out.into())
}

/// Hashes what is read.
struct Hashed {
    input: Box<dyn Read>,
    hash: DigestWriter<io::Sink>,
}

impl Hashed {
    fn new(input: Box<dyn Read>) -> Self {
        Self {
            input: Box::new(io::BufReader::with_capacity(CHUNK, input)),
            hash: DigestWriter::new(io::sink()),
        }
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buffer)?;
        io::Write::write_all(&mut self.hash, &buffer[..got])?;
        Ok(got)
    }
}

impl Skip for Hashed {}
