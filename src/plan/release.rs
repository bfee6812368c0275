//! Plans the release's record, the last step of every apply that changes what is deployed.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    Action, Address, Cause, Command, Payload, Phase,
    builder::{Builder, Draft},
};
use crate::{
    desired::ProjectState,
    observe::{self, Records},
    remote,
};

pub(super) fn plan(builder: &mut Builder<'_>) {
    let Some(records) = builder.facts.records.known() else {
        return;
    };
    let desired = builder.desired;
    let present = desired
        .projects
        .iter()
        .filter(|p| p.state != ProjectState::Absent);
    let projects: BTreeSet<String> = present.map(|project| project.name.clone()).collect();
    let recorded = records.releases.get(&desired.release.name);
    unmanaged_projects(builder, records, recorded);
    let wanted = observe::Release {
        version: desired.release.version.clone(),
        desired: desired.digest(),
        projects,
    };
    let cause = match recorded {
        Some(recorded) if *recorded == wanted => return builder.unchanged(),
        None => Cause::Missing,
        Some(recorded) if recorded.version != wanted.version => {
            Cause::differs("version", &recorded.version, &wanted.version)
        }
        Some(recorded) => {
            Cause::differs("declared", recorded.desired.short(), wanted.desired.short())
        }
    };
    if builder.is_blocked() && !builder.has_steps() {
        return; // nothing else is planned, so there is nothing to record
    }
    let action = if recorded.is_some() {
        Action::Update
    } else {
        Action::Create
    };
    let line = json_line(&wanted);
    let payload = Payload::inline(line);
    let compose = builder
        .facts
        .compose
        .known()
        .map(String::as_str)
        .unwrap_or_default();
    let history = builder.state().history(&desired.release.name);
    let address = Address::new("release", &desired.release.name);
    let draft = Draft::new(address, action, Phase::Settle, cause);
    let draft = draft.source(desired.release.source.as_ref());
    builder.step(draft.run([Command::with(
        remote::record_release(&history, compose),
        payload,
    )]));
}

/// Projects that the last release had and this manifest does not name.
fn unmanaged_projects(
    builder: &mut Builder<'_>,
    records: &Records,
    recorded: Option<&observe::Release>,
) {
    for project in recorded.iter().flat_map(|release| &release.projects) {
        let declared = builder
            .desired
            .projects
            .iter()
            .any(|desired| desired.name == *project);
        if !declared && records.started.contains_key(project) {
            builder.unmanaged.insert(Address::new("compose", project));
        }
    }
}

fn json_line(value: &impl Serialize) -> String {
    // Strings and sets of them always serialise.
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}
