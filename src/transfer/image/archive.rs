//! Opens archive files of every supported kind.

use camino::Utf8Path;

use super::{docker, oci};
use crate::compress::{Encoding, Format, SNIFF};
use crate::error::ImageError;
use crate::files::{ScratchDir, Slice};
use crate::image::contents::Contents;
use crate::load_archive::MANIFEST;
use crate::platform::Platform;
use crate::tarball::TarIndex;
use crate::{compress, files};

/// Opens the image `name` for `wanted` from the file at `path`.
pub(crate) fn open(
    path: &Utf8Path,
    name: &str,
    wanted: &Platform,
    scratch: &ScratchDir,
) -> Result<Contents, ImageError> {
    let slice = open_file(path)?;
    read(&slice, path.as_str(), name, wanted, scratch)
}

/// Opens the image in `slice`; unpacks it into `scratch` if it is compressed as a whole.
pub(crate) fn read(
    slice: &Slice,
    origin: &str,
    name: &str,
    wanted: &Platform,
    scratch: &ScratchDir,
) -> Result<Contents, ImageError> {
    let slice = compress::without_xz(slice, origin, scratch)?;
    let slice = match format(&slice, origin)? {
        Encoding::Plain => slice,
        encoding => {
            let unpacked = compress::to_scratch(&slice, encoding, origin, scratch)?;
            if format(&unpacked, origin)? != Encoding::Plain {
                return Err(not_an_image(
                    origin,
                    "a file compressed twice",
                    Some("unpack it once"),
                ));
            }
            unpacked
        }
    };
    let index = TarIndex::read(slice, origin, scratch)?;
    let has_layout = index.contains(oci::LAYOUT);
    let items = if index.contains(MANIFEST) {
        docker::items(&index)
    } else {
        Ok(vec![])
    };
    match items {
        Ok(items) if !items.is_empty() && has_layout => both(&index, &items, name, wanted),
        Ok(items) if !items.is_empty() => docker::read(&index, &items, name, wanted),
        // Docker's document is empty if none of the images is for the writer's platform.
        _ if has_layout => oci::read(&index, name, wanted),
        Ok(_) => Err(unrecognised(&index)),
        Err(error) => Err(error),
    }
}

/// Opens the image from an archive with both documents. Docker's may list fewer images, and only
/// one platform of a multi-platform image.
fn both(
    index: &TarIndex,
    items: &[docker::Item],
    name: &str,
    wanted: &Platform,
) -> Result<Contents, ImageError> {
    let from_docker = docker::read(index, items, name, wanted);
    if docker::names(items, name) {
        return match from_docker {
            Err(ImageError::WrongPlatform { .. }) => oci::read(index, name, wanted).or(from_docker),
            from_docker => from_docker,
        };
    }
    match (oci::read(index, name, wanted), from_docker) {
        (Ok(found), _) if found.is_named(name) => Ok(found),
        (
            Err(
                error @ (ImageError::Several { .. }
                | ImageError::Ambiguous { .. }
                | ImageError::WrongPlatform { .. }),
            ),
            Ok(_),
        ) => Err(error),
        (Ok(found), Err(ImageError::WrongPlatform { .. })) => Ok(found),
        (_, from_docker) => from_docker,
    }
}

fn unrecognised(index: &TarIndex) -> ImageError {
    let origin = index.origin();
    if index.looks_like_a_file_system() {
        return not_an_image(
            origin,
            "the tar of a file system",
            Some("declare it as `rootfs = { file = \"…\", cmd = [\"…\"] }` instead of `archive`"),
        );
    }
    if index.contains_below(oci::LAYOUT) || index.contains_below(MANIFEST) {
        return not_an_image(
            origin,
            "a tar with an image in a directory",
            Some("pack the directory's content: `tar -C DIRECTORY -cf FILE .`"),
        );
    }
    if index.contains(MANIFEST) {
        return not_an_image(
            origin,
            "a tar whose manifest.json lists no image",
            Some(
                "save the image by its name: `docker save -o FILE NAME:TAG`; the tar of a file system is \
                 declared as `rootfs`",
            ),
        );
    }
    not_an_image(origin, "a tar without manifest.json and oci-layout", None)
}

/// Opens a regular file.
#[expect(clippy::disallowed_methods, reason = "the error names the file")]
pub(crate) fn open_file(path: &Utf8Path) -> Result<Slice, ImageError> {
    let unreadable = |source| ImageError::Unreadable {
        origin: path.to_string(),
        source,
    };
    let metadata = path.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(not_an_image(
            path.as_str(),
            "a directory",
            Some("pack an OCI layout with `tar -C DIRECTORY -cf FILE .` and name that file"),
        ));
    }
    if !metadata.is_file() {
        // Opening a pipe would wait for a writer.
        return Err(not_an_image(
            path.as_str(),
            "not a regular file",
            Some("copy it to a file first"),
        ));
    }
    std::fs::File::open(path)
        .and_then(Slice::whole)
        .map_err(unreadable)
}

/// Whether the whole file is compressed in a supported format.
pub(crate) fn is_compressed(slice: &Slice) -> bool {
    let format = slice.start(SNIFF).map(|start| Format::of(&start));
    matches!(
        format,
        Ok(Format::Gzip | Format::Zstd | Format::Xz | Format::Bzip2)
    )
}

/// Returns how the whole file is compressed; an error if it is not a tar.
pub(crate) fn format(slice: &Slice, origin: &str) -> Result<Encoding, ImageError> {
    let start = slice
        .start(SNIFF)
        .map_err(|error| files::read_error(origin, 0, error))?;
    match Format::of(&start) {
        Format::Tar => Ok(Encoding::Plain),
        Format::Gzip => Ok(Encoding::Gzip),
        Format::Zstd => Ok(Encoding::Zstd),
        Format::Xz => Err(compress::unsupported(origin, "xz")),
        Format::Bzip2 => Err(compress::unsupported(origin, "bzip2")),
        Format::Foreign(format) => Err(compress::unsupported(origin, format)),
        Format::Other(looks_like, remedy) => Err(not_an_image(origin, looks_like, remedy)),
    }
}

pub(crate) fn not_an_image(
    origin: &str,
    looks_like: &'static str,
    remedy: Option<&'static str>,
) -> ImageError {
    ImageError::NotAnImage {
        origin: origin.to_owned(),
        looks_like,
        remedy,
    }
}
