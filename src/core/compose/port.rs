//! A port on the VPU that a container publishes.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

/// A port on the VPU, on one of its addresses or on all.
///
/// Written as `8080/tcp` or `127.0.0.1:8080/udp`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct HostPort {
    /// The address; `None` means all.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// Whether it is UDP instead of TCP.
    pub udp: bool,
}

impl HostPort {
    /// Creates a port of `address`: an empty or unspecified one (`0.0.0.0`, `::`) means all, and so
    /// does text that is not an address, such as an unset variable.
    pub fn new(address: &str, port: u16, udp: bool) -> Self {
        let address = address.parse::<IpAddr>().ok();
        let address = address.map(|address| address.to_canonical());
        Self {
            address: address.filter(|address| !address.is_unspecified()),
            port,
            udp,
        }
    }

    /// Whether two programs cannot bind both.
    pub fn collides_with(&self, other: &Self) -> bool {
        self.port == other.port
            && self.udp == other.udp
            && (self.address.is_none() || other.address.is_none() || self.address == other.address)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            None => {}
        }
        write!(f, "{}/{}", self.port, if self.udp { "udp" } else { "tcp" })
    }
}

impl From<HostPort> for String {
    fn from(port: HostPort) -> Self {
        port.to_string()
    }
}

/// The text is not a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no port such as 8080/tcp")]
pub struct NoPort(String);

impl TryFrom<String> for HostPort {
    type Error = NoPort;

    fn try_from(text: String) -> Result<Self, NoPort> {
        text.parse()
    }
}

impl FromStr for HostPort {
    type Err = NoPort;

    fn from_str(text: &str) -> Result<Self, NoPort> {
        let parse = || {
            let (host, protocol) = text.split_once('/')?;
            let (address, port) = host.rsplit_once(':').unwrap_or(("", host));
            let address = address.trim_matches(['[', ']']);
            let udp = match protocol {
                "udp" => true,
                "tcp" => false,
                _ => return None,
            };
            Some(Self::new(address, port.parse().ok()?, udp))
        };
        parse().ok_or_else(|| NoPort(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(text: &str) -> HostPort {
        text.parse().unwrap()
    }

    #[test]
    fn a_port_round_trips() {
        for text in ["8080/tcp", "127.0.0.1:53/udp", "[::1]:80/tcp"] {
            assert_eq!(port(text).to_string(), text);
        }
        assert_eq!(port("0.0.0.0:80/tcp"), port("80/tcp"));
        assert_eq!(port("[::]:80/tcp"), port("80/tcp"));
        for text in ["", "80", "80/sctp", "x/tcp", "70000/tcp"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_may_be_bound_on_two_addresses() {
        assert!(port("80/tcp").collides_with(&port("127.0.0.1:80/tcp")));
        assert!(port("127.0.0.1:80/tcp").collides_with(&port("127.0.0.1:80/tcp")));
        assert!(!port("127.0.0.1:80/tcp").collides_with(&port("127.0.0.2:80/tcp")));
        assert!(!port("80/tcp").collides_with(&port("80/udp")));
        assert!(!port("80/tcp").collides_with(&port("81/tcp")));
    }
}
