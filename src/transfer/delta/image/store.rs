//! Stores the lists of layers in the layer cache: compact, verified when read, rebuilt when
//! damaged.

use std::io::{self, Read as _, Write as _};
use std::time::SystemTime;

use super::index::{Content, Entry, Index, Kind};
use crate::cache::LayerCache;
use crate::error::ImageError;
use crate::layer::LayerBytes;
use o3r_core::digest::Digest;

/// The first bytes of a list: its type and the version of its format.
const MAGIC: &[u8] = b"o3r-index-1\n";

/// The longest list that is read, in unpacked bytes; the largest list takes half of that.
const MAX_LEN: u64 = 24 << 20;

/// Returns the list of a layer: from the cache, otherwise created from `layer` and cached. `None`
/// if both are missing, or if the layer is too strange to be listed.
pub(crate) fn index(
    cache: &LayerCache,
    diff_id: Digest,
    layer: impl FnOnce() -> Option<LayerBytes>,
) -> Result<Option<Index>, ImageError> {
    if let Some(index) = cached(cache, diff_id) {
        return Ok(Some(index));
    }
    let Some(layer) = layer() else {
        return Ok(None);
    };
    let index = match Index::of_layer(&layer, "an image") {
        // Not a common tar of a layer; docker may still accept it.
        Err(
            ImageError::Damaged { .. } | ImageError::Truncated { .. } | ImageError::TooMuch { .. },
        ) => None,
        other => other?,
    };
    if let Some(Err(error)) = index.as_ref().map(|index| keep(cache, diff_id, index)) {
        tracing::warn!(%error, "the layer cache cannot be written");
    }
    Ok(index)
}

fn cached(cache: &LayerCache, diff_id: Digest) -> Option<Index> {
    let prefix = format!("{}.", diff_id.hex());
    let entries = cache.layers().read_dir_utf8().ok()?;
    for entry in entries.filter_map(Result::ok) {
        let stored = entry.file_name().strip_prefix(&prefix);
        let Some(stored) = stored.and_then(|name| Digest::from_hex(name.strip_suffix(".idx")?))
        else {
            continue;
        };
        let Ok(file) = fs_err::File::open(entry.path()) else {
            continue;
        };
        // `LayerCache::prune` removes the least recently used first.
        let _ = file.set_modified(SystemTime::now());
        let mut bytes = vec![];
        let read = file.take(MAX_LEN).read_to_end(&mut bytes);
        let index = read.ok().and_then(|_| {
            let sound = Digest::of(&bytes) == stored;
            sound.then(|| unpack(&bytes)).flatten()
        });
        if index.is_some() {
            return index;
        }
        tracing::warn!(file = %entry.path(), "damaged, removed from the cache");
        let _ = fs_err::remove_file(entry.path());
    }
    None
}

fn keep(cache: &LayerCache, diff_id: Digest, index: &Index) -> io::Result<()> {
    let bytes = pack(index)?;
    let layers = cache.layers();
    fs_err::create_dir_all(&layers)?;
    let mut file = tempfile::NamedTempFile::new_in(&layers)?;
    file.write_all(&bytes)?;
    let path = layers.join(format!(
        "{}.{}.idx",
        diff_id.hex(),
        Digest::of(&bytes).hex()
    ));
    file.persist(&path).map_err(|error| error.error)?;
    cache.prune(&path);
    Ok(())
}

/// Compresses a list; paths omit the prefix that they share with the previous one.
fn pack(index: &Index) -> io::Result<Vec<u8>> {
    let mut out = flate2::write::GzEncoder::new(MAGIC.to_vec(), flate2::Compression::fast());
    number(&mut out, index.len)?;
    number(&mut out, index.entries.len() as u64)?;
    let mut before: &[u8] = &[];
    for entry in &index.entries {
        let pairs = before.iter().zip(entry.path.iter());
        let shared = pairs.take_while(|(one, other)| one == other).count();
        number(&mut out, shared as u64)?;
        text(&mut out, &entry.path[shared..])?;
        before = &entry.path;
        out.write_all(&[code(&entry.kind)])?;
        match &entry.kind {
            Kind::File(content) => {
                number(&mut out, content.offset)?;
                number(&mut out, content.len)?;
                out.write_all(content.digest.as_bytes())?;
            }
            Kind::Hardlink(target) | Kind::Symlink(target) => text(&mut out, target)?,
            Kind::Directory | Kind::Other | Kind::Whiteout | Kind::Opaque => {}
        }
    }
    out.finish()
}

fn unpack(bytes: &[u8]) -> Option<Index> {
    let packed = bytes.strip_prefix(MAGIC)?;
    let mut read = io::BufReader::new(flate2::read::GzDecoder::new(packed).take(MAX_LEN));
    let len = number_of(&mut read)?;
    let count = number_of(&mut read)?;
    let mut entries: Vec<Entry> = vec![];
    for _ in 0..count {
        let shared = usize::try_from(number_of(&mut read)?).ok()?;
        let before = entries.last().map_or(&[][..], |entry| &entry.path);
        let mut path = before.get(..shared)?.to_vec();
        path.extend(text_of(&mut read)?);
        let mut code = [0];
        read.read_exact(&mut code).ok()?;
        let kind = match code[0] {
            0 => {
                let (offset, len) = (number_of(&mut read)?, number_of(&mut read)?);
                let mut digest = [0; 32];
                read.read_exact(&mut digest).ok()?;
                let digest = Digest::from_bytes(digest);
                Kind::File(Content {
                    offset,
                    len,
                    digest,
                })
            }
            1 => Kind::Hardlink(text_of(&mut read)?.into()),
            2 => Kind::Symlink(text_of(&mut read)?.into()),
            3 => Kind::Directory,
            4 => Kind::Other,
            5 => Kind::Whiteout,
            6 => Kind::Opaque,
            _ => return None,
        };
        entries.push(Entry {
            path: path.into(),
            kind,
        });
    }
    Some(Index { len, entries })
}

fn code(kind: &Kind) -> u8 {
    match kind {
        Kind::File(_) => 0,
        Kind::Hardlink(_) => 1,
        Kind::Symlink(_) => 2,
        Kind::Directory => 3,
        Kind::Other => 4,
        Kind::Whiteout => 5,
        Kind::Opaque => 6,
    }
}

/// Writes a number in base 128, the lowest digit first; the high bit of a byte says that more
/// follow.
fn number(out: &mut impl io::Write, mut number: u64) -> io::Result<()> {
    while number >= 0x80 {
        out.write_all(&[number.to_le_bytes()[0] | 0x80])?;
        number >>= 7;
    }
    out.write_all(&[number.to_le_bytes()[0]])
}

fn number_of(read: &mut impl io::Read) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        read.read_exact(&mut byte).ok()?;
        number |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            return Some(number);
        }
    }
    None
}

fn text(out: &mut impl io::Write, text: &[u8]) -> io::Result<()> {
    number(out, text.len() as u64)?;
    out.write_all(text)
}

fn text_of(read: &mut impl io::Read) -> Option<Vec<u8>> {
    let len = number_of(read)?;
    let mut text = vec![];
    read.take(len).read_to_end(&mut text).ok()?;
    (text.len() as u64 == len).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let entry = |path: &[u8], kind| Entry {
            path: path.into(),
            kind,
        };
        let content = Content {
            offset: 1 << 40,
            len: u64::MAX,
            digest: Digest::of(b"x"),
        };
        Index {
            len: 5,
            entries: vec![
                entry(b"usr", Kind::Directory),
                entry(b"usr/lib/a", Kind::File(content)),
                entry(
                    b"usr/lib/\xff\n",
                    Kind::Hardlink(b"usr/lib/a".as_slice().into()),
                ),
                entry(b"b", Kind::Symlink(b"../c".as_slice().into())),
                entry(b"b/gone", Kind::Whiteout),
                entry(b"", Kind::Opaque),
                entry(b"pipe", Kind::Other),
            ],
        }
    }

    #[test]
    fn a_packed_list_is_read_back() {
        assert_eq!(unpack(&pack(&index()).unwrap()), Some(index()));
    }

    #[test]
    fn a_damaged_list_is_never_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        let cache = LayerCache::new(path);
        let id = Digest::of(b"layer");
        keep(&cache, id, &index()).unwrap();
        assert_eq!(cached(&cache, id), Some(index()));
        let file = cache.layers().read_dir_utf8().unwrap().next();
        let file = file.unwrap().unwrap().into_path();
        let sound = fs_err::read(&file).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 4;
            // Must not panic even without the digest check.
            let _ = unpack(&damaged);
            fs_err::write(&file, damaged).unwrap();
            assert_eq!(cached(&cache, id), None);
            assert!(!file.exists());
            let _ = unpack(&sound[..at]);
        }
    }
}
