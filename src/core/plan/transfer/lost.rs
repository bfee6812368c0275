//! Finds what a transfer with `delete` removes, and what it keeps.

use std::collections::{BTreeMap, BTreeSet};

use super::neighbours::Protected;
use crate::{
    desired::{Entry, Transfer},
    facts::{HIDDEN_STAGING, Node, Other, Probed, Tree},
    names::is_within,
};

/// What a transfer deletes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lost<'a> {
    /// All deleted paths, as shown to people.
    pub(super) all: BTreeMap<&'a str, Other>,
    /// The paths to remove: a directory includes all its contents.
    pub(super) top: Vec<&'a str>,
    /// Directories to delete whose permissions do not allow reading or emptying them.
    pub(super) unreadable: Vec<&'a str>,
    /// Directories that a file replaces although something
    /// in them is kept: the directory, and what is kept.
    pub(super) unreplaceable: Vec<(&'a str, &'a str)>,
}

impl<'a> Lost<'a> {
    /// Compares the declared entries with all others at the target.
    pub(super) fn new(transfer: &'a Transfer, tree: &'a Tree, protected: &Protected) -> Self {
        let stays = |name: &str| {
            transfer.exclude.covers(name)
                || name.split('/').any(|part| part == HIDDEN_STAGING)
                || protected.keeps(name)
        };
        // Directories above something that is kept are kept as well.
        let mut kept: BTreeSet<&str> = BTreeSet::new();
        for name in tree.others.keys().filter(|name| stays(name)) {
            let mut above = name.as_str();
            while let Some((next, _)) = above.rsplit_once('/') {
                above = next;
                if !kept.insert(above) {
                    break;
                }
            }
        }
        let mut lost = Self::default();
        let mut tops: BTreeSet<&str> = BTreeSet::new();
        let replaced = |name: &str| {
            transfer.entries.iter().find(|(path, entry)| {
                !path.is_empty()
                    && !matches!(entry, Entry::Directory { .. })
                    && is_within(name, path)
                    && matches!(
                        tree.nodes.get(*path),
                        Some(Probed::Known(Node::Directory { .. }))
                    )
            })
        };
        let any_replaced = transfer.entries.iter().any(|(path, entry)| {
            !path.is_empty()
                && !matches!(entry, Entry::Directory { .. })
                && matches!(
                    tree.nodes.get(path),
                    Some(Probed::Known(Node::Directory { .. }))
                )
        });
        for (name, other) in &tree.others {
            // It is removed with the directory that a file replaces.
            let with = if any_replaced { replaced(name) } else { None };
            if stays(name) {
                if let Some((path, _)) = with {
                    lost.unreplaceable.push((path, name));
                }
                continue;
            }
            if kept.contains(name.as_str()) || protected.leads(name) {
                continue;
            }
            if let Other::Directory { readable, writable } = other
                && !(*readable && *writable)
            {
                lost.unreadable.push(name);
                continue;
            }
            lost.all.insert(name, *other);
            let above = camino::Utf8Path::new(name).ancestors().skip(1);
            if with.is_none()
                && !above
                    .map(camino::Utf8Path::as_str)
                    .any(|a| tops.contains(a))
            {
                lost.top.push(name);
                tops.insert(name);
            }
        }
        lost
    }
}
