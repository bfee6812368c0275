//! Measures how fast a VPU works: by random numbers, which its kernel makes and a program hashes. Of what is to be
//! modelled, unpacking and building layers, most is just that: copying through pipes and hashing.

use std::time::Duration;

use super::measured;
use crate::{
    host::{Host, HostError, Stdin},
    remote,
};

/// Bytes that are made up at a time: 14 ms on a PC with two cores, 100 ms on a quarter of one.
const BYTES: usize = 4 << 20;

/// Bytes a second that are made up and hashed; it takes 60 ms or little more.
///
/// # Errors
/// The connection is lost. A host without these programs is one that was not asked.
pub(super) async fn measure<H: Host>(host: &H) -> Result<Option<u64>, HostError> {
    let output = host.run(&remote::cpu_speed(BYTES), Stdin::Empty).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    // What a login shell prints comes before.
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
    async fn a_machine_is_measured_and_one_that_cannot_be_is_not() {
        for shell in [&["sh", "-c"][..], &["busybox", "sh", "-c"]] {
            let host = LocalHost::with_shell(shell.iter().copied());
            let measured = measure(&host).await.unwrap();
            // From a hundredth of a core to more than any core has.
            assert!((3_000_000..10_000_000_000).contains(&measured.unwrap()));
        }
        let cannot = LocalHost::with_shell(["false"]);
        assert_eq!(measure(&cannot).await.unwrap(), None);
    }
}
