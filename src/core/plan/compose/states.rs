//! Compares a project's containers with its services.

use std::collections::BTreeSet;

use super::{
    Found,
    started::{brief, image_id},
};
use crate::{
    desired::{Project, ProjectState, Service},
    facts::{Container, ContainerState},
    plan::{Cause, builder::Builder},
    restart_policy::RestartPolicy,
};

/// Returns how the containers differ from the services and the project's state.
pub(super) fn states(
    builder: &Builder<'_>,
    project: &Project,
    found: &Found<'_>,
    changed_images: &BTreeSet<String>,
) -> Vec<Cause> {
    let mut causes = vec![];
    for (name, service) in &project.services {
        let own: Vec<&Container> = found
            .containers
            .values()
            .filter(|c| c.service == *name)
            .copied()
            .collect();
        if own.len() != service.replicas {
            let count = if own.is_empty() {
                "no container".into()
            } else {
                own.len().to_string()
            };
            causes.push(Cause::differs(
                format!("service {name}"),
                count,
                format!(
                    "{} container{}",
                    service.replicas,
                    if service.replicas == 1 { "" } else { "s" }
                ),
            ));
        }
        for container in own {
            causes.extend(state(project, container));
            causes.extend(image_cause(builder, service, container, changed_images));
        }
    }
    for (id, container) in &found.containers {
        let wanted = container.own_name(id);
        if wanted != container.name {
            causes.push(Cause::differs(
                format!("container of service {}: name", container.service),
                &container.name,
                wanted,
            ));
        }
        if let Some(wanted) = misnamed(builder, project, id, container) {
            let attribute = format!("container of service {}: name", container.service);
            causes.push(Cause::differs(attribute, &container.name, wanted));
        }
        if !project.services.contains_key(&container.service) {
            causes.push(Cause::differs(
                format!("container {}", container.name),
                format!("of service {}", container.service),
                "no such service",
            ));
        }
    }
    causes
}

/// Returns the name that docker-compose would give a container which somebody renamed; `None` if it
/// has that name, or was renamed for its replacement.
pub(super) fn misnamed(
    builder: &Builder<'_>,
    project: &Project,
    id: &str,
    container: &Container,
) -> Option<String> {
    let version = builder.facts.compose.known()?;
    let service = project.services.get(&container.service)?;
    let wanted = match &service.container_name {
        Some(chosen) => chosen.clone(),
        // Later versions join the parts of a name by `-`.
        None if container.number == 0 || !version.starts_with("1.") => return None,
        None => format!(
            "{}_{}_{}",
            project.name, container.service, container.number
        ),
    };
    let is_aside = container.own_name(id) != container.name;
    (!is_aside && container.name != wanted).then_some(wanted)
}

/// Returns the difference unless the container is as desired: running
/// and not restarting, or exited with code 0 under a restart policy
/// that leaves it exited; if the project is to be stopped, not running.
fn state(project: &Project, container: &Container) -> Option<Cause> {
    let running = container.status == ContainerState::Running;
    let done = container.is_done();
    let (satisfied, wanted) = match project.state {
        ProjectState::Running => (running || done, "running"),
        ProjectState::Stopped | ProjectState::Absent => (
            matches!(
                container.status,
                ContainerState::Created | ContainerState::Exited
            ),
            "stopped",
        ),
    };
    if satisfied {
        return None;
    }
    let found = match &container.status {
        state @ (ContainerState::Exited | ContainerState::Restarting) => {
            format!("{state} with exit code {}", container.exit_code)
        }
        state => state.to_string(),
    };
    Some(Cause::differs(
        format!("container {}", container.name),
        found,
        wanted,
    ))
}

impl Container {
    /// Whether it exited with code 0 and its restart policy leaves it exited.
    pub(super) fn is_done(&self) -> bool {
        self.status == ContainerState::Exited
            && self.exit_code == 0
            && matches!(
                self.restart_policy,
                RestartPolicy::No | RestartPolicy::OnFailure(_)
            )
    }
}

/// Returns the difference if a container has another image than the one that its service names,
/// unless the plan changes that image anyway.
fn image_cause(
    builder: &Builder<'_>,
    service: &Service,
    container: &Container,
    changed_images: &BTreeSet<String>,
) -> Option<Cause> {
    let name = service.image.as_ref()?;
    let wanted = image_id(builder, name)?;
    if container.image == wanted || changed_images.contains(name) {
        return None;
    }
    let attribute = format!("container {}: image", container.name);
    Some(Cause::differs(
        attribute,
        brief(&container.image),
        brief(&wanted),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{facts, facts::Probed, offers::Offers, testing};

    #[test]
    fn a_container_is_done_if_it_exited_with_0_and_is_not_restarted() {
        let is_done = |status, exit_code, restart_policy| {
            let container = Container {
                status,
                exit_code,
                restart_policy,
                ..Container::default()
            };
            container.is_done()
        };
        let (exited, no) = (|| ContainerState::Exited, || RestartPolicy::No);
        assert!(is_done(exited(), 0, no()));
        assert!(is_done(exited(), 0, RestartPolicy::OnFailure(3)));
        assert!(!is_done(exited(), 0, RestartPolicy::Always));
        assert!(!is_done(exited(), 0, RestartPolicy::UnlessStopped));
        assert!(!is_done(exited(), 1, no()));
        assert!(!is_done(ContainerState::Created, 0, no()));
        assert!(!is_done(ContainerState::Running, 0, no()));
    }

    #[test]
    fn a_container_that_somebody_renamed_has_another_name_than_docker_compose_gives() {
        let wanted = |compose: &str, number: u32, chosen: Option<&str>, name: &str| {
            let service = Service {
                container_name: chosen.map(str::to_owned),
                ..Service::default()
            };
            let project = testing::project("app", [("main", service)]);
            let (desired, mut observed) = (testing::desired(vec![]), testing::observed());
            observed.facts.compose = Probed::Known(compose.into());
            let offers = Offers::default();
            let builder = Builder::new(&desired, &observed, &offers);
            let container = Container {
                name: name.into(),
                service: "main".into(),
                number,
                ..Container::default()
            };
            misnamed(&builder, &project, "0123456789abcdef", &container)
        };
        let own = Some("app_main_2".to_owned());
        assert_eq!(wanted("1.29.2", 2, None, "renamed"), own);
        assert_eq!(wanted("1.29.2", 2, None, "app_main_2"), None);
        assert_eq!(wanted("1.29.2", 2, None, "0123456789ab_app_main_2"), None);
        assert_eq!(wanted("1.29.2", 0, None, "renamed"), None);
        assert_eq!(wanted("2.24.1", 2, None, "renamed"), None);
        let chosen = Some("camera".to_owned());
        assert_eq!(wanted("2.24.1", 1, Some("camera"), "renamed"), chosen);
    }

    #[test]
    fn a_container_of_another_image_than_its_service_names_differs() {
        let service = Service {
            image: Some("web:1".into()),
            ..Service::default()
        };
        let image = facts::Image {
            tags: ["web:1".to_owned()].into(),
            layers: vec![],
            arch: "arm64".into(),
            os: "linux".into(),
        };
        let (desired, mut observed) = (testing::desired(vec![]), testing::observed());
        observed.facts.images = Probed::Known([("sha256:a".to_owned(), image)].into());
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let differs = |image: &str, changed: &[&str]| {
            let container = Container {
                image: image.into(),
                ..Container::default()
            };
            let changed = changed.iter().map(|name| (*name).to_owned()).collect();
            image_cause(&builder, &service, &container, &changed).is_some()
        };
        assert!(differs("sha256:b", &[]));
        assert!(!differs("sha256:a", &[]));
        assert!(!differs("sha256:b", &["web:1"]), "its step says it");
    }
}
