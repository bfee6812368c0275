//! The example that needs a GPU: checked, and planned against the in-memory VPU.

use std::{fs, path::Path};

use camino::{Utf8Path, Utf8PathBuf};
use o3r_deploy::internal::{
    digest::Digest,
    image::LayerCache,
    manifest,
    observe::observe,
    plan::{self, Plan},
    prepare::unprepared,
    resolve::{Resolved, resolve},
};
use o3r_testing::{
    archives::Tar,
    vpu::{FakeVpu, World},
};
use serde_json::json;

/// Writes an image without content as `docker save` would.
fn archive(path: &Path) {
    let config = json!({"os": "linux", "architecture": "arm64", "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"")]}});
    let manifest =
        json!([{"Config": "c.json", "RepoTags": ["detector:1.0.0"], "Layers": ["l.tar"]}]);
    let tar = Tar::default()
        .file("c.json", config.to_string())
        .file("l.tar", "")
        .file("manifest.json", manifest.to_string());
    fs::write(path, tar.end()).unwrap();
}

/// Resolves the example with the files that the user supplies.
fn gpu() -> Resolved {
    let site = tempfile::tempdir().unwrap();
    let base = Utf8Path::from_path(site.path()).unwrap();
    for file in ["deploy.toml", "docker-compose.yml"] {
        let from = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gpu");
        fs::copy(from.join(file), base.join(file)).unwrap();
    }
    fs::create_dir(base.join("dist")).unwrap();
    archive(base.join("dist/detector.tar").as_std_path());
    fs::create_dir(base.join("models")).unwrap();
    fs::write(base.join("models/detector.onnx"), "a model").unwrap();
    let loaded = manifest::load(&base.join("deploy.toml")).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(manifest::unsupported::unsupported(&loaded), []);
    resolve(
        &loaded,
        &LayerCache::new(Utf8PathBuf::from(base).join("cache")),
    )
    .unwrap()
}

async fn planned(world: World) -> Plan {
    let Resolved { desired, images } = gpu();
    let observed = observe(&FakeVpu::new(world), &desired.query())
        .await
        .unwrap();
    let offers = unprepared(&desired, &images).offers;
    plan::plan(&desired, &observed, &offers, "192.168.0.69")
}

#[tokio::test]
async fn gpu_is_planned_if_the_runtime_exists() {
    let plan = planned(World::default()).await;
    assert_eq!(plan.blocked, []);
    let addresses: Vec<String> = plan
        .steps
        .iter()
        .map(|step| step.address.to_string())
        .collect();
    for wanted in [
        "volume.models",
        "image.detector:1.0.0",
        "transfer.~/models",
        "compose.detector",
        "autostart.detector",
    ] {
        assert!(
            addresses.iter().any(|address| address == wanted),
            "{wanted} is not among {addresses:?}"
        );
    }
}

#[tokio::test]
async fn gpu_is_blocked_if_the_runtime_is_missing() {
    let mut world = World::default();
    world.runtimes.remove("nvidia");
    let plan = planned(world).await;
    let reasons: Vec<&str> = plan
        .blocked
        .iter()
        .map(|blocked| blocked.reason.as_str())
        .collect();
    assert!(
        reasons.contains(
            &"service detector needs the container runtime nvidia, but docker on the VPU has runc"
        ),
        "{reasons:?}"
    );
}
