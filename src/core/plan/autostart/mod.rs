//! Plans what starts when the VPU boots, in both firmware generations.

mod call;
mod disable;
mod policy;
mod unit;

use std::collections::BTreeSet;

use super::{
    Action, Address, Cause, Command, NoteCode, Phase, ResourceKind,
    builder::{Builder, Draft},
    compose,
};
use crate::{
    desired::{Desired, Project, ProjectState},
    facts::{self, Autostart, Generation, Probed, SERVICE},
    plan::obstacle::{BlockCode, Obstacle},
    remote,
};

/// States of a unit file in which it starts at boot.
const ON: &[&str] = &["enabled", "static", "alias", "generated"];

pub(super) fn address(name: &str) -> Address {
    Address::new(ResourceKind::Autostart, name)
}

fn service_address() -> Address {
    Address::new(ResourceKind::Service, SERVICE.trim_end_matches(".service"))
}

pub(super) fn plan(builder: &mut Builder<'_>) {
    unmanaged(builder);
    let desired = builder.desired;
    let names: Vec<&str> = names(desired).collect();
    if names.is_empty() {
        return;
    }
    let found = match builder.facts.autostart.as_result() {
        Ok(found) => found,
        Err(reason) => {
            for name in names {
                let remedy = "check on the VPU: systemctl --user list-unit-files 'oem-dc*'";
                builder.block(address(name), Obstacle::unknown(reason, remedy));
            }
            return;
        }
    };
    for project in &desired.projects {
        match (project.state, project.autostart) {
            (ProjectState::Absent, _) => disable::project(builder, found, project),
            (_, Some(true)) => enable(builder, found, project),
            (_, Some(false)) => {
                disable::project(builder, found, project);
                policy::note_what_comes_back(builder, project);
            }
            (_, None) => {}
        }
    }
    disable::others(builder, found);
    if let Some(Generation::Units(_)) = found.generation() {
        touched_before(builder, found);
    }
}

/// An interrupted apply may have enabled or disabled a unit that this plan does not change, so that
/// none of its steps would undo that.
fn touched_before(builder: &mut Builder<'_>, found: &Autostart) {
    let Some(previous) = builder.recorded() else {
        return;
    };
    let own = builder.desired.release.name.as_str();
    for project in &builder.desired.projects {
        let name = &project.name;
        let owner = facts::owner(builder.facts, &builder.readings.applied, name);
        if owner.is_some_and(|owner| owner != own) {
            continue; // taken over: a rollback restores what is there
        }
        let is_declared = project.autostart.is_some() || project.state == ProjectState::Absent;
        let differs = previous.autostart.contains(name) != found.starts(name);
        if is_declared && differs && !builder.changes(&address(name)) {
            let reason = "whether it starts at boot differs from the last recorded release";
            builder.not_restorable(address(name), reason);
        }
    }
}

/// Returns the names whose autostart is declared.
fn names(desired: &Desired) -> impl Iterator<Item = &str> {
    let projects = desired
        .projects
        .iter()
        .filter(|p| p.autostart.is_some() || p.state == ProjectState::Absent);
    let projects = projects.map(|project| project.name.as_str());
    projects.chain(desired.disabled.iter().map(|other| other.name.as_str()))
}

fn enable(builder: &mut Builder<'_>, found: &Autostart, project: &Project) {
    let address = address(&project.name);
    if found.lingering != Some(true) {
        return builder.block(address, not_lingering(found.lingering));
    }
    match found.generation() {
        None => builder.block(
            address,
            Obstacle::new(
                BlockCode::NoBootService,
            "this firmware has neither oem-dc@.service nor oem-dc-autostart.service, so nothing can start it at boot",
            "check on the VPU: systemctl --user list-unit-files 'oem-dc*'; or leave `autostart` out",
        )),
        Some(Generation::Units("masked") | Generation::RestartPolicies("masked")) => {
            let unit = found.template.as_ref().map_or(SERVICE, |_| facts::TEMPLATE);
            let obstacle = Obstacle::new(
                BlockCode::UnitMasked,
                format!("{unit} is masked: it can be neither enabled nor started"),
                format!("on the VPU: systemctl --user unmask {unit}"),
            );
            builder.block(address, obstacle);
        }
        Some(Generation::Units(_)) => enable_unit(builder, found, project),
        Some(Generation::RestartPolicies(state)) => {
            enable_by_policy(builder, state, project);
        }
    }
}

fn not_lingering(lingering: Option<bool>) -> Obstacle {
    match lingering {
        Some(_) => Obstacle::new(
            BlockCode::LingeringOff,
            "lingering is off for this user: its services, and so this autostart, run only while \
             somebody is logged in",
            "on the VPU, as root: loginctl enable-linger USER (a VPU leaves the factory with \
             lingering on for oem); or leave `autostart` out",
        ),
        None => Obstacle::unknown(
            "it could not be determined whether lingering is on for this user",
            "check on the VPU: loginctl show-user USER --property Linger",
        ),
    }
}

/// Plans the older generation: one unit for each project.
fn enable_unit(builder: &mut Builder<'_>, found: &Autostart, project: &Project) {
    let address = address(&project.name);
    let name = unit_name(&project.name);
    let text = match found.units.get(&project.name).map(Probed::as_result) {
        Some(Ok(text)) => text,
        Some(Err(reason)) => {
            let reason = format!("what {name} starts could not be determined: {reason}");
            let remedy = format!("check on the VPU: systemctl --user cat {name}");
            return builder.block(address, Obstacle::unknown(reason, remedy));
        }
        None => return builder.block(address, Obstacle::not_probed()),
    };
    let compose_version = builder.facts.compose.known().map(String::as_str);
    match unit::judge(text, project, compose_version, &builder.facts.system.home) {
        Err(obstacle) => return builder.block(address, obstacle),
        Ok(notes) => builder.notes(notes),
    }
    if project.state == ProjectState::Stopped {
        builder.note(NoteCode::StoppedStartsAtBoot, format!(
            "{name} starts project {} at every boot (`autostart = true`), and the next apply stops \
             it again (`state = \"stopped\"`)",
            project.name
        ));
    }
    if found.is_enabled(&project.name) {
        return builder.unchanged();
    }
    let draft = Draft::new(address, Action::Create, Phase::Switch, Cause::Missing);
    let draft = after_compose(builder, draft, project);
    builder.step(
        draft
            .source(project.source.as_ref())
            .run(systemctl("enable", &name))
            .undo(systemctl("disable", &name)),
    );
}

/// Plans the newer generation: dockerd starts, and brings
/// containers back by their restart policies.
fn enable_by_policy(builder: &mut Builder<'_>, state: &str, project: &Project) {
    let address = address(&project.name);
    if let Some(obstacle) = policy::missing(project) {
        return builder.block(address, obstacle);
    }
    if project.state == ProjectState::Stopped {
        builder.notes([policy::stopped_note(project)]);
    }
    builder.unchanged();
    if state == "static" {
        builder.note(NoteCode::BootServiceStatic, format!(
            "{SERVICE} cannot be enabled (it has no [Install] section): whether it starts at boot could not \
             be determined"
        ));
    }
    let service = service_address();
    if ON.contains(&state) || builder.changes(&service) {
        return;
    }
    let cause = Cause::differs("state", state, "enabled");
    let draft = Draft::new(service, Action::Update, Phase::Switch, cause);
    builder.step(
        draft
            .source(project.source.as_ref())
            .run(systemctl("enable", SERVICE))
            .undo(systemctl("disable", SERVICE)),
    );
}

fn after_compose(builder: &Builder<'_>, draft: Draft, project: &Project) -> Draft {
    let compose = compose::address(&project.name);
    let changes = builder.changes(&compose);
    draft.after(changes.then_some(compose))
}

fn unit_name(project: &str) -> String {
    format!("oem-dc@{project}.service")
}

fn systemctl(verb: &str, unit: &str) -> [Command; 2] {
    [remote::systemctl(verb, unit), remote::sync()].map(Command::new)
}

/// Returns the projects whose autostart this release or an earlier one turned on, for the record.
pub(super) fn made(desired: &Desired, recorded: Option<&facts::Release>) -> BTreeSet<String> {
    let before = recorded.iter().flat_map(|release| &release.autostart);
    let before = before.filter(|name| !is_declared(desired, name)).cloned();
    let now = desired.projects.iter().filter(|p| p.starts_at_boot());
    before
        .chain(now.map(|project| project.name.clone()))
        .collect()
}

fn is_declared(desired: &Desired, name: &str) -> bool {
    names(desired).any(|declared| declared == name)
}

/// Reports the projects whose autostart an earlier release turned on and this one does not declare.
fn unmanaged(builder: &mut Builder<'_>) {
    let facts = builder.facts;
    let (Some(found), Some(records)) = (facts.autostart.known(), facts.records.known()) else {
        return;
    };
    let recorded = records.releases.get(builder.desired.release.name.as_str());
    let left = recorded.iter().flat_map(|release| &release.autostart);
    for name in left.filter(|name| found.starts(name)) {
        if !is_declared(builder.desired, name) {
            builder.unmanaged.insert(address(name));
        }
    }
}

/// Returns the facts that a plan for `desired` depends on.
pub(super) fn relevant(desired: &Desired, facts: &Probed<Autostart>) -> Probed<Autostart> {
    let names: BTreeSet<&str> = names(desired).collect();
    if names.is_empty() && desired.projects.is_empty() {
        return Probed::Known(Autostart::default());
    }
    let Probed::Known(found) = facts else {
        return facts.clone();
    };
    let mut found = found.clone();
    found.enabled.retain(|name| names.contains(name.as_str()));
    found
        .enabled_for_all
        .retain(|name| names.contains(name.as_str()));
    // Systemd reports the template as `indirect` as soon as any instance is enabled.
    if found.template.as_deref() == Some("indirect") {
        found.template = Some("disabled".to_owned());
    }
    if !desired.projects.iter().any(Project::starts_at_boot) {
        found.lingering = None;
    }
    Probed::Known(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{digest::Digest, offers::Offers, testing};

    #[test]
    fn a_record_keeps_autostart_until_the_manifest_declares_it() {
        let recorded = facts::Release {
            version: "1".into(),
            desired: Digest::of(b""),
            projects: [].into(),
            autostart: ["app", "gone", "off"].map(str::to_owned).into(),
            removed: [].into(),
            leaving: [].into(),
            left: facts::Left::default(),
            adopted_images: [].into(),
            keep: None,
            made: [].into(),
        };
        let project = |name, autostart| Project {
            autostart,
            ..testing::project(name, [])
        };
        let wanted = testing::desired(vec![
            project("new", Some(true)),
            project("off", Some(false)),
            project("app", None),
        ]);
        let kept = |recorded| Vec::from_iter(made(&wanted, recorded));
        assert_eq!(kept(Some(&recorded)), ["app", "gone", "new"]);
        assert_eq!(kept(None), ["new"]);
    }

    #[test]
    fn what_an_earlier_release_turned_on_is_unmanaged_where_this_one_does_not_say() {
        let declared = Project {
            autostart: Some(true),
            ..testing::project("app", [])
        };
        let desired = testing::desired(vec![declared]);
        let mut observed = testing::observed();
        let names = || ["app", "gone", "off"].map(str::to_owned);
        let release = facts::Release {
            version: "1".into(),
            desired: Digest::of(b""),
            projects: [].into(),
            autostart: names().into(),
            removed: [].into(),
            leaving: [].into(),
            left: facts::Left::default(),
            adopted_images: [].into(),
            keep: None,
            made: [].into(),
        };
        observed.facts.records = Probed::Known(facts::Records {
            releases: [("app".to_owned(), release)].into(),
            ..facts::Records::default()
        });
        observed.facts.autostart = Probed::Known(Autostart {
            template: Some("disabled".into()),
            enabled: ["app", "gone", "theirs"].map(str::to_owned).into(),
            ..Autostart::default()
        });
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        unmanaged(&mut builder);
        assert_eq!(builder.finish("host").unmanaged, [address("gone")]);
    }

    #[test]
    fn what_an_apply_before_turned_on_or_off_is_not_restorable_where_it_is_declared() {
        let recorded = facts::Release {
            version: "1".into(),
            desired: Digest::of(b""),
            projects: [].into(),
            autostart: ["app".to_owned()].into(),
            removed: [].into(),
            leaving: [].into(),
            left: facts::Left::default(),
            adopted_images: [].into(),
            keep: None,
            made: [].into(),
        };
        let lost = |autostart, state, enabled: &[&str]| {
            let project = Project {
                state,
                autostart,
                ..testing::project("app", [])
            };
            let desired = testing::desired(vec![project]);
            let mut observed = testing::observed();
            observed.facts.records = Probed::Known(facts::Records {
                releases: [("app".to_owned(), recorded.clone())].into(),
                ..facts::Records::default()
            });
            let found = Autostart {
                template: Some("disabled".into()),
                enabled: enabled.iter().map(|name| (*name).to_owned()).collect(),
                ..Autostart::default()
            };
            let offers = Offers::default();
            let mut builder = Builder::new(&desired, &observed, &offers);
            touched_before(&mut builder, &found);
            !builder.finish("host").not_restorable.is_empty()
        };
        let (running, absent) = (ProjectState::Running, ProjectState::Absent);
        assert!(lost(Some(false), running, &[]));
        assert!(!lost(Some(true), running, &["app"]));
        assert!(!lost(None, running, &[]), "this release does not say");
        assert!(lost(None, absent, &[]));
    }

    #[test]
    fn a_template_of_which_instances_are_enabled_is_the_same_for_a_plan() {
        let desired = testing::desired(vec![testing::project("app", [])]);
        let template = |state: &str| {
            let found = Probed::Known(Autostart {
                template: Some(state.into()),
                ..Autostart::default()
            });
            let relevant = relevant(&desired, &found);
            relevant.known().unwrap().template.clone().unwrap()
        };
        assert_eq!(template("indirect"), "disabled");
        assert_eq!(template("masked"), "masked");
    }
}
