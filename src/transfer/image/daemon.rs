//! Asks this machine's docker about an image, and for its bytes when they are needed.
//!
//! Which engine that is, the environment says (`DOCKER_HOST`, the docker context). Only selected
//! fields are asked for: a whole `docker inspect` would carry the image's environment.

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

/// The fields of an image that identify it. The variant is apart: older engines have none.
const FIELDS: &str = r#"{"id":{{json .Id}},"tags":{{json .RepoTags}},"layers":{{json .RootFS.Layers}},"os":{{json .Os}},"architecture":{{json .Architecture}},"size":{{json .Size}}"#;
const VARIANT: &str = r#","variant":{{json .Variant}}}"#;

/// How often it is looked how far docker is: nobody sees more, and a tiny image waits no longer.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Characters of docker's words that are shown.
const MAX_SAID: usize = 2000;

/// The API of which `docker save` takes a platform (docker 28).
const SAVES_PLATFORMS: (u32, u32) = (1, 48);

/// What an image is asked for by.
#[derive(Debug, Clone)]
pub(crate) enum Reference {
    /// Its configuration's digest, which a classic store knows it by.
    Id(Digest),
    /// The name that the user gave.
    Name(String),
}

/// The docker program, with arguments that come before all others.
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

/// What docker says about an image.
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
    /// The image's id: the configuration's digest in a classic store. Podman leaves `sha256:` out.
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
    /// Looks at the image `name`.
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

    /// Whether an image's id is the digest of its configuration, as it is not in the containerd
    /// image store. An engine that gives no answer counts as one where it is not.
    pub(crate) fn has_classic_store(&self) -> bool {
        let Ok(output) = self.run(&["info", "--format", "{{json .DriverStatus}}"]) else {
            return false;
        };
        let status = String::from_utf8_lossy(&output.stdout);
        output.status.success()
            && status.trim_start().starts_with('[')
            && !status.contains("io.containerd.snapshotter")
    }

    /// Saves the image `name` of a store that keeps several platforms of one; else as [`Engine::save_once`].
    ///
    /// One platform is asked for where docker can (28 and later): without that, all are saved, and an image that
    /// was pulled for another platform than this machine's is not saved at all.
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
            // What can be read of the whole image says more than docker's words.
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

    /// Whether it is known that `docker save` takes a platform: program and engine agree on an API that has it.
    fn saves_platforms(&self) -> Result<bool, ImageError> {
        let output = self.run(&["version", "--format", "{{.Client.APIVersion}}"])?;
        let version = String::from_utf8_lossy(&output.stdout);
        let version = version.trim().split_once('.');
        let version = version.and_then(|(major, minor)| {
            Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
        });
        Ok(output.status.success() && version >= Some(SAVES_PLATFORMS))
    }

    /// Saves the image `name` into scratch, of one platform where `only` says so, and opens it there; `saved` is told
    /// the bytes that are there.
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
        // Docker writes into the file itself: no byte passes through this process.
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

    /// Saves the image that `reference` means and makes sure that it is the one with this configuration: a name may
    /// have moved on since it was looked at.
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

/// How errors name an image of the engine.
pub(crate) fn origin(name: &str) -> String {
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

/// Why an image was not saved: docker's words, or that its output found no room.
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
            "get all of it for the VPU's processor, `docker pull --platform {platform} {name}`, or save it \
             yourself, `docker save --platform {platform} -o FILE {name}`, and declare `archive = \"FILE\"`"
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

/// Sorts docker's failures by its words; there are no exit codes for them.
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
        // Docker says no more than that, and some versions say it twice.
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
