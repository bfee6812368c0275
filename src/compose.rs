//! Reads the few keys of a compose file that matter to a deployment, tolerant about all others.
//!
//! Must not judge: what a manifest and a VPU make of these keys is decided elsewhere.

mod interpolate;
mod node;

use std::collections::BTreeMap;

pub use interpolate::{Environment, parse_env};
use node::{Node, Value};

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

/// The file format that a compose file says it is written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// As written, `2.4`.
    pub text: String,
    /// Whether it is a string; docker-compose takes no number.
    pub is_string: bool,
    /// The line.
    pub line: usize,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its line.
    pub line: usize,
    /// Its image.
    pub image: Option<At<String>>,
    /// Variables without a value in its image.
    pub unset_in_image: Vec<String>,
    /// Its container's name, where one is chosen.
    pub container_name: Option<String>,
    /// Its restart policy: `always`, `unless-stopped`, `on-failure[:n]` or `no`, the default.
    pub restart: Option<String>,
    /// Files with environment variables.
    pub env_files: Vec<At<String>>,
    /// What is mounted into it.
    pub mounts: Vec<Mount>,
    /// The line of `build:`.
    pub build: Option<usize>,
    /// The line of `profiles:`.
    pub profiles: Option<usize>,
    /// The line of `extends:`, which may bring an image from elsewhere.
    pub extends: Option<usize>,
    /// Its network mode.
    pub network_mode: Option<String>,
    /// Its container runtime, as `nvidia`.
    pub runtime: Option<At<String>>,
    /// The ports it takes on the VPU.
    pub published_ports: Vec<u16>,
    /// How many containers it wants, where it says so.
    pub replicas: Option<u64>,
    /// Files of top-level secrets and configs that it uses.
    pub secret_files: Vec<String>,
}

/// Something mounted into a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
    /// The line.
    pub line: usize,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A path on the VPU: absolute, below `~`, or relative to the project's directory.
    Bind(String),
    /// A volume, by its key among the top-level volumes.
    Volume(String),
    /// A volume without a name, or memory.
    Anonymous,
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
            version: root.get("version").and_then(version),
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
            let mut read = read_service(key, line, service, &unset)?;
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

fn version(node: &Node) -> Option<Version> {
    let (text, is_string) = match &node.value {
        Value::String(text) => (text.clone(), true),
        Value::Other(text) => (text.clone(), false),
        _ => return None,
    };
    Some(Version {
        text,
        is_string,
        line: node.line,
    })
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

fn read_service(
    name: &str,
    line: usize,
    service: &node::Map,
    unset: &[(String, usize)],
) -> Result<Service, ComposeError> {
    let text = |key: &str| service.get(key).and_then(Node::text).map(str::to_owned);
    let at = |key: &str| {
        let node = service.get(key)?;
        Some(At {
            value: node.text()?.to_owned(),
            line: node.line,
        })
    };
    let image = at("image");
    let unset_in_image = match &image {
        Some(image) => unset
            .iter()
            .filter(|(_, line)| *line == image.line)
            .map(|(n, _)| n.clone())
            .collect(),
        None => Vec::new(),
    };
    let mut mounts = Vec::new();
    for entry in service.get("volumes").into_iter().flat_map(Node::elements) {
        mounts.push(read_mount(name, entry)?);
    }
    let env_files = service
        .get("env_file")
        .into_iter()
        .flat_map(Node::one_or_many)
        .filter_map(|entry| {
            let path = entry.text().or_else(|| entry.get("path")?.text())?;
            Some(At {
                value: path.to_owned(),
                line: entry.line,
            })
        })
        .collect();
    let replicas = service
        .get("deploy")
        .and_then(|deploy| deploy.get("replicas"))
        .or_else(|| service.get("scale"))
        .and_then(Node::number);
    Ok(Service {
        name: name.to_owned(),
        line,
        unset_in_image,
        container_name: text("container_name"),
        restart: text("restart"),
        env_files,
        mounts,
        build: service.line_of("build"),
        profiles: service.line_of("profiles"),
        extends: service.line_of("extends"),
        network_mode: text("network_mode"),
        runtime: at("runtime"),
        published_ports: service
            .get("ports")
            .into_iter()
            .flat_map(Node::elements)
            .flat_map(published)
            .collect(),
        replicas,
        secret_files: Vec::new(),
        image,
    })
}

fn read_mount(service: &str, entry: &Node) -> Result<Mount, ComposeError> {
    let source = match &entry.value {
        Value::String(short) => match short.split_once(':') {
            Some((source, _)) => mount_source(source),
            None => MountSource::Anonymous,
        },
        Value::Map(long) => {
            let source = long
                .get("source")
                .or_else(|| long.get("src"))
                .and_then(Node::text);
            match (long.get("type").and_then(Node::text), source) {
                (Some("bind"), Some(source)) => MountSource::Bind(source.to_owned()),
                (Some("volume"), Some(source)) => MountSource::Volume(source.to_owned()),
                (None, Some(source)) => mount_source(source),
                _ => MountSource::Anonymous,
            }
        }
        _ => {
            return Err(ComposeError::Shape {
                key: format!("services.{service}.volumes"),
                expected: "strings or tables",
                line: entry.line,
            });
        }
    };
    Ok(Mount {
        source,
        line: entry.line,
    })
}

/// In the short form only what looks like a path is one.
fn mount_source(text: &str) -> MountSource {
    if text.starts_with(['.', '/', '~']) {
        MountSource::Bind(text.to_owned())
    } else {
        MountSource::Volume(text.to_owned())
    }
}

/// The ports on the VPU of one entry of `ports:`: `8080:80`, `127.0.0.1:8080-8081:80-81/tcp`, or a
/// table; a port that docker chooses is none.
fn published(entry: &Node) -> Vec<u16> {
    let range = if let Value::Map(long) = &entry.value {
        long.get("published")
            .and_then(Node::text)
            .unwrap_or_default()
    } else {
        let text = entry.text().unwrap_or_default();
        let text = text.split_once('/').map_or(text, |(ports, _)| ports);
        text.rsplit(':').nth(1).unwrap_or_default()
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) => (first..=last).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
