//! Finds containers whose image docker no longer has, nor gets with this plan: docker-compose
//! refuses to recreate them ("The image for the service you're trying to recreate has been removed").

use crate::{
    desired::Project,
    facts::Container,
    plan::{
        Command,
        builder::Builder,
        compose::{Found, started::image_id},
        image,
    },
    remote,
};

/// A container whose image is gone.
pub(super) struct Lost<'a> {
    id: &'a str,
    pub(super) container: &'a Container,
    /// The name or ID by which docker on the VPU finds its service's image once it is loaded.
    service_image: String,
}

/// Returns all of a project's. Containers of services that the compose file no longer has are
/// removed, which needs no image.
pub(super) fn lost<'a>(
    builder: &Builder<'_>,
    project: &Project,
    found: &Found<'a>,
) -> Vec<Lost<'a>> {
    let Some(images) = builder.facts.images.known() else {
        return vec![]; // everything is blocked in this case
    };
    let gone = found.containers.iter().filter_map(|(id, container)| {
        let service = project.services.get(&container.service)?;
        let service_image = image_id(builder, service.image.as_ref()?)?;
        let is_there = images.contains_key(&container.image);
        (!is_there && container.image != service_image).then(|| Lost {
            id,
            container,
            service_image: image::reference(builder.facts, &service_image).to_owned(),
        })
    });
    gone.collect()
}

impl Lost<'_> {
    /// Returns the command that has a stand-in take its place.
    pub(super) fn stand_in(&self) -> Command {
        Command::new(remote::stand_in(self.id, &self.service_image))
    }
}
