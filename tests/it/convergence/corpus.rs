//! Plans of generated worlds, for a bare VPU, for the next release and after drift, written to
//! `target/tmp/plans` so that two versions of the planner can be compared by `diff -r`.
//! `PROPTEST_CASES=200` writes more of them.

use std::path::Path;

use o3r_deploy::internal::plan::Plan;
use o3r_testing::vpu::{FakeVpu, World};
use proptest::{
    strategy::{Strategy, ValueTree as _},
    test_runner::TestRunner,
};

use super::{
    changes, desired, drift, drifts, execute, plan_for, render,
    shapes::{self, shapes},
};

/// The number of worlds; the first ones are the same in every run.
const WORLDS: usize = 40;

fn value<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

/// Writes a plan without the paths of this run's temporary
/// files, and checks that it reads back as the same plan.
fn write(folder: &Path, world: usize, what: &str, plan: &Plan) {
    let json = render::json(plan);
    let read: Plan = serde_json::from_str(&json).unwrap();
    assert!(
        read == *plan,
        "world {world}, {what}: read back as another plan"
    );
    let json = json.replace(shapes::store().path().to_str().unwrap(), "STORE");
    fs_err::write(folder.join(format!("{world:03}-{what}.json")), json).unwrap();
}

#[tokio::test]
async fn plans_of_generated_worlds_round_trip() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plans");
    let _ = fs_err::remove_dir_all(&folder);
    fs_err::create_dir_all(&folder).unwrap();
    let mut runner = TestRunner::deterministic();
    let cases = std::env::var("PROPTEST_CASES").ok();
    let worlds = cases.map_or(WORLDS, |cases| cases.parse().unwrap());
    for world in 0..worlds {
        let shape = value(&shapes(), &mut runner);
        let next = shape.with(&value(&changes(), &mut runner));
        let drifted = value(&drifts(), &mut runner);
        let vpu = FakeVpu::new(World::default());
        let (first, second) = (desired(&shape), desired(&next));
        let plan = plan_for(&vpu, &first).await;
        write(&folder, world, "first", &plan);
        drop(execute(&vpu, &first, &plan).await);
        write(&folder, world, "next", &plan_for(&vpu, &second).await);
        vpu.world(|world| drift(world, &drifted));
        write(&folder, world, "drifted", &plan_for(&vpu, &first).await);
    }
}
