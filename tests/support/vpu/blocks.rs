//! Block sums of files on the in-memory VPU, and files that are built from blocks of others.

use std::{collections::BTreeMap, fmt::Write as _, io::Read as _};

use super::{
    commands::{Ran, fail},
    world::{World, parent},
};
use o3r_deploy::internal::{blocks::BlockSums, digest::Digest};

/// Returns what `block-sums.sh` would print; changes nothing.
pub(super) fn sums(world: &World, args: &[String]) -> Ran {
    let [path, block, batch] = args else {
        return fail("words are missing");
    };
    let Some(file) = world.files.get(path) else {
        return fail(format!("{path} cannot be read"));
    };
    let (block, batch) = (number(block)?, number(batch)?);
    let mut out = "\n".to_owned();
    for bytes in file.bytes.chunks((block * batch).max(1)) {
        let sums = BlockSums::of(bytes, block as u64).sums;
        for (name, ((weak, _), bytes)) in names().zip(sums.iter().zip(bytes.chunks(block))) {
            let _ = writeln!(out, "{weak} {} {name}", bytes.len());
        }
        for (name, (_, strong)) in names().zip(&sums) {
            let _ = writeln!(out, "{}  {name}", strong.hex());
        }
    }
    out.push_str("end\n");
    Ok(out)
}

/// Returns the names of the files that `split -a 3 - b` writes.
fn names() -> impl Iterator<Item = String> {
    (0..26 * 26 * 26).map(|number: u32| {
        let letters = [number / (26 * 26), number / 26 % 26, number % 26];
        let letters = letters.map(|letter| char::from_u32(u32::from('a') + letter));
        format!("b{}", letters.into_iter().flatten().collect::<String>())
    })
}

fn number(word: &str) -> Result<usize, (i32, String)> {
    let number = word.parse();
    number.map_err(|_| (1, format!("{word}: not a number")))
}

/// Builds a file as `patch-file.sh` does.
pub(super) fn patch(world: &mut World, args: &[&str], stdin: &[u8]) -> Ran {
    let [directory, new, old, sha256, mode, block] = args else {
        return fail("words are missing");
    };
    world.make_directory(parent(new));
    drop(world.take(directory));
    if !world.directories.contains_key(parent(directory)) {
        return fail(format!("mkdir: cannot create directory {directory}"));
    }
    let files = unpack(stdin).map_err(|error| (1, error.to_string()))?;
    let (Some(recipe), Some(bytes)) = (files.get("recipe"), files.get("bytes")) else {
        return fail("the link broke, or the disk is full");
    };
    let old = world.files.get(*old);
    let old = old.map(|file| file.bytes.as_slice());
    let Some(built) = cook(recipe, bytes, old, number(block)?) else {
        return fail(format!("{new} could not be built"));
    };
    if Digest::of(&built).hex() != *sha256 {
        return fail(format!("{new}: what was built is not what was planned"));
    }
    let mode = u32::from_str_radix(mode, 8).map_err(|error| (1, error.to_string()))?;
    world.write(new, &built, mode);
    Ok(String::new())
}

/// Returns the files of a compressed tar, by name.
fn unpack(archive: &[u8]) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut tar = vec![];
    flate2::read::GzDecoder::new(archive).read_to_end(&mut tar)?;
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(tar.as_slice()).entries()? {
        let mut entry = entry?;
        let (name, mut bytes) = (entry.path()?.display().to_string(), vec![]);
        entry.read_to_end(&mut bytes)?;
        files.insert(name, bytes);
    }
    Ok(files)
}

/// Returns the result of a recipe; `None` if it uses a part of an old version that does not exist.
fn cook(recipe: &[u8], mut new: &[u8], old: Option<&[u8]>, block: usize) -> Option<Vec<u8>> {
    let mut built = vec![];
    for line in String::from_utf8_lossy(recipe).lines() {
        let mut words = line.split(' ');
        let what = words.next()?;
        let mut count = || words.next()?.parse::<usize>().ok();
        if what == "l" {
            let (now, later) = new.split_at(count()?.min(new.len()));
            built.extend_from_slice(now);
            new = later;
        } else if what == "c" {
            let old = old?;
            let first = (count()? * block).min(old.len());
            let end = (first + count()? * block).min(old.len());
            built.extend_from_slice(&old[first..end]);
        }
    }
    Some(built)
}
