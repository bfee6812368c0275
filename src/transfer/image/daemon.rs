//! Inspects images in this machine's docker, and saves them when their bytes are needed.
//!
//! The environment selects the engine (`DOCKER_HOST`, the docker context). Only the fields in use
//! are requested: a full `docker inspect` would include the image's environment variables.

use std::io;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::archive;
use crate::error::ImageError;
use crate::files::{ScratchDir, Slice};
use crate::image::contents::Contents;
use crate::platform::Platform;
use o3r_core::digest::Digest;

/// The fields that identify an image. The variant is separate: older engines do not have it.
const FIELDS: &str = r#"{"id":{{json .Id}},"tags":{{json .RepoTags}},"layers":{{json .RootFS.Layers}},"os":{{json .Os}},"architecture":{{json .Architecture}},"size":{{json .Size}}"#;
const VARIANT: &str = r#","variant":{{json .Variant}}}"#;

/// The interval at which the progress of `docker save` is read: a shorter one is not visible, and a
/// tiny image is delayed by no more than this.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The most characters of docker's message that are shown.
const MAX_SAID: usize = 2000;

/// The API version since which `docker save` takes a platform (docker 28).
const SAVES_PLATFORMS: (u32, u32) = (1, 48);

/// How an image is named to the engine.
#[derive(Debug, Clone)]
pub(crate) enum Reference {
    /// By the digest of its configuration, which is its ID in a classic store.
    Id(Digest),
    /// By the name that the user gave.
    Name(String),
}

/// The docker program and the arguments that precede all others.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    program: String,
    leading: Vec<String>,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            program: "docker".to_owned(),
            leading: Vec::new(),
        }
    }
}

/// An image as `docker image inspect` describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Inspected {
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
    /// The image's ID: in a classic store, the digest of its configuration. Podman omits `sha256:`.
    pub(crate) fn id(&self) -> Option<Digest> {
        self.id.parse().ok().or_else(|| Digest::from_hex(&self.id))
    }

    pub(crate) fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, self.variant.as_deref())
    }

    pub(crate) fn repo_tags(&self) -> &[String] {
        self.tags.as_deref().unwrap_or_default()
    }

    pub(crate) fn diff_ids(&self) -> &[Digest] {
        self.layers.as_deref().unwrap_or_default()
    }

    /// Bytes of all files in the image.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

impl Engine {
    /// Inspects the image `name`.
    pub(crate) fn inspect(&self, name: &str) -> Result<Inspected, ImageError> {
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
            remedy: None,
        })
    }

    /// Whether an image's ID is the digest of its configuration, which is not so in the containerd
    /// image store. False if the engine does not answer.
    pub(crate) fn has_classic_store(&self) -> bool {
        let Ok(output) = self.run(&["info", "--format", "{{json .DriverStatus}}"]) else {
            return false;
        };
        let status = String::from_utf8_lossy(&output.stdout);
        output.status.success()
            && status.trim_start().starts_with('[')
            && !status.contains("io.containerd.snapshotter")
    }

    /// Saves the image `name` from a store that may hold several platforms of it; otherwise as
    /// [`Engine::save_once`].
    ///
    /// Requests a single platform if docker supports that (28 and later). Without it, docker saves
    /// all platforms, and refuses an image that was pulled for another platform than this
    /// machine's.
    pub(crate) fn save(
        &self,
        name: &str,
        platform: &Platform,
        scratch: &ScratchDir,
        saved: &dyn Fn(u64),
    ) -> Result<Contents, ImageError> {
        let mut tries = [None, Some(platform.to_string())];
        if self.saves_platforms()? {
            tries.reverse();
        }
        let mut first = None;
        for only in tries {
            let error = match self.save_once(name, only.as_deref(), platform, scratch, saved) {
                Ok(contents) => return Ok(contents),
                Err(error) => error,
            };
            let another = matches!(
                error,
                ImageError::EngineFailed { .. }
                    | ImageError::EngineLacks { .. }
                    | ImageError::WrongPlatform { .. }
            );
            // An error about the content of a saved image says more than docker's message.
            let says_more = matches!(error, ImageError::WrongPlatform { .. });
            if !another {
                return Err(error);
            }
            if first.is_none() || says_more {
                first = Some(error);
            }
        }
        Err(first.unwrap_or_else(|| ImageError::EngineLacks {
            name: name.to_owned(),
            part: platform.to_string(),
        }))
    }

    /// Whether `docker save` is known to take a platform: client and engine agree on an API version
    /// that has it.
    fn saves_platforms(&self) -> Result<bool, ImageError> {
        let output = self.run(&["version", "--format", "{{.Client.APIVersion}}"])?;
        let version = String::from_utf8_lossy(&output.stdout);
        let version = version.trim().split_once('.');
        let version = version.and_then(|(major, minor)| {
            Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
        });
        Ok(output.status.success() && version >= Some(SAVES_PLATFORMS))
    }

    /// Saves the image `name` into a scratch file, only the platform `only` if given, and opens it.
    /// Calls `saved` with the bytes written so far.
    fn save_once(
        &self,
        name: &str,
        only: Option<&str>,
        platform: &Platform,
        scratch: &ScratchDir,
        saved: &dyn Fn(u64),
    ) -> Result<Contents, ImageError> {
        let mut args = vec!["save"];
        if let Some(only) = only {
            args.extend(["--platform", only]);
        }
        args.extend(["--", name]);
        let file = scratch.file()?;
        let target = file.try_clone().map_err(|error| scratch.error(error))?;
        // Docker writes directly into the file: no byte passes through this process.
        let output = thread::scope(|scope| {
            let saving = scope.spawn(|| self.spawn(&args, Stdio::from(target)));
            while !saving.is_finished() {
                thread::sleep(LOOK_EVERY);
                saved(file.metadata().map_or(0, |metadata| metadata.len()));
            }
            saving.join()
        });
        let output = output.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        if !output.status.success() {
            return Err(not_saved(name, platform, scratch, &output));
        }
        let slice = Slice::whole(file).map_err(|error| scratch.error(error))?;
        let read = archive::read(&slice, &origin(name), name, platform, scratch);
        read.map_err(|error| match error {
            ImageError::Missing { part, .. } => ImageError::EngineLacks {
                name: name.to_owned(),
                part,
            },
            error => error,
        })
    }

    /// Saves the image of `reference` and verifies that it has this configuration: a name may refer
    /// to another image since it was inspected.
    pub(crate) fn save_same(
        &self,
        reference: &Reference,
        config_digest: Digest,
        platform: &Platform,
        scratch: &ScratchDir,
        saved: &dyn Fn(u64),
    ) -> Result<Contents, ImageError> {
        let (name, contents) = match reference {
            Reference::Id(id) => {
                let id = id.to_string();
                let contents = self.save_once(&id, None, platform, scratch, saved)?;
                (id, contents)
            }
            Reference::Name(name) => (name.clone(), self.save(name, platform, scratch, saved)?),
        };
        if contents.config_digest != config_digest {
            return Err(ImageError::EngineMoved { name });
        }
        Ok(contents)
    }

    fn run(&self, args: &[&str]) -> Result<Output, ImageError> {
        self.spawn(args, Stdio::piped())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the local docker")]
    fn spawn(&self, args: &[&str], stdout: Stdio) -> Result<Output, ImageError> {
        tracing::debug!(
            program = self.program,
            ?args,
            "asking this machine's docker"
        );
        Command::new(&self.program)
            .args(&self.leading)
            .args(args)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .map_err(|source: io::Error| ImageError::EngineMissing { source })
    }
}

/// How errors name an engine's image.
pub(crate) fn origin(name: &str) -> String {
    format!("this machine's docker image {name}")
}

/// Returns the end of docker's stderr on one line.
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

/// Why an image was not saved: docker's message, or a full scratch directory.
fn not_saved(name: &str, platform: &Platform, scratch: &ScratchDir, output: &Output) -> ImageError {
    let error = failure("docker save", name, output);
    let ImageError::EngineFailed { command, said, .. } = error else {
        return error;
    };
    let lower = said.to_lowercase();
    let remedy = if lower.contains("no space left on device") {
        if !lower.contains("error response from daemon") {
            return scratch.error(io::Error::new(io::ErrorKind::StorageFull, said));
        }
        Some(
            "free some space on the disk of this machine's docker: see `docker system df`"
                .to_owned(),
        )
    } else if ["not found", "platform", "no suitable"]
        .iter()
        .any(|words| lower.contains(words))
    {
        Some(format!(
            "pull it completely for the VPU's architecture with `docker pull --platform {platform} {name}`; or save \
             it with `docker save --platform {platform} -o FILE {name}`, and declare `archive = \"FILE\"`"
        ))
    } else {
        None
    };
    ImageError::EngineFailed {
        command,
        said,
        remedy,
    }
}

/// Classifies docker's failures by their message; it has no exit codes for them.
fn failure(command: &str, name: &str, output: &Output) -> ImageError {
    let said = said(output);
    let lower = said.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&[
        "cannot connect to the docker daemon",
        "error during connect",
        "trying to connect to",
        "failed to connect to the docker api",
        "is the docker daemon running",
    ]) {
        ImageError::EngineDown { said }
    } else if has(&["no such image", "no such object", "image not known"]) {
        // Docker's message adds nothing to that, and some versions print it twice.
        ImageError::NoSuchImage {
            name: name.to_owned(),
        }
    } else {
        ImageError::EngineFailed {
            command: command.to_owned(),
            said,
            remedy: None,
        }
    }
}

#[cfg(test)]
mod tests;
