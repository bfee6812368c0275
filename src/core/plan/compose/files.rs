//! Plans the files of a project's directory.

use std::collections::BTreeSet;

use super::{
    file_address,
    previous::{Previous, added},
};
use crate::{
    desired::{Project, ProjectFile},
    facts::{PathFact, Probed},
    plan::{
        Action, Cause, Command, Phase,
        builder::{Builder, Draft},
        directory::unwritable,
        obstacle::{BlockCode, Obstacle},
        verb::RENAMED,
    },
    remote::{self, PreviousFile},
    shell::{Argv, quote},
};

/// Plans the project's files, including those that it no longer has; returns the relative paths of
/// the files that change.
pub(super) fn files<'a>(
    builder: &mut Builder<'a>,
    project: &Project,
    previous: &Previous<'a>,
) -> Result<BTreeSet<String>, ()> {
    let mut changed = BTreeSet::new();
    let mut blocked = false;
    for file in &project.files {
        let address = file_address(&project.name, &file.relative);
        let path = project.path(file);
        match file_cause(builder.facts.paths.get(&path), file, &path) {
            Ok(None) => builder.unchanged(),
            Ok(Some((Change::Mode(found), cause))) => mode(builder, project, file, found, cause),
            Ok(Some((Change::Content, cause))) => {
                changed.insert(file.relative.clone());
                blocked |= !put(builder, project, file, previous, cause);
            }
            Err(obstacle) => {
                builder.block(address, obstacle);
                blocked = true;
            }
        }
    }
    if blocked {
        return Err(());
    }
    let dropped = dropped(builder, project, previous);
    for relative in &dropped {
        changed.insert((*relative).to_owned());
        remove(builder, project, relative, previous);
    }
    for name in undeclared(builder, project) {
        if !dropped.contains(name) {
            changed.insert(name.to_owned());
            set_aside(builder, project, name);
        }
    }
    Ok(changed)
}

/// Returns files in the project's directory that docker-compose would read automatically and that
/// are not declared: they would change the containers without notice.
fn undeclared<'a>(builder: &Builder<'a>, project: &Project) -> Vec<&'a str> {
    let there = builder.facts.projects.get(&project.name);
    let is_read = |name: &str| name == ".env" || name.contains(".override.");
    let is_declared = |name: &str| project.files.iter().any(|file| file.relative == name);
    there
        .into_iter()
        .flatten()
        .filter(|(name, fact)| {
            let missing = Probed::Known(PathFact::Missing);
            is_read(name) && !is_declared(name) && **fact != missing
        })
        .map(|(name, _)| name.as_str())
        .collect()
}

/// Plans the renaming of such a file, so that nothing somebody wrote is lost.
fn set_aside(builder: &mut Builder<'_>, project: &Project, name: &str) {
    let path = format!("{}/{name}", project.directory());
    let record = builder.state().started(&project.name);
    let aside = |verb| Command::new(remote::set_aside(verb, &path, &record));
    let cause = Cause::differs("read by docker-compose", "not declared", RENAMED);
    let address = file_address(&project.name, name);
    let draft = Draft::new(address, Action::Remove, Phase::Switch, cause);
    let draft = draft.source(project.source.as_ref()).run([aside("do")]);
    let detail = format!("kept as {name}{}", remote::FOUND);
    builder.step(draft.detail(detail).undo([aside("undo")]));
}

/// Returns the files that the last release, or an interrupted apply after it, put into the
/// project's directory and that the manifest does not declare.
pub(super) fn dropped<'a>(
    builder: &Builder<'a>,
    project: &Project,
    previous: &Previous<'a>,
) -> BTreeSet<&'a str> {
    let is_declared = |relative: &str| project.files.iter().any(|file| file.relative == relative);
    let files = added(builder, project).into_iter();
    let files = files.chain(previous.files());
    files.filter(|relative| !is_declared(relative)).collect()
}

/// What changes in a file.
enum Change {
    /// Its contents.
    Content,
    /// Its permissions, found as given here: they change in
    /// place, and every mount of the file shows that at once.
    Mode(u32),
}

/// Returns why a file has to be written, or why it cannot be.
fn file_cause(
    fact: Option<&Probed<PathFact>>,
    file: &ProjectFile,
    path: &str,
) -> Result<Option<(Change, Cause)>, Obstacle> {
    let quoted = quote(path);
    let written = |cause| Ok(Some((Change::Content, cause)));
    let look = || {
        let away = format!("{path}.old");
        format!("look at it and move it away: mv {quoted} {}", quote(&away))
    };
    match fact {
        Some(Probed::Known(PathFact::Missing)) => written(Cause::Missing),
        Some(Probed::Known(PathFact::File {
            sha256, mode, size, ..
        })) => Ok(if *sha256 == Some(file.sha256) {
            (*mode != file.mode).then(|| {
                let wanted = format!("{:04o}", file.mode);
                let cause = Cause::differs("mode", format!("{mode:04o}"), wanted);
                (Change::Mode(*mode), cause)
            })
        } else if let Some(found) = sha256 {
            let cause = Cause::differs("content", found.short(), file.sha256.short());
            Some((Change::Content, cause))
        } else {
            // The hash of a file of another size is not asked for.
            let bytes = |count: u64| format!("{count} bytes");
            let cause = Cause::differs("size", bytes(*size), bytes(file.bytes));
            Some((Change::Content, cause))
        }),
        Some(Probed::Known(PathFact::Unwritable { parent, uid })) => {
            Err(unwritable(path, parent, *uid))
        }
        Some(Probed::Known(PathFact::Directory { .. })) => {
            let reason = format!("{path} is a directory");
            Err(Obstacle::new(BlockCode::WrongKind, reason, look()))
        }
        // ifm's own scripts create such links; the link is replaced and its target stays.
        Some(Probed::Known(PathFact::Link { target })) => written(Cause::differs(
            "kind",
            format!("a link to {target}"),
            "a file",
        )),
        Some(Probed::Known(PathFact::Other)) => {
            let reason = format!("{path} is neither a file nor a directory");
            Err(Obstacle::new(BlockCode::WrongKind, reason, look()))
        }
        Some(Probed::Unknown(reason)) => {
            let remedy = format!("check on the VPU: ls -l {quoted}");
            Err(Obstacle::unknown(reason, remedy))
        }
        None => Err(Obstacle::not_probed()),
    }
}

/// Plans the change of a file's permissions in place.
fn mode(
    builder: &mut Builder<'_>,
    project: &Project,
    file: &ProjectFile,
    found: u32,
    cause: Cause,
) {
    let path = project.path(file);
    let change = |mode| Command::new(remote::change_mode(&path, mode));
    let address = file_address(&project.name, &file.relative);
    let draft = Draft::new(address, Action::Update, Phase::Switch, cause);
    let draft = draft.source(project.source.as_ref());
    builder.step(draft.run([change(file.mode)]).undo([change(found)]));
}

/// Plans to write a file; returns whether that is not blocked.
fn put(
    builder: &mut Builder<'_>,
    project: &Project,
    file: &ProjectFile,
    previous: &Previous<'_>,
    cause: Cause,
) -> bool {
    let place = Place::of(builder, project, &file.relative, previous);
    let address = file_address(&project.name, &file.relative);
    let contents = (file.sha256, file.bytes, file.local.as_path());
    let Some(command) = builder.with_contents(address, place.put(file), contents) else {
        return false;
    };
    let action = if cause == Cause::Missing {
        Action::Create
    } else {
        Action::Update
    };
    step(builder, project, &place, previous, (action, cause), command);
    true
}

/// Plans the removal of a file that an earlier apply put there.
fn remove(builder: &mut Builder<'_>, project: &Project, relative: &str, previous: &Previous<'_>) {
    let place = Place::of(builder, project, relative, previous);
    let what = (Action::Remove, Cause::Undeclared);
    let command = Command::new(place.remove());
    step(builder, project, &place, previous, what, command);
}

fn step(
    builder: &mut Builder<'_>,
    project: &Project,
    place: &Place,
    previous: &Previous<'_>,
    (action, cause): (Action, Cause),
    command: Command,
) {
    let address = file_address(&project.name, &place.relative);
    if builder.facts.lost_files.contains(&place.path) {
        let reason = "it was changed on the VPU, which keeps no copy of the recorded release's";
        builder.not_restorable(address.clone(), reason);
    }
    let draft = Draft::new(address, action, Phase::Switch, cause);
    let draft = draft.source(project.source.as_ref()).run([command]);
    let draft = draft.undo([Command::new(place.restore())]);
    builder.step(draft.rollback_always(previous.is_touched()));
}

/// A project's file with what the last release has at its path and where that is kept.
pub(super) struct Place {
    relative: String,
    directory: String,
    path: String,
    kept: String,
    record: String,
    previous: PreviousFile,
    /// Where the store would have the release's file; empty if the release has none.
    stored: String,
    /// The mode of the file that is there.
    mode: u32,
}

impl Place {
    pub(super) fn of(
        builder: &Builder<'_>,
        project: &Project,
        relative: &str,
        previous: &Previous<'_>,
    ) -> Self {
        let directory = project.directory();
        let path = format!("{directory}/{relative}");
        let previous = previous.file(builder, project, relative);
        let mode = match builder.facts.paths.get(&path) {
            Some(Probed::Known(PathFact::File { mode, .. })) => *mode,
            _ => 0o644,
        };
        Self {
            relative: relative.to_owned(),
            path,
            directory,
            stored: match previous {
                PreviousFile::Is(sha256) => builder.state().stored(&sha256),
                _ => String::new(),
            },
            mode,
            kept: builder.state().kept(&project.name, relative),
            record: builder.state().started(&project.name),
            previous,
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
        let kept = (self.kept.as_str(), self.previous);
        let stored = (self.stored.as_str(), self.mode);
        remote::restore_file(&self.path, kept, &self.record, &self.directory, stored)
    }

    /// Whether the last release has exactly this file there.
    pub(super) fn had(&self, file: &ProjectFile) -> bool {
        self.previous == PreviousFile::Is(file.sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        digest::Digest,
        facts::{self, Input},
        offers::Offers,
        plan::compose::Found,
        testing,
    };

    fn file(relative: &str) -> ProjectFile {
        ProjectFile {
            relative: relative.into(),
            local: relative.into(),
            sha256: Digest::of(b""),
            bytes: 0,
            mode: 0o644,
        }
    }

    #[test]
    fn files_that_a_release_or_an_apply_put_there_are_dropped_unless_declared() {
        let project = Project {
            files: vec![file("kept")],
            ..testing::project("app", [])
        };
        let desired = testing::desired(vec![project]);
        let inputs = ["kept", "released"].map(|name| {
            let input = Input::File(name.to_owned());
            (input, Digest::of(b"").to_string())
        });
        let made = facts::Made {
            running: true,
            inputs: inputs.into(),
        };
        let release = testing::release("app", made);
        let mut observed = testing::observed();
        let added = ["begun", "kept"].map(str::to_owned);
        observed.facts.records = Probed::Known(facts::Records {
            releases: [("app".to_owned(), release)].into(),
            added: [("app".to_owned(), added.into())].into(),
            ..facts::Records::default()
        });
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let project = &desired.projects[0];
        let found = Found {
            containers: [].into(),
            started: None,
        };
        let previous = Previous::of(&builder, project, &found);
        let all = dropped(&builder, project, &previous);
        assert_eq!(all, ["begun", "released"].into());
    }

    #[test]
    fn a_file_that_is_missing_is_created_and_another_updated() {
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let project = testing::project("app", []);
        let action = |cause: Cause| {
            let mut builder = Builder::new(&desired, &observed, &offers);
            let found = Found {
                containers: [].into(),
                started: None,
            };
            let previous = Previous::of(&builder, &project, &found);
            put(&mut builder, &project, &file("a"), &previous, cause);
            builder.finish("host").steps.pop().unwrap().action
        };
        assert_eq!(action(Cause::Missing), Action::Create);
        let differs = Cause::differs("content", "old", "new");
        assert_eq!(action(differs), Action::Update);
    }
}
