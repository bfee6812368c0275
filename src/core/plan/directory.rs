//! Plans directories: those that are declared, and those that volumes are bound to.

use std::collections::BTreeMap;

use super::{
    Action, Address, Cause, Command, Phase, ResourceKind,
    builder::{Builder, Draft},
    obstacle::{BlockCode, Obstacle},
};
use crate::{
    desired::Directory,
    facts::{PathFact, Probed},
    names::{RemotePath, below_home},
    remote,
    shell::quote,
};

/// The mode of a created directory whose mode is not declared.
const DEFAULT_MODE: u32 = 0o755;

/// Returns the address of a directory: the same one for every spelling of its path.
pub(super) fn address(builder: &Builder<'_>, path: &RemotePath) -> Address {
    let home = &builder.facts.system.home;
    let path = below_home(&path.resolve(home), home);
    Address::new(ResourceKind::Directory, path)
}

pub(super) fn plan(builder: &mut Builder<'_>) {
    let desired = builder.desired;
    let home = &builder.facts.system.home;
    // Sorted by path, so that a parent comes before its
    // children; one entry for all spellings of a path.
    let mut directories: BTreeMap<String, Directory> = BTreeMap::new();
    let mut in_two_modes = vec![];
    for directory in &desired.directories {
        let known = directories
            .entry(directory.path.resolve(home))
            .or_insert_with(|| directory.clone());
        match (known.mode, directory.mode) {
            (Some(one), Some(other)) if one != other => {
                in_two_modes.push((directory.path.clone(), one, other));
            }
            (None, mode) => known.mode = mode,
            _ => {}
        }
    }
    for volume in &desired.volumes {
        directories
            .entry(volume.path.resolve(home))
            .or_insert_with(|| Directory {
                path: volume.path.clone(),
                mode: None,
                source: volume.source.clone(),
            });
    }
    for (path, one, other) in in_two_modes {
        directories.remove(&path.resolve(home));
        let obstacle = Obstacle::new(
            BlockCode::DeclaredTwice,
            format!("it is declared twice, with modes {one:04o} and {other:04o}"),
            format!("declare it once (`~` is {home})"),
        );
        builder.block(address(builder, &path), obstacle);
    }
    for directory in directories.values() {
        diff_directory(builder, directory);
    }
}

fn diff_directory(builder: &mut Builder<'_>, directory: &Directory) {
    let address = address(builder, &directory.path);
    let path = directory.path.resolve(&builder.facts.system.home);
    let quoted = quote(&path);
    let fact = match builder.facts.paths.get(&directory.path.resolve("~")) {
        Some(Probed::Known(fact)) => fact,
        Some(Probed::Unknown(reason)) => {
            let remedy = format!("check on the VPU: ls -ld {quoted}");
            return builder.block(address, Obstacle::unknown(reason, remedy));
        }
        None => return builder.block(address, Obstacle::not_probed()),
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
        PathFact::Unwritable { parent, uid } => {
            if *uid == builder.facts.system.uid {
                let reason = format!(
                    "{path} cannot be created: {parent} belongs to this user but cannot be written to \
                     (read-only file system, or its mode)"
                );
                let remedy = format!(
                    "check on the VPU: findmnt -T {0}; ls -ld {0}",
                    quote(parent)
                );
                let obstacle = Obstacle::new(BlockCode::NotWritable, reason, remedy);
                return builder.block(address, obstacle);
            }
            return builder.block(address, unwritable(&path, parent, *uid));
        }
        PathFact::File { .. } | PathFact::Link { .. } | PathFact::Other => {
            let reason = format!("{path} exists and is not a directory");
            let away = format!("{path}.old");
            let remedy = format!("look at it and move it away: mv {quoted} {}", quote(&away));
            let obstacle = Obstacle::new(BlockCode::WrongKind, reason, remedy);
            return builder.block(address, obstacle);
        }
    };
    match directory.mode {
        Some(mode) if mode != found => {
            if uid != builder.facts.system.uid {
                let obstacle = Obstacle::new(
                    BlockCode::NotOwner,
                    format!(
                        "{path} has mode {found:04o} and belongs to user {uid}, and only that user can change it"
                    ),
                    format!(
                        "on the VPU, move it away, or change it in a container that runs as that user: docker run \
                         --rm --user {uid} -v {} IMAGE chmod {mode:04o} /d",
                        quote(&format!("{path}:/d"))
                    ),
                );
                return builder.block(address, obstacle);
            }
            let cause = Cause::differs("mode", format!("{found:04o}"), format!("{mode:04o}"));
            let draft = Draft::new(address, Action::Update, Phase::Stage, cause);
            let draft = draft.source(directory.source.as_ref());
            builder.step(draft.run([Command::new(remote::change_mode(&path, mode))]));
        }
        _ => builder.unchanged(),
    }
}

/// Returns the obstacle for a `parent` that user `uid` cannot write to.
pub(super) fn unwritable(path: &str, parent: &str, uid: u32) -> Obstacle {
    Obstacle::new(
        BlockCode::NotWritable,
        format!(
            "{path} cannot be created: {parent} belongs to user {uid}, and only that user can write there"
        ),
        format!(
            "choose another path, or make it writable in a container that runs as its owner: docker run --rm --user \
             {uid} -v {parent}:/d IMAGE chmod o+w /d"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{offers::Offers, testing};

    #[test]
    fn a_directory_has_one_address_however_it_is_spelled() {
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        for (path, name) in [
            ("~", "~"),
            ("/home/oem", "~"),
            ("~/a", "~/a"),
            ("/home/oem/a", "~/a"),
            ("/home/oem2/a", "/home/oem2/a"),
            ("/etc", "/etc"),
        ] {
            let path: RemotePath = path.parse().unwrap();
            assert_eq!(address(&builder, &path).name(), name, "{path:?}");
        }
    }

    #[test]
    fn a_mode_that_is_declared_is_set_where_it_differs() {
        let path: RemotePath = "~/a".parse().unwrap();
        let planned = |declared: Option<u32>, uid: u32| {
            let directory = Directory {
                path: path.clone(),
                mode: declared,
                source: None,
            };
            let desired = testing::desired(vec![]);
            let mut observed = testing::observed();
            let there = PathFact::Directory { mode: 0o755, uid };
            let key = path.resolve("~");
            observed.facts.paths.insert(key, Probed::Known(there));
            let offers = Offers::default();
            let mut builder = Builder::new(&desired, &observed, &offers);
            diff_directory(&mut builder, &directory);
            let plan = builder.finish("host");
            let actions = plan.steps.iter().map(|step| step.action.verb().to_owned());
            let codes = plan.blocked.iter().map(|blocked| blocked.code.to_string());
            actions.chain(codes).collect::<Vec<_>>().join(" ")
        };
        let own = testing::observed().facts.system.uid;
        assert_eq!(planned(None, own), "");
        assert_eq!(planned(Some(0o755), own), "");
        assert_eq!(planned(Some(0o700), own), Action::Update.verb());
        assert_eq!(planned(Some(0o700), own + 1), "not-owner");
    }
}
