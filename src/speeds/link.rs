//! Measures the throughput of the link to a VPU.

use std::time::Duration;

use tokio::time::Instant;

use super::measured;
use crate::{
    host::{Host, HostError, Stdin},
    shell::Argv,
};

/// Bytes that are sent to measure, each only if the ones before came so quickly that they say little. The first take 1 s at
/// 2 Mbit/s; fewer than the last would not fill the windows of ssh and TCP, and a fast link would seem half as fast.
const STEPS: [(usize, Duration); 4] = [
    (256 << 10, Duration::from_millis(100)),
    (1 << 20, Duration::from_millis(60)),
    (4 << 20, Duration::from_millis(200)),
    (16 << 20, Duration::MAX),
];

/// Bytes say little, too, as long as they take less than this many times as long as none at all: on a link that is far
/// away, most of it is waiting for answers while TCP starts slowly.
const CLEARLY: u32 = 4;

/// The part of what is to be sent that is sent to measure, at the most.
const PART: u64 = 8;

/// The same, where the bytes before took long, but not clearly longer than none at all.
const DOUBTFUL_PART: u64 = 64;

/// Bytes a second to this host, those of its own encryption included. `to_send` says how much depends on it: the last digit
/// of a fast link is not worth more than that.
///
/// # Errors
/// The connection is lost. A host that does not count what it got is taken as one that was not asked.
pub(super) async fn measure<H: Host>(host: &H, to_send: u64) -> Result<Option<u64>, HostError> {
    // The round trip, and the start of a process there, which takes longer for the first time.
    let (Some(first), Some(second)) = (took(host, 0).await?, took(host, 0).await?) else {
        return Ok(None);
    };
    let idle = first.min(second);
    let (mut before, mut result) = ((0, idle), None);
    let mut most = u64::MAX;
    for (bytes, enough) in STEPS {
        if bytes as u64 > most {
            break;
        }
        let Some(took) = took(host, bytes).await? else {
            return Ok(None);
        };
        let alone = took.saturating_sub(idle);
        // What the last two have in common is no part of sending; where more bytes took no longer, the first ones
        // were held up.
        let (less, quicker) = before;
        let rest = took.saturating_sub(quicker);
        result = Some(if !rest.is_zero() {
            measured(bytes - less, rest)
        } else if !alone.is_zero() {
            measured(bytes, alone)
        } else {
            measured(bytes, took)
        });
        most = match (alone > enough, alone > idle * CLEARLY) {
            (true, true) => break,
            (true, false) => to_send / DOUBTFUL_PART,
            (false, _) => to_send / PART,
        };
        before = (bytes, took);
    }
    Ok(result)
}

/// How long a number of bytes takes, until the host says that it has them.
async fn took<H: Host>(host: &H, bytes: usize) -> Result<Option<Duration>, HostError> {
    let count = Argv::new("wc").arg("-c");
    let start = Instant::now();
    let output = host.run(&count, Stdin::Bytes(noise(bytes))).await?;
    let arrived = String::from_utf8_lossy(&output.stdout);
    // What a login shell prints comes before.
    let last = arrived.lines().next_back().unwrap_or_default().trim();
    // Perhaps in the same line.
    let said = last.trim_start_matches(|c: char| !c.is_ascii_digit());
    let all = output.success() && said == bytes.to_string();
    Ok(all.then(|| start.elapsed()))
}

/// Bytes that no VPN's compression makes fewer (xorshift, Marsaglia 2003).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Held, LocalHost, Output};

    /// A link with a rate in bytes a second, over which an answer takes so long; TCP starts slowly for every command.
    struct Slow {
        rate: f64,
        round_trip: Duration,
    }

    impl Host for Slow {
        async fn run(&self, _: &Argv, stdin: Stdin) -> Result<Output, HostError> {
            let Stdin::Bytes(bytes) = stdin else {
                return Err(HostError::Disconnected { host: "x".into() });
            };
            let bytes_sent = f64::from(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            // Ten segments at first, then twice as many with each answer, until the link is full.
            let in_flight = bytes_sent.min(self.rate * self.round_trip.as_secs_f64());
            let rounds = (in_flight / 14_600.0).max(1.0).log2().ceil();
            let waits = self.round_trip.mul_f64(2.0 + rounds);
            let start = Duration::from_millis(15);
            tokio::time::sleep(start + waits + Duration::from_secs_f64(bytes_sent / self.rate))
                .await;
            Ok(Output::said(format!("{}\n", bytes.len())))
        }

        async fn hold(
            &self,
            _: &Argv,
            _: &str,
            _: &(dyn Fn(&str) + Sync),
        ) -> Result<Result<Held, Output>, HostError> {
            Err(HostError::Disconnected { host: "x".into() })
        }

        async fn connect(&self, _: u16) -> Result<Box<dyn crate::host::ByteStream>, HostError> {
            Err(HostError::Disconnected { host: "x".into() })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_the_bytes_alone_counts() {
        for rate in [250e3, 1.25e6, 12.5e6, 50e6, 120e6] {
            for millis in [0, 1, 20, 80, 300] {
                let round_trip = Duration::from_millis(millis);
                // TCP's usual windows carry no more.
                if rate * round_trip.as_secs_f64() >= 4e6 {
                    continue;
                }
                let host = Slow { rate, round_trip };
                let measured = measure(&host, 1 << 30).await.unwrap().unwrap();
                let found = f64::from(u32::try_from(measured).unwrap()) / rate;
                // Far away, a slow start cannot be told from a slow link.
                let least = if millis > 200 { 0.25 } else { 0.7 };
                assert!((least..1.3).contains(&found), "{rate} {millis}: {measured}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn measuring_costs_little_of_what_is_sent() {
        for (to_send, most) in [(4 << 20, 0.3), (8 << 20, 1.4), (32 << 20, 1.4)] {
            let start = Instant::now();
            let rate = 1.25e6;
            let round_trip = Duration::from_millis(1);
            measure(&Slow { rate, round_trip }, to_send).await.unwrap();
            let took = start.elapsed().as_secs_f64();
            assert!(took < most, "{to_send}: {took}");
        }
    }

    #[tokio::test]
    async fn a_host_that_does_not_count_is_not_asked_again() {
        let host = LocalHost::with_shell(["false"]);
        assert_eq!(measure(&host, 1 << 30).await.unwrap(), None);
    }

    #[test]
    fn noise_has_its_length() {
        assert_eq!(noise(13).len(), 13);
        assert_eq!(noise(16), [noise(13), noise(16)[13..].to_vec()].concat());
    }
}
