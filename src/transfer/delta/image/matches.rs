//! Finds content of an image's missing layers in an old image: identical files at any path, and old
//! versions of changed ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::index::{Content, Index, Kind};
use super::view::{FileId, OldFile, View, without_digits};
use super::{Base, Grain, Reach};
use o3r_core::digest::Digest;

/// Smaller files are sent: their names would take as many bytes.
const MIN_COPY: u64 = 256;

/// If files must be extracted one by one, smaller ones do not pay.
const MIN_TAKEN: u64 = 4 << 10;

/// The most bytes of the names of extracted files: they are arguments of one command, and an
/// argument has 128 KiB at most.
const MAX_NAMES: usize = 48 << 10;

/// The most bytes of extracted files, which need space in the home directory.
const MAX_TAKEN: u64 = 512 << 20;

/// A file of a new layer that an old image has, unchanged or in another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) content: Content,
    pub(crate) old: FileId,
    /// Whether it is unchanged; otherwise, ranges of it may be.
    pub(crate) whole: bool,
}

/// The old image and the files found in it.
#[derive(Debug)]
pub(crate) struct Matches {
    pub(crate) base: Base,
    pub(crate) view: View,
    pub(crate) reach: Reach,
    /// For each layer, the length of its tar in bytes and its matches in the tar's order.
    pub(crate) layers: BTreeMap<Digest, (u64, Vec<Match>)>,
    /// Large old files by their path without digits, to find another version.
    versions: Option<HashMap<Box<[u8]>, FileId>>,
}

impl Matches {
    pub(crate) fn new(base: Base, view: View) -> Self {
        let programs = ["sh", "cat", "head", "tail"];
        let reach = if programs.iter().all(|name| view.has_program(name)) {
            Reach::Inside
        } else {
            Reach::Outside
        };
        Self {
            base,
            view,
            reach,
            layers: BTreeMap::new(),
            versions: None,
        }
    }

    /// Finds the files of a layer in the old image.
    pub(crate) fn add(&mut self, diff_id: Digest, index: &Index, grain: Grain) {
        let mut found: Vec<Match> = vec![];
        for entry in &index.entries {
            let Kind::File(content) = entry.kind else {
                continue;
            };
            if content.len < MIN_COPY {
                continue;
            }
            let (old, whole) = match self.view.same(&content) {
                Some(same) => (Some(same), true),
                None if content.len >= grain.file => (self.version(&entry.path, grain), false),
                None => (None, false),
            };
            if let Some(old) = old.filter(|old| self.can_be_had(*old)) {
                found.push(Match {
                    content,
                    old,
                    whole,
                });
            }
        }
        self.layers.insert(diff_id, (index.len, found));
    }

    /// Finds an older version of the file at `path`.
    fn version(&mut self, path: &[u8], grain: Grain) -> Option<FileId> {
        let large = |file: OldFile| file.content.len >= grain.file;
        if let Some(same) = self.view.at(path) {
            let (_, file) = self.view.file(same)?;
            return large(file).then_some(same);
        }
        let view = &self.view;
        let versions = self.versions.get_or_insert_with(|| {
            let files = view.files().filter(|(_, _, file)| large(*file));
            files
                .map(|(id, path, _)| (without_digits(path), id))
                .collect()
        });
        versions.get(&without_digits(path)).copied()
    }

    fn can_be_had(&self, old: FileId) -> bool {
        let Some((path, file)) = self.view.file(old) else {
            return false;
        };
        // tar may interpret some characters of names as patterns, and does not extract a hard link
        // alone.
        let plain = |byte: &u8| !byte.is_ascii_control() && !b"*?[]\\".contains(byte);
        self.reach == Reach::Inside
            || (!file.linked
                && file.content.len >= MIN_TAKEN
                && !path.starts_with(b"-")
                && str::from_utf8(path).is_ok()
                && path.iter().all(plain))
    }

    /// Drops files that exceed the limits of extraction, and layers that do not pay. `pays` gets
    /// the bytes of a layer and how many of them are copied.
    pub(crate) fn settle(&mut self, pays: impl Fn(u64, u64) -> bool) {
        if self.reach == Reach::Outside {
            let kept = self.taken();
            for (_, found) in self.layers.values_mut() {
                found.retain(|found| kept.contains(&found.old));
            }
        }
        self.layers
            .retain(|_, (len, found)| pays(*len, copied(found)));
    }

    /// The old files to extract: the largest ones.
    fn taken(&self) -> BTreeSet<FileId> {
        let mut files = vec![];
        for old in self.olds() {
            if let Some((path, file)) = self.view.file(old) {
                files.push((u64::MAX - file.content.len, path, old));
            }
        }
        files.sort_unstable();
        let (mut names, mut bytes) = (0, 0);
        let mut kept = BTreeSet::new();
        for (rank, path, old) in files {
            names += path.len() + 1;
            bytes += u64::MAX - rank;
            if names > MAX_NAMES || bytes > MAX_TAKEN {
                break;
            }
            kept.insert(old);
        }
        kept
    }

    fn olds(&self) -> BTreeSet<FileId> {
        let all = self.layers.values().flat_map(|(_, found)| found);
        all.map(|found| found.old).collect()
    }

    /// Returns the list of old files to extract, one a line; `None` if the recipe runs inside the
    /// image.
    pub(crate) fn names(&self) -> Option<Vec<u8>> {
        if self.reach == Reach::Inside {
            return None;
        }
        let mut names = vec![];
        for old in self.olds() {
            if let Some((path, _)) = self.view.file(old) {
                names.extend_from_slice(path);
                names.push(b'\n');
            }
        }
        Some(names)
    }

    /// Bytes of unchanged files, and of those that may have unchanged ranges.
    pub(crate) fn copied(&self) -> u64 {
        self.layers.values().map(|(_, found)| copied(found)).sum()
    }
}

fn copied(found: &[Match]) -> u64 {
    found.iter().map(|found| found.content.len).sum()
}
