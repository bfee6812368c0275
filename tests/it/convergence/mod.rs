//! For any desired state and any initial state: after an apply a second plan is empty, what runs
//! was really created from the declaration, and a second apply recovers from a crash or failure at
//! any command. On the in-memory VPU.

mod corpus;
mod docker_attributes;
mod drift;
mod generations;
mod lock;
mod networks_and_volumes;
mod real;
mod regressions;
mod rollback;
mod shapes;
mod trees;
mod undeclared;
mod watchdog;

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use camino::Utf8Path;
use o3r_deploy::internal::{
    apply::{self, Log, Observer, Options, Outcome, Report, Restored},
    desired::{Desired, Entry, Mounted, Project, ProjectState, Service, Transfer},
    digest::Digest,
    host::Held,
    manifest::names::RemotePath,
    observe::{Document, Observed, data, identify, observe, resolve, undeclared},
    plan::{self, Plan},
    remote, render, status,
};
use o3r_testing::{
    Silent,
    vpu::{self, FakeVpu, Fault, Store, World},
};
use proptest::prelude::*;
use tokio::sync::watch;

use self::{
    drift::{drift, drifts, start_demo},
    real::{is_of_others, is_real, survives_a_boot},
    shapes::{BASE, Shape, changes, desired, image_content, prepared, shapes},
};

/// Observes and plans, and checks what holds for every plan.
async fn plan_for(vpu: &FakeVpu, desired: &Desired) -> Plan {
    let (observed, plan) = observed_plan(vpu, desired).await;
    reads_the_same_from_documents(desired, &observed, &plan);
    plan
}

/// Observes and plans.
async fn observed_plan(vpu: &FakeVpu, desired: &Desired) -> (Observed, Plan) {
    let mut observed = observe(vpu, &desired.query()).await.unwrap();
    let undeclared = undeclared(vpu, desired, &observed).await.unwrap();
    observed.facts.undeclared.clone_from(&undeclared);
    if let Cow::Owned(with_undeclared) = desired.with_undeclared(&observed) {
        observed = observe(vpu, &with_undeclared.query()).await.unwrap();
        observed.facts.undeclared = undeclared;
    }
    let left = plan::undeclared_data(&desired.with_undeclared(&observed), &observed.facts);
    observed.facts.data = data(vpu, left).await.unwrap();
    identify(&mut observed.facts, desired.config_digests());
    for question in desired.questions(&observed.facts) {
        let resolved = resolve(vpu, &question).await.unwrap();
        observed.facts.resolved.insert(question.project, resolved);
    }
    if desired.contents.are_on_vpu() {
        observed.facts.kept = vpu.world(|world| generations::whole(world));
    }
    let plan = plan::plan(desired, &observed, &prepared(desired).offers, "fake");
    let none = Vec::<String>::new();
    assert_eq!(plan::lint::lint(&plan), none, "{}", render::json(&plan));
    (observed, plan)
}

/// Checks that a plan follows from what is written down, and that `status` shows all containers.
fn reads_the_same_from_documents(desired: &Desired, observed: &Observed, plan: &Plan) {
    let offers = prepared(desired).offers;
    let again = plan::plan(desired, observed, &offers, "fake");
    assert!(again == *plan, "same input, same plan");
    let query = || desired.with_undeclared(observed).query();
    let written = render::document(&Document::new("fake", query(), observed.clone()));
    let read: Document = serde_json::from_str(&written).unwrap();
    let from_document = plan::plan(desired, &read.answer(&query()), &offers, "fake");
    if from_document != *plan {
        let (read, written) = (render::json(&from_document), render::json(plan));
        assert_eq!(read, written, "written down and read again");
        panic!("the plans differ, and their documents do not: {written}");
    }
    let status = status::status("fake", observed, Ok(plan));
    let text = render::status_text(&status, render::Style::default());
    for container in observed.facts.containers.known().into_iter().flatten() {
        assert!(text.contains(&container.1.name), "{text}");
    }
}

async fn execute(vpu: &FakeVpu, desired: &Desired, plan: &Plan) -> Report {
    execute_holding(vpu, desired, plan, None, Arc::new(Silent)).await
}

async fn execute_holding(
    vpu: &FakeVpu,
    desired: &Desired,
    plan: &Plan,
    lock: Option<&Held>,
    observer: Arc<dyn Observer>,
) -> Report {
    let (_sender, interrupts) = watch::channel(0);
    let payloads = prepared(desired).payloads;
    let options = Options {
        rollback: true,
        lock,
        who: "",
        confirm_within: None,
    };
    let log = Log::none();
    apply::execute(vpu, plan, &payloads, options, &log, observer, interrupts).await
}

/// Applies, and checks that nothing is left to do and that what runs is what is declared.
async fn converge(vpu: &FakeVpu, desired: &Desired) {
    let plan = plan_for(vpu, desired).await;
    converge_by(vpu, desired, &plan).await;
}

/// Applies a plan, and checks what [`converge`] checks.
async fn converge_by(vpu: &FakeVpu, desired: &Desired, plan: &Plan) {
    let data = |world: &mut World| {
        let files = world.files.keys().cloned();
        let data = |path: &String| path.ends_with("/data") || path.ends_with("/theirs");
        let data: BTreeSet<String> = files.filter(data).collect();
        data
    };
    let before = vpu.world(data);
    assert_eq!(plan.blocked, vec![]);
    let report = execute(vpu, desired, plan).await;
    assert!(
        matches!(report.outcome, Outcome::Done),
        "{report:?}\n{}",
        render::json(plan)
    );
    vpu.world(|world| {
        let after = data(world);
        let lost = before.difference(&after);
        let lost = lost.filter(|path| {
            path.as_str() == "/home/oem/site/theirs" || is_of_others(world, desired, path)
        });
        assert_eq!(lost.count(), 0, "of {before:?} only {after:?} are left");
    });
    converged(vpu, desired).await;
}

async fn converged(vpu: &FakeVpu, desired: &Desired) {
    let (_, plan) = observed_plan(vpu, desired).await;
    assert!(
        plan.is_empty(),
        "a second plan is not empty:\n{}",
        render::json(&plan)
    );
    vpu.world(|world| {
        is_real(world, desired);
        survives_a_boot(world, desired);
    });
}

/// The image stores of an engine.
fn stores() -> impl Strategy<Value = Store> {
    prop::sample::select(vec![Store::Classic, Store::Containerd, Store::Podman])
}

/// Returns a VPU of the older or newer generation of autostart, with one of the image stores.
fn vpu_of(newer: bool, store: Store) -> FakeVpu {
    let mut world = World {
        store,
        ..World::default()
    };
    if newer {
        world.autostart = vpu::Autostart::by_policy();
    }
    FakeVpu::new(world)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Enough cases to combine every pair of attributes.
fn cases(all: u32) -> ProptestConfig {
    ProptestConfig {
        cases: o3r_testing::cases(all),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn after_an_apply_a_second_plan_is_empty(
        first in shapes(),
        drifted in prop::collection::vec(drifts(), 0..4),
        second in prop::option::of(shapes()),
        changed in prop::option::of(changes()),
        newer in any::<bool>(),
        store in stores(),
        volumes in any::<bool>(),
    ) {
        run(async {
            let vpu = vpu_of(newer, store);
            if volumes {
                let paths = ["/data", "/cache", "/share"].map(String::from);
                vpu.world(|world| world.image_volumes.extend(paths));
            }
            converge(&vpu, &desired(&first)).await;
            for one in &drifted {
                vpu.world(|world| drift(world, one));
            }
            // Often the same shape again, so that drift is the only change.
            let next = changed.map_or_else(|| first.clone(), |changes| first.with(&changes));
            converge(&vpu, &desired(&second.unwrap_or(next))).await;
        });
    }

}

proptest! {
    #![proptest_config(cases(9))]

    #[test]
    fn a_fault_at_any_command_is_made_good_by_a_second_apply(
        first in prop::option::of(shapes()),
        second in shapes(),
        reboots in any::<bool>(),
        back in any::<bool>(),
        newer in any::<bool>(),
        store in stores(),
    ) {
        run(async {
            let vpu = vpu_of(newer, store);
            if let Some(first) = &first {
                converge(&vpu, &desired(first)).await;
            }
            vpu.world(start_demo);
            let before = vpu.world(|world| world.clone());
            let wanted = desired(&second);
            let plan = plan_for(&vpu, &wanted).await;
            let count: usize = plan.steps.iter().map(|step| step.actions.len()).sum();
            for at in 0..count {
                let faults = [
                    Fault::Fails(at),
                    Fault::FailsAfter(at),
                    Fault::LinkLostBefore(at),
                    Fault::LinkLostAfter(at),
                ];
                for fault in faults {
                    let vpu = FakeVpu::new(before.clone());
                    vpu.inject(Some(fault));
                    let report = execute(&vpu, &wanted, &plan).await;
                    // A record whose acknowledgement was lost counts like any other.
                    let asked = |command: &String| command.starts_with("o3r-recorded");
                    let recorded =
                        matches!(fault, Fault::FailsAfter(_)) && vpu.commands().iter().any(asked);
                    let done = matches!(report.outcome, Outcome::Done);
                    assert!(!done || recorded, "{fault:?}: {report:?}");
                    vpu.inject(None);
                    if reboots {
                        vpu.world(World::reboot);
                    }
                    // Resuming, and rolling back to the former release, must both work.
                    let next = match &first {
                        Some(first) if back => &desired(first),
                        _ => &wanted,
                    };
                    let (_, plan) = observed_plan(&vpu, next).await;
                    converge_by(&vpu, next, &plan).await;
                }
            }
        });
    }
}

/// Applies a release whose containers exit at once.
async fn apply_crashing(vpu: &FakeVpu, desired: &Desired) -> apply::Failure {
    let content = desired.images[0].content.as_ref().unwrap();
    vpu.world(|world| {
        let image = world.stored_id(content.config_digest);
        world.crashing.insert(image);
    });
    let report = execute(vpu, desired, &plan_for(vpu, desired).await).await;
    match report.outcome {
        Outcome::Failed(failure) => *failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_release_that_crashes_is_rolled_back() {
    run(async {
        let vpu = FakeVpu::default();
        vpu.world(|world| {
            world.saved_settings = serde_json::json!({"ports": {"port0": {"state": "RUN"}}});
        });
        let old = Shape {
            name: Some(0),
            ..BASE
        };
        let old = desired(&old);
        converge(&vpu, &old).await;
        let new = Shape {
            image: 1,
            extra: 1,
            comment: 1,
            name: Some(1),
            ..BASE
        };
        let failure = apply_crashing(&vpu, &desired(&new)).await;
        assert_eq!(failure.restored, Restored::Previous, "{failure:?}");
        assert_eq!(failure.address, "compose.app");
        converged(&vpu, &old).await;
        let names = vpu.commands();
        assert!(
            names
                .iter()
                .any(|command| command.starts_with("device-api saveInit")),
            "{names:?}"
        );
    });
}

#[test]
fn a_first_release_that_crashes_is_removed() {
    run(async {
        let vpu = FakeVpu::default();
        let failure = apply_crashing(&vpu, &desired(&BASE)).await;
        assert_eq!(failure.restored, Restored::Previous);
        vpu.world(|world| assert!(world.containers.is_empty(), "{world:#?}"));
    });
}

#[test]
fn with_docker_down_everything_is_blocked_and_nothing_planned_away() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        vpu.world(|world| world.docker_runs = false);
        let plan = plan_for(
            &vpu,
            &desired(&Shape {
                state: ProjectState::Absent,
                ..BASE
            }),
        )
        .await;
        assert!(plan.steps.is_empty(), "{}", render::json(&plan));
        assert!(
            plan.blocked
                .iter()
                .any(|blocked| blocked.address == "vpu.docker")
        );
    });
}

#[test]
fn a_container_of_others_with_a_needed_name_blocks_unless_the_project_is_removed() {
    run(async {
        let vpu = FakeVpu::default();
        converge(&vpu, &desired(&BASE)).await;
        vpu.world(|world| {
            let (_, mut foreign) = world.containers.pop_first().unwrap();
            foreign.project = String::new();
            foreign.working_dir = String::new();
            // Docker does not remove a network that a running container is on.
            foreign.details.networks.clear();
            world.containers.insert("f".repeat(64), foreign);
        });
        let plan = plan_for(&vpu, &desired(&BASE)).await;
        assert_eq!(plan.blocked.len(), 1, "{}", render::json(&plan));
        assert!(plan.blocked[0].reason.contains("is taken"));
        assert_eq!(plan.blocked[0].code, plan::BlockCode::NameTaken);
        let gone = desired(&Shape {
            state: ProjectState::Absent,
            ..BASE
        });
        converge(&vpu, &gone).await;
        vpu.world(|world| assert!(world.containers.contains_key(&"f".repeat(64))));
    });
}
