//! A file that is dear to open is read again only when its bytes are needed.

use std::time::{Duration, SystemTime};

use camino::Utf8PathBuf;
use o3r_deploy::internal::compression::Compression;
use o3r_deploy::internal::image::{
    Image, ImageIndex, LayerCache, LayerSelection, Platform, Source,
};

use o3r_testing::archives::{Input, Tar, docker_old, sent};

/// A gzip file.
fn dear(word: u8) -> Vec<u8> {
    let content = vec![word; 1 << 20];
    let layer = Tar::default().file("a", content).end();
    o3r_testing::archives::Packing::Gzip.pack(&docker_old("arm64", "app:1", &[layer]))
}

struct Case {
    input: Input,
    path: Utf8PathBuf,
    index: ImageIndex,
}

impl Case {
    fn new() -> Self {
        let input = Input::new(&dear(b'x'));
        let path = input.path.clone();
        let index = ImageIndex::new(input.scratch().path().join("index"));
        let case = Self { input, path, index };
        case.settle();
        case
    }

    /// As if it had been written long ago; no file can be made to have been changed then.
    fn settle(&self) {
        let long_ago = SystemTime::now() - Duration::from_secs(100);
        std::fs::File::options()
            .append(true)
            .open(&self.path)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        std::thread::sleep(Duration::from_millis(3100));
    }

    fn open(&self) -> Image {
        let platform = Platform::linux("arm64");
        let source = Source::Archive(self.path.clone());
        let scratch = self.input.scratch();
        Image::open_remembered(&source, "app:1", &platform, &scratch, &self.index).unwrap()
    }
}

#[test]
fn it_is_the_same_image_and_a_changed_file_is_seen() {
    let case = Case::new();
    let first = case.open();
    assert!(first.is_prepared());
    let again = case.open();
    assert!(!again.is_prepared(), "it was read again");
    assert_eq!(again.config_digest(), first.config_digest());
    assert_eq!(again.repo_tags(), first.repo_tags());
    assert!(sent(&again, &LayerSelection::All) == sent(&first, &LayerSelection::All));

    // With its layer in the cache, it is not unpacked at all.
    let cache = LayerCache::new(case.input.scratch().path().join("cache"));
    let wanted = first.layers().iter().map(|layer| layer.diff_id).collect();
    first
        .prepare_layers(&wanted, &cache, Some(Compression::GZIP_FAST), &|_| {})
        .unwrap();
    let cached = case.open();
    cached
        .prepare_layers(&wanted, &cache, Some(Compression::GZIP_FAST), &|_| {})
        .unwrap();
    assert!(sent(&cached, &LayerSelection::All) == sent(&first, &LayerSelection::All));
    assert!(!cached.is_prepared());

    // Changed between being looked into and being read.
    let stale = case.open();
    std::fs::write(&case.path, dear(b'y')).unwrap();
    let error = stale.prepare().unwrap_err();
    assert!(
        error.to_string().contains("the image's configuration"),
        "{error}"
    );
    let changed = case.open();
    assert!(changed.is_prepared());
    assert_ne!(changed.config_digest(), first.config_digest());
}
