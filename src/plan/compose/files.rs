//! Plans the files of a project's directory.

use std::collections::BTreeSet;

use super::file_address;
use crate::{
    desired::{Project, ProjectFile},
    observe::{PathFact, Probed},
    plan::{
        Action, Address, Cause, Command, Payload, PayloadSource, Phase,
        builder::{Builder, Draft},
    },
    remote,
};

/// Plans the project's files; gives the relative paths of those that change.
pub(super) fn files(builder: &mut Builder<'_>, project: &Project) -> Result<BTreeSet<String>, ()> {
    let mut changed = BTreeSet::new();
    let mut blocked = false;
    for file in &project.files {
        let address = file_address(&project.name, &file.relative);
        let path = project.path(file);
        match file_cause(builder.facts.paths.get(&path), file, &path) {
            Ok(None) => builder.unchanged(),
            Ok(Some(cause)) => {
                changed.insert(file.relative.clone());
                put(builder, project, file, address, cause);
            }
            Err((reason, remedy)) => {
                builder.block(address, reason, remedy);
                blocked = true;
            }
        }
    }
    if blocked { Err(()) } else { Ok(changed) }
}

/// Why a file has to be written, or why and how it cannot be.
fn file_cause(
    fact: Option<&Probed<PathFact>>,
    file: &ProjectFile,
    path: &str,
) -> Result<Option<Cause>, (String, String)> {
    let look = || format!("look at it and move it away: mv {path} {path}.old");
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
        Some(Probed::Known(PathFact::Directory { .. })) => {
            Err((format!("{path} is a directory"), look()))
        }
        Some(Probed::Known(PathFact::Other)) => {
            Err((format!("{path} is neither a file nor a directory"), look()))
        }
        Some(Probed::Unknown(reason)) => {
            Err((reason.clone(), format!("see on the VPU: ls -l {path}")))
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
    address: Address,
    cause: Cause,
) {
    let path = project.path(file);
    let kept = builder.state().kept(&project.name, &file.relative);
    let record = builder.state().started(&project.name);
    let payload = Payload {
        from: PayloadSource::File(file.local.to_string()),
        sha256: file.sha256,
        bytes: file.bytes,
        members: vec![],
    };
    let action = if cause == Cause::Missing {
        Action::Create
    } else {
        Action::Update
    };
    let put = remote::put_file(&path, &file.sha256.hex(), file.mode, &kept, &record);
    let draft = Draft::new(address, action, Phase::Switch, cause);
    let draft = draft.source(project.source.as_ref());
    builder.step(
        draft
            .run([Command::with(put, payload)])
            .undo([Command::new(remote::restore_file(&path, &kept))]),
    );
}
