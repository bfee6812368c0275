//! Recognises compression formats and decompresses.

pub(crate) mod deflate;

use std::io::{self, BufReader, Read, Write};

use bzip2::bufread::MultiBzDecoder;
use liblzma::{
    bufread::XzDecoder,
    stream::{CONCATENATED, Stream},
};

use crate::error::ImageError;
use crate::files;
use crate::files::{CHUNK, ScratchDir, Slice};
use crate::tarball;

/// The most bytes that anything is unpacked to. The VPU has 16 GB of flash, so that a larger image
/// cannot be for it, and a crafted file must not fill this machine's disk.
const MAX_UNPACKED: u64 = 32 << 30;

/// Bytes that [`Format::of`] needs.
pub(crate) const SNIFF: u64 = 512;

/// The format of a file, from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Tar,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    /// Compressed by the named program, which is not supported.
    Foreign(&'static str),
    /// Another format: its name, and what to do with the file, if not to create another one.
    Other(&'static str, Option<&'static str>),
}

impl Format {
    /// Detects the format from the first [`SNIFF`] bytes.
    pub(crate) fn of(start: &[u8]) -> Self {
        const COMPRESSED: [(&[u8], Format); 6] = [
            (b"\x1f\x8b", Format::Gzip),
            (b"\x28\xb5\x2f\xfd", Format::Zstd),
            (b"\xfd7zXZ\0", Format::Xz),
            (b"BZh", Format::Bzip2),
            (b"\x04\x22\x4d\x18", Format::Foreign("lz4")),
            (b"LZIP", Format::Foreign("lzip")),
        ];
        const OTHERS: [(&[u8], &str, Option<&str>); 8] = [
            (
                b"PK\x03\x04",
                "a zip file",
                Some("unzip it; the tar may be inside"),
            ),
            (
                b"7z\xbc\xaf\x27\x1c",
                "a 7z file",
                Some("unpack it; the tar may be inside"),
            ),
            (b"hsqs", "a squashfs file system", None),
            (b"\x7fELF", "a program", None),
            (
                b"version https://git-lfs",
                "a git-lfs pointer",
                Some("fetch the file with `git lfs pull`"),
            ),
            (
                b"<",
                "a web page or XML",
                Some("the download may have failed: check the file's content"),
            ),
            (b"{", "a JSON text", None),
            (
                b"FROM ",
                "a Dockerfile",
                Some("build it: `docker build -t NAME .`, then `engine = \"NAME\"`"),
            ),
        ];
        if start.is_empty() {
            return Self::Other("an empty file", None);
        }
        if start.get(257..262) == Some(b"ustar") {
            return Self::Tar;
        }
        if let Some((_, format)) = COMPRESSED
            .iter()
            .find(|(magic, _)| start.starts_with(magic))
        {
            return *format;
        }
        for (magic, looks_like, remedy) in OTHERS {
            if start.starts_with(magic) {
                return Self::Other(looks_like, remedy);
            }
        }
        // An old tar has no magic number, and an empty one is all zeros.
        if tarball::is_header(start) || start.iter().all(|byte| *byte == 0) {
            return Self::Tar;
        }
        Self::Other("a file of an unknown kind", None)
    }
}

/// How the tar of a layer or a file system is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Gzip,
    Zstd,
}

impl Encoding {
    /// Detects the encoding from the first bytes of `slice`; `origin` names it in errors.
    pub(crate) fn of(slice: &Slice, origin: &str) -> Result<Self, ImageError> {
        let start = slice
            .start(SNIFF)
            .map_err(|error| files::read_error(origin, 0, error))?;
        match Format::of(&start) {
            Format::Gzip => Ok(Self::Gzip),
            Format::Zstd => Ok(Self::Zstd),
            Format::Xz => Err(unsupported(origin, "xz")),
            Format::Bzip2 => Err(unsupported(origin, "bzip2")),
            Format::Foreign(format) => Err(unsupported(origin, format)),
            Format::Tar | Format::Other(..) => Ok(Self::Plain),
        }
    }
}

/// Returns a reader of the decompressed `slice`.
pub(crate) fn unpacked(slice: &Slice, encoding: Encoding) -> io::Result<Box<dyn Read>> {
    let packed = BufReader::with_capacity(CHUNK, slice.reader());
    Ok(match encoding {
        Encoding::Plain => Box::new(packed),
        Encoding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        Encoding::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
    })
}

/// Copies all of `slice`, decompressed, to `out`; returns the number of bytes.
///
/// `out_error` wraps errors of `out`; all other errors are about reading.
pub(crate) fn copy_unpacked(
    slice: &Slice,
    encoding: Encoding,
    origin: &str,
    out: &mut dyn Write,
    out_error: impl Fn(io::Error) -> ImageError,
) -> Result<u64, ImageError> {
    let mut reader =
        unpacked(slice, encoding).map_err(|error| files::read_error(origin, 0, error))?;
    copy(&mut *reader, origin, out, out_error)
}

fn copy(
    mut reader: &mut dyn Read,
    origin: &str,
    out: &mut dyn Write,
    out_error: impl Fn(io::Error) -> ImageError,
) -> Result<u64, ImageError> {
    let mut chunk = vec![0; CHUNK];
    let mut len = 0;
    loop {
        let n = files::read_some(&mut reader, &mut chunk)
            .map_err(|error| files::read_error(origin, len, error))?;
        if n == 0 {
            return Ok(len);
        }
        len += n as u64;
        if len > MAX_UNPACKED {
            return Err(ImageError::TooMuch {
                origin: origin.to_owned(),
                part: "the unpacked content".to_owned(),
                found: "more bytes".to_owned(),
                limit: MAX_UNPACKED,
            });
        }
        out.write_all(&chunk[..n]).map_err(&out_error)?;
    }
}

/// The highest compression ratio of deflate (zlib's technical notes).
const MOST_DEFLATED: u64 = 1032;

/// Returns the uncompressed size of a gzip file in bytes, from its trailer. Decompresses the file
/// if that is implausible: the trailer has the size of the last member only, modulo 4 GiB.
///
/// # Errors
/// The file cannot be read or decompressed.
pub(crate) fn gzip_len(slice: &Slice, origin: &str) -> Result<u64, ImageError> {
    let mut end = [0; 4];
    let from = slice.len().saturating_sub(end.len() as u64);
    slice
        .read_at(&mut end, from)
        .map_err(|error| files::read_error(origin, 0, error))?;
    let told = u64::from(u32::from_le_bytes(end));
    // Incompressible data grows by the headers of its blocks.
    let least = slice.len().saturating_sub(1024 + slice.len() / 256);
    if (least..=slice.len().saturating_mul(MOST_DEFLATED)).contains(&told) {
        return Ok(told);
    }
    let none = |source| ImageError::Output { source };
    copy_unpacked(slice, Encoding::Gzip, origin, &mut io::sink(), none)
}

pub(crate) fn unsupported(origin: &str, format: &'static str) -> ImageError {
    ImageError::Compression {
        origin: origin.to_owned(),
        format,
    }
}

/// Removes a compression that docker accepts for an archive but not for a layer: xz
/// (`docker save | xz`) and bzip2. Returns any other file unchanged.
pub(crate) fn without_xz(
    slice: &Slice,
    origin: &str,
    scratch: &ScratchDir,
) -> Result<Slice, ImageError> {
    let failed = |error| files::read_error(origin, 0, error);
    let packed = BufReader::with_capacity(CHUNK, slice.reader());
    let mut reader: Box<dyn Read> = match Format::of(&slice.start(SNIFF).map_err(failed)?) {
        Format::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED);
            let stream = stream.map_err(|error| failed(error.into()))?;
            Box::new(XzDecoder::new_stream(packed, stream))
        }
        Format::Bzip2 => Box::new(MultiBzDecoder::new(packed)),
        _ => return Ok(slice.clone()),
    };
    let mut file = scratch.file()?;
    let lost = |error| scratch.error(error);
    copy(&mut *reader, origin, &mut file, lost)?;
    Slice::whole(file).map_err(|error| scratch.error(error))
}

/// Bytes of memory that the xz decoder may use; level 9, the highest, needs 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

/// Decompresses into an unnamed scratch file.
pub(crate) fn to_scratch(
    slice: &Slice,
    encoding: Encoding,
    origin: &str,
    scratch: &ScratchDir,
) -> Result<Slice, ImageError> {
    let mut file = scratch.file()?;
    copy_unpacked(slice, encoding, origin, &mut file, |error| {
        scratch.error(error)
    })?;
    Slice::whole(file).map_err(|error| scratch.error(error))
}

#[cfg(test)]
mod xz_tests {
    use camino::Utf8PathBuf;

    use super::*;

    #[test]
    fn xz_and_bzip2_with_several_streams_are_unpacked() {
        let scratch = ScratchDir::new(Utf8PathBuf::try_from(std::env::temp_dir()).unwrap());
        let tar: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let (first, second) = tar.split_at(300_001);
        let xz = |bytes: &[u8]| {
            let mut out = liblzma::write::XzEncoder::new(vec![], 1);
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        };
        let bzip2 = |bytes: &[u8]| {
            let mut out = bzip2::write::BzEncoder::new(vec![], bzip2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        };
        let packed = [
            [xz(first), xz(second)].concat(),
            [bzip2(first), bzip2(second)].concat(),
        ];
        for packed in packed {
            let slice = |bytes: &[u8]| {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(bytes).unwrap();
                Slice::whole(file).unwrap()
            };
            let plain = without_xz(&slice(&packed), "x.tar", &scratch).unwrap();
            let mut read = vec![];
            plain.reader().read_to_end(&mut read).unwrap();
            assert!(read == tar);
            let half = &packed[..packed.len() / 3];
            assert!(without_xz(&slice(half), "x.tar", &scratch).is_err());
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&tar).unwrap();
        let plain = without_xz(&Slice::whole(file).unwrap(), "x.tar", &scratch).unwrap();
        assert_eq!(plain.len(), tar.len() as u64);
    }
}
