//! Rules about names: of containers, and of services that depend on each other.

use std::collections::BTreeMap;

use super::{Firsts, Rules};
use crate::compose::{
    merge,
    node::{Map, Node},
};

pub(super) fn check(rules: &mut Rules<'_>) {
    containers(rules);
    circles(rules);
}

fn containers(rules: &mut Rules<'_>) {
    let mut first = Firsts::new();
    for (key, service) in rules.services.clone() {
        let Some(node) = service.get("container_name") else {
            continue;
        };
        let Some(name) = node.text() else { continue };
        let mut chars = name.chars();
        let starts_well = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if !starts_well || name.len() < 2 || !chars.all(is_name) {
            let message = format!(
                "calls the container of `{}` `{name}`, which is not a valid name",
                key.name
            );
            let help = "names have letters, digits, `_`, `.` and `-`, two characters or more";
            rules.refuse_at_start(node.place, message, help);
        }
        if let Some(earlier) = first.insert(name.to_owned(), node.place) {
            let message = format!(
                "calls the container of `{}` `{name}`, like another one at line {}",
                key.name, earlier.line
            );
            rules.refuse_at_start(node.place, message, "give one of them another name");
        }
    }
}

/// Returns the services that must start before this one.
fn needs(service: &Map) -> Vec<String> {
    let first = |node: &Node| {
        let text = node.text().unwrap_or_default();
        text.split(':').next().unwrap_or_default().to_owned()
    };
    let mut needs: Vec<String> = Vec::new();
    if let Some(node) = service.get("depends_on") {
        needs.extend(
            merge::conditions(node)
                .iter()
                .map(|(key, _)| key.name.clone()),
        );
    }
    let links = service.get("links").into_iter().flat_map(Node::elements);
    needs.extend(links.map(first));
    let from = service
        .get("volumes_from")
        .into_iter()
        .flat_map(Node::elements);
    needs.extend(from.map(|node| {
        let text = node.text().unwrap_or_default();
        text.strip_prefix("service:").map_or_else(
            || first(node),
            |rest| rest.split(':').next().unwrap_or_default().to_owned(),
        )
    }));
    for key in ["network_mode", "pid", "ipc"] {
        let mode = service.get(key).and_then(Node::text);
        needs.extend(
            mode.and_then(|mode| mode.strip_prefix("service:"))
                .map(str::to_owned),
        );
    }
    needs
}

/// Reports services that depend on each other in a cycle.
fn circles(rules: &mut Rules<'_>) {
    let services = rules.services.clone();
    let needs: BTreeMap<&str, Vec<String>> = services
        .iter()
        .map(|(key, service)| (key.name.as_str(), needs(service)))
        .collect();
    for (key, _) in &services {
        // A service that reaches itself is in a cycle; each cycle is reported at its first service.
        let mut open: Vec<&str> = vec![&key.name];
        let mut seen: Vec<&str> = Vec::new();
        let mut is_circle = false;
        while let Some(name) = open.pop() {
            for next in needs.get(name).into_iter().flatten() {
                is_circle |= *next == key.name;
                if !seen.contains(&next.as_str()) {
                    seen.push(next);
                    open.push(next);
                }
            }
        }
        if is_circle {
            let message = format!("lets `{}` depend on itself", key.name);
            let help = "break the cycle of `depends_on`, `links`, `volumes_from` and namespaces";
            rules.refuse(key.place, message, help);
            return;
        }
    }
}
