//! Plans compare the container attributes that docker shows:
//! networks, namespaces, names; and find undeclared files.

use o3r_deploy::internal::{
    apply::Outcome,
    plan::{self, Action, Plan},
    remote,
};
use o3r_testing::vpu::{FakeVpu, World};

use super::{BASE, Shape, converge, converged, desired, execute, plan_for, run};

fn two() -> Shape {
    Shape {
        two_services: true,
        ..BASE
    }
}

/// Returns the IDs of a service's containers.
fn ids(world: &World, service: &str) -> Vec<String> {
    let all = world.containers.iter();
    let own = all.filter(|(_, container)| container.service == service);
    own.map(|(id, _)| id.clone()).collect()
}

fn commands(plan: &Plan) -> Vec<String> {
    let actions = plan.steps.iter().flat_map(|step| &step.actions);
    let alone = |command: &plan::Command| {
        let all = command.argv.in_turn();
        all.unwrap_or_else(|| vec![command.argv.clone()])
    };
    actions
        .flat_map(alone)
        .map(|argv| argv.to_display())
        .collect()
}

#[test]
fn a_container_whose_network_was_removed_is_recreated() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&two())).await;
        vpu.world(|world| {
            world.networks.clear();
            for container in world.containers.values_mut() {
                container.status = "exited".into();
            }
        });
        converge(&vpu, &desired(&two())).await;
    });
}

#[test]
fn a_container_linked_to_a_recreated_one_is_recreated_with_it() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&two())).await;
        let link = |to: &str| {
            vpu.world(|world| {
                let side = ids(world, "side").remove(0);
                let side = world.containers.get_mut(&side).unwrap();
                side.details.links = [to.to_owned()].into();
            });
        };
        link("app_main_1");
        converged(&vpu, &desired(&two())).await;
        // Only `main` reads the file.
        let changed = desired(&Shape { extra: 1, ..two() });
        let plan = plan_for(&vpu, &changed).await;
        let aside = "o3r-step-aside app 'main=' 'side='".to_owned();
        assert!(commands(&plan).contains(&aside), "{:#?}", commands(&plan));
        converge(&vpu, &changed).await;
        // The same if docker-compose left the link broken.
        link("0123456789ab_app_main_1");
        assert!(!plan_for(&vpu, &changed).await.is_empty());
        converge(&vpu, &changed).await;
    });
}

#[test]
fn a_container_that_somebody_disconnected_is_recreated() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&two())).await;
        let side = vpu.world(|world| {
            let main = ids(world, "main").remove(0);
            let main = world.containers.get_mut(&main).unwrap();
            main.details.networks.clear();
            ids(world, "side")
        });
        converge(&vpu, &desired(&two())).await;
        vpu.world(|world| {
            let main = ids(world, "main").remove(0);
            let networks = &world.containers[&main].details.networks;
            assert!(networks.contains_key("app_default"), "{networks:?}");
            assert_eq!(ids(world, "side"), side, "nothing was to be restarted");
        });
    });
}

#[test]
fn a_container_that_somebody_renamed_gets_its_name_back_and_keeps_running() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&two())).await;
        let main = vpu.world(|world| {
            let main = ids(world, "main").remove(0);
            "main.old".clone_into(&mut world.containers.get_mut(&main).unwrap().name);
            main
        });
        converge(&vpu, &desired(&two())).await;
        vpu.world(|world| assert_eq!(world.containers[&main].name, "app_main_1"));
    });
}

#[test]
fn a_container_in_the_namespace_of_a_recreated_one_is_recreated_with_it() {
    run(async {
        let vpu = FakeVpu::default();
        let shared = Shape {
            shares: true,
            ..two()
        };
        converge(&vpu, &desired(&shared)).await;
        // Only `main` reads the file.
        let changed = desired(&Shape { extra: 1, ..shared });
        let plan = plan_for(&vpu, &changed).await;
        let commands = commands(&plan);
        assert!(
            commands.contains(&"o3r-step-aside app 'main=' 'side='".to_owned()),
            "{commands:#?}"
        );
        let side = vpu.world(|world| ids(world, "side"));
        converge(&vpu, &changed).await;
        assert_ne!(vpu.world(|world| ids(world, "side")), side);
        // The same if somebody else left it so.
        vpu.world(|world| {
            let side = ids(world, "side").remove(0);
            let side = world.containers.get_mut(&side).unwrap();
            side.details.network_mode = format!("container:{}", "0".repeat(64));
        });
        let main = vpu.world(|world| ids(world, "main"));
        converge(&vpu, &changed).await;
        assert_eq!(vpu.world(|world| ids(world, "main")), main, "main stays");
    });
}

#[test]
fn a_container_in_a_namespace_is_created_with_its_owner() {
    run(async {
        let vpu = FakeVpu::default();
        let wanted = desired(&Shape {
            shares: true,
            ..two()
        });
        converge(&vpu, &wanted).await;
        // docker-compose gives a container that it creates
        // alone a namespace of its own, and never corrects it.
        let lost = |world: &mut World| {
            let main = ids(world, "main").remove(0);
            world.containers.remove(&main);
        };
        vpu.world(lost);
        let plan = plan_for(&vpu, &wanted).await;
        let up = commands(&plan)
            .into_iter()
            .find(|one| one.contains(" up -d"));
        assert!(up.unwrap().ends_with("up -d --no-deps main"), "{plan:#?}");
        converge(&vpu, &wanted).await;
        // Docker starts no container in the namespace of a stopped one.
        vpu.world(|world| {
            let main = ids(world, "main").remove(0);
            let main = world.containers.get_mut(&main).unwrap();
            "exited".clone_into(&mut main.status);
            let side = ids(world, "side").remove(0);
            world.containers.get_mut(&side).unwrap().details.memory = 64 << 20;
        });
        converge(&vpu, &wanted).await;
        vpu.world(|world| {
            let side = ids(world, "side").remove(0);
            let side = world.containers.get_mut(&side).unwrap();
            "default".clone_into(&mut side.details.network_mode);
        });
        assert!(!plan_for(&vpu, &wanted).await.is_empty());
        converge(&vpu, &wanted).await;
    });
}

#[test]
fn undeclared_files_that_docker_compose_reads_are_renamed() {
    run(async {
        let vpu = FakeVpu::default();
        let directory = remote::project_directory("app");
        let override_file = format!("{directory}/docker-compose.override.yml");
        let dotenv = format!("{directory}/.env");
        let mut wanted = desired(&BASE);
        wanted.projects[0]
            .files
            .retain(|file| file.relative != ".env");
        vpu.world(|world| {
            world.write(&override_file, b"services: {}\n", 0o644);
            world.write(&dotenv, b"SECRET=1\n", 0o600);
        });
        let plan = plan_for(&vpu, &wanted).await;
        let renamed: Vec<String> = plan
            .steps
            .iter()
            .filter(|step| step.action == Action::Remove)
            .map(|step| step.address.to_string())
            .collect();
        assert_eq!(
            renamed,
            ["file.app/.env", "file.app/docker-compose.override.yml"]
        );
        assert_eq!(plan.blocked, []);
        let report = execute(&vpu, &wanted, &plan).await;
        assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
        vpu.world(|world| {
            assert!(!world.files.contains_key(&dotenv));
            assert!(!world.files.contains_key(&override_file));
            let kept = &world.files[&format!("{dotenv}{}", remote::FOUND)];
            assert_eq!(kept.bytes, b"SECRET=1\n");
        });
        assert_eq!(plan_for(&vpu, &wanted).await.steps, []);
    });
}

#[test]
fn a_changed_mode_of_a_projects_file_restarts_nothing() {
    run(async {
        let vpu = FakeVpu::default();
        let mut wanted = desired(&BASE);
        converge(&vpu, &wanted).await;
        let before = vpu.world(|world| ids(world, "main"));
        let file = wanted.projects[0].files.last_mut().unwrap();
        file.mode = 0o755;
        let plan = plan_for(&vpu, &wanted).await;
        let commands = commands(&plan);
        assert!(commands[0].starts_with("chmod 0755"), "{commands:#?}");
        converge(&vpu, &wanted).await;
        assert_eq!(vpu.world(|world| ids(world, "main")), before);
    });
}

#[test]
fn a_restart_policy_that_was_changed_by_hand_is_set_in_place() {
    run(async {
        let vpu = FakeVpu::default();
        for (restart, policy) in [(true, "unless-stopped"), (false, "no")] {
            let wanted = desired(&Shape { restart, ..two() });
            converge(&vpu, &wanted).await;
            let before = vpu.world(|world| ids(world, "main"));
            vpu.world(|world| {
                let main = world.containers.get_mut(&before[0]).unwrap();
                main.restart_policy = "always".into();
            });
            let plan = plan_for(&vpu, &wanted).await;
            let set = |policy| format!("o3r-restart-policy app main {policy}");
            assert_eq!(commands(&plan), [set(policy)]);
            let [undo] = plan.steps[0].undo.as_slice() else {
                panic!("{:?}", plan.steps[0].undo)
            };
            assert_eq!(undo.to_display(), set("always"));
            converge(&vpu, &wanted).await;
            assert_eq!(vpu.world(|world| ids(world, "main")), before);
        }
    });
}
