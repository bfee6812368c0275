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
