//! Plans the files of a project's directory.

use std::collections::BTreeSet;

use super::{
    file_address,
    previous::{Previous, added},
};
use crate::{
    desired::{Project, ProjectFile},
    observe::{PathFact, Probed},
    plan::{
        Action, Cause, Command, Payload, PayloadSource, Phase,
        builder::{Builder, Draft},
        directory::unwritable,
    },
    remote::{self, PreviousFile},
    shell::{Argv, quote},
};

/// Plans the project's files, those too that it does not have any more; gives the relative paths of
/// those that change.
pub(super) fn files<'a>(
    builder: &mut Builder<'a>,
    project: &Project,
    previous: Option<&Previous<'a>>,
) -> Result<BTreeSet<String>, ()> {
    let mut changed = BTreeSet::new();
    let mut blocked = false;
    for file in &project.files {
        let address = file_address(&project.name, &file.relative);
        let path = project.path(file);
        match file_cause(builder.facts.paths.get(&path), file, &path) {
            Ok(None) => builder.unchanged(),
            Ok(Some(cause)) => {
                changed.insert(file.relative.clone());
                put(builder, project, file, previous, cause);
            }
            Err((reason, remedy)) => {
                builder.block(address, reason, remedy);
                blocked = true;
            }
        }
    }
    if blocked {
        return Err(());
    }
    for relative in dropped(builder, project, previous) {
        changed.insert(relative.to_owned());
        remove(builder, project, relative, previous);
    }
    Ok(changed)
}

/// The files that the last release, or an apply after it that was cut off, put into the project's
/// directory, and that the manifest does not declare.
pub(super) fn dropped<'a>(
    builder: &Builder<'a>,
    project: &Project,
    previous: Option<&Previous<'a>>,
) -> BTreeSet<&'a str> {
    let recorded = previous.into_iter().flat_map(Previous::files);
    let is_declared = |relative: &str| project.files.iter().any(|file| file.relative == relative);
    let files = added(builder, project).into_iter().chain(recorded);
    files.filter(|relative| !is_declared(relative)).collect()
}

/// Why a file has to be written, or why and how it cannot be.
fn file_cause(
    fact: Option<&Probed<PathFact>>,
    file: &ProjectFile,
    path: &str,
) -> Result<Option<Cause>, (String, String)> {
    let quoted = quote(path);
    let look = || {
        let away = format!("{path}.old");
        format!("look at it and move it away: mv {quoted} {}", quote(&away))
    };
    match fact {
        Some(Probed::Known(PathFact::Missing)) => Ok(Some(Cause::Missing)),
        Some(Probed::Known(PathFact::File {
            sha256, mode, size, ..
        })) => Ok(if *sha256 == Some(file.sha256) {
            (*mode != file.mode).then(|| {
                Cause::differs("mode", format!("{mode:04o}"), format!("{:04o}", file.mode))
            })
        } else if let Some(found) = sha256 {
            Some(Cause::differs(
                "content",
                found.short(),
                file.sha256.short(),
            ))
        } else {
            // Of another size: its hash was not asked for.
            let bytes = |count: u64| format!("{count} bytes");
            Some(Cause::differs("size", bytes(*size), bytes(file.bytes)))
        }),
        Some(Probed::Known(PathFact::Unwritable { parent, uid })) => {
            Err(unwritable(path, parent, *uid))
        }
        Some(Probed::Known(PathFact::Directory { .. })) => {
            Err((format!("{path} is a directory"), look()))
        }
        Some(Probed::Known(PathFact::Link { target })) => {
            Err((format!("{path} is a link to {target}"), look()))
        }
        Some(Probed::Known(PathFact::Other)) => {
            Err((format!("{path} is neither a file nor a directory"), look()))
        }
        Some(Probed::Unknown(reason)) => {
            Err((reason.clone(), format!("see on the VPU: ls -l {quoted}")))
        }
        None => Err((
            "it was not probed".to_owned(),
            "report this as a bug".to_owned(),
        )),
    }
}

fn put(
    builder: &mut Builder<'_>,
    project: &Project,
    file: &ProjectFile,
    previous: Option<&Previous<'_>>,
    cause: Cause,
) {
    let place = Place::of(builder, project, &file.relative, previous);
    let from = PayloadSource::File(file.local.to_string());
    let payload = Payload::new(from, file.sha256, file.bytes);
    let action = if cause == Cause::Missing {
        Action::Create
    } else {
        Action::Update
    };
    let command = Command::with(place.put(file), payload);
    step(builder, project, &place, previous, (action, cause), command);
}

/// Removes a file that an earlier apply put there.
fn remove(
    builder: &mut Builder<'_>,
    project: &Project,
    relative: &str,
    previous: Option<&Previous<'_>>,
) {
    let place = Place::of(builder, project, relative, previous);
    let what = (Action::Remove, Cause::NoLongerDeclared);
    let command = Command::new(place.remove());
    step(builder, project, &place, previous, what, command);
}

fn step(
    builder: &mut Builder<'_>,
    project: &Project,
    place: &Place,
    previous: Option<&Previous<'_>>,
    (action, cause): (Action, Cause),
    command: Command,
) {
    let address = file_address(&project.name, &place.relative);
    let draft = Draft::new(address, action, Phase::Switch, cause);
    let mut draft = draft.source(project.source.as_ref()).run([command]);
    if let Some(previous) = previous {
        draft = draft.undo([Command::new(place.restore())]);
        draft = draft.always_undone(previous.is_touched());
    }
    builder.step(draft);
}

/// Where a project's file is, what the last release has there, and where that is kept.
pub(super) struct Place {
    relative: String,
    directory: String,
    path: String,
    kept: String,
    record: String,
    previous: PreviousFile,
}

impl Place {
    pub(super) fn of(
        builder: &Builder<'_>,
        project: &Project,
        relative: &str,
        previous: Option<&Previous<'_>>,
    ) -> Self {
        let directory = project.directory();
        Self {
            relative: relative.to_owned(),
            path: format!("{directory}/{relative}"),
            directory,
            kept: builder.state().kept(&project.name, relative),
            record: builder.state().started(&project.name),
            previous: previous.map_or(PreviousFile::None, |previous| {
                previous.file(builder, project, relative)
            }),
        }
    }

    fn put(&self, file: &ProjectFile) -> Argv {
        let contents = (file.sha256, file.bytes);
        let kept = (self.kept.as_str(), self.previous);
        remote::put_file(&self.path, contents, file.mode, kept, &self.record)
    }

    pub(super) fn remove(&self) -> Argv {
        let kept = (self.kept.as_str(), self.previous);
        remote::remove_file(&self.path, kept, &self.record, &self.directory)
    }

    pub(super) fn restore(&self) -> Argv {
        remote::restore_file(&self.path, (&self.kept, self.previous), &self.record)
    }

    /// Whether the last release has just this file there.
    pub(super) fn had(&self, file: &ProjectFile) -> bool {
        self.previous == PreviousFile::Is(file.sha256)
    }
}
