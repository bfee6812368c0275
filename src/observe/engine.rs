//! Parses what docker says of itself, of volumes, images, containers and networks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};

use super::{
    containers::{Attachment, Container, Mount, MountKind, Namespaces, Network, Pool, Shown},
    facts::{Docker, Image, Probed, Readings, Volume},
    listeners,
    parse::{Section, docker_arch},
    podman,
    redact::redact,
};
use crate::digest::Digest;

/// What docker says, section by section; each may be unknown on its own.
pub(super) struct Engine {
    pub(super) docker: Probed<Docker>,
    pub(super) volumes: Probed<BTreeMap<String, Volume>>,
    pub(super) images: Probed<BTreeMap<String, Image>>,
    pub(super) containers: Probed<BTreeMap<String, Container>>,
    pub(super) networks: Probed<BTreeMap<String, Network>>,
}

/// The engine as asked.
#[derive(Debug, Deserialize)]
pub(super) struct EngineLine {
    pub(super) version: String,
    pub(super) arch: String,
    #[serde(default)]
    pub(super) status: Option<Vec<Vec<String>>>,
    #[serde(default)]
    pub(super) root: String,
    /// Only podman's own program says so.
    #[serde(default)]
    pub(super) podman: bool,
    #[serde(default)]
    pub(super) runtimes: Vec<Option<String>>,
}

/// A volume as asked.
#[derive(Debug, Deserialize)]
pub(super) struct VolumeLine {
    pub(super) name: String,
    pub(super) driver: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) options: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) owner: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) project: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) key: String,
    /// The names of its labels.
    #[serde(default)]
    pub(super) labels: Vec<Option<String>>,
}

/// An image as asked.
#[derive(Debug, Deserialize)]
pub(super) struct ImageLine {
    pub(super) id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) tags: BTreeSet<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) layers: Vec<Digest>,
    pub(super) arch: String,
    pub(super) os: String,
}

/// A container as asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerLine {
    /// Of the first process; 0 where none runs.
    pub(super) pid: u32,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) image_ref: String,
    pub(super) status: String,
    pub(super) exit_code: i64,
    pub(super) out_of_memory: bool,
    pub(super) restarts: u64,
    #[serde(deserialize_with = "or_default")]
    pub(super) health: String,
    pub(super) restart_policy: String,
    pub(super) restart_limit: u32,
    pub(super) project: String,
    pub(super) service: String,
    pub(super) number: String,
    pub(super) working_dir: String,
    pub(super) config_files: String,
    pub(super) config_hash: String,
    pub(super) one_off: String,
    /// Names alone, in recordings of older versions.
    pub(super) volumes: BTreeSet<String>,
    pub(super) mounts: Vec<MountLine>,
    #[serde(deserialize_with = "or_default")]
    pub(super) networks: BTreeMap<String, Option<AttachmentLine>>,
    pub(super) network: String,
    pub(super) pid_mode: String,
    pub(super) ipc_mode: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) ports: BTreeMap<String, Option<Vec<listeners::Binding>>>,
}

/// A mount, in docker's words.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct MountLine {
    #[serde(rename = "Type")]
    kind: String,
    name: String,
    source: String,
    destination: String,
    #[serde(rename = "RW")]
    read_write: bool,
}

/// A container's end of a network.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AttachmentLine {
    #[serde(alias = "NetworkID")]
    id: String,
    #[serde(alias = "Aliases", deserialize_with = "or_default")]
    aliases: BTreeSet<String>,
}

/// A network as asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NetworkLine {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) driver: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) options: BTreeMap<String, String>,
    pub(super) ipam_driver: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) pools: Vec<PoolLine>,
    pub(super) internal: bool,
    pub(super) attachable: bool,
    pub(super) ipv6: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) project: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) key: String,
}

/// An address pool, in docker's words.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct PoolLine {
    subnet: String,
    gateway: String,
    #[serde(rename = "IPRange")]
    range: String,
}

/// Docker writes `null` for what is empty.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// What docker's sections say. Only those who hold a container's process know how long it has run.
pub(super) fn engine<'a>(
    section: impl Fn(&'static str) -> Option<Section<'a>>,
    readings: &mut Readings,
) -> Result<Engine, &'static str> {
    let needed = |name| section(name).ok_or(name);
    let docker = docker(&needed("docker")?);
    let is_podman = docker.known().is_some_and(|docker| docker.podman.is_some());
    let volumes = needed("volumes")?.json_lines("docker volume inspect");
    let images = needed("images")?.json_lines("docker image inspect");
    let containers = needed("containers")?;
    let started = started_after(containers.text);
    let containers = containers.json_lines("docker container inspect");
    // Recordings of older versions have none.
    let networks = match section("networks") {
        Some(networks) => networks.json_lines("docker network inspect"),
        None => Err("it was not asked".to_owned()),
    };
    let mut engine = Engine {
        docker,
        volumes: volumes.map(|lines| all(lines, volume)).into(),
        images: images
            .map(|lines| all(lines, |line| image(line, is_podman)))
            .into(),
        containers: containers
            .map(|lines| all(lines, |line| container(line, &started, readings)))
            .into(),
        networks: networks.map(|lines| all(lines, network)).into(),
    };
    engine.connect();
    Ok(engine)
}

fn all<L, T>(lines: Vec<L>, one: impl FnMut(L) -> (String, T)) -> BTreeMap<String, T> {
    lines.into_iter().map(one).collect()
}

impl Engine {
    /// Tells of mounts and networks what only the other listings know.
    fn connect(&mut self) {
        let Probed::Known(containers) = &mut self.containers else {
            return;
        };
        if let Probed::Known(volumes) = &self.volumes {
            let mounts = containers.values_mut().flat_map(|c| c.mounts.values_mut());
            for mount in mounts.filter(|mount| mount.kind == MountKind::Volume) {
                mount.anonymous |= volumes.get(&mount.name).is_some_and(|v| v.anonymous);
            }
        }
        if let Probed::Known(networks) = &mut self.networks {
            for (id, container) in &*containers {
                for attachment in container.networks.values() {
                    if let Some(network) = networks.get_mut(&attachment.id) {
                        network.used_by.insert(id.clone());
                    }
                }
            }
        }
    }
}

fn docker(section: &Section<'_>) -> Probed<Docker> {
    let lines = match section.json_lines::<EngineLine>("docker info") {
        Ok(lines) => lines,
        Err(reason) => return Probed::Unknown(reason),
    };
    match lines.into_iter().next() {
        // With the engine down, `docker info` prints an empty answer and still may exit 0.
        Some(line) if !line.version.is_empty() => Probed::Known(Docker {
            version: line.version,
            arch: docker_arch(&line.arch).to_owned(),
            containerd_store: line
                .status
                .iter()
                .flatten()
                .flatten()
                .any(|word| word.starts_with("io.containerd.snapshotter")),
            podman: podman::of(line.podman, &line.root),
            runtimes: line.runtimes.into_iter().flatten().collect(),
        }),
        _ => Probed::Unknown(section.reason("docker info")),
    }
}

/// Docker's label of anonymous volumes (since 24.0).
const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// Whether docker made up a volume's name: 64 hex digits.
fn is_made_up(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn volume(line: VolumeLine) -> (String, Volume) {
    let mut labels = line.labels.iter().flatten();
    let is_labelled = labels.any(|label| label == ANONYMOUS);
    let volume = Volume {
        driver: line.driver,
        options: redact(line.options),
        owner: Some(line.owner).filter(|owner| !owner.is_empty()),
        project: line.project,
        key: line.key,
        anonymous: is_labelled || is_made_up(&line.name),
    };
    (line.name, volume)
}

fn image(line: ImageLine, is_podman: bool) -> (String, Image) {
    let mut tags = line.tags;
    if is_podman {
        tags = tags.iter().map(|tag| podman::bare(tag)).collect();
    }
    let image = Image {
        tags,
        layers: line.layers,
        arch: line.arch,
        os: line.os,
    };
    (podman::whole_id(line.id), image)
}

fn container(
    line: ContainerLine,
    started: &BTreeMap<u32, u64>,
    readings: &mut Readings,
) -> (String, Container) {
    let id = line.id;
    if let Some(after) = started.get(&line.pid) {
        let uptime = readings.uptime.saturating_sub(*after);
        readings.container_uptime.insert(id.clone(), uptime);
    }
    // Podman says an empty word where there is no health check.
    if !line.health.is_empty() {
        readings.health.insert(id.clone(), line.health);
    }
    if line.restarts > 0 {
        readings.restarts.insert(id.clone(), line.restarts);
    }
    if line.out_of_memory {
        readings.out_of_memory.insert(id.clone());
    }
    let mounts = line.mounts.into_iter().map(mount);
    let mounts: BTreeMap<String, Mount> = mounts.collect();
    let mut volumes = line.volumes;
    volumes.extend(mounts.values().map(|mount| mount.name.clone()));
    volumes.remove(""); // a plain bind mount has no volume's name
    let networks = line.networks.into_iter();
    let container = Container {
        name: line.name.trim_start_matches('/').to_owned(),
        image: podman::whole_id(line.image),
        image_ref: line.image_ref,
        status: line.status,
        exit_code: line.exit_code,
        restart_policy: line.restart_policy,
        restart_limit: line.restart_limit,
        project: line.project,
        service: line.service,
        number: line.number.parse().unwrap_or(0),
        working_dir: line.working_dir,
        config_files: line.config_files,
        config_hash: line.config_hash,
        one_off: line.one_off == "True",
        volumes,
        mounts,
        networks: networks
            .filter_map(|(name, end)| Some((name, attachment(end?, &id))))
            .collect(),
        host_network: line.network == "host",
        namespaces: Namespaces {
            network: line.network,
            pid: line.pid_mode,
            ipc: line.ipc_mode,
        },
        published: listeners::published(&line.ports),
        ports: listeners::bound(line.ports),
    };
    (id, container)
}

fn mount(line: MountLine) -> (String, Mount) {
    let kind = match line.kind.as_str() {
        "bind" => MountKind::Bind,
        "volume" => MountKind::Volume,
        "tmpfs" => MountKind::Tmpfs,
        _ => MountKind::Other,
    };
    let mount = Mount {
        kind,
        anonymous: kind == MountKind::Volume && is_made_up(&line.name),
        name: line.name,
        source: line.source,
        read_write: line.read_write,
        shown: Shown::Unknown,
    };
    (line.destination, mount)
}

/// Docker gives each container the first digits of its id for a name.
fn attachment(line: AttachmentLine, id: &str) -> Attachment {
    let mut aliases = line.aliases;
    aliases.retain(|alias| alias.len() < 12 || !id.starts_with(alias.as_str()));
    Attachment {
        id: line.id,
        aliases,
    }
}

fn network(line: NetworkLine) -> (String, Network) {
    let pools = line.pools.into_iter().map(|pool| Pool {
        subnet: pool.subnet,
        gateway: pool.gateway,
        range: pool.range,
    });
    let network = Network {
        name: line.name,
        driver: line.driver,
        project: line.project,
        key: line.key,
        options: redact(line.options),
        pools: pools.collect(),
        internal: line.internal,
        attachable: line.attachable,
        ipv6: line.ipv6,
        ipam_driver: line.ipam_driver,
        used_by: BTreeSet::new(),
    };
    (line.id, network)
}

/// Seconds from boot to each process's start, by its id, from lines `started PID TICKS`.
fn started_after(text: &str) -> BTreeMap<u32, u64> {
    /// Of the clock that Linux shows to programs, whatever the kernel's own one is.
    const TICKS_PER_SECOND: u64 = 100;
    text.lines()
        .filter_map(|line| {
            let (pid, ticks) = line.strip_prefix("started ")?.split_once(' ')?;
            Some((
                pid.parse().ok()?,
                ticks.parse::<u64>().ok()? / TICKS_PER_SECOND,
            ))
        })
        .collect()
}
