//! Reads the few keys of a compose file that matter to a deployment, tolerant about all others.
//!
//! Must not judge: what a manifest and a VPU make of these keys is decided elsewhere.

mod interpolate;
mod node;
mod port;
mod service;
mod version;

use std::collections::BTreeMap;

pub use interpolate::{Environment, parse_env};
use node::{Node, Value};
pub use port::HostPort;
pub use service::{Mount, MountSource, Service};
pub use version::{Refused, Version, refused_by_old};

/// A compose file, its variables replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ComposeFile {
    /// `version:`, where it is given.
    pub version: Option<Version>,
    /// The line of a top-level `name:`.
    pub name: Option<usize>,
    /// The services, in the order of the file.
    pub services: Vec<Service>,
    /// The top-level volumes.
    pub volumes: Vec<Volume>,
    /// The top-level networks.
    pub networks: Vec<Network>,
    /// Variables without a default that the environment does not set; compose makes them empty.
    pub unset: Vec<At<String>>,
}

/// A value and the line where it stands, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// The line.
    pub line: usize,
}

/// A top-level volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// What services call it.
    pub key: String,
    /// What docker calls it, where that is given.
    pub name: Option<String>,
    /// Whether compose expects it to exist.
    pub external: bool,
    /// The line.
    pub line: usize,
}

impl Volume {
    /// What docker calls an external volume.
    pub fn external_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.key)
    }
}

/// A top-level network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// What services call it.
    pub key: String,
    /// What docker calls it, where that is given.
    pub name: Option<String>,
    /// Whether compose expects it to exist.
    pub external: bool,
    /// The line.
    pub line: usize,
}

/// Why a compose file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// It is not YAML, or far beyond what a compose file needs.
    #[error("{message}")]
    Yaml {
        /// What is wrong.
        message: String,
        /// The line, where one is known.
        line: Option<usize>,
    },
    /// A key does not have the shape that compose wants.
    #[error("`{key}` takes {expected}")]
    Shape {
        /// The key, as `services.web`.
        key: String,
        /// What it takes.
        expected: &'static str,
        /// The line.
        line: usize,
    },
    /// A `$` is followed by nothing that compose knows.
    #[error("`{text}` has an invalid `$`; write `$$` for a dollar sign")]
    Variable {
        /// The string.
        text: String,
        /// The line.
        line: usize,
    },
}

impl ComposeError {
    /// The line, where one is known.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Yaml { line, .. } => *line,
            Self::Shape { line, .. } | Self::Variable { line, .. } => Some(*line),
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
        let mut root = node::parse(text)?;
        let unset = interpolate::interpolate(&mut root, environment)?;
        let root = root.map("the file")?;
        let mut file = Self {
            version: root.get("version").and_then(version::read),
            name: root.line_of("name"),
            unset: unset
                .iter()
                .map(|(name, line)| At {
                    value: name.clone(),
                    line: *line,
                })
                .collect(),
            ..Self::default()
        };
        let secrets = files_of(root.get("secrets"));
        let configs = files_of(root.get("configs"));
        for (key, line, node) in entries(root.get("services"), "services")? {
            let service = node.map(&format!("services.{key}"))?;
            let mut read = service::read(key, line, service, &unset)?;
            for (kind, files) in [("secrets", &secrets), ("configs", &configs)] {
                let used = service.get(kind).map(names_in).unwrap_or_default();
                read.secret_files
                    .extend(used.iter().filter_map(|name| files.get(name).cloned()));
            }
            file.services.push(read);
        }
        for (key, line, node) in entries(root.get("volumes"), "volumes")? {
            let (name, external) = external(node);
            file.volumes.push(Volume {
                key: key.to_owned(),
                name,
                external,
                line,
            });
        }
        for (key, line, node) in entries(root.get("networks"), "networks")? {
            let (name, external) = external(node);
            file.networks.push(Network {
                key: key.to_owned(),
                name,
                external,
                line,
            });
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
                || service.secret_files.iter().any(|file| uses(file))
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
) -> Result<Vec<(&'a str, usize, &'a Node)>, ComposeError> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    Ok(node.map(key)?.iter().collect())
}

/// Name and externality of a top-level volume or network, in the old form and the new.
fn external(node: &Node) -> (Option<String>, bool) {
    let Value::Map(table) = &node.value else {
        return (None, false);
    };
    let name = |node: &Node| node.get("name").and_then(Node::text).map(str::to_owned);
    let (old_name, is_external) = match table.get("external") {
        Some(external) if matches!(external.value, Value::Map(_)) => (name(external), true),
        Some(external) => (None, external.is_true()),
        None => (None, false),
    };
    (name(node).or(old_name), is_external)
}

/// The files of top-level secrets or configs, by key.
fn files_of(node: Option<&Node>) -> BTreeMap<String, String> {
    let Some(Value::Map(table)) = node.map(|node| &node.value) else {
        return BTreeMap::new();
    };
    table
        .iter()
        .filter_map(|(key, _, node)| Some((key.to_owned(), node.get("file")?.text()?.to_owned())))
        .collect()
}

/// The secrets or configs that a service lists, in the short form or the long.
fn names_in(node: &Node) -> Vec<String> {
    node.elements()
        .filter_map(|entry| entry.text().or_else(|| entry.get("source")?.text()))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests;
