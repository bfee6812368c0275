//! Builds commands for volumes and their directories, and for the stand-ins that hold anonymous ones.

use crate::shell::Argv;

/// The label of our volumes.
pub const LABEL: &str = "o3r-deploy.release";

/// A script that creates a stand-in for a container.
macro_rules! standing_in {
    ($script:literal) => {
        concat!(include_str!("stand-in.sh"), include_str!($script))
    };
}

fn label(release: &str) -> String {
    format!("{LABEL}={release}")
}

/// Creates a bind volume labelled with its release.
pub fn create_volume(name: &str, directory: &str, release: &str) -> Argv {
    let script = include_str!("create-volume.sh");
    Argv::script(
        script,
        "o3r-create-volume",
        [name, directory, &label(release)],
    )
}

/// Binds a volume to a directory; first removes a different volume of that name and the containers of `projects` that
/// use it. `release` owns the volume, if it is ours.
pub fn replace_volume<'a>(
    name: &str,
    directory: &str,
    release: Option<&str>,
    projects: impl IntoIterator<Item = &'a str>,
) -> Argv {
    let label = release.map(label).unwrap_or_default();
    let script = standing_in!("replace-volume.sh");
    Argv::script(script, "o3r-replace-volume", [name, directory, &label]).args(projects)
}

/// Prints what is in the directories whose paths are the lines of stdin: each after `word`, in KiB.
pub fn data_sizes(word: &str) -> Argv {
    let script = concat!(include_str!("linked.sh"), include_str!("data-sizes.sh"));
    Argv::script(script, "o3r-data-sizes", [word])
}

/// Prints `word` before each of the paths on stdin that leads through a symbolic link.
pub fn linked_paths(word: &str) -> Argv {
    let script = concat!(include_str!("linked.sh"), include_str!("linked-paths.sh"));
    Argv::script(script, "o3r-linked-paths", [word])
}

/// Removes volumes, and the directory that they are bound to, with what is in it unless `only_empty`.
pub fn remove_data<'a>(
    directory: Option<&str>,
    only_empty: bool,
    volumes: impl IntoIterator<Item = &'a str>,
) -> Argv {
    let script = concat!(include_str!("linked.sh"), include_str!("remove-data.sh"));
    let how = if only_empty { "empty" } else { "all" };
    let arguments = [directory.unwrap_or_default(), how];
    Argv::script(script, "o3r-remove-data", arguments).args(volumes)
}

/// Replaces the stopped containers of a service that have a different volume at one of its mounts by stand-ins that hold
/// their other anonymous volumes. `mounts` are volumes by destination, empty for other mounts. No volume is removed.
pub fn uncover_mounts<'a>(
    project: &str,
    service: &str,
    mounts: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Argv {
    let script = standing_in!("uncover-mounts.sh");
    let mounts = mounts.into_iter();
    let mounts = mounts.map(|(destination, volume)| format!("{volume} {destination}"));
    Argv::script(script, "o3r-uncover-mounts", [project, service]).args(mounts)
}

/// A container that a stand-in may be needed for.
#[derive(Debug, Clone, Copy)]
pub struct StandIn<'a> {
    /// Its id.
    pub id: &'a str,
    /// Compose project.
    pub project: &'a str,
    /// Compose service.
    pub service: &'a str,
    /// Its number in the service.
    pub number: &'a str,
    /// The directory that docker-compose ran in.
    pub working_dir: &'a str,
    /// The id of its image.
    pub image: &'a str,
}

/// If a container is gone, attaches its volumes, by name and destination, to a stand-in that replaces the service's newer
/// containers of its number.
pub fn bring_volumes_back<'a>(
    container: &StandIn<'_>,
    volumes: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Argv {
    let words = [
        container.id,
        container.project,
        container.service,
        container.number,
        container.working_dir,
        container.image,
    ];
    let script = standing_in!("bring-volumes-back.sh");
    let volumes = volumes.into_iter();
    let volumes = volumes.map(|(name, destination)| format!("{name} {destination}"));
    Argv::script(script, "o3r-bring-volumes-back", words).args(volumes)
}

/// Replaces a container whose image docker no longer has by a stand-in from another image that holds its anonymous
/// volumes.
pub fn stand_in(id: &str, image: &str) -> Argv {
    let script = standing_in!("stand-in-for.sh");
    Argv::script(script, "o3r-stand-in", [id, image])
}
