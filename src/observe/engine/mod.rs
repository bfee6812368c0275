//! Queries docker about itself, volumes, images, containers and networks: over its API if that can
//! be reached, otherwise with its client.

mod api;
mod http;
mod lines;
mod podman;
mod running;

use std::collections::{BTreeMap, BTreeSet};

use o3r_core::{architecture::Architecture, restart_policy::RestartPolicy};

pub(super) use self::lines::Lines;
pub use self::running::RUNNING_NAME;
use self::{
    lines::{
        AttachmentLine, ContainerLine, EngineLine, ImageLine, MountLine, NetworkLine, VolumeLine,
    },
    running::Running,
};
use super::{
    Attachment, Container, Docker, Image, Mount, MountKind, Namespaces, Network, Pool, Probed,
    Readings, Shown, Volume, listeners, parse::find,
};
use crate::{
    host::{Host, HostError, Stdin},
    redact::redact,
    shell::Argv,
};

/// The script that runs docker's client, for any POSIX shell.
const SCRIPT: &str = include_str!("docker.sh");

/// The script's `$0`, by which an in-memory VPU recognises it.
pub const DOCKER_NAME: &str = "o3r-docker";

/// Queries docker.
///
/// # Errors
/// The connection is lost.
pub(super) async fn ask<H: Host>(host: &H, nonce: &str) -> Result<Lines, HostError> {
    let mut lines = match api::ask(host).await {
        Some(lines) => lines,
        None => by_client(host, nonce).await?,
    };
    lines.running = running::ask(host, nonce, &lines).await?;
    Ok(lines)
}

/// Queries docker with templates of its client, if there is no API.
async fn by_client<H: Host>(host: &H, nonce: &str) -> Result<Lines, HostError> {
    let command = Argv::script(SCRIPT, DOCKER_NAME, [nonce]);
    let output = host.run(&command, Stdin::Empty).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = Lines::of_sections(|name| find(&text, nonce, name));
    Ok(lines.unwrap_or_else(|section| {
        let tail = output.tail(3);
        Lines::unknown(&format!(
            "docker's client exited with code {} before it reported {section}: {tail}",
            output.code
        ))
    }))
}

/// Docker's answers as facts; each part may be unknown separately.
pub(super) struct Engine {
    pub(super) docker: Probed<Docker>,
    pub(super) volumes: Probed<BTreeMap<String, Volume>>,
    pub(super) images: Probed<BTreeMap<String, Image>>,
    pub(super) containers: Probed<BTreeMap<String, Container>>,
    pub(super) networks: Probed<BTreeMap<String, Network>>,
    /// The names of images that docker lists and cannot inspect, and that no container uses; they count as missing.
    pub(super) unusable_images: BTreeMap<String, BTreeSet<String>>,
}

impl Engine {
    /// Converts docker's answers.
    pub(super) fn of(lines: Lines, readings: &mut Readings) -> Self {
        let running = &lines.running;
        readings.docker_disk.clone_from(&running.disk);
        let bound: BTreeMap<String, String> = lines.bound_volumes().collect();
        let is_podman = lines
            .docker
            .as_ref()
            .is_ok_and(|line| podman::podman(line.podman, &line.root).is_some());
        let containers = lines
            .containers
            .map(|lines| all(lines, |line| container(line, running, &bound, readings)));
        let mut unusable_images = BTreeMap::new();
        let images = lines.images.map(|mut lines| {
            let unusable = lines.extract_if(.., |line| line.unusable);
            unusable_images.extend(unusable.map(|line| (line.id, line.tags)));
            all(lines, |line| image(line, is_podman))
        });
        for container in containers.iter().flat_map(BTreeMap::values) {
            unusable_images.remove(&container.image);
        }
        let mut engine = Self {
            docker: lines.docker.map(docker).into(),
            volumes: lines.volumes.map(|lines| all(lines, volume)).into(),
            images: images.into(),
            containers: containers.into(),
            networks: lines.networks.map(|lines| all(lines, network)).into(),
            unusable_images,
        };
        engine.connect();
        engine
    }
}

fn all<L, T>(lines: Vec<L>, one: impl FnMut(L) -> (String, T)) -> BTreeMap<String, T> {
    lines.into_iter().map(one).collect()
}

impl Engine {
    /// Completes mounts and networks with information from the other lists.
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

fn docker(line: EngineLine) -> Docker {
    let mut words = line.status.iter().flatten().flatten();
    Docker {
        version: line.version,
        arch: Architecture::of_machine(&line.arch),
        containerd_store: words.any(|word| word.starts_with("io.containerd.snapshotter")),
        podman: podman::podman(line.podman, &line.root),
        runtimes: line.runtimes.into_iter().flatten().collect(),
    }
}

/// Docker's label of anonymous volumes (since 24.0).
const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// Whether docker generated a volume's name: 64 hex digits.
fn is_made_up(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn volume(line: VolumeLine) -> (String, Volume) {
    let mut labels = line.labels.iter().flatten();
    let is_labelled = labels.any(|label| label == ANONYMOUS);
    let volume = Volume {
        driver: line.driver.into(),
        options: redact(line.options),
        owner: Some(line.owner).filter(|owner| !owner.is_empty()),
        project: line.project,
        key: line.key,
        anonymous: line.anonymous || is_labelled || is_made_up(&line.name),
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
        arch: line.arch.into(),
        os: line.os,
    };
    (podman::whole_id(line.id), image)
}

fn container(
    line: ContainerLine,
    running: &Running,
    bound: &BTreeMap<String, String>,
    readings: &mut Readings,
) -> (String, Container) {
    let id = line.id;
    if let Some(after) = running.started.get(&line.pid) {
        let uptime = readings.uptime.saturating_sub(*after);
        readings.container_uptime.insert(id.clone(), uptime);
    }
    // Podman reports an empty string if there is no health check.
    if !line.health.is_empty() {
        readings.health.insert(id.clone(), line.health);
    }
    if line.restarts > 0 {
        readings.restarts.insert(id.clone(), line.restarts);
    }
    if line.out_of_memory {
        readings.out_of_memory.insert(id.clone());
    }
    let pid = line.pid;
    let mounts = line.mounts.into_iter().map(|line| {
        let source = bound.get(&line.name).unwrap_or(&line.source);
        let shown = running.shown(pid, &line.destination, source);
        mount(line, shown)
    });
    let mounts: BTreeMap<String, Mount> = mounts.collect();
    let mut volumes = line.volumes;
    volumes.extend(mounts.values().map(|mount| mount.name.clone()));
    volumes.remove(""); // a plain bind mount has no volume's name
    let networks = line.networks.into_iter();
    let container = Container {
        name: line.name.trim_start_matches('/').to_owned(),
        image: podman::whole_id(line.image),
        image_ref: line.image_ref,
        status: line.status.into(),
        exit_code: line.exit_code,
        restart_policy: RestartPolicy::new(&line.restart_policy, line.restart_limit),
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
        limits: line.limits.into(),
        links: line.links.iter().filter_map(|link| linked(link)).collect(),
        published: listeners::published(&line.ports),
        ports: listeners::bound(line.ports),
    };
    (id, container)
}

/// Returns the target container of a link such as `/app_db_1:/app_web_1/db`.
fn linked(link: &str) -> Option<String> {
    let (to, _) = link.split_once(':')?;
    Some(to.trim_start_matches('/').to_owned())
}

fn mount(line: MountLine, shown: Shown) -> (String, Mount) {
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
        shown,
    };
    (line.destination, mount)
}

/// Docker also gives each container the first digits of its ID as an alias.
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
        driver: line.driver.into(),
        project: line.project,
        key: line.key,
        options: redact(line.options),
        pools: pools.collect(),
        internal: line.internal,
        attachable: line.attachable,
        ipv6: line.ipv6,
        ipam_driver: line.ipam_driver.into(),
        ipam_options: line.ipam_options,
        used_by: BTreeSet::new(),
    };
    (line.id, network)
}
