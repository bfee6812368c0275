//! Defines docker's answers: JSON lines that its client prints with our templates, and the
//! conversion of API answers to them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};

use super::running::Running;
use crate::{
    compose::Limits,
    digest::Digest,
    observe::{listeners, parse::Section},
};

/// Docker's answers, or the reason why a part is missing.
#[derive(Debug)]
pub(in crate::observe) struct Lines {
    pub(super) docker: Result<EngineLine, String>,
    pub(super) volumes: Result<Vec<VolumeLine>, String>,
    pub(super) images: Result<Vec<ImageLine>, String>,
    pub(super) containers: Result<Vec<ContainerLine>, String>,
    pub(super) networks: Result<Vec<NetworkLine>, String>,
    pub(super) running: Running,
}

impl Lines {
    /// Parses the client's sections. The error is the name of a section that is missing or
    /// truncated.
    pub(in crate::observe) fn of_sections<'a>(
        section: impl Fn(&'static str) -> Option<Section<'a>>,
    ) -> Result<Self, &'static str> {
        let needed = |name| section(name).ok_or(name);
        let containers = needed("containers")?;
        Ok(Self {
            docker: docker(&needed("docker")?),
            volumes: needed("volumes")?.json_lines("docker volume inspect"),
            images: needed("images")?.json_lines("docker image inspect"),
            running: Running::of(containers.text),
            containers: containers.json_lines("docker container inspect"),
            // Recordings of older versions have no networks.
            networks: match section("networks") {
                Some(networks) => networks.json_lines("docker network inspect"),
                None => Err("the VPU was not asked about it".to_owned()),
            },
        })
    }

    /// Answers that are all unknown for one reason.
    pub(super) fn unknown(reason: &str) -> Self {
        let reason = || reason.to_owned();
        Self {
            docker: Err(reason()),
            volumes: Err(reason()),
            images: Err(reason()),
            containers: Err(reason()),
            networks: Err(reason()),
            running: Running::default(),
        }
    }
}

fn docker(section: &Section<'_>) -> Result<EngineLine, String> {
    let lines = section.json_lines::<EngineLine>("docker info")?;
    // If the engine is down, `docker info` prints an empty answer and may still exit with 0.
    let line = lines
        .into_iter()
        .next()
        .filter(|line| !line.version.is_empty());
    line.ok_or_else(|| section.reason("docker info"))
}

/// The engine as queried.
#[derive(Debug, Deserialize)]
pub(super) struct EngineLine {
    pub(super) version: String,
    pub(super) arch: String,
    #[serde(default)]
    pub(super) status: Option<Vec<Vec<String>>>,
    #[serde(default)]
    pub(super) root: String,
    /// Only podman's own program reports this.
    #[serde(default)]
    pub(super) podman: bool,
    #[serde(default)]
    pub(super) runtimes: Vec<Option<String>>,
}

/// A volume as queried.
#[derive(Debug, Default, Deserialize)]
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
    /// Whether it has docker's own label of anonymous volumes.
    #[serde(skip)]
    pub(super) anonymous: bool,
    /// The names of its labels.
    #[serde(default)]
    pub(super) labels: Vec<Option<String>>,
}

/// An image as queried.
#[derive(Debug, Deserialize)]
pub(super) struct ImageLine {
    pub(super) id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) tags: BTreeSet<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) layers: Vec<Digest>,
    #[serde(default)]
    pub(super) arch: String,
    #[serde(default)]
    pub(super) os: String,
    /// Whether docker lists it and cannot inspect it.
    #[serde(default)]
    pub(super) unusable: bool,
}

/// A container as queried.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerLine {
    /// The ID of its main process; 0 if it does not run.
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
    /// Only names, in recordings of older versions.
    pub(super) volumes: BTreeSet<String>,
    pub(super) mounts: Vec<MountLine>,
    #[serde(deserialize_with = "or_default")]
    pub(super) networks: BTreeMap<String, Option<AttachmentLine>>,
    pub(super) network: String,
    pub(super) pid_mode: String,
    pub(super) ipc_mode: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) links: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) ports: BTreeMap<String, Option<Vec<listeners::Binding>>>,
    pub(super) limits: LimitsLine,
}

/// Limits in docker's notation: null and negative values also mean none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct LimitsLine {
    memory: Option<i64>,
    memory_reservation: Option<i64>,
    nano_cpus: Option<i64>,
    cpu_shares: Option<i64>,
    cpu_quota: Option<i64>,
    cpuset_cpus: Option<String>,
    pids_limit: Option<i64>,
}

impl From<LimitsLine> for Limits {
    fn from(line: LimitsLine) -> Self {
        let count = |value: Option<i64>| u64::try_from(value.unwrap_or(0)).unwrap_or(0);
        Self {
            memory: count(line.memory),
            memory_reservation: count(line.memory_reservation),
            micro_cpus: count(line.nano_cpus).saturating_add(500) / 1000,
            cpu_shares: count(line.cpu_shares),
            cpu_quota: count(line.cpu_quota),
            cpuset: line.cpuset_cpus.unwrap_or_default(),
            pids: count(line.pids_limit),
        }
    }
}

/// A mount in docker's notation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct MountLine {
    #[serde(rename = "Type")]
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) source: String,
    pub(super) destination: String,
    #[serde(rename = "RW")]
    pub(super) read_write: bool,
}

/// The attachment of a container to a network.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AttachmentLine {
    #[serde(alias = "NetworkID")]
    pub(super) id: String,
    #[serde(alias = "Aliases", deserialize_with = "or_default")]
    pub(super) aliases: BTreeSet<String>,
}

/// A network as queried.
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
    pub(super) ipam_options: BTreeMap<String, String>,
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

/// An address pool in docker's notation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct PoolLine {
    pub(super) subnet: String,
    pub(super) gateway: String,
    #[serde(rename = "IPRange")]
    pub(super) range: String,
}

/// Docker writes `null` for empty values.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
