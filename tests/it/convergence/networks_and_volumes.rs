//! What docker-compose leaves unchanged when it recreates containers: networks, and volumes where a
//! service now mounts something else.

use o3r_deploy::internal::{
    apply::Restored,
    desired::{Desired, Mounted},
    plan::{Action, BlockCode, Cause, Command, Note, NoteCode, Plan},
};
use o3r_testing::vpu::{self, FakeVpu, Fault, World};

use super::{
    BASE, Shape, apply_crashing, converge, converged, desired, execute, plan_for, run,
    shapes::{EXPECTED, MADE},
};

/// Returns the differences as `WHAT: FOUND -> WANTED`.
fn differences(plan: &Plan) -> Vec<String> {
    let causes = plan
        .steps
        .iter()
        .flat_map(|step| [&step.cause].into_iter().chain(&step.further_causes));
    let text = causes.filter_map(|cause| match cause {
        Cause::Differs {
            attribute,
            found,
            wanted,
        } => Some(format!("{attribute}: {found} -> {wanted}")),
        _ => None,
    });
    text.collect()
}

fn on(network: usize) -> Desired {
    desired(&Shape { network, ..BASE })
}

/// Returns a container of another project.
fn foreign(world: &World, name: &str) -> vpu::Container {
    vpu::Container {
        name: name.to_owned(),
        project: "theirs".into(),
        working_dir: "/home/oem/theirs".into(),
        ..world.containers.values().next().unwrap().clone()
    }
}

#[test]
fn a_network_that_differs_is_recreated_with_its_containers() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &on(0)).await;
        for (network, difference) in [
            (
                1,
                "network app_default: subnet: 172.18.0.0/16 -> 10.1.0.0/24",
            ),
            (2, "network app_default: subnet: 10.1.0.0/24 -> 10.2.0.0/24"),
            (3, "network app_default: option mtu: not set -> 1400"),
            (4, "network app_default: internal: no -> yes"),
            (0, "network app_default: internal: yes -> no"),
        ] {
            let wanted = on(network);
            let said = differences(&plan_for(&vpu, &wanted).await);
            assert!(said.iter().any(|said| said == difference), "{said:#?}");
            let ids: Vec<String> = vpu.world(|world| world.networks.keys().cloned().collect());
            converge(&vpu, &wanted).await;
            vpu.world(|world| assert!(ids.iter().all(|id| !world.networks.contains_key(id))));
        }
        // A release that fails leaves the former network.
        let before = on(1);
        converge(&vpu, &before).await;
        let next = desired(&Shape {
            network: 3,
            image: 1,
            ..BASE
        });
        let failure = apply_crashing(&vpu, &next).await;
        assert_eq!(failure.restored, Restored::Previous, "{failure:?}");
        converged(&vpu, &before).await;
    });
}

#[test]
fn a_network_that_differs_and_has_containers_of_others_is_blocked() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &on(1)).await;
        vpu.world(|world| {
            for (id, name) in [("e", "theirs_b_1"), ("f", "theirs_a_1")] {
                let container = foreign(world, name);
                world.containers.insert(id.repeat(64), container);
            }
        });
        converged(&vpu, &on(1)).await;
        let plan = plan_for(&vpu, &on(2)).await;
        let [blocked] = plan.blocked.as_slice() else {
            panic!("{:#?}", plan.blocked)
        };
        assert_eq!(blocked.address.to_string(), "compose.app");
        assert_eq!(blocked.code, BlockCode::NetworkDiffers);
        assert!(
            blocked
                .reason
                .contains("subnet is 10.1.0.0/24, and the compose file says 10.2.0.0/24")
                && blocked.reason.ends_with("theirs_a_1, theirs_b_1"),
            "{}",
            blocked.reason
        );
        assert!(
            blocked
                .remedy
                .contains("docker rm -f theirs_a_1 theirs_b_1"),
            "{}",
            blocked.remedy
        );
        // A network that somebody else created is not removed.
        vpu.world(|world| {
            world
                .containers
                .retain(|_, container| container.project == "app");
            world
                .networks
                .values_mut()
                .for_each(|network| network.project.clear());
        });
        let plan = plan_for(&vpu, &on(2)).await;
        assert!(
            plan.blocked[0]
                .reason
                .contains("was not created by docker-compose"),
            "{plan:#?}"
        );
    });
}

#[test]
fn a_network_that_is_no_longer_declared_is_removed_unless_others_use_it() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &on(6)).await;
        let names = |world: &mut World| {
            let mut names: Vec<String> = world.networks.values().map(|n| n.name.clone()).collect();
            names.sort();
            names
        };
        assert_eq!(vpu.world(names), ["app_default", "app_front", "back"]);
        let removed = |plan: &Plan| {
            let steps = plan.steps.iter();
            let steps = steps.filter(|step| step.action == Action::Remove);
            let mut addresses: Vec<String> = steps.map(|step| step.address.to_string()).collect();
            addresses.sort();
            addresses
        };
        let plan = plan_for(&vpu, &on(0)).await;
        assert_eq!(removed(&plan), ["network.app_front", "network.back"]);
        vpu.world(|world| {
            let mut theirs = foreign(world, "theirs_web_1");
            theirs.details.networks.retain(|name, _| name == "back");
            theirs.details.networks.extend(
                world
                    .networks
                    .iter()
                    .find(|(_, n)| n.name == "back")
                    .map(|(id, n)| (n.name.clone(), id.clone())),
            );
            world.containers.insert("e".repeat(64), theirs);
        });
        let plan = plan_for(&vpu, &on(0)).await;
        assert_eq!(removed(&plan), ["network.app_front"]);
        assert!(
            plan.notes
                .iter()
                .any(|note| note.code == NoteCode::NetworkLeft
                    && note.text.contains("theirs_web_1 uses it")),
            "{:?}",
            plan.notes
        );
        vpu.world(|world| drop(world.containers.remove(&"e".repeat(64))));
        converge(&vpu, &on(0)).await;
        // And one that was left long ago.
        vpu.world(|world| {
            let left = vpu::Network {
                name: "app_old".into(),
                project: "app".into(),
                ..vpu::Network::default()
            };
            world.networks.insert("a".repeat(64), left);
        });
        converge(&vpu, &on(0)).await;
        assert_eq!(vpu.world(names), ["app_default"]);
    });
}

#[test]
fn an_external_network_must_be_there() {
    run(async {
        let vpu = FakeVpu::default();
        let mut wanted = on(EXPECTED);
        let plan = plan_for(&vpu, &wanted).await;
        let [blocked] = plan.blocked.as_slice() else {
            panic!("{:#?}", plan.blocked)
        };
        assert!(
            blocked
                .reason
                .starts_with("network cell, which the compose file expects"),
            "{blocked:?}"
        );
        assert_eq!(blocked.code, BlockCode::NetworkMissing);
        assert_eq!(
            blocked.remedy,
            "create it on the VPU: docker network create cell"
        );
        // A project that creates the network has to come first.
        let mut other = on(MADE).projects[0].clone();
        other.name = "other".into();
        wanted.projects.push(other);
        let plan = plan_for(&vpu, &wanted).await;
        assert!(
            plan.blocked[0]
                .remedy
                .starts_with("declare the project other"),
            "{:?}",
            plan.blocked
        );
        wanted.projects.swap(0, 1);
        assert_eq!(plan_for(&vpu, &wanted).await.blocked, []);
    });
}

/// Returns the volume of a container at a path.
fn volume(world: &World, destination: &str) -> String {
    let mut containers = world.containers.values();
    let main = containers.rfind(|c| c.service == "main").unwrap();
    match &main.details.mounts[destination] {
        vpu::Mount::Volume(name) => name.clone(),
        vpu::Mount::Bind(path) => path.clone(),
    }
}

#[test]
fn a_mount_replaces_an_anonymous_volume_which_is_kept_with_its_data() {
    run(async {
        for store in [
            vpu::Store::Classic,
            vpu::Store::Containerd,
            vpu::Store::Podman,
        ] {
            let vpu = FakeVpu::default();
            vpu.world(|world| {
                world.store = store;
                world
                    .image_volumes
                    .extend(["/data", "/cache"].map(String::from));
            });
            let without = desired(&BASE);
            let with = desired(&Shape {
                covers: true,
                ..BASE
            });
            converge(&vpu, &without).await;
            let of = |path: &'static str| vpu.world(|world| volume(world, path));
            let (data, cache) = (of("/data"), of("/cache"));

            let plan = plan_for(&vpu, &with).await;
            let short = &data[..12];
            let difference = format!(
                "container app_main_1: mount /data: anonymous volume {short} -> /home/oem/data"
            );
            assert!(
                differences(&plan).contains(&difference),
                "{:#?}",
                differences(&plan)
            );
            let note = plan
                .notes
                .iter()
                .find(|note| note.text.contains(short))
                .unwrap();
            assert!(
                note.code == NoteCode::AnonymousVolumeCovered
                    && note.text.contains("/data")
                    && note.text.contains("stays"),
                "{note}"
            );

            // A release that fails restores the data.
            let failing = desired(&Shape {
                covers: true,
                image: 1,
                ..BASE
            });
            let failure = apply_crashing(&vpu, &failing).await;
            assert_eq!(failure.restored, Restored::Previous, "{failure:?}");
            converged(&vpu, &without).await;
            assert_eq!((of("/data"), of("/cache")), (data.clone(), cache.clone()));

            // If an apply is cut off after it took the
            // volume away, the release's record knows of it.
            let start = vpu.world(|world| world.clone());
            let plan = plan_for(&vpu, &with).await;
            let commands = plan.steps.iter().flat_map(|step| &step.actions);
            let is_last = |command: &Command| command.to_display().contains("o3r-record-release");
            let last = commands.clone().position(is_last).unwrap();
            vpu.inject(Some(Fault::LinkLostBefore(last)));
            drop(execute(&vpu, &with, &plan).await);
            vpu.inject(None);
            assert_eq!(of("/data"), "/home/oem/data");
            let next = desired(&Shape {
                covers: true,
                image: 1,
                ..BASE
            });
            let cut_off = vpu.world(|world| world.clone());
            let failure = apply_crashing(&vpu, &next).await;
            assert_eq!(failure.restored, Restored::Previous, "{failure:?}");
            assert_eq!((of("/data"), of("/cache")), (data.clone(), cache.clone()));
            converged(&vpu, &without).await;

            // Records of older versions do not, which the plan says.
            vpu.world(|world| {
                *world = cut_off;
                let files = world.files.iter_mut();
                for (_, file) in files.filter(|(path, _)| path.contains("/releases/")) {
                    let text = String::from_utf8_lossy(&file.bytes);
                    file.bytes = text.replace("anonymous_volumes", "unknown").into_bytes();
                }
            });
            let plan = plan_for(&vpu, &next).await;
            let said = |note: &Note| {
                note.code == NoteCode::AnonymousVolumeUnrecorded
                    && note
                        .text
                        .contains("interrupted apply mounted something at /data")
            };
            assert!(plan.notes.iter().any(said), "{:#?}", plan.notes);
            vpu.world(|world| *world = start);

            converge(&vpu, &with).await;
            assert_eq!(of("/data"), "/home/oem/data");
            assert_eq!(of("/cache"), cache, "it is moved over as ever");
            vpu.world(|world| assert!(world.volumes.contains_key(&data), "it is not removed"));

            // A failing release that mounts nothing there: its
            // anonymous volume does not cover the restored mount.
            let failing = desired(&Shape { image: 2, ..BASE });
            let failure = apply_crashing(&vpu, &failing).await;
            assert_eq!(failure.restored, Restored::Previous, "{failure:?}");
            converged(&vpu, &with).await;
            assert_eq!(of("/data"), "/home/oem/data");
        }
    });
}

#[test]
fn a_volume_that_covers_a_mount_is_found_whatever_left_it() {
    run(async {
        let vpu = FakeVpu::default();
        let mut wanted = desired(&BASE);
        converge(&vpu, &wanted).await;
        for left in ["share-of-before".to_owned(), "b".repeat(64)] {
            vpu.world(|world| {
                let volume = world.volumes["share"].clone();
                world.volumes.insert(left.clone(), volume);
                let mut containers = world.containers.values_mut();
                let main = containers.find(|c| c.service == "main").unwrap();
                main.details
                    .mounts
                    .insert("/share".into(), vpu::Mount::Volume(left.clone()));
            });
            let said = differences(&plan_for(&vpu, &wanted).await);
            assert_eq!(said.len(), 1, "{said:#?}");
            assert!(said[0].ends_with("-> volume share"), "{said:#?}");
            converge(&vpu, &wanted).await;
        }
        // The name of much older versions of docker-compose counts as well.
        let main = wanted.projects[0].services.get_mut("main").unwrap();
        let older = Mounted::Volume("new".into(), Some("share".into()));
        main.mounts.insert("/share".into(), older);
        let said = differences(&plan_for(&vpu, &wanted).await);
        assert!(
            said.iter().all(|said| !said.starts_with("container ")),
            "{said:#?}"
        );
    });
}
