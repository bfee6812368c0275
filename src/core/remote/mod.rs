//! Builds every command that runs on a VPU, as pure data. Commands with loops or conditions are checked-in scripts.

mod generations;
mod health;
mod images;
mod lock;
mod purpose;
mod volumes;
mod watchdog;

use crate::{
    blocks,
    digest::Digest,
    restart_policy::RestartPolicy,
    shell::{Argv, IN_TURN_NAME},
};

pub use generations::{
    LARGE, forget_release, from_store, history, keep_generation, note_attempt, show_generation,
    show_recorded, stage_kept, whole_files,
};
pub use health::{show_containers, wait_healthy, waits_for, what_runs};
pub use images::{
    forget_parts, load_again, load_delta, load_image, load_part, load_zstd, receive_part,
    remove_images, repair_layer, tag_image, trust_images, untag_image, verify_image,
};
pub use lock::{Claim, Holder, How, LEFTOVER, LOCKED, LOST, RUN_NAME, lock, lock_program, run};
pub use purpose::purpose;
pub use volumes::{
    LABEL, StandIn, bring_volumes_back, create_volume, data_sizes, linked_paths, remove_data,
    replace_volume, stand_in, uncover_mounts,
};
pub use watchdog::{
    Answer, DECIDED, UNKNOWN_TOKEN, WATCHDOG, WATCHDOG_HOLDER, answer, arm, await_answer, disarm,
    disarm_with_verdict, mark,
};

/// Where the boot unit looks for a project's compose file.
pub const COMPOSE_ROOT: &str = "/usr/share/oem/docker/compose";

/// Lines of history kept on the VPU; one is 0.1 kB for every file, image and volume.
const HISTORY_LINES: u32 = 50;

/// Paths of our state on a VPU.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// The home directory, absolute.
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

    /// The projects that a release has lost to others.
    pub fn taken(self, release: &str) -> String {
        format!("{}/.o3r-deploy/releases/{release}.taken", self.home)
    }

    /// Marks of transfers that were moved since the last release was recorded.
    pub fn moved(self) -> String {
        format!("{}/.o3r-deploy/moved", self.home)
    }

    /// Where files of transfers arrive, and where the replaced ones are kept until the release is recorded.
    pub fn staging(self) -> String {
        format!("{}/.o3r-deploy/staging", self.home)
    }

    /// Where the delta of an image is unpacked.
    pub fn delta(self) -> String {
        format!("{}/.o3r-deploy/delta", self.home)
    }

    /// Where an image's files are compared.
    pub fn verify(self) -> String {
        format!("{}/.o3r-deploy/verify", self.home)
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

/// Creates a directory and its parents.
pub fn make_directory(path: &str) -> Argv {
    Argv::new("mkdir").args(["-p", "--", path])
}

/// Sets a directory's or file's mode.
pub fn change_mode(path: &str, mode: u32) -> Argv {
    Argv::new("chmod")
        .arg(format!("{mode:04o}"))
        .args(["--", path])
}

/// What the previous release has at a path: the file that [`put_file`] and [`remove_file`] keep and [`restore_file`]
/// restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviousFile {
    /// This one.
    Is(Digest),
    /// None.
    None,
    /// A file that is not ours, whatever its content.
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

/// Writes stdin, of `bytes` bytes, to `path`. Moves `record` away, which is about the old file.
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

/// Removes a file of the project in `directory`. Moves `record` away, which is about it.
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

/// Reverts [`put_file`] or [`remove_file`].
///
/// Without a copy, takes the file from `stored`, with its mode, if that is the previous release's. Removes `directory` if
/// it is left empty.
pub fn restore_file(
    path: &str,
    (kept, previous): (&str, PreviousFile),
    record: &str,
    directory: &str,
    (stored, mode): (&str, u32),
) -> Argv {
    let script = concat!(include_str!("kept.sh"), include_str!("restore-file.sh"));
    Argv::script(script, "o3r-restore-file", [path, kept])
        .arg(previous.word())
        .args([record, directory, stored])
        .arg(format!("{mode:04o}"))
}

/// The suffix of a file that [`set_aside`] renamed.
pub const FOUND: &str = ".o3r-found";

/// Renames a file that nobody declared (`do`), or reverts that (`undo`). Removes `record`, which is about containers that
/// were started with it.
pub fn set_aside(verb: &str, path: &str, record: &str) -> Argv {
    let script = include_str!("set-aside.sh");
    Argv::script(script, "o3r-set-aside", [verb, path, FOUND, record])
}

/// Stops and renames containers of a project; `services` are `NAME=SECONDS`, the stop timeout.
pub fn step_aside(project: &str, services: impl IntoIterator<Item = String>) -> Argv {
    let script = include_str!("step-aside.sh");
    Argv::script(script, "o3r-step-aside", [project]).args(services)
}

/// Renames a container.
pub fn rename_container(id: &str, name: &str) -> Argv {
    Argv::new("docker").args(["container", "rename", id, name])
}

/// Gives the earlier containers, each as `ID=NAME`, their names back and stops all newer ones. Fails if one of `images`,
/// each as `NAME=IMAGE`, is gone, because `docker-compose up` would pull it; then starts the earlier containers itself if
/// `how` is `-d`, not `--no-start`.
pub fn put_back(project: &str, how: &str, before: &[String], images: &[String]) -> Argv {
    let script = include_str!("put-back.sh");
    Argv::script(script, "o3r-put-back", [project, how])
        .args(before.iter().cloned())
        .arg("--")
        .args(images.iter().cloned())
}

/// Has docker-compose recreate the containers of `services` that are not among `before`; `how` is `-d` or `--no-start`.
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

/// Unpacks the archive of files on stdin into a staging directory and verifies it.
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

/// Hashes random blocks of `bytes` bytes; prints their number and the hundredths of a second that it took.
pub fn cpu_speed(bytes: usize) -> Argv {
    let script = include_str!("cpu-speed.sh");
    Argv::script(script, "o3r-cpu-speed", [bytes.to_string()])
}

/// Builds the file at `path`, below `staging`, from the file at `old` and the patch on stdin; `block` is the block size of
/// the old file in bytes.
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

/// Moves the staged files of the transfer with this number to their target, following the list on stdin, or reverts that
/// with another list. Moves `records` away first.
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

/// The direction of [`move_files`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Into place.
    Do,
    /// Back to the previous state.
    Undo,
    /// Back, but only what this apply moved: an earlier one was cut off.
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

/// Removes files and whole directories.
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

/// Runs commands one after the other in one session on the VPU, up to the first that fails: if the client is killed in
/// between, the later commands still start what the first one stopped.
pub fn in_turn(commands: &[Argv]) -> Argv {
    let script = Argv::script(include_str!("in-turn.sh"), IN_TURN_NAME, [] as [&str; 0]);
    let words = commands.iter().flat_map(|command| {
        let words = command.words();
        std::iter::once(words.len().to_string()).chain(words.iter().cloned())
    });
    script.args(words)
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

/// Removes containers by id; keeps their volumes.
pub fn remove_containers<'a>(ids: impl IntoIterator<Item = &'a str>) -> Argv {
    let script = include_str!("remove-containers.sh");
    Argv::script(script, "o3r-remove-containers", ids)
}

/// Removes networks by id, which no running container uses.
pub fn remove_networks<'a>(ids: impl IntoIterator<Item = &'a str>) -> Argv {
    let script = include_str!("remove-networks.sh");
    Argv::script(script, "o3r-remove-networks", ids)
}

/// Removes a project's networks except those with these ids, unless another project uses them.
pub fn earlier_networks<'a>(project: &str, keep: impl IntoIterator<Item = &'a str>) -> Argv {
    let script = include_str!("earlier-networks.sh");
    Argv::script(script, "o3r-earlier-networks", [project]).args(keep)
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

/// What [`record_release`] does beside the record itself.
#[derive(Debug, Clone, Default)]
pub struct Recording<'a> {
    /// docker-compose's version, cached for the next probe; may be empty.
    pub compose_version: &'a str,
    /// The projects whose anonymous volumes are recorded.
    pub projects: Vec<&'a str>,
    /// How many earlier releases stay kept.
    pub keep: u32,
    /// How many bytes these may hold; `None` for no limit.
    pub keep_size: Option<u64>,
    /// A directory, and the JSON object that is appended to `deployments.jsonl` there, with who applied it and when.
    pub stamp: Option<(String, String)>,
}

/// Appends the JSON line on stdin to a release's history, and then never fails; removes the directories `kept`.
pub fn record_release(
    history: &str,
    recording: Recording<'_>,
    kept: impl IntoIterator<Item = String>,
) -> Argv {
    let Recording {
        compose_version,
        projects,
        keep,
        keep_size,
        stamp,
    } = recording;
    let script = concat!(
        include_str!("forget-unfinished.sh"),
        include_str!("forget-kept.sh"),
        include_str!("generations-shared.sh"),
        include_str!("prune-generations.sh"),
        include_str!("stamp.sh"),
        include_str!("record-release.sh")
    );
    let (directory, note) = stamp.unwrap_or_default();
    let words = [
        history.to_owned(),
        HISTORY_LINES.to_string(),
        compose_version.to_owned(),
        projects.join(" "),
        keep.to_string(),
        generations::RESERVE.to_string(),
        keep_size
            .map(|bytes| (bytes / 1024).to_string())
            .unwrap_or_default(),
        directory,
        note,
    ];
    Argv::script(script, "o3r-record-release", words).args(kept)
}

/// Writes the projects that a release has lost, the lines on stdin, to `path`; none removes it.
pub fn take_over(path: &str) -> Argv {
    Argv::script(include_str!("take-over.sh"), "o3r-take-over", [path])
}

/// Succeeds if [`record_release`] recorded the JSON line on stdin although it failed; then removes the directories `kept`.
pub fn recorded(history: &str, kept: impl IntoIterator<Item = String>) -> Argv {
    let script = ending!("recorded.sh");
    Argv::script(script, "o3r-recorded", [history]).args(kept)
}

/// Removes the directories `kept` after a rollback.
pub fn restored(kept: impl IntoIterator<Item = String>) -> Argv {
    let script = ending!("restored.sh");
    Argv::script(script, "o3r-restored", kept)
}

/// Whether a command is one of [`restored`], which only cleans up.
pub fn only_forgets(command: &Argv) -> bool {
    command.script_name() == Some("o3r-restored")
}

/// Enables or disables a unit of this user; [`sync`] has to follow.
pub fn systemctl(verb: &str, unit: &str) -> Argv {
    Argv::new("systemctl").args(["--user", verb, "--", unit])
}

/// Syncs the disks, because power may be cut at any time.
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

/// Sets the restart policy of all containers that a service has then.
pub fn service_restart_policy(project: &str, service: &str, policy: &RestartPolicy) -> Argv {
    Argv::script(
        include_str!("restart-policy.sh"),
        "o3r-restart-policy",
        [project, service, &policy.to_string()],
    )
}

/// Calls the device's API from the VPU's shell: for `plan --format sh` and the watchdog.
pub fn device_api(port: u16, call: &[String]) -> Argv {
    Argv::script(
        include_str!("device-api.sh"),
        "o3r-device-api",
        [port.to_string()],
    )
    .args(call.iter().cloned())
}
