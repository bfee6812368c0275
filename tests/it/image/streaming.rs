//! Large layers are compressed while they are sent.

use std::collections::BTreeSet;
use std::io::{self, Write};

use camino::Utf8PathBuf;
use o3r_deploy::internal::compression::Compression;
use o3r_deploy::internal::digest::Digest;
use o3r_deploy::internal::image::{
    ImageError, ImageSender, LayerCache, LayerSelection, Making, Manner,
};

use crate::image::cache::{Kept, noisy, unwrapped};
use o3r_testing::archives::{docker_old, layer, load, open, prose, sent};

const PACKINGS: [Option<Compression>; 4] = [
    Some(Compression::GZIP_FAST),
    Some(Compression::GZIP_SMALL),
    Some(Compression::ZSTD_FAST),
    Some(Compression::ZSTD_SMALL),
];

/// Returns a layer that is large enough to compress while sending, and one that does not compress.
fn large() -> Vec<Vec<u8>> {
    vec![
        layer("a", prose(18 << 20)),
        noisy("noise", 3_000_000),
        layer("b", "app"),
    ]
}

fn prepare(image: &mut ImageSender, packing: Option<Compression>, manner: Manner) {
    let all: BTreeSet<Digest> = image.layers().iter().map(|layer| layer.diff_id).collect();
    let making = Making {
        compression: packing,
        manner,
    };
    image.prepare_layers(&all, making, &|_| {}).unwrap();
}

/// Returns the number of compressed layers in the cache.
fn compressed(kept: &Kept) -> usize {
    let layers = kept.layers().into_iter();
    let form = |name: &str| Utf8PathBuf::from(name).extension().map(str::to_owned);
    layers
        .filter(|(name, _)| matches!(form(name).as_deref(), Some("gz" | "zst")))
        .count()
}

/// Returns what is sent while its length is unknown, and how that ended.
fn sending(image: &ImageSender) -> (Result<(), ImageError>, Vec<u8>) {
    let mut out = vec![];
    let ended = image.write_archive("app:staged", &LayerSelection::All, &mut out);
    (ended, out)
}

/// Returns what is sent completely.
fn written(image: &ImageSender) -> Vec<u8> {
    let (ended, out) = sending(image);
    ended.unwrap();
    out
}

#[test]
fn a_streamed_image_is_the_same_and_is_cached() {
    let layers = large();
    let archive = docker_old("arm64", "app:1", &layers);
    let plain = load(&sent(&open(&archive).unwrap(), &LayerSelection::All));
    for packing in PACKINGS {
        let kept = Kept::new();
        let mut image = kept.open(&archive);
        prepare(&mut image, packing, Manner::OnTheWay);
        assert!(!image.is_exact());
        assert_eq!(compressed(&kept), 0);
        let about = image.archive_len("app:staged", &LayerSelection::All);
        let bytes = written(&image);
        let len = bytes.len() as u64;
        assert!(about.abs_diff(len) < len / 3, "about {about}, {len}");
        assert_eq!(load(&unwrapped(packing, &bytes).unwrap()), plain);

        assert!(image.is_exact());
        assert_eq!(compressed(&kept), 2, "and one does not compress");
        assert!(sent(&image, &LayerSelection::All) == bytes, "{packing:?}");
        // What has arrived is a prefix of the next payload.
        let mut again = kept.open(&archive);
        prepare(&mut again, packing, Manner::Whole);
        assert!(again.is_exact());
        assert!(sent(&again, &LayerSelection::All) == bytes, "{packing:?}");
    }
}

#[test]
fn small_layers_are_compressed_before_sending() {
    let kept = Kept::new();
    let layers = [layer("a", "base ".repeat(50_000))];
    let mut image = kept.open(&docker_old("arm64", "app:1", &layers));
    prepare(&mut image, Some(Compression::GZIP_SMALL), Manner::OnTheWay);
    assert!(image.is_exact());
    assert_eq!(compressed(&kept), 1);
    sent(&image, &LayerSelection::All);
}

/// With exact sizes, layers are compressed beforehand.
#[test]
fn layers_can_be_compressed_before_sending_instead() {
    let kept = Kept::new();
    let mut image = kept.open(&docker_old("arm64", "app:1", &large()));
    prepare(&mut image, Some(Compression::GZIP_FAST), Manner::OnTheWay);
    assert!(!image.is_exact());
    prepare(&mut image, Some(Compression::GZIP_FAST), Manner::Layers);
    assert!(image.is_exact());
    load(&sent(&image, &LayerSelection::All));
}

#[test]
fn a_corrupt_layer_leaves_what_cannot_be_unpacked() {
    let layers = large();
    let archive = docker_old("arm64", "app:1", &layers);
    let place = archive
        .windows(64)
        .position(|window| window == &layers[0][600..664])
        .unwrap();
    let mut damaged = archive;
    damaged[place + 5_000_000] ^= 1;
    for packing in PACKINGS {
        let kept = Kept::new();
        let mut image = kept.open(&damaged);
        prepare(&mut image, packing, Manner::OnTheWay);
        let (ended, out) = sending(&image);
        let error = ended.unwrap_err();
        assert!(
            matches!(error, ImageError::DigestMismatch { .. }),
            "{error:?}"
        );
        assert!(unwrapped(packing, &out).is_err());
        assert_eq!(compressed(&kept), 0);
    }
}

/// A layer that was stored uncompressed, and has changed.
#[test]
fn a_corrupt_layer_of_the_cache_is_fetched_again() {
    let layers = large();
    let archive = docker_old("arm64", "app:1", &layers);
    let kept = Kept::new();
    let dir = kept.dir.path().join("layers");
    fs_err::create_dir(&dir).unwrap();
    let hex = Digest::of(&layers[0]).hex();
    let name = format!("{hex}.{hex}.{}.plain.tar", layers[0].len());
    let mut bytes = layers[0].clone();
    bytes[5_000_000] ^= 1;
    fs_err::write(dir.join(name), bytes).unwrap();
    let mut image = kept.open(&archive);
    prepare(&mut image, Some(Compression::GZIP_FAST), Manner::OnTheWay);
    let error = sending(&image).0.unwrap_err();
    let ImageError::DamagedCache { layer } = error else {
        panic!("{error:?}");
    };
    image.forget(layer);
    prepare(&mut image, Some(Compression::GZIP_FAST), Manner::OnTheWay);
    let bytes = written(&image);
    let plain = load(&sent(&open(&archive).unwrap(), &LayerSelection::All));
    assert_eq!(
        load(&unwrapped(Some(Compression::GZIP_FAST), &bytes).unwrap()),
        plain
    );
}

#[test]
fn a_read_only_cache_does_not_prevent_sending() {
    let archive = docker_old("arm64", "app:1", &large());
    let kept = Kept::new();
    let file = kept.dir.path().join("a file");
    fs_err::write(&file, "").unwrap();
    let cache = LayerCache::new(Utf8PathBuf::from_path_buf(file).unwrap());
    let mut image = open(&archive).unwrap().with_cache(&cache);
    prepare(&mut image, Some(Compression::GZIP_FAST), Manner::OnTheWay);
    let first = written(&image);
    let plain = load(&sent(&open(&archive).unwrap(), &LayerSelection::All));
    assert_eq!(
        load(&unwrapped(Some(Compression::GZIP_FAST), &first).unwrap()),
        plain
    );
    assert!(written(&image) == first, "and again");
}

/// A writer that accepts a number of bytes.
struct Cut(usize);

impl Write for Cut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_broken_link_ends_sending_which_can_be_repeated() {
    let archive = docker_old("arm64", "app:1", &large());
    let kept = Kept::new();
    let mut image = kept.open(&archive);
    for taken in [0, 3000, 100_000, 1_000_000] {
        prepare(&mut image, Some(Compression::GZIP_FAST), Manner::OnTheWay);
        let cut = image.write_archive("app:staged", &LayerSelection::All, &mut Cut(taken));
        assert!(matches!(cut, Err(ImageError::Output { .. })), "{cut:?}");
        assert_eq!(compressed(&kept), 0, "half a layer is none");
    }
    prepare(&mut image, Some(Compression::GZIP_FAST), Manner::OnTheWay);
    let bytes = written(&image);
    unwrapped(Some(Compression::GZIP_FAST), &bytes).unwrap();
}
