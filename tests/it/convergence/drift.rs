//! Changes to a VPU between two applies.

use std::collections::{BTreeMap, BTreeSet};

use o3r_deploy::internal::{digest::Digest, remote};
use o3r_testing::vpu::{self, World};
use proptest::prelude::*;

/// A change to a VPU between two applies.
#[derive(Debug, Clone)]
pub(super) enum Drift {
    RemoveDirectory,
    ChangeMode,
    RemoveVolume,
    Untag,
    RemoveImage,
    EditCompose,
    EditExtra,
    RemoveExtra,
    StopContainers,
    RemoveContainers,
    RemoveOneContainer,
    RemakeContainers,
    RenameContainer,
    DisconnectContainer,
    LimitContainer,
    LeaveOverride,
    Reboot,
    ForgetStarted,
    ForgetAll,
    DisableUnits,
    EnableUnit,
    ChangePolicies,
    Rename,
    ForgetName,
    StartDemo,
    EditFile,
    RemoveFile,
    ChangeFileMode,
    LinkForFile,
    AddFiles,
    RemoveTree,
    LeaveStaging,
}

pub(super) fn drifts() -> impl Strategy<Value = Drift> {
    use Drift as D;
    prop::sample::select(vec![
        D::RemoveDirectory,
        D::ChangeMode,
        D::RemoveVolume,
        D::Untag,
        D::RemoveImage,
        D::EditCompose,
        D::EditExtra,
        D::RemoveExtra,
        D::StopContainers,
        D::RemoveContainers,
        D::RemoveOneContainer,
        D::RemakeContainers,
        D::RenameContainer,
        D::DisconnectContainer,
        D::LimitContainer,
        D::LeaveOverride,
        D::Reboot,
        D::ForgetStarted,
        D::ForgetAll,
        D::DisableUnits,
        D::EnableUnit,
        D::ChangePolicies,
        D::Rename,
        D::ForgetName,
        D::StartDemo,
        D::EditFile,
        D::RemoveFile,
        D::ChangeFileMode,
        D::LinkForFile,
        D::AddFiles,
        D::RemoveTree,
        D::LeaveStaging,
    ])
}

/// Changes one of the project's containers.
fn with_one(world: &mut World, change: impl FnOnce(&mut vpu::Container)) {
    let mut own = world.containers.values_mut();
    if let Some(container) = own.find(|c| c.project == "app") {
        change(container);
    }
}

/// Adds a file that docker-compose would read automatically.
fn leave_override(world: &mut World, directory: &str) {
    if !world.files_below(directory).is_empty() {
        let path = format!("{directory}/docker-compose.override.yml");
        world.write(&path, b"version: '2.4'\n", 0o644);
    }
}

pub(super) fn drift(world: &mut World, drift: &Drift) {
    let directory = remote::project_directory("app");
    let extra = format!("{directory}/conf/app.conf");
    let compose = format!("{directory}/docker-compose.yml");
    match drift {
        Drift::RemoveDirectory => drop(world.directories.remove("/home/oem/data")),
        Drift::ChangeMode => drop(
            world
                .directories
                .insert("/home/oem/data".into(), (0o711, 989)),
        ),
        Drift::RemoveVolume => {
            world.containers.clear();
            world.volumes.clear();
        }
        Drift::Untag => world
            .images
            .values_mut()
            .for_each(|image| image.tags.clear()),
        Drift::RemoveImage => {
            world.containers.clear();
            world.images.clear();
        }
        Drift::EditCompose => {
            if let Some(file) = world.files.get_mut(&compose) {
                file.bytes.extend_from_slice(b"# edited\n");
            }
        }
        Drift::EditExtra => {
            if let Some(file) = world.files.get_mut(&extra) {
                file.bytes.push(b'#');
            }
        }
        Drift::RemoveExtra => drop(world.files.remove(&extra)),
        Drift::StopContainers => {
            world
                .containers
                .values_mut()
                .for_each(|c| c.status = "exited".into());
        }
        Drift::RemoveContainers => world.containers.clear(),
        Drift::DisconnectContainer => with_one(world, |c| c.details.networks.clear()),
        Drift::LimitContainer => with_one(world, |c| c.details.memory = 64 << 20),
        Drift::RenameContainer => with_one(world, |c| "somebody".clone_into(&mut c.name)),
        Drift::LeaveOverride => leave_override(world, &directory),
        Drift::RemoveOneContainer => drop(world.containers.pop_first()),
        Drift::RemakeContainers => {
            // Someone edits the file, recreates the containers, and reverts the edit.
            let before = world.files.get(&extra).cloned();
            // Known limit: after a reboot, this is indistinguishable from what the boot unit does.
            let rebooted = world.boot_id.contains('+');
            if let (Some(before), false) = (before, world.containers.is_empty() || rebooted) {
                world.write(&extra, b"value=edited\n", 0o644);
                let ids: Vec<String> = world.containers.keys().cloned().collect();
                for id in ids {
                    let mut container = world.containers.remove(&id).unwrap();
                    container.made_from = world.files_below(&directory);
                    // docker-compose's own hash covers an environment file.
                    container.config_hash = Digest::of(b"edited");
                    world.containers.insert(format!("f{}", &id[1..]), container);
                }
                world.files.insert(extra, before);
            }
        }
        Drift::Reboot => {
            if world.autostart.units {
                // Known limit: a container that a person created and a boot brings back is
                // indistinguishable from one of the boot unit.
                world.containers.retain(|id, _| !id.starts_with('f'));
            }
            world.reboot();
        }
        Drift::ForgetStarted => {
            world
                .files
                .retain(|path, _| !path.contains("/.o3r-deploy/started/"));
        }
        Drift::ForgetAll => {
            // Known limit: without a record, nobody knows whose `.env` it is.
            let known = |path: &String| !path.contains("/.o3r-deploy/") && !path.ends_with("/.env");
            world.files.retain(|path, _| known(path));
        }
        Drift::DisableUnits => {
            world.autostart.enabled.clear();
            world.autostart.service = world.autostart.service.map(|_| false);
        }
        Drift::EnableUnit => {
            if world.autostart.units {
                world.autostart.enabled.insert("app".into());
            }
        }
        Drift::ChangePolicies => {
            let containers = world.containers.values_mut();
            containers.for_each(|c| c.restart_policy = "no".into());
        }
        Drift::Rename => world.settings["device"]["info"]["name"] = "theirs".into(),
        Drift::ForgetName => world.saved_settings = serde_json::json!({}),
        Drift::StartDemo => start_demo(world),
        _ => drift_of_files(world, drift),
    }
}

/// Applies a change to the files of transfers.
fn drift_of_files(world: &mut World, drift: &Drift) {
    match drift {
        Drift::EditFile => {
            for path in ["/home/oem/site/conf/main.json", "/home/oem/single file"] {
                if world.files.contains_key(path) {
                    world.write(path, b"edited", 0o644);
                }
            }
        }
        Drift::RemoveFile => {
            world.files.remove("/home/oem/site/conf/sub/it's $(odd)");
            world.files.remove("/home/oem/single file");
        }
        Drift::ChangeFileMode => {
            if let Some(file) = world.files.get_mut("/home/oem/site/conf/same") {
                file.mode = 0o666;
            }
            if let Some(sub) = world.directories.get_mut("/home/oem/site/conf/sub") {
                sub.0 = 0o700;
            }
        }
        Drift::LinkForFile => {
            world.files.remove("/home/oem/site/conf/same");
            world
                .links
                .insert("/home/oem/site/conf/same".into(), "main.json".into());
        }
        Drift::AddFiles => {
            world.write("/home/oem/site/conf/sub/other", b"other", 0o644);
            world.write("/home/oem/site/conf/more/deep/other", b"other", 0o644);
            world.write("/home/oem/site/conf/kept/x.keep", b"kept", 0o644);
            world.write("/home/oem/site/conf/kept/other", b"other", 0o644);
            world.write("/home/oem/site/conf/below/data", b"data", 0o644);
            world.write("/home/oem/site/theirs", b"theirs", 0o644);
        }
        Drift::RemoveTree => {
            world
                .files
                .retain(|path, _| !path.starts_with("/home/oem/site/conf/"));
            world
                .links
                .retain(|path, _| !path.starts_with("/home/oem/site/conf/"));
            world
                .directories
                .retain(|path, _| !path.starts_with("/home/oem/site/conf"));
        }
        Drift::LeaveStaging => {
            world.write(
                "/home/oem/.o3r-deploy/staging/old/0/main.json",
                b"old",
                0o600,
            );
            world.write(
                "/home/oem/.o3r-deploy/staging/new/0/main.json",
                b"new",
                0o600,
            );
        }
        other => unreachable!("{other:?} is none of files"),
    }
}

/// Another tool's project, enabled and running.
pub(super) fn start_demo(world: &mut World) {
    let container = vpu::Container {
        name: "old-demo_web_1".into(),
        image: "sha256:0".into(),
        status: "running".into(),
        restart_policy: "always".into(),
        project: "old-demo".into(),
        service: "web".into(),
        working_dir: "/home/oem/old-demo".into(),
        volumes: BTreeSet::new(),
        host_network: false,
        config_hash: Digest::of(b""),
        made_from: BTreeMap::new(),
        mounted: BTreeMap::new(),
        details: vpu::Details::default(),
    };
    world.containers.insert("d".repeat(64), container);
    if world.autostart.units {
        world.autostart.enabled.insert("old-demo".into());
    }
}
