//! Two releases of an image, and the rebuilding of the new one from the old one and a delta.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io::Read as _,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Command, Stdio},
};

use camino::Utf8PathBuf;
use o3r_deploy::internal::compression::Compression;
use o3r_deploy::internal::{
    digest::Digest,
    image::{ImageSender, LayerCache, LayerSelection},
    offers::{Base, DeltaOffer, Grain, Reach},
};

use super::layer::{Member, lay, tar};
use o3r_testing::archives::{Packing, docker_old, oci, open};

/// Two releases, the cache of the machine that deploys them, and a VPU that has the older one.
pub(super) struct Releases {
    pub(super) dir: tempfile::TempDir,
    old: Vec<Vec<Member>>,
    old_ids: Vec<Digest>,
    new: Vec<Vec<u8>>,
}

pub(super) const GRAIN: Grain = Grain {
    file: 4096,
    range: 2048,
};

impl Releases {
    /// Creates releases: the new one has the first `shared` layers of the old one, and these.
    pub(super) fn new(old: &[Vec<Member>], shared: usize, new: &[Vec<u8>]) -> Self {
        let tars: Vec<Vec<u8>> = old.iter().map(|members| tar(members)).collect();
        let this = Self {
            dir: tempfile::tempdir().unwrap(),
            old: old.to_vec(),
            old_ids: tars.iter().map(Digest::of).collect(),
            new: tars[..shared].iter().chain(new).cloned().collect(),
        };
        let mut old = this.open(&docker_old("arm64", "app:1", &tars));
        Self::prepare(&mut old, &this.old_ids.iter().copied().collect());
        this
    }

    pub(super) fn cache(&self) -> LayerCache {
        LayerCache::new(Utf8PathBuf::from_path_buf(self.dir.path().join("cache")).unwrap())
    }

    pub(super) fn open(&self, archive: &[u8]) -> ImageSender {
        open(archive).unwrap().with_cache(&self.cache())
    }

    pub(super) fn prepare(image: &mut ImageSender, layers: &BTreeSet<Digest>) {
        let packing = Some(Compression::GZIP_FAST);
        image.prepare_layers(layers, packing, &|_| {}).unwrap();
    }

    pub(super) fn base(&self) -> Base {
        Base {
            id: "sha256:old".to_owned(),
            layers: self.old_ids.clone(),
        }
    }

    /// The same, except that the old image came in an OCI archive with layers packed like this, and
    /// was sent without being packed on this machine; that archive no longer exists.
    pub(super) fn of_packed(
        packing: Packing,
        old: &[Vec<Member>],
        shared: usize,
        new: &[Vec<u8>],
    ) -> Self {
        let this = Self::new(old, shared, new);
        std::fs::remove_dir_all(this.dir.path().join("cache")).unwrap();
        let tars: Vec<Vec<u8>> = old.iter().map(|members| tar(members)).collect();
        let cache = this.cache();
        let mut old = open(&oci("arm64", &tars, packing))
            .unwrap()
            .with_cache(&cache);
        old.prepare_layers(
            &this.old_ids.iter().copied().collect(),
            Some(Compression::ZSTD_FAST),
            &|_| {},
        )
        .unwrap();
        sent_as_it_is(&old);
        cache.finish();
        this
    }

    /// Returns what would be sent.
    pub(super) fn delta(&self) -> Option<(DeltaOffer, Vec<u8>)> {
        let mut image = self.open(&docker_old("arm64", "app:1", &self.new));
        let missing = self.missing();
        Self::prepare(&mut image, &missing);
        let offer = image
            .prepare_delta(&missing, &[self.base()], "app:staged", GRAIN)
            .unwrap()?;
        let mut bytes = vec![];
        image.write_delta(offer.sha256, &mut bytes).unwrap();
        assert_eq!(Digest::of(&bytes), offer.sha256);
        assert_eq!(bytes.len() as u64, offer.bytes);
        Some((offer, bytes))
    }

    pub(super) fn missing(&self) -> BTreeSet<Digest> {
        let ids = self.new.iter().map(Digest::of);
        let there = |(number, id): &(usize, Digest)| self.old_ids.get(*number) == Some(id);
        let missing = ids.enumerate().skip_while(there);
        missing.map(|(_, id)| id).collect()
    }

    /// Runs the delta with every shell, and checks that the
    /// result is the missing layers, byte for byte.
    pub(super) fn rebuild(&self, offer: &DeltaOffer, delta: &[u8]) {
        let root = tempfile::tempdir().unwrap();
        let work = root.path().join(".o3r");
        std::fs::create_dir(&work).unwrap();
        let gunzip = flate2::read::MultiGzDecoder::new(delta);
        tar::Archive::new(gunzip).unpack(&work).unwrap();
        match offer.reach {
            Reach::Inside => self.old.iter().for_each(|layer| lay(root.path(), layer)),
            Reach::Outside => {
                let all = tempfile::tempdir().unwrap();
                self.old.iter().for_each(|layer| lay(all.path(), layer));
                for name in std::fs::read_to_string(work.join("names")).unwrap().lines() {
                    let to = work.join("old").join(name);
                    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                    std::fs::copy(all.path().join(name), to).unwrap();
                }
            }
        }
        let busybox = root.path().join(".busybox");
        std::fs::create_dir(&busybox).unwrap();
        for tool in ["cat", "head", "tail"] {
            symlink(find("busybox"), busybox.join(tool)).unwrap();
        }
        let gnu = find("cat").parent().unwrap().to_owned();
        for (shell, tools) in [(vec!["dash"], gnu), (vec!["busybox", "sh"], busybox)] {
            let ran = Command::new(find(shell[0]))
                .args(&shell[1..])
                .arg("./recipe")
                .current_dir(&work)
                .env_clear()
                .env("PATH", tools)
                .env("LC_ALL", "C")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(
                ran.status.success(),
                "{}",
                String::from_utf8_lossy(&ran.stderr)
            );
            assert_eq!(ran.stdout.len() as u64, offer.archive_bytes);
            let mut found = BTreeSet::new();
            for entry in tar::Archive::new(&ran.stdout[..]).entries().unwrap() {
                let mut entry = entry.unwrap();
                let path = entry.path().unwrap().to_str().unwrap().to_owned();
                let Some(id) = path.strip_suffix("/layer.tar") else {
                    continue;
                };
                let mut bytes = vec![];
                entry.read_to_end(&mut bytes).unwrap();
                if bytes.starts_with(b"\x1f\x8b") {
                    let packed = std::mem::take(&mut bytes);
                    let mut gunzip = flate2::read::MultiGzDecoder::new(&packed[..]);
                    gunzip.read_to_end(&mut bytes).unwrap();
                }
                assert_eq!(Digest::of(&bytes).hex(), id);
                found.insert(Digest::of(&bytes));
            }
            assert_eq!(found, self.missing());
            assert_eq!(offer.layers, self.missing());
        }
    }

    pub(super) fn lists(&self) -> Vec<PathBuf> {
        let files = self.dir.path().join("cache/layers").read_dir().unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.extension() == Some(OsStr::new("idx")))
            .collect()
    }
}

fn sent_as_it_is(image: &ImageSender) {
    let mut out = vec![];
    let all = LayerSelection::All;
    image.write_archive("app:staged", &all, &mut out).unwrap();
}

fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.exists())
        .unwrap_or_else(|| panic!("{program} is needed: apt-get install dash busybox-static"))
}
