//! Finds the members of an archive by name and returns their position in the file.

use std::collections::HashMap;

use serde::de::DeserializeOwned;

use super::walk::{Kind, Walker};
use crate::error::ImageError;
use crate::files::{self, Holes, ScratchDir, Slice};

/// The most members that are indexed. Docker accepts 125 layers with at most four members each; a
/// tar with more members than this is no image archive, and its index would only take memory.
const MAX_MEMBERS: usize = 16_384;

/// Longest name that is indexed; docker's own have 77 characters.
const MAX_NAME: usize = 1024;

/// The most links that are followed from one name; a duplicate layer of `docker save` needs one.
const MAX_LINKS: usize = 8;

/// Top-level directories that a file system has and an image archive does not.
const FILE_SYSTEM: [&str; 7] = ["bin", "etc", "home", "lib", "sbin", "usr", "var"];

#[derive(Debug)]
enum Member {
    File {
        offset: u64,
        len: u64,
    },
    /// The target as written, and the name of the member that it refers to.
    Link(String, Option<String>),
    Sparse {
        offset: u64,
        len: u64,
        /// `None` in the old GNU format.
        holes: Option<Holes>,
    },
}

/// The members of a tar file.
#[derive(Debug)]
pub(crate) struct TarIndex {
    slice: Slice,
    origin: String,
    scratch: ScratchDir,
    members: HashMap<String, Member>,
    /// Whether a member is in a directory that only a file system has.
    file_system: bool,
}

impl TarIndex {
    /// Reads the headers of the tar in `slice`; `origin` names it in errors. Sparse members are
    /// expanded in `scratch`.
    pub(crate) fn read(
        slice: Slice,
        origin: &str,
        scratch: &ScratchDir,
    ) -> Result<Self, ImageError> {
        let mut members = HashMap::new();
        let mut file_system = false;
        let mut walker = Walker::new(slice.reader(), origin);
        while let Some(entry) = walker.next()? {
            if members.len() >= MAX_MEMBERS {
                break;
            }
            if entry.name.len() > MAX_NAME {
                continue;
            }
            // No manifest can refer to a name outside the archive's root.
            let Some(name) = normalise(&entry.name) else {
                continue;
            };
            file_system |= is_in_file_system(&name);
            let member = match entry.kind {
                Kind::File => Member::File {
                    offset: entry.offset,
                    len: entry.len,
                },
                Kind::Hardlink(target) => {
                    let member = normalise(&target);
                    Member::Link(target, member)
                }
                Kind::Symlink(target) => {
                    let member = relative(&name, &target);
                    Member::Link(target, member)
                }
                Kind::Sparse(holes) => Member::Sparse {
                    offset: entry.offset,
                    len: entry.len,
                    holes,
                },
                Kind::Directory | Kind::Other => continue,
            };
            members.insert(name, member); // the last one of a name wins, as in unpacking
        }
        Ok(Self {
            slice,
            origin: origin.to_owned(),
            scratch: scratch.clone(),
            members,
            file_system,
        })
    }

    /// What the user named.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether a member has this name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Whether the archive looks like the tar of a file system.
    pub(crate) fn looks_like_a_file_system(&self) -> bool {
        self.file_system
    }

    /// Whether any directory has a member `name`.
    pub(crate) fn contains_below(&self, name: &str) -> bool {
        self.members.keys().any(|member| {
            member
                .strip_suffix(name)
                .is_some_and(|directory| directory.ends_with('/'))
        })
    }

    /// Returns the bytes of the member `name` after following links; `needed_by` is the document
    /// that names it.
    pub(crate) fn find(&self, name: &str, needed_by: &str) -> Result<Slice, ImageError> {
        let missing = || ImageError::Missing {
            origin: self.origin.clone(),
            part: name.escape_debug().take(MAX_NAME).collect(),
            needed_by: needed_by.to_owned(),
        };
        let mut at = normalise(name).ok_or_else(missing)?;
        let mut link: Option<&String> = None;
        for _ in 0..=MAX_LINKS {
            let Some(member) = self.members.get(&at) else {
                return Err(link.map_or_else(missing, |target| self.leads_outside(name, target)));
            };
            match member {
                Member::File { offset, len } => return Ok(self.slice.part(*offset, *len)),
                Member::Link(target, Some(member)) => {
                    link = Some(target);
                    at.clone_from(member);
                }
                Member::Link(target, None) => return Err(self.leads_outside(name, target)),
                Member::Sparse { offset, len, holes } => {
                    let stored = self.slice.part(*offset, *len);
                    return self.filled(name, &stored, holes.as_ref());
                }
            }
        }
        Err(self.metadata(name, "broken links"))
    }

    /// Expands a sparse member.
    fn filled(
        &self,
        name: &str,
        stored: &Slice,
        holes: Option<&Holes>,
    ) -> Result<Slice, ImageError> {
        let Some(holes) = holes else {
            let problem = "is sparse in an old format, which docker does not load";
            return Err(self.unusable(name, problem, "pack it again without `-S` (`--sparse`)"));
        };
        let filled = holes.fill(stored, &self.scratch)?;
        filled.ok_or_else(|| self.metadata(name, "its list of holes is not valid"))
    }

    fn leads_outside(&self, name: &str, target: &str) -> ImageError {
        let target: String = target.escape_debug().take(MAX_NAME).collect();
        let problem = format!("is a link to {target}, which is not in the archive");
        let remedy = "pack the targets of links with `tar -h` (`--dereference`)";
        self.unusable(name, &problem, remedy)
    }

    /// An error about the member `part`, and what to do.
    pub(crate) fn unusable(&self, part: &str, problem: &str, remedy: &'static str) -> ImageError {
        ImageError::Unusable {
            origin: self.origin.clone(),
            part: part.escape_debug().take(MAX_NAME).collect(),
            problem: problem.to_owned(),
            remedy,
        }
    }

    /// Reads a whole member of at most `limit` bytes.
    pub(crate) fn document(
        &self,
        name: &str,
        needed_by: &str,
        limit: u64,
    ) -> Result<Vec<u8>, ImageError> {
        let slice = self.find(name, needed_by)?;
        if slice.len() > limit {
            return Err(ImageError::TooMuch {
                origin: self.origin.clone(),
                part: name.to_owned(),
                found: format!("{} bytes", slice.len()),
                limit,
            });
        }
        slice
            .start(limit)
            .map_err(|source| files::read_error(&self.origin, 0, source))
    }

    /// Parses a JSON document; `part` names it in errors.
    pub(crate) fn parse<T: DeserializeOwned>(
        &self,
        part: &str,
        bytes: &[u8],
    ) -> Result<T, ImageError> {
        serde_json::from_slice(bytes).map_err(|error| self.metadata(part, &error.to_string()))
    }

    /// An error about the document `part`.
    pub(crate) fn metadata(&self, part: &str, problem: &str) -> ImageError {
        ImageError::Metadata {
            origin: self.origin.clone(),
            part: part.escape_debug().take(MAX_NAME).collect(),
            problem: problem.to_owned(),
        }
    }
}

/// Whether `name` is in a directory that only a file system has.
pub(crate) fn is_in_file_system(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(top, _)| FILE_SYSTEM.contains(&top))
}

/// Removes `.`, `..` and doubled or leading slashes; `None` if the name leaves the root.
fn normalise(name: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Resolves the target of the symlink `name`.
fn relative(name: &str, target: &str) -> Option<String> {
    if target.len() > MAX_NAME {
        return None;
    }
    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
    if target.starts_with('/') {
        normalise(target)
    } else {
        normalise(&format!("{directory}/{target}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_names_do_not_leave_the_root() {
        assert_eq!(normalise("./a//b/../c"), Some("a/c".into()));
        assert_eq!(normalise("/etc/passwd"), Some("etc/passwd".into()));
        assert_eq!(normalise("a/../../b"), None);
        assert_eq!(
            relative("x/layer.tar", "../y/layer.tar"),
            Some("y/layer.tar".into())
        );
        assert_eq!(relative("layer.tar", "../y"), None);
    }
}
