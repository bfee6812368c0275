//! Drivers of docker's volumes, networks and addresses.

use serde::{Deserialize, Serialize};

/// A driver, by its name: one that docker has built in, or a plugin's.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Driver {
    /// `local`: volumes in docker's directory, or mounted with options.
    Local,
    /// `bridge`: what a network has where no file says otherwise.
    Bridge,
    /// `overlay`: a network of a swarm, which a host only shows while a container is on it.
    Overlay,
    /// `default`: docker's own way to hand out addresses.
    Default,
    /// Another one, e.g. `macvlan`, `vieux/sshfs:latest`.
    Other(String),
    /// Nobody says: an empty word.
    #[default]
    Unknown,
}

impl Driver {
    /// Its name; empty where nobody says.
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

    /// Whether nobody says.
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
    fn names_are_kept() {
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
