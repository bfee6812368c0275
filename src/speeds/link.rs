//! Measures the throughput of the link to a VPU.

use std::time::Duration;

use tokio::time::Instant;

use super::measured;
use crate::{
    host::{Host, HostError, Stdin},
    shell::Argv,
};

/// The bytes of each measurement, and the time up to which it is too short to be precise and the
/// next one follows. The first takes 1 s at 2 Mbit/s. Fewer bytes than the last would not fill the
/// windows of ssh and TCP, and a fast link would seem half as fast.
const STEPS: [(usize, Duration); 4] = [
    (256 << 10, Duration::from_millis(100)),
    (1 << 20, Duration::from_millis(60)),
    (4 << 20, Duration::from_millis(200)),
    (16 << 20, Duration::MAX),
];

/// A measurement is also imprecise if it takes less than this many times as long as sending
/// nothing: on a link with a long round trip, most of it is waiting for answers during TCP's slow
/// start.
const CLEARLY: u32 = 4;

/// At most this fraction (1/8) of the bytes to send is used to measure.
const PART: u64 = 8;

/// The fraction if the previous measurement took long, but not clearly longer than sending nothing.
const DOUBTFUL_PART: u64 = 64;

/// Returns the bytes a second to this host, including its encryption. `to_send` limits the effort:
/// the last digit of a fast link's throughput is not worth more.
///
/// # Errors
/// The connection is lost. If the host does not count the bytes, the result is `None`.
pub(super) async fn measure<H: Host>(host: &H, to_send: u64) -> Result<Option<u64>, HostError> {
    // The round trip and the start of a process on the host, which takes longer the first time.
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
        // The time common to the last two measurements is not part of sending. If more bytes took
        // no longer, the earlier ones were delayed.
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

/// Returns how long it takes until the host confirms the bytes.
async fn took<H: Host>(host: &H, bytes: usize) -> Result<Option<Duration>, HostError> {
    let count = Argv::new("wc").arg("-c");
    let start = Instant::now();
    let output = host.run(&count, Stdin::Bytes(noise(bytes))).await?;
    let arrived = String::from_utf8_lossy(&output.stdout);
    // A login shell's output comes before.
    let last = arrived.lines().next_back().unwrap_or_default().trim();
    // Perhaps on the same line.
    let said = last.trim_start_matches(|c: char| !c.is_ascii_digit());
    let all = output.success() && said == bytes.to_string();
    Ok(all.then(|| start.elapsed()))
}

/// Returns bytes that a VPN cannot compress (xorshift, Marsaglia 2003).
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

    /// A link with a throughput in bytes a second and a round-trip time; every command has TCP's
    /// slow start.
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
            // Ten segments at first, then twice as many with each answer until the link is full.
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
    async fn only_the_time_of_the_bytes_counts() {
        for rate in [250e3, 1.25e6, 12.5e6, 50e6, 120e6] {
            for millis in [0, 1, 20, 80, 300] {
                let round_trip = Duration::from_millis(millis);
                // TCP's usual windows limit the throughput to this.
                if rate * round_trip.as_secs_f64() >= 4e6 {
                    continue;
                }
                let host = Slow { rate, round_trip };
                let measured = measure(&host, 1 << 30).await.unwrap().unwrap();
                let found = f64::from(u32::try_from(measured).unwrap()) / rate;
                // With a long round trip, a slow start is indistinguishable from a slow link.
                let least = if millis > 200 { 0.25 } else { 0.7 };
                assert!((least..1.3).contains(&found), "{rate} {millis}: {measured}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn measuring_takes_little_of_the_sending_time() {
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
    async fn a_host_that_does_not_count_is_not_measured() {
        let host = LocalHost::with_shell(["false"]);
        assert_eq!(measure(&host, 1 << 30).await.unwrap(), None);
    }

    #[test]
    fn noise_has_its_length() {
        assert_eq!(noise(13).len(), 13);
        assert_eq!(noise(16), [noise(13), noise(16)[13..].to_vec()].concat());
    }
}
