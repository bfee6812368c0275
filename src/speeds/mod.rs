//! Measures how fast a VPU and the way to it are, and models how long its work takes.

mod cpu;
mod link;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::{Host, HostError};

/// From so many bytes on, measuring costs less than a wrong choice: at 2 Mbit/s these take 16 s, and
/// the measurement 1 s.
pub const WORTH_MEASURING: u64 = 4 << 20;

/// How fast a VPU and the way to it are; `None` is what was not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Speeds {
    /// Bytes a second that the way to the VPU took when it was measured; by that is chosen how images are
    /// sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<u64>,
    /// Bytes a second that the VPU's processors could make up and hash; by that is chosen what is built there in
    /// place of being sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u64>,
}

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

impl Speeds {
    /// Bytes a second that the way to the VPU takes, for reckoning.
    pub fn link(self) -> u64 {
        self.link.unwrap_or(link::ASSUMED).max(1)
    }

    fn cpu(self) -> u64 {
        self.cpu.unwrap_or(cpu::ASSUMED).max(1)
    }

    /// Milliseconds to send so many bytes.
    pub fn sending(self, bytes: u64) -> u64 {
        millis(bytes, self.link())
    }

    /// Milliseconds to do what takes as long as making up and hashing so many bytes.
    pub fn working(self, bytes: u64) -> u64 {
        millis(bytes, self.cpu())
    }

    /// The link for people: `10 Mbit/s`.
    pub fn link_text(self) -> String {
        let bits = self.link().saturating_mul(8);
        if bits < 10_000_000 {
            return format!("{}.{} Mbit/s", bits / 1_000_000, bits / 100_000 % 10);
        }
        format!("{} Mbit/s", bits / 1_000_000)
    }
}

/// Milliseconds that these bytes take at so many a second.
fn millis(bytes: u64, per_second: u64) -> u64 {
    let millis = u128::from(bytes) * 1000 / u128::from(per_second);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

/// Bytes a second, to two digits: more would only be noise in plans.
fn measured(bytes: usize, took: std::time::Duration) -> u64 {
    let nanos = took.as_nanos().max(1);
    let rate = u64::try_from(bytes as u128 * 1_000_000_000 / nanos).unwrap_or(u64::MAX);
    let unit = 10_u64.pow(rate.checked_ilog10().unwrap_or(0).saturating_sub(1));
    rate / unit * unit
}
