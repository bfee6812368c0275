//! Wraps a bare file system in an image with one layer.

use std::collections::BTreeSet;
use std::io::{self, Read};

use serde_json::json;

use super::archive::{format, open_file};
use super::{docker, oci, programs};
use crate::error::ImageError;
use crate::files::{CHUNK, ScratchDir, Skip};
use crate::image::Rootfs;
use crate::image::contents::{Contents, MAX_MANIFEST};
use crate::layer::LayerBytes;
use crate::load_archive::MANIFEST;
use crate::platform::Platform;
use crate::tarball::{Kind, Walker};
use crate::{compress, files, tarball};
use o3r_core::digest::{Digest, DigestWriter};

/// The search path that docker gives an image without one.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A fixed date, so that the same file system yields the same image.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Opens `rootfs` as an image for `wanted`. Reads it once, to hash it and to check its programs.
pub(crate) fn open(
    rootfs: &Rootfs,
    wanted: &Platform,
    scratch: &ScratchDir,
) -> Result<Contents, ImageError> {
    let origin = rootfs.file.as_str();
    let stored = compress::without_xz(&open_file(&rootfs.file)?, origin, scratch)?;
    let encoding = format(&stored, origin).map_err(|error| match error {
        ImageError::NotAnImage {
            origin,
            looks_like,
            remedy,
        } => ImageError::NotARootfs {
            origin,
            looks_like,
            remedy,
        },
        error => error,
    })?;
    let packed = compress::unpacked(&stored, encoding)
        .map_err(|error| files::read_error(origin, 0, error))?;
    let (diff_id, size) = survey(packed, origin, wanted)?;
    let config = config(rootfs, wanted, diff_id)?;
    let layer = LayerBytes::measured(diff_id, stored, encoding, size);
    Ok(Contents {
        origin: origin.to_owned(),
        config_digest: Digest::of(&config),
        config,
        platform: wanted.clone(),
        repo_tags: Vec::new(),
        layers: vec![layer],
    })
}

/// Returns the digest and size of the whole tar, if it is a file system for `wanted`.
fn survey(
    packed: Box<dyn Read>,
    origin: &str,
    wanted: &Platform,
) -> Result<(Digest, u64), ImageError> {
    let mut walker = Walker::new(Hashing::new(packed), origin);
    let mut machines = BTreeSet::new();
    let (mut is_image, mut is_file_system) = (false, false);
    while let Some(entry) = walker.next()? {
        let name = entry.name.trim_start_matches("./");
        is_file_system |= tarball::is_in_file_system(name);
        if entry.kind != Kind::File {
            continue;
        }
        match name {
            oci::LAYOUT => is_image = true,
            // Web applications have a `manifest.json` too.
            MANIFEST => is_image |= docker::is_manifest(&walker.peek(MAX_MANIFEST)?),
            _ => machines.extend(programs::machine(&mut walker)?),
        }
    }
    if is_image && !is_file_system {
        return Err(ImageError::NotAFileSystem {
            origin: origin.to_owned(),
        });
    }
    if !walker.has_ended() {
        // Some writers omit the end marker, and docker accepts that.
        tracing::warn!(
            "{origin} has no end marker: it may be truncated, and members may be missing"
        );
    }
    let mut hashing = walker.into_inner();
    let mut chunk = vec![0; CHUNK];
    // Bytes after the end marker are part of the diff ID.
    while files::read_some(&mut hashing, &mut chunk)
        .map_err(|error| files::read_error(origin, 0, error))?
        > 0
    {}
    programs::check(machines, origin, wanted)?;
    let (_, digest, len) = hashing.hash.finish();
    Ok((digest, len))
}

fn config(rootfs: &Rootfs, platform: &Platform, diff_id: Digest) -> Result<Vec<u8>, ImageError> {
    if let Some(bad) = rootfs
        .env
        .iter()
        .find(|pair| pair.find('=').is_none_or(|at| at == 0))
    {
        return Err(ImageError::Metadata {
            origin: rootfs.file.to_string(),
            part: "env".to_owned(),
            // Only the start of the pair: the rest may be a secret.
            problem: format!(
                "{:?} is not NAME=value",
                bad.chars().take(20).collect::<String>()
            ),
        });
    }
    let mut env = rootfs.env.clone();
    if !env.iter().any(|pair| pair.starts_with("PATH=")) {
        env.insert(0, PATH.to_owned());
    }
    let mut run = serde_json::Map::new();
    run.insert("Env".into(), json!(env));
    for (key, words) in [("Entrypoint", &rootfs.entrypoint), ("Cmd", &rootfs.cmd)] {
        if !words.is_empty() {
            run.insert(key.into(), json!(words));
        }
    }
    run.insert(
        "WorkingDir".into(),
        json!(rootfs.working_dir.as_deref().unwrap_or("/")),
    );
    if let Some(user) = &rootfs.user {
        run.insert("User".into(), json!(user));
    }
    let mut config = json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "created": EPOCH,
        "config": run,
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{ "created": EPOCH, "created_by": "o3r-deploy rootfs" }],
    });
    if let Some(variant) = &platform.variant {
        config["variant"] = json!(variant);
    }
    Ok(config.to_string().into_bytes())
}

/// Hashes everything that is read through it.
struct Hashing<R> {
    inner: R,
    hash: DigestWriter<io::Sink>,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            hash: DigestWriter::new(io::sink()),
        }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        io::Write::write_all(&mut self.hash, &buffer[..n])?;
        Ok(n)
    }
}

impl<R: Read> Skip for Hashing<R> {}
