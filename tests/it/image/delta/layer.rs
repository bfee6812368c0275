//! Layers of everything that a container's file system may have, and how they overlay a directory.

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::Path,
};

use o3r_testing::archives::noise;

/// An entry of a layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Member {
    File(Vec<u8>, Vec<u8>),
    Directory(Vec<u8>),
    Symlink(Vec<u8>, Vec<u8>),
    Hardlink(Vec<u8>, Vec<u8>),
    Whiteout(Vec<u8>),
    Opaque(Vec<u8>),
}

use Member::{Directory, File, Hardlink, Opaque, Symlink, Whiteout};

pub(super) fn file(path: &str, bytes: impl AsRef<[u8]>) -> Member {
    File(path.into(), bytes.as_ref().to_vec())
}

/// Returns the name by which a layer marks a removed path.
fn hidden(path: &[u8], name: Option<&[u8]>) -> Vec<u8> {
    let at = path.iter().rposition(|byte| *byte == b'/');
    let (parent, own) = at.map_or((&b""[..], path), |at| (&path[..=at], &path[at + 1..]));
    match name {
        Some(name) => [path, b"/", name].concat(),
        None => [parent, b".wh.", own].concat(),
    }
}

pub(super) fn tar(members: &[Member]) -> Vec<u8> {
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

/// Applies a layer to a directory, as an overlay file system shows it.
pub(super) fn lay(root: &Path, members: &[Member]) {
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

/// Returns what an image needs to run a recipe.
pub(super) fn shell() -> Vec<Member> {
    let mut members = vec![
        Symlink("bin".into(), "usr/bin".into()),
        file("usr/bin/dash", "x"),
    ];
    members.push(Symlink("usr/bin/sh".into(), "dash".into()));
    members.extend(["cat", "head", "tail"].map(|name| file(&format!("usr/bin/{name}"), "x")));
    members
}

/// Returns many files that do not compress.
pub(super) fn packages(changed: Option<usize>) -> Vec<Member> {
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
