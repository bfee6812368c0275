//! Puts, removes and restores files of projects on the in-memory VPU.

use o3r_deploy::internal::digest::Digest;

use super::{
    commands::{Ran, fail},
    world::{File, World, parent},
};

pub(super) fn script(world: &mut World, name: &str, args: &[&str], stdin: &[u8]) -> Ran {
    match (name, args) {
        ("o3r-put-file", [path, sha256, bytes, mode, kept, previous, record]) => {
            world.make_directory(parent(path));
            if world.directories.contains_key(*path) {
                return fail(format!("{path} is a directory"));
            }
            keep(world, path, kept, previous);
            if *previous == "-" {
                world.empty(&added(kept));
            }
            unfinished(world, path);
            if Digest::of(stdin).hex() != *sha256 || stdin.len().to_string() != *bytes {
                return fail("the received data differs from the plan");
            }
            let mode = u32::from_str_radix(mode, 8).map_err(|e| (1, e.to_string()))?;
            forget(world, record, kept);
            world.write(path, stdin, mode);
        }
        ("o3r-remove-file", [path, kept, previous, record, directory]) => {
            keep(world, path, kept, previous);
            forget(world, record, kept);
            world.files.remove(*path);
            world.files.remove(&added(kept));
            if world.directories.contains_key(*path) {
                return fail(format!("rm: cannot remove {path}: Is a directory"));
            }
            world.remove_empty_above(path, directory);
        }
        ("o3r-restore-file", [path, kept, previous, record, directory, stored, mode]) => {
            let mode = u32::from_str_radix(mode, 8).map_err(|e| (1, e.to_string()))?;
            restore(world, path, kept, previous, (stored, mode))?;
            if *previous == "-" {
                world.remove_empty_above(path, parent(directory));
            }
            remember(world, record, kept)?;
        }
        _ => return Err((127, format!("{name}: not understood"))),
    }
    Ok(String::new())
}

fn restore(
    world: &mut World,
    path: &str,
    kept: &str,
    previous: &str,
    (stored, mode): (&str, u32),
) -> Result<(), (i32, String)> {
    let is = |world: &World, path: &str| {
        let file = world.files.get(path);
        file.is_some_and(|file| Digest::of(&file.bytes).hex() == previous)
    };
    match previous {
        "-" => {
            world.files.remove(path);
            world.files.remove(&added(kept));
            if world.directories.contains_key(path) {
                return fail(format!("rm: cannot remove {path}: Is a directory"));
            }
            return Ok(());
        }
        "?" if !world.files.contains_key(kept) => return Ok(()),
        "?" => {}
        _ if !is(world, kept) => {
            if is(world, path) {
                return Ok(());
            }
            if is(world, stored) {
                let mut file = world.files[stored].clone();
                file.mode = mode;
                return bring_back(world, path, &file);
            }
            return fail("no copy of the previous release's file is kept");
        }
        _ if world.files.get(path) == world.files.get(kept) => return Ok(()),
        _ => {}
    }
    let file = world.files[kept].clone();
    bring_back(world, path, &file)?;
    if previous == "?" {
        world.files.remove(kept);
    }
    Ok(())
}

fn bring_back(world: &mut World, path: &str, file: &File) -> Result<(), (i32, String)> {
    if world.directories.contains_key(path) {
        return fail(format!("{path} is a directory"));
    }
    world.make_directory(parent(path));
    unfinished(world, path);
    world.write(path, &file.bytes, file.mode);
    Ok(())
}

fn added(kept: &str) -> String {
    let name = kept.rsplit('/').next().unwrap_or_default();
    beside(kept, &format!("%added-{name}"))
}

fn beside(kept: &str, name: &str) -> String {
    format!("{}/{name}", parent(kept))
}

/// Notes that a file is incomplete.
fn unfinished(world: &mut World, path: &str) {
    let base = format!("{}/.o3r-deploy", world.home);
    if world.directories.contains_key(&base) {
        let note = format!("{base}/unfinished");
        let file = world.files.get(&note).cloned();
        let (mut text, mode) = file.map_or((vec![], 0o600), |file| (file.bytes, file.mode));
        text.extend(format!("{path}.o3r-new\n").into_bytes());
        world.write(&note, &text, mode);
    }
}

/// Removes the files that interrupted commands left incomplete, and the note of them. A truncated
/// line of the note is ignored.
pub(super) fn forget_unfinished(world: &mut World) {
    let note = format!("{}/.o3r-deploy/unfinished", world.home);
    let Some(note) = world.files.remove(&note) else {
        return;
    };
    let text = String::from_utf8_lossy(&note.bytes).into_owned();
    let lines = text.split_inclusive('\n');
    for path in lines.filter_map(|line| line.strip_suffix('\n')) {
        if path.starts_with('/') && path.ends_with(".o3r-new") {
            world.files.remove(path);
            world.links.remove(path);
        }
    }
}

/// Sets the record of what was started aside, and notes the boot.
fn forget(world: &mut World, record: &str, kept: &str) {
    if let Some(file) = world.files.remove(record) {
        world.write_privately(&beside(kept, "%started"), &file.bytes, file.mode);
        let boot = format!("{}\n", world.boot_id);
        world.write_privately(&beside(kept, "%boot"), boot.as_bytes(), 0o600);
    }
}

/// Undoes that, in the same boot.
fn remember(world: &mut World, record: &str, kept: &str) -> Result<(), (i32, String)> {
    let aside = beside(kept, "%started");
    let boot = format!("{}\n", world.boot_id);
    let noted = world.files.get(&beside(kept, "%boot"));
    let is_this_boot = noted.is_some_and(|file| file.bytes == boot.as_bytes());
    let is_needed = world.files.contains_key(&aside) && !world.files.contains_key(record);
    if !is_this_boot || !is_needed {
        return Ok(());
    }
    if !world.directories.contains_key(parent(record)) {
        return fail(format!(
            "mv: cannot move to {record}: No such file or directory"
        ));
    }
    if let Some(file) = world.files.remove(&aside) {
        world.files.insert(record.to_owned(), file);
    }
    Ok(())
}

fn keep(world: &mut World, path: &str, kept: &str, previous: &str) {
    if previous == "-" {
        return;
    }
    world.make_private_parent(kept);
    if previous == "?" && world.files.contains_key(kept) {
        return;
    }
    if let Some(file) = world.files.get(path).cloned()
        && (previous == "?" || Digest::of(&file.bytes).hex() == previous)
    {
        world.files.insert(kept.to_owned(), file);
    }
}
