//! Splits the short form of a port as docker's Python library does.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A parsed `[[address:]published:]target[/protocol]`, with its ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) address: Option<String>,
    /// The range of ports on the VPU; `None` if docker chooses.
    pub(super) published: Option<(u64, u64)>,
    pub(super) target: (u64, u64),
    pub(super) protocol: String,
}

fn range(text: &str) -> Option<(u64, u64)> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    match text.split_once('-') {
        Some((first, last)) => Some((number(first)?, number(last)?)),
        None => number(text).map(|port| (port, port)),
    }
}

/// Splits a port; the error says why it is invalid.
pub(super) fn split(text: &str) -> Result<Port, String> {
    let parse = || {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        if !matches!(protocol, "tcp" | "udp" | "sctp") {
            return None;
        }
        let Some((host, target)) = ports.rsplit_once(':') else {
            let target = range(ports)?;
            return Some((None, "", target, protocol));
        };
        let target = range(target)?;
        let (address, published) = match host.rsplit_once(':') {
            Some((address, published)) => (Some(address), published),
            None => (None, host),
        };
        let address = match address {
            Some(address) => {
                let bare = address.strip_prefix('[').unwrap_or(address);
                let bare = bare.strip_suffix(']').unwrap_or(bare);
                let is_of = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
                if bare.is_empty() || !bare.chars().all(is_of) {
                    return None;
                }
                Some(bare)
            }
            None => None,
        };
        Some((address, published, target, protocol))
    };
    let form = || "it is not of the form `[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`".to_owned();
    let (address, published, target, protocol) = parse().ok_or_else(form)?;
    let published = if published.is_empty() {
        None
    } else {
        Some(range(published).ok_or_else(form)?)
    };
    let count = |(first, last): (u64, u64)| (last + 1).saturating_sub(first);
    if published.is_none() && address.is_none() && text.contains(':') {
        return Err("no port of the VPU stands before its `:`".to_owned());
    }
    if let Some(published) = published {
        // A single container port may be published on any port of a range.
        let is_any = target.0 == target.1 && published.0 != published.1;
        if !is_any && count(published) != count(target) {
            return Err("its two ranges have different lengths".to_owned());
        }
    }
    Ok(Port {
        address: address.map(str::to_owned),
        published,
        target,
        protocol: protocol.to_owned(),
    })
}

/// Whether the text is a valid entry of `expose:`.
pub(super) fn is_expose(text: &str) -> bool {
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, protocol)) => (ports, Some(protocol)),
        None => (text, None),
    };
    let is_protocol =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphabetic());
    range(ports).is_some() && protocol.is_none_or(is_protocol)
}

/// Whether the text is a network such as `172.28.0.0/16`.
pub(super) fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let Ok(bits) = bits.parse::<u8>() else {
        return false;
    };
    match address.parse::<Ipv4Addr>() {
        Ok(_) => bits <= 32,
        Err(_) => address.parse::<Ipv6Addr>().is_ok() && bits <= 128,
    }
}
