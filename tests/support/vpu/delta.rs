//! Builds images from the files of others on the in-memory VPU: runs the recipes of deltas.

use std::{collections::BTreeMap, io::Read as _};

use super::{
    commands::{Ran, fail},
    images::load,
    world::World,
};

/// Paths and contents.
type Files = BTreeMap<Vec<u8>, Vec<u8>>;

pub(super) fn run(world: &mut World, base: &str, how: &str, stdin: &[u8]) -> Ran {
    let Some(image) = world.images.get(base) else {
        return fail(format!("Error: No such image: {base}"));
    };
    let failed = |error: std::io::Error| (1, error.to_string());
    let mut merged = Files::new();
    for tar in &image.tars {
        merge(&mut merged, tar).map_err(failed)?;
    }
    let mut tar = vec![];
    let mut gunzip = flate2::read::MultiGzDecoder::new(stdin);
    gunzip.read_to_end(&mut tar).map_err(failed)?;
    let mut files = Files::new();
    merge(&mut files, &tar).map_err(failed)?;
    let prefix: &[u8] = match how {
        "inside" if merged.contains_key(&b"bin/sh"[..]) => b"../",
        "inside" => return fail("exec: \"sh\": executable file not found in $PATH"),
        _ => b"old/",
    };
    let names = files.remove(&b"names"[..]);
    for (path, bytes) in merged {
        let line = [&path[..], b"\n"].concat();
        let taken = |names: &Vec<u8>| names.windows(line.len()).any(|window| window == line);
        if names.as_ref().is_none_or(taken) {
            files.insert([prefix, &path].concat(), bytes);
        }
    }
    let Some(recipe) = files.remove(&b"recipe"[..]) else {
        return fail("the link broke");
    };
    let archive = cook(&recipe, &files)?;
    load(world, &archive)
}

/// Adds a layer. Independent of the code for deltas, and simpler: the tests have no links.
fn merge(files: &mut Files, tar: &[u8]) -> std::io::Result<()> {
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let path = entry.path_bytes().into_owned();
        let path = path.strip_prefix(b"./").unwrap_or(&path).to_vec();
        if entry.header().entry_type().is_file() {
            let mut bytes = vec![];
            entry.read_to_end(&mut bytes)?;
            files.insert(path, bytes);
        }
    }
    Ok(())
}

/// Returns what a recipe writes.
fn cook(recipe: &[u8], files: &Files) -> Result<Vec<u8>, (i32, String)> {
    let mut out = vec![];
    for line in commands(recipe) {
        let words: Vec<&[u8]> = line.iter().map(Vec::as_slice).collect();
        let file = |name: &[u8]| {
            let missing = || {
                (
                    1,
                    format!("{}: No such file", String::from_utf8_lossy(name)),
                )
            };
            files.get(name).ok_or_else(missing)
        };
        let number = |word: &[u8]| -> Result<usize, (i32, String)> {
            let text = String::from_utf8_lossy(word);
            let number = text.trim_start_matches('+').parse();
            number.map_err(|_| (2, format!("{text}: not a number")))
        };
        match words.as_slice() {
            [b"set", b"-e"] => {}
            [b"cat", names @ ..] => {
                for name in names {
                    out.extend_from_slice(file(name)?);
                }
            }
            [b"head", b"-c", count, name] => {
                let bytes = file(name)?;
                out.extend_from_slice(&bytes[..number(count)?.min(bytes.len())]);
            }
            [b"tail", b"-c", first, name, rest @ ..] => {
                let bytes = file(name)?;
                let tail = &bytes[(number(first)? - 1).min(bytes.len())..];
                let len = match rest {
                    [b"|", b"head", b"-c", count] => number(count)?.min(tail.len()),
                    _ => tail.len(),
                };
                out.extend_from_slice(&tail[..len]);
            }
            _ => return Err((127, "a command in a recipe is not understood".to_owned())),
        }
    }
    Ok(out)
}

/// Returns the words of each line, without quotes.
fn commands(script: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let (mut lines, mut line, mut word) = (vec![], vec![], None::<Vec<u8>>);
    let mut bytes = script.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\'' => {
                let quoted = bytes.by_ref().take_while(|byte| **byte != b'\'');
                word.get_or_insert_default().extend(quoted);
            }
            b'\\' => word.get_or_insert_default().extend(bytes.next()),
            b' ' | b'\n' => {
                line.extend(word.take());
                if *byte == b'\n' {
                    lines.push(std::mem::take(&mut line));
                }
            }
            byte => word.get_or_insert_default().push(*byte),
        }
    }
    lines
}
