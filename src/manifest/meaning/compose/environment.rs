//! Checks the sources of variables in compose files, and variables that must not be set.

use std::collections::BTreeMap;

use super::{Project, releases};
use crate::{
    compose::{At, ComposeFile, Place, Refusal, Release, is_placed, read_env},
    manifest::{
        FindingCode,
        names::{RelativePath, escape},
        spans::child,
        types::Compose,
    },
};

/// The file that sets a compose file's variables.
pub(crate) const ENV_FILE: &str = ".env";

/// Returns the `.env` of these variables.
pub(crate) fn env_text(variables: &BTreeMap<String, String>) -> String {
    let lines = variables
        .iter()
        .flat_map(|(name, value)| [name, "=", value, "\n"]);
    lines.collect()
}

/// Explains a variable that changes the project, or the docker that docker-compose talks to.
fn steers(variable: &str) -> Option<&'static str> {
    Some(match variable {
        "COMPOSE_PROJECT_NAME" => {
            "it overrides the directory's name, and the project would not be found again"
        }
        "COMPOSE_FILE" | "COMPOSE_PATH_SEPARATOR" | "COMPOSE_ENV_FILES" => {
            "docker-compose would read other files than the one that is deployed"
        }
        "COMPOSE_PROFILES" => "the VPU's autostart would start other services",
        "COMPOSE_IGNORE_ORPHANS" => "docker-compose would keep the containers of removed services",
        "COMPOSE_CONVERT_WINDOWS_PATHS" | "COMPOSE_FORCE_WINDOWS_HOST" => {
            "docker-compose would read its paths as those of Windows"
        }
        "COMPOSE_API_VERSION" | "COMPOSE_TLS_VERSION" => {
            "docker-compose would use another API version than docker has"
        }
        "DOCKER_HOST" | "DOCKER_CONTEXT" | "DOCKER_TLS" | "DOCKER_TLS_VERIFY"
        | "DOCKER_CERT_PATH" | "DOCKER_CONFIG" => {
            "docker-compose would use another docker than the VPU's"
        }
        _ => return None,
    })
}

impl Project<'_, '_> {
    /// Checks the variables that `env` declares.
    pub(super) fn declared_variables(&mut self, index: usize, compose: &Compose) {
        let text = env_text(&compose.env);
        let releases = releases(&self.checker.loaded.manifest);
        for (name, value) in &compose.env {
            let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            let is_name =
                starts_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let read = |release: &Release| {
                let read = read_env(&text, *release).values;
                read.get(name).cloned().unwrap_or_default()
            };
            let mut others = releases.iter();
            let (message, help) = if !is_name {
                let message = format!("`{}` is not the name of a variable", escape(name));
                (
                    message,
                    "write letters, digits and `_`, e.g. `VERSION`".to_owned(),
                )
            } else if let Some(reason) = steers(name) {
                (format!("`{name}`: {reason}"), format!("remove `{name}`"))
            } else if value.contains(char::is_control) {
                let message =
                    format!("the value of `{name}` has a line break or another control character");
                (message, "write one line".to_owned())
            } else if let Some(release) = others.find(|release| read(release) != *value) {
                let message = format!(
                    "docker-compose {release} reads another value of `{name}` from a `.env`"
                );
                let help = "leave out quotes, `$`, `#`, `\\` and spaces at the ends".to_owned();
                (message, help)
            } else {
                continue;
            };
            let pointer = child(&format!("/compose/{index}/env"), name);
            let code = FindingCode::ComposeEnvironment;
            self.checker
                .error(&pointer, code, message, "this variable", &help);
        }
        let files = compose.extra_files.iter().map(RelativePath::bare);
        if is_placed(ENV_FILE, files) {
            self.checker.error(
                &format!("/compose/{index}/env"),
                FindingCode::Duplicate,
                "`env` becomes the project's `.env`, which is among the `extra_files`, too"
                    .to_owned(),
                "also a `.env`",
                "move its variables to `env`, or remove `env`",
            );
        }
    }

    /// Reports variables of `.env` that change docker-compose itself.
    pub(super) fn steering(&mut self) {
        let files = self.newest().1.files.clone();
        let Some(index) = files.iter().position(|file| file.name == ENV_FILE) else {
            return;
        };
        let text = &files[index].text;
        let mut set: Vec<String> = releases(&self.checker.loaded.manifest)
            .into_iter()
            .flat_map(|release| read_env(text, release).values.into_keys())
            .collect();
        set.sort();
        set.dedup();
        for variable in set {
            if let Some(reason) = steers(&variable) {
                let place = place_of(text, &variable, index);
                let message = format!("sets `{variable}`: {reason}");
                let help = format!("remove `{variable}` from it");
                self.error(FindingCode::ComposeEnvironment, place, &message, &help);
            }
        }
    }

    /// Reports unset variables, except in images, which have their own error. Those that a `.env`
    /// sets which is not among the extra files share one finding; there is none if a service that
    /// reads that `.env` is refused.
    pub(super) fn unset(&mut self, file: &ComposeFile) {
        let left_behind = self.env_left_behind().unwrap_or_default();
        let left_behind = read_env(&left_behind, Release::V1_29).values;
        let mut of_env: Vec<&At<String>> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for variable in &file.unset {
            let is_image = |service: &crate::compose::Service| {
                let image = service.image.as_ref();
                image.is_some_and(|image| image.place == variable.place)
            };
            let required = |refusal: &Refusal| {
                refusal.unless_login_sets && refusal.place == Some(variable.place)
            };
            if self.newest().1.refusals.iter().any(required) {
                continue;
            }
            if file.services.iter().any(is_image) || seen.contains(&variable.value.as_str()) {
                continue;
            }
            seen.push(&variable.value);
            let name = &variable.value;
            if left_behind.contains_key(name) {
                of_env.push(variable);
                continue;
            }
            self.left_empty(
                variable.place,
                &[name],
                &format!(
                    "set it in `env` of [[compose]] or in a `.env` file listed in `extra_files`, or give it a default: `${{{name}:-value}}`"
                ),
            );
        }
        let lacks_env = |refusal: &Refusal| refusal.missing_file.as_deref() == Some(ENV_FILE);
        if let [first, ..] = of_env.as_slice()
            && !self.newest().1.refusals.iter().any(lacks_env)
        {
            let names: Vec<&str> = of_env.iter().map(|at| at.value.as_str()).collect();
            let them = if names.len() == 1 { "it" } else { "them" };
            let help = format!(
                "the `.env` beside it sets {them}, and is not sent: add `\".env\"` to `extra_files`"
            );
            self.left_empty(first.place, &names, &help);
        }
    }

    fn left_empty(&mut self, place: Place, names: &[&str], help: &str) {
        let them = if names.len() == 1 { "it" } else { "them" };
        let message = format!("leaves `{}` empty: nothing sets {them}", names.join("`, `"));
        self.warning(FindingCode::ComposeVariable, Some(place), &message, help);
    }

    /// Returns the `.env` next to the compose file if it is not among the extra files.
    fn env_left_behind(&self) -> Option<String> {
        if is_placed(ENV_FILE, self.listed.iter().map(String::as_str)) {
            return None;
        }
        let bytes = self
            .checker
            .files
            .read(&self.directory.join(ENV_FILE))
            .ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Returns the place where an environment file sets a variable.
fn place_of(text: &str, variable: &str, file: usize) -> Option<Place> {
    let mut start = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if let Some(at) = line.find(variable) {
            return Some(Place {
                file,
                line: index + 1,
                start: start + at,
                end: start + at + variable.len(),
            });
        }
        start += line.len();
    }
    None
}
