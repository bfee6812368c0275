//! Finds containers whose image docker no longer has, nor gets with this plan: docker-compose
//! refuses to recreate them ("The image for the service you're trying to recreate has been removed").
//! Stopped ones make room for stand-ins; one that runs is not removed before its successor is proven.

use crate::{
    desired::{Project, ProjectState},
    facts::{Container, ContainerState},
    plan::{
        Command,
        builder::Builder,
        compose::{Found, started::image_id},
        image,
        obstacle::{BlockCode, Obstacle},
    },
    remote,
    shell::quote,
};

/// A stopped container whose image is gone.
pub(super) struct Lost<'a> {
    id: &'a str,
    pub(super) container: &'a Container,
    /// The name or ID by which docker on the VPU finds its service's image once it is loaded.
    service_image: String,
}

/// Returns all of a project's.
pub(super) fn lost<'a>(
    builder: &Builder<'_>,
    project: &Project,
    found: &Found<'a>,
) -> Vec<Lost<'a>> {
    let containers = found.containers.iter();
    let stopped = containers.filter(|(_, container)| !is_up(container));
    let gone = stopped.filter_map(|(id, container)| {
        let service_image = successor(builder, project, container)?;
        Some(Lost {
            id,
            container,
            service_image: image::reference(builder.facts, &service_image).to_owned(),
        })
    });
    gone.collect()
}

/// Returns the ID of the image that replaces the one of a container, if that one is gone.
/// Containers of services that the compose file no longer has are removed, which needs no image.
fn successor(builder: &Builder<'_>, project: &Project, container: &Container) -> Option<String> {
    let images = builder.facts.images.known()?;
    let service = project.services.get(&container.service)?;
    let service_image = image_id(builder, service.image.as_ref()?)?;
    let is_there = images.contains_key(&container.image) || container.image == service_image;
    (!is_there).then_some(service_image)
}

/// Whether it runs, and not only until its next crash.
fn is_up(container: &Container) -> bool {
    matches!(
        container.status,
        ContainerState::Running | ContainerState::Paused
    )
}

/// Returns an obstacle if such a container runs.
pub(super) fn unmet(builder: &Builder<'_>, project: &Project) -> Option<Obstacle> {
    if project.state == ProjectState::Absent {
        return None;
    }
    let containers = builder.facts.containers.known()?;
    let mut own = containers
        .values()
        .filter(|container| project.owns(container) && !container.one_off);
    let running = own.find(|c| is_up(c) && successor(builder, project, c).is_some())?;
    Some(Obstacle::new(
        BlockCode::ImageRemoved,
        format!(
            "the image of container {} was removed from the VPU, and docker-compose cannot replace a container without its \
             image",
            running.name
        ),
        format!(
            "stop it on the VPU: docker stop {}; the next apply replaces it and keeps its volumes",
            quote(&running.name)
        ),
    ))
}

impl Lost<'_> {
    /// Returns the command that has a stand-in take its place.
    pub(super) fn stand_in(&self) -> Command {
        Command::new(remote::stand_in(self.id, &self.service_image))
    }
}
