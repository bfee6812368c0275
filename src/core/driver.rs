//! Drivers of docker's volumes, networks and addresses.

use serde::{Deserialize, Serialize};

/// The name of a driver: a built-in one of docker, or a plugin's.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Driver {
    /// `local`: volumes in docker's directory, or mounted with options.
    Local,
    /// `bridge`: the default of networks.
    Bridge,
    /// `overlay`: a network of a swarm, which a host shows only while a container is on it.
    Overlay,
    /// `default`: docker's own way of assigning addresses.
    Default,
    /// Any other, e.g. `macvlan`, `vieux/sshfs:latest`.
    Other(String),
    /// Not specified: an empty word.
    #[default]
    Unknown,
}

impl Driver {
    /// Returns the name; empty if unknown.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::Bridge => "bridge",
            Self::Overlay => "overlay",
            Self::Default => "default",
            Self::Other(name) => name,
            Self::Unknown => "",
        }
    }

    /// Whether no driver is specified.
    pub fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

impl From<&str> for Driver {
    fn from(name: &str) -> Self {
        match name {
            "local" => Self::Local,
            "bridge" => Self::Bridge,
            "overlay" => Self::Overlay,
            "default" => Self::Default,
            "" => Self::Unknown,
            other => Self::Other(other.to_owned()),
        }
    }
}

text_form!(Driver);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in [
            "local",
            "bridge",
            "overlay",
            "default",
            "vieux/sshfs:latest",
            "",
        ] {
            assert_eq!(Driver::from(name).as_str(), name);
        }
        assert!(Driver::from("").is_unknown() && !Driver::Local.is_unknown());
    }
}
