//! Reports what docker-compose on the VPU says about a
//! project: errors block it, warnings are notes.

use super::address;
use crate::{
    desired::{Project, ProjectState},
    facts::Answer,
    plan::{
        Note, NoteCode,
        builder::Builder,
        obstacle::{BlockCode, Obstacle},
    },
};

/// Returns an obstacle if docker-compose on the VPU refuses the project.
pub(super) fn refusal(builder: &Builder<'_>, project: &Project) -> Option<Obstacle> {
    if project.state == ProjectState::Absent {
        return None;
    }
    let facts = builder.facts;
    let version = facts.compose.known()?;
    let resolved = builder.desired.resolved(&project.name, facts)?;
    let Answer::Refused { words, place } = &resolved.answer else {
        return None;
    };
    let place = place
        .as_ref()
        .map(|place| format!(" ({place})"))
        .unwrap_or_default();
    Some(Obstacle::new(
        BlockCode::ComposeRefused,
        format!("docker-compose {version} on the VPU rejects the project{place}: {words}"),
        "correct the files, then run: o3r-deploy check",
    ))
}

/// Notes its warnings, or why it could not be asked.
pub(super) fn note(builder: &mut Builder<'_>, project: &Project) {
    if project.state == ProjectState::Absent {
        return;
    }
    let Some(resolved) = builder.desired.resolved(&project.name, builder.facts) else {
        return;
    };
    let name = address(&project.name);
    let warnings = resolved.warnings.iter();
    let mut notes: Vec<Note> = warnings
        .map(|warning| {
            let text = format!("{name}: docker-compose warns: {warning}");
            Note::new(NoteCode::ComposeWarning, text)
        })
        .collect();
    if let Answer::Unknown(reason) = &resolved.answer {
        let text = format!(
            "{name}: docker-compose on the VPU could not validate the project ({reason}); errors may show when it \
             starts"
        );
        notes.push(Note::new(NoteCode::ComposeNotAsked, text));
    }
    builder.notes(notes);
}
