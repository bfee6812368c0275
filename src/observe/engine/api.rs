//! Queries docker's own API through `docker system dial-stdio` on the VPU (18.09 and later): one
//! process and three round trips, instead of nine runs of the client.
//!
//! Answers contain environments and labels, which may be secret: the types below have no fields for
//! them, and the raw bytes are dropped after parsing.

use std::{collections::BTreeMap, io, time::Duration};

use serde::Deserialize;

use super::{
    http::{Answer, Connection},
    lines::{
        AttachmentLine, ContainerLine, EngineLine, ImageLine, LimitsLine, Lines, MountLine,
        NetworkLine, PoolLine, VolumeLine, or_default,
    },
    podman,
    running::Running,
};
use crate::{
    digest::Digest,
    host::{ByteStream, Host, HostError},
    observe::listeners::Binding,
    shell::Argv,
};

/// How long all requests may take before the client is used instead. An engine with socket
/// activation needs some seconds on a VPU before it answers.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How often everything is queried if something vanishes meanwhile: containers that run for a
/// second and are recreated have new IDs each time.
const TRIES: u32 = 4;

/// The API version to request if the engine has it: that of docker 19.03. Later versions rename
/// fields.
const VERSION: (u32, u32) = (1, 40);

/// Why the API cannot be used. The client is used instead: it knows more ways to reach an engine,
/// and reports why it finds none.
enum Failed {
    /// There is no API, or its answers are incomplete.
    NoApi(String),
    /// Something vanished between being listed and being inspected.
    Vanished(String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::NoApi(error.to_string())
    }
}

/// Queries docker over its API; `None` if that is not possible.
pub(super) async fn ask<H: Host>(host: &H) -> Option<Lines> {
    let command = Argv::new("docker").args(["system", "dial-stdio"]);
    over(host.dial(&command)).await
}

async fn over(
    stream: impl Future<Output = Result<Box<dyn ByteStream>, HostError>>,
) -> Option<Lines> {
    match tokio::time::timeout(TIMEOUT, exchange(stream)).await {
        Ok(Ok(lines)) => return Some(lines),
        Ok(Err(Failed::NoApi(reason))) => tracing::debug!(reason, "docker's API is unusable"),
        Ok(Err(Failed::Vanished(path))) => {
            tracing::debug!(
                path,
                "disappeared before it could be inspected, in every attempt"
            );
        }
        Err(_) => tracing::debug!("docker's API does not answer in {} s", TIMEOUT.as_secs()),
    }
    None
}

async fn exchange(
    stream: impl Future<Output = Result<Box<dyn ByteStream>, HostError>>,
) -> Result<Lines, Failed> {
    let stream = stream
        .await
        .map_err(|error| Failed::NoApi(error.to_string()))?;
    let mut connection = Connection::new(stream);
    let version = version(&mut connection).await?;
    // What vanishes between being listed and being inspected is not listed the next time. Docker's
    // client would fail because of it in the same way.
    for _ in 1..TRIES {
        match all(&mut connection, version).await {
            Err(Failed::Vanished(path)) => {
                tracing::debug!(path, "disappeared before it could be inspected");
            }
            other => return other,
        }
    }
    all(&mut connection, version).await
}

/// Returns the API version to request.
async fn version(connection: &mut Connection) -> Result<(u32, u32), Failed> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Version {
        api_version: String,
        #[serde(rename = "MinAPIVersion", default)]
        least: String,
    }
    let number = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let answers = connection.get(&["/version"]).await?;
    let version = answers.first().filter(|answer| answer.status == 200);
    let version = version.and_then(|answer| serde_json::from_slice::<Version>(&answer.body).ok());
    let no_version = || Failed::NoApi("it does not report its version".to_owned());
    let version = version.ok_or_else(no_version)?;
    let newest = number(&version.api_version).ok_or_else(no_version)?;
    Ok(VERSION
        .min(newest)
        .max(number(&version.least).unwrap_or_default()))
}

/// Queries everything.
async fn all(connection: &mut Connection, (major, minor): (u32, u32)) -> Result<Lines, Failed> {
    #[derive(Deserialize)]
    struct Listed {
        #[serde(rename = "Id")]
        id: String,
    }
    #[derive(Default, Deserialize)]
    struct Volumes {
        #[serde(rename = "Volumes", default, deserialize_with = "or_default")]
        volumes: Vec<Volume>,
    }
    let path = |rest: &str| format!("/v{major}.{minor}/{rest}");
    let lists = [
        "info",
        "volumes",
        "networks",
        "images/json?all=1",
        "containers/json?all=1",
    ];
    let answers = connection.get(&lists.map(path)).await?;
    let [info, volumes, networks, images, containers] = answers.as_slice() else {
        return Err(Failed::NoApi("answers are missing".to_owned()));
    };
    let info: Info = read(info, "info")?;
    if info.server_version.is_empty() || podman::podman(false, &info.docker_root_dir).is_some() {
        return Err(Failed::NoApi("it is not docker's".to_owned()));
    }
    let images: Vec<Listed> = read(images, "images")?;
    let containers: Vec<Listed> = read(containers, "containers")?;
    let of_images = images
        .iter()
        .map(|image| format!("images/{}/json", image.id));
    let of_containers = containers.iter();
    let of_containers = of_containers.map(|one| format!("containers/{}/json", one.id));
    let paths: Vec<String> = of_images
        .chain(of_containers)
        .map(|rest| path(&rest))
        .collect();
    let answers = connection.get(&paths).await?;
    if let Some(index) = answers.iter().position(|answer| answer.status == 404) {
        return Err(Failed::Vanished(paths[index].clone()));
    }
    let (of_images, of_containers) = answers.split_at(images.len().min(answers.len()));
    Ok(Lines {
        docker: Ok(info.into()),
        volumes: Ok(lines(read::<Volumes>(volumes, "volumes")?.volumes)),
        networks: Ok(lines::<Network, _>(read(networks, "networks")?)),
        images: Ok(inspected::<Image, _>(of_images, "an image")?),
        containers: Ok(inspected::<Container, _>(of_containers, "a container")?),
        running: Running::default(),
    })
}

fn lines<T: Into<L>, L>(list: Vec<T>) -> Vec<L> {
    list.into_iter().map(Into::into).collect()
}

fn inspected<T, L>(answers: &[Answer], what: &str) -> Result<Vec<L>, Failed>
where
    T: for<'de> Deserialize<'de> + Into<L>,
{
    let answers = answers.iter();
    answers
        .map(|answer| Ok(read::<T>(answer, what)?.into()))
        .collect()
}

/// Parses an answer. An error has only the place in it: the text may be secret.
fn read<T: for<'de> Deserialize<'de>>(answer: &Answer, what: &str) -> Result<T, Failed> {
    if answer.status != 200 {
        return Err(Failed::NoApi(format!(
            "status {} for {what}",
            answer.status
        )));
    }
    serde_json::from_slice(&answer.body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Failed::NoApi(format!(
            "{what}: unexpected JSON at line {line} column {column}"
        ))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    server_version: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    driver_status: Option<Vec<Vec<String>>>,
    #[serde(default)]
    docker_root_dir: String,
    #[serde(default, deserialize_with = "or_default")]
    runtimes: BTreeMap<String, serde_json::Value>,
}

impl From<Info> for EngineLine {
    fn from(info: Info) -> Self {
        Self {
            version: info.server_version,
            arch: info.architecture,
            status: info.driver_status,
            root: info.docker_root_dir,
            podman: false,
            runtimes: info.runtimes.into_keys().map(Some).collect(),
        }
    }
}

/// The labels in use; all others are dropped.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Labels {
    #[serde(rename = "com.docker.compose.project")]
    project: String,
    #[serde(rename = "com.docker.compose.service")]
    service: String,
    #[serde(rename = "com.docker.compose.container-number")]
    number: String,
    #[serde(rename = "com.docker.compose.project.working_dir")]
    working_dir: String,
    #[serde(rename = "com.docker.compose.project.config_files")]
    config_files: String,
    #[serde(rename = "com.docker.compose.config-hash")]
    config_hash: String,
    #[serde(rename = "com.docker.compose.oneoff")]
    one_off: String,
    #[serde(rename = "com.docker.compose.volume")]
    volume: String,
    #[serde(rename = "com.docker.compose.network")]
    network: String,
    #[serde(rename = "o3r-deploy.release")]
    owner: String,
    #[serde(rename = "com.docker.volume.anonymous")]
    anonymous: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volume {
    name: String,
    driver: String,
    #[serde(default, deserialize_with = "or_default")]
    options: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    labels: Labels,
}

impl From<Volume> for VolumeLine {
    fn from(volume: Volume) -> Self {
        let Labels {
            owner,
            project,
            volume: key,
            anonymous,
            ..
        } = volume.labels;
        Self {
            name: volume.name,
            driver: volume.driver,
            options: volume.options,
            owner,
            project,
            key,
            anonymous: anonymous.is_some(),
            labels: vec![],
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    repo_tags: std::collections::BTreeSet<String>,
    #[serde(rename = "RootFS", default)]
    root: Root,
    architecture: String,
    os: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Root {
    #[serde(default, deserialize_with = "or_default")]
    layers: Vec<Digest>,
}

impl From<Image> for ImageLine {
    fn from(image: Image) -> Self {
        Self {
            id: image.id,
            tags: image.repo_tags,
            layers: image.root.layers,
            arch: image.architecture,
            os: image.os,
            unusable: false,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    name: String,
    image: String,
    #[serde(default)]
    restart_count: u64,
    state: State,
    config: Config,
    host_config: HostConfig,
    #[serde(default, deserialize_with = "or_default")]
    mounts: Vec<MountLine>,
    network_settings: NetworkSettings,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    #[serde(default)]
    pid: u32,
    exit_code: i64,
    #[serde(rename = "OOMKilled", default)]
    out_of_memory: bool,
    #[serde(default)]
    health: Option<Health>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    image: String,
    #[serde(default, deserialize_with = "or_default")]
    labels: Labels,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    network_mode: String,
    #[serde(default)]
    pid_mode: String,
    #[serde(default)]
    ipc_mode: String,
    #[serde(default, deserialize_with = "or_default")]
    links: Vec<String>,
    #[serde(flatten)]
    limits: LimitsLine,
    #[serde(default)]
    restart_policy: RestartPolicy,
    #[serde(default, deserialize_with = "or_default")]
    port_bindings: BTreeMap<String, Option<Vec<Binding>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RestartPolicy {
    name: String,
    maximum_retry_count: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default, deserialize_with = "or_default")]
    networks: BTreeMap<String, Option<AttachmentLine>>,
}

impl From<Container> for ContainerLine {
    fn from(container: Container) -> Self {
        let Container {
            state,
            config,
            host_config,
            ..
        } = container;
        let labels = config.labels;
        Self {
            pid: state.pid,
            id: container.id,
            name: container.name,
            image: container.image,
            image_ref: config.image,
            status: state.status,
            exit_code: state.exit_code,
            out_of_memory: state.out_of_memory,
            restarts: container.restart_count,
            health: state.health.map(|health| health.status).unwrap_or_default(),
            restart_policy: host_config.restart_policy.name,
            restart_limit: host_config.restart_policy.maximum_retry_count,
            project: labels.project,
            service: labels.service,
            number: labels.number,
            working_dir: labels.working_dir,
            config_files: labels.config_files,
            config_hash: labels.config_hash,
            one_off: labels.one_off,
            volumes: std::collections::BTreeSet::new(),
            mounts: container.mounts,
            networks: container.network_settings.networks,
            network: host_config.network_mode,
            pid_mode: host_config.pid_mode,
            ipc_mode: host_config.ipc_mode,
            links: host_config.links,
            limits: host_config.limits,
            ports: host_config.port_bindings,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    id: String,
    name: String,
    #[serde(default)]
    driver: String,
    #[serde(default, deserialize_with = "or_default")]
    options: BTreeMap<String, String>,
    #[serde(rename = "IPAM", default)]
    addresses: Addresses,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    attachable: bool,
    #[serde(rename = "EnableIPv6", default)]
    ipv6: bool,
    #[serde(default, deserialize_with = "or_default")]
    labels: Labels,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Addresses {
    driver: String,
    #[serde(deserialize_with = "or_default")]
    options: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    config: Vec<PoolLine>,
}

impl From<Network> for NetworkLine {
    fn from(network: Network) -> Self {
        Self {
            id: network.id,
            name: network.name,
            driver: network.driver,
            options: network.options,
            ipam_driver: network.addresses.driver,
            ipam_options: network.addresses.options,
            pools: network.addresses.config,
            internal: network.internal,
            attachable: network.attachable,
            ipv6: network.ipv6,
            project: network.labels.project,
            key: network.labels.network,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_invalid_or_silent_api_falls_back_to_the_client() {
        for said in [
            Some(&b""[..]),
            Some(b"docker: 'dial-stdio' is not a docker command.\n"),
            Some(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
            Some(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
            Some(
                b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"ApiVersion\":\"1.41\"}\
                  HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
            ),
            // No answer at all.
            None,
        ] {
            let (ours, mut theirs) = tokio::io::duplex(4096);
            if let Some(said) = said {
                theirs.write_all(said).await.unwrap();
                theirs.shutdown().await.unwrap();
            }
            let dialled: Result<Box<dyn ByteStream>, HostError> = Ok(Box::new(ours));
            assert!(over(async { dialled }).await.is_none(), "{said:?}");
        }
        assert!(over(std::future::pending()).await.is_none());
    }
}
