//! Asks this machine's docker about an image, and for its bytes when they are needed.
//!
//! Which engine that is, the environment says (`DOCKER_HOST`, the docker context). Only selected
//! fields are asked for: a whole `docker inspect` would carry the image's environment.

use std::io;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::contents::{self, Contents};
use super::slice::Slice;
use super::{ImageError, Platform, ScratchDir, archive};
use crate::digest::Digest;

/// The fields of an image that identify it. The variant is apart: older engines have none.
const FIELDS: &str = r#"{"id":{{json .Id}},"tags":{{json .RepoTags}},"layers":{{json .RootFS.Layers}},"os":{{json .Os}},"architecture":{{json .Architecture}},"size":{{json .Size}}"#;
const VARIANT: &str = r#","variant":{{json .Variant}}}"#;

/// How often it is looked how far docker is: nobody sees more, and a tiny image waits no longer.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Characters of docker's words that are shown.
const MAX_SAID: usize = 2000;

/// The docker program, with arguments that come before all others.
#[derive(Debug, Clone)]
pub(super) struct Engine {
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
            remedy: None,
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

    /// Saves the image `name` into scratch and opens it there; `saved` is told the bytes that are there.
    pub(super) fn save(
        &self,
        name: &str,
        platform: &Platform,
        scratch: &ScratchDir,
        saved: &dyn Fn(u64),
    ) -> Result<Contents, ImageError> {
        let file = scratch.file()?;
        let target = file.try_clone().map_err(|error| scratch.error(error))?;
        // Docker writes into the file itself: no byte passes through this process.
        let output = thread::scope(|scope| {
            let saving = scope.spawn(|| self.spawn(&["save", "--", name], Stdio::from(target)));
            while !saving.is_finished() {
                thread::sleep(LOOK_EVERY);
                saved(file.metadata().map_or(0, |metadata| metadata.len()));
            }
            saving.join()
        });
        let output = output.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
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
        saved: &dyn Fn(u64),
    ) -> Result<Contents, ImageError> {
        // By id: the name may have moved on since it was looked at.
        let contents = self.save(&id.to_string(), platform, scratch, saved)?;
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
    } else if has(&["no such image", "no such object", "image not known"]) {
        ImageError::NoSuchImage {
            name: name.to_owned(),
            said,
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
mod tests {
    use camino::Utf8PathBuf;
    use insta::assert_snapshot;

    use super::super::contents::LayerBytes;
    use super::super::deflate::Level;
    use super::*;
    use crate::image::{Image, LayerCache, LayerSelection, Packing, Work};

    const LAYER: [u8; 1024] = [0; 1024];

    /// A docker program that answers from files, and keeps a list of what it was asked.
    struct Docker {
        dir: tempfile::TempDir,
    }

    impl Docker {
        /// `info` is what `docker info` prints; `id` and `arch` what `docker image inspect` says.
        fn new(info: &str, id: &str, arch: &str) -> Self {
            let docker = Self {
                dir: tempfile::tempdir().unwrap(),
            };
            docker.write("info", info);
            docker.write(
                "inspect",
                &format!(
                    r#"{{"id":"{id}","tags":["app:dev"],"layers":["{}"],"os":"linux","architecture":"{arch}","size":4000,"variant":""}}"#,
                    Digest::of(LAYER)
                ),
            );
            fs_err::write(docker.dir.path().join("save"), saved(arch)).unwrap();
            docker.script(
                r#"case $1 in
                image) cat "$d/inspect";;
                info) cat "$d/info";;
                save) cat "$d/save";;
                esac"#,
            );
            docker
        }

        fn failing(words: &str) -> Self {
            let docker = Self {
                dir: tempfile::tempdir().unwrap(),
            };
            docker.script(&format!("echo '{words}' >&2; exit 1"));
            docker
        }

        fn write(&self, name: &str, text: &str) {
            fs_err::write(self.dir.path().join(name), text).unwrap();
        }

        fn script(&self, body: &str) {
            let dir = self.dir.path().display();
            self.write(
                "docker",
                &format!("d={dir}\necho \"$1\" >>\"$d/asked\"\n{body}\n"),
            );
        }

        fn open(&self, arch: &str) -> Result<Image, ImageError> {
            let path = |name| Utf8PathBuf::from_path_buf(self.dir.path().join(name)).unwrap();
            // Through sh: running a file that was just written may fail while another thread forks.
            let leading = vec![path("docker").into_string()];
            let engine = Engine {
                program: "sh".to_owned(),
                leading,
            };
            let scratch = ScratchDir::new(path("scratch"));
            Image::open_engine(engine, "app:dev", &Platform::linux(arch), &scratch)
        }

        fn asked(&self) -> String {
            fs_err::read_to_string(self.dir.path().join("asked"))
                .unwrap()
                .replace('\n', " ")
        }
    }

    fn config(arch: &str) -> Vec<u8> {
        let layer = Digest::of(LAYER);
        format!(r#"{{"architecture":"{arch}","os":"linux","rootfs":{{"diff_ids":["{layer}"]}}}}"#)
            .into_bytes()
    }

    fn saved(arch: &str) -> Vec<u8> {
        let manifest = r#"[{"Config":"c.json","RepoTags":null,"Layers":["l.tar"]}]"#;
        let mut tar = tar::Builder::new(Vec::new());
        let config = config(arch);
        for (name, bytes) in [
            ("c.json", config.as_slice()),
            ("l.tar", &LAYER),
            ("manifest.json", manifest.as_bytes()),
        ] {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes).unwrap();
        }
        tar.into_inner().unwrap()
    }

    const CLASSIC: &str = r#"[["Backing Filesystem","extfs"]]"#;
    const CONTAINERD: &str = r#"[["driver-type","io.containerd.snapshotter.v1"]]"#;

    #[test]
    fn the_classic_store_is_only_asked_until_bytes_are_needed() {
        let docker = Docker::new(CLASSIC, &Digest::of(config("arm64")).to_string(), "arm64");
        let image = docker.open("arm64").unwrap();
        assert_eq!(image.config_digest(), Digest::of(config("arm64")));
        assert_eq!(image.repo_tags(), ["app:dev"]);
        assert_eq!(image.layers()[0].diff_id, Digest::of(LAYER));
        assert_eq!(image.layers()[0].size, None);
        assert!(!image.is_prepared());
        assert_eq!(image.archive_len("a", &LayerSelection::All), 4000);
        assert_eq!(docker.asked(), "image info ");

        let mut out = Vec::new();
        image
            .write_archive("a", &LayerSelection::All, &mut out)
            .unwrap();
        image.prepare().unwrap();
        assert_eq!(
            image.archive_len("a", &LayerSelection::All),
            out.len() as u64
        );
        assert_eq!(image.layers()[0].size, Some(1024));
        assert_eq!(docker.asked(), "image info save ", "saved once");
    }

    #[test]
    fn an_image_whose_layers_are_cached_is_not_saved() {
        let docker = Docker::new(CLASSIC, &Digest::of(config("arm64")).to_string(), "arm64");
        let cache =
            LayerCache::new(Utf8PathBuf::from_path_buf(docker.dir.path().join("cache")).unwrap());
        let wanted = [Digest::of(LAYER)].into();
        let prepared = |image: Image| {
            image
                .prepare_layers(&wanted, &cache, Packing::Fast, &|_| {})
                .unwrap();
            let all = LayerSelection::All;
            let mut out = Vec::new();
            image.write_archive("a", &all, &mut out).unwrap();
            assert_eq!(image.archive_len("a", &all), out.len() as u64);
            out
        };
        let first = prepared(docker.open("arm64").unwrap());
        assert_eq!(prepared(docker.open("arm64").unwrap()), first);
        assert_eq!(docker.asked(), "image info save image info ", "saved once");
    }

    #[test]
    fn who_waits_for_docker_is_told() {
        let docker = Docker::new(CLASSIC, &Digest::of(config("arm64")).to_string(), "arm64");
        let cache =
            LayerCache::new(Utf8PathBuf::from_path_buf(docker.dir.path().join("cache")).unwrap());
        let told = std::cell::RefCell::new(vec![]);
        let image = docker.open("arm64").unwrap();
        image
            .fetch_layers(&[Digest::of(LAYER)].into(), &cache, &|prepared| {
                told.borrow_mut().push(prepared);
            })
            .unwrap();
        let told = told.into_inner();
        let last = told.last().unwrap();
        assert_eq!((last.work, last.total), (Work::Fetching, 4000));
        assert!(
            told.iter()
                .all(|one| one.done <= saved("arm64").len() as u64)
        );
    }

    #[test]
    fn what_was_saved_for_a_fast_link_serves_a_slow_one() {
        let docker = Docker::new(CLASSIC, &Digest::of(config("arm64")).to_string(), "arm64");
        let cache =
            LayerCache::new(Utf8PathBuf::from_path_buf(docker.dir.path().join("cache")).unwrap());
        let sent = |packing| {
            let image = docker.open("arm64").unwrap();
            image
                .prepare_layers(&[Digest::of(LAYER)].into(), &cache, packing, &|_| {})
                .unwrap();
            let mut out = Vec::new();
            image
                .write_archive("a", &LayerSelection::All, &mut out)
                .unwrap();
            out.len()
        };
        let plain = sent(Packing::Plain);
        assert_eq!(sent(Packing::Plain), plain);
        assert!(sent(Packing::Small) < plain);
        assert_eq!(
            docker.asked(),
            "image info save image info image info ",
            "saved once"
        );
    }

    /// An apply that was declined, or whose link broke before a layer was sent to its end.
    #[test]
    fn what_was_saved_to_be_compressed_on_the_way_and_not_sent_is_kept() {
        let docker = Docker::new(CLASSIC, &Digest::of(config("arm64")).to_string(), "arm64");
        let cache =
            LayerCache::new(Utf8PathBuf::from_path_buf(docker.dir.path().join("cache")).unwrap());
        let wanted = [Digest::of(LAYER)].into();
        let image = docker.open("arm64").unwrap();
        image.fetch_layers(&wanted, &cache, &|_| {}).unwrap();
        let layer = image.contents().unwrap().layers[0].clone();
        {
            let mut ready = image.ready_parts();
            ready.cache = Some(cache.clone());
            let on_the_way = Some(Level::Fast);
            let layer = LayerBytes {
                on_the_way,
                ..layer
            };
            ready.layers.insert(layer.diff_id, layer);
        }
        drop(image);
        docker
            .open("arm64")
            .unwrap()
            .prepare_layers(&wanted, &cache, Packing::Fast, &|_| {})
            .unwrap();
        assert_eq!(docker.asked(), "image info save image info ", "saved once");
    }

    #[test]
    fn the_containerd_store_is_saved_to_know_the_image() {
        let id = Digest::of("an index").to_string();
        for info in [CONTAINERD, "", "null"] {
            let docker = Docker::new(info, &id, "arm64");
            let image = docker.open("arm64").unwrap();
            assert_eq!(image.config_digest(), Digest::of(config("arm64")), "{info}");
            assert!(image.is_prepared());
        }
    }

    #[test]
    fn podman_leaves_the_algorithm_out() {
        let docker = Docker::new(CLASSIC, &Digest::of(config("arm64")).hex(), "arm64");
        assert_eq!(
            docker.open("arm64").unwrap().config_digest(),
            Digest::of(config("arm64"))
        );
    }

    #[test]
    fn another_image_than_was_looked_at() {
        let docker = Docker::new(CLASSIC, &Digest::of("other").to_string(), "arm64");
        let error = docker
            .open("arm64")
            .unwrap()
            .prepare()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("the image's configuration has the digest"),
            "{error}"
        );
    }

    #[test]
    fn wrong_processor() {
        let docker = Docker::new(CLASSIC, &Digest::of(config("amd64")).to_string(), "amd64");
        let error = docker.open("arm64").unwrap_err();
        assert_snapshot!(error, @"this machine's docker image app:dev is for linux/amd64, wanted is linux/arm64");
    }

    #[test]
    fn docker_that_cannot_answer() {
        let error = |words| {
            let error = Docker::failing(words).open("arm64").unwrap_err();
            format!("{error}\nhelp: {}", error.help().unwrap_or_default())
        };
        let answers = [
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?",
            "permission denied while trying to connect to the Docker daemon socket",
            "Error: No such image: app:dev",
            "something new",
            "",
        ];
        assert_snapshot!(answers.map(error).join("\n\n"), @r#"
        this machine's docker engine does not answer: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?
        help: start docker, or set DOCKER_HOST; `docker info` must answer

        this machine's docker engine does not answer: permission denied while trying to connect to the Docker daemon socket
        help: start docker, or set DOCKER_HOST; `docker info` must answer

        this machine's docker has no image "app:dev": Error: No such image: app:dev
        help: build or pull it first; `docker image inspect app:dev` must answer

        `docker image inspect` failed: something new
        help: 

        `docker image inspect` failed: exit status: 1
        help:
        "#);
    }

    #[test]
    fn no_docker_at_all() {
        let engine = Engine {
            program: "/nowhere/docker".to_owned(),
            leading: Vec::new(),
        };
        let error = engine.inspect("a").unwrap_err();
        assert_snapshot!(format!("{error}\nhelp: {}", error.help().unwrap_or_default()), @r#"
        cannot run docker on this machine
        help: install the docker CLI, or give the image as `archive = "FILE"`
        "#);
    }
}
