//! Resolves a release that a VPU keeps: fetches its compose files, which a plan needs, and nothing else.

use super::{LocalImages, Resolved, read_compose};
use crate::{
    compose::{Refusal, Release as ComposeRelease},
    desired::{COMPOSE_FILE, Project, ProjectFile},
    digest::Digest,
    generation::{Generation, KeptProject},
    host::{Host, HostError},
    observe::contents,
    remote::State,
};
use camino::{Utf8Path, Utf8PathBuf};

/// The largest file of a project, in bytes, that docker-compose may read.
const READ: u64 = 256 << 10;

/// A kept release, with its files in a private directory that is removed with it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) resolved: Resolved,
    directory: tempfile::TempDir,
}

/// Why a kept release could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeptError {
    /// The connection failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The VPU no longer keeps a file, or it is damaged there.
    #[error("{0} of this release is no longer on the VPU, or damaged there")]
    Gone(String),
    /// A compose file is refused now.
    #[error("the compose file of {project} {}", .refusal.message)]
    Refused {
        project: String,
        refusal: Box<Refusal>,
    },
    /// No file can be written on this machine.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Kept {
    /// Fetches the files of `generation` that docker-compose may read. `home` is the home directory on the VPU.
    pub(crate) async fn fetch<H: Host>(
        host: &H,
        home: &str,
        mut generation: Generation,
    ) -> Result<Self, KeptError> {
        let directory = tempfile::Builder::new().prefix("o3r-kept-").tempdir()?;
        let root = Utf8PathBuf::try_from(directory.path().to_owned())
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        let state = State { home };
        let files = generation.files.iter().flatten();
        let wanted: Vec<ProjectFile> = files.filter(|file| file.bytes <= READ).cloned().collect();
        let paths: Vec<String> = wanted
            .iter()
            .map(|file| state.stored(&file.sha256))
            .collect();
        let found = if paths.is_empty() {
            vec![]
        } else {
            contents(host, &paths, READ).await?
        };
        for (file, bytes) in wanted.iter().zip(found) {
            match bytes {
                Some(bytes) if Digest::of(&bytes) == file.sha256 => {
                    fs_err::write(root.join(file.sha256.hex()), bytes)?;
                }
                _ => return Err(KeptError::Gone(file.relative.clone())),
            }
        }
        for file in generation.files.iter_mut().flatten() {
            file.local = root.join(file.sha256.hex());
        }
        let projects = generation.header.projects.iter().zip(&generation.files);
        let projects: Result<Vec<Project>, KeptError> = projects
            .map(|(kept, files)| project(kept, files.clone()))
            .collect();
        let resolved = Resolved {
            desired: generation.desired(projects?),
            images: LocalImages::default(),
        };
        Ok(Self {
            resolved,
            directory,
        })
    }

    /// Splits it: the directory has to outlive the use of the desired state.
    pub(crate) fn into_parts(self) -> (Resolved, tempfile::TempDir) {
        (self.resolved, self.directory)
    }
}

/// Returns a project with what its compose file says.
fn project(kept: &KeptProject, files: Vec<ProjectFile>) -> Result<Project, KeptError> {
    let read = |relative: &str| -> Option<String> {
        let file = files.iter().find(|file| file.relative == relative)?;
        text(&file.local)
    };
    let text = read(COMPOSE_FILE).ok_or_else(|| KeptError::Gone(COMPOSE_FILE.to_owned()))?;
    let all = ComposeRelease::ALL.to_vec();
    let said = read_compose(&kept.name, &text, &files, all, &read);
    let said = said.map_err(|refusal| KeptError::Refused {
        project: kept.name.clone(),
        refusal,
    })?;
    Ok(Project {
        name: kept.name.clone(),
        state: kept.state,
        services: said.services,
        networks: said.networks,
        volumes: said.volumes,
        read: said.read,
        refused_by_old_compose: said.refused_by_old,
        autostart: kept.autostart,
        health: kept.health.clone(),
        undeclared: false,
        files,
        source: None,
    })
}

fn text(path: &Utf8Path) -> Option<String> {
    fs_err::read_to_string(path).ok()
}
