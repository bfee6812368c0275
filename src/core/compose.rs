//! Reads compose files as docker-compose 1.25.4 and 1.29.2 do: the few keys that matter to a
//! deployment, ignoring all others, and reports what docker-compose would refuse.
//!
//! Does not look at a manifest or a VPU: what they make of these keys is decided elsewhere.

mod convert;
mod environment;
mod interpolate;
mod limits;
mod locate;
mod merge;
mod node;
mod port;
mod ports;
mod project;
mod release;
mod resource;
mod rules;
mod scalar;
mod schema;
mod service;
mod version;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::names::is_within;
pub use environment::{EnvFile, Environment, parse_env, read_env};
pub use limits::Limits;
pub use locate::line_of_words;
use node::{Key, Node, Value};
pub use port::HostPort;
pub use project::{ProjectFile, Reading, Refusal, is_placed, override_names, read_project};
pub use release::Release;
pub use resource::{Network, Pool, Volume};
pub use service::{Mount, MountSource, Service};
pub use version::Version;

/// A compose file with its variables replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposeFile {
    /// `version:`, where it is given.
    pub version: Option<Version>,
    /// The place of a top-level `name:`.
    pub name: Option<Place>,
    /// The services, in the order of the file.
    pub services: Vec<Service>,
    /// The top-level volumes.
    pub volumes: Vec<Volume>,
    /// The top-level networks.
    pub networks: Vec<Network>,
    /// Variables that have no default and that the environment
    /// does not set; docker-compose makes them empty.
    pub unset: Vec<At<String>>,
}

/// A place in one of a project's files.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Place {
    /// The index of the file, from 0; the first is the compose file itself.
    pub file: usize,
    /// The line, from 1.
    pub line: usize,
    /// The offset of the first byte.
    pub start: usize,
    /// The offset after the last byte.
    pub end: usize,
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// The place.
    pub place: Place,
}

/// Why a compose file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// It is not YAML, or exceeds the size limits for compose files.
    #[error("{message}")]
    Yaml {
        /// What is wrong.
        message: String,
        /// Where, if known.
        place: Option<Place>,
    },
    /// A key occurs twice.
    #[error("`{key}` is defined twice; docker-compose would use the second and ignore the first")]
    Duplicate {
        /// The key.
        key: String,
        /// The second occurrence.
        place: Place,
        /// The first occurrence.
        earlier: Place,
    },
    /// The value of a key has another type than compose takes.
    #[error("`{key}` takes {expected}")]
    Shape {
        /// The key, e.g. `services.web`.
        key: String,
        /// What the key takes.
        expected: &'static str,
        /// Where.
        place: Place,
    },
    /// A `$` starts nothing that compose knows.
    #[error("`{text}` has an invalid `$`; write `$$` for a dollar sign")]
    Variable {
        /// The string.
        text: String,
        /// Where.
        place: Place,
    },
}

impl ComposeError {
    /// Returns the place of the error, if known.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Yaml { place, .. } => *place,
            Self::Duplicate { place, .. }
            | Self::Shape { place, .. }
            | Self::Variable { place, .. } => Some(*place),
        }
    }
}

impl ComposeFile {
    /// Reads a compose file without any environment.
    ///
    /// # Errors
    /// It is not YAML, or a key that matters has a value of the wrong type.
    pub fn parse(text: &str) -> Result<Self, ComposeError> {
        Self::parse_with(text, &Environment::new())
    }

    /// Reads a compose file with its variables set by `environment` (the project's `.env`).
    ///
    /// # Errors
    /// The same as [`ComposeFile::parse`].
    pub fn parse_with(text: &str, environment: &Environment) -> Result<Self, ComposeError> {
        let mut root = yaml::parse(text, 0)?;
        let unset = interpolate::interpolate(&mut root, environment)?;
        Self::of(&root, unset)
    }

    /// Reads the output of `docker-compose config`: everything resolved, and environment files
    /// merged into `environment`. For the services in `apart`, the environment is left out of
    /// [`Service::definition`].
    ///
    /// # Errors
    /// The same as [`ComposeFile::parse`].
    pub fn parse_config(text: &str, apart: &BTreeSet<String>) -> Result<Self, ComposeError> {
        let mut root = yaml::parse(text, 0)?;
        let unset = interpolate::interpolate(&mut root, &Environment::new())?;
        if let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) {
            for name in apart {
                if let Some(service) = services.get_mut(name).and_then(Node::as_map_mut) {
                    service.remove("environment");
                }
            }
        }
        Self::of(&root, unset)
    }

    /// Reads the keys that matter from a tree whose variables are replaced.
    fn of(root: &Node, unset: Vec<At<String>>) -> Result<Self, ComposeError> {
        let root = root.map("the file")?;
        let mut file = Self {
            version: root.get("version").and_then(version::read),
            name: root.place_of("name"),
            unset,
            ..Self::default()
        };
        let secrets = files_of(root.get("secrets"));
        for (key, node) in entries(root.get("services"), "services")? {
            let service = node.map(&format!("services.{}", key.name))?;
            let mut read = service::read(&key.name, key.place, service, &file.unset)?;
            let used = service.get("secrets").map(names_in).unwrap_or_default();
            read.secret_files
                .extend(used.iter().filter_map(|name| secrets.get(name).cloned()));
            file.services.push(read);
        }
        for (key, node) in entries(root.get("volumes"), "volumes")? {
            file.volumes.push(resource::volume(key, node));
        }
        for (key, node) in entries(root.get("networks"), "networks")? {
            file.networks.push(resource::network(key, node));
        }
        Ok(file)
    }

    /// Returns the services that read a file next to the compose file, or in a directory there,
    /// when they start: through a mount, an environment file, a secret or a config.
    ///
    /// Does not report changes of `.env`: compose itself sees what became of its variables.
    pub fn services_using_file(&self, relative_path: &str) -> Vec<String> {
        let path = normalise(relative_path);
        let uses = |used: &str| {
            let is_relative = !used.starts_with(['/', '~']);
            let used = normalise(used);
            is_relative && (is_within(&path, &used) || is_within(&used, &path))
        };
        self.names_of(|service| {
            service.env_files.iter().any(|file| uses(&file.value))
                || service.secret_files.iter().any(|file| uses(&file.value))
                || service
                    .mounts
                    .iter()
                    .any(|mount| matches!(&mount.source, MountSource::Bind(source) if uses(source)))
        })
    }

    /// Returns the services that mount the docker volume of this name.
    pub fn services_using_volume(&self, volume: &str) -> Vec<String> {
        let keys: Vec<&str> = self
            .volumes
            .iter()
            .filter(|declared| {
                declared.name.as_deref() == Some(volume)
                    || (declared.external && declared.external_name() == volume)
            })
            .map(|declared| declared.key.as_str())
            .collect();
        self.names_of(|service| {
            service.mounts.iter().any(|mount| {
                matches!(&mount.source, MountSource::Volume(key) if keys.contains(&key.as_str()))
            })
        })
    }

    fn names_of(&self, uses: impl Fn(&Service) -> bool) -> Vec<String> {
        self.services
            .iter()
            .filter(|s| uses(s))
            .map(|service| service.name.clone())
            .collect()
    }
}

/// Removes `.` and empty segments from a relative path; `.` alone becomes empty.
fn normalise(path: &str) -> String {
    let segments: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    segments.join("/")
}

/// Returns the entries of a top-level table, which may be empty.
fn entries<'a>(
    node: Option<&'a Node>,
    key: &str,
) -> Result<Vec<(&'a Key, &'a Node)>, ComposeError> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    Ok(node.map(key)?.iter().collect())
}

/// Returns the files of top-level secrets, by key.
fn files_of(node: Option<&Node>) -> BTreeMap<String, At<String>> {
    let Some(Value::Map(table)) = node.map(|node| &node.value) else {
        return BTreeMap::new();
    };
    let file = |node: &Node| {
        let file = node.get("file")?;
        Some(At {
            value: file.text()?.to_owned(),
            place: file.place,
        })
    };
    table
        .iter()
        .filter_map(|(key, node)| Some((key.name.clone(), file(node)?)))
        .collect()
}

/// Returns the secrets that a service lists, in the short or the long form.
fn names_in(node: &Node) -> Vec<String> {
    node.elements()
        .filter_map(|entry| entry.text().or_else(|| entry.get("source")?.text()))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests;
