//! Queries a VPU's state in one batched script, and never changes anything.

mod autostart;
mod containers;
mod contents;
mod document;
mod engine;
mod facts;
mod health;
mod identity;
mod listeners;
mod parse;
mod remembered;
mod resolved;
mod store;
mod trees;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

pub use autostart::{Autostart, Generation, SERVICE, TEMPLATE, Unit};
pub use containers::{
    Attachment, Container, Mount, MountKind, Namespaces, Network, Pool, Published, Shown,
};
pub use contents::{CONTENTS_NAME, contents};
pub use document::{Document, DocumentError};
pub use engine::{DOCKER_NAME, RUNNING_NAME};
pub use facts::{
    Applied, Arrived, Device, Docker, Facts, Image, Made, Observed, PathFact, Podman, Probed,
    Readings, Records, Release, Saved, Started, System, Volume,
};
pub use health::docker_answers;
pub use identity::Identity;
pub(crate) use parse::machines;
pub use parse::{ParseError, parse};
pub use remembered::Remembered;
pub use resolved::{
    AllResolved, Answer, Question, QuestionFile, RESOLVED_NAME, Resolved, resolve, resolve_all,
};
use serde::{Deserialize, Serialize};
pub use store::identify;
pub use trees::{Access, HIDDEN_STAGING, Node, Other, TREES_NAME, Tree, TreeQuery, Trees};

use crate::{
    blocks::{BlockSums, block_size},
    device,
    host::{Host, HostError, Stdin},
    nonce::nonce,
    remote,
    shell::Argv,
};

/// The probe, as run by any POSIX shell.
pub const PROBE: &str = include_str!("probe.sh");

/// The probe's `$0`, by which an in-memory VPU knows it.
pub const PROBE_NAME: &str = "o3r-probe";

/// Names of files that docker-compose reads in a project's directory without being told to, or would read in
/// place of `docker-compose.yml`. The probe has the same list.
pub const READ_BY_COMPOSE: &[&str] = &[
    "docker-compose.yml",
    "docker-compose.yaml",
    "compose.yml",
    "compose.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
    "compose.override.yml",
    "compose.override.yaml",
    ".env",
];

/// What to ask a VPU beyond what is always asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Query {
    /// Paths (absolute or below `~`) to look at; with a size, a file of that size is hashed.
    pub paths: BTreeMap<String, Option<u64>>,
    /// Compose projects in whose directories to look for [`READ_BY_COMPOSE`].
    pub projects: BTreeSet<String>,
    /// Files outside of projects' directories that docker-compose reads as environment files: their contents
    /// steer what it makes of a project. Absolute, or below `~`.
    pub environment_files: BTreeSet<String>,
    /// Instances of the unit `oem-dc@` whose text matters.
    pub units: BTreeSet<String>,
    /// The name that the device shall have, where one is declared.
    pub device_name: Option<String>,
    /// Targets of transfers.
    pub trees: Vec<TreeQuery>,
    /// TCP port of the device's API, as seen from the VPU itself.
    pub api_port: u16,
}

/// A VPU whose state cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// The connection failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The probe script did not run to its end.
    #[error("the probe failed on the VPU with exit code {code}: {tail}")]
    Probe {
        /// The shell's exit code.
        code: i32,
        /// The end of its output.
        tail: String,
    },
    /// Its output is not what the script prints.
    #[error("the probe's output is damaged")]
    Parse(#[from] ParseError),
}

/// Observes a VPU: one script and, at the same time, requests to the device's API and what there is
/// to ask of transfers.
pub async fn observe<H: Host>(host: &H, query: &Query) -> Result<Observed, ObserveError> {
    let nonce = nonce();
    let command = Argv::script(PROBE, PROBE_NAME, [nonce.as_str()]);
    let (output, lines, (device, device_help), trees) = tokio::join!(
        host.run(&command, Stdin::Bytes(query_lines(query).into_bytes())),
        engine::ask(host, &nonce),
        device::observe(host, query),
        trees::observe(host, &query.trees, &nonce),
    );
    let output = output?;
    if !output.success() {
        return Err(ObserveError::Probe {
            code: output.code,
            tail: output.tail(5),
        });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut observed = parse::assemble(&text, &nonce, query, lines?)?;
    observed.facts.device = device;
    observed.facts.device_help = device_help;
    if let Some((trees, readings)) = trees? {
        observed.facts.trees = trees;
        observed.readings.free = readings.free;
    }
    Ok(observed)
}

/// What a large file on the VPU is made of; none if that cannot be told. `path` is absolute.
///
/// # Errors
/// The connection is lost.
pub async fn blocks<H: Host>(
    host: &H,
    path: &str,
    size: u64,
) -> Result<Option<BlockSums>, HostError> {
    let block = block_size(size);
    let command = remote::block_sums(path, block);
    let output = host.run(&command, Stdin::Empty).await?;
    if !output.success() {
        tracing::debug!(path, said = output.tail(3), "its blocks cannot be summed");
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(BlockSums::parse(&said, block, size))
}

/// The probe's standard input.
fn query_lines(query: &Query) -> String {
    let mut lines = String::new();
    for (path, size) in &query.paths {
        let (kind, size) = match size {
            Some(size) => ("f", size.to_string()),
            None => ("d", "-".to_owned()),
        };
        let _ = writeln!(lines, "path {kind} {size} {path}");
    }
    for project in &query.projects {
        let _ = writeln!(lines, "project {}", remote::project_directory(project));
    }
    for path in &query.environment_files {
        let _ = writeln!(lines, "environment {path}");
    }
    for unit in &query.units {
        let _ = writeln!(lines, "unit {unit}");
    }
    lines
}
