//! Rules about single values: ports, environments, times, sizes.

use super::Rules;
use crate::compose::{
    Place, Release, convert,
    node::{Kind, Map, Node, Value},
    ports,
};

const POLICIES: &str = "write `always`, `unless-stopped`, `on-failure`, `on-failure:5` or `\"no\"`";
const TESTS: &str = "write `test: [CMD, PROGRAM, ARGUMENT…]` or `test: COMMAND`";
/// The largest port.
const MAX_PORT: u64 = 65_535;

pub(super) fn check(rules: &mut Rules<'_>, name: &str, service: &Map) {
    for entry in service.get("ports").into_iter().flat_map(Node::elements) {
        port(rules, name, entry);
    }
    environment(rules, name, service);
    extra_hosts(rules, name, service);
    restart(rules, service);
    healthcheck(rules, name, service);
    limits(rules, name, service);
    for node in service
        .get("security_opt")
        .into_iter()
        .flat_map(Node::elements)
    {
        let text = node.text().unwrap_or_default();
        if text != "no-new-privileges" && !text.contains(['=', ':']) {
            let message = format!("gives `{name}` the security option `{text}`");
            rules.refuse(node.place, message, "write it as `NAME=VALUE`");
        }
    }
    if let Some(node) = service.get("credential_spec")
        && !node.is_falsy()
        && node.get("file").is_none()
        && node.get("registry").is_none()
    {
        let message =
            format!("gives the `credential_spec` of `{name}` neither `file` nor `registry`");
        rules.refuse(
            node.place,
            message,
            "add one of them, or remove `credential_spec:`",
        );
    }
}

fn port(rules: &mut Rules<'_>, name: &str, entry: &Node) {
    let too_large = |rules: &mut Rules<'_>, port: u64, place: Place| {
        if port > MAX_PORT {
            let message = format!("gives `{name}` the port {port}, above {MAX_PORT}");
            rules.refuse_at_start(place, message, "write another port");
        }
    };
    match &entry.value {
        Value::Other(other) => {
            let Kind::Int(number) = other.kind else {
                let message = format!("gives `{name}` the port {}, which is not valid", other.text);
                return rules.refuse(entry.place, message, "write it in quotes: `\"8080:80\"`");
            };
            if number < 0 {
                let message = format!("gives `{name}` the port {number}, which is not valid");
                return rules.refuse(entry.place, message, "write it in quotes: `\"8080:80\"`");
            }
            if let Some((host, container)) = sixties(number, entry.place) {
                let message = format!(
                    "gives `{name}` the port `{host}:{container}` without quotes, which YAML reads in base 60 \
                     as {number}"
                );
                let help = format!("write `\"{host}:{container}\"`");
                if u64::try_from(number).is_ok_and(|number| number <= MAX_PORT) {
                    return rules.warn(entry.place, message, help);
                }
                return rules.refuse_at_start(entry.place, message, help);
            }
            too_large(
                rules,
                u64::try_from(number).unwrap_or(u64::MAX),
                entry.place,
            );
        }
        Value::String(text) => {
            if text.contains('[') && rules.release == Release::V1_25 {
                let message =
                    format!("gives `{name}` the port `{text}` with an address in brackets");
                rules.refuse(
                    entry.place,
                    message,
                    "publish it at an IPv4 address, or at all",
                );
            }
            if let Ok(port) = ports::split(text) {
                let published = port.published.unwrap_or_default();
                too_large(rules, port.target.1.max(published.1), entry.place);
                let address = port
                    .address
                    .filter(|address| address.parse::<std::net::IpAddr>().is_err());
                if let Some(address) = address {
                    let message = format!(
                        "gives `{name}` the port `{text}`, whose `{address}` is not an IP address"
                    );
                    rules.refuse_at_start(
                        entry.place,
                        message,
                        "write `[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`",
                    );
                }
            }
        }
        Value::Map(long) => {
            if long.get("target").is_none() {
                let message = format!("publishes a port for `{name}` without saying which");
                rules.refuse_at_start(entry.place, message, "add `target:`");
            }
            for key in ["target", "published"] {
                if let Some(node) = long.get(key) {
                    too_large(rules, node.number().unwrap_or_default(), node.place);
                }
            }
        }
        Value::Null | Value::List(_) => {}
    }
}

/// Returns the two parts of a number that was written in base
/// 60 without quotes, recognised by its length in the file.
fn sixties(number: i128, place: Place) -> Option<(i128, i128)> {
    let written = place.end.saturating_sub(place.start);
    let plain = number.to_string().len();
    let (host, container) = (number / 60, number % 60);
    let short = host.to_string().len() + 1 + container.to_string().len();
    let long = host.to_string().len() + 3;
    (written != plain && host > 0 && (written == short || written == long))
        .then_some((host, container))
}

fn environment(rules: &mut Rules<'_>, name: &str, service: &Map) {
    let entries = service
        .get("environment")
        .into_iter()
        .flat_map(Node::elements);
    for node in entries {
        let variable = node.text().unwrap_or_default();
        let variable = variable.split('=').next().unwrap_or_default();
        if variable.contains(char::is_whitespace) {
            let message =
                format!("gives `{name}` the variable `{variable}`, whose name has a blank");
            let help = format!("write `{}=…`, without blanks", variable.trim());
            rules.refuse(node.place, message, help);
        }
    }
}

fn extra_hosts(rules: &mut Rules<'_>, name: &str, service: &Map) {
    for node in service
        .get("extra_hosts")
        .into_iter()
        .flat_map(Node::elements)
    {
        let text = node.text().unwrap_or_default();
        if !text.contains(':') {
            let message = format!("gives `{name}` the host `{text}`, which has no `:`");
            rules.refuse_at_start(node.place, message, "write `HOST:ADDRESS`");
        }
    }
    let hosts = service.get("extra_hosts").and_then(Node::as_map);
    for (key, address) in hosts.into_iter().flat_map(Map::iter) {
        if matches!(address.value, Value::Null) {
            let message = format!(
                "gives `{name}` the host `{}`, which has no address",
                key.name
            );
            rules.refuse_at_start(key.place, message, "write `HOST:ADDRESS`");
        }
    }
}

fn restart(rules: &mut Rules<'_>, service: &Map) {
    let Some(node) = service.get("restart") else {
        return;
    };
    let Some(text) = node.as_string().filter(|text| !text.is_empty()) else {
        return;
    };
    let (policy, count) = text.split_once(':').unwrap_or((text, "0"));
    if count.trim().parse::<i64>().is_err() {
        let message = format!("has the restart policy `{text}`, which is not valid");
        return rules.refuse(node.place, message, POLICIES);
    }
    let takes_count = policy == "on-failure";
    let is_known = matches!(policy, "always" | "unless-stopped" | "on-failure" | "no");
    if !is_known || (count != "0" && !takes_count) {
        let message = format!("has the restart policy `{text}`, which docker does not know");
        rules.refuse_at_start(node.place, message, POLICIES);
    }
}

fn healthcheck(rules: &mut Rules<'_>, name: &str, service: &Map) {
    let Some(check) = service.get("healthcheck").and_then(Node::as_map) else {
        return;
    };
    if let Some((key, _)) = check.entry("disable") {
        let others = check
            .iter()
            .filter(|(key, _)| !matches!(key.name.as_str(), "disable" | "test"));
        if others.count() > 0 {
            let message = format!("disables the health check of `{name}` and also configures it");
            rules.refuse(
                key.place,
                message,
                "keep `disable: true` alone, or remove it",
            );
        }
        return;
    }
    let Some(test) = check.get("test") else {
        return;
    };
    let Value::List(list) = &test.value else {
        return;
    };
    let message = match list.first().and_then(Node::text) {
        None => format!("gives the health check of `{name}` an empty test"),
        Some("NONE") if check.0.len() > 1 => {
            format!("disables the health check of `{name}` and also configures it")
        }
        Some("NONE" | "CMD" | "CMD-SHELL") => return,
        Some(first) => format!("begins the health check of `{name}` with `{first}`"),
    };
    rules.refuse(test.place, message, TESTS);
}

fn limits(rules: &mut Rules<'_>, name: &str, service: &Map) {
    let limits = service.get("ulimits").and_then(Node::as_map);
    for (key, limit) in limits.into_iter().flat_map(Map::iter) {
        let number = |which: &str| limit.get(which).and_then(Node::text)?.parse::<i128>().ok();
        if let (Some(soft), Some(hard)) = (number("soft"), number("hard"))
            && soft > hard
        {
            let message = format!(
                "gives `{name}` the limit `{}` with `soft` above `hard`",
                key.name
            );
            rules.refuse(key.place, message, "lower `soft`");
        }
    }
    if let Some(node) = service.get("cpus")
        && node
            .text()
            .and_then(|text| text.split_once('.'))
            .is_some_and(|(_, digits)| digits.trim_end_matches('0').len() > 9)
    {
        let message =
            format!("gives `{name}` more than nine digits after the decimal point of `cpus`");
        rules.refuse(node.place, message, "write fewer digits");
    }
    for key in ["cpu_shares", "pids_limit"] {
        let node = service.get(key);
        if let Some(node) = node.filter(|node| node.as_string().is_some()) {
            let message = format!("gives `{name}` its `{key}` as a string");
            rules.refuse_at_start(node.place, message, "write it without quotes");
        }
    }
    let init = service
        .get("init")
        .filter(|node| node.as_string().is_some());
    if let Some(init) = init.filter(|_| rules.release == Release::V1_25) {
        let message = format!("gives `{name}` the path of an init, which docker rejects");
        rules.refuse_at_start(init.place, message, "write `init: true`");
    }
    let io = service.get("blkio_config").and_then(Node::as_map);
    for (key, limits) in io.into_iter().flat_map(Map::iter) {
        for limit in limits.elements() {
            let Some(rate) = limit.get("rate") else {
                continue;
            };
            let is_rate = match rate.as_string() {
                Some(text) if key.name.ends_with("_iops") => text.trim().parse::<i64>().is_ok(),
                Some(text) => convert::bytes(text).is_some(),
                None => true,
            };
            if !is_rate {
                let message = format!("gives `{name}` an invalid rate in `{}`", key.name);
                rules.refuse(
                    rate.place,
                    message,
                    "write a number, or a size such as `1mb`",
                );
            }
        }
    }
    for key in ["mem_limit", "mem_reservation", "memswap_limit", "shm_size"] {
        let Some(node) = service.get(key) else {
            continue;
        };
        if let Some(text) = node.as_string()
            && convert::bytes(text).is_none()
        {
            let message = format!("gives `{name}` the {key} `{text}`, which is no size");
            rules.refuse_at_start(node.place, message, "write a size such as `512m` or `1g`");
        }
    }
    let times = service.get("healthcheck").and_then(Node::as_map);
    let times = times.into_iter().flat_map(|check| {
        ["interval", "timeout", "start_period"]
            .into_iter()
            .filter_map(|key| Some((key, check.get(key)?)))
    });
    let grace = service.get("stop_grace_period");
    let grace = grace.map(|node| ("stop_grace_period", node));
    for (key, node) in times.chain(grace) {
        if let Some(text) = node.as_string()
            && convert::seconds(text).is_none()
        {
            let message = format!("gives `{name}` the {key} `{text}`, which is no duration");
            rules.refuse_at_start(
                node.place,
                message,
                "write a duration such as `10s` or `1m30s`",
            );
        }
    }
}
