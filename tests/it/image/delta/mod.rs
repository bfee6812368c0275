//! A delta rebuilds exactly the missing layers, with the shells and tools that images have.

mod layer;
mod releases;

use o3r_deploy::internal::offers::Reach;
use proptest::prelude::*;

use self::{
    layer::{
        Member::{self, Directory, File, Hardlink, Opaque, Symlink, Whiteout},
        file, packages, shell, tar,
    },
    releases::Releases,
};
use o3r_testing::archives::{Packing, Tar, noise};

#[test]
fn one_changed_file_costs_little() {
    let releases = Releases::new(&[shell(), packages(None)], 1, &[tar(&packages(Some(200)))]);
    let (offer, delta) = releases.delta().unwrap();
    assert_eq!(offer.reach, Reach::Inside);
    assert!(delta.len() < 8_000_000 / 50, "{}", delta.len());
    releases.rebuild(&offer, &delta);
}

/// Ranges of files are known, whatever the old image's layers were compressed with.
#[test]
fn regression_layers_that_arrived_compressed_give_deltas_like_any_other() {
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
    // The same name, and that of another version.
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
    // A name that tar would take for a pattern, or with two links, is sent.
    assert!(offer.copied_bytes < 300_001, "{}", offer.copied_bytes);
    releases.rebuild(&offer, &delta);
}

#[test]
fn files_hidden_from_a_container_are_not_copied() {
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
        // One entry for each path; entries below a link or
        // file of the same layer are another test's.
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
    #![proptest_config(ProptestConfig::with_cases(o3r_testing::cases(48)))]
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
        // Most of the last old layer is repeated, or there would be little to copy.
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
