//! Reads compose files as docker-compose 1.25.4 and 1.29.2 do: the few keys that matter to a
//! deployment, tolerant about all others, and beside them what docker-compose would refuse.
//!
//! Must not look at a manifest or a VPU: what they make of these keys is decided elsewhere.

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

/// A compose file, its variables replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposeFile {
    /// `version:`, where it is given.
    pub version: Option<Version>,
    /// Where a top-level `name:` stands.
    pub name: Option<Place>,
    /// The services, in the order of the file.
    pub services: Vec<Service>,
    /// The top-level volumes.
    pub volumes: Vec<Volume>,
    /// The top-level networks.
    pub networks: Vec<Network>,
    /// Variables without a default that the environment does not set; compose makes them empty.
    pub unset: Vec<At<String>>,
}

/// Where something stands in a project's files.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Place {
    /// Which of the files, counted from 0; the first is the compose file itself.
    pub file: usize,
    /// The line, counted from 1.
    pub line: usize,
    /// The first byte.
    pub start: usize,
    /// The byte behind the last.
    pub end: usize,
}

/// A value and where it stands.
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
    /// It is not YAML, or far beyond what a compose file needs.
    #[error("{message}")]
    Yaml {
        /// What is wrong.
        message: String,
        /// Where, if that is known.
        place: Option<Place>,
    },
    /// A key is there twice.
    #[error("`{key}` is defined twice; docker-compose would use the second and ignore the first")]
    Duplicate {
        /// The key.
        key: String,
        /// Where it is there again.
        place: Place,
        /// Where it is there first.
        earlier: Place,
    },
    /// A key does not have the shape that compose wants.
    #[error("`{key}` takes {expected}")]
    Shape {
        /// The key, as `services.web`.
        key: String,
        /// What it takes.
        expected: &'static str,
        /// Where.
        place: Place,
    },
    /// A `$` is followed by nothing that compose knows.
    #[error("`{text}` has an invalid `$`; write `$$` for a dollar sign")]
    Variable {
        /// The string.
        text: String,
        /// Where.
        place: Place,
    },
}

impl ComposeError {
    /// Where, if that is known.
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
    /// Reads a compose file whose variables nothing sets.
    ///
    /// # Errors
    /// It is not YAML, or the keys that matter have no shape that compose takes.
    pub fn parse(text: &str) -> Result<Self, ComposeError> {
        Self::parse_with(text, &Environment::new())
    }

    /// Reads a compose file, its variables set by `environment` (the project's `.env`).
    ///
    /// # Errors
    /// Those of [`ComposeFile::parse`].
    pub fn parse_with(text: &str, environment: &Environment) -> Result<Self, ComposeError> {
        let mut root = yaml::parse(text, 0)?;
        let unset = interpolate::interpolate(&mut root, environment)?;
        Self::of(&root, unset)
    }

    /// Reads what `docker-compose config` prints: everything resolved, environment files put into `environment`.
    /// Of the services in `apart` the environment does not count in [`Service::definition`].
    ///
    /// # Errors
    /// Those of [`ComposeFile::parse`].
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

    /// The keys that matter of a tree whose variables are replaced.
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

    /// The services that read a file beside the compose file, or of a directory there, when they
    /// start: through a mount, an environment file, a secret or a config.
    ///
    /// A change of `.env` is not meant: compose itself sees what became of its variables.
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

    /// The services that mount a docker volume, by docker's name of it.
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

/// A relative path without `.` and empty segments; `.` alone is empty.
fn normalise(path: &str) -> String {
    let segments: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    segments.join("/")
}

/// Whether a normalised path is another one or below it.
fn is_within(path: &str, directory: &str) -> bool {
    directory.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The entries of a top-level table, which may be left empty.
fn entries<'a>(
    node: Option<&'a Node>,
    key: &str,
) -> Result<Vec<(&'a Key, &'a Node)>, ComposeError> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    Ok(node.map(key)?.iter().collect())
}

/// The files of top-level secrets, by key.
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

/// The secrets that a service lists, in the short form or the long.
fn names_in(node: &Node) -> Vec<String> {
    node.elements()
        .filter_map(|entry| entry.text().or_else(|| entry.get("source")?.text()))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests;
