//! Checks paths on the VPU: whether user oem can write there, whether two declarations conflict,
//! and whether a deletion would remove something that is declared.

use std::collections::BTreeSet;

use camino::Utf8Path;

use super::{Checker, FileKind, is_read, pointers};
use crate::manifest::{
    Exclude, FindingCode,
    names::{RemotePath, USUAL_HOME},
    types::{COMPOSE_ROOT, DEFAULT_COMPOSE_FILE, Transfer},
};

/// Where user oem can create files: its home, ifm's directory for it,
/// directories that every user can write, and the mount point of USB
/// storage. Everything else belongs to root, and there is no sudo.
const WRITABLE: &[&str] = &[
    USUAL_HOME,
    "/usr/share/oem",
    "/tmp",
    "/var/tmp",
    "/dev/shm",
    "/run/user",
    "/media",
];

/// The directory of o3r-deploy's own state on the VPU.
const STATE: &str = "/home/oem/.o3r-deploy";

/// The user whose permissions are known.
const USUAL_USER: &str = "oem";

/// A path on the VPU that the manifest declares.
struct Declared {
    pointer: String,
    what: &'static str,
    /// Absolute, without a trailing slash.
    path: String,
}

pub(super) fn check(checker: &mut Checker<'_>) {
    writable(checker);
    unique_targets(checker);
    deletions(checker);
}

fn absolute(path: &RemotePath) -> String {
    path.resolve(USUAL_HOME)
}

fn is_within(path: &str, directory: &str) -> bool {
    Utf8Path::new(path).starts_with(directory)
}

fn writable(checker: &mut Checker<'_>) {
    let manifest = &checker.loaded.manifest;
    if manifest
        .vpu
        .user
        .as_ref()
        .is_some_and(|user| user.as_str() != USUAL_USER)
    {
        return;
    }
    let directories = manifest.directories.iter().map(|directory| &directory.path);
    let volumes = manifest.volumes.iter().map(|volume| &volume.path);
    let transfers = manifest.transfers.iter().map(|transfer| &transfer.dst);
    let stamp = manifest
        .apply
        .stamp
        .iter()
        .map(|stamp| ("/apply/stamp".to_owned(), stamp, false));
    let written: Vec<(String, &RemotePath, bool)> = located("directories", "path", directories)
        .map(|(pointer, path)| (pointer, path, false))
        .chain(located("volumes", "path", volumes).map(|(pointer, path)| (pointer, path, true)))
        .chain(located("transfers", "dst", transfers).map(|(pointer, path)| (pointer, path, false)))
        .chain(stamp)
        .collect();
    for (pointer, path, may_exist) in written {
        let resolved = absolute(path);
        if is_within(&resolved, STATE) {
            checker.error(
                &pointer,
                FindingCode::ReservedPath,
                format!("`{path}` is where o3r-deploy keeps its own state"),
                "declared here",
                "choose another directory",
            );
        } else if !WRITABLE
            .iter()
            .any(|directory| is_within(&resolved, directory))
        {
            let finding = checker.loaded.diagnostic(
                &pointer,
                FindingCode::UnwritablePath,
                format!("user oem cannot write `{path}` on a VPU"),
                "declared here",
                "choose a path below `~`, `/usr/share/oem` or `/tmp`",
            );
            // A volume may show an existing directory, such as `/dev`.
            checker.findings.push(if may_exist {
                finding
                    .warning()
                    .help("the volume only works if the directory exists already")
            } else {
                finding
            });
        }
    }
}

fn located<'a>(
    list: &'static str,
    key: &'static str,
    paths: impl Iterator<Item = &'a RemotePath>,
) -> impl Iterator<Item = (String, &'a RemotePath)> {
    paths
        .enumerate()
        .map(move |(index, path)| (format!("/{list}/{index}/{key}"), path))
}

/// Returns the path on the VPU of a transfer's file or directory.
fn target(checker: &Checker<'_>, transfer: &Transfer) -> String {
    let dst = absolute(&transfer.dst);
    let source = checker.local(&transfer.src);
    let is_directory = transfer.src.is_dir_hint()
        || matches!(checker.files.kind(&source), Ok(FileKind::Directory));
    match source.file_name() {
        Some(name) if transfer.dst.is_dir_hint() && !is_directory => format!("{dst}/{name}"),
        _ => dst,
    }
}

fn unique_targets(checker: &mut Checker<'_>) {
    let loaded = checker.loaded;
    let directories = loaded
        .manifest
        .directories
        .iter()
        .map(|d| absolute(&d.path));
    let directories = pointers("directories", "path", directories);
    checker.unique("the directory", directories, "remove one of the two");
    let mut targets: Vec<(String, String)> = Vec::new();
    let mut projects = BTreeSet::new();
    for (index, compose) in loaded.manifest.compose.iter().enumerate() {
        // A project that is declared twice has its own finding.
        if !is_read(compose.state) || !projects.insert(&compose.name) {
            continue;
        }
        let directory = compose.directory();
        targets.push((
            format!("/compose/{index}/file"),
            format!("{directory}/{DEFAULT_COMPOSE_FILE}"),
        ));
        for (at, file) in compose.extra_files.iter().enumerate() {
            let pointer = format!("/compose/{index}/extra_files/{at}");
            targets.push((pointer, format!("{directory}/{}", file.bare())));
        }
    }
    let transfers = &loaded.manifest.transfers;
    let transfers = transfers.iter().map(|transfer| target(checker, transfer));
    targets.extend(pointers("transfers", "dst", transfers));
    checker.unique(
        "the target",
        targets,
        "two sources cannot share a target; change one of the two",
    );
}

/// Returns the paths that the manifest writes to the VPU or reads from it.
fn declared(checker: &Checker<'_>) -> Vec<Declared> {
    let manifest = &checker.loaded.manifest;
    let mut declared = Vec::new();
    let mut add = |what: &'static str, places: Vec<(String, String)>| {
        declared.extend(places.into_iter().map(|(pointer, path)| Declared {
            pointer,
            what,
            path,
        }));
    };
    let paths = manifest
        .directories
        .iter()
        .map(|directory| absolute(&directory.path));
    add("the directory", pointers("directories", "path", paths));
    let paths = manifest.volumes.iter().map(|volume| absolute(&volume.path));
    add("the volume at", pointers("volumes", "path", paths));
    let paths = manifest
        .transfers
        .iter()
        .map(|transfer| target(checker, transfer));
    add("the transfer to", pointers("transfers", "dst", paths));
    let paths = manifest
        .downloads
        .iter()
        .map(|download| absolute(&download.src));
    add("the download of", pointers("downloads", "src", paths));
    let paths = manifest
        .compose
        .iter()
        .map(crate::manifest::types::Compose::directory);
    add("the compose project in", pointers("compose", "name", paths));
    let paths = manifest.logs.paths.iter().map(absolute).enumerate();
    add(
        "the logs in",
        paths
            .map(|(at, path)| (format!("/logs/paths/{at}"), path))
            .collect(),
    );
    let stamp = manifest.apply.stamp.iter().map(absolute);
    add(
        "the stamps in",
        stamp
            .map(|path| ("/apply/stamp".to_owned(), path))
            .collect(),
    );
    declared
}

/// Reports declared paths that a transfer with `delete` or an absent path would remove.
fn deletions(checker: &mut Checker<'_>) {
    let declared = declared(checker);
    let manifest = &checker.loaded.manifest;
    for (index, transfer) in manifest
        .transfers
        .iter()
        .enumerate()
        .filter(|(_, t)| t.delete)
    {
        let pointer = format!("/transfers/{index}/dst");
        let directory = absolute(&transfer.dst);
        let excluded = Exclude::new(&transfer.exclude);
        let takes = |path: &str| {
            path != directory
                && is_within(path, &directory)
                && !protects(&excluded, &directory, path)
        };
        let help = "move one of the two, or `exclude` what must stay";
        report(checker, &pointer, &transfer.dst, &declared, help, takes);
    }
    for (index, path) in manifest.absent.paths.iter().enumerate() {
        let directory = absolute(path);
        let pointer = format!("/absent/paths/{index}");
        let takes = |path: &str| is_within(path, &directory);
        report(
            checker,
            &pointer,
            path,
            &declared,
            "remove one of the two",
            takes,
        );
    }
}

fn report(
    checker: &mut Checker<'_>,
    pointer: &str,
    directory: &RemotePath,
    declared: &[Declared],
    help: &str,
    takes: impl Fn(&str) -> bool,
) {
    const CODE: FindingCode = FindingCode::ConflictingPaths;
    for own in [STATE, COMPOSE_ROOT] {
        if takes(own) {
            checker.error(
                pointer,
                CODE,
                format!("`delete = true` for `{directory}` would remove `{own}`"),
                "deleted from here",
                "choose a separate directory",
            );
        }
    }
    for other in declared.iter().filter(|other| takes(&other.path)) {
        let finding = checker
            .loaded
            .diagnostic(
                pointer,
                CODE,
                format!(
                    "`delete = true` for `{directory}` would remove {} `{}`",
                    other.what, other.path
                ),
                "deleted from here",
                help,
            )
            .label(
                checker.loaded.spans.value(&other.pointer),
                "this would be lost",
            );
        checker.findings.push(finding);
    }
}

/// Whether an exclusion protects `path`, or a directory above it, from a deletion.
fn protects(excluded: &Exclude, directory: &str, path: &str) -> bool {
    let relative = Utf8Path::new(path).strip_prefix(directory);
    relative.is_ok_and(|relative| excluded.covers(relative.as_str()))
}
