//! Measures the throughput of a VPU and of the link to it.

mod cpu;
mod link;

pub use o3r_core::speeds::Speeds;

use crate::host::{Host, HostError};

/// From this size on, in bytes, measuring costs less than a wrong choice: at 2 Mbit/s these take 16 s, and
/// the measurement 1 s.
pub const WORTH_MEASURING: u64 = 4 << 20;

/// What takes no longer to send, in milliseconds, is sent in whatever way: nothing is gained by measuring more.
const SOON: u64 = 500;

/// Measures the link, and the processors where something depends on them. `to_send` says how much that is.
///
/// # Errors
/// The connection is lost. What a host does not know to do is not measured.
pub async fn measure<H: Host>(host: &H, to_send: u64) -> Result<Speeds, HostError> {
    let mut speeds = Speeds {
        link: link::measure(host, to_send).await?,
        cpu: None,
    };
    if speeds.sending(to_send) > SOON {
        speeds.cpu = cpu::measure(host).await?;
    }
    Ok(speeds)
}

/// Bytes a second, to two digits: more would only be noise in plans.
fn measured(bytes: usize, took: std::time::Duration) -> u64 {
    let nanos = took.as_nanos().max(1);
    let rate = u64::try_from(bytes as u128 * 1_000_000_000 / nanos).unwrap_or(u64::MAX);
    let unit = 10_u64.pow(rate.checked_ilog10().unwrap_or(0).saturating_sub(1));
    rate / unit * unit
}
