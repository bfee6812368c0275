//! Checks the meaning of a manifest as far as that is possible without a VPU: duplicate names,
//! conflicting paths, local files, and the contents of compose files.

mod autostart;
pub(crate) mod compose;
mod meant;
mod paths;
mod variables;
mod vpus;

pub use vpus::same_vpus;

use crate::closest::did_you_mean;
use std::{collections::BTreeMap, io};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    FindingCode,
    device::Config,
    diagnostics::Diagnostic,
    loaded::Loaded,
    names::{LocalPath, escape},
    types::{ComposeState, Image},
    variables::{help_for_variable, no_variable, unknown_variable},
    watchdog,
};

/// Access to this machine's files, as the checks need it.
pub trait LocalFiles {
    /// Returns the kind of a path, following links. The error does not name the path.
    fn kind(&self, path: &Utf8Path) -> io::Result<FileKind>;
    /// Returns the contents of a small file. The error does not name the path.
    fn read(&self, path: &Utf8Path) -> io::Result<Vec<u8>>;
    /// Returns the names in a directory; none if it cannot be read.
    fn names(&self, directory: &Utf8Path) -> Vec<String>;
    /// Returns the directory that `~` stands for.
    fn home(&self) -> Option<Utf8PathBuf>;
    /// Returns the mode of a file of this user that others can read.
    fn open_mode(&self, path: &Utf8Path) -> Option<u32> {
        _ = path;
        None
    }
    /// Returns a variable of this machine's environment, if it is set.
    fn variable(&self, name: &str) -> Option<String> {
        _ = name;
        None
    }
}

/// The kind of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A socket, a device or similar.
    Other,
}

impl std::fmt::Display for FileKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Other => "neither a file nor a directory",
        })
    }
}

/// The files of this machine.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

/// The maximum size of a file in bytes, beyond that of any compose file or `.env`.
const MAX_READ: u64 = 4 << 20;

/// The maximum number of names in a directory among which a mistyped one is looked for.
const MAX_NAMES: usize = 10_000;

#[expect(
    clippy::disallowed_methods,
    reason = "findings name the file, and would name it twice"
)]
impl LocalFiles for Disk {
    fn kind(&self, path: &Utf8Path) -> io::Result<FileKind> {
        let metadata = std::fs::metadata(path)?;
        Ok(if metadata.is_file() {
            FileKind::File
        } else if metadata.is_dir() {
            FileKind::Directory
        } else {
            FileKind::Other
        })
    }

    fn read(&self, path: &Utf8Path) -> io::Result<Vec<u8>> {
        let metadata = std::fs::metadata(path)?;
        if metadata.len() > MAX_READ {
            return Err(io::Error::other(format!(
                "the file has {} bytes",
                metadata.len()
            )));
        }
        std::fs::read(path)
    }

    fn open_mode(&self, path: &Utf8Path) -> Option<u32> {
        crate::user::open_mode(path.as_std_path())
    }

    fn names(&self, directory: &Utf8Path) -> Vec<String> {
        let directory = match directory.as_str() {
            "" => Utf8Path::new("."),
            _ => directory,
        };
        let entries = directory.read_dir_utf8().into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .take(MAX_NAMES)
            .map(|entry| entry.file_name().to_owned())
            .collect();
        names.sort();
        names
    }

    fn home(&self) -> Option<Utf8PathBuf> {
        crate::user::home()
    }

    fn variable(&self, name: &str) -> Option<String> {
        crate::surroundings::variable(name)
    }
}

/// Returns everything that is wrong with a manifest's meaning.
pub fn check(loaded: &Loaded, files: &dyn LocalFiles) -> Vec<Diagnostic> {
    let mut checker = Checker {
        loaded,
        files,
        findings: Vec::new(),
    };
    checker.identity();
    checker.unique_names();
    checker.image_sources();
    checker.local_files();
    checker.restarts();
    paths::check(&mut checker);
    compose::check(&mut checker);
    autostart::check(&mut checker);
    checker.findings.extend(variables::check(loaded));
    checker.findings.extend(watchdog::check(loaded));
    checker.findings
}

struct Checker<'a> {
    loaded: &'a Loaded,
    files: &'a dyn LocalFiles,
    findings: Vec<Diagnostic>,
}

impl Checker<'_> {
    fn error(
        &mut self,
        pointer: &str,
        code: FindingCode,
        message: String,
        label: &str,
        help: impl Into<String>,
    ) {
        self.findings
            .push(self.loaded.diagnostic(pointer, code, message, label, help));
    }

    /// Reports resources of one kind that have the same name.
    fn unique(
        &mut self,
        what: &str,
        names: impl IntoIterator<Item = (String, String)>,
        help: &str,
    ) {
        let mut first: BTreeMap<String, String> = BTreeMap::new();
        for (pointer, name) in names {
            let Some(earlier) = first.get(&name) else {
                first.insert(name, pointer);
                continue;
            };
            let finding = self
                .loaded
                .diagnostic(
                    &pointer,
                    FindingCode::Duplicate,
                    format!("{what} `{}` is declared twice", escape(&name)),
                    "declared again here",
                    help,
                )
                .label(self.loaded.spans.value(earlier), "declared here");
            self.findings.push(finding);
        }
    }

    fn unique_names(&mut self) {
        let manifest = &self.loaded.manifest;
        let images = manifest.images.iter().map(|image| image.name.canonical());
        self.unique(
            "the image",
            pointers("images", "name", images),
            "remove one of the two",
        );
        let volumes = manifest
            .volumes
            .iter()
            .map(|volume| volume.name.to_string());
        self.unique(
            "the volume",
            pointers("volumes", "name", volumes),
            "remove one of the two",
        );
        let projects = manifest
            .compose
            .iter()
            .map(|compose| compose.name.to_string());
        self.unique(
            "the compose project",
            pointers("compose", "name", projects),
            "a project has one compose file; give the other one another name",
        );
    }

    fn image_sources(&mut self) {
        for (index, image) in self.loaded.manifest.images.iter().enumerate() {
            let sources = sources_of(image);
            let [first, rest @ ..] = sources.as_slice() else {
                continue;
            };
            if rest.is_empty() {
                continue;
            }
            let pointer = |key: &str| format!("/images/{index}/{key}");
            let mut finding = self.loaded.diagnostic(
                &pointer(first),
                FindingCode::TwoSources,
                format!("the image `{}` has more than one source", image.name),
                "one source",
                "keep one of them; without any the image must be on the VPU already",
            );
            for key in rest {
                finding = finding.label(self.loaded.spans.value(&pointer(key)), "another source");
            }
            self.findings.push(finding);
        }
    }

    fn local_files(&mut self) {
        if let Some(Config::File(path)) = &self.loaded.manifest.device.config {
            self.expect("/device/config", path, FileKind::File);
        }
        let loaded = self.loaded;
        for (index, image) in loaded.manifest.needed_images().iter().enumerate() {
            let pointer = |key: &str| format!("/images/{index}/{key}");
            if let Some(archive) = &image.archive {
                self.expect(&pointer("archive"), archive, FileKind::File);
            }
            if let Some(rootfs) = &image.rootfs {
                self.expect(&pointer("rootfs/file"), &rootfs.file, FileKind::File);
            }
            if let Some(build) = &image.build {
                self.expect(
                    &pointer("build/context"),
                    &build.context,
                    FileKind::Directory,
                );
            }
        }
        for (index, transfer) in loaded.manifest.transfers.iter().enumerate() {
            let pointer = format!("/transfers/{index}/src");
            let is_directory = transfer.delete || transfer.src.is_dir_hint();
            self.exists(
                &pointer,
                &transfer.src,
                is_directory.then_some(FileKind::Directory),
            );
        }
    }

    /// Only a warning: the machine that checks a manifest may not be the one that logs in.
    fn identity(&mut self) {
        let Some(identity) = &self.loaded.manifest.vpu.identity else {
            return;
        };
        let path = self.local(identity);
        let found = self.files.kind(&path);
        // For a key in an agent, the public part is enough.
        let public = self.files.kind(&Utf8PathBuf::from(format!("{path}.pub")));
        let (code, problem) = match found {
            Ok(FileKind::Directory) => (FindingCode::WrongFile, "is a directory".to_owned()),
            Ok(FileKind::File) if path.extension() == Some("pub") => (
                FindingCode::WrongFile,
                "is a public key, and ssh needs the private one".to_owned(),
            ),
            Ok(FileKind::File) => match self.files.open_mode(&path) {
                Some(mode) => return self.open_key(&path, mode),
                None => return,
            },
            Ok(FileKind::Other) => return,
            Err(_) if public.is_ok() => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (FindingCode::MissingFile, "does not exist".to_owned())
            }
            Err(error) => (FindingCode::MissingFile, format!("cannot be read: {error}")),
        };
        let message = format!("the ssh key `{identity}` {problem}");
        let help = format!(
            "set the file of a private key, or create one with: ssh-keygen -t ed25519 -f {path}"
        );
        let label = format!("looked for at {path}");
        let finding = self
            .loaded
            .diagnostic("/vpu/identity", code, message, label, help);
        self.findings.push(finding.warning());
    }

    /// Reports a key that ssh ignores.
    fn open_key(&mut self, path: &Utf8Path, mode: u32) {
        let finding = self.loaded.diagnostic(
            "/vpu/identity",
            FindingCode::WrongFile,
            format!(
                "the ssh key can be read by others (mode {mode:04o}), and ssh ignores such a key"
            ),
            format!("looked for at {path}"),
            format!("make it readable only for you: chmod 600 {path}"),
        );
        self.findings.push(finding.warning());
    }

    fn restarts(&mut self) {
        let loaded = self.loaded;
        let projects: Vec<&str> = loaded
            .manifest
            .compose
            .iter()
            .map(|compose| compose.name.as_str())
            .collect();
        for (index, transfer) in loaded.manifest.transfers.iter().enumerate() {
            for (at, project) in transfer.restart.iter().enumerate() {
                if !projects.contains(&project.as_str()) {
                    self.error(
                        &format!("/transfers/{index}/restart/{at}"),
                        FindingCode::UndeclaredProject,
                        format!("no [[compose]] declares the project `{project}`"),
                        "restarted here",
                        match did_you_mean(project.as_str(), projects.iter().copied()) {
                            Some(meant) => format!("did you mean `{meant}`?"),
                            None => match projects.as_slice() {
                                [only] => format!(
                                    "write `{only}`, or add [[compose]] with `name = \"{project}\"`"
                                ),
                                _ => format!("add [[compose]] with `name = \"{project}\"`"),
                            },
                        },
                    );
                }
            }
        }
    }

    /// Returns the path on this machine, absolute or relative to the manifest's directory.
    fn local(&self, path: &LocalPath) -> Utf8PathBuf {
        path.resolve(self.loaded.base(), self.files.home().as_deref())
    }

    /// Reports a path that does not exist or is of the
    /// wrong kind; returns whether it is as expected.
    fn expect(&mut self, pointer: &str, path: &LocalPath, kind: FileKind) -> bool {
        self.exists(pointer, path, Some(kind)).is_some()
    }

    fn exists(
        &mut self,
        pointer: &str,
        path: &LocalPath,
        wanted: Option<FileKind>,
    ) -> Option<FileKind> {
        let resolved = self.local(path);
        self.exists_at(pointer, path.as_str(), &resolved, wanted)
    }

    fn exists_at(
        &mut self,
        pointer: &str,
        written: &str,
        resolved: &Utf8Path,
        wanted: Option<FileKind>,
    ) -> Option<FileKind> {
        let found = match self.files.kind(resolved) {
            Ok(kind) if wanted.is_none_or(|wanted| wanted == kind) => return Some(kind),
            found => found,
        };
        let label = if self.loaded.spans.contains(pointer) {
            "named here".to_owned()
        } else {
            format!("uses `{written}`, as it names none")
        };
        match found {
            Ok(kind) => {
                let wanted = wanted.unwrap_or(FileKind::File);
                let message = format!("`{written}` is {kind}, not {wanted}");
                let help = format!("name {wanted}");
                self.error(pointer, FindingCode::WrongFile, message, &label, help);
            }
            Err(error) => {
                let message = match error.kind() {
                    io::ErrorKind::NotFound => format!("`{written}` does not exist"),
                    _ => format!("`{written}` cannot be read: {error}"),
                };
                let help = match error.kind() {
                    io::ErrorKind::NotFound => self.help_for_missing(written, resolved, wanted),
                    _ => format!("make it readable: ls -ld {resolved}"),
                };
                self.error(pointer, FindingCode::MissingFile, message, &label, help);
            }
        }
        None
    }

    fn help_for_missing(
        &self,
        written: &str,
        resolved: &Utf8Path,
        wanted: Option<FileKind>,
    ) -> String {
        if let Some(name) = unknown_variable(written) {
            return format!("{}; {}", no_variable(name), help_for_variable(name));
        }
        match meant::meant(self.files, written, resolved, wanted) {
            Some(meant) => format!("did you mean `{}`?", escape(&meant)),
            None if resolved == written => "create it, or correct the path".to_owned(),
            None => format!("create it, or correct the path; it was looked for at {resolved}"),
        }
    }
}

/// Returns the keys of an image that name a source.
fn sources_of(image: &Image) -> Vec<&'static str> {
    let sources = [
        ("archive", image.archive.is_some()),
        ("engine", image.engine.is_some()),
        ("rootfs", image.rootfs.is_some()),
        ("registry", image.registry.is_some()),
        ("build", image.build.is_some()),
    ];
    sources
        .into_iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(key, _)| key)
        .collect()
}

/// Returns the values of one key in a list of tables, with their pointers.
fn pointers(
    list: &str,
    key: &str,
    values: impl IntoIterator<Item = String>,
) -> Vec<(String, String)> {
    values
        .into_iter()
        .enumerate()
        .map(|(index, value)| (format!("/{list}/{index}/{key}"), value))
        .collect()
}

/// Whether a project's local files are read.
fn is_read(state: ComposeState) -> bool {
    state != ComposeState::Absent
}
