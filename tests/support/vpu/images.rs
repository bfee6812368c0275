//! Loads images, whole and in parts, and removes their names, on the in-memory VPU.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    sync::Arc,
};

use super::{
    commands::{Ran, fail},
    world::{Image, Store, World},
};
use o3r_deploy::internal::digest::Digest;

pub(super) fn script(world: &mut World, name: &str, args: &[&str], stdin: &[u8]) -> Ran {
    match (name, args) {
        ("o3r-untag-image", [name]) => {
            if world.image_id(name).is_some() {
                return world.untag_image(name);
            }
        }
        ("o3r-forget-parts", names) => {
            let is_there = |name: &&&str| world.image_id(name).is_some();
            let there: Vec<&&str> = names.iter().filter(is_there).collect();
            let untagged = there.into_iter().map(|name| world.untag_image(name));
            // All names are removed, even if one cannot be.
            let all: Vec<Ran> = untagged.collect();
            return all.into_iter().collect();
        }
        ("o3r-receive-part", [path, have, bytes]) => {
            return receive(world, path, (have, bytes), stdin);
        }
        ("o3r-load-image", []) => return load(world, stdin),
        ("o3r-load-part", [path]) => {
            let archive = world.files.get(*path).map(|file| file.bytes.clone());
            let loaded = load(world, &archive.unwrap_or_default())?;
            world.files.remove(*path);
            return Ok(loaded);
        }
        ("o3r-load-zstd", []) => return load_zstd(world, stdin),
        ("o3r-load-zstd", [path]) => {
            let archive = world.files.get(*path).map(|file| file.bytes.clone());
            let loaded = load_zstd(world, &archive.unwrap_or_default())?;
            world.files.remove(*path);
            return Ok(loaded);
        }
        _ => return Err((127, format!("{name}: not understood"))),
    }
    Ok(String::new())
}

/// Appends what arrives of an image part.
fn receive(world: &mut World, path: &str, (have, bytes): (&str, &str), stdin: &[u8]) -> Ran {
    world.make_private_parent(path);
    let have: usize = have
        .parse()
        .map_err(|_| (1, format!("{have}: not a number")))?;
    let (mut start, mode) = match world.files.get(path) {
        Some(file) => (file.bytes.clone(), file.mode),
        None if have == 0 => (vec![], 0o600),
        None => return fail("the file is gone"),
    };
    // A file that is shorter than expected is filled with zeros, and is refused when it is loaded.
    start.resize(have, 0);
    start.extend_from_slice(stdin);
    world.write(path, &start, mode);
    if bytes == "-" || start.len().to_string() == bytes {
        Ok(String::new())
    } else {
        fail(format!("{} of {bytes} bytes arrived", start.len()))
    }
}

fn load_zstd(world: &mut World, archive: &[u8]) -> Ran {
    let archive = zstd::decode_all(archive).map_err(|error| (1, error.to_string()))?;
    load(world, &archive)
}

/// Runs `docker load`: the archive's manifest and configuration decide, as in docker.
pub(super) fn load(world: &mut World, archive: &[u8]) -> Ran {
    let mut entries: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let io = |error: std::io::Error| (1, error.to_string());
    let archive = unpacked(archive).map_err(io)?;
    let mut reader = tar::Archive::new(archive.as_slice());
    for entry in reader.entries().map_err(io)? {
        let mut entry = entry.map_err(io)?;
        let name = entry.path().map_err(io)?.to_string_lossy().into_owned();
        let mut bytes = vec![];
        entry.read_to_end(&mut bytes).map_err(io)?;
        entries.insert(name, bytes);
    }
    let json = |name: &str| -> Result<serde_json::Value, (i32, String)> {
        let bytes = entries
            .get(name)
            .ok_or((1, format!("open {name}: no such file")))?;
        serde_json::from_slice(bytes).map_err(|error| (1, error.to_string()))
    };
    let manifest = json("manifest.json")?;
    let config_name = manifest[0]["Config"].as_str().unwrap_or_default();
    let config = json(config_name)?;
    let layers: Vec<Digest> = serde_json::from_value(config["rootfs"]["diff_ids"].clone())
        .map_err(|error| (1, error.to_string()))?;
    let names: Vec<String> = serde_json::from_value(manifest[0]["Layers"].clone())
        .map_err(|error| (1, error.to_string()))?;
    let mut tars = vec![];
    for (index, name) in names.iter().enumerate() {
        let chain = &layers[..=index];
        let mut there = world.images.values();
        tars.push(match (entries.get(name), layers.get(index)) {
            (Some(bytes), Some(diff_id)) => {
                let tar = unpacked(bytes).map_err(io)?;
                if Digest::of(&tar) != *diff_id {
                    return fail(format!("invalid diffID for layer {index}"));
                }
                Some(Arc::from(tar))
            }
            _ if world.store != Store::Classic => {
                return fail(format!("open {name}: no such file or directory"));
            }
            _ => match there.find(|image| image.layers.starts_with(chain)) {
                Some(image) => image.tars.get(index).cloned(),
                None => return fail(format!("open {name}: no such file or directory")),
            },
        });
    }
    let tars = tars.into_iter().collect::<Option<_>>().unwrap_or_default();
    let id = world.stored_id(Digest::of(&entries[config_name]));
    let arch = config["architecture"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let tag = manifest[0]["RepoTags"][0]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    for image in world.images.values_mut() {
        image.tags.remove(&tag);
    }
    let fresh = Image {
        tags: BTreeSet::new(),
        layers,
        arch,
        volumes: config["config"]["Volumes"]
            .as_object()
            .into_iter()
            .flat_map(|volumes| volumes.keys().cloned())
            .chain(world.image_volumes.clone())
            .collect(),
        tars,
    };
    world
        .images
        .entry(id)
        .or_insert(fresh)
        .tags
        .insert(tag.clone());
    Ok(format!("Loaded image: {tag}"))
}

/// Returns the tar of bytes that may be compressed with gzip.
fn unpacked(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    if !bytes.starts_with(b"\x1f\x8b") {
        return Ok(bytes.to_vec());
    }
    let mut tar = vec![];
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut tar)?;
    Ok(tar)
}
