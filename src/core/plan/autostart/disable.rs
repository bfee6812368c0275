//! Plans what no longer starts when the VPU boots: projects of the manifest, and other services.

use std::collections::{BTreeMap, BTreeSet};

use super::{address, systemctl, unit_name};
use crate::{
    closest::did_you_mean,
    desired::{Disabled, Project, ProjectState},
    facts::{Autostart, Container},
    plan::{
        Action, Cause, Command, NoteCode, Phase,
        builder::{Builder, Draft},
        obstacle::{BlockCode, Obstacle},
    },
    remote,
    restart_policy::RestartPolicy,
};

impl Disabled {
    /// Returns the name that docker-compose makes of the directory's name.
    pub(in crate::plan) fn project(&self) -> String {
        let kept = |c: &char| c.is_ascii_alphanumeric() || "_-".contains(*c);
        self.name.to_lowercase().chars().filter(kept).collect()
    }
}

/// Disables the unit of a declared project. Restart
/// policies are not touched: its compose file sets them.
pub(super) fn project(builder: &mut Builder<'_>, found: &Autostart, project: &Project) {
    let is_absent = project.state == ProjectState::Absent;
    if enabled_by_root(builder, found, &project.name) {
        return;
    }
    if !found.starts(&project.name) {
        if !is_absent {
            builder.unchanged();
        }
        return;
    }
    let cause = if is_absent {
        Cause::Undeclared
    } else {
        Cause::differs("after a boot", "started", "not started")
    };
    let unit = unit_name(&project.name);
    let draft = Draft::new(address(&project.name), Action::Remove, Phase::Switch, cause);
    builder.step(
        draft
            .source(project.source.as_ref())
            .run(systemctl("disable", &unit))
            .undo(systemctl("enable", &unit)),
    );
}

/// Blocks a unit that root enabled for every user; returns whether one is.
fn enabled_by_root(builder: &mut Builder<'_>, found: &Autostart, name: &str) -> bool {
    let by_root = found.enabled_for_all.contains(name);
    if by_root {
        let unit = unit_name(name);
        let obstacle = Obstacle::new(
            BlockCode::UnitOfRoot,
            format!(
                "{unit} is enabled in /etc/systemd/user, for every user; only root can disable it"
            ),
            format!("on the VPU, as root: systemctl --global disable {unit}"),
        );
        builder.block(address(name), obstacle);
    }
    by_root
}

/// Disables services that are not declared: their unit, and
/// the policies by which dockerd starts their containers.
pub(super) fn others(builder: &mut Builder<'_>, found: &Autostart) {
    let desired = builder.desired;
    let mut seen = BTreeSet::new();
    for other in &desired.disabled {
        let declared = desired.projects.iter().any(|p| p.name == other.name);
        // A declared project is governed by its own `autostart`.
        if !declared && seen.insert(&other.name) {
            diff_disabled(builder, found, other);
        }
    }
}

fn diff_disabled(builder: &mut Builder<'_>, found: &Autostart, other: &Disabled) {
    let address = address(&other.name);
    if enabled_by_root(builder, found, &other.name) {
        return;
    }
    let containers = match builder.facts.containers.as_result() {
        Ok(containers) => containers,
        Err(reason) => {
            let obstacle = Obstacle::unknown(reason, "check on the VPU: docker ps -a");
            return builder.block(address, obstacle);
        }
    };
    let by_policy = coming_back(other, containers);
    let is_enabled = found.starts(&other.name);
    let mut causes = vec![];
    let (mut run, mut undo) = (vec![], vec![]);
    if is_enabled {
        let unit = unit_name(&other.name);
        causes.push(Cause::differs(unit.clone(), "enabled", "disabled"));
        run.extend(systemctl("disable", &unit));
        undo.extend(systemctl("enable", &unit));
    }
    for (policy, list) in &by_policy {
        let ids = list.iter().map(|(id, _)| id.as_str());
        run.push(Command::new(remote::restart_policy(
            &RestartPolicy::No,
            ids.clone(),
        )));
        undo.push(Command::new(remote::restart_policy(policy, ids)));
        for (_, container) in list {
            let attribute = format!("container {}: restart policy", container.name);
            let kept = RestartPolicy::No.to_string();
            causes.push(Cause::differs(attribute, policy.to_string(), kept));
        }
    }
    let mut causes = causes.into_iter();
    let Some(first) = causes.next() else {
        note_mistyped(builder, found, other, containers);
        return builder.unchanged();
    };
    let mut draft = Draft::new(address, Action::Remove, Phase::Switch, first);
    draft.further_causes = causes.collect();
    builder.step(draft.source(other.source.as_ref()).run(run).undo(undo));
}

/// Notes a name that nothing on the VPU has, if a similar one
/// exists. Without one, the name counts as already disabled.
fn note_mistyped(
    builder: &mut Builder<'_>,
    found: &Autostart,
    other: &Disabled,
    containers: &BTreeMap<String, Container>,
) {
    let project = other.project();
    let projects = containers.values().map(|container| &container.project);
    let declared = builder.desired.projects.iter().map(|project| &project.name);
    let there: BTreeSet<&str> = projects
        .chain(&found.enabled)
        .chain(declared)
        .map(String::as_str)
        .filter(|name| !name.is_empty())
        .collect();
    if there.contains(project.as_str()) {
        return;
    }
    if let Some(meant) = did_you_mean(&project, there) {
        let text = format!(
            "[autostart] disable names {}, which does not exist on the VPU (did you mean {meant}?)",
            other.name
        );
        builder.note(NoteCode::NothingToDisable, text);
    }
}

type ByPolicy<'a> = BTreeMap<&'a RestartPolicy, Vec<(&'a String, &'a Container)>>;

/// Returns the containers of the project that dockerd starts after a boot, by policy.
fn coming_back<'a>(other: &Disabled, containers: &'a BTreeMap<String, Container>) -> ByPolicy<'a> {
    let project = other.project();
    let mut by_policy = ByPolicy::new();
    for (id, container) in containers {
        let policy = &container.restart_policy;
        if !project.is_empty() && container.project == project && policy.survives_boot() {
            by_policy.entry(policy).or_default().push((id, container));
        }
    }
    by_policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{offers::Offers, testing};

    #[test]
    fn a_unit_that_starts_nothing_counts_for_a_project_that_stays() {
        let found = Autostart::default();
        for (state, unchanged) in [(ProjectState::Running, 1), (ProjectState::Absent, 0)] {
            let wanted = Project {
                state,
                ..testing::project("app", [])
            };
            let (desired, observed) = (testing::desired(vec![]), testing::observed());
            let offers = Offers::default();
            let mut builder = Builder::new(&desired, &observed, &offers);
            project(&mut builder, &found, &wanted);
            let plan = builder.finish("host");
            assert_eq!((plan.steps.len(), plan.summary.unchanged), (0, unchanged));
        }
    }
}
