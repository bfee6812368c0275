//! Lists the content of a layer's tar: every path, and for each file the position and digest of its
//! bytes.

use std::io::{self, Read};

use crate::error::ImageError;
use crate::files::{CHUNK, Skip};
use crate::layer::{self, LayerBytes};
use crate::tarball::Walker;
use crate::{compress, files, tarball};
use o3r_core::digest::{Digest, DigestWriter};

/// The most entries of a layer that is listed; an index of 100 000 takes 16 MB of memory. A whole
/// Debian with Python's scientific stack has 60 000.
const MAX_ENTRIES: usize = 100_000;

/// The most bytes of all paths of a layer.
const MAX_PATHS: usize = 8 << 20;

/// Longest path of Linux.
const MAX_PATH: usize = 4096;

/// The prefix of a whiteout, which deletes a path of lower layers.
const WHITEOUT: &[u8] = b".wh.";

/// The name of an opaque whiteout, which hides everything that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The content of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    /// The length of the layer's tar in bytes.
    pub(crate) len: u64,
    /// In the tar's order.
    pub(crate) entries: Vec<Entry>,
}

/// A member of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Relative to the root, without a leading slash, `.` or `..`.
    pub(crate) path: Box<[u8]>,
    pub(crate) kind: Kind,
}

/// The type of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File(Content),
    /// The same file as at this path of the same layer.
    Hardlink(Box<[u8]>),
    /// The link's target.
    Symlink(Box<[u8]>),
    Directory,
    /// A device, a pipe or a sparse file.
    Other,
    /// Deletes the path of lower layers.
    Whiteout,
    /// Hides everything that lower layers have below the path.
    Opaque,
}

/// The bytes of a regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    /// Offset of the bytes in the tar.
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) digest: Digest,
}

impl Index {
    /// Reads a whole layer; `origin` names it in errors. `None` if it has more or stranger entries
    /// than a file system needs: such a layer is sent whole.
    ///
    /// # Errors
    /// The layer cannot be read, is not a tar, or does not match its diff ID.
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
                // Writing to a sink cannot fail.
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

/// Parses a whiteout; `None` for any other path.
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

/// Normalises a path relative to the root; `None` if it leaves the root or contains a NUL.
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
