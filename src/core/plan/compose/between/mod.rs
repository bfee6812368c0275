//! Plans what happens between stopping a project's containers and starting
//! their replacements: docker-compose neither changes an existing network,
//! nor replaces an anonymous volume by a declared mount, nor a container
//! whose image is gone.

mod lost;
mod mounts;
mod networks;
mod volumes;

use std::collections::BTreeSet;

use super::Found;
use crate::{
    desired::Project,
    facts::{Container, Made},
    plan::{Cause, Command, builder::Builder, obstacle::Obstacle},
};

pub(super) use networks::remove_unused;

/// What docker-compose would leave unchanged in a project although it differs.
#[derive(Default)]
pub(super) struct Between<'a> {
    networks: networks::Networks<'a>,
    lost: Vec<lost::Lost<'a>>,
    covered: Vec<mounts::Covered<'a>>,
    surplus: Vec<mounts::Surplus<'a>>,
    taken: Vec<mounts::Taken<'a>>,
}

impl<'a> Between<'a> {
    pub(super) fn of(builder: &Builder<'a>, project: &'a Project, found: &Found<'a>) -> Self {
        Self {
            networks: networks::Networks::of(builder, project),
            lost: lost::lost(builder, project, found),
            covered: mounts::covered(builder, project, found),
            surplus: mounts::surplus(builder, project, found),
            taken: mounts::taken(builder, project, found),
        }
    }

    /// The same for a project that is removed: nothing is compared, but an interrupted apply may
    /// have taken volumes from its containers.
    pub(super) fn of_absent(builder: &Builder<'a>, project: &Project, found: &Found<'a>) -> Self {
        Self {
            taken: mounts::taken(builder, project, found),
            ..Self::default()
        }
    }

    /// Returns the differences.
    pub(super) fn causes(&self) -> impl Iterator<Item = Cause> {
        let covered = self.covered.iter().map(mounts::Covered::cause);
        self.networks.causes().chain(covered)
    }

    /// Returns the services whose containers have to be recreated because of the differences.
    pub(super) fn services(&self, found: &Found<'_>) -> BTreeSet<String> {
        let own = found.containers.values();
        let attached = own.filter(|container| self.networks.has(container));
        let covered = self.covered.iter().map(|covered| covered.container);
        let lost = self.lost.iter().map(|lost| lost.container);
        let containers = attached.copied().chain(covered).chain(lost);
        containers.map(|c: &Container| c.service.clone()).collect()
    }

    /// Returns the commands that run once the containers have stopped.
    pub(super) fn forward(&self, project: &Project) -> Vec<Command> {
        let mut commands: Vec<Command> = self.lost.iter().map(lost::Lost::stand_in).collect();
        commands.extend(mounts::uncover(project, &self.covered));
        commands.extend(self.networks.remove());
        commands
    }

    /// Returns the commands that restore what the last recorded release
    /// has, once all containers have stopped and the former ones have their
    /// names back. `untouched` is false if an earlier apply was cut off.
    pub(super) fn restore(
        &self,
        project: &Project,
        (made, found): (Option<&Made>, &Found<'_>),
        untouched: bool,
    ) -> Vec<Command> {
        let mut commands = mounts::bring_back(project, &self.covered, &self.surplus);
        if !untouched {
            commands.extend(self.taken.iter().map(mounts::Taken::bring_back));
        }
        commands.extend(match made {
            Some(made) => mounts::uncover_again(project, made, untouched),
            None => mounts::uncover_found(project, found),
        });
        commands.extend(self.networks.restore(project, untouched));
        commands
    }

    /// Notes volumes that are kept and no longer used.
    pub(super) fn note(&self, builder: &mut Builder<'_>, project: &Project) {
        let notes = self.covered.iter();
        let notes = notes.filter_map(|covered| covered.note(&project.name));
        let surplus = self.surplus.iter().map(mounts::Surplus::note);
        builder.notes(notes.chain(surplus));
    }
}

/// Returns the commands that free a volume from a project's containers whose image is gone.
pub(super) fn free_volume(
    builder: &Builder<'_>,
    project: &Project,
    found: &Found<'_>,
    volume: &str,
) -> Vec<Command> {
    let lost = lost::lost(builder, project, found).into_iter();
    let users = lost.filter(|lost| lost.container.volumes.contains(volume));
    users.map(|lost| lost.stand_in()).collect()
}

/// Returns an obstacle if the project's networks, volumes or containers
/// cannot be made to match the compose file.
pub(super) fn unmet(builder: &Builder<'_>, project: &Project) -> impl Iterator<Item = Obstacle> {
    [
        networks::unmet(builder, project),
        volumes::unmet(builder, project),
        lost::unmet(builder, project),
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compose, desired,
        facts::{self, Attachment, Probed},
        offers::Offers,
        testing,
    };

    #[test]
    fn services_on_a_network_that_differs_are_replaced() {
        let network = |driver: &str| facts::Network {
            name: "app_front".into(),
            driver: driver.into(),
            project: "app".into(),
            ..facts::Network::default()
        };
        let declared = compose::Network {
            key: "front".into(),
            driver: Some("bridge".into()),
            ..compose::Network::default()
        };
        let project = Project {
            networks: vec![desired::Network {
                name: "app_front".into(),
                older_name: None,
                used: true,
                declared,
            }],
            ..testing::project("app", [])
        };
        let container = |service: &str, network: &str| {
            let attachment = Attachment {
                id: network.into(),
                ..Attachment::default()
            };
            Container {
                service: service.into(),
                networks: [("app_front".to_owned(), attachment)].into(),
                ..Container::default()
            }
        };
        let containers = [container("on", "n1"), container("beside", "n2")];
        let ids = ["1".to_owned(), "2".to_owned()];
        let found = Found {
            containers: ids.iter().zip(&containers).collect(),
            started: None,
        };
        let desired = testing::desired(vec![]);
        let services = |driver: &str| {
            let mut observed = testing::observed();
            let there = [("n1".to_owned(), network(driver))];
            observed.facts.networks = Probed::Known(there.into());
            let offers = Offers::default();
            let builder = Builder::new(&desired, &observed, &offers);
            let between = Between::of(&builder, &project, &found);
            Vec::from_iter(between.services(&found))
        };
        assert_eq!(services("macvlan"), ["on"]);
        assert_eq!(services("bridge"), [""; 0]);
    }
}
