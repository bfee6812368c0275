//! Puts, removes and restores files of projects on the in-memory VPU.

use super::{
    commands::{Ran, fail},
    world::World,
};
use crate::digest::Digest;

pub(super) fn script(world: &mut World, name: &str, args: &[&str], stdin: &[u8]) -> Ran {
    match (name, args) {
        ("o3r-put-file", [path, sha256, bytes, mode, kept, previous, record]) => {
            keep(world, path, kept, previous);
            if Digest::of(stdin).hex() != *sha256 || stdin.len().to_string() != *bytes {
                return fail("what arrived is not what was planned");
            }
            if *previous == "-" {
                world.write(&added(kept), b"", 0o600);
            }
            let mode = u32::from_str_radix(mode, 8).map_err(|e| (1, e.to_string()))?;
            world.files.remove(*record);
            world.write(path, stdin, mode);
        }
        ("o3r-remove-file", [path, kept, previous, record, _]) => {
            keep(world, path, kept, previous);
            world.files.remove(*record);
            world.files.remove(*path);
            world.files.remove(&added(kept));
        }
        ("o3r-restore-file", [path, kept, previous]) => {
            let is = |world: &World, path: &str| {
                let file = world.files.get(path);
                file.is_some_and(|file| Digest::of(&file.bytes).hex() == *previous)
            };
            match *previous {
                "-" => {
                    world.files.remove(*path);
                    world.files.remove(&added(kept));
                }
                "?" if !world.files.contains_key(*kept) => {}
                sha256 if sha256 != "?" && !is(world, kept) => {
                    if !is(world, path) {
                        return fail("no copy of the previous release's file is kept");
                    }
                }
                _ => {
                    let file = world.files[*kept].clone();
                    world.write(path, &file.bytes, file.mode);
                    if *previous == "?" {
                        world.files.remove(*kept);
                    }
                }
            }
        }
        _ => return Err((127, format!("{name}: not understood"))),
    }
    Ok(String::new())
}

fn added(kept: &str) -> String {
    let (directory, name) = kept.rsplit_once('/').unwrap_or_default();
    format!("{directory}/%added-{name}")
}

fn keep(world: &mut World, path: &str, kept: &str, previous: &str) {
    if previous == "-" {
        return;
    }
    if previous == "?" && world.files.contains_key(kept) {
        return;
    }
    if let Some(file) = world.files.get(path).cloned()
        && (previous == "?" || Digest::of(&file.bytes).hex() == previous)
    {
        world.write(kept, &file.bytes, file.mode);
    }
}
