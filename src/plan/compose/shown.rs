//! Compares a project's containers with what docker shows of what they use: networks, the namespaces of other
//! containers, and what is mounted.

use std::collections::BTreeSet;

use super::Found;
use crate::{
    observe::{Container, Shown},
    plan::{Cause, builder::Builder},
};

/// What a container uses that is gone, or another one by now: starting it does not help, only another container does.
pub(super) fn differences(builder: &Builder<'_>, container: &Container) -> Vec<Cause> {
    let name = &container.name;
    let mut causes = vec![];
    if let Some(networks) = builder.facts.networks.known() {
        let gone = container.networks.iter().filter(|(_, attachment)| {
            !attachment.id.is_empty() && !networks.contains_key(&attachment.id)
        });
        causes.extend(gone.map(|(network, _)| {
            Cause::differs(
                format!("container {name}: network {network}"),
                "one that is gone",
                "the one of that name",
            )
        }));
    }
    let containers = builder.facts.containers.known();
    let is_gone = |id: &str| containers.is_some_and(|containers| !containers.contains_key(id));
    if container.namespaces.owners().any(is_gone) {
        causes.push(Cause::differs(
            format!("container {name}: namespace"),
            "of a container that is gone",
            "of the one that replaced it",
        ));
    }
    let is_there = |name: &str| {
        let mut all = containers.into_iter().flat_map(|all| all.values());
        containers.is_none() || all.any(|other| other.name == name)
    };
    let links = container.links.iter().filter(|name| !is_there(name));
    causes.extend(links.map(|name| {
        Cause::differs(
            format!("container {}: link", container.name),
            format!("to {name}, which is gone"),
            "to the one that replaced it",
        )
    }));
    let mounts = container.mounts.iter();
    let stale = mounts.filter(|(_, mount)| mount.shown == Shown::Stale);
    causes.extend(stale.map(|(destination, mount)| {
        Cause::differs(
            format!("container {name}: mount {destination}"),
            format!("what was at {} before", mount.source),
            "what is there now",
        )
    }));
    causes
}

/// The services with a container of which that is true.
pub(super) fn services(builder: &Builder<'_>, found: &Found<'_>) -> BTreeSet<String> {
    let own = found.containers.values();
    own.filter(|container| !differences(builder, container).is_empty())
        .map(|container| container.service.clone())
        .collect()
}

/// The same services, and those whose containers use a namespace of one of theirs, or are linked to one: both go with
/// the container.
pub(super) fn with_dependants(
    found: &Found<'_>,
    mut services: BTreeSet<String>,
) -> BTreeSet<String> {
    loop {
        let is_replaced = |owner: &Container| services.contains(&owner.service);
        let uses_one = |container: &Container| {
            let mut owners = container.namespaces.owners();
            owners.any(|owner| {
                let owner = found.containers.get(&owner.to_owned());
                owner.is_some_and(|owner| is_replaced(owner))
            }) || found
                .containers
                .values()
                .any(|other| container.links.contains(&other.name) && is_replaced(other))
        };
        let own = found.containers.values().filter(|c| uses_one(c));
        let more: BTreeSet<String> = own.map(|c| c.service.clone()).collect();
        if more.is_subset(&services) {
            return services;
        }
        services.extend(more);
    }
}
