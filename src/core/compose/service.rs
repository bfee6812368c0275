//! A service of a compose file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    At, ComposeError, HostPort, Limits, Place, Release, limits,
    node::{Map, Node, Value},
};
use crate::{digest::Digest, restart_policy::RestartPolicy};

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The place of its key.
    pub place: Place,
    /// Its image.
    pub image: Option<At<String>>,
    /// Unset variables in its image.
    pub unset_in_image: Vec<String>,
    /// Its container's name, if specified.
    pub container_name: Option<At<String>>,
    /// Its restart policy, if specified.
    pub restart: Option<RestartPolicy>,
    /// Files with environment variables.
    pub env_files: Vec<At<String>>,
    /// Its mounts.
    pub mounts: Vec<Mount>,
    /// The place of `build:`.
    pub build: Option<Place>,
    /// The place of `profiles:`.
    pub profiles: Option<Place>,
    /// The place of `extends:`, which may bring an image from another file.
    pub extends: Option<Place>,
    /// Its network mode.
    pub network_mode: Option<String>,
    /// The process namespace that it uses: `host`, `service:NAME` or `container:NAME`.
    #[serde(default)]
    pub pid: Option<String>,
    /// The keys of its networks: `default` if it names none, and empty if it has a network mode.
    #[serde(default)]
    pub networks: Vec<String>,
    /// Its container runtime, e.g. `nvidia`.
    pub runtime: Option<At<String>>,
    /// The ports that it publishes on the VPU.
    pub published_ports: Vec<At<HostPort>>,
    /// The number of containers by `scale:`.
    pub scale: Option<usize>,
    /// The number of containers by `deploy.replicas`, in the mode `replicated`.
    /// [`Service::containers`] returns the effective number.
    pub replicas: Option<usize>,
    /// Files of the top-level secrets that it uses; docker-compose ignores configs.
    pub secret_files: Vec<At<String>>,
    /// Seconds after a start within which docker reports its containers
    /// as healthy or unhealthy, if the compose file specifies any part
    /// of their health check; docker's defaults fill in the rest.
    #[serde(default)]
    pub health_seconds: Option<u64>,
    /// Seconds that its containers may take to stop, rounded up (`stop_grace_period`).
    pub stop_seconds: Option<u64>,
    /// Limits on its containers' use of the VPU; `None` if
    /// it depends on docker-compose which ones count.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// Digest of everything that it specifies except `scale:`, with variables replaced.
    pub definition: Digest,
}

/// A mount of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
    /// The path in the container, if specified.
    pub target: Option<String>,
    /// The place of the mount.
    pub place: Place,
}

impl Service {
    /// Returns the number of containers that docker-compose
    /// creates: 1.25.4 ignores `deploy.replicas`.
    pub fn containers(&self, release: Release) -> usize {
        let replicas = self.replicas.filter(|_| release.reads_replicas());
        self.scale.or(replicas).unwrap_or(1)
    }
}

/// The source of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A path on the VPU: absolute, below `~`, or relative to the project's directory.
    Bind(String),
    /// A volume, by its key among the top-level volumes.
    Volume(String),
    /// A volume without a name.
    Anonymous,
    /// Memory (`tmpfs`).
    Memory,
}

/// Reads a service; `unset` are the variables of the whole file that are not set.
pub(super) fn read(
    name: &str,
    place: Place,
    service: &Map,
    unset: &[At<String>],
) -> Result<Service, ComposeError> {
    let text = |key: &str| service.get(key).and_then(Node::text).map(str::to_owned);
    let at = |key: &str| {
        let node = service.get(key)?;
        Some(At {
            value: node.text()?.to_owned(),
            place: node.place,
        })
    };
    let image = at("image");
    let unset_in_image = match &image {
        Some(image) => unset
            .iter()
            .filter(|variable| variable.place == image.place)
            .map(|variable| variable.value.clone())
            .collect(),
        None => Vec::new(),
    };
    let mut mounts = Vec::new();
    for entry in service.get("volumes").into_iter().flat_map(Node::elements) {
        mounts.push(read_mount(name, entry)?);
    }
    for entry in service.get("tmpfs").into_iter().flat_map(Node::one_or_many) {
        let text = entry.text().unwrap_or_default();
        let target = text.split(':').next().unwrap_or_default();
        mounts.push(Mount {
            source: MountSource::Memory,
            target: Some(target.to_owned()),
            place: entry.place,
        });
    }
    let env_files = service
        .get("env_file")
        .into_iter()
        .flat_map(Node::one_or_many)
        .filter_map(|entry| {
            let path = entry.text().or_else(|| entry.get("path")?.text())?;
            Some(At {
                value: path.to_owned(),
                place: entry.place,
            })
        })
        .collect();
    let count = |node: &Node| usize::try_from(node.number()?).ok();
    // docker-compose recreates no container because their number changes.
    let mut alone = service.clone();
    alone.remove("scale");
    let mut canonical = String::new();
    alone.write(&mut canonical);
    Ok(Service {
        name: name.to_owned(),
        place,
        unset_in_image,
        container_name: at("container_name"),
        restart: text("restart").map(RestartPolicy::from),
        env_files,
        mounts,
        build: service.place_of("build"),
        profiles: service.place_of("profiles"),
        extends: service.place_of("extends"),
        network_mode: text("network_mode"),
        pid: text("pid"),
        networks: networks(service),
        runtime: at("runtime"),
        published_ports: service
            .get("ports")
            .into_iter()
            .flat_map(Node::elements)
            .flat_map(published)
            .collect(),
        scale: service.get("scale").and_then(count),
        replicas: service
            .get("deploy")
            .filter(|deploy| {
                let mode = deploy.get("mode").and_then(Node::text);
                mode.is_none_or(|mode| mode == "replicated")
            })
            .and_then(|deploy| {
                let placement = deploy.get("placement");
                let most = placement.and_then(|p| p.get("max_replicas_per_node"));
                let most = most.and_then(count).unwrap_or(usize::MAX);
                Some(count(deploy.get("replicas")?)?.min(most))
            }),
        secret_files: Vec::new(),
        health_seconds: service
            .get("healthcheck")
            .and_then(Node::as_map)
            .and_then(health_seconds),
        stop_seconds: text("stop_grace_period").and_then(|period| seconds(&period)),
        limits: limits::limits(service),
        definition: Digest::of(canonical),
        image,
    })
}

/// Returns the keys of a service's networks.
fn networks(service: &Map) -> Vec<String> {
    if service.get("network_mode").is_some() {
        return Vec::new();
    }
    match service.get("networks").map(|node| &node.value) {
        None | Some(Value::Null) => vec!["default".to_owned()],
        Some(Value::Map(table)) => table.iter().map(|(key, _)| key.name.clone()).collect(),
        Some(Value::List(list)) => list
            .iter()
            .filter_map(|node| Some(node.text()?.to_owned()))
            .collect(),
        Some(_) => Vec::new(),
    }
}

/// Returns the start period plus the probes that may fail, each with its interval and timeout.
fn health_seconds(check: &Map) -> Option<u64> {
    let is_none = |node: &Node| node.elements().next().and_then(Node::text) == Some("NONE");
    if check.get("test").is_some_and(is_none) || check.get("disable").is_some_and(Node::is_true) {
        return None;
    }
    let time = |key: &str| check.get(key).and_then(Node::text).and_then(seconds);
    let retries = check.get("retries").and_then(Node::number);
    let retries = retries.filter(|retries| *retries > 0).unwrap_or(3);
    let probe = time("interval").unwrap_or(30) + time("timeout").unwrap_or(30);
    let start = time("start_period").unwrap_or(0);
    Some(retries.saturating_mul(probe).saturating_add(start))
}

/// Parses a period such as `1m30s` or `500ms` into whole seconds, rounded up.
fn seconds(period: &str) -> Option<u64> {
    let period: Duration = humantime::parse_duration(period).ok()?;
    Some(period.as_secs() + u64::from(period.subsec_nanos() > 0))
}

fn read_mount(service: &str, entry: &Node) -> Result<Mount, ComposeError> {
    let (source, target) = match &entry.value {
        Value::String(short) => match short.split_once(':') {
            Some((source, rest)) => {
                let target = rest.split(':').next().unwrap_or_default();
                (mount_source(source), Some(target.to_owned()))
            }
            None => (MountSource::Anonymous, Some(short.clone())),
        },
        Value::Map(long) => {
            let text = |key: &str| long.get(key).and_then(Node::text);
            let source = text("source").or_else(|| text("src"));
            let source = match (text("type"), source) {
                (Some("bind"), Some(source)) => MountSource::Bind(source.to_owned()),
                (Some("volume"), Some(source)) => MountSource::Volume(source.to_owned()),
                (None, Some(source)) => mount_source(source),
                (Some("tmpfs"), _) => MountSource::Memory,
                _ => MountSource::Anonymous,
            };
            (source, text("target").map(str::to_owned))
        }
        _ => {
            return Err(ComposeError::Shape {
                key: format!("services.{service}.volumes"),
                expected: "strings or tables",
                place: entry.place,
            });
        }
    };
    Ok(Mount {
        source,
        target,
        place: entry.place,
    })
}

/// In the short form, only what looks like a path is a path.
fn mount_source(text: &str) -> MountSource {
    if text.starts_with(['.', '/', '~']) {
        MountSource::Bind(text.to_owned())
    } else {
        MountSource::Volume(text.to_owned())
    }
}

/// Returns the ports on the VPU of an entry of `ports:`: `8080:80`,
/// `127.0.0.1:8080-8081:80-81/tcp`, or a table. A port that docker chooses is left out.
fn published(entry: &Node) -> Vec<At<HostPort>> {
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
        .map(|port| At {
            value: HostPort::new(address, port, protocol == "udp"),
            place: entry.place,
        })
        .collect()
}
