//! Measures how fast a VPU works: by random numbers, which its kernel makes and a program hashes. A sandbox of
//! containers has both, and of what is to be modelled, unpacking and building layers, most is just that: copying
//! through pipes and hashing.

use tokio::time::Instant;

use super::measured;
use crate::{
    host::{Host, HostError, Stdin},
    shell::Argv,
};

/// What is assumed of a VPU that was not measured, in bytes a second: a fifth of a PC with two cores.
pub(super) const ASSUMED: u64 = 65_000_000;

/// Bytes that are made up: 14 ms on a PC with two cores, 100 ms on a quarter of one.
const BYTES: usize = 4 << 20;

/// Makes up `$1` bytes and hashes them.
const WORK: &str = "head -c \"$1\" /dev/urandom | sha256sum";

/// Bytes a second that are made up and hashed.
///
/// # Errors
/// The connection is lost. A host without these programs is one that was not asked.
pub(super) async fn measure<H: Host>(host: &H) -> Result<Option<u64>, HostError> {
    let mut took = [None; 2];
    for (took, bytes) in took.iter_mut().zip([0, BYTES]) {
        let work = Argv::script(WORK, "o3r-work", [bytes.to_string()]);
        let start = Instant::now();
        let output = host.run(&work, Stdin::Empty).await?;
        if !output.success() || output.stdout.len() < 64 {
            return Ok(None);
        }
        *took = Some(start.elapsed());
    }
    let [Some(idle), Some(took)] = took else {
        return Ok(None);
    };
    Ok(Some(measured(BYTES, took.saturating_sub(idle))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{
        LocalHost,
        fake::{FakeVpu, World},
    };

    #[tokio::test]
    async fn a_machine_is_measured_and_one_that_cannot_be_is_not() {
        let measured = measure(&LocalHost::with_shell(["sh", "-c"])).await.unwrap();
        // From a hundredth of a core to more than any core has.
        assert!((3_000_000..10_000_000_000).contains(&measured.unwrap()));
        let cannot = FakeVpu::new(World::default());
        assert_eq!(measure(&cannot).await.unwrap(), None);
    }
}
