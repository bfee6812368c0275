//! Top-level volumes and networks of a compose file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Place,
    node::{Key, Node, Value},
};
use crate::{driver::Driver, redact::redact};

/// A top-level volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// The key by which services refer to it.
    pub key: String,
    /// Docker's name for it, if specified.
    pub name: Option<String>,
    /// Whether compose expects it to exist.
    pub external: bool,
    /// The driver, if specified.
    pub driver: Option<Driver>,
    /// `driver_opts`, as docker-compose writes them: every
    /// value is a string; passwords are removed.
    pub options: BTreeMap<String, String>,
    /// The place of its key.
    pub place: Place,
}

impl Volume {
    /// Returns docker's name of an external volume.
    pub fn external_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.key)
    }

    /// Returns docker's names for it in a project: the one that docker-compose 1.x creates, and the
    /// one of much older versions, which is used if it exists.
    pub fn docker_names(&self, project: &str) -> (String, Option<String>) {
        // docker-compose drops these characters from names of volumes only.
        let project = project.trim_start_matches(['-', '_']);
        names((&self.key, self.name.as_deref(), self.external), project)
    }
}

/// A top-level network, or the one that docker-compose adds for services that name none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// The key by which services refer to it.
    pub key: String,
    /// Docker's name for it, if specified.
    pub name: Option<String>,
    /// Whether compose expects it to exist.
    pub external: bool,
    /// The driver, if specified.
    pub driver: Option<Driver>,
    /// `driver_opts`, as docker-compose writes them: every
    /// value is a string; passwords are removed.
    pub options: BTreeMap<String, String>,
    /// `internal:`, if specified.
    pub internal: Option<bool>,
    /// `enable_ipv6:`, if specified.
    pub ipv6: Option<bool>,
    /// The driver that assigns addresses, if specified.
    pub ipam_driver: Option<Driver>,
    /// That driver's options, as strings.
    #[serde(default)]
    pub ipam_options: BTreeMap<String, String>,
    /// The address pools; if empty, docker chooses.
    pub pools: Vec<Pool>,
    /// The place of its key.
    pub place: Place,
}

impl Network {
    /// Returns docker's names for it in a project: the one that docker-compose 1.x creates, and the
    /// one of much older versions, which is used if it exists.
    pub fn docker_names(&self, project: &str) -> (String, Option<String>) {
        names((&self.key, self.name.as_deref(), self.external), project)
    }
}

/// An address pool of a network, as written in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pool {
    /// E.g. `10.20.0.0/24`.
    pub subnet: Option<String>,
    /// E.g. `10.20.0.1`.
    pub gateway: Option<String>,
    /// The part of the subnet that containers get addresses from (`ip_range`).
    pub range: Option<String>,
}

fn names(
    (key, name, external): (&str, Option<&str>, bool),
    project: &str,
) -> (String, Option<String>) {
    match name {
        Some(name) => (name.to_owned(), None),
        None if external => (key.to_owned(), None),
        None => {
            let bare = project.replace(['_', '-'], "");
            let older = (bare != project).then(|| format!("{bare}_{key}"));
            (format!("{project}_{key}"), older)
        }
    }
}

pub(super) fn volume(key: &Key, node: &Node) -> Volume {
    let (name, external) = external(node);
    Volume {
        key: key.name.clone(),
        name,
        external,
        driver: driver(node),
        options: options(node, "driver_opts"),
        place: key.place,
    }
}

pub(super) fn network(key: &Key, node: &Node) -> Network {
    let (name, external) = external(node);
    let flag = |key: &str| {
        let node = node.get(key)?;
        (!matches!(node.value, Value::Null)).then(|| node.is_true())
    };
    let ipam = node.get("ipam");
    let pools = ipam.and_then(|ipam| ipam.get("config"));
    let pools = pools.into_iter().flat_map(Node::elements).map(|pool| Pool {
        subnet: word(pool, "subnet"),
        gateway: word(pool, "gateway"),
        range: word(pool, "ip_range"),
    });
    Network {
        key: key.name.clone(),
        name,
        external,
        driver: driver(node),
        options: options(node, "driver_opts"),
        internal: flag("internal"),
        ipv6: flag("enable_ipv6"),
        ipam_driver: ipam.and_then(driver),
        ipam_options: ipam
            .map(|ipam| options(ipam, "options"))
            .unwrap_or_default(),
        pools: pools.filter(|pool| *pool != Pool::default()).collect(),
        place: key.place,
    }
}

fn driver(node: &Node) -> Option<Driver> {
    word(node, "driver").map(Driver::from)
}

/// Returns a scalar value that is not empty.
fn word(node: &Node, key: &str) -> Option<String> {
    let text = node.get(key)?.text()?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn options(node: &Node, key: &str) -> BTreeMap<String, String> {
    let Some(Value::Map(options)) = node.get(key).map(|node| &node.value) else {
        return BTreeMap::new();
    };
    let value = |node: &Node| node.text().unwrap_or_default().to_owned();
    let options = options.iter();
    let options = options.map(|(key, node)| (key.name.clone(), value(node)));
    redact(options.collect())
}

/// Returns the name and whether it is external, in the old form or the new.
fn external(node: &Node) -> (Option<String>, bool) {
    let Value::Map(table) = &node.value else {
        return (None, false);
    };
    let name = |node: &Node| node.get("name").and_then(Node::text).map(str::to_owned);
    let (old_name, is_external) = match table.get("external") {
        Some(external) if matches!(external.value, Value::Map(_)) => (name(external), true),
        Some(external) => (None, external.is_true()),
        None => (None, false),
    };
    (name(node).or(old_name), is_external)
}
