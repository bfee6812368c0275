//! Opens an archive file of any supported kind.

use camino::Utf8Path;

use super::compress::{self, Encoding, Format, SNIFF};
use super::contents::Contents;
use super::slice::Slice;
use super::tarindex::TarIndex;
use super::{ImageError, Platform, ScratchDir, docker, oci};

/// Opens the image `name` for `wanted` in the file at `path`.
pub(super) fn open(
    path: &Utf8Path,
    name: &str,
    wanted: &Platform,
    scratch: &ScratchDir,
) -> Result<Contents, ImageError> {
    let slice = open_file(path)?;
    read(&slice, path.as_str(), name, wanted, scratch)
}

/// Opens the image in `slice`, unpacking it into `scratch` if it is compressed as a whole.
pub(super) fn read(
    slice: &Slice,
    origin: &str,
    name: &str,
    wanted: &Platform,
    scratch: &ScratchDir,
) -> Result<Contents, ImageError> {
    let slice = match format(slice, origin)? {
        Encoding::Plain => slice.clone(),
        encoding => {
            let unpacked = compress::to_scratch(slice, encoding, origin, scratch)?;
            if format(&unpacked, origin)? != Encoding::Plain {
                return Err(not_an_image(
                    origin,
                    "a file compressed twice",
                    "unpack it once",
                ));
            }
            unpacked
        }
    };
    let index = TarIndex::read(slice, origin)?;
    if index.contains(docker::MANIFEST) {
        let docker = docker::read(&index, name, wanted);
        // An archive of several platforms lists only one in docker's document.
        return match docker {
            Err(ImageError::WrongPlatform { .. }) if index.contains(oci::LAYOUT) => {
                oci::read(&index, name, wanted).or(docker)
            }
            docker => docker,
        };
    }
    if index.contains(oci::LAYOUT) {
        return oci::read(&index, name, wanted);
    }
    Err(unrecognised(&index))
}

fn unrecognised(index: &TarIndex) -> ImageError {
    let origin = index.origin();
    if index.looks_like_a_file_system() {
        return not_an_image(
            origin,
            "the tar of a file system",
            "declare it as `rootfs = { file = \"…\", cmd = [\"…\"] }` instead of `archive`",
        );
    }
    if index.contains_below(oci::LAYOUT) || index.contains_below(docker::MANIFEST) {
        return not_an_image(
            origin,
            "a tar with an image in a directory",
            "pack the directory's content: `tar -C DIRECTORY -cf FILE .`",
        );
    }
    not_an_image(
        origin,
        "a tar without manifest.json and oci-layout",
        "make one with `docker save -o FILE IMAGE`",
    )
}

/// Opens a regular file for reading by position.
pub(super) fn open_file(path: &Utf8Path) -> Result<Slice, ImageError> {
    let unreadable = |source| ImageError::Unreadable {
        origin: path.to_string(),
        source,
    };
    let metadata = path.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(not_an_image(
            path.as_str(),
            "a directory",
            "pack an OCI layout with `tar -C DIRECTORY -cf FILE .` and name that file",
        ));
    }
    if !metadata.is_file() {
        // Opening a pipe would wait for a writer.
        return Err(not_an_image(
            path.as_str(),
            "not a regular file",
            "copy it to a file first",
        ));
    }
    std::fs::File::open(path)
        .and_then(Slice::whole)
        .map_err(unreadable)
}

/// How the whole file is compressed; an error for what is no tar.
pub(super) fn format(slice: &Slice, origin: &str) -> Result<Encoding, ImageError> {
    let start = slice
        .start(SNIFF)
        .map_err(|error| compress::read_error(origin, 0, error))?;
    match Format::of(&start) {
        Format::Tar => Ok(Encoding::Plain),
        Format::Gzip => Ok(Encoding::Gzip),
        Format::Zstd => Ok(Encoding::Zstd),
        Format::Foreign(format) => Err(ImageError::Compression {
            origin: origin.to_owned(),
            format,
        }),
        Format::Other(looks_like, remedy) => Err(not_an_image(origin, looks_like, remedy)),
    }
}

pub(super) fn not_an_image(
    origin: &str,
    looks_like: &'static str,
    remedy: &'static str,
) -> ImageError {
    ImageError::NotAnImage {
        origin: origin.to_owned(),
        looks_like,
        remedy,
    }
}
