//! Measured throughput of a VPU and of the link to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The assumed throughput of a link that was not measured, in bytes a second: 100 Mbit/s, common
/// for an industrial switch or a VPN of a plant.
const LINK: u64 = 12_500_000;

/// The assumed rate of a VPU that was not measured, in
/// bytes a second: a fifth of a PC with two cores.
const CPU: u64 = 65_000_000;

/// Throughput of a VPU and of the link to it; a value that was not measured is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Speeds {
    /// Throughput of the link in bytes a second; it decides how images are compressed and sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<u64>,
    /// Bytes a second that the VPU generates and hashes; it decides what the VPU builds instead of receiving.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u64>,
}

impl Speeds {
    /// Returns the link's throughput in bytes a second, measured or assumed.
    pub fn link(self) -> u64 {
        self.link.unwrap_or(LINK).max(1)
    }

    fn cpu(self) -> u64 {
        self.cpu.unwrap_or(CPU).max(1)
    }

    /// Returns the milliseconds that sending takes.
    pub fn sending(self, bytes: u64) -> u64 {
        millis(bytes, self.link())
    }

    /// Returns the milliseconds that work takes which costs
    /// as much as making up and hashing this many bytes.
    pub fn working(self, bytes: u64) -> u64 {
        millis(bytes, self.cpu())
    }

    /// Returns the link's throughput as shown to people: `10 Mbit/s`.
    pub fn link_text(self) -> String {
        let bits = self.link().saturating_mul(8);
        if bits < 10_000_000 {
            return format!("{}.{} Mbit/s", bits / 1_000_000, bits / 100_000 % 10);
        }
        format!("{} Mbit/s", bits / 1_000_000)
    }
}

/// Returns the milliseconds that these bytes take at a rate in bytes a second.
fn millis(bytes: u64, per_second: u64) -> u64 {
    let millis = u128::from(bytes) * 1000 / u128::from(per_second);
    u64::try_from(millis).unwrap_or(u64::MAX)
}
