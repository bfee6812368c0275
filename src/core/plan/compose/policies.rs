//! Compares containers' restart policies with their services': docker-compose does not see a change
//! by `docker update`, and docker can correct it without recreating the container.

use std::collections::{BTreeMap, BTreeSet};

use super::{Found, address, started::redefined};
use crate::{
    desired::Project,
    facts::Input,
    plan::{
        Action, Cause, Command, Phase,
        builder::{Builder, Draft},
    },
    remote,
    restart_policy::RestartPolicy,
};

/// The services whose containers have another restart policy than declared.
pub(super) struct Policies<'a> {
    /// By service: the found policy, and the desired one.
    services: BTreeMap<&'a str, (RestartPolicy, RestartPolicy)>,
    causes: Vec<Cause>,
    /// Whether the engine changes policies in place; podman does not.
    in_place: bool,
}

impl<'a> Policies<'a> {
    /// Compares the policies. Services whose definition differs are left out: docker-compose
    /// recreates their containers.
    pub(super) fn of(
        builder: &Builder<'_>,
        project: &'a Project,
        found: &Found<'_>,
        inputs: &BTreeMap<Input, String>,
    ) -> Self {
        let replaced = redefined(found, inputs);
        let podman = |docker: &crate::facts::Docker| docker.podman.is_some();
        let mut policies = Self {
            services: BTreeMap::new(),
            causes: vec![],
            in_place: !builder.facts.docker.known().is_some_and(podman),
        };
        for (id, container) in &found.containers {
            let Some((name, service)) = project.services.get_key_value(&container.service) else {
                continue;
            };
            let is = container.restart_policy.clone();
            let wanted = service.restart.clone().unwrap_or_default();
            let is_replaced = replaced.contains(name) || container.own_name(id) != container.name;
            if is == wanted || is_replaced {
                continue;
            }
            let attribute = format!("container {}: restart policy", container.name);
            policies.causes.push(Cause::differs(
                attribute,
                is.to_string(),
                wanted.to_string(),
            ));
            policies.services.insert(name, (is, wanted));
        }
        policies
    }

    /// Returns the differences.
    pub(super) fn causes(&self) -> impl Iterator<Item = Cause> {
        self.causes.iter().cloned()
    }

    /// Returns the services whose containers have to be recreated to change the policy.
    pub(super) fn services(&self) -> BTreeSet<String> {
        let services = self.services.keys().filter(|_| !self.in_place);
        services.map(|service| (*service).to_owned()).collect()
    }

    /// Returns the commands that set the desired policies.
    pub(super) fn set(&self, project: &Project) -> Vec<Command> {
        self.commands(project, |(_, wanted)| wanted)
    }

    fn commands(
        &self,
        project: &Project,
        which: impl Fn(&(RestartPolicy, RestartPolicy)) -> &RestartPolicy,
    ) -> Vec<Command> {
        let services = self.services.iter().filter(|_| self.in_place);
        let commands = services.map(|(service, policies)| {
            let set = remote::service_restart_policy(&project.name, service, which(policies));
            Command::new(set)
        });
        commands.collect()
    }

    /// Plans the policies alone, if they are all that differs
    /// in the project; returns false if the engine needs more.
    pub(super) fn alone(&self, builder: &mut Builder<'_>, project: &Project) -> bool {
        let mut causes = self.causes();
        let Some(first) = causes.next().filter(|_| self.in_place) else {
            return false;
        };
        let address = address(&project.name);
        let mut draft = Draft::new(address, Action::Update, Phase::Switch, first);
        draft.further_causes = causes.collect();
        let draft = draft.source(project.source.as_ref()).run(self.set(project));
        builder.step(draft.undo(self.commands(project, |(before, _)| before)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::Service,
        digest::Digest,
        facts::{Container, Started},
        offers::Offers,
        testing,
    };

    #[test]
    fn a_policy_is_set_where_the_container_is_not_replaced_anyway() {
        let service = Service {
            restart: Some(RestartPolicy::Always),
            definition: Some(Digest::of(b"now")),
            ..Service::default()
        };
        let project = testing::project("app", [("main", service)]);
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let input = || Input::Service("main".into());
        let now = [(input(), Digest::of(b"now").to_string())].into();
        let is_set = |policy: RestartPolicy, name: &str, definition: &str| {
            let container = Container {
                name: name.into(),
                service: "main".into(),
                restart_policy: policy,
                ..Container::default()
            };
            let id = "0123456789abcdef".to_owned();
            let started = Started {
                inputs: [(input(), Digest::of(definition).to_string())].into(),
                ..Started::default()
            };
            let found = Found {
                containers: [(&id, &container)].into(),
                started: Some(&started),
            };
            Policies::of(&builder, &project, &found, &now)
                .causes()
                .count()
                == 1
        };
        let other = || RestartPolicy::No;
        assert!(is_set(other(), "app_main_1", "now"));
        assert!(!is_set(RestartPolicy::Always, "app_main_1", "now"));
        assert!(!is_set(other(), "app_main_1", "before"), "it is redefined");
        assert!(
            !is_set(other(), "0123456789ab_app_main_1", "now"),
            "it was left aside"
        );
    }
}
