//! One service of a compose file.

use super::{
    At, ComposeError, HostPort,
    node::{Map, Node, Value},
};

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
    pub published_ports: Vec<HostPort>,
    /// How many containers it wants, where it says so by `scale:`; docker-compose 1.x does not look
    /// at `deploy.replicas`.
    pub scale: Option<usize>,
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

/// Reads one service; `unset` are the variables of the whole file that nothing sets.
pub(super) fn read(
    name: &str,
    line: usize,
    service: &Map,
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
    let scale = service.get("scale").and_then(Node::number);
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
        scale: scale.and_then(|count| usize::try_from(count).ok()),
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
fn published(entry: &Node) -> Vec<HostPort> {
    let (address, range, protocol) = if let Value::Map(long) = &entry.value {
        let text = |key: &str| long.get(key).and_then(Node::text).unwrap_or_default();
        (text("host_ip"), text("published"), text("protocol"))
    } else {
        let text = entry.text().unwrap_or_default();
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let Some((host, _container)) = ports.rsplit_once(':') else {
            return Vec::new();
        };
        let (address, range) = host.rsplit_once(':').unwrap_or(("", host));
        (address.trim_matches(['[', ']']), range, protocol)
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
        return Vec::new();
    };
    let ports = first..=last;
    ports
        .map(|port| HostPort::new(address, port, protocol == "udp"))
        .collect()
}
