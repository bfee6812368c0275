//! Files of transfers on the in-memory VPU: the answers to
//! questions about them, and the effect of their scripts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Read as _,
};

use super::{
    commands::{Ran, fail},
    world::{File, World, parent},
};
use o3r_deploy::internal::digest::Digest;

/// A path and everything below it, by relative path.
#[derive(Debug, Default)]
pub(super) struct Taken {
    directories: BTreeMap<String, (u32, u32)>,
    files: BTreeMap<String, File>,
    links: BTreeMap<String, String>,
}

fn split<T>(map: &mut BTreeMap<String, T>, path: &str) -> BTreeMap<String, T> {
    let below = |name: &str| {
        let rest = name.strip_prefix(path)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_owned())
    };
    let names: Vec<String> = map
        .keys()
        .filter(|name| below(name).is_some())
        .cloned()
        .collect();
    names
        .into_iter()
        .filter_map(|name| Some((below(&name)?, map.remove(&name)?)))
        .collect()
}

impl World {
    /// Returns all paths below a directory.
    pub fn below(&self, directory: &str) -> BTreeSet<String> {
        let prefix = format!("{directory}/");
        let names = self
            .directories
            .keys()
            .chain(self.files.keys())
            .chain(self.links.keys());
        names
            .filter(|name| name.starts_with(&prefix))
            .cloned()
            .collect()
    }

    pub(super) fn is_there(&self, path: &str) -> bool {
        self.directories.contains_key(path)
            || self.files.contains_key(path)
            || self.links.contains_key(path)
    }

    /// Removes and returns a path and everything below it.
    pub(super) fn take(&mut self, path: &str) -> Taken {
        Taken {
            directories: split(&mut self.directories, path),
            files: split(&mut self.files, path),
            links: split(&mut self.links, path),
        }
    }

    fn put(&mut self, path: &str, taken: Taken) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.make_directory(parent);
        }
        let at = |rest: String| format!("{path}{rest}");
        self.directories
            .extend(taken.directories.into_iter().map(|(rest, d)| (at(rest), d)));
        self.files
            .extend(taken.files.into_iter().map(|(rest, f)| (at(rest), f)));
        self.links
            .extend(taken.links.into_iter().map(|(rest, l)| (at(rest), l)));
    }

    /// Renames a path, if it exists.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if !self.is_there(from) {
            return;
        }
        let taken = self.take(from);
        self.files.remove(to);
        self.links.remove(to);
        self.put(to, taken);
    }
}

/// Returns what `trees.sh` would print.
pub(super) fn answer(world: &World, nonce: &str, part: &str, queries: &[u8]) -> String {
    let queries = String::from_utf8_lossy(queries);
    let queries = queries.lines().filter_map(|line| line.split_once(' '));
    let absolute = |path: &str| match path.strip_prefix('.') {
        Some(rest) => format!("{}{rest}", world.home),
        None => path.to_owned(),
    };
    let (mut targets, mut nodes, mut below) = ("home /\n".to_owned(), String::new(), String::new());
    let mut hashes = String::new();
    let staging = format!("{}/.o3r-deploy/staging", world.home);
    if world.is_there(&staging) {
        let _ = writeln!(targets, "left {staging}");
    }
    for (kind, path) in queries {
        match kind {
            "r" | "R" => {
                let (mut nearest, mut flag) = (absolute(path), 'w');
                while world.directory_at(&nearest).is_none() {
                    if nearest != absolute(path) && world.is_there(&nearest) {
                        flag = 'f';
                    }
                    nearest.truncate(nearest.rfind('/').unwrap_or(0));
                }
                let _ = writeln!(
                    targets,
                    "target {flag}\n9000000 1000000 - overlay /\n{nearest}\n{path}"
                );
                look(world, path, &absolute(path), &mut nodes);
                if kind == "R" && world.directories.contains_key(&absolute(path)) {
                    list(world, path, &absolute(path), &mut below);
                }
            }
            "n" => look(
                world,
                path,
                absolute(path).trim_end_matches("/."),
                &mut nodes,
            ),
            "s" | "l" => {
                let path = if kind == "l" {
                    path.split_once(' ').unwrap_or_default().1
                } else {
                    path
                };
                if let Some(file) = world.files.get(&absolute(path)) {
                    let _ = writeln!(hashes, "{}  {path}", Digest::of(&file.bytes).hex());
                }
            }
            _ => {}
        }
    }
    let sections = [
        ("look", "targets", targets),
        ("look", "nodes", nodes),
        ("look", "below", below),
        ("hash", "hashes", hashes),
    ];
    let mut out = String::new();
    for (of, name, text) in sections {
        if of == part {
            let _ = write!(out, "{nonce} begin {name}\n{text}\n{nonce} end {name} 0\n");
        }
    }
    out
}

fn look(world: &World, shown: &str, path: &str, out: &mut String) {
    let _ = if let Some((mode, uid)) = world.directories.get(path) {
        writeln!(out, "= 4{mode:03x} {uid} 4096 {shown}\nd rwx {shown}")
    } else if let Some(file) = world.files.get(path).filter(|_| !shown.ends_with("/.")) {
        let mode = 0o100_000 | file.mode;
        writeln!(out, "= {mode:x} 989 {} {shown}", file.bytes.len())
    } else if let Some(target) = world.links.get(path).filter(|_| !shown.ends_with("/.")) {
        writeln!(
            out,
            "= a1ff 989 {} {shown}\n@ {shown}\n{target}",
            target.len()
        )
    } else {
        writeln!(out, "- {shown}")
    };
}

fn list(world: &World, shown: &str, path: &str, out: &mut String) {
    let _ = writeln!(out, "R {shown}");
    let names = world.directories.keys().map(|name| (name, true));
    let names = names.chain(
        world
            .files
            .keys()
            .chain(world.links.keys())
            .map(|name| (name, false)),
    );
    for (name, is_directory) in names {
        let Some(rest) = name.strip_prefix(path).filter(|rest| rest.starts_with('/')) else {
            continue;
        };
        let kind = if is_directory { "d rwx " } else { "" };
        let _ = writeln!(out, "{kind}{shown}{rest}");
    }
}

/// Returns what `contents.sh` would print.
pub(super) fn contents(world: &World, limit: usize, nonce: &str, paths: &[u8]) -> String {
    let mut out = format!("{nonce}\n");
    for path in String::from_utf8_lossy(paths).lines() {
        let file = world.files.get(path);
        if let Some(file) = file.filter(|file| file.bytes.len() <= limit) {
            out.push('=');
            for byte in &file.bytes {
                let _ = write!(out, "{byte:02x}");
            }
        }
        out.push('\n');
    }
    out
}

/// Unpacks the archive if it matches its sums.
pub(super) fn stage(world: &mut World, staging: &str, archive: &[u8]) -> Ran {
    let io = |error: std::io::Error| (1, error.to_string());
    drop(world.take(staging));
    world.make_private_parent(staging);
    let (mut taken, mut sums) = (Taken::default(), None);
    let mut reader = tar::Archive::new(archive);
    for entry in reader.entries().map_err(io)? {
        let mut entry = entry.map_err(io)?;
        let name = entry.path().map_err(io)?.to_string_lossy().into_owned();
        let name = format!("/new/{}", name.trim_end_matches('/'));
        let mode = entry.header().mode().map_err(io)?;
        let mut bytes = vec![];
        entry.read_to_end(&mut bytes).map_err(io)?;
        match entry.header().entry_type() {
            tar::EntryType::Directory => drop(taken.directories.insert(name, (mode, 989))),
            tar::EntryType::Symlink => {
                let target = entry.link_name().map_err(io)?.unwrap_or_default();
                taken
                    .links
                    .insert(name, target.to_string_lossy().into_owned());
            }
            _ if name == "/new/sums" => sums = Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => drop(taken.files.insert(name, File { bytes, mode })),
        }
    }
    let Some(sums) = sums else {
        return fail("the archive was cut short");
    };
    for line in sums.lines() {
        let (sha256, name) = line.split_once("  ").unwrap_or_default();
        let file = taken.files.get(&format!("/new/{name}"));
        if file.is_none_or(|file| Digest::of(&file.bytes).hex() != sha256) {
            return fail(format!("the received data differs from the plan: {name}"));
        }
    }
    world.make_directories(&format!("{staging}/new"), 0o700);
    let names = taken.files.keys().chain(taken.links.keys());
    let names: Vec<String> = names.chain(taken.directories.keys()).cloned().collect();
    world.put(staging, taken);
    // The directories above, which are not in the archive.
    for name in names {
        world.make_private_parent(&format!("{staging}{name}"));
    }
    Ok(String::new())
}

fn aside(marker: &str, record: &str) -> String {
    format!("{marker}.{}", record.rsplit('/').next().unwrap_or_default())
}

/// Does what `move-files.sh` does before it moves anything.
pub(super) fn mark(world: &mut World, marker: &str, how: &str, records: &[&str]) {
    if how == "do" {
        world.empty(marker);
        for record in records {
            if let Some(file) = world.files.remove(*record) {
                world.files.insert(aside(marker, record), file);
            }
        }
    }
}

/// Does what `move-files.sh` does after everything is undone.
pub(super) fn unmark(world: &mut World, marker: &str, how: &str, records: &[&str]) {
    if how == "undo" {
        for record in records {
            if let Some(file) = world.files.remove(&aside(marker, record))
                && !world.files.contains_key(*record)
            {
                world.write(record, &file.bytes, file.mode);
            }
        }
        world.files.remove(marker);
    }
}

/// Does what `move-files.sh` does, with `[target, new, old]`.
pub(super) fn move_files(world: &mut World, [target, new, old]: [&str; 3], list: &[u8]) -> Ran {
    let list = String::from_utf8_lossy(list).into_owned();
    for line in list.lines() {
        let (op, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (mode, path) = match op {
            "c" | "d" => rest.split_once(' ').unwrap_or((rest, "")),
            _ => ("0", rest),
        };
        let mode = u32::from_str_radix(mode, 8).map_err(|error| (1, error.to_string()))?;
        let below = |root: &str| match path {
            "" => root.to_owned(),
            path => format!("{root}/{path}"),
        };
        let (at, from, kept) = (below(target), below(new), below(old));
        match op {
            "k" | "x" if world.is_there(&kept) || !world.is_there(&at) => {}
            "k" => {
                world.make_directory(parent(&kept));
                if let Some(target) = world.links.get(&at).cloned() {
                    world.links.insert(kept, target);
                } else if let Some(file) = world.files.get(&at).cloned() {
                    world.files.insert(kept, file);
                } else {
                    return fail(format!("{at}: no file to keep"));
                }
            }
            "x" => world.rename(&at, &kept),
            "e" if world.below(&at).is_empty() => drop(world.directories.remove(&at)),
            "d" => {
                world.make_directory(&at);
                world.directories.insert(at, (mode, 989));
            }
            "m" if world.is_there(&from) => {
                if world.directories.contains_key(&at) {
                    return fail(format!("{at}: Directory not empty"));
                }
                world.rename(&from, &at);
            }
            "m" if world.is_there(&at) => {}
            "m" => return fail(format!("{at}: it was not staged")),
            "c" => {
                if let Some(directory) = world.directories.get_mut(&at) {
                    directory.0 = mode;
                } else if let Some(file) = world.files.get_mut(&at) {
                    file.mode = mode;
                }
            }
            "r" => drop(world.take(&at)),
            "b" if world.is_there(&kept) => {
                drop(world.take(&at));
                world.rename(&kept, &at);
            }
            "b" | "e" => {}
            _ => return fail(format!("{line}: not understood")),
        }
    }
    Ok(String::new())
}
