//! Checks the names, ports and networks that the projects of one manifest share on a VPU.

use std::collections::BTreeMap;

use super::Project;
use crate::{
    compose::{At, HostPort},
    manifest::{
        FindingCode,
        diagnostics::Diagnostic,
        meaning::Checker,
        types::{Compose, ComposeState},
    },
};

/// The names, ports and networks of all projects.
#[derive(Default)]
pub(super) struct Shared {
    /// The project and the place of every container name.
    containers: BTreeMap<String, (String, String)>,
    /// The published ports of running services, with the services' names.
    ports: Vec<(HostPort, String)>,
    /// Docker's names of the networks that projects create.
    networks: Vec<String>,
    /// Findings about names and ports that two projects use.
    twice: Vec<Diagnostic>,
    /// External networks, with the finding for one that no project creates.
    expected: Vec<(String, Diagnostic)>,
}

impl Shared {
    /// Adds a project.
    pub(super) fn add(&mut self, project: &Project<'_, '_>, compose: &Compose) {
        let file = &project.newest().1.file;
        for service in &file.services {
            let Some(name) = &service.container_name else {
                continue;
            };
            let source = &project.sources[name.place.file];
            let own = (
                compose.name.to_string(),
                format!("{}:{}", source.name(), name.place.line),
            );
            match self.containers.get(&name.value) {
                Some((other, place)) if *other != own.0 => {
                    let message = format!(
                        "calls the container of `{}` `{}`, like one of the project `{other}` at {place}",
                        service.name, name.value
                    );
                    let help = "give one of them another name, or none";
                    let finding =
                        project.finding(FindingCode::ComposeName, Some(name.place), &message, help);
                    let own_name = &compose.name;
                    self.twice.push(
                        finding
                            .at(&project.pointer)
                            .help(format!("{help}; this is the project `{own_name}`")),
                    );
                }
                Some(_) => {} // docker-compose's own rules report it
                None => drop(self.containers.insert(name.value.clone(), own)),
            }
        }
        self.add_ports(project, compose);
        for network in &file.networks {
            let own = format!("{}_{}", compose.name, network.key);
            if !network.external {
                self.networks.push(network.name.clone().unwrap_or(own));
                continue;
            }
            let name = network.name.as_ref().unwrap_or(&network.key);
            let message =
                format!("expects the network `{name}`, which no project of this manifest creates");
            let help = format!(
                "create it on the VPU (`docker network create {name}`), or let a project create it with `name: \
                 {name}`"
            );
            let finding = project.finding(
                FindingCode::ComposeNetwork,
                Some(network.place),
                &message,
                &help,
            );
            self.expected.push((name.clone(), finding.warning()));
        }
        let has_default = file.networks.iter().any(|network| network.key == "default");
        if !has_default {
            self.networks.push(format!("{}_default", compose.name));
        }
    }

    fn add_ports(&mut self, project: &Project<'_, '_>, compose: &Compose) {
        let (release, reading) = project.newest();
        if compose.state != ComposeState::Running {
            return;
        }
        for service in &reading.file.services {
            if service.containers(*release) == 0 {
                continue;
            }
            let own = format!("`{}` of the project `{}`", service.name, compose.name);
            for At { value: port, place } in &service.published_ports {
                let mut others = self.ports.iter().filter(|(_, other)| *other != own);
                if let Some((_, other)) = others.find(|(held, _)| held.collides_with(port)) {
                    let message = format!("publishes {port} for `{}`, like {other}", service.name);
                    let help = "publish one of them at another port";
                    let finding =
                        project.finding(FindingCode::ComposePort, Some(*place), &message, help);
                    self.twice.push(finding);
                }
            }
            let ports = service.published_ports.iter();
            let ports = ports.map(|port| (port.value.clone(), own.clone()));
            self.ports.extend(ports);
        }
    }

    /// Reports conflicts between projects.
    pub(super) fn check(self, checker: &mut Checker<'_>) {
        const OF_DOCKER: [&str; 3] = ["bridge", "host", "none"];
        checker.findings.extend(self.twice);
        let missing = self.expected.into_iter().filter(|(name, _)| {
            !self.networks.contains(name) && !OF_DOCKER.contains(&name.as_str())
        });
        checker.findings.extend(missing.map(|(_, finding)| finding));
    }
}
