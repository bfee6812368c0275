//! Measures how fast the way to a VPU is, where there is enough to send that it matters.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    host::{Host, HostError, Stdin},
    shell::Argv,
};

/// What is assumed of a link that was not measured, in bytes a second: 100 Mbit/s, what an industrial
/// switch or a VPN of a plant commonly has.
pub const ASSUMED: u64 = 12_500_000;

/// From so many bytes on, measuring costs less than a wrong choice: at 2 Mbit/s these take 16 s, and
/// the measurement 1 s.
pub const WORTH_MEASURING: u64 = 4 << 20;

/// Bytes that are sent to measure, each only if the ones before came so quickly that they say little, for that
/// was mostly the round trip and the start of a process. The first take 1 s at 2 Mbit/s; fewer than the last
/// would not fill the windows of ssh and TCP, and a fast link would seem half as fast.
const STEPS: [(usize, Duration); 4] = [
    (256 << 10, Duration::from_millis(100)),
    (1 << 20, Duration::from_millis(60)),
    (4 << 20, Duration::from_millis(200)),
    (16 << 20, Duration::MAX),
];

/// The part of what is to be sent that is sent to measure, at the most.
const PART: u64 = 8;

/// Bytes a second to this host, those of its own encryption and of starting a command included.
/// `to_send` says how much depends on it: the last digit of a fast link is not worth more than that.
///
/// # Errors
/// The connection is lost. A host that does not count what it got is taken as one that was not asked.
pub async fn measure<H: Host>(host: &H, to_send: u64) -> Result<Option<u64>, HostError> {
    let (mut before, mut result) = ((0, Duration::ZERO), None);
    for (number, (bytes, enough)) in STEPS.into_iter().enumerate() {
        if number > 0 && bytes as u64 > to_send / PART {
            break;
        }
        let Some(took) = took(host, bytes).await? else {
            return Ok(None);
        };
        let slow = took > enough;
        if number == 0 && slow {
            return Ok(Some(measured(bytes, took)));
        }
        // What both have in common is no part of sending.
        if number > 0 {
            let (less, quicker) = before;
            let rest = took.checked_sub(quicker).filter(|rest| !rest.is_zero());
            // More bytes that took no longer say only that the first ones were held up.
            result = Some(rest.map_or_else(
                || measured(bytes, took),
                |rest| measured(bytes - less, rest),
            ));
        }
        if slow {
            break;
        }
        before = (bytes, took);
        result = result.or_else(|| Some(measured(bytes, took)));
    }
    Ok(result)
}

/// How long so many bytes take, until the host says that it has them.
async fn took<H: Host>(host: &H, bytes: usize) -> Result<Option<Duration>, HostError> {
    let count = Argv::new("wc").arg("-c");
    let start = Instant::now();
    let output = host.run(&count, Stdin::Bytes(noise(bytes))).await?;
    let arrived = String::from_utf8_lossy(&output.stdout);
    let all = output.success() && arrived.trim() == bytes.to_string();
    Ok(all.then(|| start.elapsed()))
}

/// What a link carries, for reckoning: `None` was not measured.
pub fn rate(measured: Option<u64>) -> u64 {
    measured.unwrap_or(ASSUMED).max(1)
}

/// Milliseconds that these bytes take at so many a second.
pub fn millis(bytes: u64, per_second: u64) -> u64 {
    let millis = u128::from(bytes) * 1000 / u128::from(per_second.max(1));
    u64::try_from(millis).unwrap_or(u64::MAX)
}

/// A link for people: `10 Mbit/s`.
pub fn text(measured: Option<u64>) -> String {
    let bits = rate(measured).saturating_mul(8);
    if bits < 10_000_000 {
        return format!("{}.{} Mbit/s", bits / 1_000_000, bits / 100_000 % 10);
    }
    format!("{} Mbit/s", bits / 1_000_000)
}

/// Bytes a second, to two digits: more would only be noise in plans.
fn measured(bytes: usize, took: Duration) -> u64 {
    let nanos = took.as_nanos().max(1);
    let rate = u64::try_from(bytes as u128 * 1_000_000_000 / nanos).unwrap_or(u64::MAX);
    let unit = 10_u64.pow(rate.checked_ilog10().unwrap_or(0).saturating_sub(1));
    rate / unit * unit
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
    use crate::host::{Held, Output, fake::FakeVpu};

    /// Takes so long for each megabyte, and as long again for anything.
    struct Slow(Duration);

    impl Host for Slow {
        async fn run(&self, _: &Argv, stdin: Stdin) -> Result<Output, HostError> {
            let Stdin::Bytes(bytes) = stdin else {
                return Err(HostError::Disconnected { host: "x".into() });
            };
            let megabytes = f64::from(u32::try_from(bytes.len()).unwrap_or(u32::MAX)) / 1e6;
            tokio::time::sleep(self.0.mul_f64(1.0 + megabytes)).await;
            Ok(Output::said(format!("{}\n", bytes.len())))
        }

        async fn hold(&self, _: &Argv) -> Result<Result<Held, Output>, HostError> {
            Ok(Ok(Held::new(())))
        }

        async fn connect(&self, _: u16) -> Result<Box<dyn crate::host::ByteStream>, HostError> {
            Err(HostError::Disconnected { host: "x".into() })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_the_bytes_alone_counts() {
        // 50 MB/s, and 20 ms for anything.
        for to_send in [8 << 20, 64 << 20, 1 << 30] {
            let host = Slow(Duration::from_millis(20));
            let rate = measure(&host, to_send).await.unwrap().unwrap();
            assert!((25_000_000..=55_000_000).contains(&rate), "{rate}");
        }
        let slow = Slow(Duration::from_millis(400));
        let slow = measure(&slow, 1 << 30).await.unwrap();
        let slow = slow.unwrap();
        assert!((300_000..=700_000).contains(&slow), "{slow}");
    }

    #[tokio::test]
    async fn a_host_that_does_not_count_is_not_asked_again() {
        let vpu = FakeVpu::new(crate::host::fake::World::default());
        assert_eq!(measure(&vpu, 1 << 30).await.unwrap(), None);
    }

    #[test]
    fn noise_has_its_length() {
        assert_eq!(noise(13).len(), 13);
        assert_eq!(noise(16), [noise(13), noise(16)[13..].to_vec()].concat());
    }
}
