//! Builds every command that runs on a VPU, as pure data; what needs a loop is a checked-in script.

use crate::shell::Argv;

/// Where the boot unit looks for a project's compose file.
pub const COMPOSE_ROOT: &str = "/usr/share/oem/docker/compose";

/// The label by which our volumes are known.
pub const LABEL: &str = "o3r-deploy.release";

/// How long containers are watched after they were started: one that cannot start at all fails
/// within a second; more would be felt in every apply.
const SETTLE_SECONDS: u32 = 2;

/// Lines of history kept on the VPU; one is below 1 kB.
const HISTORY_LINES: u32 = 50;

/// The exit code of [`lock`] when another apply has it (`EX_TEMPFAIL`).
pub const LOCKED: i32 = 75;

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

    /// Where files of transfers arrive, and what they replace is kept until all is well.
    pub fn staging(self) -> String {
        format!("{}/.o3r-deploy/staging", self.home)
    }

    /// Where the file that `put_file` replaces is kept: below the project, slashes written as `%`.
    pub fn kept(self, project: &str, relative: &str) -> String {
        let name = relative.replace('%', "%25").replace('/', "%2F");
        format!("{}/.o3r-deploy/previous/{project}/{name}", self.home)
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

/// Creates a bind volume labelled with its release.
pub fn create_volume(name: &str, directory: &str, release: &str) -> Argv {
    let label = format!("{LABEL}={release}");
    let script = include_str!("create-volume.sh");
    Argv::script(script, "o3r-create-volume", [name, directory, &label])
}

/// Removes a volume; fails while a container has it.
pub fn remove_volume(name: &str) -> Argv {
    Argv::new("docker").args(["volume", "rm", name])
}

/// Loads the image archive on stdin.
pub fn load_image() -> Argv {
    Argv::new("docker").args(["load", "--quiet"])
}

/// Gives an image (by id or name) a name.
pub fn tag_image(image: &str, name: &str) -> Argv {
    Argv::new("docker").args(["image", "tag", image, name])
}

/// Takes a name away from its image; the image stays while it has another one.
pub fn untag_image(name: &str) -> Argv {
    Argv::new("docker").args(["image", "rm", "--no-prune", name])
}

/// Removes containers, running or not.
pub fn remove_containers(ids: impl IntoIterator<Item = String>) -> Argv {
    Argv::new("docker")
        .args(["container", "rm", "--force"])
        .args(ids)
}

/// Puts the file on stdin at `path`.
pub fn put_file(path: &str, sha256: &str, mode: u32, kept: &str, record: &str) -> Argv {
    let mode = format!("{mode:04o}");
    let script = include_str!("put-file.sh");
    Argv::script(script, "o3r-put-file", [path, sha256, &mode, kept, record])
}

/// Takes [`put_file`] back.
pub fn restore_file(path: &str, kept: &str) -> Argv {
    Argv::script(
        include_str!("restore-file.sh"),
        "o3r-restore-file",
        [path, kept],
    )
}

/// Unpacks the archive of files on stdin into a staging directory, and checks it.
pub fn stage_files(staging: &str) -> Argv {
    let script = include_str!("stage-files.sh");
    Argv::script(script, "o3r-stage-files", [staging])
}

/// Moves what is staged for the transfer with this number to its target, as the list on stdin says,
/// and takes it back with another list. Removes `records` before.
pub fn move_files(
    target: &str,
    staging: &str,
    number: usize,
    records: impl IntoIterator<Item = String>,
) -> Argv {
    let (new, old) = (
        format!("{staging}/new/{number}"),
        format!("{staging}/old/{number}"),
    );
    let script = include_str!("move-files.sh");
    Argv::script(script, "o3r-move-files", [target, &new, &old]).args(records)
}

/// Removes staging directories with all that is in them.
pub fn remove_staging(directories: impl IntoIterator<Item = String>) -> Argv {
    Argv::new("rm").args(["-rf", "--"]).args(directories)
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

/// Waits until a project's containers have settled.
pub fn settle(project: &str) -> Argv {
    let seconds = SETTLE_SECONDS.to_string();
    Argv::script(include_str!("settle.sh"), "o3r-settle", [project, &seconds])
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

/// Adds the JSON line on stdin to a release's history, and keeps docker-compose's version (may be
/// empty) for the next probe.
pub fn record_release(history: &str, compose_version: &str) -> Argv {
    let lines = HISTORY_LINES.to_string();
    Argv::script(
        include_str!("record-release.sh"),
        "o3r-record-release",
        [history, &lines, compose_version],
    )
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
pub fn restart_policy<'a>(policy: &str, ids: impl IntoIterator<Item = &'a str>) -> Argv {
    Argv::new("docker")
        .args(["container", "update"])
        .arg(format!("--restart={policy}"))
        .args(ids)
}

/// Sets the restart policy of a service's containers, whichever there are then.
pub fn service_restart_policy(project: &str, service: &str, policy: &str) -> Argv {
    Argv::script(
        include_str!("restart-policy.sh"),
        "o3r-restart-policy",
        [project, service, policy],
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

/// Holds the VPU's lock; `who` is members of a JSON object.
pub fn lock(who: &str, take: bool) -> Argv {
    let word = if take { "break" } else { "keep" };
    Argv::script(include_str!("lock.sh"), "o3r-lock", [who, word])
}
