//! Parses which ports are taken, from the kernel's socket tables and docker's bindings.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::Deserialize;

use super::{Probed, Published};
use crate::compose::HostPort;

/// The address and port that docker binds for a container's port, in docker's notation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Binding {
    host_ip: String,
    host_port: String,
}

/// Returns the ports that docker binds for a container, by the container's own port (`80/tcp`).
/// Omits ports that docker chooses at each start.
pub(super) fn bound(bindings: BTreeMap<String, Option<Vec<Binding>>>) -> BTreeSet<HostPort> {
    let bindings = bindings.into_iter().flat_map(|(of, bindings)| {
        let udp = of.ends_with("/udp");
        bindings.into_iter().flatten().filter_map(move |binding| {
            let port = binding.host_port.parse().ok()?;
            Some(HostPort::new(&binding.host_ip, port, udp))
        })
    });
    bindings.collect()
}

/// Returns all bindings in docker's notation.
pub(super) fn published(bindings: &BTreeMap<String, Option<Vec<Binding>>>) -> BTreeSet<Published> {
    let bindings = bindings.iter().flat_map(|(container, bindings)| {
        let bindings = bindings.iter().flatten();
        bindings.map(move |binding| Published {
            container: container.clone(),
            address: binding.host_ip.clone(),
            port: binding.host_port.clone(),
        })
    });
    bindings.collect()
}

/// Parses lines of `/proc/net/{tcp,tcp6,udp,udp6}`, with each table after its name.
pub(super) fn parse(text: &str) -> Probed<BTreeSet<HostPort>> {
    let mut udp = None;
    let mut ports = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line {
            "tcp" | "tcp6" => udp = Some(false),
            "udp" | "udp6" => udp = Some(true),
            _ => {
                let Some(port) = udp.and_then(|udp| socket(line, udp)) else {
                    return Probed::Unknown(format!("unexpected line {line:?} in /proc/net"));
                };
                ports.insert(port);
            }
        }
    }
    match udp {
        Some(_) => Probed::Known(ports),
        None => Probed::Unknown("/proc/net cannot be read".to_owned()),
    }
}

/// Parses `  0: 0100007F:1F90 00000000:0000 0A …`. Addresses are 32-bit words in the byte order of
/// a little-endian machine, which every VPU and PC is.
fn socket(line: &str, udp: bool) -> Option<HostPort> {
    let local = line.split_ascii_whitespace().nth(1)?;
    let (address, port) = local.split_once(':')?;
    let word = |from: usize| u32::from_str_radix(address.get(from..from + 8)?, 16).ok();
    let address = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?.swap_bytes())),
        32 => {
            let mut octets = [0; 16];
            for (index, four) in octets.chunks_mut(4).enumerate() {
                four.copy_from_slice(&word(8 * index)?.to_le_bytes());
            }
            IpAddr::from(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(HostPort::new(&address.to_string(), port, udp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_tables_of_a_twin_are_parsed() {
        let text = "tcp\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:0 0 0\n   1: \
                    00000000:0016 00000000:0000 0A 0\ntcp6\n   0: \
                    00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A \
                    0\n   1: 00000000000000000000000000000000:0016 0:0000 0A\nudp\n 12: \
                    00000000:0044 00000000:0000 07\n";
        let Probed::Known(ports) = parse(text) else {
            panic!("{:?}", parse(text));
        };
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        assert_eq!(
            ports,
            ["22/tcp", "68/udp", "127.0.0.1:8080/tcp", "[::1]:80/tcp"]
        );
    }

    #[test]
    fn a_missing_table_is_unknown_and_an_empty_one_is_not() {
        assert_eq!(parse("tcp\n"), Probed::Known(BTreeSet::new()));
        assert!(matches!(parse(""), Probed::Unknown(_)));
        assert!(matches!(parse("tcp\nnonsense\n"), Probed::Unknown(_)));
    }
}
