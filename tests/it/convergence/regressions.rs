//! One test for each fixed bug that the property tests do not find.

use o3r_deploy::internal::{
    desired::ProjectState,
    digest::Digest,
    observe::{PathFact, Probed, observe},
    plan, remote, render,
};
use o3r_testing::vpu::{FakeVpu, World};

use super::{BASE, Shape, converge, converged, desired, image_content, plan_for, prepared, run};

#[test]
fn regression_unreadable_files_of_a_removed_project_block_and_odd_ones_are_removed() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        let gone = desired(&Shape {
            state: ProjectState::Absent,
            ..BASE
        });
        let compose = format!("{}/docker-compose.yml", remote::project_directory("app"));
        let mut observed = observe(&vpu, &gone.query()).await.unwrap();
        let paths = &mut observed.facts.paths;
        paths.insert(compose.clone(), Probed::Unknown("no permission".into()));
        let plan = plan::plan(&gone, &observed, &prepared(&gone).offers, "fake");
        assert_eq!(plan.blocked[0].reason, "no permission");
        // Such as a symbolic link, which a boot would follow.
        observed
            .facts
            .paths
            .insert(compose.clone(), Probed::Known(PathFact::Other));
        let plan = plan::plan(&gone, &observed, &prepared(&gone).offers, "fake");
        let removed = format!("o3r-remove-file {compose} ");
        let commands = plan.steps.iter().flat_map(|step| &step.commands);
        assert!(
            commands
                .into_iter()
                .any(|command| command.starts_with(&removed))
        );
    });
}

#[test]
fn regression_a_directory_in_two_spellings_is_one() {
    run(async {
        let mut twice = desired(&BASE);
        let mut other = twice.directories[0].clone();
        other.path = "/home/oem/data".parse().unwrap();
        other.mode = None;
        twice.directories.insert(0, other.clone());
        let vpu = FakeVpu::default();
        converge(&vpu, &twice).await;
        vpu.world(|world| assert_eq!(world.directories["/home/oem/data"].0, 0o775));

        twice.directories[0].mode = Some(0o700);
        let plan = plan_for(&vpu, &twice).await;
        assert_eq!(plan.blocked[0].address, "directory.~/data");
        assert_eq!(
            plan.blocked[0].reason,
            "it is declared twice, with modes 0700 and 0775"
        );
        assert_eq!(plan.blocked[0].code, plan::BlockCode::DeclaredTwice);
    });
}

#[test]
fn regression_an_unknown_container_is_noticed_where_containers_survive_a_boot() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        vpu.world(|world| world.boot_id.push('+'));
        converged(&vpu, &desired(&BASE)).await;
        let remake = |world: &mut World, hash: Option<Digest>| {
            let (_, mut container) = world.containers.pop_first().unwrap();
            container.config_hash = hash.unwrap_or(container.config_hash);
            world.containers.insert("f".repeat(64), container);
        };
        // Created from the same definition, as by a unit that
        // somebody restarts: docker-compose's hash is the same.
        vpu.world(|world| remake(world, None));
        converged(&vpu, &desired(&BASE)).await;
        vpu.world(|world| remake(world, Some(Digest::of(b"another definition"))));
        let plan = plan_for(&vpu, &desired(&BASE)).await;
        assert_eq!(plan.steps.len(), 1, "{}", render::json(&plan));
    });
}

#[test]
fn regression_remedies_are_words_of_a_shell() {
    run(async {
        let mut odd = desired(&BASE);
        odd.directories[0].path = "~/it's; reboot".parse().unwrap();
        let vpu = FakeVpu::default();
        vpu.world(|world| world.write("/home/oem/it's; reboot", b"", 0o644));
        let plan = plan_for(&vpu, &odd).await;
        let quoted = r"mv '/home/oem/it'\''s; reboot' '/home/oem/it'\''s; reboot.old'";
        let remedy = &plan.blocked[0].remedy;
        assert!(remedy.ends_with(quoted), "{remedy}");
    });
}

#[test]
fn regression_images_of_earlier_releases_are_listed() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        let next = desired(&Shape { image: 1, ..BASE });
        let plan = plan_for(&vpu, &next).await;
        assert!(plan.unmanaged.is_empty(), "a failure would roll back to it");
        converge(&vpu, &next).await;
        let plan = plan_for(&vpu, &next).await;
        assert!(plan.unmanaged.is_empty(), "it is kept for a rollback");
        vpu.world(|world| world.remove_below("/home/oem/.o3r-deploy/generations"));
        let old = image_content(0).staging_tag;
        let plan = plan_for(&vpu, &next).await;
        let unmanaged: Vec<String> = plan.unmanaged.iter().map(ToString::to_string).collect();
        assert_eq!(unmanaged, [format!("image.{old}")]);
    });
}

#[test]
fn a_command_that_no_shell_takes_is_found_by_the_lint() {
    run(async {
        let mut plan = plan_for(&FakeVpu::default(), &desired(&BASE)).await;
        let words = vec!["'"; 20_000];
        let long = o3r_deploy::internal::shell::Argv::new("echo").args(words);
        plan.steps[0].actions[0].argv = long;
        let findings = plan::lint::lint(&plan);
        assert!(
            findings[0].ends_with("a command of 128 KiB or more"),
            "{findings:?}"
        );
    });
}
