//! Writes files of transfers as one tar archive while it is sent; nothing is copied first.

use std::io::{self, Read as _, Write};

use o3r_core::rendered::Rendered;

use crate::desired::{Entry, FileEntry, Transfer, entry, sums};

/// Bytes that are written at a time: otherwise, small files would cost a system call for each
/// header.
const BUFFER: usize = 256 << 10;

/// The last file, which proves that all others arrived.
const SUMS: &str = "sums";

/// The permissions that the owner needs to fill a directory; the declared mode is set when it is
/// full.
const OPEN: u32 = 0o700;

/// The mode of a created directory without a declared mode.
const DIRECTORY_MODE: u32 = 0o755;

/// Writes the archive.
///
/// # Errors
/// A file cannot be read or has become shorter; `out` fails.
pub fn write_archive(
    transfers: &[Transfer],
    rendered: &Rendered,
    members: &[String],
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut archive = tar::Builder::new(io::BufWriter::with_capacity(BUFFER, out));
    for member in members {
        match entry(transfers, member) {
            Some(Entry::File(file)) => {
                let mut header = header(tar::EntryType::Regular, file.mode, file.bytes);
                match rendered.get(&file.sha256) {
                    Some(content) => archive.append_data(&mut header, member, content.bytes())?,
                    None => archive.append_data(&mut header, member, Exact::open(file)?)?,
                }
            }
            Some(Entry::Directory { mode }) => {
                let mode = mode.unwrap_or(DIRECTORY_MODE) | OPEN;
                let mut header = header(tar::EntryType::Directory, mode, 0);
                archive.append_data(&mut header, format!("{member}/"), io::empty())?;
            }
            Some(Entry::Symlink { target }) => {
                let mut header = header(tar::EntryType::Symlink, 0o777, 0);
                archive.append_link(&mut header, member, target)?;
            }
            None => return Err(io::Error::other(format!("no {member} in the manifest"))),
        }
    }
    let sums = sums(transfers, members);
    let mut header = header(tar::EntryType::Regular, 0o600, sums.len() as u64);
    archive.append_data(&mut header, SUMS, sums.as_bytes())?;
    archive.into_inner()?.flush()
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    // A fixed time: the clock of a VPU may be years behind, and tar warns of files from the future.
    header.set_mtime(1);
    header
}

/// A file of exactly the length in its header: a shorter one would shift everything that follows.
struct Exact<'a> {
    file: io::Take<fs_err::File>,
    wanted: &'a FileEntry,
    read: u64,
}

impl<'a> Exact<'a> {
    fn open(wanted: &'a FileEntry) -> io::Result<Self> {
        let file = fs_err::File::open(&wanted.local)?;
        Ok(Self {
            file: file.take(wanted.bytes),
            wanted,
            read: 0,
        })
    }
}

impl io::Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        if count == 0 && self.read < self.wanted.bytes && !buffer.is_empty() {
            let message = format!(
                "{} is shorter than when it was first read",
                self.wanted.local
            );
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{desired::archive_len, digest::Digest, manifest::Exclude};

    fn transfer(directory: &camino::Utf8Path, contents: &[(&str, usize)]) -> Transfer {
        let mut entries = BTreeMap::from([
            (String::new(), Entry::Directory { mode: None }),
            ("d".repeat(100), Entry::Directory { mode: Some(0o500) }),
            (
                "link".to_owned(),
                Entry::Symlink {
                    target: "t".repeat(130),
                },
            ),
        ]);
        for (name, length) in contents {
            let local = directory.join(Digest::of(name).hex());
            let bytes = vec![b'x'; *length];
            std::fs::write(&local, &bytes).unwrap();
            let file = FileEntry {
                local,
                sha256: Digest::of(&bytes),
                bytes: bytes.len() as u64,
                mode: 0o640,
                secret: false,
            };
            entries.insert((*name).to_owned(), Entry::File(file));
        }
        Transfer {
            target: "~/t".parse().unwrap(),
            entries,
            delete: false,
            exclude: Exclude::default(),
            gone: BTreeMap::new(),
            restart: vec![],
            source: None,
        }
    }

    #[test]
    fn the_archive_is_complete_and_its_length_known_in_advance() {
        let directory = tempfile::tempdir().unwrap();
        let directory = camino::Utf8Path::from_path(directory.path()).unwrap();
        let long = "n".repeat(240);
        let names = [("a", 0), ("b c", 512), (&long, 513), ("d'\\ é", 70_000)];
        let transfers = [transfer(directory, &names)];
        let members: Vec<String> = transfers[0]
            .entries
            .keys()
            .map(|name| format!("0/{name}"))
            .map(|name| name.trim_end_matches('/').to_owned())
            .collect();
        let mut bytes = vec![];
        write_archive(&transfers, &Rendered::new(), &members, &mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, archive_len(&transfers, &members));
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .map(|name| name.trim_end_matches('/').to_owned())
            .collect();
        assert_eq!(names[..names.len() - 1], members);
        assert_eq!(names.last().unwrap(), SUMS);
    }

    #[test]
    fn a_shortened_file_fails_the_archive() {
        let directory = tempfile::tempdir().unwrap();
        let directory = camino::Utf8Path::from_path(directory.path()).unwrap();
        let transfers = [transfer(directory, &[("a", 1000)])];
        std::fs::write(directory.join(Digest::of("a").hex()), "short").unwrap();
        let mut bytes = vec![];
        let error = write_archive(
            &transfers,
            &Rendered::new(),
            &["0/a".to_owned()],
            &mut bytes,
        )
        .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("is shorter than when it was first read"),
            "{error}"
        );
    }
}
