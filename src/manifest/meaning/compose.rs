//! Checks that compose files only ask for what the manifest brings and the VPU can do.

use camino::{Utf8Path, Utf8PathBuf};

use super::{Checker, FileKind, is_read};
use crate::{
    compose::{ComposeFile, Environment, HostPort, Service, parse_env, refused_by_old},
    manifest::{
        diagnostics::{Diagnostic, did_you_mean},
        names::{FirmwareRange, ImageRef, escape},
        types::Compose,
    },
};

/// The first firmware with docker-compose 1.29.2; those before have 1.25.4.
const NEW_COMPOSE: [u64; 3] = [1, 4, 30];

/// Ports that the VPU's own software listens on (ifm's documentation).
fn is_system_port(port: &HostPort) -> bool {
    let number = port.port;
    let single = [22, 80, 8080, 8888].contains(&number);
    !port.udp && (single || matches!(number, 50010..=50025 | 51010..=51025))
}

const IMAGE: &str = "o3r::manifest::compose_image";
const KEY: &str = "o3r::manifest::compose_key";
const PORT: &str = "o3r::manifest::compose_port";
const SYNTAX: &str = "o3r::manifest::compose_syntax";
const VERSION: &str = "o3r::manifest::compose_version";
const VOLUME: &str = "o3r::manifest::compose_volume";

/// Variables in `.env` that change what docker-compose takes for the project.
const STEERING: &[(&str, &str)] = &[
    (
        "COMPOSE_PROJECT_NAME",
        "it beats the directory's name, and the project would not be found again",
    ),
    (
        "COMPOSE_FILE",
        "docker-compose would read other files than the one that is deployed",
    ),
];

pub(super) fn check(checker: &mut Checker<'_>) {
    let projects = &checker.loaded.manifest.compose;
    for (index, compose) in projects
        .iter()
        .enumerate()
        .filter(|(_, c)| is_read(c.state))
    {
        project(checker, index, compose);
    }
}

fn project(checker: &mut Checker<'_>, index: usize, compose: &Compose) {
    let pointer = format!("/compose/{index}/file");
    let path = checker.local(&compose.file);
    let directory = path.parent().unwrap_or(Utf8Path::new("")).to_owned();
    let environment = extra_files(checker, index, compose, &directory);
    if !checker.expect(&pointer, &compose.file, FileKind::File) {
        return;
    }
    let mut project = Project {
        checker,
        pointer,
        path: path.clone(),
    };
    let text = match project.checker.files.read(&path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => {
            return project.error(SYNTAX, None, "is not UTF-8", "save it as UTF-8");
        }
        Err(error) => {
            let message = format!("cannot be read: {error}");
            return project.error(SYNTAX, None, &message, "see the file's permissions");
        }
    };
    match ComposeFile::parse_with(&text, &environment) {
        Ok(file) => {
            project.file(&file);
            project.environment_files(&file, compose);
        }
        Err(error) => {
            let message = format!("cannot be read: {error}");
            project.error(SYNTAX, error.line(), &message, "correct the compose file");
        }
    }
}

/// Checks that the extra files exist; returns what `.env` among them sets.
fn extra_files(
    checker: &mut Checker<'_>,
    index: usize,
    compose: &Compose,
    directory: &Utf8Path,
) -> Environment {
    let mut environment = Environment::new();
    for (at, file) in compose.extra_files.iter().enumerate() {
        let pointer = format!("/compose/{index}/extra_files/{at}");
        let path = directory.join(file.bare());
        let wanted = file.is_dir_hint().then_some(FileKind::Directory);
        let kind = checker.exists_at(&pointer, file.as_str(), &path, wanted);
        if file.bare() != ".env" || kind != Some(FileKind::File) {
            continue;
        }
        let Ok(bytes) = checker.files.read(&path) else {
            continue;
        };
        environment = parse_env(&String::from_utf8_lossy(&bytes));
        for (variable, reason) in STEERING {
            if environment.contains_key(*variable) {
                checker.error(
                    &pointer,
                    "o3r::manifest::compose_environment",
                    format!("`{file}` sets `{variable}`: {reason}"),
                    "this file",
                    format!("remove `{variable}` from it"),
                );
            }
        }
    }
    environment
}

/// One project's compose file and where the manifest names it.
struct Project<'c, 'a> {
    checker: &'c mut Checker<'a>,
    pointer: String,
    path: Utf8PathBuf,
}

impl Project<'_, '_> {
    fn finding(
        &self,
        code: &'static str,
        line: Option<usize>,
        message: &str,
        help: &str,
    ) -> Diagnostic {
        let place = match line {
            Some(line) => format!("{}:{line}", self.path),
            None => self.path.to_string(),
        };
        self.checker.loaded.diagnostic(
            &self.pointer,
            code,
            format!("{place} {}", escape(message)),
            "this compose file",
            escape(help),
        )
    }

    fn error(&mut self, code: &'static str, line: Option<usize>, message: &str, help: &str) {
        let finding = self.finding(code, line, message, help);
        self.checker.findings.push(finding);
    }

    fn warning(&mut self, code: &'static str, line: Option<usize>, message: &str, help: &str) {
        let finding = self.finding(code, line, message, help).warning();
        self.checker.findings.push(finding);
    }

    fn file(&mut self, file: &ComposeFile) {
        if let Some(line) = file.name {
            let message = "has a top-level `name:`, which docker-compose on a VPU refuses";
            self.error(
                KEY,
                Some(line),
                message,
                "remove it; the project is called as in [[compose]]",
            );
        }
        if file.services.is_empty() {
            self.error(KEY, None, "declares no services", "add `services:`");
        }
        self.version(file);
        for service in &file.services {
            self.service(service);
        }
        self.volumes(file);
    }

    fn version(&mut self, file: &ComposeFile) {
        const HELP: &str = "write `version: \"2.4\"`, which every firmware takes";
        if let Some(version) = &file.version {
            let line = Some(version.line);
            let (major, minor) = version.text.split_once('.').unwrap_or((&version.text, "0"));
            if !version.is_string {
                let message = format!("gives the version {} as a number", version.text);
                let help = format!("write `version: \"{}\"`", version.text);
                return self.error(VERSION, line, &message, &help);
            }
            if !matches!(major, "2" | "3") || minor.parse::<u32>().is_err() {
                let message = format!(
                    "has the version `{}`, which docker-compose 1 refuses",
                    version.text
                );
                return self.error(VERSION, line, &message, HELP);
            }
        }
        let firmware = &self.checker.loaded.manifest.vpu.firmware;
        let is_new = |range: &FirmwareRange| range.is_at_least(NEW_COMPOSE);
        if firmware.as_ref().is_some_and(is_new) {
            return;
        }
        if let Some(refused) = refused_by_old(file) {
            let message = format!(
                "{}, which docker-compose 1.25 on firmware before 1.4.30 refuses",
                refused.reason
            );
            self.warning(VERSION, refused.line, &message, HELP);
        }
    }

    fn service(&mut self, service: &Service) {
        if let Some(line) = service.build {
            let message = format!("builds `{}`, and a VPU builds nothing", service.name);
            let help = "build it before, name the result as `image:` and declare it in [[images]]";
            self.error(KEY, Some(line), &message, help);
        }
        if let Some(line) = service.profiles {
            let message = format!(
                "gives `{}` profiles, which the VPU's autostart never sets",
                service.name
            );
            self.error(
                KEY,
                Some(line),
                &message,
                "move the service to a [[compose]] project of its own",
            );
        }
        for port in service
            .published_ports
            .iter()
            .filter(|port| is_system_port(port))
        {
            let message = format!(
                "publishes {port} for `{}`, which the VPU's own software uses",
                service.name
            );
            self.warning(PORT, Some(service.line), &message, "publish another port");
        }
        match &service.image {
            Some(_) if !service.unset_in_image.is_empty() => self.unset_image(service),
            Some(image) => self.image(&service.name, &image.value, image.line),
            None if service.build.is_none() && service.extends.is_none() => {
                let message = format!("gives `{}` no image", service.name);
                self.error(IMAGE, Some(service.line), &message, "add `image:`");
            }
            None => {}
        }
    }

    fn unset_image(&mut self, service: &Service) {
        let line = service.image.as_ref().map(|image| image.line);
        let variables = service.unset_in_image.join("`, `");
        let message = format!(
            "leaves the image of `{}` open: nothing sets `{variables}`",
            service.name
        );
        let help = "set it in a `.env` file listed in `extra_files`, or give it a default: \
                    `${NAME:-value}`";
        self.error(IMAGE, line, &message, help);
    }

    fn image(&mut self, service: &str, written: &str, line: usize) {
        let declared = &self.checker.loaded.manifest.images;
        let image = match written.parse::<ImageRef>() {
            Ok(image) => image,
            Err(error) => {
                let message = format!(
                    "runs `{service}` from `{written}`, which is not {}: {}",
                    error.expected, error.problem
                );
                return self.error(IMAGE, Some(line), &message, &error.help);
            }
        };
        if declared.iter().any(|declared| declared.name == image) {
            return;
        }
        let names: Vec<String> = declared
            .iter()
            .map(|image| image.name.canonical())
            .collect();
        let help = match did_you_mean(&image.canonical(), names.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("add [[images]] with `name = \"{image}\"`"),
        };
        let message = format!("runs `{service}` from `{written}`, which no [[images]] declares");
        self.error(IMAGE, Some(line), &message, &help);
    }

    fn volumes(&mut self, file: &ComposeFile) {
        let declared: Vec<&str> = self
            .checker
            .loaded
            .manifest
            .volumes
            .iter()
            .map(|v| v.name.as_str())
            .collect();
        for volume in file.volumes.iter().filter(|volume| volume.external) {
            let name = volume.external_name();
            if declared.contains(&name) {
                continue;
            }
            let message = format!("expects the volume `{name}`, which no [[volumes]] declares");
            let help = match did_you_mean(name, declared.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("add [[volumes]] with `name = \"{name}\"` and a `path`"),
            };
            self.error(VOLUME, Some(volume.line), &message, &help);
        }
    }

    /// Environment files must arrive with the project: without them nothing starts.
    fn environment_files(&mut self, file: &ComposeFile, compose: &Compose) {
        for entry in file.services.iter().flat_map(|service| &service.env_files) {
            let path = entry.value.strip_prefix("./").unwrap_or(&entry.value);
            let is_placed = compose
                .extra_files
                .iter()
                .any(|extra| Utf8Path::new(path).starts_with(extra.bare()));
            if !is_placed && !path.starts_with(['/', '~']) {
                let message = format!("reads `{path}`, which is not among the `extra_files`");
                let help = format!("add `extra_files = [\"{path}\"]`");
                self.error(KEY, Some(entry.line), &message, &help);
            }
        }
    }
}
