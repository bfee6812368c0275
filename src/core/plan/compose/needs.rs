//! Finds what a project needs and the VPU lacks: a newer docker-compose, a container runtime, a
//! free port. Without this check, it would fail in the middle of the switch.

use std::collections::BTreeMap;

use crate::{
    compose::HostPort,
    desired::{Desired, Project, ProjectState, Service},
    facts::{Container, Facts, Probed},
    plan::{
        builder::Builder,
        obstacle::{BlockCode, Obstacle},
    },
};

/// The first docker-compose 1.x that reads formats 2 and 3 as one, with or without `version:`.
const MERGED_FORMATS: (u64, u64) = (1, 27);

pub(super) fn unmet(
    builder: &Builder<'_>,
    project: &Project,
    containers: &BTreeMap<String, Container>,
) -> Vec<Obstacle> {
    if project.state == ProjectState::Absent {
        return vec![];
    }
    let (desired, facts) = (builder.desired, builder.facts);
    let all = [
        version(project, facts),
        image(project, desired),
        runtime(project, facts),
        ports(project, desired, facts, containers),
    ];
    all.into_iter().flatten().collect()
}

fn version(project: &Project, facts: &Facts) -> Option<Obstacle> {
    let refused = project.refused_by_old_compose.as_ref()?;
    let version = facts.compose.known()?;
    let mut numbers = version.trim_start_matches('v').split('.');
    let mut number = || numbers.next()?.parse::<u64>().ok();
    if (number()?, number()?) >= MERGED_FORMATS {
        return None;
    }
    Some(Obstacle::new(
        BlockCode::ComposeTooOld,
        format!("the compose file {refused}, which docker-compose {version} rejects"),
        "write `version: \"2.4\"`, which every firmware supports",
    ))
}

/// Returns an obstacle if a service's image is not declared. `check` reports the one that the file
/// names; variables on this VPU may result in another one.
fn image(project: &Project, desired: &Desired) -> Option<Obstacle> {
    let resolved = project
        .services
        .iter()
        .filter(|(_, s)| s.resolved.is_some());
    let mut images = resolved.filter_map(|(name, s)| Some((name, s.image.as_ref()?)));
    let declared = |image: &String| desired.images.iter().any(|one| one.name == *image);
    let (name, image) = images.find(|(_, image)| !declared(image))?;
    Some(Obstacle::new(
        BlockCode::ImageUndeclared,
        format!(
            "service {name} runs from {image} on this VPU, which no [[images]] declares: docker-compose would \
             pull it from a registry"
        ),
        "check what sets the variables of its `image:` on the VPU (ssh … env), or declare that image",
    ))
}

fn runtime(project: &Project, facts: &Facts) -> Option<Obstacle> {
    let runtimes = &facts.docker.known()?.runtimes;
    let (name, runtime) = project.services.iter().find_map(|(name, service)| {
        let wanted = service.runtime.as_ref()?;
        // An observation without runtimes was recorded by a version that did not ask for them.
        (!runtimes.is_empty() && !runtimes.contains(wanted)).then_some((name, wanted))
    })?;
    let known: Vec<&str> = runtimes.iter().map(String::as_str).collect();
    Some(Obstacle::new(
        BlockCode::RuntimeMissing,
        format!(
            "service {name} needs the container runtime {runtime}, but docker on the VPU has {}",
            known.join(", ")
        ),
        format!("remove `runtime: {runtime}` from the compose file, or use a VPU that has it"),
    ))
}

/// The port of sshd: nobody stops it.
const SSH: u16 = 22;

fn ports(
    project: &Project,
    desired: &Desired,
    facts: &Facts,
    containers: &BTreeMap<String, Container>,
) -> Option<Obstacle> {
    if project.state != ProjectState::Running {
        return None;
    }
    let ports = project
        .services
        .iter()
        .flat_map(|(name, service)| service.ports.iter().map(move |port| (name, port)));
    let taken: Vec<(String, String)> = ports
        .filter_map(|(service, port)| {
            let (by, remedy) = holder(project, desired, facts, containers, (service, port))?;
            let reason = format!("service {service} publishes {port}, which is taken by {by}");
            Some((reason, remedy))
        })
        .collect();
    let reasons: Vec<&str> = taken.iter().map(|(reason, _)| reason.as_str()).collect();
    let mut remedies: Vec<&str> = taken.iter().map(|(_, remedy)| remedy.as_str()).collect();
    remedies.dedup();
    let another = if taken.len() > 1 {
        "other ports"
    } else {
        "another port"
    };
    (!taken.is_empty()).then(|| {
        remedies.retain(|remedy| !remedy.is_empty());
        let remedy = match remedies.as_slice() {
            [] => format!("publish {another}"),
            remedies => format!("{}, or publish {another}", remedies.join(" and ")),
        };
        Obstacle::new(BlockCode::PortTaken, reasons.join("; "), remedy)
    })
}

/// Returns who has a port that a service publishes, and what to do about it.
fn holder(
    project: &Project,
    desired: &Desired,
    facts: &Facts,
    containers: &BTreeMap<String, Container>,
    (service, port): (&str, &HostPort),
) -> Option<(String, String)> {
    if let Some((other, name)) = declared_before(desired, project, service, port) {
        let by = format!("service {name} of project {other}");
        return Some((by, "change one of them".to_owned()));
    }
    let running = |container: &&Container| container.status.is_up();
    let mut holders = containers
        .values()
        .filter(running)
        .filter(|container| container.ports.iter().any(|held| held.collides_with(port)));
    let own = |container: &Container| {
        let mut projects = desired.projects.iter();
        projects.any(|project| project.name == container.project)
    };
    match holders.next() {
        // A project of this manifest may free the port in this same plan.
        Some(holder) if own(holder) => None,
        Some(holder) => {
            let owner = facts.records.known().and_then(|records| {
                let mut releases = records.releases.iter();
                releases.find(|(_, release)| release.projects.contains(&holder.project))
            });
            Some(match owner {
                Some((release, _)) => (
                    format!("container {} of release {release}", holder.name),
                    format!(
                        "set `state = \"stopped\"` in the manifest of {release}, or remove it: o3r-deploy destroy {release}"
                    ),
                ),
                None => (
                    format!("container {}", holder.name),
                    format!("stop that container (docker stop {})", holder.name),
                ),
            })
        }
        // With host networking, the listener may be one of this manifest's containers.
        None if containers
            .values()
            .filter(running)
            .any(|container| container.host_network && own(container)) =>
        {
            None
        }
        None => listened_to(facts, port).then(|| {
            let what = if port.port == SSH {
                "sshd"
            } else {
                "a program on the VPU"
            };
            let remedy = if port.port == SSH {
                ""
            } else {
                "stop that program"
            };
            (what.to_owned(), remedy.to_owned())
        }),
    }
}

/// Returns the service of this or an earlier project that
/// publishes the same port: `(project, service)`.
fn declared_before<'a>(
    desired: &'a Desired,
    project: &Project,
    service: &str,
    port: &HostPort,
) -> Option<(&'a str, &'a str)> {
    let running = |project: &&Project| project.state == ProjectState::Running;
    let all = desired.projects.iter().filter(running).flat_map(|project| {
        let services = project.services.iter();
        services.map(move |(name, service)| (project.name.as_str(), name.as_str(), service))
    });
    let publishes = |service: &Service| service.ports.iter().any(|held| held.collides_with(port));
    all.take_while(|(in_project, name, _)| (*in_project, *name) != (project.name.as_str(), service))
        .find(|(_, _, other)| publishes(other))
        .map(|(project, name, _)| (project, name))
}

/// Whether a socket is bound to the port. If the kernel's tables cannot be read, docker itself
/// reports the conflict when the container starts.
fn listened_to(facts: &Facts, port: &HostPort) -> bool {
    match &facts.listeners {
        Probed::Known(listeners) => listeners.iter().any(|held| held.collides_with(port)),
        Probed::Unknown(_) => false,
    }
}
