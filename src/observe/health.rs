//! Checks whether docker on a host answers.

use std::time::Duration;

use crate::{
    host::{Host, HostError, Stdin},
    shell::Argv,
};

/// The cheapest command that dockerd does not answer while it hangs.
fn question() -> Argv {
    Argv::new("docker").args(["version", "--format", "{{.Server.Version}}"])
}

/// Whether dockerd answers within this time. If it does not run or is not installed, the error
/// counts as an answer.
///
/// # Errors
/// The connection is lost.
pub async fn docker_answers<H: Host>(host: &H, within: Duration) -> Result<bool, HostError> {
    let question = question();
    let asked = host.run(&question, Stdin::Empty);
    match tokio::time::timeout(within, asked).await {
        Ok(answer) => answer.map(|_| true),
        Err(_) => Ok(false),
    }
}
