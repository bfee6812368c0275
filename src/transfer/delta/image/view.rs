//! Merges the layers of an image into the file system that its containers see.
//!
//! Omits uncertain files, or rejects the whole image: a missing file only costs bytes, but a wrong
//! one would make a load fail.

use std::collections::{BTreeMap, HashMap};

use super::index::{Content, Index, Kind};
use o3r_core::digest::Digest;

/// The most paths of an image: two or three times those of a large one; they take 15 MB of memory.
const MAX_PATHS: usize = 150_000;

/// The most links that are followed from one path, as in Linux.
const MAX_LINKS: usize = 40;

/// At these paths, a container has files of docker or the kernel instead of the image's.
const MASKED: [&[u8]; 9] = [
    b".dockerenv",
    b".o3r",
    b"dev",
    b"etc/hostname",
    b"etc/hosts",
    b"etc/mtab",
    b"etc/resolv.conf",
    b"proc",
    b"sys",
];

/// Below this one, docker and programs create files.
const RUN: &[u8] = b"run";

type Path = Box<[u8]>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(OldFile),
    Symlink(Path),
    Directory,
    Other,
}

/// A regular file of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OldFile {
    /// The number of its layer in the image, from 0.
    pub(crate) layer: usize,
    pub(crate) content: Content,
    /// Whether it has more than one name.
    pub(crate) linked: bool,
}

/// The file system of an image.
#[derive(Debug)]
pub(crate) struct View {
    /// Sorted by path.
    nodes: Vec<(Path, Node)>,
    by_digest: HashMap<Digest, usize>,
}

/// A file in a [`View`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(usize);

impl View {
    /// Starts an empty view.
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// Returns a file's path and content.
    pub(crate) fn file(&self, id: FileId) -> Option<(&[u8], OldFile)> {
        match self.nodes.get(id.0)? {
            (path, Node::File(file)) => Some((path, *file)),
            _ => None,
        }
    }

    /// Returns a copyable file with this content.
    pub(crate) fn same(&self, content: &Content) -> Option<FileId> {
        let id = FileId(*self.by_digest.get(&content.digest)?);
        let (_, file) = self.file(id)?;
        (file.content.len == content.len).then_some(id)
    }

    /// Returns the file at exactly this path, if it is copyable.
    pub(crate) fn at(&self, path: &[u8]) -> Option<FileId> {
        let id = FileId(self.find(path)?);
        (self.file(id).is_some() && !is_masked(path)).then_some(id)
    }

    /// Returns all copyable files.
    pub(crate) fn files(&self) -> impl Iterator<Item = (FileId, &[u8], OldFile)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(id, (path, node))| match node {
            Node::File(file) if !is_masked(path) => Some((FileId(id), &**path, *file)),
            _ => None,
        })
    }

    /// Whether a program of this name is in a directory that is in every `PATH`.
    pub(crate) fn has_program(&self, name: &str) -> bool {
        ["bin", "usr/bin"].into_iter().any(|directory| {
            let path = format!("{directory}/{name}");
            let found = self.resolve(path.as_bytes());
            found.is_some_and(|file| file.content.len > 0)
        })
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        let found = self
            .nodes
            .binary_search_by(|(other, _)| (**other).cmp(path));
        found.ok()
    }

    /// Returns the file at a path after following links.
    fn resolve(&self, path: &[u8]) -> Option<OldFile> {
        let mut left: Vec<Vec<u8>> = parts(path).rev().collect();
        let mut at: Vec<u8> = vec![];
        let mut links = 0;
        while let Some(part) = left.pop() {
            if part == b".." {
                let parent = at.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                at.truncate(parent);
                continue;
            }
            let mut next = at.clone();
            if !next.is_empty() {
                next.push(b'/');
            }
            next.extend_from_slice(&part);
            match &self.nodes[self.find(&next)?].1 {
                Node::Directory => at = next,
                Node::File(file) => return left.is_empty().then_some(*file),
                Node::Other => return None,
                Node::Symlink(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    if target.starts_with(b"/") {
                        at.clear();
                    }
                    left.extend(parts(target).rev());
                }
            }
        }
        None
    }
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/');
    parts
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
}

fn is_masked(path: &[u8]) -> bool {
    let below = |top: &[u8]| {
        path.strip_prefix(top)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    MASKED.iter().any(|masked| below(masked)) || below(RUN)
}

/// A [`View`] in progress.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    /// Each with its layer.
    nodes: BTreeMap<Path, (usize, Node)>,
    layers: usize,
}

impl Builder {
    /// Adds the next layer on top. `None` if docker's result is uncertain.
    pub(crate) fn add(mut self, index: &Index) -> Option<Self> {
        let layer = self.layers;
        self.layers += 1;
        // Whiteouts apply only to lower layers, wherever they are in the tar.
        let mut hidden = vec![];
        for entry in &index.entries {
            match entry.kind {
                Kind::Whiteout => {
                    self.make_parents(layer, &entry.path)?;
                    self.remove(&entry.path);
                    hidden.push(&entry.path);
                }
                Kind::Opaque => {
                    self.make_parents(layer, &entry.path)?;
                    self.remove(&entry.path);
                    self.put(layer, &entry.path, Node::Directory);
                }
                _ => {}
            }
        }
        for entry in &index.entries {
            let node = match &entry.kind {
                Kind::Whiteout | Kind::Opaque => continue,
                Kind::File(content) => Node::File(OldFile {
                    layer,
                    content: *content,
                    linked: false,
                }),
                Kind::Hardlink(target) => self.linked(layer, target),
                Kind::Symlink(target) => Node::Symlink(target.clone()),
                Kind::Directory => Node::Directory,
                Kind::Other => Node::Other,
            };
            self.make_parents(layer, &entry.path)?;
            let is_directory = |(_, node): &(usize, Node)| *node == Node::Directory;
            let merges =
                node == Node::Directory && self.nodes.get(&entry.path).is_some_and(is_directory);
            if !merges {
                self.remove(&entry.path);
            }
            self.put(layer, &entry.path, node);
        }
        // A path that is both deleted and created by a layer is uncertain.
        for path in hidden {
            if self.nodes.contains_key(path) {
                self.remove(path);
            }
        }
        (self.nodes.len() <= MAX_PATHS).then_some(self)
    }

    /// Returns the merged image.
    pub(crate) fn build(self) -> View {
        let nodes = self.nodes.into_iter().map(|(path, (_, node))| (path, node));
        let mut view = View {
            nodes: nodes.collect(),
            by_digest: HashMap::new(),
        };
        let files: Vec<(FileId, Digest)> = view
            .files()
            .map(|(id, _, file)| (id, file.content.digest))
            .collect();
        for (id, digest) in files {
            view.by_digest.entry(digest).or_insert(id.0);
        }
        view
    }

    fn put(&mut self, layer: usize, path: &[u8], node: Node) {
        if !path.is_empty() {
            self.nodes.insert(path.into(), (layer, node));
        }
    }

    /// Returns the node of a hard link to a file of this layer.
    fn linked(&mut self, layer: usize, target: &[u8]) -> Node {
        match self.nodes.get_mut(target) {
            Some((from, Node::File(file))) if *from == layer => {
                file.linked = true;
                Node::File(*file)
            }
            _ => Node::Other,
        }
    }

    /// Makes all parents of a path directories, replacing other nodes of lower layers. `None` if
    /// this layer has a link there: it would have been followed, and the result is uncertain.
    fn make_parents(&mut self, layer: usize, path: &[u8]) -> Option<()> {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for (at, _) in slashes {
            let parent = &path[..at];
            match self.nodes.get(parent) {
                Some((_, Node::Directory)) => {}
                Some((from, _)) if *from == layer => return None,
                _ => self.put(layer, parent, Node::Directory),
            }
        }
        Some(())
    }

    /// Removes a path and everything below it.
    fn remove(&mut self, path: &[u8]) {
        if !path.is_empty() && self.nodes.remove(path).is_none() {
            return;
        }
        let mut from = path.to_vec();
        if !from.is_empty() {
            from.push(b'/');
        }
        let first: Path = from.as_slice().into();
        let below = self.nodes.range(first..);
        let below: Vec<Path> = below
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&from))
            .cloned()
            .collect();
        for path in below {
            self.nodes.remove(&path);
        }
    }
}

/// Returns a path without digits, which groups versions of a file.
pub(crate) fn without_digits(path: &[u8]) -> Path {
    let bytes = path.iter().copied();
    bytes.filter(|byte| !byte.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::index::{Entry, normalised};
    use super::*;

    fn content(text: &str) -> Content {
        Content {
            offset: 0,
            len: text.len() as u64,
            digest: Digest::of(text),
        }
    }

    /// Parses a layer: `path=text` is a file, `path@target` a symlink, `path&target` a hard link,
    /// `path/` a directory, `-path` a whiteout, `!path` an opaque directory.
    fn layer(words: &str) -> Index {
        let entries = words.split_whitespace().map(|word| {
            let entry = |path: &str, kind| Entry {
                path: normalised(path.as_bytes()).unwrap(),
                kind,
            };
            if let Some((path, text)) = word.split_once('=') {
                entry(path, Kind::File(content(text)))
            } else if let Some((path, target)) = word.split_once('@') {
                entry(path, Kind::Symlink(target.as_bytes().into()))
            } else if let Some((path, target)) = word.split_once('&') {
                entry(path, Kind::Hardlink(target.as_bytes().into()))
            } else if let Some(path) = word.strip_prefix('-') {
                entry(path, Kind::Whiteout)
            } else if let Some(path) = word.strip_prefix('!') {
                entry(path, Kind::Opaque)
            } else {
                entry(word, Kind::Directory)
            }
        });
        Index {
            len: 0,
            entries: entries.collect(),
        }
    }

    fn view(layers: &[&str]) -> Option<View> {
        let builder = Some(View::builder());
        let all = layers.iter();
        let merged = all.fold(builder, |builder, words| builder?.add(&layer(words)));
        Some(merged?.build())
    }

    fn files(layers: &[&str]) -> Option<String> {
        let view = view(layers)?;
        let files = view.files().map(|(_, path, file)| {
            let path = String::from_utf8_lossy(path).into_owned();
            format!("{path}:{}", file.layer)
        });
        Some(files.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn layers_are_merged_as_in_docker() {
        for (layers, want) in [
            (&["a=1 b/c=2", "b/c=3"][..], "a:0 b/c:1"),
            (&["b/c=2 b/d=2 bb=1", "-b"], "bb:0"),
            (&["b/c=2 b/d=2", "!b b/e=1"], "b/e:1"),
            (&["b/c=2", "b/"], "b/c:0"),
            (&["b/c=2 b/d=3", "b=1"], "b:1"),
            (&["b=1", "b/c=2"], "b/c:1"),
            (
                &["lib@usr/lib usr/lib/x=1", "lib/y=2"],
                "lib/y:1 usr/lib/x:0",
            ),
            (&["a=1", "-a a=2"], ""),
            (&["a=1 b&a", "c&a"], "a:0 b:0"),
            (&["a=1", "!. b=1"], "b:1"),
            (
                &["etc/hosts=1 etc/hosts.allow=1 run/x=2 running=1 proc/y=3 dev/z=1"],
                "etc/hosts.allow:0 running:0",
            ),
        ] {
            assert_eq!(files(layers).as_deref(), Some(want), "{layers:?}");
        }
        assert_eq!(
            files(&["lib@usr lib/x=1"]),
            None,
            "follows a link of its own layer"
        );
    }

    #[test]
    fn programs_are_found_through_links() {
        let usr_merge = view(&["bin@usr/bin usr/bin/sh@dash usr/bin/dash=x"]).unwrap();
        assert!(usr_merge.has_program("sh"));
        assert!(!usr_merge.has_program("cat"));
        let busybox = view(&["bin/busybox=x bin/sh@/bin/busybox bin/cat&bin/busybox"]).unwrap();
        assert!(busybox.has_program("sh") && busybox.has_program("cat"));
        let loops = view(&["bin/sh@../bin/sh bin/cat@nothing"]).unwrap();
        assert!(!loops.has_program("sh") && !loops.has_program("cat"));
    }
}
