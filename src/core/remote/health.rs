//! Builds the commands that wait until a project is healthy and show its containers meanwhile.

use std::time::Duration;

use crate::{health::HealthGate, shell::Argv};

/// Waits until a project's containers are healthy; fails with the reason.
pub fn wait_healthy(project: &str, gate: &HealthGate) -> Argv {
    let seconds = |time: Duration| time.as_millis().div_ceil(1000).to_string();
    let limit = gate.timeout.map_or("auto".to_owned(), seconds);
    let words = [
        project,
        &limit,
        &seconds(gate.settle),
        gate.probes.word(),
        gate.log_contains.as_deref().unwrap_or_default(),
        gate.service.as_deref().unwrap_or_default(),
    ];
    let script = Argv::script(include_str!("wait-healthy.sh"), WAIT_HEALTHY_NAME, words);
    script.args(gate.command.iter().cloned())
}

/// The name of the script of [`wait_healthy`].
const WAIT_HEALTHY_NAME: &str = "o3r-wait-healthy";

/// The project that a command waits for, if it is one of [`wait_healthy`].
pub fn waits_for(command: &Argv) -> Option<&str> {
    let is_it = command.script_name() == Some(WAIT_HEALTHY_NAME);
    let project = command.words().get(4).filter(|_| is_it)?;
    Some(project)
}

/// Shows the containers of projects, for people.
pub fn what_runs<'a>(projects: impl IntoIterator<Item = &'a str>) -> Argv {
    Argv::script(include_str!("what-runs.sh"), "o3r-what-runs", projects)
}

/// Shows a project's containers and the last line that each printed, for people.
pub fn show_containers(project: &str) -> Argv {
    Argv::script(
        include_str!("show-containers.sh"),
        "o3r-show-containers",
        [project],
    )
}
