//! Releases that the in-memory VPU keeps: their texts, contents and images.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    commands::{self, Ran, fail},
    world::World,
};
use o3r_deploy::internal::{digest::Digest, shell::Argv};

/// The size from which contents are links to the deployed files.
const LARGE: usize = 1 << 20;

/// The scripts that keep releases, and use what is kept.
pub(super) const SCRIPTS: [&str; 4] = [
    "o3r-keep-generation",
    "o3r-from-store",
    "o3r-stage-kept",
    "o3r-forget-release",
];

pub(super) fn script(world: &mut World, name: &str, args: &[&str], stdin: &[u8]) -> Ran {
    match (name, args) {
        ("o3r-keep-generation", [release, _, _]) => {
            keep_generation(world, release, &String::from_utf8_lossy(stdin));
            Ok(String::new())
        }
        ("o3r-forget-release", [release, images @ ..]) => {
            forget(world, release, images);
            Ok(String::new())
        }
        ("o3r-from-store", [path, program, words @ ..]) => {
            let Some(file) = world.files.get(*path) else {
                return fail(format!("{path}: No such file"));
            };
            let bytes = file.bytes.clone();
            let command = Argv::new(*program).args(words.iter().copied());
            commands::run(world, &command, &bytes)
        }
        ("o3r-stage-kept", [staging, store, _]) => {
            stage(world, staging, store, &String::from_utf8_lossy(stdin))
        }
        _ => Err((127, format!("{name}: not understood"))),
    }
}

/// Answers the questions about releases that are kept.
pub(super) fn answer(world: &World, name: &str, args: &[&str], stdin: &[u8]) -> Option<String> {
    let home = &world.home;
    let texts = |path: &str| {
        let file = world.files.get(path)?;
        Some(String::from_utf8_lossy(&file.bytes).into_owned())
    };
    let mut out = String::new();
    match (name, args) {
        ("o3r-note-attempt", [_, _]) | ("o3r-linked-paths", [_]) => {}
        ("o3r-whole-files", [nonce]) => {
            for line in String::from_utf8_lossy(stdin).lines() {
                let (sha256, path) = line.split_once(' ')?;
                let file = world.files.get(path);
                if file.is_some_and(|file| Digest::of(&file.bytes).hex() == sha256) {
                    let _ = writeln!(out, "{nonce} {line}");
                }
            }
        }
        ("o3r-show-generation", [nonce, release, number]) => {
            let path = format!("{home}/.o3r-deploy/generations/{release}/{number}");
            let _ = write!(out, "\n{nonce} {home}\n{}", texts(&path)?);
        }
        ("o3r-show-recorded", [nonce, release, desired, what]) => {
            let root = format!("{home}/.o3r-deploy/generations/{release}");
            let wanted = format!("\"desired\":\"{desired}\"");
            for path in world.files_below(&root).keys() {
                if path[root.len() + 1..].parse::<u64>().is_err() {
                    continue; // of a keep that was cut off
                }
                let text = texts(path)?;
                let header = text.lines().next().unwrap_or_default();
                if header.contains(&wanted) {
                    let _ = writeln!(out, "\n{nonce} {home}");
                    if *what == "header" {
                        let _ = writeln!(out, "{header}");
                    } else {
                        out.push_str(&text);
                    }
                    break;
                }
            }
        }
        ("o3r-data-sizes", [nonce]) => {
            for path in String::from_utf8_lossy(stdin).lines() {
                if world.volumes.contains_key(path) {
                    let _ = writeln!(out, "{nonce} 4.096kB volume {path}");
                } else if world.directories.contains_key(path) {
                    let is_empty = world.below(path).is_empty();
                    let kind = if is_empty { "empty" } else { "whole" };
                    let _ = writeln!(out, "{nonce} 4 {kind} {path}");
                }
            }
        }
        ("o3r-history", [nonce, _]) => {
            let root = format!("{home}/.o3r-deploy/generations");
            for path in world.files_below(&root).keys() {
                let (release, number) = path[root.len() + 1..].split_once('/')?;
                if number.parse::<u64>().is_err() {
                    continue; // of a keep that was cut off
                }
                let text = texts(path)?;
                let header = text.lines().next().unwrap_or_default();
                let _ = writeln!(out, "{nonce} generation {release} {number} {header}");
            }
            let root = format!("{home}/.o3r-deploy/releases");
            for path in world.files_below(&root).keys() {
                let release = path[root.len() + 1..].strip_suffix(".jsonl")?;
                for line in texts(path)?.lines() {
                    let _ = writeln!(out, "{nonce} recorded {release} {line}");
                }
            }
        }
        _ => return None,
    }
    Some(out)
}

/// An item of a release's text: the path of the transfer or project, the kind of the line, and its rest.
fn items(text: &str) -> Vec<(&str, &str, &str)> {
    let (mut at, mut all) = ("", vec![]);
    for line in text.lines().skip(1) {
        match line.split_once(' ') {
            Some(("t" | "p", path)) => at = path,
            Some((kind, rest)) => all.push((at, kind, rest)),
            None => {}
        }
    }
    all
}

/// The images of a text: the name that holds each, and its own.
fn images(text: &str) -> BTreeSet<(String, String)> {
    let items = items(text).into_iter();
    let images = items.filter(|(_, kind, _)| *kind == "i");
    let names = images.filter_map(|(_, _, rest)| rest.split_once(' ')?.1.split_once(' '));
    names
        .map(|(tag, name)| (tag.to_owned(), name.to_owned()))
        .collect()
}

/// The names of our own in a text.
pub(super) fn held(text: &[u8]) -> impl Iterator<Item = String> + use<> {
    let images = images(&String::from_utf8_lossy(text));
    images.into_iter().map(|(tag, _)| tag)
}

/// The contents of a text: the sha256 of each, and where it is deployed.
fn contents(text: &str) -> Vec<(String, String)> {
    let items = items(text).into_iter();
    let files = items.filter(|(_, kind, _)| matches!(*kind, "f" | "s"));
    files
        .filter_map(|(at, _, rest)| {
            let mut words = rest.splitn(4, ' ');
            let (sha256, name) = (words.next()?, words.nth(2)?);
            let path = format!("{at}/{name}");
            Some((sha256.to_owned(), path.trim_end_matches('/').to_owned()))
        })
        .collect()
}

fn base(world: &World) -> String {
    format!("{}/.o3r-deploy", world.home)
}

/// The texts of the releases of this name, by number.
fn generations(world: &World, release: &str) -> BTreeMap<usize, String> {
    let all = format!("{}/generations/{release}", base(world));
    let files = world.files_below(&all).into_iter();
    let texts = files.filter_map(|(path, bytes)| {
        let number = path[all.len() + 1..].parse().ok()?;
        Some((number, String::from_utf8_lossy(&bytes).into_owned()))
    });
    texts.collect()
}

/// The names of our own that images of a release have.
fn own_names(world: &World, release: &str) -> BTreeSet<String> {
    let tags = world.images.values().flat_map(|image| image.tags.clone());
    let is_own = |tag: &String| tag.starts_with(&format!("o3r-deploy/{release}:"));
    tags.filter(is_own).collect()
}

fn keep_generation(world: &mut World, release: &str, text: &str) {
    let base = base(world);
    let (all, store) = (
        format!("{base}/generations/{release}"),
        format!("{base}/store"),
    );
    world.make_directories(&all, 0o700);
    world.make_directories(&store, 0o700);
    world.files.remove(&format!("{all}/new"));
    world.files.remove(&format!("{store}/new"));
    for (sha256, path) in contents(text) {
        let to = format!("{store}/{sha256}");
        let Some(file) = world.files.get(&path).cloned() else {
            return; // it is not kept
        };
        if file.bytes.len() >= LARGE {
            world.write(&to, &file.bytes, file.mode);
        } else if !world.files.contains_key(&to) {
            world.write(&to, &file.bytes, file.mode & 0o700);
        }
    }
    let before = generations(world, release);
    let next = before.keys().next_back().map_or(1, |last| last + 1);
    let same = before
        .iter()
        .find(|(_, known)| declared(known) == declared(text));
    let number = same.map_or(next, |(number, _)| *number);
    world.write(&format!("{all}/{number}"), text.as_bytes(), 0o600);
    let held = own_names(world, release);
    for (tag, name) in images(text) {
        if !held.contains(&tag) {
            drop(world.tag_image(&name, &tag));
        }
    }
}

/// What a release declares: the digest in its first line, and all further lines.
fn declared(text: &str) -> (Option<&str>, &str) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let desired = first.split_once("\"desired\":\"");
    (desired.and_then(|(_, rest)| rest.split('"').next()), rest)
}

/// Removes the oldest releases, and what no release has that is kept.
pub(super) fn prune(world: &mut World, release: &str, keep: usize) {
    let base = base(world);
    let all = generations(world, release);
    let mut deployed = recorded(world, &base, release);
    deployed.dedup();
    let number = |desired: Option<String>| {
        let member = format!("\"desired\":\"{}\"", desired?);
        let has_it = |text: &str| text.lines().next().unwrap_or_default().contains(&member);
        let mut newest = all.iter().rev();
        newest
            .find(|(_, text)| has_it(text))
            .map(|(number, _)| *number)
    };
    let current = number(deployed.pop());
    let last = number(deployed.pop()).filter(|last| Some(*last) != current);
    let newest = all.keys().rev().copied();
    let newest = newest.filter(|other| Some(*other) != current && Some(*other) != last);
    let others: Vec<usize> = last.into_iter().chain(newest).collect();
    let mut old = BTreeSet::new();
    for number in others.iter().skip(keep) {
        old.extend(images(&all[number]));
        world
            .files
            .remove(&format!("{base}/generations/{release}/{number}"));
    }
    let texts = world.files_below(&format!("{base}/generations"));
    let texts: Vec<String> = texts
        .into_values()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect();
    let kept: BTreeSet<(String, String)> = texts.iter().flat_map(|text| images(text)).collect();
    if others.len() > keep {
        let needed: BTreeSet<String> = texts
            .iter()
            .flat_map(|text| contents(text))
            .map(|(sha256, _)| sha256)
            .collect();
        let store = format!("{base}/store");
        for path in world.files_below(&store).into_keys() {
            if !needed.contains(&path[store.len() + 1..]) {
                world.files.remove(&path);
            }
        }
    }
    for (tag, name) in old {
        let is_needed = kept.iter().any(|(_, kept)| *kept == name);
        let is_same =
            world.image_id(&tag).is_some() && world.image_id(&tag) == world.image_id(&name);
        if !is_needed && is_same {
            drop(world.untag_image(&name));
        }
    }
    for tag in own_names(world, release) {
        if !kept.iter().any(|(kept, _)| *kept == tag) {
            drop(world.untag_image(&tag));
        }
    }
}

/// Removes all that is kept of a release, its record, and these names of its unused images.
fn forget(world: &mut World, release: &str, images: &[&str]) {
    let base = base(world);
    let kept = generations(world, release);
    let brought = kept.values().flat_map(|text| self::images(text));
    let brought: BTreeSet<String> = brought.map(|(_, name)| name).collect();
    drop(world.take(&format!("{base}/generations/{release}")));
    for tag in own_names(world, release) {
        let id = world.image_id(&tag).unwrap_or_default();
        let is_used = world.containers.values().any(|one| one.image == id);
        let names = world.images.get(&id).map(|image| image.tags.clone());
        let names = names.unwrap_or_default().into_iter();
        let goes = |name: &String| images.contains(&name.as_str()) && brought.contains(name);
        for name in names.filter(|name| goes(name) && !is_used) {
            drop(world.untag_image(&name));
        }
        drop(world.untag_image(&tag));
    }
    for name in [format!("{release}.taken"), format!("{release}.jsonl")] {
        world.files.remove(&format!("{base}/releases/{name}"));
    }
}

/// Appends a line to the note that the manifest asks for.
pub(super) fn stamp(world: &mut World, directory: &str, line: &str) {
    let path = format!("{directory}/deployments.jsonl");
    let file = world.files.get(&path);
    let mut text = file.map_or_else(Vec::new, |file| file.bytes.clone());
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
    world.write_privately(&path, &text, 0o600);
}

/// The digests of what was declared in the successful applies of a release.
fn recorded(world: &World, base: &str, release: &str) -> Vec<String> {
    let history = world.files.get(&format!("{base}/releases/{release}.jsonl"));
    let text = history.map_or_else(String::new, |file| {
        String::from_utf8_lossy(&file.bytes).into_owned()
    });
    let desired = |line: &str| -> Option<String> {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(line.get("desired")?.as_str()?.to_owned())
    };
    text.lines().filter_map(desired).collect()
}

/// Puts contents from the store into a staging directory.
fn stage(world: &mut World, staging: &str, store: &str, list: &str) -> Ran {
    drop(world.take(staging));
    world.make_private_parent(staging);
    world.make_directories(&format!("{staging}/new"), 0o700);
    let octal = |mode: &str| u32::from_str_radix(mode, 8).unwrap_or(0o600);
    for line in list.lines() {
        let (kind, rest) = line.split_once(' ').unwrap_or_default();
        match kind {
            "d" => {
                let (mode, name) = rest.split_once(' ').unwrap_or_default();
                let path = format!("{staging}/new/{name}");
                world.make_directories(&path, 0o700);
                world.directories.insert(path, (octal(mode), 989));
            }
            "l" => {
                let (name, target) = rest.split_once('\t').unwrap_or_default();
                let path = format!("{staging}/new/{name}");
                world.make_private_parent(&path);
                world.links.insert(path, target.to_owned());
            }
            _ => {
                let words: Vec<&str> = rest.splitn(3, ' ').collect();
                let [sha256, mode, name] = words[..] else {
                    return fail(format!("{line}: not understood"));
                };
                let file = world.files.get(&format!("{store}/{sha256}"));
                let file = file.filter(|file| Digest::of(&file.bytes).hex() == sha256);
                let Some(bytes) = file.map(|file| file.bytes.clone()) else {
                    drop(world.take(staging));
                    return fail(format!(
                        "the VPU does not keep the contents of {name} any more"
                    ));
                };
                world.write_privately(&format!("{staging}/new/{name}"), &bytes, octal(mode));
            }
        }
    }
    Ok(String::new())
}
