//! Measures a VPU's processor with random numbers that its kernel generates and a program hashes.
//! Unpacking and building layers, which this models, mostly consist of that: copying through pipes
//! and hashing.

use std::time::Duration;

use super::measured;
use crate::{
    host::{Host, HostError, Stdin},
    remote,
};

/// Bytes that are generated at a time: 14 ms on a PC with two cores, 100 ms on a quarter of one.
const BYTES: usize = 4 << 20;

/// Returns the bytes a second that are generated and hashed; takes 60 ms or little more.
///
/// # Errors
/// The connection is lost. On a host without these programs, the result is `None`.
pub(super) async fn measure<H: Host>(host: &H) -> Result<Option<u64>, HostError> {
    let output = host.run(&remote::cpu_speed(BYTES), Stdin::Empty).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    // A login shell's output comes before.
    let last = said.lines().next_back().unwrap_or_default();
    let said = last.trim().split_once(' ').filter(|_| output.success());
    let parsed = said.and_then(|(times, took)| Some((times.parse().ok()?, took.parse().ok()?)));
    Ok(parsed.map(|(times, took): (usize, u64)| {
        measured(
            times.saturating_mul(BYTES),
            Duration::from_millis(took.saturating_mul(10)),
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::LocalHost;

    #[tokio::test]
    async fn only_a_machine_with_the_programs_is_measured() {
        for shell in [&["sh", "-c"][..], &["busybox", "sh", "-c"]] {
            let host = LocalHost::with_shell(shell.iter().copied());
            let measured = measure(&host).await.unwrap();
            // From a hundredth of a core to more than any core.
            assert!((3_000_000..10_000_000_000).contains(&measured.unwrap()));
        }
        let cannot = LocalHost::with_shell(["false"]);
        assert_eq!(measure(&cannot).await.unwrap(), None);
    }
}
