//! Turns a command line of `o3r_docker_manager` or `ovp_docker_utils` into a manifest.
//!
//! [`flags`] reads the words, [`manager`] and [`utils`] say what the flags of each tool mean, and [`text`] renders the
//! manifest. The flags are those of the tools' own argument parsers: of `o3r_docker_manager` both generations
//! (`--setup_docker_compose …`, `--volume_to_setup …`), of `ovp_docker_utils` its script `deployment_examples.py`.

mod flags;
mod manager;
mod text;
mod utils;

use camino::Utf8Path;

pub(crate) use flags::FlagError;

use crate::{scaffold, shell::quote};
use flags::{Flag, Words};

/// A migrated command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Migrated {
    /// The manifest.
    pub text: String,
    /// What the manifest does not do: a flag, and what to do instead.
    pub instead: Vec<Instead>,
}

/// A flag without a key in the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instead {
    /// The flag with its value.
    pub flag: String,
    /// What to do instead.
    pub advice: String,
}

/// What the flags ask for, in the terms of a manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Draft {
    /// The name of the release.
    release: String,
    host: Option<String>,
    identity: Option<String>,
    vpu_name: Option<String>,
    firmware: Option<String>,
    /// The device's configuration as an inline table, and whether it is about its network.
    device: Option<(String, bool)>,
    directories: Vec<String>,
    volumes: Vec<Volume>,
    images: Vec<Image>,
    transfers: Vec<Copied>,
    downloads: Vec<Copied>,
    projects: Vec<Project>,
    disable: Vec<String>,
    /// The logs on the VPU, and the directory that they are collected into.
    logs: Option<(String, String)>,
    mounts_usb: bool,
    instead: Vec<Instead>,
}

/// A docker volume that is bound to a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Volume {
    name: String,
    path: String,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Image {
    name: String,
    source: Source,
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// A file system as a tar file, which the earlier tool gave to `docker import`.
    Rootfs(String),
    /// An archive, which the earlier tool gave to `docker load`.
    Archive(String),
    /// This machine's docker.
    Engine,
}

/// Files to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Copied {
    src: String,
    dst: String,
    /// Where the earlier tool put the files, if the flag says another place.
    comment: Option<String>,
}

/// A compose project.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Project {
    name: String,
    file: String,
    extra_files: Vec<String>,
    autostart: bool,
    is_started: bool,
}

impl Draft {
    fn instead(&mut self, flag: impl Into<String>, advice: impl Into<String>) {
        self.instead.push(Instead {
            flag: flag.into(),
            advice: advice.into(),
        });
    }

    /// Takes over what a compose file needs, and names the volumes that no flag creates.
    fn needs(&mut self, file: &str, found: &scaffold::Compose) {
        self.directories.extend(found.directories.iter().cloned());
        for name in &found.volumes {
            if !self.volumes.iter().any(|volume| volume.name == *name) {
                self.instead(
                    file,
                    format!("its volume {name} must exist: add it to [[volumes]] with its path"),
                );
            }
        }
    }

    /// Returns the VPU's user and address.
    fn login(&self) -> String {
        format!("oem@{}", self.host.as_deref().unwrap_or("192.168.0.69"))
    }
}

/// Migrates a command line, which may start with the program's name. Paths are relative to `folder`; `release` is the
/// name of the release, and `schema` the path of the manifest's schema.
///
/// # Errors
/// The command line cannot be read.
pub(crate) fn migrate(
    words: &[String],
    folder: &Utf8Path,
    release: &str,
    schema: &str,
) -> Result<Migrated, FlagError> {
    let (program, rest) = split(words);
    if rest.is_empty() {
        return Err(FlagError::Empty);
    }
    let draft = if is_of_utils(&program, rest) {
        utils::draft(rest, folder, release)?
    } else {
        manager::draft(rest, folder, release)?
    };
    let command = shown(words);
    Ok(Migrated {
        text: text::text(&draft, &command, schema),
        instead: draft.instead,
    })
}

/// Splits off the program: `python3 -m o3r_docker_manager`, `wsl o3r_docker_manager`, `python3 deployment_examples.py`.
fn split(words: &[String]) -> (String, &[String]) {
    let is_program = |word: &&String| {
        let name = word.rsplit(['/', '\\']).next().unwrap_or(word);
        let name = name.trim_end_matches(".exe");
        let path = Utf8Path::new(name);
        path.extension() == Some("py")
            || matches!(name, "-m" | "wsl" | "^" | "\\" | manager::NAME | utils::NAME)
            || name.starts_with("python")
            // A module: `ovp_docker_utils.deploy`.
            || [manager::NAME, utils::NAME].iter().any(|tool| name.starts_with(tool))
    };
    let count = words.iter().take_while(is_program).count();
    let (program, rest) = words.split_at(count);
    (program.join(" "), rest)
}

/// Whether the command line is one of `ovp_docker_utils`.
fn is_of_utils(program: &str, rest: &[String]) -> bool {
    if program.contains(manager::NAME) {
        return false;
    }
    if program.contains(utils::NAME) || program.contains("deployment_examples") {
        return true;
    }
    // Its flags have dashes, those of the other tool have `_` and `--IP`.
    let is_readable = |flags: &'static [Flag]| Words::read(rest, flags, "").is_ok();
    is_readable(utils::FLAGS) && !is_readable(manager::FLAGS)
}

/// Returns the command line on one line.
fn shown(words: &[String]) -> String {
    let words = words.iter().map(String::as_str);
    let words = words.filter(|word| !matches!(*word, "^" | "\\"));
    let words: Vec<String> = words.map(|word| quote(word).into_owned()).collect();
    words.join(" ").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;

    /// Writes the folder of an application, with a compose file that uses an image of this name.
    fn application(image: &str, compose: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(directory.path()).unwrap();
        for path in ["src", "configs", "tmp"] {
            fs_err::create_dir(folder.join(path)).unwrap();
        }
        let text = format!(
            "services:\n  app:\n    image: {image}\n    container_name: app\n    env_file: app.env\n    volumes:\n      \
             - oemshare:/share\n      - /home/oem/data:/data\n      - ~/share/models:/models\n\
             volumes:\n  oemshare:\n    external: true\n"
        );
        let compose = folder.join(compose);
        fs_err::write(&compose, text).unwrap();
        fs_err::write(compose.with_file_name("app.env"), "A=1\n").unwrap();
        directory
    }

    #[track_caller]
    fn migrated(directory: &tempfile::TempDir, words: &[&str]) -> String {
        let folder = Utf8Path::from_path(directory.path()).unwrap();
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let migrated = migrate(&words, folder, "zone-server", "./deploy.schema.json").unwrap();
        let parsed = manifest::parse("deploy.toml", migrated.text.as_bytes());
        parsed
            .unwrap_or_else(|findings| panic!("{}\n{}", migrated.text, findings.render_plain(100)));
        let is_said = |instead: &Instead| migrated.text.contains(&instead.advice);
        assert!(migrated.instead.iter().all(is_said));
        migrated.text
    }

    #[test]
    fn the_first_generation_of_o3r_docker_manager() {
        let directory = application("docker_python_deps:latest", "docker-compose.yml");
        let words = [
            "o3r_docker_manager",
            "^",
            "--IP",
            "192.168.0.70",
            "--log_level",
            "INFO",
            "--log_dir",
            "",
            "--transfers",
            "./src>~/share/source,./configs>~/share/configs,./main.py>~/share/main.py,~/share/calibration>./backup",
            "--set_vpu_name",
            "zone_server_vpu_000",
            "--reset_docker",
            "yes",
            "--docker_build",
            "./deps.Dockerfile>./docker_python_deps.tar",
            "--setup_docker_compose",
            "./docker-compose.yml,./docker_python_deps.tar,home/oem/share,oemshare",
            "--enable_autostart",
            "zone_server",
            "--disable_autostart",
            "demo,old-demo",
            "--log_caching",
            "/home/oem/share/logs>~/o3r_logs/From_VPUs",
            "--initialize",
            "docker-compose.yml",
            "--attach_to",
            "zone_server",
        ];
        insta::assert_snapshot!(migrated(&directory, &words));
    }

    #[test]
    fn the_second_generation_of_o3r_docker_manager() {
        let directory = application("deps", "zones.yml");
        let words = [
            "python3",
            "-m",
            "o3r_docker_manager",
            "--IP=10.1.4.17",
            "--get_logs_from_vpu",
            "/home/oem/share/logs>~/o3r_logs/From_VPUs",
            "--remove_running_containers",
            "--dont_remove_volumes",
            "--mount_usb",
            "--dirs_to_make",
            "~/share",
            "~/share/logs",
            "~/recordings",
            "--transfers_to_vpu",
            "./zones.yml,~/zones.yml",
            "dist\\deps.tar,~/deps.tar",
            "./src,~/share/src",
            "--transfers_from_vpu",
            "~/share/calib.json,./backup",
            "--volume_to_setup",
            "/home/oem/share,oemshare",
            "--image_to_import",
            "~/deps.tar",
            "--items_to_cleanup",
            "~/deps.tar,~/share/old",
            "--docker_compose_to_initialize",
            "zones.yml:app",
            "--run_duration",
            "10",
            "--stop_upon_exit",
        ];
        insta::assert_snapshot!(migrated(&directory, &words));
    }

    #[test]
    fn the_script_of_ovp_docker_utils() {
        let directory = application("python_logging:arm64", "tmp/python_logging_dc.yml");
        let words = [
            "python",
            "./ovp8xx/docker/deployment_examples.py",
            "--ip",
            "192.168.0.71",
            "--gateway",
            "192.168.0.201",
            "--time-server",
            "10.0.0.1",
            "--can-bitrate",
            "125000",
            "--ssh-key-file-name",
            "id_rsa_ovp8xx",
            "--firmware-version-to-use",
            "1.4.30-4117",
            "--purge-docker-images-on-OVP",
            "--image-delivery-mode",
            "local-registry",
            "--seconds-of-output",
            "5",
            "python_logging",
        ];
        insta::assert_snapshot!(migrated(&directory, &words));
    }

    #[test]
    fn the_tool_is_known_by_its_flags() {
        let of_utils = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let (program, rest) = split(&words);
            is_of_utils(&program, rest)
        };
        assert!(of_utils("--ip 1.2.3.4 --reset-vpu logging"));
        assert!(of_utils("python3 deployment_examples.py logging"));
        assert!(!of_utils("--IP 1.2.3.4"));
        assert!(!of_utils("wsl o3r_docker_manager --ip 1.2.3.4"));
    }

    #[test]
    fn a_command_line_that_cannot_be_read_is_an_error() {
        for (line, error) in [
            ("o3r_docker_manager", "the command line has no flags"),
            ("--IP 1.2.3.4 ./src", "`./src` belongs to no flag"),
            (
                "--setup_docker_compose a.yml,b.tar",
                "`--setup_docker_compose a.yml,b.tar` is not COMPOSE_FILE,IMAGE.tar,PATH_ON_VPU,VOLUME",
            ),
            (
                "--transfers_to_vpu ./src",
                "`--transfers_to_vpu ./src` is not SRC,DST",
            ),
            (
                "--log_caching logs",
                "`--log_caching logs` is not PATH_ON_VPU>FOLDER",
            ),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let refused = migrate(&words, Utf8Path::new("."), "app", "./x.json");
            assert_eq!(refused.unwrap_err().to_string(), error, "{line}");
        }
    }
}
