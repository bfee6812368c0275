//! Plans directories: the declared ones, and those that volumes are bound to.

use std::collections::BTreeMap;

use super::{
    Action, Address, Cause, Command, Phase,
    builder::{Builder, Draft},
};
use crate::{
    desired::Directory,
    manifest::names::RemotePath,
    observe::{PathFact, Probed},
    remote,
    shell::quote,
};

/// The mode of a directory that is created and whose mode is not declared.
const DEFAULT_MODE: u32 = 0o755;

pub(super) fn address(path: &RemotePath) -> Address {
    Address::new("directory", path.resolve("~"))
}

pub(super) fn plan(builder: &mut Builder<'_>) {
    let desired = builder.desired;
    // By path, so that a parent comes before what is below it.
    let mut directories: BTreeMap<String, Directory> = desired
        .directories
        .iter()
        .map(|directory| (directory.path.resolve("~"), directory.clone()))
        .collect();
    for volume in &desired.volumes {
        directories
            .entry(volume.path.resolve("~"))
            .or_insert_with(|| Directory {
                path: volume.path.clone(),
                mode: None,
                source: volume.source.clone(),
            });
    }
    for directory in directories.values() {
        one(builder, directory);
    }
}

fn one(builder: &mut Builder<'_>, directory: &Directory) {
    let address = address(&directory.path);
    let path = directory.path.resolve(&builder.facts.system.home);
    let quoted = quote(&path);
    let fact = match builder.facts.paths.get(&directory.path.resolve("~")) {
        Some(Probed::Known(fact)) => fact,
        Some(Probed::Unknown(reason)) => {
            return builder.block(address, reason, format!("see on the VPU: ls -ld {quoted}"));
        }
        None => return builder.block(address, "it was not probed", "report this as a bug"),
    };
    let (found, uid) = match fact {
        PathFact::Directory { mode, uid } => (*mode, *uid),
        PathFact::Missing => {
            let mode = directory.mode.unwrap_or(DEFAULT_MODE);
            let commands = [
                remote::make_directory(&path),
                remote::change_mode(&path, mode),
            ];
            let draft = Draft::new(address, Action::Create, Phase::Stage, Cause::Missing);
            let draft = draft.source(directory.source.as_ref());
            return builder.step(draft.run(commands.map(Command::new)));
        }
        PathFact::File { .. } | PathFact::Other => {
            return builder.block(
                address,
                format!("{path} is there and is not a directory"),
                format!(
                    "look at it and move it away: mv {quoted} {}",
                    quote(&format!("{path}.old"))
                ),
            );
        }
    };
    match directory.mode {
        Some(mode) if mode != found => {
            if uid != builder.facts.system.uid {
                return builder.block(
                    address,
                    format!("{path} has mode {found:04o} and belongs to user {uid}, so that only that user can change it"),
                    format!("on the VPU, move it away or change it by a container that runs as that user: docker run --rm --user {uid} -v {} IMAGE chmod {mode:04o} /d", quote(&format!("{path}:/d"))),
                );
            }
            let cause = Cause::differs("mode", format!("{found:04o}"), format!("{mode:04o}"));
            let draft = Draft::new(address, Action::Update, Phase::Stage, cause);
            let draft = draft.source(directory.source.as_ref());
            builder.step(draft.run([Command::new(remote::change_mode(&path, mode))]));
        }
        _ => builder.unchanged(),
    }
}
