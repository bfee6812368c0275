//! Parses the output of `trees.sh`; takes outputs, not a host.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::{from_probe_path, join, to_probe_path};
use crate::observe::{Access, Node, Other, Tree, TreeQuery, Trees};
use crate::{
    digest::Digest,
    host::Output,
    observe::{
        Disk, Probed, Readings,
        parse::{permission_bits, unhex},
    },
};
use o3r_core::names::escape;

/// The script's answer about a path.
#[derive(Default)]
struct Answer<'a> {
    /// Mode (with the type), owner, size.
    listing: Option<(u32, u32, u64)>,
    missing: bool,
    access: Option<&'a str>,
    link: Option<&'a str>,
    sha256: Option<Digest>,
}

/// Parses the output of both sessions.
///
/// # Errors
/// Why the answer is unreliable.
pub(super) fn parse(
    look: &Output,
    hash: &Output,
    nonce: &str,
    queries: &[TreeQuery],
    readings: &mut Readings,
) -> Result<Trees, String> {
    let mut answers: HashMap<&str, Answer<'_>> = HashMap::new();
    nodes(&section(look, nonce, "nodes")?.0, &mut answers)?;
    for line in section(hash, nonce, "hashes")?.0 {
        // An invalid line leaves its file without a hash, which blocks.
        if let Ok(line) = std::str::from_utf8(line)
            && let Some((digest, path)) = hashed(line)
            && let Some(answer) = answers.get_mut(path.as_ref())
        {
            answer.sha256 = Some(digest);
        }
    }
    let mut trees = Trees::default();
    let mut places = targets(&section(look, nonce, "targets")?.0, &mut trees, readings)?;
    let (below, code) = section(look, nonce, "below")?;
    let mut others = others(&below, queries)?;
    for query in queries {
        let target = to_probe_path(&query.target);
        let mut tree = places
            .remove(target.as_str())
            .ok_or("a target is missing in the answer")?;
        for name in query.names.keys() {
            let path = join(&target, name);
            let answer = match (name.as_str(), query.is_directory()) {
                ("", true) => answers
                    .get(format!("{target}/.").as_str())
                    .filter(|answer| !answer.missing)
                    .or_else(|| answers.get(path.as_str())),
                _ => answers.get(path.as_str()),
            };
            if let Some(node) = node(answer, &tree.nodes, name) {
                tree.nodes.insert(name.clone(), node);
            }
        }
        if let Some(found) = others.remove(query.target.as_str()) {
            let unreadable = found
                .nodes
                .values()
                .any(|other| matches!(other, Other::Directory { readable, .. } if !readable));
            if code != 0 && !unreadable {
                let reason = "it could not be listed completely".to_owned();
                trees
                    .targets
                    .insert(query.target.clone(), Probed::Unknown(reason));
                continue;
            }
            tree.odd = found.odd;
            tree.others = found.nodes;
            tree.others
                .retain(|name, _| !query.names.contains_key(name));
        }
        trees
            .targets
            .insert(query.target.clone(), Probed::Known(tree));
    }
    Ok(trees)
}

/// Returns the lines of a section and its exit code.
fn section<'a>(
    output: &'a Output,
    nonce: &str,
    name: &str,
) -> Result<(Vec<&'a [u8]>, i32), String> {
    let cut = || {
        let said = output.tail(3);
        format!(
            "the answer is truncated (exit code {}){}{said}",
            output.code,
            if said.is_empty() { "" } else { ": " }
        )
    };
    let begin = format!("{nonce} begin {name}");
    let end = format!("{nonce} end {name} ");
    let mut lines = output.stdout.split(|byte| *byte == b'\n');
    lines
        .find(|line| *line == begin.as_bytes())
        .ok_or_else(cut)?;
    let mut body = vec![];
    for line in lines {
        if let Some(code) = line.strip_prefix(end.as_bytes()) {
            let code = std::str::from_utf8(code)
                .ok()
                .and_then(|code| code.parse().ok());
            return Ok((body, code.ok_or_else(cut)?));
        }
        if !line.is_empty() {
            body.push(line);
        }
    }
    Err(cut())
}

fn text(line: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(line).map_err(|_| unexpected(line))
}

fn unexpected(line: &[u8]) -> String {
    format!("unexpected answer {:?}", String::from_utf8_lossy(line))
}

fn nodes<'a>(lines: &[&'a [u8]], answers: &mut HashMap<&'a str, Answer<'a>>) -> Result<(), String> {
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        let line = text(line)?;
        let bad = || unexpected(line.as_bytes());
        let (kind, rest) = line.split_once(' ').ok_or_else(bad)?;
        match kind {
            "=" => {
                let mut words = rest.splitn(4, ' ');
                let mut word = || words.next().ok_or_else(bad);
                let (mode, uid, size, path) = (word()?, word()?, word()?, word()?);
                let listing = (
                    file_mode(mode).ok_or_else(bad)?,
                    uid.parse().map_err(|_| bad())?,
                    // For a device, `ls` prints its numbers.
                    size.parse().unwrap_or(0),
                );
                answers.entry(path).or_default().listing = Some(listing);
            }
            "-" => answers.entry(rest).or_default().missing = true,
            "d" => {
                let (access, path) = rest.split_once(' ').ok_or_else(bad)?;
                answers.entry(path).or_default().access = Some(access);
            }
            "@" => {
                let target = lines.next().ok_or_else(bad)?;
                // A target that is not UTF-8 is not ours.
                let target = std::str::from_utf8(target).unwrap_or_default();
                answers.entry(rest).or_default().link = Some(target);
            }
            _ => return Err(bad()),
        }
    }
    Ok(())
}

/// Parses type and permission bits from `stat` (`81a4`) or `ls` (`-rw-r--r--`).
fn file_mode(text: &str) -> Option<u32> {
    if text.len() < 10 {
        return u32::from_str_radix(text, 16).ok();
    }
    let kind = match text.as_bytes()[0] {
        b'-' => FILE,
        b'd' => DIRECTORY,
        b'l' => LINK,
        _ => 0,
    };
    Some(kind | permission_bits(text)?)
}

const TYPE: u32 = 0o170_000;
const FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

/// Parses `DIGEST  PATH` or `DIGEST *PATH`; coreutils prepends a backslash if it escaped the name.
fn hashed(line: &str) -> Option<(Digest, Cow<'_, str>)> {
    let (line, escaped) = match line.strip_prefix('\\') {
        Some(rest) => (rest, true),
        None => (line, false),
    };
    let (digest, rest) = line.split_once(' ')?;
    let path = rest.strip_prefix([' ', '*'])?;
    let digest = match digest.strip_prefix('x') {
        Some(hex) => Digest::of(&unhex(hex)?),
        None => Digest::from_hex(digest)?,
    };
    // Of the characters that coreutils escapes, our names only contain backslashes.
    let path = if escaped {
        path.replace("\\\\", "\\").into()
    } else {
        path.into()
    };
    Some((digest, path))
}

/// Returns the state of a path; `None` if it is missing.
fn node(
    answer: Option<&Answer<'_>>,
    known: &BTreeMap<String, Probed<Node>>,
    name: &str,
) -> Option<Probed<Node>> {
    let unknown = |reason: &str| Some(Probed::Unknown(reason.to_owned()));
    let Some(answer) = answer else {
        return unknown("it is missing in the answer");
    };
    if answer.missing {
        // The content of an unsearchable directory looks missing.
        let above = name.rsplit_once('/').map_or("", |(above, _)| above);
        let hidden = match known.get(above) {
            _ if name.is_empty() => false,
            Some(Probed::Known(Node::Directory { readable, .. })) => !readable,
            Some(Probed::Unknown(_)) => true,
            _ => false,
        };
        return if hidden {
            unknown("no permission to read it")
        } else {
            None
        };
    }
    let Some((mode, uid, size)) = answer.listing else {
        return unknown("it could not be listed");
    };
    let bits = mode & 0o7777;
    let node = match (mode & TYPE, answer.access, answer.link) {
        (FILE, _, _) => Node::File {
            mode: bits,
            uid,
            size,
            sha256: answer.sha256,
        },
        (DIRECTORY, Some(access), _) => Node::Directory {
            mode: bits,
            uid,
            readable: readable(access),
            writable: writable(access),
        },
        (LINK, _, Some(target)) => Node::Symlink {
            target: target.to_owned(),
            uid,
        },
        (DIRECTORY | LINK, _, _) => return unknown("it changed while it was read"),
        _ => Node::Special,
    };
    Some(Probed::Known(node))
}

fn readable(access: &str) -> bool {
    access.starts_with('r') && access.ends_with('x')
}

fn writable(access: &str) -> bool {
    access.ends_with("wx")
}

fn targets<'a>(
    lines: &[&'a [u8]],
    trees: &mut Trees,
    readings: &mut Readings,
) -> Result<HashMap<&'a str, Tree>, String> {
    let mut found = HashMap::new();
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        let bad = || unexpected(line);
        let mut next = || text(lines.next().ok_or_else(bad)?);
        match text(line)?.split_once(' ').ok_or_else(bad)? {
            ("home", mount) => mount.clone_into(&mut trees.home_mount),
            ("left", path) => drop(trees.left.insert(from_probe_path(path))),
            ("target", access) => {
                let (disk, parent, path) = (Disk::parse(next()?), next()?, next()?);
                let mount = disk.as_ref().map(|disk| disk.mount.clone());
                let mount = mount.unwrap_or_default();
                readings
                    .disks
                    .extend(disk.map(|disk| (mount.clone(), disk)));
                let tree = Tree {
                    parent: from_probe_path(parent),
                    access: match access {
                        "w" => Access::Full,
                        "f" => Access::InTheWay,
                        _ => Access::None,
                    },
                    mount,
                    nodes: BTreeMap::new(),
                    others: BTreeMap::new(),
                    odd: BTreeSet::new(),
                };
                found.insert(path, tree);
            }
            _ => return Err(bad()),
        }
    }
    Ok(found)
}

/// The paths below a target.
#[derive(Default)]
struct Below {
    nodes: BTreeMap<String, Other>,
    odd: BTreeSet<String>,
}

fn others<'a>(
    lines: &[&[u8]],
    queries: &'a [TreeQuery],
) -> Result<HashMap<&'a str, Below>, String> {
    let mut found: HashMap<&str, Below> = HashMap::new();
    let mut current = None;
    for line in lines {
        if let Some(path) = line.strip_prefix(b"R ") {
            let is_it = |query: &&TreeQuery| to_probe_path(&query.target).as_bytes() == path;
            let query = queries.iter().find(is_it).ok_or_else(|| unexpected(line))?;
            found.insert(&query.target, Below::default());
            current = Some((query, path.len()));
            continue;
        }
        let (query, length) = current.ok_or_else(|| unexpected(line))?;
        let below = found.entry(&query.target).or_default();
        let (path, other) = if let Some(hex) = line.strip_prefix(b"odd ") {
            let bytes = unhex(text(hex)?).ok_or_else(|| unexpected(line))?;
            (bytes, None)
        } else if let Some(rest) = line.strip_prefix(b"d ") {
            let access = rest.get(..3).and_then(|access| text(access).ok());
            let access = access.ok_or_else(|| unexpected(line))?;
            let other = Other::Directory {
                readable: readable(access),
                writable: writable(access),
            };
            (rest.get(4..).unwrap_or_default().to_vec(), Some(other))
        } else {
            (line.to_vec(), Some(Other::File))
        };
        let mut name = path.get(length..).unwrap_or_default();
        while let Some(rest) = name.strip_prefix(b"/") {
            name = rest;
        }
        match (std::str::from_utf8(name), other) {
            (Ok(""), _) => {}
            (Ok(name), Some(other)) => drop(below.nodes.insert(name.to_owned(), other)),
            (Ok(name), None) => drop(below.odd.insert(escape(name))),
            (Err(_), _) => drop(below.odd.insert(escape_bytes(name))),
        }
    }
    Ok(found)
}

/// Escapes bytes that are not UTF-8, to be shown.
fn escape_bytes(bytes: &[u8]) -> String {
    bytes
        .iter()
        .copied()
        .flat_map(std::ascii::escape_default)
        .map(char::from)
        .collect()
}
