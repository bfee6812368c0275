//! Compares a project's containers with what docker shows of the resources that they use: networks,
//! the namespaces of other containers, and mounts.

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use crate::{
    desired::Project,
    facts::{Container, Shown},
    plan::{Cause, NoteCode, builder::Builder},
};

/// Returns the resources of a container that no longer exist or were replaced: starting the
/// container again does not help, only recreating it.
pub(super) fn differences(
    builder: &Builder<'_>,
    project: &Project,
    container: &Container,
) -> Vec<Cause> {
    let name = &container.name;
    let mut causes: Vec<Cause> = detached(builder, project, container).collect();
    if let Some(networks) = builder.facts.networks.known() {
        let gone = container.networks.iter().filter(|(_, attachment)| {
            !attachment.id.is_empty() && !networks.contains_key(&attachment.id)
        });
        causes.extend(gone.map(|(network, _)| {
            Cause::differs(
                format!("container {name}: network {network}"),
                "a removed network",
                "the current one",
            )
        }));
    }
    let containers = builder.facts.containers.known();
    let is_gone = |id: &str| containers.is_some_and(|containers| !containers.contains_key(id));
    if container.namespaces.owners().any(is_gone) {
        causes.push(Cause::differs(
            format!("container {name}: namespace"),
            "of a removed container",
            "of its replacement",
        ));
    }
    causes.extend(elsewhere(project, container, containers));
    let is_there = |name: &str| {
        let mut all = containers.into_iter().flat_map(|all| all.values());
        containers.is_none() || all.any(|other| other.name == name)
    };
    let links = container.links.iter().filter(|name| !is_there(name));
    causes.extend(links.map(|name| {
        Cause::differs(
            format!("container {}: link", container.name),
            format!("to {name}, which was removed"),
            "to its replacement",
        )
    }));
    causes.extend(limited(project, container));
    let mounts = container.mounts.iter();
    let stale = mounts.filter(|(_, mount)| mount.shown == Shown::Stale);
    causes.extend(stale.map(|(destination, mount)| {
        Cause::differs(
            format!("container {name}: mount {destination}"),
            format!("an old {}, replaced since", mount.source),
            "the current one",
        )
    }));
    causes
}

/// Returns the namespaces of other services that a container should share and does not: if such a
/// service has no container when docker-compose creates the sharing one, it warns and gives that
/// one a namespace of its own.
fn elsewhere(
    project: &Project,
    container: &Container,
    all: Option<&BTreeMap<String, Container>>,
) -> Vec<Cause> {
    let Some(service) = project.services.get(&container.service) else {
        return vec![];
    };
    let namespaces = [
        (
            "network",
            &service.network_of,
            &container.namespaces.network,
        ),
        ("process", &service.processes_of, &container.namespaces.pid),
    ];
    let cause = |(kind, wanted, mode): (&str, &Option<String>, &String)| {
        let wanted = wanted.as_ref()?;
        let is = match mode.strip_prefix("container:") {
            // A removed one is reported by [`differences`] already.
            Some(owner) => match all?.get(owner)? {
                owner if owner.project == project.name && owner.service == *wanted => return None,
                owner => format!("of container {}", owner.name),
            },
            None => "its own".to_owned(),
        };
        let attribute = format!("container {}: {kind} namespace", container.name);
        Some(Cause::differs(
            attribute,
            is,
            format!("of service {wanted}"),
        ))
    };
    namespaces.into_iter().filter_map(cause).collect()
}

/// Returns limits that somebody set by `docker update`. Docker cannot remove them again. A limit
/// that the kernel does not support shows as none, so an absent limit is no difference.
fn limited(project: &Project, container: &Container) -> Vec<Cause> {
    let service = project.services.get(&container.service);
    let Some(wanted) = service.and_then(|service| service.limits.as_ref()) else {
        return vec![];
    };
    let limits = container.limits.named().into_iter().zip(wanted.named());
    let others = limits.filter(|((_, is), (_, wanted))| !is.is_empty() && is != wanted);
    let cause = |((key, is), (_, wanted)): ((&str, String), (_, String))| {
        let wanted = if wanted.is_empty() {
            "no limit".to_owned()
        } else {
            wanted
        };
        Cause::differs(format!("container {}: {key}", container.name), is, wanted)
    };
    others.map(cause).collect()
}

/// Returns the service's networks that a container is not on, or is
/// on without the service's name as an alias, by which others find
/// it. docker-compose's hash does not cover a disconnected network.
fn detached<'a>(
    builder: &'a Builder<'_>,
    project: &'a Project,
    container: &'a Container,
) -> impl Iterator<Item = Cause> + 'a {
    // With another container's network, or none, the definition decides.
    let mode = &container.namespaces.network;
    let is_elsewhere = mode.starts_with("container:") || matches!(mode.as_str(), "host" | "none");
    let service = project.services.get(&container.service);
    let keys = service
        .filter(|_| !is_elsewhere)
        .into_iter()
        .flat_map(|service| &service.networks)
        .collect::<BTreeSet<_>>();
    // Podman stores these aliases elsewhere.
    let docker = builder.facts.docker.known();
    let has_aliases = docker.is_some_and(|docker| docker.podman.is_none());
    let networks = project.networks.iter();
    let networks = networks.filter(move |network| keys.contains(&network.declared.key));
    networks.filter_map(move |network| {
        let by_name = container.networks.get(&network.name);
        let older = network.older_name.as_ref();
        let attached = by_name.or_else(|| container.networks.get(older?));
        let attribute = format!("container {}: network {}", container.name, network.name);
        let Some(attached) = attached else {
            return Some(Cause::differs(attribute, "not connected", "connected"));
        };
        let is_named = attached.aliases.contains(&container.service);
        (has_aliases && !is_named).then(|| {
            let wanted = format!("known as {}", container.service);
            Cause::differs(attribute, "without the service's name", wanted)
        })
    })
}

/// Notes networks that somebody connected containers to: the connection stays.
pub(super) fn note(builder: &mut Builder<'_>, project: &Project, found: &Found<'_>) {
    let is_own = |name: &String| {
        let mut networks = project.networks.iter();
        networks.any(|own| own.name == *name || own.older_name.as_ref() == Some(name))
    };
    for container in found.containers.values() {
        let service = project.services.get(&container.service);
        if service.is_none_or(|service| service.networks.is_empty()) {
            continue;
        }
        for name in container.networks.keys().filter(|name| !is_own(name)) {
            builder.note(NoteCode::ExtraNetwork, format!(
                "container {} is also on the network {name}, which its compose file does not name",
                container.name
            ));
        }
    }
}

/// Returns the services with a container that differs.
pub(super) fn services(
    builder: &Builder<'_>,
    project: &Project,
    found: &Found<'_>,
) -> BTreeSet<String> {
    let own = found.containers.values();
    own.filter(|container| !differences(builder, project, container).is_empty())
        .map(|container| container.service.clone())
        .collect()
}

/// Returns these services, and those whose containers use a namespace of theirs or are linked to
/// them: both break when the container is recreated.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compose::Limits,
        desired::Service,
        facts::{Attachment, Namespaces},
        offers::Offers,
        testing,
    };

    #[test]
    fn a_limit_is_compared_only_if_docker_reports_one() {
        let limits = |memory, pids| Limits {
            memory,
            pids,
            ..Limits::default()
        };
        let causes = |wanted: Option<Limits>, is| {
            let main = Service {
                limits: wanted,
                ..Service::default()
            };
            let project = testing::project("app", [("main", main)]);
            let container = Container {
                name: "app_main_1".into(),
                service: "main".into(),
                limits: is,
                ..Container::default()
            };
            limited(&project, &container)
        };
        let differs = |key: &str, is: &str, wanted: &str| {
            Cause::differs(format!("container app_main_1: {key}"), is, wanted)
        };
        assert_eq!(causes(Some(limits(64, 0)), limits(64, 0)), []);
        assert_eq!(
            causes(Some(limits(64, 9)), limits(32, 9)),
            [differs("mem_limit", "32", "64")]
        );
        assert_eq!(
            causes(Some(limits(0, 0)), limits(32, 9)),
            [
                differs("mem_limit", "32", "no limit"),
                differs("pids_limit", "9", "no limit")
            ]
        );
        // The kernel may not support the limit.
        assert_eq!(causes(Some(limits(64, 9)), limits(0, 0)), []);
        assert_eq!(causes(None, limits(32, 9)), []);
    }

    #[test]
    fn a_container_in_the_namespace_of_another_service_or_project_differs() {
        let service = Service {
            network_of: Some("root".into()),
            ..Service::default()
        };
        let project = testing::project("app", [("main", service)]);
        let differs = |mode: &str, owner: (&str, &str)| {
            let container = Container {
                service: "main".into(),
                namespaces: Namespaces {
                    network: mode.into(),
                    ..Namespaces::default()
                },
                ..Container::default()
            };
            let owner = Container {
                project: owner.0.into(),
                service: owner.1.into(),
                ..Container::default()
            };
            let all = [("9".to_owned(), owner)].into();
            !elsewhere(&project, &container, Some(&all)).is_empty()
        };
        assert!(!differs("container:9", ("app", "root")));
        assert!(differs("container:9", ("app", "other")));
        assert!(differs("container:9", ("other", "root")));
        assert!(!differs("container:8", ("app", "root")), "it is gone");
        assert!(differs("bridge", ("app", "root")));
    }

    #[test]
    fn a_network_is_the_projects_own_by_both_of_its_names() {
        let service = Service {
            networks: vec!["front".into()],
            ..Service::default()
        };
        let mut project = testing::project("app", [("main", service)]);
        project.networks = vec![crate::desired::Network {
            name: "app_front".into(),
            older_name: Some("app-front".into()),
            used: true,
            declared: crate::compose::Network::default(),
        }];
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let is_noted = |network: &str| {
            let container = Container {
                service: "main".into(),
                networks: [(network.to_owned(), Attachment::default())].into(),
                ..Container::default()
            };
            let id = "1".to_owned();
            let found = Found {
                containers: [(&id, &container)].into(),
                started: None,
            };
            let mut builder = Builder::new(&desired, &observed, &offers);
            note(&mut builder, &project, &found);
            !builder.finish("host").notes.is_empty()
        };
        assert!(!is_noted("app_front"));
        assert!(!is_noted("app-front"));
        assert!(is_noted("theirs"));
    }

    #[test]
    fn a_container_with_another_network_mode_is_not_detached() {
        let service = Service {
            networks: vec!["front".into()],
            ..Service::default()
        };
        let mut project = testing::project("app", [("main", service)]);
        project.networks = vec![crate::desired::Network {
            name: "app_front".into(),
            older_name: None,
            used: true,
            declared: crate::compose::Network {
                key: "front".into(),
                ..crate::compose::Network::default()
            },
        }];
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let is_detached = |mode: &str| {
            let container = Container {
                service: "main".into(),
                namespaces: Namespaces {
                    network: mode.into(),
                    ..Namespaces::default()
                },
                ..Container::default()
            };
            detached(&builder, &project, &container).count() == 1
        };
        assert!(is_detached("app_front"));
        for elsewhere in ["container:0123", "host", "none"] {
            assert!(!is_detached(elsewhere), "{elsewhere}");
        }
    }
}
