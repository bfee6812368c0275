//! Builds every command that runs on a VPU, as pure data; what needs a loop is a checked-in script.

mod lock;
mod purpose;

use std::time::Duration;

use crate::{
    blocks,
    digest::Digest,
    health::HealthGate,
    offers::Reach,
    restart_policy::RestartPolicy,
    shell::{Argv, IN_TURN_NAME},
};

pub use lock::{Claim, Holder, How, LEFTOVER, LOCKED, LOST, RUN_NAME, lock, run};
pub use purpose::purpose;

/// Where the boot unit looks for a project's compose file.
pub const COMPOSE_ROOT: &str = "/usr/share/oem/docker/compose";

/// The label by which our volumes are known.
pub const LABEL: &str = "o3r-deploy.release";

/// Lines of history kept on the VPU; one is 0.1 kB for every file, image and volume.
const HISTORY_LINES: u32 = 50;

/// Paths of our own state on a VPU with the home directory `home`.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// Absolute.
    pub home: &'a str,
}

impl State<'_> {
    /// What a project's containers were started from.
    pub fn started(self, project: &str) -> String {
        format!("{}/.o3r-deploy/started/{project}", self.home)
    }

    /// A release's history.
    pub fn history(self, release: &str) -> String {
        format!("{}/.o3r-deploy/releases/{release}.jsonl", self.home)
    }

    /// Files here say that transfers were moved and no release was recorded since.
    pub fn moved(self) -> String {
        format!("{}/.o3r-deploy/moved", self.home)
    }

    /// Where files of transfers arrive, and what they replace is kept until all is well.
    pub fn staging(self) -> String {
        format!("{}/.o3r-deploy/staging", self.home)
    }

    /// Where what is sent of an image is unpacked that is built on the VPU.
    pub fn delta(self) -> String {
        format!("{}/.o3r-deploy/delta", self.home)
    }

    /// Where parts of images arrive.
    pub fn arriving(self) -> String {
        format!("{}/.o3r-deploy/arriving", self.home)
    }

    /// Where the previous release's files of a project are kept.
    pub fn kept_directory(self, project: &str) -> String {
        format!("{}/.o3r-deploy/previous/{project}", self.home)
    }

    /// Where one of them is kept: below the project, slashes written as `%2F`.
    pub fn kept(self, project: &str, relative: &str) -> String {
        let name = relative.replace('%', "%25").replace('/', "%2F");
        format!("{}/{name}", self.kept_directory(project))
    }
}

/// The directory of a compose project.
pub fn project_directory(project: &str) -> String {
    format!("{COMPOSE_ROOT}/{project}")
}

/// Makes a directory and its parents.
pub fn make_directory(path: &str) -> Argv {
    Argv::new("mkdir").args(["-p", "--", path])
}

/// Sets a directory's or file's mode.
pub fn change_mode(path: &str, mode: u32) -> Argv {
    Argv::new("chmod")
        .arg(format!("{mode:04o}"))
        .args(["--", path])
}

/// What the previous release has at a path: which file [`put_file`] and [`remove_file`] keep, and
/// [`restore_file`] brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviousFile {
    /// This one.
    Is(Digest),
    /// None.
    None,
    /// None of its own, but someone else's, whatever that is.
    Whatever,
}

impl PreviousFile {
    fn word(self) -> String {
        match self {
            Self::Is(sha256) => sha256.hex(),
            Self::None => "-".to_owned(),
            Self::Whatever => "?".to_owned(),
        }
    }
}

/// A script that leaves a stand-in for a container.
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

/// Makes a volume a bind of a directory: where it is something else, it and the containers of
/// `projects` that have it are removed first. `release` is whose it is, if it is ours.
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

/// A script that loads an image and waits until that is on the disk.
macro_rules! loading {
    ($script:literal) => {
        concat!(include_str!("flush-images.sh"), include_str!($script))
    };
}

/// Loads the image archive on stdin.
pub fn load_image() -> Argv {
    Argv::script(loading!("load-image.sh"), "o3r-load-image", None::<&str>)
}

/// Loads the image that is built in `directory` from the files of the image `base` (an id), and from
/// the compressed tar on stdin.
pub fn load_delta(directory: &str, base: &str, reach: Reach) -> Argv {
    let how = match reach {
        Reach::Inside => "inside",
        Reach::Outside => "outside",
    };
    let script = loading!("load-delta.sh");
    Argv::script(script, "o3r-load-delta", [directory, base, how])
}

/// Appends stdin to the file at `path`, which has `have` bytes of a part of an image, and `bytes` when all
/// are there, if that is known.
pub fn receive_part(path: &str, have: u64, bytes: Option<u64>) -> Argv {
    let have = have.to_string();
    let bytes = bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
    Argv::script(
        include_str!("receive-part.sh"),
        "o3r-receive-part",
        [path, &have, &bytes],
    )
}

/// Loads the image archive in the file at `path`, and removes the file where that went well.
pub fn load_part(path: &str) -> Argv {
    Argv::script(loading!("load-part.sh"), "o3r-load-part", [path])
}

/// Loads the image archive on stdin, or in the file at `path`, which is compressed with zstd.
pub fn load_zstd(path: Option<&str>) -> Argv {
    Argv::script(loading!("load-zstd.sh"), "o3r-load-zstd", path)
}

/// Takes the names of parts of images away, where they are there.
pub fn forget_parts<'a>(names: impl IntoIterator<Item = &'a str>) -> Argv {
    Argv::script(include_str!("forget-parts.sh"), "o3r-forget-parts", names)
}

/// Gives an image (by id or name) a name.
pub fn tag_image(image: &str, name: &str) -> Argv {
    Argv::new("docker").args(["image", "tag", image, name])
}

/// Takes a name away from its image, if it has it; the image stays while it has another one.
pub fn untag_image(name: &str) -> Argv {
    Argv::script(include_str!("untag-image.sh"), "o3r-untag-image", [name])
}

/// Puts the file on stdin at `path`: `bytes` of them. `record` is taken away, for it speaks of
/// the old file.
pub fn put_file(
    path: &str,
    (sha256, bytes): (Digest, u64),
    mode: u32,
    (kept, previous): (&str, PreviousFile),
    record: &str,
) -> Argv {
    let script = concat!(include_str!("kept.sh"), include_str!("put-file.sh"));
    Argv::script(script, "o3r-put-file", [path])
        .arg(sha256.hex())
        .arg(bytes.to_string())
        .arg(format!("{mode:04o}"))
        .arg(kept)
        .arg(previous.word())
        .arg(record)
}

/// Removes a file of the project in `directory`; `record`, which speaks of it, is taken away.
pub fn remove_file(
    path: &str,
    (kept, previous): (&str, PreviousFile),
    record: &str,
    directory: &str,
) -> Argv {
    let script = concat!(include_str!("kept.sh"), include_str!("remove-file.sh"));
    Argv::script(script, "o3r-remove-file", [path, kept])
        .arg(previous.word())
        .args([record, directory])
}

/// Takes [`put_file`] or [`remove_file`] back.
pub fn restore_file(path: &str, (kept, previous): (&str, PreviousFile), record: &str) -> Argv {
    let script = concat!(include_str!("kept.sh"), include_str!("restore-file.sh"));
    Argv::script(script, "o3r-restore-file", [path, kept])
        .arg(previous.word())
        .arg(record)
}

/// What a file that [`set_aside`] renamed has behind its name.
pub const FOUND: &str = ".o3r-found";

/// Renames a file that nobody declared (`do`), or takes that back (`undo`); removes `record`, which speaks of what
/// was started with it.
pub fn set_aside(verb: &str, path: &str, record: &str) -> Argv {
    let script = include_str!("set-aside.sh");
    Argv::script(script, "o3r-set-aside", [verb, path, FOUND, record])
}

/// Stops containers of a project and takes their names from them; `services` are `NAME=SECONDS`.
pub fn step_aside(project: &str, services: impl IntoIterator<Item = String>) -> Argv {
    let script = include_str!("step-aside.sh");
    Argv::script(script, "o3r-step-aside", [project]).args(services)
}

/// Renames a container.
pub fn rename_container(id: &str, name: &str) -> Argv {
    Argv::new("docker").args(["container", "rename", id, name])
}

/// Gives the containers of before, each as `ID=NAME`, their names back and stops all newer ones. Fails where one of
/// `images`, each as `NAME=IMAGE`, is gone, for `docker-compose up` would pull it; then it starts the containers of
/// before itself if `how` is `-d`, not `--no-start`.
pub fn put_back(project: &str, how: &str, before: &[String], images: &[String]) -> Argv {
    let script = include_str!("put-back.sh");
    Argv::script(script, "o3r-put-back", [project, how])
        .args(before.iter().cloned())
        .arg("--")
        .args(images.iter().cloned())
}

/// Has docker-compose replace the containers of `services` that are none of those of `before`; `how` is `-d` or
/// `--no-start`.
pub fn recreate<'a>(
    project: &str,
    how: &str,
    services: impl IntoIterator<Item = &'a str>,
    before: &[String],
) -> Argv {
    let directory = project_directory(project);
    let words = [project, directory.as_str(), how];
    Argv::script(include_str!("recreate.sh"), "o3r-recreate", words)
        .args(services)
        .args(before.iter().cloned())
}

/// Unpacks the archive of files on stdin into a staging directory, and checks it.
pub fn stage_files(staging: &str) -> Argv {
    let script = include_str!("stage-files.sh");
    Argv::script(script, "o3r-stage-files", [staging])
}

/// Prints the sums of a file's blocks, each of `block` bytes; see [`crate::blocks::BlockSums::parse`].
pub fn block_sums(path: &str, block: u64) -> Argv {
    let script = include_str!("block-sums.sh");
    let (size, batch) = (block.to_string(), blocks::batch(block).to_string());
    Argv::script(script, "o3r-block-sums", [path, &size, &batch])
}

/// Makes up random numbers and hashes them, `bytes` at a time; prints how many times in how many hundredths of a
/// second.
pub fn cpu_speed(bytes: usize) -> Argv {
    let script = include_str!("cpu-speed.sh");
    Argv::script(script, "o3r-cpu-speed", [bytes.to_string()])
}

/// Builds the file at `path`, below `staging`, from the one at `old` and the patch on stdin; `block` bytes
/// are a block of the old one.
pub fn patch_file(
    staging: &str,
    (path, old): (&str, &str),
    sha256: Digest,
    mode: u32,
    block: u64,
) -> Argv {
    let script = concat!(include_str!("kept.sh"), include_str!("patch-file.sh"));
    let directory = format!("{staging}/patch");
    Argv::script(script, "o3r-patch-file", [&directory, path, old])
        .arg(sha256.hex())
        .arg(format!("{mode:04o}"))
        .arg(block.to_string())
}

/// Moves what is staged for the transfer with this number to its target, as the list on stdin says,
/// and undoes it with another list. Removes `records` before.
pub fn move_files(
    target: &str,
    staging: &str,
    number: usize,
    (marker, how): (&str, Move),
    records: impl IntoIterator<Item = String>,
) -> Argv {
    let (new, old) = (
        format!("{staging}/new/{number}"),
        format!("{staging}/old/{number}"),
    );
    let script = include_str!("move-files.sh");
    let words = [target, &new, &old, marker, how.word()];
    Argv::script(script, "o3r-move-files", words).args(records)
}

/// Which way [`move_files`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// In place.
    Do,
    /// Back: then all is as it was.
    Undo,
    /// Back, as far as this apply moved it: an earlier one was cut off.
    UndoSome,
}

impl Move {
    fn word(self) -> &'static str {
        match self {
            Self::Do => "do",
            Self::Undo => "undo",
            Self::UndoSome => "undo-some",
        }
    }
}

/// Removes files, and directories with all that is in them.
pub fn remove_paths(paths: impl IntoIterator<Item = String>) -> Argv {
    Argv::new("rm").args(["-rf", "--"]).args(paths)
}

/// Removes a project's files and its directory, if that is then empty.
pub fn remove_files(directory: &str, files: impl IntoIterator<Item = String>) -> Argv {
    Argv::script(
        include_str!("remove-files.sh"),
        "o3r-remove-files",
        [directory],
    )
    .args(files)
}

/// Runs docker-compose in a project's directory, as the boot unit does.
pub fn compose<'a>(project: &str, args: impl IntoIterator<Item = &'a str>) -> Argv {
    let directory = project_directory(project);
    let script = include_str!("in-directory.sh");
    Argv::script(script, "o3r-in", [directory.as_str(), "docker-compose"]).args(args)
}

/// Runs commands one after the other in one session of the VPU, up to the first that fails: a client that is killed
/// between them does not leave behind what the first one stopped.
pub fn in_turn(commands: &[Argv]) -> Argv {
    let script = Argv::script(include_str!("in-turn.sh"), IN_TURN_NAME, [] as [&str; 0]);
    let words = commands.iter().flat_map(|command| {
        let words = command.words();
        std::iter::once(words.len().to_string()).chain(words.iter().cloned())
    });
    script.args(words)
}

/// Waits until a project's containers are healthy; fails with what keeps them from it.
pub fn wait_healthy(project: &str, gate: &HealthGate) -> Argv {
    let seconds = |time: Duration| time.as_millis().div_ceil(1000).to_string();
    let limit = gate.timeout.map_or("auto".to_owned(), seconds);
    let words = [
        project,
        &limit,
        &seconds(gate.settle),
        gate.probes.word(),
        gate.log_contains.as_deref().unwrap_or_default(),
        gate.service.as_deref().unwrap_or_default(),
    ];
    let script = Argv::script(include_str!("wait-healthy.sh"), WAIT_HEALTHY_NAME, words);
    script.args(gate.command.iter().cloned())
}

/// The name of the script of [`wait_healthy`].
const WAIT_HEALTHY_NAME: &str = "o3r-wait-healthy";

/// The project that a command waits for, if it is one of [`wait_healthy`].
pub fn waits_for(command: &Argv) -> Option<&str> {
    let is_it = command.script_name() == Some(WAIT_HEALTHY_NAME);
    let project = command.words().get(4).filter(|_| is_it)?;
    Some(project)
}

/// Shows a project's containers and the last line that each printed, for people.
pub fn show_containers(project: &str) -> Argv {
    Argv::script(
        include_str!("show-containers.sh"),
        "o3r-show-containers",
        [project],
    )
}

/// Records what a project's containers were started from; the inputs are on stdin.
pub fn record_started(project: &str, record: &str) -> Argv {
    Argv::script(
        include_str!("record-started.sh"),
        "o3r-record-started",
        [project, record],
    )
}

/// Removes a project's containers and networks, and the record of what they were started from.
pub fn remove_project(project: &str, record: &str) -> Argv {
    Argv::script(
        include_str!("remove-project.sh"),
        "o3r-remove-project",
        [project, record],
    )
}

/// Removes containers by id, and no volume of theirs.
pub fn remove_containers<'a>(ids: impl IntoIterator<Item = &'a str>) -> Argv {
    let script = include_str!("remove-containers.sh");
    Argv::script(script, "o3r-remove-containers", ids)
}

/// Removes networks by id, which no container that runs is on.
pub fn remove_networks<'a>(ids: impl IntoIterator<Item = &'a str>) -> Argv {
    let script = include_str!("remove-networks.sh");
    Argv::script(script, "o3r-remove-networks", ids)
}

/// Removes a project's networks but those with these ids, where nobody else is on them.
pub fn earlier_networks<'a>(project: &str, keep: impl IntoIterator<Item = &'a str>) -> Argv {
    let script = include_str!("earlier-networks.sh");
    Argv::script(script, "o3r-earlier-networks", [project]).args(keep)
}

/// Replaces the stopped containers of a service that have another volume than its own where it mounts something, by
/// stand-ins that have their other anonymous volumes. `mounts` are the volumes by where they are mounted, empty for
/// what is none. No volume is removed.
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

/// Where a container is gone, gives its volumes, by name and destination, to a stand-in, which takes the place of
/// the service's newer containers of its number.
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

macro_rules! ending {
    ($script:literal) => {
        concat!(
            include_str!("forget-unfinished.sh"),
            include_str!("forget-kept.sh"),
            include_str!($script)
        )
    };
}

/// Adds the JSON line on stdin to a release's history, with the anonymous volumes of its `projects`, keeps
/// docker-compose's version (may be empty) for the next probe, and removes the directories `kept`.
pub fn record_release<'a>(
    history: &str,
    compose_version: &str,
    projects: impl IntoIterator<Item = &'a str>,
    kept: impl IntoIterator<Item = String>,
) -> Argv {
    let lines = HISTORY_LINES.to_string();
    let script = ending!("record-release.sh");
    let projects: Vec<&str> = projects.into_iter().collect();
    let projects = projects.join(" ");
    let words = [history, &lines, compose_version, &projects];
    Argv::script(script, "o3r-record-release", words).args(kept)
}

/// Passes where [`record_release`] recorded the JSON line on stdin, though it failed; then removes the directories `kept`.
pub fn recorded(history: &str, kept: impl IntoIterator<Item = String>) -> Argv {
    let script = ending!("recorded.sh");
    Argv::script(script, "o3r-recorded", [history]).args(kept)
}

/// Removes the directories `kept`, once all is restored from them.
pub fn restored(kept: impl IntoIterator<Item = String>) -> Argv {
    let script = ending!("restored.sh");
    Argv::script(script, "o3r-restored", kept)
}

/// Whether a command is one of [`restored`]: it only removes what is of no more use.
pub fn only_forgets(command: &Argv) -> bool {
    command.script_name() == Some("o3r-restored")
}

/// Turns a unit of this user's on or off for the next boots; `sync` is to follow.
pub fn systemctl(verb: &str, unit: &str) -> Argv {
    Argv::new("systemctl").args(["--user", verb, "--", unit])
}

/// Puts what was written on the disk, for power may be cut at any time.
pub fn sync() -> Argv {
    Argv::new("sync")
}

/// Sets the restart policy of containers, running or not, by id.
pub fn restart_policy<'a>(policy: &RestartPolicy, ids: impl IntoIterator<Item = &'a str>) -> Argv {
    Argv::new("docker")
        .args(["container", "update"])
        .arg(format!("--restart={policy}"))
        .args(ids)
}

/// Sets the restart policy of a service's containers, whichever there are then.
pub fn service_restart_policy(project: &str, service: &str, policy: &RestartPolicy) -> Argv {
    Argv::script(
        include_str!("restart-policy.sh"),
        "o3r-restart-policy",
        [project, service, &policy.to_string()],
    )
}

/// Calls the device's API from the VPU's own shell: what a script for people does in place of us.
pub fn device_api(port: u16, call: &[String]) -> Argv {
    Argv::script(
        include_str!("device-api.sh"),
        "o3r-device-api",
        [port.to_string()],
    )
    .args(call.iter().cloned())
}
