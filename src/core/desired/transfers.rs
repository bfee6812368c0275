//! Transfers: files, or trees of files, directories and links, that are copied to the VPU.

use std::{collections::BTreeMap, fmt::Write as _};

use camino::Utf8PathBuf;
use serde::Serialize;

use crate::{
    digest::Digest,
    exclude::Exclude,
    facts::{Former, TreeQuery},
    names::RemotePath,
};

/// A file or directory that is copied.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// The path on the VPU of the file itself, or of the directory whose contents are copied.
    pub target: RemotePath,
    /// The desired entries, by path below the target; the target itself is the empty path.
    pub entries: BTreeMap<String, Entry>,
    /// Whether everything else is deleted.
    pub delete: bool,
    /// What is left unchanged on both sides.
    pub exclude: Exclude,
    /// What the recorded release has at the target, and no transfer declares: removed where nobody changed it. A transfer
    /// that has nothing else is no longer declared.
    pub gone: BTreeMap<String, Former>,
    /// Projects whose containers are recreated if something changed.
    pub restart: Vec<String>,
    /// Where it is declared.
    pub source: Option<String>,
}

/// The desired entry at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A regular file.
    File(FileEntry),
    /// A directory.
    Directory {
        /// Permission bits; `None` leaves those of an existing directory unchanged.
        mode: Option<u32>,
    },
    /// A symbolic link.
    Symlink {
        /// Its target, within the tree.
        target: String,
    },
}

/// A file of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileEntry {
    /// Path on this machine.
    #[serde(skip)]
    pub local: Utf8PathBuf,
    /// Of its bytes.
    pub sha256: Digest,
    /// How many.
    #[serde(skip)]
    pub bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// Whether its contents must not appear anywhere except on the VPU.
    #[serde(skip)]
    pub secret: bool,
}

impl Transfer {
    /// Whether it is a single file.
    pub fn is_file(&self) -> bool {
        matches!(self.entries.get(""), Some(Entry::File(_)))
    }

    /// Whether the release had it and no longer declares it.
    pub fn is_undeclared(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the target as plans name it.
    pub fn name(&self) -> String {
        self.target.resolve("~")
    }

    /// Returns the digest of all entries.
    pub fn digest(&self) -> Digest {
        // Strings, numbers and maps of them always serialise.
        Digest::of(serde_json::to_vec(&self.entries).unwrap_or_default())
    }

    /// Returns what to ask a VPU about it.
    pub(super) fn query(&self) -> TreeQuery {
        let size = |entry: &Entry| match entry {
            Entry::File(file) => Some(file.bytes),
            Entry::Directory { .. } | Entry::Symlink { .. } => None,
        };
        let former_size = |former: &Former| match former {
            Former::File { bytes, .. } => Some(*bytes),
            Former::Directory | Former::Symlink { .. } => None,
        };
        let gone = self.gone.iter();
        let gone = gone.map(|(name, former)| (name.clone(), former_size(former)));
        let declared = self.entries.iter();
        let declared = declared.map(|(name, entry)| (name.clone(), size(entry)));
        TreeQuery {
            target: self.name(),
            all: self.delete,
            names: gone.chain(declared).collect(),
        }
    }
}

/// The block size of a tar archive, in bytes.
const BLOCK: u64 = 512;

/// The longest name, in bytes, that fits into a header of a tar archive.
const SHORT_NAME: usize = 100;

/// Returns the entry of an archive member: the transfer's number, and the path below its target.
pub fn entry<'a>(transfers: &'a [Transfer], member: &str) -> Option<&'a Entry> {
    let (number, name) = member.split_once('/').unwrap_or((member, ""));
    let transfer = transfers.get(number.parse::<usize>().ok()?)?;
    transfer.entries.get(name)
}

/// Returns the bytes of the archive of these members.
pub fn archive_len(transfers: &[Transfer], members: &[String]) -> u64 {
    let name_len = |name: &str| match name.len() {
        length if length <= SHORT_NAME => 0,
        length => BLOCK + (length as u64 + 1).next_multiple_of(BLOCK),
    };
    let mut length = 2 * BLOCK; // the two blocks at the end
    for member in members {
        length += BLOCK;
        length += match entry(transfers, member) {
            Some(Entry::File(file)) => name_len(member) + file.bytes.next_multiple_of(BLOCK),
            Some(Entry::Symlink { target }) => name_len(member) + name_len(target),
            // The name has a trailing slash.
            Some(Entry::Directory { .. }) => name_len(&format!("{member}/")),
            None => 0,
        };
    }
    length + BLOCK + (sums(transfers, members).len() as u64).next_multiple_of(BLOCK)
}

/// Returns the contents of the last file of an archive of
/// these members, as `sha256sum -c` reads it.
pub fn sums(transfers: &[Transfer], members: &[String]) -> String {
    let mut sums = String::new();
    for member in members {
        if let Some(Entry::File(file)) = entry(transfers, member) {
            let _ = writeln!(sums, "{}  {member}", file.sha256.hex());
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: u64) -> Entry {
        Entry::File(FileEntry {
            local: Utf8PathBuf::new(),
            sha256: Digest::of(b"text"),
            bytes,
            mode: 0o644,
            secret: false,
        })
    }

    /// Returns the size of the archive of one entry at `0/NAME`, in blocks.
    fn blocks(name_len: usize, entry: Entry) -> u64 {
        let name = "n".repeat(name_len);
        let transfer = Transfer {
            target: "~/share".parse().unwrap(),
            entries: [(name.clone(), entry)].into(),
            delete: false,
            exclude: Exclude::default(),
            gone: BTreeMap::new(),
            restart: vec![],
            source: None,
        };
        let length = archive_len(&[transfer], &[format!("0/{name}")]);
        assert_eq!(length % BLOCK, 0);
        length / BLOCK
    }

    #[test]
    fn the_length_of_an_archive_counts_headers_contents_sums_and_the_end() {
        // One header each for the entry and the sums, the line of sums, two blocks at the end.
        assert_eq!(blocks(1, file(0)), 5);
        assert_eq!(blocks(1, file(1)), 6);
        assert_eq!(blocks(1, file(512)), 6);
        assert_eq!(blocks(1, file(513)), 7);
        // No member is a file, so the sums are empty.
        assert_eq!(blocks(1, Entry::Directory { mode: None }), 4);
    }

    #[test]
    fn a_name_too_long_for_a_header_takes_further_blocks() {
        // `0/` is part of the name, and so is a directory's slash.
        assert_eq!((blocks(98, file(0)), blocks(99, file(0))), (5, 7));
        let directory = || Entry::Directory { mode: None };
        assert_eq!((blocks(97, directory()), blocks(98, directory())), (4, 6));
        // Names end with a zero byte; the line of sums takes two blocks in this case.
        assert_eq!((blocks(509, file(0)), blocks(510, file(0))), (8, 9));
        let link = |length| Entry::Symlink {
            target: "t".repeat(length),
        };
        assert_eq!((blocks(1, link(100)), blocks(1, link(101))), (4, 6));
        assert_eq!(blocks(99, link(101)), 8);
    }

    #[test]
    fn a_transfer_of_a_file_has_it_at_the_target_itself() {
        let is_file = |name: &str, entry: Entry| {
            let transfer = Transfer {
                target: "~/share".parse().unwrap(),
                entries: [(name.to_owned(), entry)].into(),
                delete: false,
                exclude: Exclude::default(),
                gone: BTreeMap::new(),
                restart: vec![],
                source: None,
            };
            transfer.is_file()
        };
        assert!(is_file("", file(1)));
        assert!(!is_file("a", file(1)));
        assert!(!is_file("", Entry::Directory { mode: None }));
    }
}
