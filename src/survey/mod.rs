//! Describes what runs on a VPU as a manifest, and fetches the files that it needs. Changes nothing on the VPU.
//!
//! A release that the VPU recorded is described by its record: what it declares is known. Of projects that no release
//! owns, the compose file says what they need. [`fetch`] copies files, [`text`] renders the manifest.

mod fetch;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    desired::{COMPOSE_FILE, Desired, Entry, ProjectState},
    host::{Host, HostError},
    manifest::types::COMPOSE_ROOT,
    observe::{self, Facts, Observed, ReadError},
    resolve::{Kept, KeptError},
    scaffold,
};
use o3r_core::{
    device_words,
    names::{ReleaseName, below_home},
};

pub(crate) use text::text;

/// What runs on a VPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// The name of the release.
    pub(crate) release: String,
    /// Its version; empty if the VPU recorded none.
    pub(crate) version: String,
    /// Whether the VPU recorded the release.
    pub(crate) is_recorded: bool,
    /// The name of the device; empty if it has none.
    vpu_name: String,
    /// The architecture, if it is not the usual one.
    arch: Option<String>,
    directories: Vec<(String, Option<u32>)>,
    volumes: Vec<(String, String)>,
    images: Vec<String>,
    transfers: Vec<Copied>,
    /// The device's configuration: its file, and whether the network is part of it and whether it is saved.
    device: Option<(String, bool, bool)>,
    /// Services whose start at boot is disabled.
    disabled: Vec<String>,
    pub(crate) projects: Vec<Project>,
    /// What is not described, and why.
    pub(crate) notes: Vec<String>,
}

/// Files that a transfer copied.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Copied {
    src: String,
    dst: String,
    /// The mode of all its files, if it is none of the defaults.
    mode: Option<u32>,
    delete: bool,
    exclude: Vec<String>,
    restart: Vec<String>,
}

/// A compose project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Project {
    pub(crate) name: String,
    file: String,
    extra_files: Vec<String>,
    is_running: bool,
    autostart: Option<bool>,
    /// Lines of its `[compose.health]`.
    health: Vec<String>,
}

/// The file of the device's configuration.
const DEVICE_FILE: &str = "o3r.json";

/// The modes that files of a transfer have where the manifest says nothing.
const USUAL_MODES: [u32; 2] = [0o644, 0o755];

/// Why a VPU could not be described.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SurveyError {
    /// The connection failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What runs is not known.
    #[error("{what} not known: {reason}")]
    Unknown {
        /// E.g. `the containers are`.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The VPU has several releases.
    #[error("the VPU has several releases: {0}")]
    Several(String),
    /// Nothing is deployed.
    #[error("nothing is deployed: the VPU has no compose project")]
    Nothing,
    /// A file could not be written here.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A project as found on the VPU.
struct Found {
    directory: String,
    file: String,
    is_running: bool,
}

/// Describes a VPU, and writes the files that it needs into `folder`. `asked` selects one of several releases; `default`
/// is the name of one that the VPU did not record.
///
/// # Errors
/// The connection is lost, what runs is not known, or a file cannot be written.
pub(crate) async fn survey<H: Host>(
    host: &H,
    observed: &Observed,
    asked: Option<&ReleaseName>,
    default: &str,
    folder: &Utf8Path,
) -> Result<Survey, SurveyError> {
    let facts = &observed.facts;
    let mut survey = Survey {
        release: asked.map_or_else(|| default.to_owned(), ToString::to_string),
        arch: Some(facts.system.arch.as_str().to_owned()).filter(|arch| arch != "arm64"),
        ..Survey::default()
    };
    if let Some(device) = facts.device.known() {
        survey.vpu_name.clone_from(&device.name);
    }
    let recorded = choose(facts, asked)?;
    let desired = match &recorded {
        Some(name) => {
            survey.release.clone_from(name);
            survey.is_recorded = true;
            kept(host, name, &mut survey.notes).await?
        }
        None => None,
    };
    let mut found = projects(facts)?;
    let owner = |project: &str| observed.owner(project).map(str::to_owned);
    for name in found.keys() {
        let owned_by = owner(name);
        if owned_by != recorded {
            survey.notes.push(match owned_by {
                Some(other) => {
                    format!("project {name} is not described: it belongs to release {other}")
                }
                None => format!(
                    "project {name} is not described: release {} does not have it",
                    survey.release
                ),
            });
        }
    }
    found.retain(|name, _| owner(name) == recorded);
    if found.is_empty() && desired.is_none() {
        return Err(SurveyError::Nothing);
    }
    let is_single = found.len() == 1;
    for (name, found) in &found {
        let place = if is_single {
            Utf8PathBuf::new()
        } else {
            Utf8PathBuf::from(name)
        };
        project(host, facts, name, found, &place, folder, &mut survey).await?;
    }
    if let Some(desired) = &desired {
        declared(host, desired, folder, &mut survey).await?;
    }
    // The order of a record stays: it is part of what a release declares.
    distinct(&mut survey.images);
    distinct(&mut survey.volumes);
    distinct(&mut survey.directories);
    Ok(survey)
}

/// Keeps the first of equal items.
fn distinct<T: Clone + Ord>(items: &mut Vec<T>) {
    let mut known = BTreeSet::new();
    items.retain(|item| known.insert(item.clone()));
}

/// Returns the recorded release to describe, if there is one.
fn choose(facts: &Facts, asked: Option<&ReleaseName>) -> Result<Option<String>, SurveyError> {
    let records = facts
        .records
        .as_result()
        .map_err(|reason| SurveyError::Unknown {
            what: "the releases are",
            reason: reason.to_owned(),
        })?;
    let names: Vec<&String> = records.releases.keys().collect();
    match (asked, names.as_slice()) {
        (Some(asked), names) => {
            let asked = asked.to_string();
            Ok(names
                .iter()
                .find(|name| ***name == asked)
                .map(|name| (*name).clone()))
        }
        (None, []) => Ok(None),
        (None, [name]) => Ok(Some((*name).clone())),
        (None, names) => {
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            Err(SurveyError::Several(names.join(", ")))
        }
    }
}

/// Returns what a recorded release declares; `None` if the VPU does not keep it.
async fn kept<H: Host>(
    host: &H,
    name: &str,
    notes: &mut Vec<String>,
) -> Result<Option<Desired>, SurveyError> {
    let history = observe::history(host).await?;
    let number = history
        .0
        .get(name)
        .and_then(|release| release.kept.keys().next_back().copied());
    let mut lost = |reason: &str| {
        notes.push(format!(
            "the VPU does not keep what release {name} declares ({reason}): its transfers are not described"
        ));
        Ok(None)
    };
    let Some(number) = number else {
        return lost("it keeps no release");
    };
    let (home, generation) = match observe::generation(host, name, number).await {
        Ok(read) => read,
        Err(ReadError::Host(error)) => return Err(error.into()),
        Err(error @ ReadError::Text(_)) => return lost(&error.to_string()),
    };
    match Kept::fetch(host, &home, generation).await {
        Ok(kept) => Ok(Some(kept.into_parts().0.desired)),
        Err(KeptError::Host(error)) => Err(error.into()),
        Err(error) => lost(&error.to_string()),
    }
}

/// Returns the projects of all containers, and those that start at boot.
fn projects(facts: &Facts) -> Result<BTreeMap<String, Found>, SurveyError> {
    let containers = facts
        .containers
        .as_result()
        .map_err(|reason| SurveyError::Unknown {
            what: "the containers are",
            reason: reason.to_owned(),
        })?;
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for container in containers.values() {
        if container.project.is_empty() || container.one_off {
            continue;
        }
        let is_running = container.status.is_up();
        let file = container.config_files.split(',').next().unwrap_or_default();
        let file = file
            .strip_prefix(&format!("{}/", container.working_dir))
            .unwrap_or(file);
        let project = found
            .entry(container.project.clone())
            .or_insert_with(|| Found {
                directory: container.working_dir.clone(),
                file: if file.is_empty() {
                    COMPOSE_FILE.to_owned()
                } else {
                    file.to_owned()
                },
                is_running: false,
            });
        project.is_running |= is_running;
    }
    if let Some(autostart) = facts.autostart.known() {
        for name in autostart.enabled.iter().chain(&autostart.enabled_for_all) {
            found.entry(name.clone()).or_insert_with(|| Found {
                directory: format!("{COMPOSE_ROOT}/{name}"),
                file: COMPOSE_FILE.to_owned(),
                is_running: false,
            });
        }
    }
    Ok(found)
}

/// Fetches a project's files, and describes it.
async fn project<H: Host>(
    host: &H,
    facts: &Facts,
    name: &str,
    found: &Found,
    place: &Utf8Path,
    folder: &Utf8Path,
    survey: &mut Survey,
) -> Result<(), SurveyError> {
    let Found {
        directory,
        file,
        is_running,
    } = found;
    let local = folder.join(place);
    let has_file = fetch::project(host, directory, file, &local, &mut survey.notes).await?;
    if !has_file {
        survey.notes.push(format!(
            "project {name} is not described: there is no {directory}/{file}"
        ));
        return Ok(());
    }
    let usual = format!("{COMPOSE_ROOT}/{name}");
    if *directory != usual || file != COMPOSE_FILE {
        survey.notes.push(format!(
            "project {name} is in {directory}: apply moves it to {usual}, and recreates its containers"
        ));
    }
    let described = scaffold::compose(&local, file);
    survey.images.extend(described.images);
    let directories = described.directories.into_iter().map(|path| (path, None));
    survey.directories.extend(directories);
    for volume in described.volumes {
        let known = facts
            .volumes
            .known()
            .and_then(|volumes| volumes.get(&volume));
        match known.and_then(|volume| volume.bound_to()) {
            Some(device) => {
                let path = below_home(device, &facts.system.home);
                survey.volumes.push((volume, path));
            }
            None => survey.notes.push(format!(
                "volume {volume} is docker's own, not bound to a directory: it is not described, and stays"
            )),
        }
    }
    let autostart = facts.autostart.known();
    survey.projects.push(Project {
        name: name.to_owned(),
        file: place.join(file).into_string(),
        extra_files: described.extra_files,
        is_running: *is_running,
        autostart: autostart
            .is_some_and(|autostart| autostart.starts(name))
            .then_some(true),
        health: vec![],
    });
    Ok(())
}

/// Adds what only the record of a release says.
async fn declared<H: Host>(
    host: &H,
    desired: &Desired,
    folder: &Utf8Path,
    survey: &mut Survey,
) -> Result<(), SurveyError> {
    survey.version.clone_from(&desired.release.version);
    survey.directories = desired
        .directories
        .iter()
        .map(|directory| (directory.path.as_written().to_owned(), directory.mode))
        .collect();
    let volumes = desired.volumes.iter();
    survey.volumes = volumes
        .map(|volume| (volume.name.to_string(), volume.path.as_written().to_owned()))
        .collect();
    let declared = desired.device_name.as_ref();
    survey.vpu_name = declared.map_or_else(String::new, |device| device.name.to_string());
    let place = |project: &Project| {
        let mut names = desired.projects.iter().map(|declared| &declared.name);
        names.position(|name| *name == project.name)
    };
    survey.projects.sort_by_key(place);
    survey.images = desired
        .images
        .iter()
        .map(|image| image.name.clone())
        .collect();
    for project in &desired.projects {
        let described = survey
            .projects
            .iter_mut()
            .find(|known| known.name == project.name);
        if let Some(described) = described {
            described.is_running = project.state == ProjectState::Running;
            described.autostart = project.autostart;
            described.health = text::health(&project.health);
            let files = project.files.iter().map(|file| file.relative.clone());
            described.extra_files = files.filter(|file| file != COMPOSE_FILE).collect();
        }
    }
    survey.disabled = desired
        .disabled
        .iter()
        .map(|service| service.name.clone())
        .collect();
    if let Some(settings) = &desired.device_settings {
        let values = settings.values.iter();
        let fragment =
            device_words::fragment(values.map(|(pointer, value)| (pointer.as_str(), value)));
        let text = serde_json::to_string_pretty(&fragment).map_err(std::io::Error::from)?;
        fs_err::write(folder.join(DEVICE_FILE), text + "\n")?;
        survey.device = Some((DEVICE_FILE.to_owned(), settings.network, settings.save));
    }
    transfers(host, desired, folder, survey).await
}

/// Fetches the files of a recorded release's transfers.
async fn transfers<H: Host>(
    host: &H,
    desired: &Desired,
    folder: &Utf8Path,
    survey: &mut Survey,
) -> Result<(), SurveyError> {
    let mut used = BTreeSet::new();
    for transfer in &desired.transfers {
        let name = transfer.target.as_written().trim_end_matches('/');
        let base = Utf8Path::new(name)
            .file_name()
            .filter(|name| *name != "~")
            .unwrap_or("home");
        let mut local = format!("files/{base}");
        while !used.insert(local.clone()) {
            local.push('_');
        }
        let (mut files, mut directories, mut modes) = (vec![], vec![], BTreeSet::new());
        for (path, entry) in &transfer.entries {
            match entry {
                Entry::File(file) => {
                    modes.insert(file.mode);
                    files.push(path.clone());
                }
                Entry::Symlink { .. } => files.push(path.clone()),
                Entry::Directory { .. } => directories.push(path),
            }
        }
        let is_file = transfer.is_file();
        fetch::transfer(
            host,
            name,
            is_file,
            &files,
            &folder.join(&local),
            &mut survey.notes,
        )
        .await?;
        // Also those without files.
        let inside = |path: &&&String| !path.split('/').any(|part| part == "..");
        for path in directories.iter().filter(inside) {
            fs_err::create_dir_all(folder.join(&local).join(path))?;
        }
        let has_usual = modes.iter().all(|mode| USUAL_MODES.contains(mode));
        if !has_usual && modes.len() > 1 {
            survey.notes.push(format!(
                "files of {name} have several modes: check `mode` in its [[transfers]]"
            ));
        }
        let slash = if is_file { "" } else { "/" };
        survey.transfers.push(Copied {
            src: format!("{local}{slash}"),
            dst: format!("{name}{slash}"),
            mode: modes.first().copied().filter(|_| !has_usual),
            delete: transfer.delete,
            exclude: transfer
                .exclude
                .globs()
                .iter()
                .map(ToString::to_string)
                .collect(),
            restart: transfer.restart.clone(),
        });
    }
    Ok(())
}
