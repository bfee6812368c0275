//! Measures the link to a VPU.

use std::time::{Duration, Instant};

use super::{Area, Check};
use crate::{
    host::{Host, HostError, Stdin},
    shell::Argv,
    speeds,
};
use o3r_core::units;

/// Up to an eighth of these bytes are sent to measure the throughput.
const TO_SEND: u64 = 32 << 20;

/// A throughput in bytes a second below which a first image takes minutes.
const SLOW: u64 = 1 << 20;

/// A round trip that makes plans slow: each takes about ten.
const LONG: Duration = Duration::from_millis(300);

/// Measures the round trip and the throughput.
///
/// # Errors
/// The connection is lost.
pub(crate) async fn link<H: Host>(host: &H) -> Result<Vec<Check>, HostError> {
    let mut shortest = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        host.run(&Argv::new("true"), Stdin::Empty).await?;
        shortest = shortest.min(start.elapsed());
    }
    let speed = speeds::measure(host, TO_SEND).await?.link;
    Ok(vec![round_trip(shortest), throughput(speed)])
}

fn round_trip(shortest: Duration) -> Check {
    let found = format!("{} ms for a command", shortest.as_millis());
    if shortest < LONG {
        return Check::ok(Area::Link, "latency", found);
    }
    Check::warning(
        Area::Link,
        "latency",
        found,
        "a plan takes seconds: each command waits for the link",
        "",
    )
}

fn throughput(speed: Option<u64>) -> Check {
    let Some(speed) = speed else {
        return Check::warning(
            Area::Link,
            "throughput",
            "not known: the VPU did not count what was sent",
            "the time to send is unknown in plans",
            "",
        );
    };
    let found = format!("{}/s to the VPU", units::bytes(speed));
    if speed >= SLOW {
        return Check::ok(Area::Link, "throughput", found);
    }
    let time = units::duration(Duration::from_secs((100 << 20) / speed.max(1)));
    Check::warning(
        Area::Link,
        "throughput",
        found,
        format!("100 MiB take {time}; interrupted transfers resume"),
        "send the first image over a cable: later ones send only what changed",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_slow_link_is_a_warning() {
        assert_eq!(throughput(Some(10 << 20)).verdict, Verdict::Ok);
        let slow = throughput(Some(100 << 10));
        assert_eq!(slow.verdict, Verdict::Warning);
        assert!(slow.meaning.unwrap().contains("100 MiB take 17 min"));
        assert_eq!(throughput(None).verdict, Verdict::Warning);
        assert_eq!(round_trip(Duration::from_millis(20)).verdict, Verdict::Ok);
        assert_eq!(round_trip(LONG).verdict, Verdict::Warning);
    }

    #[tokio::test]
    async fn this_machine_is_measured() {
        let checks = link(&crate::host::LocalHost::default()).await.unwrap();
        assert_eq!(checks.len(), 2);
    }
}
