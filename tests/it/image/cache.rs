//! Layers are compressed once, kept, and checked when they are used again.

use std::collections::BTreeSet;
use std::io::Read as _;

use camino::Utf8PathBuf;
use o3r_deploy::internal::compression::Compression;
use o3r_deploy::internal::digest::Digest;
use o3r_deploy::internal::image::{
    ImageError, ImageSender, LayerCache, LayerSelection, LayerSpan, Making, Manner, Work,
    WorkProgress,
};
use o3r_deploy::internal::offers::Part;

use o3r_testing::archives::{Input, Packing, Tar, docker_old, layer, load, noise, oci, open, sent};

/// A cache in a directory of its own.
pub(crate) struct Kept {
    pub(crate) dir: tempfile::TempDir,
}

impl Kept {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn cache(&self) -> LayerCache {
        LayerCache::new(Utf8PathBuf::from_path_buf(self.dir.path().to_owned()).unwrap())
    }

    /// Opens an image archive whose layers are kept in this cache.
    pub(crate) fn open(&self, archive: &[u8]) -> ImageSender {
        open(archive).unwrap().with_cache(&self.cache())
    }

    /// Returns the file names and contents of the layers.
    pub(crate) fn layers(&self) -> Vec<(String, Vec<u8>)> {
        let Ok(entries) = self.dir.path().join("layers").read_dir() else {
            return vec![];
        };
        let entries = entries.map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries
            .map(|path| {
                (
                    path.file_name().unwrap().to_str().unwrap().to_owned(),
                    std::fs::read(path).unwrap(),
                )
            })
            .collect();
        files.sort();
        files
    }

    fn damage(&self, name: &str) {
        let path = self.dir.path().join("layers").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
}

/// Prepares all layers; returns those that were compressed.
fn prepare(image: &mut ImageSender) -> Vec<Digest> {
    let all: BTreeSet<Digest> = image.layers().iter().map(|layer| layer.diff_id).collect();
    let compressed = std::sync::Mutex::new(vec![]);
    let progress = |prepared: WorkProgress| {
        if let (Work::Compressing(layer), true) = (prepared.work, prepared.done == prepared.total) {
            compressed.lock().unwrap().push(layer);
        }
    };
    image
        .prepare_layers(&all, Some(Compression::GZIP_FAST), &progress)
        .unwrap();
    compressed.into_inner().unwrap()
}

/// Returns a layer that does not compress.
pub(crate) fn noisy(name: &str, len: usize) -> Vec<u8> {
    Tar::default().file(name, noise(1, len)).end()
}

fn text() -> Vec<Vec<u8>> {
    vec![
        layer("a", "base ".repeat(50_000)),
        layer("b", "app ".repeat(1000)),
    ]
}

#[test]
fn an_image_sent_from_the_cache_is_the_same() {
    let kept = Kept::new();
    let archive = docker_old("arm64", "app:1", &text());
    let plain = open(&archive).unwrap();
    let mut image = kept.open(&archive);
    let ids: Vec<Digest> = image.layers().iter().map(|layer| layer.diff_id).collect();
    let unpacked = || {
        let each = ids.iter().map(|id| kept.cache().unpacked(*id));
        each.sum::<Option<u64>>()
    };
    assert_eq!(unpacked(), None);
    assert_eq!(prepare(&mut image).len(), 2);
    let layers: usize = text().iter().map(Vec::len).sum();
    assert_eq!(unpacked(), Some(layers as u64));
    let (sent_plain, sent_packed) = (
        sent(&plain, &LayerSelection::All),
        sent(&image, &LayerSelection::All),
    );
    assert!(
        sent_packed.len() * 20 < sent_plain.len(),
        "{}",
        sent_packed.len()
    );
    let (mut one, mut other) = (load(&sent_plain), load(&sent_packed));
    one.members.sort();
    other.members.sort();
    assert_eq!(one, other);
}

#[test]
fn the_cache_is_marked_for_programs_that_make_backups() {
    let kept = Kept::new();
    let mut image = kept.open(&docker_old("arm64", "app:1", &text()));
    prepare(&mut image);
    let tag = std::fs::read_to_string(kept.dir.path().join("CACHEDIR.TAG")).unwrap();
    assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55"));
}

#[test]
fn a_fast_link_gets_a_files_layers_uncompressed() {
    let kept = Kept::new();
    let archive = docker_old("arm64", "app:1", &text());
    let mut image = kept.open(&archive);
    let all: BTreeSet<Digest> = text().iter().map(Digest::of).collect();
    image
        .prepare_layers(&all, None, &|_| panic!("nothing is compressed"))
        .unwrap();
    assert_eq!(kept.layers(), [], "the file is there already");
    let plain = open(&archive).unwrap();
    assert_eq!(
        sent(&image, &LayerSelection::All),
        sent(&plain, &LayerSelection::All)
    );
    // Although the cache has a compressed one for a slower link.
    prepare(&mut kept.open(&archive));
    let mut again = kept.open(&archive);
    again.prepare_layers(&all, None, &|_| {}).unwrap();
    assert_eq!(
        sent(&again, &LayerSelection::All),
        sent(&plain, &LayerSelection::All)
    );
}

#[test]
fn a_slow_link_gets_smaller_layers() {
    let kept = Kept::new();
    let words: Vec<String> = (0..40_000_u64)
        .map(|n| (n * n % 9973).to_string())
        .collect();
    let words = words.join(" ");
    let layers = [layer("a", &words)];
    let archive = docker_old("arm64", "app:1", &layers);
    let all: BTreeSet<Digest> = layers.iter().map(Digest::of).collect();
    let len = |packing| {
        let mut image = kept.open(&archive);
        image.prepare_layers(&all, packing, &|_| {}).unwrap();
        sent(&image, &LayerSelection::All).len()
    };
    let fast = len(Some(Compression::GZIP_FAST));
    let small = len(Some(Compression::GZIP_SMALL));
    assert!(small < fast, "{small} of {fast}");
    assert_eq!(
        len(Some(Compression::GZIP_FAST)),
        small,
        "a smaller one that is there serves"
    );
    assert_eq!(kept.layers().len(), 2);
}

/// gunzip or zstd restore the archive that is sent without compression.
#[test]
fn an_archive_is_compressed_as_a_whole() {
    let mut layers = text();
    layers.push(noisy("noise", 300_000));
    for archive in [
        docker_old("arm64", "app:1", &layers),
        oci("arm64", &layers, Packing::Gzip),
        oci("arm64", &layers, Packing::Zstd),
    ] {
        let kept = Kept::new();
        let plain = open(&archive).unwrap();
        let plain = load(&sent(&plain, &LayerSelection::All));
        for packing in [
            Some(Compression::GZIP_FAST),
            Some(Compression::GZIP_SMALL),
            Some(Compression::ZSTD_FAST),
            Some(Compression::ZSTD_SMALL),
        ] {
            let mut image = kept.open(&archive);
            let all = image.layers().iter().map(|layer| layer.diff_id).collect();
            let making = Making {
                compression: packing,
                manner: Manner::Whole,
            };
            image.prepare_layers(&all, making, &|_| {}).unwrap();
            assert!(image.is_exact());
            let bytes = sent(&image, &LayerSelection::All);
            assert!(bytes.len() < 400_000, "{}", bytes.len());
            assert_eq!(
                load(&unwrapped(packing, &bytes).unwrap()).layers,
                plain.layers
            );
            for part in [1, 2, 3] {
                let part = Part {
                    up_to: part,
                    layers: [Digest::of(&layers[part - 1])].into(),
                };
                let mut bytes = vec![];
                image.write_part("app:1", &part, &mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, image.part_len("app:1", &part));
                unwrapped(packing, &bytes).unwrap();
            }
        }
    }
}

/// Decompresses as the VPU does.
pub(crate) fn unwrapped(packing: Option<Compression>, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    if packing
        .is_some_and(|packing| packing.codec == o3r_deploy::internal::compression::Codec::Zstd)
    {
        return zstd::decode_all(bytes);
    }
    let mut unwrapped = vec![];
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut unwrapped)?;
    Ok(unwrapped)
}

#[test]
fn a_damaged_layer_ends_an_archive_for_zstd() {
    let layers = text();
    let archive = docker_old("arm64", "app:1", &layers);
    let kept = Kept::new();
    let prepared = || {
        let mut image = kept.open(&archive);
        let all = image.layers().iter().map(|layer| layer.diff_id).collect();
        image
            .prepare_layers(&all, Some(Compression::ZSTD_FAST), &|_| {})
            .unwrap();
        image
    };
    prepared();
    kept.layers().iter().for_each(|(name, _)| kept.damage(name));
    let image = prepared();
    let error = image.write_archive("app:1", &LayerSelection::All, &mut vec![]);
    assert!(
        matches!(error, Err(ImageError::DamagedCache { .. })),
        "{error:?}"
    );
}

/// Progress is told where each layer is in the payload.
#[test]
fn layers_are_at_their_reported_positions() {
    let mut layers = text();
    layers.push(noisy("noise", 300_000));
    let archive = docker_old("arm64", "app:1", &layers);
    let sizes = layers.iter().map(|layer| Some(layer.len() as u64));
    let sizes: Vec<_> = sizes.collect();
    let all: BTreeSet<Digest> = layers.iter().map(Digest::of).collect();
    for packing in [
        None,
        Some(Compression::GZIP_SMALL),
        Some(Compression::ZSTD_SMALL),
    ] {
        let kept = Kept::new();
        let mut image = kept.open(&archive);
        image.prepare_layers(&all, packing, &|_| {}).unwrap();
        let is_there = |bytes: &[u8], spans: &[LayerSpan]| {
            for span in spans {
                let range = usize::try_from(span.bytes.start).unwrap()
                    ..usize::try_from(span.bytes.end).unwrap();
                let stored = &bytes[range];
                let form = match stored {
                    [0x1f, 0x8b, ..] => Packing::Gzip,
                    _ if packing == Some(Compression::ZSTD_SMALL) => Packing::Zstd,
                    _ => Packing::Plain,
                };
                let unpacked = form.unpack(stored);
                assert!(unpacked == layers[span.number - 1], "{packing:?} {span:?}");
                assert_eq!(span.unpacked, sizes[span.number - 1]);
                assert_eq!(span.of, 3);
            }
        };
        let spans = image.archive_layers("app:1", &LayerSelection::All);
        assert_eq!(spans.len(), 3);
        is_there(&sent(&image, &LayerSelection::All), &spans);
        let part = Part {
            up_to: 2,
            layers: [Digest::of(&layers[1])].into(),
        };
        let mut bytes = vec![];
        image.write_part("app:1", &part, &mut bytes).unwrap();
        let spans = image.part_layers("app:1", &part);
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].number, 2);
        is_there(&bytes, &spans);
    }
}

#[test]
fn the_next_release_compresses_only_its_own_layer() {
    let kept = Kept::new();
    let mut image = kept.open(&docker_old("arm64", "app:1", &text()));
    prepare(&mut image);
    let mut layers = text();
    layers[1] = layer("b", "another");
    let mut next = kept.open(&docker_old("arm64", "app:2", &layers));
    assert_eq!(prepare(&mut next), [Digest::of(&layers[1])]);
    assert_eq!(prepare(&mut next), [], "ready already");
    let mut again = kept.open(&docker_old("arm64", "app:2", &layers));
    assert_eq!(prepare(&mut again), []);
    assert_eq!(
        sent(&again, &LayerSelection::All),
        sent(&next, &LayerSelection::All)
    );
}

#[test]
fn a_corrupt_layer_is_compressed_again() {
    let kept = Kept::new();
    let archive = docker_old("arm64", "app:1", &text());
    prepare(&mut kept.open(&archive));
    let before = kept.layers();
    for (name, _) in &before {
        kept.damage(name);
    }
    let mut image = kept.open(&archive);
    for made in [0, 1] {
        assert_eq!(prepare(&mut image).len(), made);
        let mut out = vec![];
        let error = image.write_archive("app:1", &LayerSelection::All, &mut out);
        let Err(ImageError::DamagedCache { layer }) = error else {
            panic!("{error:?}");
        };
        image.forget(layer);
        assert_eq!(kept.layers().len(), 1, "it is removed");
    }
    assert_eq!(prepare(&mut image).len(), 1);
    assert_eq!(kept.layers(), before);
    load(&sent(&image, &LayerSelection::All));
}

#[test]
fn foreign_files_in_the_cache_are_ignored() {
    let kept = Kept::new();
    let layers = kept.dir.path().join("layers");
    std::fs::create_dir_all(&layers).unwrap();
    let hex = Digest::of(&text()[0]).hex();
    for name in [
        format!("{hex}.gz"),
        format!("{hex}.x.1.gz"),
        format!("{hex}."),
        format!("{hex}.{hex}.9.zip"),
    ] {
        std::fs::write(layers.join(name), "x").unwrap();
    }
    std::fs::create_dir(layers.join(format!("{hex}.{hex}.5.gz"))).unwrap();
    let mut image = kept.open(&docker_old("arm64", "app:1", &text()));
    assert_eq!(prepare(&mut image).len(), 2);
}

#[test]
fn what_does_not_compress_is_sent_uncompressed() {
    let kept = Kept::new();
    let layers = vec![noisy("noise", 300_000)];
    let mut image = kept.open(&docker_old("arm64", "app:1", &layers));
    prepare(&mut image);
    let names: Vec<String> = kept.layers().into_iter().map(|(name, _)| name).collect();
    let ending = names[0].rsplit('.').next();
    assert_eq!(ending, Some("tar"), "{names:?}");
    assert_eq!(
        load(&sent(&image, &LayerSelection::All)).layers,
        [Some(Digest::of(&layers[0]))]
    );
}

#[test]
fn gzip_layers_of_the_source_are_sent_unchanged() {
    let kept = Kept::new();
    let mut image = kept.open(&oci("arm64", &text(), Packing::Gzip));
    prepare(&mut image);
    assert_eq!(kept.layers(), []);
    let mut image = kept.open(&oci("arm64", &text(), Packing::Zstd));
    assert_eq!(prepare(&mut image).len(), 2, "docker takes no zstd layer");
}

#[test]
fn a_read_only_cache_does_not_stop_an_apply() {
    let kept = Kept::new();
    std::fs::write(kept.dir.path().join("layers"), "a file").unwrap();
    let mut image = kept.open(&docker_old("arm64", "app:1", &text()));
    assert_eq!(prepare(&mut image), []);
    load(&sent(&image, &LayerSelection::All));
}

#[test]
fn a_source_with_a_wrong_digest_is_an_error() {
    let kept = Kept::new();
    let archive = docker_old("arm64", "app:1", &text());
    let at = archive
        .windows(8)
        .position(|bytes| bytes == b"app app ")
        .unwrap();
    let mut damaged = archive.clone();
    damaged[at] = b'A';
    let input = Input::new(&damaged);
    let opened = input.open_as("app:1", "arm64").unwrap();
    let mut image = opened.with_cache(&kept.cache());
    let all = image.layers().iter().map(|layer| layer.diff_id).collect();
    let error = image
        .prepare_layers(&all, Some(Compression::GZIP_SMALL), &|_| {})
        .unwrap_err();
    assert!(input.error(&error).contains("has the digest"), "{error}");
    let names: Vec<String> = kept.layers().into_iter().map(|(name, _)| name).collect();
    assert!(
        names
            .iter()
            .all(|name| !name.starts_with(&Digest::of(&text()[1]).hex())),
        "{names:?}"
    );
}

#[test]
fn the_oldest_layers_are_removed_when_the_cache_is_full() {
    let kept = Kept::new();
    let cache = kept.cache().with_limit(25_000);
    for len in [9_001, 9_002, 9_003] {
        let layers = [noisy("a", 10_000), noisy("b", len)];
        let image = open(&docker_old("arm64", "app:1", &layers)).unwrap();
        prepare(&mut image.with_cache(&cache));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let total: usize = kept.layers().iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(total <= 25_000, "{total}");
    let base = Digest::of(noisy("a", 10_000)).hex();
    let is_base = |(name, _): &(String, Vec<u8>)| name.starts_with(&base);
    assert!(
        kept.layers().iter().any(is_base),
        "the one that is used stays"
    );
}

#[test]
fn two_processes_share_the_cache() {
    let kept = Kept::new();
    let archive = docker_old("arm64", "app:1", &text());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut image = kept.open(&archive);
                prepare(&mut image);
                load(&sent(&image, &LayerSelection::All));
            });
        }
    });
    assert_eq!(kept.layers().len(), 2);
}
