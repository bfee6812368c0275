//! If a delta fails on the VPU, layers are sent, compressed as without a delta.

use o3r_deploy::internal::{apply::Outcome, plan::PayloadSource};
use o3r_testing::vpu::Fault;

use super::{
    desired, execute, image,
    parts::{SLOW, about, vpu},
};

#[tokio::test]
async fn regression_layers_that_are_sent_after_a_failed_delta_are_compressed() {
    const BYTES: usize = 18_000_000;
    let files = tempfile::tempdir().unwrap();
    for zstd in [false, true] {
        let vpu = vpu(zstd);
        let first = desired(vec![image(&files, "app:1", &[("data", BYTES)])]);
        let (prepared, plan) = about(&vpu, &first, &files, SLOW).await;
        super::applied(&vpu, &prepared, &plan).await;

        let second = desired(vec![image(&files, "app:2", &[("data", BYTES + 1000)])]);
        let (prepared, plan) = about(&vpu, &second, &files, SLOW).await;
        let command = &plan.steps[0].actions[0];
        let payload = command.stdin.as_ref().unwrap();
        assert!(
            matches!(payload.source, PayloadSource::ImageDelta { .. }),
            "{:?}",
            plan.notes
        );
        let layers = command.fallback.as_ref().unwrap();
        let packed = layers.stdin.as_ref().unwrap().bytes;
        assert!(packed < BYTES as u64 / 10, "{packed} bytes");
        vpu.inject(Some(Fault::Fails(0)));
        let (report, fell_back) = execute(&vpu, &prepared, &plan).await;
        assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
        assert_eq!(fell_back, [packed]);
    }
}
