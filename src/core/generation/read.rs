//! Reads the text of a generation.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{FORMAT, Generation, GenerationError, Header};
use crate::{
    desired::{Entry, FileEntry, ProjectFile},
    digest::Digest,
};

impl Generation {
    /// Reads the text that [`document`](super::document) wrote.
    ///
    /// # Errors
    /// Another version wrote it, or it is damaged.
    pub fn read(text: &str) -> Result<Self, GenerationError> {
        let damaged = |what: &str| GenerationError::Damaged(what.to_owned());
        let (first, rest) = text
            .split_once('\n')
            .ok_or_else(|| damaged("it is empty"))?;
        let header = Header::read(first)?;
        let mut entries: Vec<BTreeMap<String, Entry>> = vec![];
        let mut files: Vec<Vec<ProjectFile>> = vec![];
        for line in rest.lines() {
            let unknown = || damaged(&format!("the line {line:?}"));
            match line.split_once(' ').ok_or_else(unknown)? {
                ("i", _) => {}
                ("t", _) => entries.push(BTreeMap::new()),
                ("p", _) => files.push(vec![]),
                (kind, rest) => {
                    let (name, entry) = read_entry(kind, rest).ok_or_else(unknown)?;
                    match (files.last_mut(), entries.last_mut(), entry) {
                        (Some(project), _, Entry::File(file)) => {
                            project.push(project_file(name, &file));
                        }
                        (None, Some(transfer), entry) => drop(transfer.insert(name, entry)),
                        _ => return Err(unknown()),
                    }
                }
            }
        }
        let is_whole =
            entries.len() == header.transfers.len() && files.len() == header.projects.len();
        if !is_whole {
            return Err(damaged("its end is missing"));
        }
        Ok(Self {
            header,
            entries,
            files,
        })
    }
}

impl Header {
    /// Reads the first line of the text.
    ///
    /// # Errors
    /// Another version wrote it, or it is damaged.
    pub fn read(line: &str) -> Result<Self, GenerationError> {
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let damaged = |error: serde_json::Error| GenerationError::Damaged(error.to_string());
        let Format { format } = serde_json::from_str(line).map_err(damaged)?;
        if format != u64::from(FORMAT) {
            return Err(GenerationError::Format(format));
        }
        serde_json::from_str(line).map_err(damaged)
    }
}

/// Reads a line of a transfer or a project: the path and what is there.
fn read_entry(kind: &str, rest: &str) -> Option<(String, Entry)> {
    match kind {
        "f" | "s" => {
            let mut words = rest.splitn(4, ' ');
            let mut next = || words.next();
            let (sha256, mode, bytes, name) = (next()?, next()?, next()?, next()?);
            let file = FileEntry {
                local: camino::Utf8PathBuf::new(),
                sha256: Digest::from_hex(sha256)?,
                bytes: bytes.parse().ok()?,
                mode: u32::from_str_radix(mode, 8).ok()?,
                secret: kind == "s",
            };
            Some((name.to_owned(), Entry::File(file)))
        }
        "d" => {
            let (mode, name) = rest.split_once(' ')?;
            let mode = match mode {
                "-" => None,
                mode => Some(u32::from_str_radix(mode, 8).ok()?),
            };
            Some((name.to_owned(), Entry::Directory { mode }))
        }
        "l" => {
            let (name, target) = rest.split_once('\t')?;
            let target = target.to_owned();
            Some((name.to_owned(), Entry::Symlink { target }))
        }
        _ => None,
    }
}

fn project_file(relative: String, file: &FileEntry) -> ProjectFile {
    ProjectFile {
        relative,
        local: file.local.clone(),
        sha256: file.sha256,
        bytes: file.bytes,
        mode: file.mode,
    }
}
