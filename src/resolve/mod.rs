//! Reads and hashes everything on this machine that a manifest refers to.

mod device;
mod kept;
mod templates;
mod walk;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
};

use camino::{Utf8Path, Utf8PathBuf};

pub(crate) use kept::{Kept, KeptError};
use o3r_core::rendered::{Content, Rendered};

use crate::{
    compose::{Reading, Refusal, Release as ComposeRelease, read_project},
    desired::{
        COMPOSE_FILE, Contents, Desired, DeviceName, Directory, Disabled, Entry, Guards, Image,
        ImageContent, ManifestRef, Network, Permits, Project, ProjectFile, ProjectState,
        ProjectVolume, Release, Service, Transfer, Volume, is_secret, networks, services,
        staging_tag, volumes,
    },
    digest::Digest,
    health::{HealthGate, Probes},
    image::{self, LayerCache, Platform},
    manifest::{
        self, Diagnostic, Exclude, FindingCode, Loaded,
        names::{ByteSize, Duration, FileMode, RelativePath, escape},
        types::{self, ComposeState},
    },
};

/// The desired state that a manifest declares, and the local images that it names.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The desired state.
    pub desired: Desired,
    /// The local images.
    pub images: LocalImages,
}

/// Opened images of this machine, by the digests of their configurations.
#[derive(Debug, Clone, Default)]
pub struct LocalImages(BTreeMap<Digest, Arc<image::Image>>);

impl LocalImages {
    /// Adds an image, staged for `release`; returns its identity.
    pub fn add(&mut self, image: image::Image, release: &str) -> ImageContent {
        let config_digest = image.config_digest();
        let content = ImageContent {
            config_digest,
            layers: image.diff_ids().to_vec(),
            staging_tag: staging_tag(release, &config_digest),
        };
        self.0.insert(config_digest, Arc::new(image));
        content
    }

    /// Returns the image with this configuration.
    pub fn get(&self, config_digest: Digest) -> Option<&Arc<image::Image>> {
        self.0.get(&config_digest)
    }
}

/// Called with the progress of reading a transfer's files: its source, the bytes read so far, and
/// the bytes in all.
pub type FilesRead<'a> = &'a (dyn Fn(&str, u64, u64) + Sync);

/// Reads everything that the manifest refers to, and opens its images. Unpacks into `cache`, and
/// uses what it has. Blocks.
///
/// # Errors
/// Everything that cannot be read or is invalid, each at its place in the manifest.
pub fn resolve(loaded: &Loaded, cache: &LayerCache) -> Result<Resolved, Vec<Diagnostic>> {
    resolve_while(loaded, cache, &|_, _, _| {})
}

/// As [`resolve`]; reports the progress of reading files.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_while(
    loaded: &Loaded,
    cache: &LayerCache,
    reading: FilesRead<'_>,
) -> Result<Resolved, Vec<Diagnostic>> {
    let manifest = &loaded.manifest;
    let mut resolver = Resolver {
        loaded,
        cache,
        reading,
        home: crate::user::home(),
        images: LocalImages::default(),
        rendered: Rendered::new(),
        findings: vec![],
    };
    let place = |pointer: &str| Some(loaded.place(pointer));
    let release = Release {
        name: manifest.release.name.clone(),
        version: manifest
            .release
            .version
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        source: place("/release"),
    };
    let mut desired = Desired {
        manifest: ManifestRef {
            path: loaded.path.to_string(),
            sha256: loaded.sha256.clone(),
        },
        guards: guards(&manifest.vpu),
        directories: numbered(&manifest.directories)
            .map(|(n, directory)| Directory {
                path: directory.path.clone(),
                mode: directory.mode.map(FileMode::bits),
                source: place(&format!("/directories/{n}")),
            })
            .collect(),
        volumes: numbered(&manifest.volumes)
            .map(|(n, volume)| Volume {
                name: volume.name.clone(),
                path: volume.path.clone(),
                replace: volume.replace,
                source: place(&format!("/volumes/{n}")),
            })
            .collect(),
        images: numbered(manifest.needed_images())
            .filter_map(|(n, image)| resolver.image(n, image, &release.name))
            .collect(),
        transfers: numbered(&manifest.transfers)
            .filter_map(|(n, transfer)| resolver.transfer(n, transfer))
            .collect(),
        projects: numbered(&manifest.compose)
            .filter_map(|(n, compose)| resolver.project(n, compose))
            .collect(),
        device_name: manifest.vpu.name.as_ref().map(|name| DeviceName {
            name: name.clone(),
            source: place("/vpu/name"),
        }),
        device_settings: resolver.device(&manifest.device),
        watchdog: manifest.apply.watchdog.after(),
        keep_releases: manifest.apply.keep_releases,
        keep_size: manifest.apply.keep_size.as_ref().map(ByteSize::get),
        stamp: manifest.apply.stamp.clone(),
        orphans: manifest.release.orphans,
        permits: Permits::default(),
        contents: Contents::Here,
        rendered: Rendered::new(),
        left: vec![],
        destroys: false,
        disabled: numbered(&manifest.autostart.disable)
            .map(|(n, name)| Disabled {
                name: name.to_string(),
                source: place(&format!("/autostart/disable/{n}")),
            })
            .collect(),
        release,
    };
    resolver.settle(&mut desired);
    desired.rendered = std::mem::take(&mut resolver.rendered);
    if resolver.findings.is_empty() {
        Ok(Resolved {
            desired,
            images: resolver.images,
        })
    } else {
        Err(resolver.findings)
    }
}

/// Returns the requirements on the VPU itself.
pub(crate) fn guards(vpu: &types::Vpu) -> Guards {
    Guards {
        arch: vpu.arch().into(),
        serial: vpu.serial.clone(),
        firmware: vpu.firmware.clone(),
        api_port: vpu.api_port(),
    }
}

/// Converts the declared health gate.
fn gate(health: &types::Health) -> HealthGate {
    HealthGate {
        timeout: health.timeout.as_ref().map(Duration::get),
        settle: health.settle.get(),
        probes: Probes::Count,
        log_contains: health.log_contains.clone(),
        command: health.command.clone(),
        service: health.service.clone(),
    }
}

/// The reason why docker-compose rejects a file whatever the VPU's login environment; other reasons
/// can only be checked on the VPU.
fn surely_refused(reading: &Reading) -> Option<&Refusal> {
    let mut refusals = reading.refusals.iter();
    refusals.find(|refusal| !refusal.unless_login_sets)
}

/// What the files of a project say.
struct ComposeSays {
    services: BTreeMap<String, Service>,
    networks: Vec<Network>,
    volumes: Vec<ProjectVolume>,
    read: BTreeSet<String>,
    refused_by_old: Option<String>,
}

/// Reads the compose file of a project, with `find` for the text of others.
fn read_compose(
    project: &str,
    text: &str,
    files: &[ProjectFile],
    mut releases: Vec<ComposeRelease>,
    find: &dyn Fn(&str) -> Option<String>,
) -> Result<ComposeSays, Box<Refusal>> {
    let login = manifest::login();
    let read = |release| read_project(text.to_owned(), &login, release, &find);
    // The newest release that accepts the file; the VPU's release is checked before anything is
    // applied.
    let newest = releases.pop().unwrap_or(ComposeRelease::V1_29);
    let mut release = newest;
    let mut reading = read(newest);
    if let Some(older) = releases
        .pop()
        .filter(|_| surely_refused(&reading).is_some())
    {
        let other = read(older);
        if surely_refused(&other).is_none() {
            (release, reading) = (older, other);
        }
    }
    if let Some(refusal) = surely_refused(&reading) {
        return Err(Box::new(refusal.clone()));
    }
    let refused_by_old = match release {
        ComposeRelease::V1_25 => None,
        ComposeRelease::V1_29 => surely_refused(&read(ComposeRelease::V1_25)).cloned(),
    };
    Ok(ComposeSays {
        services: services(&reading.file, files, project, release),
        networks: networks(&reading.file, project),
        volumes: volumes(&reading.file, project),
        read: reading.files.iter().map(|file| file.name.clone()).collect(),
        refused_by_old: refused_by_old.map(|refusal| refusal.message),
    })
}

fn numbered<T>(items: &[T]) -> impl Iterator<Item = (usize, &T)> {
    items.iter().enumerate()
}

struct Resolver<'a> {
    loaded: &'a Loaded,
    cache: &'a LayerCache,
    reading: FilesRead<'a>,
    home: Option<Utf8PathBuf>,
    images: LocalImages,
    rendered: Rendered,
    findings: Vec<Diagnostic>,
}

impl Resolver<'_> {
    fn find(&mut self, pointer: &str, message: impl Into<String>, label: &str, help: &str) {
        let code = FindingCode::LocalFile;
        self.findings
            .push(self.loaded.diagnostic(pointer, code, message, label, help));
    }

    fn image(&mut self, number: usize, image: &types::Image, release: &str) -> Option<Image> {
        let at = |key: &str| format!("/images/{number}/{key}");
        let base = self.loaded.base();
        let home = self.home.as_deref();
        let source = if let Some(archive) = &image.archive {
            Some((
                at("archive"),
                image::Source::Archive(archive.resolve(base, home)),
            ))
        } else if let Some(engine) = &image.engine {
            Some((at("engine"), image::Source::Engine(engine.to_string())))
        } else {
            image.rootfs.as_ref().map(|rootfs| {
                let env = rootfs
                    .env
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"));
                let source = image::Rootfs {
                    file: rootfs.file.resolve(base, home),
                    cmd: rootfs.cmd.clone(),
                    entrypoint: rootfs.entrypoint.clone(),
                    env: env.collect(),
                    working_dir: None,
                    user: None,
                };
                (at("rootfs/file"), image::Source::Rootfs(source))
            })
        };
        let name = image.name.canonical();
        let content = match source {
            None => None,
            Some((pointer, source)) => Some(self.open(&pointer, &source, &name, release)?),
        };
        Some(Image {
            name,
            content,
            found: None,
            source: Some(self.loaded.place(&format!("/images/{number}"))),
        })
    }

    fn open(
        &mut self,
        pointer: &str,
        source: &image::Source,
        name: &str,
        release: &str,
    ) -> Option<ImageContent> {
        let platform = Platform::linux(self.loaded.manifest.vpu.arch().as_str());
        match image::Image::open_remembered(source, name, &platform, self.cache) {
            Ok(image) => Some(self.images.add(image, release)),
            Err(error) => {
                let mut help = error.help().unwrap_or_default();
                let compose = &self.loaded.manifest.compose;
                if compose.iter().any(|one| one.state == ComposeState::Absent) {
                    let only = "if only projects with `state = \"absent\"` use it, delete its [[images]] entry";
                    help = if help.is_empty() {
                        only.to_owned()
                    } else {
                        format!("{help}\n{only}")
                    };
                }
                self.find(pointer, error.to_string(), "this image", &help);
                None
            }
        }
    }

    fn transfer(&mut self, number: usize, transfer: &types::Transfer) -> Option<Transfer> {
        let pointer = format!("/transfers/{number}/src");
        let root = transfer
            .src
            .resolve(self.loaded.base(), self.home.as_deref());
        let exclude = Exclude::new(&transfer.exclude);
        let source = transfer.src.to_string();
        let reading = |done, total| (self.reading)(&source, done, total);
        let entries = match walk::read(&root, transfer, &exclude, &reading) {
            Ok(mut entries) => {
                let has_mode = transfer.mode.is_some();
                if transfer.template && !self.render_all(&pointer, has_mode, &mut entries) {
                    return None;
                }
                entries
            }
            Err(problems) => {
                for problem in problems {
                    self.find(&pointer, problem.message, "this source", problem.help);
                }
                return None;
            }
        };
        let is_file = !matches!(entries.get(""), Some(Entry::Directory { .. }));
        let name = root.file_name().unwrap_or_default();
        let target = match name.parse() {
            Ok(name) if is_file && transfer.dst.is_dir_hint() => transfer.dst.join(&name),
            _ => transfer.dst.clone(),
        };
        Some(Transfer {
            target,
            entries,
            delete: transfer.delete,
            exclude,
            gone: BTreeMap::new(),
            restart: transfer.restart.iter().map(ToString::to_string).collect(),
            source: Some(self.loaded.place(&format!("/transfers/{number}"))),
        })
    }

    /// Finds conflicts between transfers and other declarations.
    fn settle(&mut self, desired: &mut Desired) {
        let mut others = BTreeMap::new();
        for project in &desired.projects {
            if project.state != ProjectState::Absent {
                let files = project.files.iter();
                others.extend(files.map(|file| (project.path(file), "file of a compose project")));
            }
        }
        let directories = desired.directories.iter().map(|directory| &directory.path);
        let volumes = desired.volumes.iter().map(|volume| &volume.path);
        others.extend(
            directories
                .chain(volumes)
                .map(|path| (path.resolve("~"), "directory")),
        );
        if desired.transfers.len() < self.loaded.manifest.transfers.len() {
            return; // the indices differ from the manifest's
        }
        for (number, problem) in walk::settle(&mut desired.transfers, &others) {
            let pointer = format!("/transfers/{number}/src");
            self.find(&pointer, problem.message, "this source", problem.help);
        }
    }

    fn project(&mut self, number: usize, compose: &types::Compose) -> Option<Project> {
        let before = self.findings.len();
        let base = self.loaded.base().to_owned();
        let at = |key: &str| format!("/compose/{number}/{key}");
        let source = Some(self.loaded.place(&format!("/compose/{number}")));
        let name = compose.name.to_string();
        if compose.state == ComposeState::Absent {
            // Removed files need not exist on this machine any more.
            let extras = compose
                .extra_files
                .iter()
                .map(|extra| extra.bare().to_owned());
            let extras: BTreeSet<String> = extras.filter(|name| name != COMPOSE_FILE).collect();
            let names = std::iter::once(COMPOSE_FILE.to_owned()).chain(extras);
            let files = names.map(ProjectFile::named).collect();
            return Some(Project {
                autostart: compose.autostart,
                source,
                ..Project::absent(name, files)
            });
        }
        let path = compose.file.resolve(&base, self.home.as_deref());
        let (file, text) = self.file(&at("file"), COMPOSE_FILE.to_owned(), &path)?;
        let mut files = vec![file];
        // Extra files have the same relative paths as in the compose file.
        let beside = path.parent().unwrap_or(&base);
        for (index, extra) in compose.extra_files.iter().enumerate() {
            self.extra(
                &at(&format!("extra_files/{index}")),
                beside,
                extra,
                &mut files,
            );
        }
        if compose.template {
            for file in files
                .iter_mut()
                .filter(|file| file.relative != COMPOSE_FILE)
            {
                let rendered = self.render(&at("extra_files"), &file.local, file.bytes);
                (file.sha256, file.bytes) = rendered?;
                file.local = templates::rendered_from(&file.local);
                let content = self.rendered.get(&file.sha256);
                if content.is_some_and(Content::is_secret) {
                    file.mode = templates::SECRET_MODE;
                }
            }
        }
        if !compose.env.is_empty() {
            files.push(self.environment(number, compose));
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let find = |name: &str| -> Option<String> {
            let file = files.iter().find(|file| file.relative == name)?;
            match self.rendered.get(&file.sha256) {
                Some(content) => Some(String::from_utf8_lossy(content.bytes()).into_owned()),
                None => fs_err::read_to_string(&file.local).ok(),
            }
        };
        let releases = manifest::releases(&self.loaded.manifest);
        let said = match read_compose(&name, &text, &files, releases, &find) {
            Ok(said) => said,
            Err(refusal) => {
                let place = refusal.place.map(|place| place.line);
                let place = place.map_or(path.to_string(), |line| format!("{path}:{line}"));
                let message = format!("{place} {}", refusal.message);
                self.find(&at("file"), message, "this file", &refusal.help);
                return None;
            }
        };
        let state = match compose.state {
            ComposeState::Running => ProjectState::Running,
            ComposeState::Stopped | ComposeState::Absent => ProjectState::Stopped,
        };
        (self.findings.len() == before).then(|| Project {
            state,
            services: said.services,
            networks: said.networks,
            volumes: said.volumes,
            read: said.read,
            refused_by_old_compose: said.refused_by_old,
            autostart: compose.autostart,
            health: compose.health.as_ref().map(gate).unwrap_or_default(),
            name,
            files,
            undeclared: false,
            source,
        })
    }

    /// Adds an extra file, or all files below an extra directory.
    fn extra(
        &mut self,
        pointer: &str,
        base: &Utf8Path,
        extra: &RelativePath,
        files: &mut Vec<ProjectFile>,
    ) {
        let root = base.join(extra.bare());
        let entries = walkdir::WalkDir::new(&root)
            .follow_links(true)
            .sort_by_file_name();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    return self.find(pointer, error.to_string(), "below this", "make it readable");
                }
            };
            if entry.file_type().is_dir() {
                continue;
            }
            let Some(local) = Utf8Path::from_path(entry.path()) else {
                let name = escape(&entry.path().to_string_lossy());
                let message = format!("the name of {name} is not UTF-8");
                return self.find(pointer, message, "below this", "rename the file");
            };
            let below = local.strip_prefix(base).unwrap_or(local).to_string();
            if below.contains(char::is_control) {
                let message = format!("{} has a control character in its name", escape(&below));
                return self.find(pointer, message, "below this", "rename the file");
            }
            if !entry.file_type().is_file() {
                let message = format!("{local} is neither a file nor a directory");
                return self.find(
                    pointer,
                    message,
                    "below this",
                    "name files and directories only",
                );
            }
            // A file may be named twice: alone and through its directory.
            if files.iter().any(|file| file.relative == below) {
                continue;
            }
            if let Some((file, _)) = self.file(pointer, below, local) {
                files.push(file);
            }
        }
    }

    /// Reads and hashes a file. Returns its content as well: it is small and will be parsed.
    fn file(
        &mut self,
        pointer: &str,
        relative: String,
        local: &Utf8Path,
    ) -> Option<(ProjectFile, Vec<u8>)> {
        let read = fs_err::metadata(local).and_then(|meta| Ok((meta, fs_err::read(local)?)));
        match read {
            Ok((metadata, bytes)) => {
                let executable = metadata.permissions().mode() & 0o100 != 0;
                let mode = if is_secret(&relative) {
                    0o600
                } else if executable {
                    0o755
                } else {
                    0o644
                };
                let file = ProjectFile {
                    relative,
                    local: local.to_owned(),
                    sha256: Digest::of(&bytes),
                    bytes: bytes.len() as u64,
                    mode,
                };
                Some((file, bytes))
            }
            Err(error) => {
                self.find(pointer, error.to_string(), "this file", "make it readable");
                None
            }
        }
    }
}
