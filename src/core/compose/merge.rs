//! Merges the definitions of a service from two files, or from it and the service that it extends,
//! as docker-compose does.

use super::{
    node::{Key, Map, Node, Value},
    ports,
};

/// Merges `over` into `base`.
pub(super) fn service(base: &Map, over: &Map) -> Map {
    let mut merged = base.clone();
    for (key, node) in over.iter() {
        let Some(below) = base.get(&key.name) else {
            merged.set(key.clone(), node.clone());
            continue;
        };
        merged.set(key.clone(), field(&key.name, below, node));
    }
    merged
}

fn field(key: &str, base: &Node, over: &Node) -> Node {
    let value = match key {
        "environment" | "labels" | "sysctls" => Value::Map(table(base, over, '=')),
        "extra_hosts" => Value::Map(table(base, over, ':')),
        "ulimits" | "storage_opt" | "healthcheck" | "blkio_config" => {
            Value::Map(table(base, over, '='))
        }
        "depends_on" => Value::Map(laid_over(conditions(base), conditions(over))),
        "deploy" => deep(base, over),
        "networks" => Value::Map(networks(base, over)),
        "logging" => logging(base, over),
        "volumes" | "devices" => listed(base, over, mount_key),
        "ports" => listed(base, over, port_key),
        "links" => listed(base, over, |node| {
            let link = node.text().unwrap_or_default();
            link.rsplit(':').next().unwrap_or_default().to_owned()
        }),
        "secrets" | "configs" => listed(base, over, |node| {
            let source = node.get("source").and_then(Node::text);
            node.text().or(source).unwrap_or_default().to_owned()
        }),
        "security_opt"
        | "cap_add"
        | "cap_drop"
        | "expose"
        | "external_links"
        | "volumes_from"
        | "device_cgroup_rules"
        | "profiles" => listed(base, over, |node| {
            node.text().unwrap_or_default().to_owned()
        }),
        "dns" | "dns_search" | "env_file" | "tmpfs" => {
            let all = base.one_or_many().chain(over.one_or_many());
            Value::List(all.cloned().collect())
        }
        _ => over.value.clone(),
    };
    Node {
        value,
        place: over.place,
    }
}

/// Returns a table, converting a list of `KEY=value`.
pub(super) fn as_table(node: &Node, separator: char) -> Map {
    match &node.value {
        Value::Map(map) => map.clone(),
        Value::List(list) => {
            let mut map = Map::default();
            for entry in list {
                let Some(text) = entry.text() else { continue };
                let (name, value) = match text.split_once(separator) {
                    Some((name, value)) => (name, Value::String(value.to_owned())),
                    None => (text, Value::Null),
                };
                let place = entry.place;
                map.set(key_of(name, entry), Node { value, place });
            }
            map
        }
        _ => Map::default(),
    }
}

fn key_of(name: &str, node: &Node) -> Key {
    Key {
        name: name.to_owned(),
        place: node.place,
        is_string: true,
    }
}

fn laid_over(mut base: Map, over: Map) -> Map {
    for (key, node) in over.0 {
        base.set(key, node);
    }
    base
}

fn table(base: &Node, over: &Node, separator: char) -> Map {
    laid_over(as_table(base, separator), as_table(over, separator))
}

/// Returns `depends_on:` as a table.
pub(super) fn conditions(node: &Node) -> Map {
    let mut map = Map::default();
    match &node.value {
        Value::Map(table) => return table.clone(),
        Value::List(list) => {
            for entry in list {
                if let Some(name) = entry.text() {
                    let condition = Node::string("service_started", entry.place);
                    let condition = Map(vec![(key_of("condition", entry), condition)]);
                    let place = entry.place;
                    let value = Value::Map(condition);
                    map.set(key_of(name, entry), Node { value, place });
                }
            }
        }
        _ => {}
    }
    map
}

/// Merges tables recursively.
fn deep(base: &Node, over: &Node) -> Value {
    let (Value::Map(below), Value::Map(above)) = (&base.value, &over.value) else {
        return over.value.clone();
    };
    let mut merged = below.clone();
    for (key, node) in above.iter() {
        let value = match below.get(&key.name) {
            Some(below) => deep(below, node),
            None => node.value.clone(),
        };
        let place = node.place;
        merged.set(key.clone(), Node { value, place });
    }
    Value::Map(merged)
}

fn networks(base: &Node, over: &Node) -> Map {
    let named = |node: &Node| match &node.value {
        Value::List(list) => {
            let names = list.iter().filter_map(|entry| {
                let value = Value::Null;
                let place = entry.place;
                Some((key_of(entry.text()?, entry), Node { value, place }))
            });
            Map(names.collect())
        }
        _ => as_table(node, '='),
    };
    let mut merged = named(base);
    for (key, node) in named(over).0 {
        let value = match (merged.get(&key.name), &node.value) {
            (Some(below), Value::Null) => below.value.clone(),
            (Some(below), _) => Value::Map(table(below, &node, '=')),
            (None, value) => value.clone(),
        };
        let place = node.place;
        merged.set(key, Node { value, place });
    }
    merged
}

fn logging(base: &Node, over: &Node) -> Value {
    let driver = |node: &Node| node.get("driver").and_then(Node::text).map(str::to_owned);
    let same = driver(over).is_none() || driver(base).is_none() || driver(over) == driver(base);
    if same {
        return deep(base, over);
    }
    over.value.clone()
}

/// Merges two lists: an entry of the second replaces the one of the first with the same key.
fn listed(base: &Node, over: &Node, key: impl Fn(&Node) -> String) -> Value {
    let mut merged: Vec<(String, Node)> = Vec::new();
    for entry in base.elements().chain(over.elements()) {
        let name = key(entry);
        match merged.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = entry.clone(),
            None => merged.push((name, entry.clone())),
        }
    }
    Value::List(merged.into_iter().map(|(_, node)| node).collect())
}

/// Returns the key of a mount or device: its path in the container.
fn mount_key(node: &Node) -> String {
    let target = match node.text() {
        Some(text) => text.split(':').nth(1).or(Some(text)),
        None => node.get("target").and_then(Node::text),
    };
    target.unwrap_or_default().to_owned()
}

fn port_key(node: &Node) -> String {
    if let Some(text) = node.text() {
        return match ports::split(text) {
            Ok(port) => format!(
                "{:?} {:?} {:?} {}",
                port.target, port.published, port.address, port.protocol
            ),
            Err(_) => text.to_owned(),
        };
    }
    let text = |key: &str| node.get(key).and_then(Node::text).unwrap_or_default();
    let number = |key: &str| {
        let port = text(key).parse::<u64>().ok();
        port.map(|port| (port, port))
    };
    let protocol = if text("protocol").is_empty() {
        "tcp"
    } else {
        text("protocol")
    };
    format!(
        "{:?} {:?} {:?} {protocol}",
        number("target").unwrap_or_default(),
        number("published"),
        None::<String>
    )
}
