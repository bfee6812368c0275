//! Builds the commands that load, name and untag images.

use crate::{offers::Reach, shell::Argv};

/// A script that loads an image and syncs it.
macro_rules! loading {
    ($script:literal) => {
        concat!(include_str!("flush-images.sh"), include_str!($script))
    };
}

/// Loads the image archive on stdin.
pub fn load_image() -> Argv {
    Argv::script(loading!("load-image.sh"), "o3r-load-image", None::<&str>)
}

/// Builds an image in `directory` from the files of the image `base` (an id) and the compressed tar on stdin, and loads
/// it.
pub fn load_delta(directory: &str, base: &str, reach: Reach) -> Argv {
    let script = loading!("load-delta.sh");
    Argv::script(script, "o3r-load-delta", [directory, base, word(reach)])
}

/// Compares the files of an image with the compressed list of digests on stdin, with working files in `directory`. With
/// `begin`, reports them in lines that begin with it; otherwise fails if some are damaged.
pub fn verify_image(image: &str, reach: Reach, directory: &str, begin: Option<&str>) -> Argv {
    let script = include_str!("verify-image.sh");
    let words = [image, word(reach), directory];
    Argv::script(script, "o3r-verify-image", words).args(begin)
}

/// Replaces files of a layer by those of the tar on stdin; `from_top` is the layer's number in `image`, 0 for the
/// uppermost one.
pub fn repair_layer(image: &str, from_top: usize) -> Argv {
    let number = from_top.to_string();
    Argv::script(
        loading!("repair-layer.sh"),
        "o3r-repair-layer",
        [image, &number],
    )
}

/// Removes the image `name` and loads it from the archive on stdin; `zstd`: compressed so.
pub fn load_again(name: &str, zstd: bool) -> Argv {
    let script = loading!("load-again.sh");
    let codec = zstd.then_some("zstd");
    Argv::script(script, "o3r-load-again", [name]).args(codec)
}

/// Removes the note of loads that a power cut interrupted.
pub fn trust_images() -> Argv {
    let script = include_str!("trust-images.sh");
    Argv::script(script, "o3r-trust-images", None::<&str>)
}

fn word(reach: Reach) -> &'static str {
    match reach {
        Reach::Inside => "inside",
        Reach::Outside => "outside",
    }
}

/// Appends stdin to the file at `path`, which has `have` of the `bytes` of a part of an image; `bytes` may be unknown.
pub fn receive_part(path: &str, have: u64, bytes: Option<u64>) -> Argv {
    let have = have.to_string();
    let bytes = bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
    Argv::script(
        include_str!("receive-part.sh"),
        "o3r-receive-part",
        [path, &have, &bytes],
    )
}

/// Loads the image archive in the file at `path`, then removes the file.
pub fn load_part(path: &str) -> Argv {
    Argv::script(loading!("load-part.sh"), "o3r-load-part", [path])
}

/// Loads the image archive on stdin, or in the file at `path`, which is compressed with zstd.
pub fn load_zstd(path: Option<&str>) -> Argv {
    Argv::script(loading!("load-zstd.sh"), "o3r-load-zstd", path)
}

/// Removes images by ID with all of their names; missing ones are no error.
pub fn remove_images<'a>(ids: impl IntoIterator<Item = &'a str>) -> Argv {
    Argv::script(include_str!("remove-images.sh"), "o3r-remove-images", ids)
}

/// Untags parts of images; missing names are no error.
pub fn forget_parts<'a>(names: impl IntoIterator<Item = &'a str>) -> Argv {
    Argv::script(include_str!("forget-parts.sh"), "o3r-forget-parts", names)
}

/// Gives an image (by id or name) a name.
pub fn tag_image(image: &str, name: &str) -> Argv {
    Argv::new("docker").args(["image", "tag", image, name])
}

/// Removes a name from its image, if it has it; the image stays while it has another name.
pub fn untag_image(name: &str) -> Argv {
    Argv::script(include_str!("untag-image.sh"), "o3r-untag-image", [name])
}
