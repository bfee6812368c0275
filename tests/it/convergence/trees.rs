//! The transfers that tests generate, and what is declared around them.

use std::collections::BTreeMap;

use o3r_deploy::internal::{
    desired::{Entry, FileEntry, Transfer},
    digest::Digest,
    manifest::Exclude,
};
use proptest::prelude::*;

use super::shapes::local;

/// The attributes of a transfer that a test varies.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tree {
    pub(super) version: u8,
    pub(super) delete: bool,
    pub(super) restart: bool,
    pub(super) file_mode: u32,
    /// What is declared above it, at the same path and below it.
    pub(super) above: Option<Kind>,
    pub(super) equal: Option<Kind>,
    pub(super) below: Option<Kind>,
}

/// The kind of a declaration at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    Volume,
    Transfer,
}

/// The target of the tree, and the paths around it that may be declared.
pub(super) const ABOVE: &str = "~/site";
pub(super) const TREE: &str = "~/site/conf";
pub(super) const BELOW: &str = "~/site/conf/below";

pub(super) fn trees() -> impl Strategy<Value = Tree> {
    let kinds = || prop::sample::select(vec![Kind::Directory, Kind::Volume, Kind::Transfer]);
    (
        0..4u8,
        any::<bool>(),
        any::<bool>(),
        prop::sample::select(vec![0o644, 0o600]),
        prop::option::of(kinds()),
        // Two transfers to one target are refused.
        prop::option::of(prop::sample::select(vec![Kind::Directory, Kind::Volume])),
        prop::option::of(kinds()),
    )
        .prop_map(
            |(version, delete, restart, file_mode, above, equal, below)| Tree {
                version,
                delete,
                restart,
                file_mode,
                above,
                equal,
                below,
            },
        )
}

/// Returns a tree with a file that changes, one that is added and removed,
/// directories, links and odd names; a path that is a directory in one
/// version and a file in another is only included if that is allowed.
pub(super) fn transfers(tree: &Tree) -> Vec<Transfer> {
    let entry = |bytes: &[u8]| {
        Entry::File(FileEntry {
            local: local(bytes),
            sha256: Digest::of(bytes),
            bytes: bytes.len() as u64,
            mode: tree.file_mode,
            secret: false,
        })
    };
    let secret = |bytes: &[u8]| match entry(bytes) {
        Entry::File(file) => Entry::File(FileEntry {
            secret: true,
            ..file
        }),
        other => other,
    };
    let link = |target: &str| Entry::Symlink {
        target: target.to_owned(),
    };
    let directory = || Entry::Directory { mode: Some(0o755) };
    let version = tree.version;
    let mut entries = BTreeMap::from([
        (String::new(), Entry::Directory { mode: None }),
        ("main.json".to_owned(), entry(&[b'0' + version])),
        ("same".to_owned(), entry(b"same")),
        ("sub".to_owned(), directory()),
        ("sub/it's $(odd)".to_owned(), entry(&[b'a' + version / 2])),
        ("sub/.env".to_owned(), secret(&[b'0' + version / 2])),
        (
            "link".to_owned(),
            link(if version < 2 { "same" } else { "main.json" }),
        ),
    ]);
    if version % 2 == 1 {
        entries.insert("new".to_owned(), directory());
        entries.insert("new/deep".to_owned(), directory());
        entries.insert("new/deep/file".to_owned(), entry(b"deep"));
        entries.insert("new/link".to_owned(), link("../same"));
    }
    if tree.delete && version < 2 {
        entries.insert("swap".to_owned(), directory());
        entries.insert("swap/file".to_owned(), entry(b"swapped"));
    } else if tree.delete {
        entries.insert("swap".to_owned(), entry(b"a file"));
    }
    let single = BTreeMap::from([(String::new(), entry(&[b'0' + version]))]);
    let transfer = |target: &str, entries| Transfer {
        target: target.parse().unwrap(),
        entries,
        delete: tree.delete,
        exclude: Exclude::new(&["*.keep".parse().unwrap()]),
        gone: BTreeMap::new(),
        restart: vec![],
        source: None,
    };
    let mut transfers = vec![
        Transfer {
            restart: if tree.restart {
                vec!["app".to_owned()]
            } else {
                vec![]
            },
            ..transfer(TREE, entries)
        },
        Transfer {
            delete: false,
            ..transfer("~/single file", single)
        },
    ];
    transfers.extend(around(tree).map(|(target, entries)| Transfer {
        delete: false,
        ..transfer(target, entries)
    }));
    transfers
}

/// Returns the transfers around the tree. The one above also puts a file into its target.
fn around(tree: &Tree) -> impl Iterator<Item = (&'static str, BTreeMap<String, Entry>)> + use<> {
    let file = |content: u8| {
        Entry::File(FileEntry {
            local: local(&[content]),
            sha256: Digest::of([content]),
            bytes: 1,
            mode: 0o644,
            secret: false,
        })
    };
    let directory = |mode| Entry::Directory { mode };
    let above = [
        (String::new(), directory(None)),
        ("beside".to_owned(), file(b'b')),
        ("conf".to_owned(), directory(None)),
        ("conf/more".to_owned(), directory(Some(0o755))),
        ("conf/more/theirs".to_owned(), file(b'0' + tree.version)),
    ];
    let below = [
        (String::new(), directory(None)),
        ("own".to_owned(), file(b'a' + tree.version)),
    ];
    let is_transfer = |kind: Option<Kind>| kind == Some(Kind::Transfer);
    let above = is_transfer(tree.above).then(|| (ABOVE, above.into()));
    let below = is_transfer(tree.below).then(|| (BELOW, below.into()));
    above.into_iter().chain(below)
}
