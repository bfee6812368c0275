//! What the flags of `o3r_docker_manager` mean.

use camino::Utf8Path;

use super::{
    Copied, Draft, FlagError, Image, Project, Source, Volume,
    flags::{
        Flag,
        Takes::{Nothing, One, Several},
        Words,
    },
};
use crate::{scaffold, user};
use o3r_core::names::{ImageRef, ProjectName, USUAL_HOME, absolute, below_home};

/// The tool.
pub(super) const NAME: &str = "o3r_docker_manager";

/// Its flags, those of both generations.
pub(super) const FLAGS: &[Flag] = &[
    ("IP", One),
    ("log_level", One),
    ("log_dir", One),
    ("get_logs_from_vpu", One),
    ("log_caching", One),
    ("set_vpu_name", One),
    ("reset_docker", One),
    ("remove_running_containers", Nothing),
    ("dont_remove_running_containers", Nothing),
    ("remove_volumes", Nothing),
    ("dont_remove_volumes", Nothing),
    ("remove_images", Nothing),
    ("dont_remove_images", Nothing),
    ("mount_usb_volumes", Nothing),
    ("dont_mount_usb_volumes", Nothing),
    ("dirs_to_make", Several),
    ("transfers", One),
    ("transfers_from_vpu", Several),
    ("transfers_to_vpu", Several),
    ("docker_build", One),
    ("setup_docker_compose", One),
    ("volume_to_setup", One),
    ("image_to_import", One),
    ("items_to_cleanup", One),
    ("enable_autostart", One),
    ("disable_autostart", One),
    ("docker_compose_to_initialize", One),
    ("initialize", One),
    ("attach_to", One),
    ("run_duration", One),
    ("stop_upon_exit", Nothing),
    ("dont_stop_upon_exit", Nothing),
];

/// Returns what a command line asks for.
pub(super) fn draft(
    words: &[String],
    folder: &Utf8Path,
    release: &str,
) -> Result<Draft, FlagError> {
    let words = Words::read(words, FLAGS, NAME)?;
    if let Some(word) = words.bare.first() {
        return Err(FlagError::Bare { word: word.clone() });
    }
    let mut draft = Draft {
        release: release.to_owned(),
        host: words.one("IP").map(str::to_owned),
        vpu_name: words.one("set_vpu_name").map(str::to_owned),
        mounts_usb: words.has("mount_usb_volumes"),
        disable: words.list("disable_autostart").map(str::to_owned).collect(),
        ..Draft::default()
    };
    let dirs = words.all("dirs_to_make").map(vpu_path);
    draft.directories.extend(dirs);
    transfers(&words, folder, &mut draft)?;
    let files = compose_files(&words, &mut draft)?;
    volume(&words, &mut draft)?;
    import(&words, &mut draft);
    projects(&words, folder, &files, &mut draft);
    logs(&words, &mut draft)?;
    rest(&words, &mut draft);
    covered(&mut draft);
    Ok(draft)
}

/// Splits a value of a flag into two parts.
fn pair<'a>(
    flag: &str,
    value: &'a str,
    sign: char,
    expected: &'static str,
) -> Result<(&'a str, &'a str), FlagError> {
    let parts = value.split_once(sign);
    let parts = parts.map(|(first, second)| (first.trim(), second.trim()));
    let is_pair = |(first, second): &(&str, &str)| {
        !first.is_empty() && !second.is_empty() && !second.contains(sign)
    };
    parts.filter(is_pair).ok_or_else(|| FlagError::BadValue {
        flag: format!("--{flag}"),
        value: value.to_owned(),
        expected,
    })
}

/// Normalises a path on the VPU; the earlier tool's own examples leave the first slash out.
fn vpu_path(path: &str) -> String {
    let path = path.trim().trim_matches('"');
    // An unquoted `~` is this machine's home by now.
    let home = user::home().filter(|home| home.as_str().len() > 1);
    let path = match (home, path.strip_prefix("home/")) {
        (_, Some(_)) => format!("/{path}"),
        (Some(home), None) => below_home(path, home.as_str()),
        (None, None) => path.to_owned(),
    };
    if path.starts_with(['/', '~']) {
        return below_home(&path, USUAL_HOME);
    }
    // Relative to the home directory, where ssh starts.
    format!("~/{}", path.trim_start_matches("./"))
}

/// Normalises a path on this machine; on Windows it has backslashes.
fn local_path(path: &str) -> String {
    let path = path.trim().replace('\\', "/");
    match user::home() {
        Some(home) => absolute(&path, home.as_str()),
        None => path,
    }
}

/// Whether a path on this machine is a directory; where nothing exists, its name decides.
fn is_directory(folder: &Utf8Path, path: &str) -> bool {
    let there = folder.join(path);
    if there.exists() {
        there.is_dir()
    } else {
        path.ends_with('/') || Utf8Path::new(path).extension().is_none()
    }
}

fn transfers(words: &Words, folder: &Utf8Path, draft: &mut Draft) -> Result<(), FlagError> {
    for value in words.all("transfers_to_vpu") {
        let (src, dst) = pair("transfers_to_vpu", value, ',', "SRC,DST")?;
        draft.transfers.push(to_vpu(folder, src, dst));
    }
    for value in words.all("transfers_from_vpu") {
        let (src, dst) = pair("transfers_from_vpu", value, ',', "SRC,DST")?;
        draft.downloads.push(from_vpu(src, dst));
    }
    // The first generation decides by what exists where; only a path of the VPU starts with its home.
    let is_on_vpu = |path: &str| {
        path.starts_with('~') || path.starts_with(USUAL_HOME) || path.starts_with("home/oem")
    };
    for value in words.list("transfers") {
        let (src, dst) = pair("transfers", value, '>', "SRC>DST")?;
        if is_on_vpu(src) && !is_on_vpu(dst) {
            draft.downloads.push(from_vpu(src, dst));
        } else {
            draft.transfers.push(to_vpu(folder, src, dst));
        }
    }
    Ok(())
}

/// Translates a copy to the VPU. `scp -r DIRECTORY` copies the directory under its own name into the parent of the
/// destination.
fn to_vpu(folder: &Utf8Path, src: &str, dst: &str) -> Copied {
    let (src, dst) = (local_path(src), vpu_path(dst));
    if !is_directory(folder, &src) {
        return Copied {
            src,
            dst,
            comment: None,
        };
    }
    let src = src.trim_end_matches('/').to_owned();
    let parent = dst.rsplit_once('/').map_or("~", |(parent, _)| parent);
    let named = Utf8Path::new(&src).file_name();
    let there = match named {
        Some(name) => format!("{parent}/{name}"),
        None => dst.trim_end_matches('/').to_owned(),
    };
    let comment = (there != dst.trim_end_matches('/'))
        .then(|| format!("{dst} in the flag; this is where {NAME} put it"));
    Copied {
        src: format!("{src}/"),
        dst: format!("{there}/"),
        comment,
    }
}

fn from_vpu(src: &str, dst: &str) -> Copied {
    Copied {
        src: vpu_path(src),
        dst: local_path(dst),
        comment: None,
    }
}

/// Collects the compose files, with the images and volumes of `--setup_docker_compose`.
fn compose_files(words: &Words, draft: &mut Draft) -> Result<Vec<String>, FlagError> {
    let mut files: Vec<String> = vec![];
    if let Some(value) = words.one("setup_docker_compose") {
        let parts: Vec<&str> = value.split(',').map(str::trim).collect();
        let [file, image, path, volume] = parts.as_slice() else {
            return Err(FlagError::BadValue {
                flag: "--setup_docker_compose".to_owned(),
                value: value.to_owned(),
                expected: "COMPOSE_FILE,IMAGE.tar,PATH_ON_VPU,VOLUME",
            });
        };
        files.push(local_path(file));
        draft.images.push(imported(&local_path(image), None));
        draft.volumes.push(Volume {
            name: (*volume).to_owned(),
            path: vpu_path(path),
        });
    }
    for flag in [
        "docker_compose_to_initialize",
        "initialize",
        "enable_autostart",
    ] {
        for value in words.list(flag) {
            // `FILE:SERVICE`; the first generation's `--enable_autostart` lists containers.
            let file = value.split(':').next().unwrap_or(value);
            if Utf8Path::new(file)
                .extension()
                .is_some_and(|end| end == "yml" || end == "yaml")
            {
                files.push(local_path(file));
            }
        }
    }
    let mut distinct: Vec<String> = vec![];
    for file in files {
        let name = |path: &str| Utf8Path::new(path).file_name().map(str::to_owned);
        if !distinct.iter().any(|known| name(known) == name(&file)) {
            distinct.push(file);
        }
    }
    Ok(distinct)
}

/// Returns the image that `docker import` makes of a tar file; its default name is the file's without `.tar`.
fn imported(file: &str, name: Option<&str>) -> Image {
    let stem = Utf8Path::new(file).file_stem().unwrap_or("image");
    Image {
        name: name.unwrap_or(stem).to_owned(),
        source: Source::Rootfs(file.to_owned()),
    }
}

fn volume(words: &Words, draft: &mut Draft) -> Result<(), FlagError> {
    if let Some(value) = words.one("volume_to_setup") {
        let (path, name) = pair("volume_to_setup", value, ',', "PATH_ON_VPU,VOLUME")?;
        draft.volumes.push(Volume {
            name: name.to_owned(),
            path: vpu_path(path),
        });
    }
    Ok(())
}

/// Translates `--image_to_import`, which names a tar file on the VPU that another flag has copied there.
fn import(words: &Words, draft: &mut Draft) {
    let Some(value) = words.one("image_to_import") else {
        return;
    };
    let (file, name) = match value.split_once(',') {
        Some((file, name)) => (file.trim(), Some(name.trim())),
        None => (value, None),
    };
    let there = vpu_path(file);
    let is_source = |copied: &Copied| {
        let name = Utf8Path::new(&copied.src).file_name().unwrap_or_default();
        copied.dst == there || format!("{}/{name}", copied.dst.trim_end_matches('/')) == there
    };
    let local = if let Some(index) = draft.transfers.iter().position(is_source) {
        draft.transfers.remove(index).src
    } else {
        let local = Utf8Path::new(file).file_name().unwrap_or(file).to_owned();
        draft.instead(
            format!("--image_to_import {value}"),
            format!(
                "the tar file must be on this machine, as ./{local}: copy it from where it was built"
            ),
        );
        local
    };
    draft.images.push(imported(&local, name));
}

fn projects(words: &Words, folder: &Utf8Path, files: &[String], draft: &mut Draft) {
    let is_started = ["docker_compose_to_initialize", "initialize", "attach_to"]
        .iter()
        .any(|flag| words.one(flag).is_some());
    let autostart = words.one("enable_autostart").is_some();
    // The unit that the earlier tool enabled has this name: the project takes it over.
    let enabled = words.list("enable_autostart").next();
    let enabled = enabled.map(|name| name.rsplit(':').next().unwrap_or(name).to_lowercase());
    let enabled = enabled.filter(|name| name.parse::<ProjectName>().is_ok());
    // A compose file is part of its project; a copy elsewhere would be a second one.
    let is_compose = |copied: &Copied| files.iter().any(|file| same_file(file, &copied.src));
    draft.transfers.retain(|copied| !is_compose(copied));
    for file in files {
        let (parent, name) = split_path(file);
        let found = scaffold::compose(&folder.join(parent), name);
        for image in &mut draft.images {
            name_as_used(image, &found.images);
        }
        draft.needs(file, &found);
        let stem = Utf8Path::new(name).file_stem().unwrap_or(name);
        draft.projects.push(Project {
            name: match files {
                [_] => enabled
                    .clone()
                    .unwrap_or_else(|| draft.release.replace('.', "-")),
                _ => stem.to_lowercase().replace(['.', ' '], "-"),
            },
            file: file.clone(),
            extra_files: found.extra_files,
            autostart,
            is_started: is_started || autostart,
        });
    }
    if files.is_empty() && is_started {
        let flags = ["initialize", "docker_compose_to_initialize", "attach_to"];
        let flag = flags
            .iter()
            .find_map(|flag| Some(format!("--{flag} {}", words.one(flag)?)));
        draft.instead(
            flag.unwrap_or_default(),
            "no flag names the compose file: declare it in [[compose]]",
        );
    }
}

/// Whether two paths on this machine are the same: `./a.yml` and `a.yml`.
fn same_file(a: &str, b: &str) -> bool {
    a.trim_start_matches("./") == b.trim_start_matches("./")
}

/// Splits a path into its folder and its name.
fn split_path(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or((".", path))
}

/// Gives an image the form of its name that a service uses: `deps` and `deps:latest` are the same.
fn name_as_used(image: &mut Image, used: &[String]) {
    let canonical = |name: &str| Some(name.parse::<ImageRef>().ok()?.canonical());
    let wanted = canonical(&image.name);
    if let Some(name) = used
        .iter()
        .find(|name| wanted.is_some() && canonical(name) == wanted)
    {
        image.name.clone_from(name);
    }
}

fn logs(words: &Words, draft: &mut Draft) -> Result<(), FlagError> {
    for flag in ["get_logs_from_vpu", "log_caching"] {
        if let Some(value) = words.one(flag) {
            let (path, into) = pair(flag, value, '>', "PATH_ON_VPU>FOLDER")?;
            draft.logs = Some((vpu_path(path), into.replace('\\', "/")));
        }
    }
    Ok(())
}

/// Says what to do instead of flags that are commands, not a state.
fn rest(words: &Words, draft: &mut Draft) {
    let login = draft.login();
    if let Some(name) = words.one("attach_to") {
        draft.instead(
            format!("--attach_to {name}"),
            format!("show its output with: ssh {login} docker logs --follow {name}"),
        );
    }
    let clean = [
        ("remove_running_containers", "containers"),
        ("remove_volumes", "volumes"),
        ("remove_images", "images"),
    ];
    for (flag, what) in clean {
        if words.has(flag) {
            draft.instead(
                format!("--{flag}"),
                format!("none is needed: apply replaces what differs; {what} of others stay, `o3r-deploy status` lists them"),
            );
        }
    }
    if let Some(value) = words.one("reset_docker")
        && matches!(value.to_lowercase().as_str(), "yes" | "y" | "true" | "1")
    {
        draft.instead(
            format!("--reset_docker {value}"),
            "none is needed: apply replaces what differs; what belongs to others stays, `o3r-deploy status` lists it",
        );
    }
    if let Some(value) = words.one("docker_build") {
        let (dockerfile, tar) = value.split_once('>').unwrap_or((value, "image.tar"));
        let (dockerfile, tar) = (local_path(dockerfile), local_path(tar));
        draft.instead(
            format!("--docker_build {value}"),
            format!("build before apply: docker build --platform linux/arm64 -f {dockerfile} . -o type=tar,dest={tar}"),
        );
        if !draft
            .images
            .iter()
            .any(|image| image.source == Source::Rootfs(tar.clone()))
        {
            draft.images.push(imported(&tar, None));
        }
    }
    for item in words.list("items_to_cleanup") {
        let path = vpu_path(item);
        let stem = Utf8Path::new(&path).file_stem().unwrap_or_default();
        // The tar file of an image is not on the VPU any more.
        let is_archive = draft.images.iter().any(|image| {
            let Source::Rootfs(file) = &image.source else {
                return false;
            };
            Utf8Path::new(file).file_stem() == Some(stem)
        });
        if !is_archive {
            draft.instead(
                format!("--items_to_cleanup {item}"),
                format!(
                    "remove it once with: ssh {login} rm -r {}",
                    path.trim_start_matches("~/")
                ),
            );
        }
    }
    if let Some(value) = words.one("log_dir") {
        draft.instead(
            format!("--log_dir {value}"),
            "the logs of applies are in ~/o3r_logs/Deployments, or in --log-dir",
        );
    }
    if let Some(seconds) = words.one("run_duration").filter(|time| *time != "0") {
        draft.instead(
            format!("--run_duration {seconds}"),
            format!(
                "end the output with: timeout {seconds} ssh {login} docker logs --follow CONTAINER"
            ),
        );
    }
    if words.has("stop_upon_exit") {
        draft.instead(
            "--stop_upon_exit",
            "stop the project with `state = \"stopped\"` in its [[compose]]",
        );
    }
}

/// Leaves out directories that a volume or a transfer creates.
fn covered(draft: &mut Draft) {
    let volumes = draft.volumes.iter().map(|volume| volume.path.as_str());
    let transfers = draft.transfers.iter().map(|copied| copied.dst.as_str());
    let created: Vec<&str> = volumes
        .chain(transfers)
        .map(|path| path.trim_end_matches('/'))
        .collect();
    let is_created = |path: &str| {
        let within = |created: &&str| Utf8Path::new(created).starts_with(path);
        created.iter().any(within)
    };
    let mut kept: Vec<String> = vec![];
    for path in &draft.directories {
        let path = path.trim_end_matches('/');
        if path != "~" && !is_created(path) && !kept.iter().any(|known| known == path) {
            kept.push(path.to_owned());
        }
    }
    draft.directories = kept;
}
