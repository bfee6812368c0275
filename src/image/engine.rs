//! Asks this machine's docker about an image, and for its bytes when they are needed.
//!
//! Which engine that is, the environment says (`DOCKER_HOST`, the docker context). Only selected
//! fields are asked for: a whole `docker inspect` would carry the image's environment.

use std::io;
use std::process::{Command, Output, Stdio};

use serde::Deserialize;

use super::contents::{self, Contents};
use super::slice::Slice;
use super::{ImageError, Platform, ScratchDir, archive};
use crate::digest::Digest;

/// The fields of an image that identify it. The variant is apart: older engines have none.
const FIELDS: &str = r#"{"id":{{json .Id}},"tags":{{json .RepoTags}},"layers":{{json .RootFS.Layers}},"os":{{json .Os}},"architecture":{{json .Architecture}},"size":{{json .Size}}"#;
const VARIANT: &str = r#","variant":{{json .Variant}}}"#;

/// Characters of docker's words that are shown.
const MAX_SAID: usize = 2000;

/// The docker program.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    program: String,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            program: "docker".to_owned(),
        }
    }
}

/// What docker says about an image.
#[derive(Debug, Deserialize)]
pub(super) struct Inspected {
    id: String,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<Digest>>,
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
    size: u64,
}

impl Inspected {
    /// The image's id: the configuration's digest in a classic store. Podman leaves `sha256:` out.
    pub(super) fn id(&self) -> Option<Digest> {
        self.id.parse().ok().or_else(|| Digest::from_hex(&self.id))
    }

    pub(super) fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, self.variant.as_deref())
    }

    pub(super) fn repo_tags(&self) -> &[String] {
        self.tags.as_deref().unwrap_or_default()
    }

    pub(super) fn diff_ids(&self) -> &[Digest] {
        self.layers.as_deref().unwrap_or_default()
    }

    /// Bytes of all files in the image.
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

impl Engine {
    /// Looks at the image `name`.
    pub(super) fn inspect(&self, name: &str) -> Result<Inspected, ImageError> {
        let template = [FIELDS, VARIANT].concat();
        let mut output = self.run(&["image", "inspect", "--format", &template, "--", name])?;
        if !output.status.success() && said(&output).contains("Variant") {
            let template = [FIELDS, "}"].concat();
            output = self.run(&["image", "inspect", "--format", &template, "--", name])?;
        }
        if !output.status.success() {
            return Err(failure("docker image inspect", name, &output));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| ImageError::EngineFailed {
            command: "docker image inspect".to_owned(),
            said: format!("an answer that cannot be read: {error}"),
        })
    }

    /// Whether an image's id is the digest of its configuration, as it is not in the containerd
    /// image store. An engine that gives no answer counts as one where it is not.
    pub(super) fn has_classic_store(&self) -> Result<bool, ImageError> {
        let output = self.run(&["info", "--format", "{{json .DriverStatus}}"])?;
        let status = String::from_utf8_lossy(&output.stdout);
        Ok(output.status.success()
            && status.trim_start().starts_with('[')
            && !status.contains("io.containerd.snapshotter"))
    }

    /// Saves the image `name` into scratch and opens it there.
    pub(super) fn save(
        &self,
        name: &str,
        platform: &Platform,
        scratch: &ScratchDir,
    ) -> Result<Contents, ImageError> {
        let file = scratch.file()?;
        let target = file.try_clone().map_err(|error| scratch.error(error))?;
        // Docker writes into the file itself: no byte passes through this process.
        let output = self.spawn(&["save", "--", name], Stdio::from(target))?;
        if !output.status.success() {
            return Err(failure("docker save", name, &output));
        }
        let slice = Slice::whole(file).map_err(|error| scratch.error(error))?;
        archive::read(&slice, &origin(name), name, platform, scratch)
    }

    /// Saves the image with the configuration digest `id` and makes sure that it is that one.
    pub(super) fn save_id(
        &self,
        id: Digest,
        platform: &Platform,
        scratch: &ScratchDir,
    ) -> Result<Contents, ImageError> {
        // By id: the name may have moved on since it was looked at.
        let contents = self.save(&id.to_string(), platform, scratch)?;
        contents::check(
            &contents.origin,
            "the image's configuration",
            id,
            contents.config_digest,
        )?;
        Ok(contents)
    }

    fn run(&self, args: &[&str]) -> Result<Output, ImageError> {
        self.spawn(args, Stdio::piped())
    }

    fn spawn(&self, args: &[&str], stdout: Stdio) -> Result<Output, ImageError> {
        tracing::debug!(
            program = self.program,
            ?args,
            "asking this machine's docker"
        );
        Command::new(&self.program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .map_err(|source: io::Error| ImageError::EngineMissing { source })
    }
}

/// How errors name an image of the engine.
pub(super) fn origin(name: &str) -> String {
    format!("this machine's docker image {name}")
}

/// The end of what docker wrote to its standard error, on one line.
fn said(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let line = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>();
    let mut said = line.join("; ");
    if let Some((cut, _)) = said.char_indices().rev().nth(MAX_SAID) {
        said.replace_range(..cut, "…");
    }
    if said.is_empty() {
        output.status.to_string()
    } else {
        said
    }
}

/// Sorts docker's failures by its words; there are no exit codes for them.
fn failure(command: &str, name: &str, output: &Output) -> ImageError {
    let said = said(output);
    let lower = said.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&[
        "cannot connect to the docker daemon",
        "error during connect",
        "trying to connect to",
    ]) {
        ImageError::EngineDown { said }
    } else if has(&[
        "no such image",
        "no such object",
        "image not known",
        "not found",
    ]) {
        ImageError::NoSuchImage {
            name: name.to_owned(),
            said,
        }
    } else {
        ImageError::EngineFailed {
            command: command.to_owned(),
            said,
        }
    }
}
