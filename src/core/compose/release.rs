//! The releases of docker-compose that a VPU can have.

use std::fmt;

/// A release of docker-compose, by the rules that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    /// 1.25.4, on firmware before 1.4.30.
    V1_25,
    /// 1.29.2, on firmware from 1.4.30 on.
    V1_29,
}

impl Release {
    /// All releases, oldest first.
    pub const ALL: [Self; 2] = [Self::V1_25, Self::V1_29];

    /// Returns the release whose rules a docker-compose of this version follows, e.g. `1.29.2`:
    /// 1.27 introduced the newer rules.
    pub fn of(version: &str) -> Self {
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(1), Some(minor)) if minor < 27 => Self::V1_25,
            _ => Self::V1_29,
        }
    }

    /// Whether it creates as many containers as `deploy.replicas` says.
    pub fn reads_replicas(self) -> bool {
        self == Self::V1_29
    }

    /// Returns the firmware that has it, completing "on …".
    pub fn firmware(self) -> &'static str {
        match self {
            Self::V1_25 => "firmware before 1.4.30",
            Self::V1_29 => "firmware from 1.4.30 on",
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_25 => "1.25.4",
            Self::V1_29 => "1.29.2",
        })
    }
}
