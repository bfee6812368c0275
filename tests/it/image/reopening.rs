//! A file that is expensive to open is read again only when its bytes are needed.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use camino::Utf8PathBuf;
use o3r_deploy::internal::compression::Compression;
use o3r_deploy::internal::image::{
    Image, ImageSender, LayerCache, LayerSelection, Platform, Source,
};

use o3r_testing::archives::{Input, Tar, docker_old, sent};

/// Returns a gzip file.
fn dear(word: u8) -> Vec<u8> {
    let content = vec![word; 1 << 20];
    let layer = Tar::default().file("a", content).end();
    o3r_testing::archives::Packing::Gzip.pack(&docker_old("arm64", "app:1", &[layer]))
}

struct Case {
    _input: Input,
    path: Utf8PathBuf,
    cache: LayerCache,
}

impl Case {
    fn new() -> Self {
        let input = Input::new(&dear(b'x'));
        let path = input.path.clone();
        let cache = LayerCache::new(input.scratch().path().join("cache"));
        let case = Self {
            _input: input,
            path,
            cache,
        };
        case.settle();
        case
    }

    /// Sets the file's modification time to long ago, and waits: its change time cannot be set.
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
        Image::open_remembered(&source, "app:1", &platform, &self.cache).unwrap()
    }
}

#[test]
fn a_reopened_image_is_the_same_and_a_changed_file_is_seen() {
    let case = Case::new();
    let sent =
        |image: &Arc<Image>| sent(&ImageSender::new(Arc::clone(image)), &LayerSelection::All);
    let first = Arc::new(case.open());
    assert!(first.is_prepared());
    let again = Arc::new(case.open());
    assert!(!again.is_prepared(), "it was read again");
    assert_eq!(again.config_digest(), first.config_digest());
    assert_eq!(again.repo_tags(), first.repo_tags());
    assert!(sent(&again) == sent(&first));

    // With its layer in the cache, the file is not decompressed at all.
    let wanted = first.diff_ids().iter().copied().collect();
    let prepared = |image: &Arc<Image>| {
        let mut image = ImageSender::new(Arc::clone(image)).with_cache(&case.cache);
        let packing = Some(Compression::GZIP_FAST);
        image.prepare_layers(&wanted, packing, &|_| {}).unwrap();
        o3r_testing::archives::sent(&image, &LayerSelection::All)
    };
    let packed = prepared(&first);
    let cached = Arc::new(case.open());
    assert!(prepared(&cached) == packed);
    assert!(!cached.is_prepared());

    // Changed between being opened and being read.
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
