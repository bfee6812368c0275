//! A delta rebuilds exactly the layers that are missing, by the shells and tools that images have.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io::Read as _,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use camino::Utf8PathBuf;
use o3r_deploy::digest::Digest;
use o3r_deploy::image::{
    Base, Grain, Image, LayerCache, LayerSelection, Offer, Packing as For, Reach,
};
use proptest::prelude::*;

use crate::build::{Packing, Tar, docker_old, oci, open};

/// Something in a layer.
#[derive(Debug, Clone, PartialEq)]
enum Member {
    File(Vec<u8>, Vec<u8>),
    Directory(Vec<u8>),
    Symlink(Vec<u8>, Vec<u8>),
    Hardlink(Vec<u8>, Vec<u8>),
    Whiteout(Vec<u8>),
    Opaque(Vec<u8>),
}

use Member::{Directory, File, Hardlink, Opaque, Symlink, Whiteout};

fn file(path: &str, bytes: impl AsRef<[u8]>) -> Member {
    File(path.into(), bytes.as_ref().to_vec())
}

/// The names that a layer gives to what is gone.
fn hidden(path: &[u8], name: Option<&[u8]>) -> Vec<u8> {
    let at = path.iter().rposition(|byte| *byte == b'/');
    let (parent, own) = at.map_or((&b""[..], path), |at| (&path[..=at], &path[at + 1..]));
    match name {
        Some(name) => [path, b"/", name].concat(),
        None => [parent, b".wh.", own].concat(),
    }
}

fn tar(members: &[Member]) -> Vec<u8> {
    let mut builder = tar::Builder::new(vec![]);
    for member in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        let mut add = |kind, path: &[u8], bytes: &[u8]| {
            header.set_entry_type(kind);
            header.set_size(bytes.len() as u64);
            let path = Path::new(OsStr::from_bytes(path));
            builder.append_data(&mut header, path, bytes).unwrap();
        };
        match member {
            File(path, bytes) => add(tar::EntryType::Regular, path, bytes),
            Directory(path) => add(tar::EntryType::Directory, path, b""),
            Whiteout(path) => add(tar::EntryType::Regular, &hidden(path, None), b""),
            Opaque(path) => {
                let path = hidden(path, Some(b".wh..wh..opq"));
                add(tar::EntryType::Regular, &path, b"");
            }
            Symlink(path, target) | Hardlink(path, target) => {
                header.set_entry_type(match member {
                    Symlink(..) => tar::EntryType::Symlink,
                    _ => tar::EntryType::Link,
                });
                header.set_size(0);
                let [path, target] = [path, target].map(|p| Path::new(OsStr::from_bytes(p)));
                builder.append_link(&mut header, path, target).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

fn remove(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        std::fs::remove_dir_all(path).unwrap();
    } else if path.symlink_metadata().is_ok() {
        std::fs::remove_file(path).unwrap();
    }
}

/// Lays a layer over a directory, as an overlay file system shows it.
fn lay(root: &Path, members: &[Member]) {
    let at = |path: &[u8]| {
        let mut parent = root.to_owned();
        let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let name = parts.pop().unwrap();
        for part in parts {
            parent.push(OsStr::from_bytes(part));
            if parent.is_symlink() || !parent.is_dir() {
                remove(&parent);
                std::fs::create_dir(&parent).unwrap();
            }
        }
        parent.join(OsStr::from_bytes(name))
    };
    for member in members {
        match member {
            Whiteout(path) => remove(&at(path)),
            Opaque(path) => {
                let path = at(path);
                remove(&path);
                std::fs::create_dir(path).unwrap();
            }
            _ => {}
        }
    }
    for member in members {
        match member {
            File(path, bytes) => {
                let path = at(path);
                remove(&path);
                std::fs::write(path, bytes).unwrap();
            }
            Directory(path) => {
                let path = at(path);
                if path.is_symlink() || !path.is_dir() {
                    remove(&path);
                    std::fs::create_dir(path).unwrap();
                }
            }
            Symlink(path, target) => {
                let path = at(path);
                remove(&path);
                symlink(OsStr::from_bytes(target), path).unwrap();
            }
            Hardlink(path, target) => {
                let (path, target) = (at(path), at(target));
                remove(&path);
                std::fs::hard_link(target, path).unwrap();
            }
            Whiteout(_) | Opaque(_) => {}
        }
    }
}

fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.exists())
        .unwrap_or_else(|| panic!("{program} is needed: apt-get install dash busybox-static"))
}

/// Two releases, the cache of the machine that deploys them, and a VPU that has the older one.
struct Releases {
    dir: tempfile::TempDir,
    old: Vec<Vec<Member>>,
    old_ids: Vec<Digest>,
    new: Vec<Vec<u8>>,
}

const GRAIN: Grain = Grain {
    file: 4096,
    range: 2048,
};

impl Releases {
    /// The new one has `shared` of the old one's layers, and these.
    fn new(old: &[Vec<Member>], shared: usize, new: &[Vec<u8>]) -> Self {
        let tars: Vec<Vec<u8>> = old.iter().map(|members| tar(members)).collect();
        let this = Self {
            dir: tempfile::tempdir().unwrap(),
            old: old.to_vec(),
            old_ids: tars.iter().map(Digest::of).collect(),
            new: tars[..shared].iter().chain(new).cloned().collect(),
        };
        let old = open(&docker_old("arm64", "app:1", &tars)).unwrap();
        this.prepare(&old, &this.old_ids.iter().copied().collect());
        this
    }

    fn cache(&self) -> LayerCache {
        LayerCache::new(Utf8PathBuf::from_path_buf(self.dir.path().join("cache")).unwrap())
    }

    fn prepare(&self, image: &Image, layers: &BTreeSet<Digest>) {
        image
            .prepare_layers(layers, &self.cache(), For::Fast, &|_| {})
            .unwrap();
    }

    fn base(&self) -> Base {
        Base {
            id: "sha256:old".to_owned(),
            layers: self.old_ids.clone(),
        }
    }

    /// The same, but that the old image came in an OCI archive with layers like this, and was sent without being
    /// packed here; then that archive is gone.
    fn of_packed(packing: Packing, old: &[Vec<Member>], shared: usize, new: &[Vec<u8>]) -> Self {
        let this = Self::new(old, shared, new);
        std::fs::remove_dir_all(this.dir.path().join("cache")).unwrap();
        let tars: Vec<Vec<u8>> = old.iter().map(|members| tar(members)).collect();
        let old = open(&oci("arm64", &tars, packing)).unwrap();
        old.prepare_layers(
            &this.old_ids.iter().copied().collect(),
            &this.cache(),
            For::ZstdFast,
            &|_| {},
        )
        .unwrap();
        sent_as_it_is(&old);
        this
    }

    /// What would be sent.
    fn delta(&self) -> Option<(Offer, Vec<u8>)> {
        let image = open(&docker_old("arm64", "app:1", &self.new)).unwrap();
        let missing = self.missing();
        self.prepare(&image, &missing);
        let offer = image
            .prepare_delta(&missing, &[self.base()], "app:staged", &self.cache(), GRAIN)
            .unwrap()?;
        let mut bytes = vec![];
        image.write_delta(offer.sha256, &mut bytes).unwrap();
        assert_eq!(Digest::of(&bytes), offer.sha256);
        assert_eq!(bytes.len() as u64, offer.bytes);
        Some((offer, bytes))
    }

    fn missing(&self) -> BTreeSet<Digest> {
        let ids = self.new.iter().map(Digest::of);
        let there = |(number, id): &(usize, Digest)| self.old_ids.get(*number) == Some(id);
        let missing = ids.enumerate().skip_while(there);
        missing.map(|(_, id)| id).collect()
    }

    /// Lets every shell do what the delta says: the result is the missing layers, byte for byte.
    fn rebuild(&self, offer: &Offer, delta: &[u8]) {
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

    fn lists(&self) -> Vec<PathBuf> {
        let files = self.dir.path().join("cache/layers").read_dir().unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.extension() == Some(OsStr::new("idx")))
            .collect()
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_le_bytes()[6]
    };
    (0..len).map(|_| next()).collect()
}

/// What an image needs to run a recipe.
fn shell() -> Vec<Member> {
    let mut members = vec![
        Symlink("bin".into(), "usr/bin".into()),
        file("usr/bin/dash", "x"),
    ];
    members.push(Symlink("usr/bin/sh".into(), "dash".into()));
    members.extend(["cat", "head", "tail"].map(|name| file(&format!("usr/bin/{name}"), "x")));
    members
}

/// Many files that do not compress.
fn packages(changed: Option<usize>) -> Vec<Member> {
    let package = |number: usize| {
        let seed = if changed == Some(number) {
            1000
        } else {
            number
        };
        file(
            &format!("usr/lib/python3/dist-packages/package_{number}/module.py"),
            noise(seed as u64, 20_000),
        )
    };
    (0..400).map(package).collect()
}

#[test]
fn one_changed_file_costs_little() {
    let releases = Releases::new(&[shell(), packages(None)], 1, &[tar(&packages(Some(200)))]);
    let (offer, delta) = releases.delta().unwrap();
    assert_eq!(offer.reach, Reach::Inside);
    assert!(delta.len() < 8_000_000 / 50, "{}", delta.len());
    releases.rebuild(&offer, &delta);
}

fn sent_as_it_is(image: &Image) {
    let mut out = vec![];
    let all = LayerSelection::All;
    image.write_archive("app:staged", &all, &mut out).unwrap();
}

/// Whatever the old image's layers were compressed with, ranges of its files are known.
#[test]
fn regression_layers_that_came_compressed_give_deltas_like_any_other() {
    let large = |changed: u8| {
        let mut bytes = noise(1, 400_000);
        bytes[200_000] = changed;
        vec![file("data/large", bytes)]
    };
    for packing in [Packing::Gzip, Packing::Zstd] {
        let releases = Releases::of_packed(packing, &[shell(), large(1)], 1, &[tar(&large(2))]);
        let (offer, delta) = releases.delta().unwrap();
        assert!(delta.len() < 20_000, "{packing:?}: {}", delta.len());
        releases.rebuild(&offer, &delta);
    }
}

#[test]
fn the_same_layers_give_the_same_bytes() {
    let make = || {
        let new = tar(&packages(Some(7)));
        Releases::new(&[shell(), packages(None)], 1, &[new])
    };
    let releases = make();
    let (_, delta) = releases.delta().unwrap();
    assert_eq!(make().delta().unwrap().1, delta, "with another cache");
    assert_eq!(releases.lists().len(), 3);
    assert_eq!(
        releases.delta().unwrap().1,
        delta,
        "with lists from the cache"
    );
    for list in releases.lists() {
        let mut bytes = std::fs::read(&list).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&list, bytes).unwrap();
    }
    assert_eq!(releases.delta().unwrap().1, delta, "with damaged lists");
}

#[test]
fn ranges_of_a_large_file_are_copied() {
    let old = noise(1, 3_000_000);
    let mut new = old.clone();
    new.splice(1_000_000..1_000_100, noise(2, 5000));
    new.truncate(2_900_000);
    new[..16].copy_from_slice(&noise(3, 16));
    // Of the same name, and of another version.
    for path in ["opt/model.bin", "opt/model-2.bin"] {
        let releases = Releases::new(
            &[
                shell(),
                vec![file("opt/model.bin", &old), file("opt/model-1.bin", &old)],
            ],
            1,
            &[tar(&[file(path, &new)])],
        );
        let (offer, delta) = releases.delta().unwrap();
        assert!(delta.len() < 10_000, "{}", delta.len());
        releases.rebuild(&offer, &delta);
    }
}

#[test]
fn names_may_be_anything() {
    let names: [&[u8]; 9] = [
        b"it's $(touch canary) `x`",
        b"two  spaces/and \"quotes\"",
        b"new\nline",
        b"\xff\xfe not utf-8",
        b"-n",
        b"*?[a]{b,c}",
        b"\\n\\",
        b"\x01\x81\x82\x88\x7f",
        &[b'l'; 240],
    ];
    let old: Vec<Member> = names
        .iter()
        .enumerate()
        .map(|(n, name)| File([b"odd/", *name].concat(), noise(n as u64, 5000)))
        .collect();
    let mut new = old.clone();
    new.push(file("new", "new"));
    new.push(File(
        [&b"deep/".repeat(30)[..], b"name"].concat(),
        noise(3, 5000),
    ));
    let releases = Releases::new(&[shell(), old], 1, &[tar(&new)]);
    let (offer, delta) = releases.delta().unwrap();
    assert_eq!(offer.copied_bytes, 50_000);
    releases.rebuild(&offer, &delta);
}

#[test]
fn an_image_without_a_shell_is_read_from_outside() {
    let old = vec![
        file("app/program", noise(1, 200_000)),
        file("app/data file", noise(2, 100_000)),
        file("app/[it]", noise(3, 100_000)),
        file("app/twice", noise(4, 50_000)),
        Hardlink("app/again".into(), "app/twice".into()),
    ];
    let mut new = old.clone();
    new[1] = file("app/data file", noise(5, 100_000));
    let releases = Releases::new(&[old], 0, &[tar(&new)]);
    let (offer, delta) = releases.delta().unwrap();
    assert_eq!(offer.reach, Reach::Outside);
    // What tar would take for a pattern, or has two names, is sent.
    assert!(offer.copied_bytes < 300_001, "{}", offer.copied_bytes);
    releases.rebuild(&offer, &delta);
}

#[test]
fn what_a_container_does_not_see_is_not_copied() {
    let noisy = |path: &str| file(path, noise(path.len() as u64, 100_000));
    let old = vec![
        noisy("etc/hosts"),
        noisy("etc/resolv.conf"),
        noisy("run/x"),
        noisy("proc/yy"),
        noisy("gone/file"),
        noisy("hidden"),
        noisy("opaque/deep/file"),
    ];
    let top = vec![
        Whiteout("gone".into()),
        file("hidden", "now"),
        Opaque("opaque".into()),
    ];
    let releases = Releases::new(&[shell(), old.clone(), top], 1, &[tar(&old)]);
    assert_eq!(releases.delta(), None);
}

#[test]
fn odd_layers_are_sent_whole() {
    let old = packages(None);
    let sound = tar(&packages(Some(1)));
    let climbing = Tar::default()
        .file("../../etc/passwd", noise(1, 100_000))
        .raw(&sound)
        .end();
    for new in [
        noise(1, 300_000),
        sound[..sound.len() / 2].to_vec(),
        climbing,
        vec![0; 200_000],
    ] {
        let releases = Releases::new(&[shell(), old.clone()], 1, &[new]);
        if let Some((offer, delta)) = releases.delta() {
            releases.rebuild(&offer, &delta);
        }
    }
}

#[test]
fn without_the_old_layers_there_is_no_delta() {
    let releases = Releases::new(&[shell(), packages(None)], 1, &[tar(&packages(Some(1)))]);
    std::fs::remove_dir_all(releases.dir.path().join("cache")).unwrap();
    assert_eq!(releases.delta(), None);
}

fn paths() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        &b"a"[..],
        b"b",
        b"it's",
        b"lib",
        b"x y",
        b"\xff",
        b"9",
        b"run",
    ]);
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join(&b'/'))
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let member =
        (paths(), 0..9u8, 0..6u64, 0..40_000usize).prop_map(|(path, kind, seed, len)| match kind {
            0 => Directory(path),
            1 => Symlink(path, b"a".to_vec()),
            2 => Whiteout(path),
            3 => Opaque(path),
            _ => File(path, noise(seed, len)),
        });
    prop::collection::vec(member, 1..12).prop_map(|members| {
        // One thing at a path; what is below a link or file of the same layer is another test's.
        let mut kept: Vec<Member> = vec![];
        let path = |member: &Member| match member {
            File(path, _)
            | Directory(path)
            | Symlink(path, _)
            | Hardlink(path, _)
            | Whiteout(path)
            | Opaque(path) => path.clone(),
        };
        for member in members {
            let one = [path(&member), b"/".to_vec()].concat();
            let apart = |other: &Member| {
                let other = [path(other), b"/".to_vec()].concat();
                !one.starts_with(&other) && !other.starts_with(&one)
            };
            if kept.iter().all(apart) {
                kept.push(member);
            }
        }
        let first = kept.iter().find_map(|member| match member {
            File(path, _) => Some(path.clone()),
            _ => None,
        });
        if let Some(target) = first {
            kept.push(Hardlink(b"link to it".to_vec(), target));
        }
        kept
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_layer_is_rebuilt_exactly(
        old in prop::collection::vec(members(), 1..4),
        new in prop::collection::vec(members(), 1..3),
        has_shell in any::<bool>(),
        keep in any::<bool>(),
    ) {
        let mut old = old;
        if has_shell {
            old.insert(0, shell());
        }
        // Most of the last old layer comes again, or there would be little to copy.
        let mut again = old.last().cloned().unwrap_or_default();
        again.push(file("zz", noise(77, 30_000)));
        let mut new: Vec<Vec<u8>> = new.iter().map(|members| tar(members)).collect();
        new.insert(0, tar(&again));
        let shared = if keep { old.len() - 1 } else { 0 };
        let releases = Releases::new(&old, shared, &new);
        if let Some((offer, delta)) = releases.delta() {
            releases.rebuild(&offer, &delta);
        }
    }
}
