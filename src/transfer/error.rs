//! Describes what is wrong with a local image: where, why, and what to do next.

use std::io;

use camino::Utf8PathBuf;

use crate::platform::Platform;
use o3r_core::digest::Digest;

/// Why a local image cannot be opened or sent.
///
/// `origin` is what the user named: the file, or the image in the engine.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be read.
    #[error("cannot read {origin}")]
    Unreadable {
        /// The file named by the user.
        origin: String,
        /// The system's error.
        source: io::Error,
    },
    /// The scratch directory, which holds unpacked archives, cannot be used.
    #[error("cannot write a scratch file in {dir}")]
    Scratch {
        /// The scratch directory.
        dir: Utf8PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file ends before its content does.
    #[error("{origin} is truncated: {part} ends at byte {needed}, the file at byte {len}")]
    Truncated {
        /// The file named by the user.
        origin: String,
        /// The member that is incomplete.
        part: String,
        /// Where the member would end, in the uncompressed file.
        needed: u64,
        /// Where the file ends, uncompressed.
        len: u64,
    },
    /// The file is not an image archive.
    #[error("{origin} is not an image archive but {looks_like}")]
    NotAnImage {
        /// The file named by the user.
        origin: String,
        /// What the file looks like.
        looks_like: &'static str,
        /// What to do with such a file, if not to create another one.
        remedy: Option<&'static str>,
    },
    /// The file is not the tar of a bare file system, although one is declared.
    #[error("{origin} is not the tar of a file system but {looks_like}")]
    NotARootfs {
        /// The file named by the user.
        origin: String,
        /// What the file looks like.
        looks_like: &'static str,
        /// What to do with such a file, if not to create another one.
        remedy: Option<&'static str>,
    },
    /// An image archive, although a bare file system is declared.
    #[error("{origin} is an image archive, not a bare file system")]
    NotAFileSystem {
        /// The file named by the user.
        origin: String,
    },
    /// An unsupported compression.
    #[error("{origin} is compressed with {format}, which is not supported")]
    Compression {
        /// The file named by the user.
        origin: String,
        /// The program of that compression.
        format: &'static str,
    },
    /// Compressed or packed bytes that cannot be decoded.
    #[error("{origin} is damaged near byte {offset}: {problem}")]
    Damaged {
        /// The file named by the user.
        origin: String,
        /// Position in the uncompressed file.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// A manifest, index or configuration that cannot be used.
    #[error("{origin}: {part}: {problem}")]
    Metadata {
        /// The file named by the user.
        origin: String,
        /// The document inside it.
        part: String,
        /// What is wrong.
        problem: String,
    },
    /// A member that exists but was packed in an unusable form.
    #[error("{origin}: {part} {problem}")]
    Unusable {
        /// The file named by the user.
        origin: String,
        /// The member or document.
        part: String,
        /// What is wrong with it; the message continues from the member's name.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Something larger than in any real image.
    #[error("{origin}: {part} has {found}, more than the {limit} that are accepted")]
    TooMuch {
        /// The file named by the user.
        origin: String,
        /// What is too large.
        part: String,
        /// Its size with the unit.
        found: String,
        /// The bound.
        limit: u64,
    },
    /// A document names a member that the archive does not hold.
    #[error("{origin} lacks {part}, which {needed_by} names")]
    Missing {
        /// The file named by the user.
        origin: String,
        /// The member that is absent.
        part: String,
        /// The document that refers to it.
        needed_by: String,
    },
    /// Content with another digest than its name or its manifest states.
    #[error("{origin}: {part} has the digest {found}, not {expected}")]
    DigestMismatch {
        /// The file named by the user.
        origin: String,
        /// The content: a member or a layer.
        part: String,
        /// The stated digest.
        expected: Digest,
        /// The digest of the content.
        found: Digest,
    },
    /// Several images; none has the declared name.
    #[error("{origin} holds {} images, none of them the one {wanted:?}: {}", names.len(), names.join(", "))]
    Several {
        /// The file named by the user.
        origin: String,
        /// The declared name.
        wanted: String,
        /// The names in the archive.
        names: Vec<String>,
        /// The first image that has a name.
        choice: Option<String>,
    },
    /// Several images; more than one could be the declared one.
    #[error("{origin} holds {} images that may be {wanted:?}: {}", names.len(), names.join(", "))]
    Ambiguous {
        /// The file named by the user.
        origin: String,
        /// The declared name.
        wanted: String,
        /// The names of the candidates.
        names: Vec<String>,
    },
    /// An image for another processor or operating system.
    #[error("{origin} is built for {}, but the VPU needs {wanted}", list(found))]
    WrongPlatform {
        /// The file or the engine's image named by the user.
        origin: String,
        /// The image's platform; several for a multi-platform archive.
        found: Vec<Platform>,
        /// The VPU's platform.
        wanted: Platform,
    },
    /// The `docker` program could not be started.
    #[error("cannot run docker on this machine")]
    EngineMissing {
        /// The system's error.
        source: io::Error,
    },
    /// The docker program reaches no engine.
    #[error("this machine's docker engine does not answer: {said}")]
    EngineDown {
        /// Docker's message.
        said: String,
    },
    /// The engine does not have the image.
    #[error("this machine's docker has no image {name:?}")]
    NoSuchImage {
        /// The image as the user named it.
        name: String,
    },
    /// The engine saved the image without some of its content.
    #[error("this machine's docker has the image {name:?} without {part}")]
    EngineLacks {
        /// The image as the user named it.
        name: String,
        /// The missing content.
        part: String,
    },
    /// The image name refers to another image in the engine than when reading started.
    #[error("this machine's docker has another image {name:?} now: it changed while it was read")]
    EngineMoved {
        /// The image as the user named it.
        name: String,
    },
    /// A docker command failed in another way.
    #[error("`{command}` failed: {said}")]
    EngineFailed {
        /// The command.
        command: String,
        /// Docker's message.
        said: String,
        /// What to do, if known.
        remedy: Option<String>,
    },
    /// A cached layer is damaged. The file was removed, so a retry rebuilds it.
    #[error("the layer cache had a damaged file, which was removed: {layer}")]
    DamagedCache {
        /// The layer.
        layer: Digest,
    },
    /// The receiver of the archive failed; nothing is wrong with the image.
    #[error("the archive could not be sent")]
    Output {
        /// The writer's error.
        source: io::Error,
    },
}

/// How to create an image archive.
const SAVE: &str = "create one with `docker save -o FILE IMAGE`";

/// How to create the tar of a file system.
const EXPORT: &str = "create one with `docker build -o type=tar,dest=FILE .`";

/// How to create an archive with a single image that has a name.
const ONE: &str = "save one image alone, by its name: `docker save -o FILE NAME:TAG`";

fn list(platforms: &[Platform]) -> String {
    platforms
        .iter()
        .map(Platform::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

impl ImageError {
    /// What to do or type next.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Truncated { .. } | Self::Damaged { .. } | Self::DigestMismatch { .. } => {
                "the file was copied or written incompletely; create or copy it again".to_owned()
            }
            Self::Missing { .. } => {
                "the archive is incomplete; create it again with `docker save -o FILE IMAGE`"
                    .to_owned()
            }
            Self::NotAnImage { remedy, .. } => remedy.unwrap_or(SAVE).to_owned(),
            Self::NotARootfs { remedy, .. } => remedy.unwrap_or(EXPORT).to_owned(),
            Self::Unusable { remedy, .. } => (*remedy).to_owned(),
            Self::NotAFileSystem { .. } => {
                "declare it as `archive = \"FILE\"` instead of `rootfs`".to_owned()
            }
            Self::Compression { format, .. } => {
                format!("unpack it with `{format} -d FILE`, or compress it with gzip or zstd")
            }
            Self::Several { choice, .. } => match choice {
                Some(name) => format!("set `name` to one of them, for example {name:?}"),
                None => ONE.to_owned(),
            },
            Self::Ambiguous { .. } => ONE.to_owned(),
            Self::WrongPlatform { wanted, .. } => {
                format!("build it with `docker build --platform {wanted} …`, or set [vpu].arch")
            }
            Self::Scratch { .. } => {
                "free some space there, or set XDG_CACHE_HOME to a directory with more space"
                    .to_owned()
            }
            Self::DamagedCache { .. } => "run it again: the cached layer is rebuilt".to_owned(),
            Self::EngineMissing { .. } => {
                "install the docker CLI, or set the image as `archive = \"FILE\"`".to_owned()
            }
            Self::EngineDown { .. } => {
                "start docker, or set DOCKER_HOST; `docker info` must answer".to_owned()
            }
            Self::NoSuchImage { name, .. } => {
                format!("build or pull it first; `docker image inspect {name}` must answer")
            }
            Self::EngineLacks { name, .. } => {
                format!("pull it again with `docker pull {name}`, or build it again")
            }
            Self::EngineMoved { .. } => "run the same command again".to_owned(),
            Self::EngineFailed { remedy, .. } => return remedy.clone(),
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "build the file first; its path is relative to the manifest".to_owned()
            }
            Self::Unreadable { .. }
            | Self::Metadata { .. }
            | Self::TooMuch { .. }
            | Self::Output { .. } => return None,
        };
        Some(help)
    }
}
