//! Measures the throughput of a VPU and of the link to it.

mod cpu;
mod link;

pub use o3r_core::speeds::Speeds;

use crate::host::{Host, HostError};

/// The size in bytes from which measuring costs less than a wrong choice: at 2 Mbit/s, sending them
/// takes 16 s, and measuring takes 1 s.
pub const WORTH_MEASURING: u64 = 4 << 20;

/// If sending takes at most this many milliseconds, measuring more gains nothing.
const SOON: u64 = 500;

/// Measures the link, and the processor if the choices depend on it. `to_send` is the number of
/// bytes to send.
///
/// # Errors
/// The connection is lost. What a host cannot measure is `None`.
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

/// Returns bytes a second with two significant digits: more would be noise in plans.
fn measured(bytes: usize, took: std::time::Duration) -> u64 {
    let nanos = took.as_nanos().max(1);
    let rate = u64::try_from(bytes as u128 * 1_000_000_000 / nanos).unwrap_or(u64::MAX);
    let unit = 10_u64.pow(rate.checked_ilog10().unwrap_or(0).saturating_sub(1));
    rate / unit * unit
}
