//! Puts, removes and restores files of projects on the in-memory VPU.

use super::{
    commands::{Ran, fail},
    world::World,
};
use o3r_deploy::digest::Digest;

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
            rename(world, record, &beside(kept, "%started"));
            world.write(path, stdin, mode);
        }
        ("o3r-remove-file", [path, kept, previous, record, _]) => {
            keep(world, path, kept, previous);
            rename(world, record, &beside(kept, "%started"));
            world.files.remove(*path);
            world.files.remove(&added(kept));
        }
        ("o3r-restore-file", [path, kept, previous, record]) => {
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
            remember(world, record, kept);
        }
        _ => return Err((127, format!("{name}: not understood"))),
    }
    Ok(String::new())
}

fn added(kept: &str) -> String {
    let name = kept.rsplit('/').next().unwrap_or_default();
    beside(kept, &format!("%added-{name}"))
}

fn beside(kept: &str, name: &str) -> String {
    let (directory, _) = kept.rsplit_once('/').unwrap_or_default();
    format!("{directory}/{name}")
}

fn rename(world: &mut World, from: &str, to: &str) {
    if let Some(file) = world.files.remove(from) {
        world.write(to, &file.bytes, file.mode);
    }
}

fn remember(world: &mut World, record: &str, kept: &str) {
    let aside = beside(kept, "%started");
    let boot = format!("boot {}", world.boot_id);
    let text = |file: &super::File| String::from_utf8_lossy(&file.bytes).into_owned();
    let kept = world.files.get(&aside);
    let is_this_boot = kept.is_some_and(|file| text(file).lines().any(|line| line == boot));
    if is_this_boot && !world.files.contains_key(record) {
        rename(world, &aside, record);
    }
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
