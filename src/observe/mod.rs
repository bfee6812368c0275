//! Queries a VPU's state in one batched script, and never changes anything.

mod autostart;
mod contents;
mod document;
mod engine;
mod health;
mod history;
mod identity;
mod listeners;
mod parse;
mod remembered;
mod resolved;
mod trees;
mod undeclared;
mod verified;

use std::fmt::Write as _;

pub use contents::{CONTENTS_NAME, contents};
pub use document::{DocumentError, read_document};
pub use engine::{DOCKER_NAME, RUNNING_NAME};
pub use health::docker_answers;
pub(crate) use history::{
    Attempt, History, IN_PART, NOT_ROLLED_BACK, ReadError, Recorded, ReleaseHistory, UNCONFIRMED,
    generation, history, kept, whole, without_record,
};
pub use identity::Identity;
pub use o3r_core::facts::*;
pub use parse::{ParseError, parse};
pub use remembered::Remembered;
pub use resolved::{RESOLVED_NAME, resolve, resolve_all};
pub use trees::TREES_NAME;
pub use undeclared::{data, undeclared};
pub(crate) use verified::verify_image;

use crate::{
    blocks::{BlockSums, block_size},
    device,
    host::{Host, HostError, Stdin},
    nonce::nonce,
    remote,
    shell::Argv,
};

/// The probe script, for any POSIX shell.
pub const PROBE: &str = concat!(
    include_str!("../core/remote/process-start.sh"),
    include_str!("disk.sh"),
    include_str!("probe.sh")
);

/// The probe's `$0`, by which an in-memory VPU recognises it.
pub const PROBE_NAME: &str = "o3r-probe";

/// Why a VPU's state could not be observed.
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
    /// The output is not the script's.
    #[error("the probe's output is damaged")]
    Parse(#[from] ParseError),
}

/// Observes a VPU: runs one script and, at the same time, queries the device's API, docker and the
/// targets of transfers.
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
        observed.readings.disks = readings.disks;
    }
    Ok(observed)
}

/// Returns the block checksums of a large file on the VPU; `None` if they could not be determined.
/// `path` is absolute.
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
        tracing::debug!(
            path,
            said = output.tail(3),
            "its block checksums could not be computed"
        );
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(BlockSums::parse(&said, block, size))
}

/// The probe's stdin.
fn query_lines(query: &Query) -> String {
    let mut lines = String::new();
    for (path, size) in &query.paths {
        let (kind, size) = match size {
            Some(ANY_SIZE) => ("h", ANY_SIZE.to_string()),
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
