//! Checks a project's services against the rules that docker-compose has beyond its schemas, and
//! against what it, or docker, refuses when the project starts.

mod mounts;
mod names;
mod values;

use std::collections::BTreeMap;

use crate::closest::did_you_mean;

use super::{
    Place, Release,
    node::{Key, Map, Node, Value},
    project::{Reading, Refusal},
};

/// The input and the findings of the rules.
struct Rules<'a> {
    root: &'a Map,
    services: Vec<(&'a Key, &'a Map)>,
    release: Release,
    /// The file format, e.g. `2.4`.
    format: &'a str,
    refusals: Vec<Refusal>,
    warnings: Vec<Refusal>,
}

/// Checks a project whose files are merged.
pub(super) fn check(root: &Map, release: Release, format: &str, reading: &mut Reading) {
    let services = root.get("services").and_then(Node::as_map);
    let services = services.map(Map::iter).into_iter().flatten();
    let mut rules = Rules {
        root,
        services: services
            .filter_map(|(key, node)| Some((key, node.as_map()?)))
            .collect(),
        release,
        format,
        refusals: Vec::new(),
        warnings: Vec::new(),
    };
    for (key, service) in rules.services.clone() {
        rules.service(key, service);
    }
    names::check(&mut rules);
    rules.externals();
    let is_new = |refusal: &Refusal| {
        let taken = |known: &Refusal| known.place == refusal.place && refusal.place.is_some();
        !reading.refusals.iter().any(taken)
    };
    let found: Vec<Refusal> = rules.refusals.into_iter().filter(is_new).collect();
    reading.refusals.extend(found);
    reading.warnings.extend(rules.warnings);
}

impl Rules<'_> {
    fn refuse(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.refusals.push(Refusal::new(Some(place), message, help));
    }

    fn refuse_at_start(
        &mut self,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let refusal = Refusal::new(Some(place), message, help).at_start();
        self.refusals.push(refusal);
    }

    fn warn(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.warnings.push(Refusal::new(Some(place), message, help));
    }

    fn has_service(&self, name: &str) -> bool {
        self.services.iter().any(|(key, _)| key.name == name)
    }

    /// Returns the entry of a top-level table.
    fn declared(&self, section: &str, name: &str) -> Option<&Node> {
        self.root.get(section)?.get(name)
    }

    fn service(&mut self, key: &Key, service: &Map) {
        let name = key.name.as_str();
        if service.get("image").is_none_or(Node::is_falsy) {
            if service.get("extends").is_some() {
                // A service that it extends cannot be read, which is reported already.
            } else if service.get("build").is_none() {
                let message = format!("gives `{name}` no image");
                self.refuse(key.place, message, "add `image:`");
            } else if name.contains(|c: char| c.is_ascii_uppercase()) {
                let message =
                    format!("builds `{name}`, whose capitals cannot be in an image's name");
                self.refuse(key.place, message, "add `image:`");
            }
        }
        self.namespaces(name, service);
        self.neighbours(name, service);
        mounts::check(self, name, service);
        values::check(self, name, service);
        self.networks(name, service);
        self.count(name, service);
        self.swarm_only(name, service);
    }

    fn namespaces(&mut self, name: &str, service: &Map) {
        let mut keys = vec![("network_mode", "network"), ("pid", "process")];
        if self.release == Release::V1_29 {
            keys.push(("ipc", "IPC"));
        }
        for (key, what) in keys {
            let Some(node) = service.get(key) else {
                continue;
            };
            let other = node.text().and_then(|mode| mode.strip_prefix("service:"));
            if let Some(other) = other.filter(|other| !self.has_service(other)) {
                let message = format!(
                    "puts `{name}` into the {what} namespace of `{other}`, which is no service"
                );
                self.refuse(node.place, message, "name a service of the file");
            }
        }
        let ipc = service.get("ipc").filter(|ipc| {
            let mode = ipc.text().unwrap_or_default();
            self.release == Release::V1_25 && mode.starts_with("service:")
        });
        if let Some(ipc) = ipc {
            let message = format!("puts `{name}` into the IPC namespace of a service");
            let help = "remove `ipc:`; docker-compose 1.25 passes it to docker unchanged";
            self.refuse_at_start(ipc.place, message, help);
        }
        let Some(mode) = service.get("network_mode").filter(|mode| !mode.is_falsy()) else {
            return;
        };
        if service.get("networks").is_some() {
            let message = format!("gives `{name}` both `network_mode` and `networks`");
            self.refuse(mode.place, message, "keep one of the two");
        }
        let publishes = service.get("ports").filter(|ports| !ports.is_falsy());
        if let (Some("host"), Some(ports)) = (mode.text(), publishes) {
            let message = format!("gives `{name}` the host's network and `ports`");
            let help = "remove `ports:`; on the host's network every port is the VPU's own";
            self.refuse_at_start(ports.place, message, help);
        }
    }

    /// Checks the services that this one refers to.
    fn neighbours(&mut self, name: &str, service: &Map) {
        const HELP: &str = "name a service of the file";
        if let Some(node) = service.get("depends_on") {
            for (key, _) in super::merge::conditions(node).iter() {
                if !self.has_service(&key.name) {
                    let message = format!(
                        "lets `{name}` depend on `{}`, which is no service",
                        key.name
                    );
                    self.refuse(key.place, message, HELP);
                }
            }
        }
        for node in service.get("links").into_iter().flat_map(Node::elements) {
            let other = node.text().unwrap_or_default();
            let other = other.split(':').next().unwrap_or_default();
            if !self.has_service(other) {
                let message = format!("links `{name}` to `{other}`, which is no service");
                self.refuse(node.place, message, HELP);
            }
        }
        for node in service
            .get("volumes_from")
            .into_iter()
            .flat_map(Node::elements)
        {
            let text = node.text().unwrap_or_default();
            let parts: Vec<&str> = text.split(':').collect();
            let source = match parts.as_slice() {
                ["container", ..] | [] => continue,
                ["service", source, _] | [source] | [source, _] => *source,
                _ => {
                    let message = format!("takes the volumes of `{text}` for `{name}`");
                    self.refuse(node.place, message, "write `SERVICE` or `SERVICE:ro`");
                    continue;
                }
            };
            if !self.has_service(source) {
                let message =
                    format!("takes the volumes of `{source}` for `{name}`, which is no service");
                self.refuse_at_start(node.place, message, HELP);
            }
        }
    }

    fn networks(&mut self, name: &str, service: &Map) {
        let Some(node) = service.get("networks") else {
            return;
        };
        let listed = node
            .elements()
            .filter_map(|node| Some((node.text()?, node.place)));
        let keyed = node.as_map().into_iter().flat_map(Map::iter);
        let keyed = keyed.map(|(key, _)| (key.name.as_str(), key.place));
        let used: Vec<(&str, Place)> = listed.chain(keyed).collect();
        for (network, place) in used {
            let is_declared = self
                .root
                .get("networks")
                .and_then(Node::as_map)
                .is_some_and(|networks| networks.get(network).is_some());
            if network != "default" && !is_declared {
                let message = format!(
                    "puts `{name}` into the network `{network}`, which it does not declare"
                );
                let help = self.declare("networks", network, "{}");
                self.refuse_at_start(place, message, help);
            }
        }
    }

    /// Checks the number of a service's containers.
    fn count(&mut self, name: &str, service: &Map) {
        let scale = service.get("scale");
        let deploy = service.get("deploy");
        if let Some((key, node)) = service.entry("deploy")
            && self.release.reads_replicas()
            && matches!(node.value, Value::Null)
        {
            let message = format!("gives `{name}` an empty `deploy`");
            self.refuse_at_start(key.place, message, "remove `deploy:`");
        }
        let mode = deploy.and_then(|deploy| deploy.get("mode")?.text());
        let replicas = deploy
            .and_then(|deploy| deploy.get("replicas"))
            .filter(|_| {
                self.release.reads_replicas() && mode.is_none_or(|mode| mode == "replicated")
            });
        if let (Some(_), Some(replicas)) = (scale, replicas) {
            let message = format!("gives `{name}` both `scale` and `deploy.replicas`");
            self.refuse_at_start(replicas.place, message, "keep one of the two");
        }
        let Some(count) = scale.or(replicas) else {
            return;
        };
        let is_many = count.number().is_some_and(|count| count > 1);
        let has_fixed_port = service
            .get("ports")
            .into_iter()
            .flat_map(Node::elements)
            .find(|port| {
                let short = port
                    .as_string()
                    .and_then(|text| super::ports::split(text).ok());
                let is_one = short
                    .and_then(|port| port.published)
                    .is_some_and(|(a, b)| a == b);
                is_one
                    || port
                        .get("published")
                        .is_some_and(|published| published.number().is_some())
            });
        if let (Some(port), true) = (has_fixed_port, is_many) {
            let message = format!(
                "wants {} containers of `{name}`, all at one port of the VPU",
                count.text().unwrap_or_default()
            );
            self.refuse_at_start(
                port.place,
                message,
                "let docker choose the port: `\"80\"`, or use one container",
            );
        }
        if let (Some(container), true) = (service.get("container_name"), is_many) {
            let message = format!(
                "wants {} containers of `{name}`, all with the name `{}`",
                count.text().unwrap_or_default(),
                container.text().unwrap_or_default()
            );
            self.refuse_at_start(
                count.place,
                message,
                "remove `container_name:`, or use one container",
            );
        }
    }

    /// Returns the help for a name that a top-level section lacks; `value` is the value that an
    /// entry of the section has.
    fn declare(&self, section: &str, name: &str, value: &str) -> String {
        let Some(node) = self.root.get(section) else {
            return format!("add `{section}: {{{name}: {value}}}` at the top level");
        };
        let known = node.as_map().into_iter().flat_map(Map::iter);
        match did_you_mean(name, known.map(|(key, _)| key.name.as_str())) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if value == "{}" => format!("add `{name}:` below `{section}:`"),
            None => format!("add `{name}: {value}` below `{section}:`"),
        }
    }

    /// Checks for keys that docker-compose ignores because they are for a swarm.
    fn swarm_only(&mut self, name: &str, service: &Map) {
        if let Some((key, _)) = service
            .entry("configs")
            .filter(|(_, node)| !node.is_falsy())
        {
            let message = format!("gives `{name}` configs, which docker-compose 1 ignores");
            let help =
                "mount the file: `volumes: [./FILE:/PATH:ro]`, with `\"FILE\"` in `extra_files`";
            self.warn(key.place, message, help);
        }
        for node in service.get("secrets").into_iter().flat_map(Node::elements) {
            let source = node.get("source").and_then(Node::text);
            let Some(source) = node.text().or(source) else {
                continue;
            };
            let declared = self.declared("secrets", source);
            let Some(secret) = declared.filter(|secret| !secret.is_falsy()) else {
                let message =
                    format!("gives `{name}` the secret `{source}`, which it does not declare");
                let help = self.declare("secrets", source, "{file: ./FILE}");
                self.refuse_at_start(node.place, message, help);
                continue;
            };
            if secret.get("external").is_some_and(|node| !node.is_falsy()) {
                let message = format!(
                    "gives `{name}` the external secret `{source}`, which docker-compose ignores"
                );
                self.warn(node.place, message, "give it a `file:`");
            }
        }
    }

    /// Checks that external resources have no attributes.
    fn externals(&mut self) {
        for section in ["volumes", "networks", "secrets", "configs"] {
            let entries = self.root.get(section).and_then(Node::as_map);
            for (key, node) in entries.into_iter().flat_map(Map::iter) {
                let Some(map) = node.as_map() else { continue };
                if map.get("external").is_none_or(Node::is_falsy) {
                    continue;
                }
                let other = map.iter().find(|(attribute, _)| {
                    let is_driver = section == "networks" && attribute.name == "driver";
                    match self.release {
                        Release::V1_25 => {
                            takes_no_name(self.format) && attribute.name != "external"
                        }
                        Release::V1_29 => {
                            !is_driver && !matches!(attribute.name.as_str(), "external" | "name")
                        }
                    }
                });
                if let Some((attribute, _)) = other {
                    let message = format!(
                        "gives `{section}.{}` the key `{}`, though it is external",
                        key.name, attribute.name
                    );
                    let place = attribute.place;
                    self.refuse(place, message, "remove the key, or `external:`");
                }
            }
        }
    }
}

/// Whether 1.25.4 refuses a `name:` of an external resource in this format.
fn takes_no_name(format: &str) -> bool {
    matches!(format, "2.0" | "3.0" | "3.1" | "3.2" | "3.3")
}

/// The first place of each name that must be unique.
type Firsts = BTreeMap<String, Place>;
