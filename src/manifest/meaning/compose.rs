//! Checks that docker-compose accepts the compose files, and that they need only what the manifest
//! brings and the VPU supports.

mod environment;
mod files;
mod health;
mod images;
mod shared;

use camino::{Utf8Path, Utf8PathBuf};

pub(crate) use environment::{ENV_FILE, env_text};

use super::{Checker, FileKind, autostart, is_read, meant::meant};
use crate::{
    compose::{
        Environment, HostPort, Place, Reading, Refusal, Release, Service, is_placed, read_project,
    },
    manifest::{
        FindingCode, Manifest,
        diagnostics::{Diagnostic, Source},
        names::escape,
        template,
        types::Compose,
    },
};

/// The first firmware with docker-compose 1.29.2; earlier ones have 1.25.4.
const NEW_COMPOSE: [u64; 3] = [1, 4, 30];

/// Ports that the VPU's own software listens on (ifm's documentation).
fn is_system_port(port: &HostPort) -> bool {
    let number = port.port;
    let single = [22, 80, 8080, 8888].contains(&number);
    !port.udp && (single || matches!(number, 50010..=50025 | 51010..=51025))
}

/// Returns the releases of docker-compose that the manifest's VPUs may have, oldest first.
pub(crate) fn releases(manifest: &Manifest) -> Vec<Release> {
    let firmware = manifest.vpu.firmware.as_ref();
    let (older, newer) = firmware.map_or((true, true), |range| range.sides_of(NEW_COMPOSE));
    let all = [(Release::V1_25, older), (Release::V1_29, newer)];
    let had: Vec<Release> = all
        .into_iter()
        .filter_map(|(release, has)| has.then_some(release))
        .collect();
    // A range that no firmware matches has its own finding.
    if had.is_empty() {
        return Release::ALL.to_vec();
    }
    had
}

/// Returns the environment of a login on a VPU, as far as compose files may use it.
pub(crate) fn login() -> Environment {
    let variables = [
        ("HOME", "/home/oem"),
        ("USER", "oem"),
        ("LOGNAME", "oem"),
        ("SHELL", "/bin/sh"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ];
    variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

pub(super) fn check(checker: &mut Checker<'_>) {
    let projects = &checker.loaded.manifest.compose;
    let mut shared = shared::Shared::default();
    for (index, compose) in projects
        .iter()
        .enumerate()
        .filter(|(_, c)| is_read(c.state))
    {
        if let Some(mut project) = Project::read(checker, index, compose) {
            if compose.env.is_empty() {
                project.steering();
            } else {
                project.declared_variables(index, compose);
            }
            project.check(compose);
            shared.add(&project, compose);
        }
    }
    shared.check(checker);
}

/// A project's files, and where the manifest names them.
struct Project<'c, 'a> {
    checker: &'c mut Checker<'a>,
    pointer: String,
    /// The compose file's directory.
    directory: Utf8PathBuf,
    /// The project as each release that a VPU may have reads it, newest last.
    readings: Vec<(Release, Reading)>,
    /// The `extra_files`, with those that mistyped ones were meant to be.
    listed: Vec<String>,
    /// The documents that findings point into, by file index.
    sources: Vec<Source>,
}

impl<'c, 'a> Project<'c, 'a> {
    /// Reads a project's files; `None` if there is no usable compose file.
    fn read(checker: &'c mut Checker<'a>, index: usize, compose: &Compose) -> Option<Self> {
        let pointer = format!("/compose/{index}/file");
        let path = checker.local(&compose.file);
        let directory = path.parent().unwrap_or(Utf8Path::new("")).to_owned();
        let mut listed: Vec<String> = Vec::new();
        for (at, file) in compose.extra_files.iter().enumerate() {
            let pointer = format!("/compose/{index}/extra_files/{at}");
            let local = directory.join(file.bare());
            let wanted = file.is_dir_hint().then_some(FileKind::Directory);
            let found = checker.exists_at(&pointer, file.as_str(), &local, wanted);
            listed.push(file.bare().to_owned());
            if found.is_none() {
                listed.extend(meant(checker.files, file.bare(), &local, wanted));
            }
        }
        if !compose.env.is_empty() {
            listed.push(ENV_FILE.to_owned());
        }
        if !checker.expect(&pointer, &compose.file, FileKind::File) {
            return None;
        }
        let problem = match checker.files.read(&path).map(String::from_utf8) {
            Ok(Ok(text)) => {
                let login = login();
                let find = |name: &str| -> Option<String> {
                    if !is_placed(name, listed.iter().map(String::as_str)) {
                        return None;
                    }
                    if name == ENV_FILE && !compose.env.is_empty() {
                        return Some(env_text(&compose.env));
                    }
                    let path = directory.join(name);
                    let mut bytes = checker.files.read(&path).ok()?;
                    if compose.template
                        && let Ok(rendered) = template::render(checker.loaded, &path, &bytes)
                    {
                        bytes = rendered;
                    }
                    Some(String::from_utf8_lossy(&bytes).into_owned())
                };
                let readings: Vec<_> = releases(&checker.loaded.manifest)
                    .into_iter()
                    .map(|release| {
                        let reading = read_project(text.clone(), &login, release, &find);
                        (release, reading)
                    })
                    .collect();
                return Some(
                    Self {
                        checker,
                        pointer,
                        directory,
                        readings,
                        listed,
                        sources: Vec::new(),
                    }
                    .with_sources(&path)
                    .without_listed(),
                );
            }
            Ok(Err(_)) => ("is not UTF-8".to_owned(), "save it as UTF-8"),
            Err(error) => (
                format!("cannot be read: {error}"),
                "check the file's permissions",
            ),
        };
        let (message, help) = problem;
        let message = format!("{path} {}", escape(&message));
        checker.error(
            &pointer,
            FindingCode::ComposeUnreadable,
            message,
            "this compose file",
            help,
        );
        None
    }

    /// Names the files as the user knows them.
    fn with_sources(mut self, path: &Utf8Path) -> Self {
        let (_, reading) = self.newest();
        let sources = reading.files.iter().enumerate().map(|(index, file)| {
            let local = match index {
                0 => path.to_owned(),
                _ => self.directory.join(&file.name),
            };
            Source::new(local.as_str(), file.text.clone())
        });
        self.sources = sources.collect();
        self
    }

    /// Removes refusals because of listed files that are missing, which have their own finding.
    fn without_listed(mut self) -> Self {
        let listed = &self.listed;
        let is_listed = |path: &str| is_placed(path, listed.iter().map(String::as_str));
        for (_, reading) in &mut self.readings {
            reading.refusals.retain(|refusal| {
                let missing = refusal.missing_file.as_deref();
                !missing.is_some_and(is_listed)
            });
        }
        self
    }

    fn newest(&self) -> &(Release, Reading) {
        // There is a reading for every release, and always a release.
        &self.readings[self.readings.len() - 1]
    }

    fn finding(
        &self,
        code: FindingCode,
        place: Option<Place>,
        message: &str,
        help: &str,
    ) -> Diagnostic {
        let Some(place) = place else {
            let message = format!("{} {}", self.sources[0].name(), escape(message));
            let (label, help) = ("this compose file", escape(help));
            let loaded = self.checker.loaded;
            return loaded.diagnostic(&self.pointer, code, message, label, help);
        };
        let source = &self.sources[place.file];
        let message = format!("{}:{} {}", source.name(), place.line, escape(message));
        let files = &self.newest().1.files;
        if files
            .get(place.file)
            .is_some_and(|file| file.is_environment)
        {
            // Its lines may contain passwords, which a snippet would show.
            let help = escape(help);
            let loaded = self.checker.loaded;
            return loaded.diagnostic(&self.pointer, code, message, "of this compose file", help);
        }
        Diagnostic::error(code, source, message)
            .at(&self.pointer)
            .label(place.start..place.end, "here")
            .help(escape(help))
    }

    fn error(&mut self, code: FindingCode, place: Option<Place>, message: &str, help: &str) {
        let finding = self.finding(code, place, message, help);
        self.push(finding);
    }

    fn warning(&mut self, code: FindingCode, place: Option<Place>, message: &str, help: &str) {
        let finding = self.finding(code, place, message, help).warning();
        self.push(finding);
    }

    /// Adds a finding unless its place has one already.
    fn push(&mut self, finding: Diagnostic) {
        let is_known = self.checker.findings.iter().any(|known| {
            known.source == finding.source
                && known.labels == finding.labels
                && !known.labels.is_empty()
                && known.severity <= finding.severity
                && (known.message == finding.message || finding.code == FindingCode::ComposeRefused)
        });
        if !is_known {
            self.checker.findings.push(finding);
        }
    }

    fn check(&mut self, compose: &Compose) {
        let reading = &self.newest().1;
        if reading.file.services.is_empty() && reading.refusals.is_empty() {
            self.error(
                FindingCode::ComposeKey,
                None,
                "declares no services",
                "add `services:`",
            );
        }
        let file = self.newest().1.file.clone();
        for service in &file.services {
            self.service(service);
        }
        self.unset(&file);
        self.volumes(&file, compose);
        self.travelling(&file);
        self.restart_policies(&file.services, compose);
        self.health(&file.services, compose);
        self.refusals();
        for warning in self.newest().1.warnings.clone() {
            self.warning(
                FindingCode::ComposeKey,
                warning.place,
                &warning.message,
                &warning.help,
            );
        }
    }

    /// Reports refusals: as an error if every docker-compose that a VPU may have refuses it, or as
    /// a warning that names the release if only one does.
    fn refusals(&mut self) {
        let all: Vec<(Release, Vec<Refusal>)> = self
            .readings
            .iter()
            .map(|(release, reading)| (*release, surely_refused(reading)))
            .collect();
        for refusal in self.newest().1.refusals.clone() {
            if refusal.unless_login_sets {
                self.warning(
                    FindingCode::ComposeRefused,
                    refusal.place,
                    &refusal.message,
                    &refusal.help,
                );
            }
        }
        let is_refused_by_all = all.iter().all(|(_, refusals)| !refusals.is_empty());
        for (index, (release, refusals)) in all.iter().enumerate() {
            let is_newest = index + 1 == all.len();
            for refusal in refusals {
                let by_others = all.iter().all(|(other, others)| {
                    other == release || others.iter().any(|o| o.place == refusal.place)
                });
                if by_others && !is_newest {
                    continue; // the newest release reports it
                }
                if by_others || (is_newest && is_refused_by_all) {
                    let message = match release {
                        Release::V1_25 => format!(
                            "{}; docker-compose {release}, on {}, rejects that",
                            refusal.message,
                            release.firmware()
                        ),
                        Release::V1_29 => refusal.message.clone(),
                    };
                    self.error(
                        FindingCode::ComposeRefused,
                        refusal.place,
                        &message,
                        &refusal.help,
                    );
                } else {
                    let message = format!(
                        "{}; docker-compose {release}, on {}, rejects that",
                        refusal.message,
                        release.firmware()
                    );
                    self.warning(
                        FindingCode::ComposeRefused,
                        refusal.place,
                        &message,
                        &refusal.help,
                    );
                }
            }
        }
    }

    fn service(&mut self, service: &Service) {
        let name = &service.name;
        if let Some(place) = service.build {
            let message = format!("builds `{name}`, but images cannot be built on the VPU");
            let help = match &service.image {
                Some(_) => "remove `build:`, or keep it in an override file that is not deployed",
                None => "build it first, name the result in `image:`, and declare it in [[images]]",
            };
            self.error(FindingCode::ComposeKey, Some(place), &message, help);
        }
        if let Some(place) = service.profiles {
            let message = format!("gives `{name}` profiles, which the VPU's autostart never sets");
            let help = "move the service to a separate [[compose]] project";
            self.error(FindingCode::ComposeKey, Some(place), &message, help);
        }
        for port in service
            .published_ports
            .iter()
            .filter(|port| is_system_port(&port.value))
        {
            let message = format!(
                "publishes {} for `{name}`, which the VPU's own software uses",
                port.value
            );
            self.warning(
                FindingCode::ComposePort,
                Some(port.place),
                &message,
                "publish another port",
            );
        }
        self.image(service);
    }

    fn restart_policies(&mut self, services: &[Service], compose: &Compose) {
        let firmware = self.checker.loaded.manifest.vpu.firmware.clone();
        for service in services {
            let problem = autostart::policy_problem(firmware.as_ref(), compose, service);
            if let Some((message, help)) = problem {
                self.warning(
                    FindingCode::ComposeRestart,
                    Some(service.place),
                    &message,
                    help,
                );
            }
        }
    }
}

/// Returns what a release refuses independently of the VPU's login.
fn surely_refused(reading: &Reading) -> Vec<Refusal> {
    let refusals = reading.refusals.iter();
    let sure = refusals.filter(|refusal| !refusal.unless_login_sets);
    sure.cloned().collect()
}
