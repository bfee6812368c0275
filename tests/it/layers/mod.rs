//! Only the image layers that the VPU lacks are sent. On the in-memory VPU, which, like docker,
//! refuses an archive without a layer that it does not have.

mod failed_delta;
mod parts;

use std::sync::{Arc, Mutex};

use camino::Utf8PathBuf;
use o3r_deploy::internal::{
    apply::{self, Event, Log, Observer, Options, Outcome, Report},
    desired::{Desired, Image},
    digest::Digest,
    image::{self, Platform, ScratchDir},
    observe::observe,
    plan::{self, Plan},
    prepare::{Payloads, Prepared, unprepared},
    render,
    resolve::{LocalImages, Resolved},
};
use o3r_testing::desired::nothing;
use o3r_testing::{
    archives::{self, Tar},
    vpu::{FakeVpu, World},
};
use serde_json::json;
use tokio::sync::watch;

/// Writes an archive of `docker save` with one file in each layer, of a given size in bytes.
fn archive(directory: &tempfile::TempDir, name: &str, layers: &[(&str, usize)]) -> Utf8PathBuf {
    let layers: Vec<Vec<u8>> = layers
        .iter()
        .map(|(name, size)| archives::layer(name, vec![b'x'; *size]))
        .collect();
    let diff_ids: Vec<Digest> = layers.iter().map(Digest::of).collect();
    let config = json!({"os": "linux", "architecture": "arm64", "name": name, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let names: Vec<String> = (0..layers.len())
        .map(|number| format!("{number}/layer.tar"))
        .collect();
    let manifest = json!([{"Config": "c.json", "RepoTags": [name], "Layers": names}]);
    let tar = Tar::default().file("c.json", config.to_string());
    let tar = names
        .iter()
        .zip(layers)
        .fold(tar, |tar, (name, layer)| tar.file(name, layer));
    let tar = tar.file("manifest.json", manifest.to_string());
    let path = directory
        .path()
        .join(format!("{}.tar", name.replace(':', "-")));
    std::fs::write(&path, tar.end()).unwrap();
    Utf8PathBuf::from_path_buf(path).unwrap()
}

/// The desired state, and the local images for it.
struct Wanted {
    resolved: Resolved,
    as_it_is: Prepared,
}

impl std::ops::Deref for Wanted {
    type Target = Desired;

    fn deref(&self) -> &Desired {
        &self.resolved.desired
    }
}

impl AsRef<Payloads> for Wanted {
    fn as_ref(&self) -> &Payloads {
        &self.as_it_is.payloads
    }
}

/// The prepared payloads.
struct Ready(Prepared);

impl AsRef<Payloads> for Ready {
    fn as_ref(&self) -> &Payloads {
        &self.0.payloads
    }
}

type Opened = (String, image::Image);

fn image(directory: &tempfile::TempDir, name: &str, layers: &[(&str, usize)]) -> Opened {
    let source = image::Source::Archive(archive(directory, name, layers));
    let scratch = ScratchDir::new(Utf8PathBuf::from_path_buf(directory.path().into()).unwrap());
    let image = image::Image::open(&source, name, &Platform::linux("arm64"), &scratch).unwrap();
    (name.to_owned(), image)
}

fn desired(opened: Vec<Opened>) -> Wanted {
    let mut local = LocalImages::default();
    let images = opened.into_iter().map(|(name, image)| Image {
        name,
        content: Some(local.add(image, "app")),
        found: None,
        source: None,
    });
    let images = images.collect();
    let desired = Desired {
        images,
        ..nothing("arm64")
    };
    Wanted {
        as_it_is: unprepared(&desired, &local),
        resolved: Resolved {
            desired,
            images: local,
        },
    }
}

/// Records the reported progress.
#[derive(Default)]
struct Told(Mutex<Vec<u64>>);

impl Observer for Told {
    fn event(&self, event: Event<'_>) {
        if let Event::FellBack(bytes) = event {
            self.0.lock().unwrap().push(bytes);
        }
    }
}

async fn plan_for(vpu: &FakeVpu, desired: &Wanted) -> Plan {
    let observed = observe(vpu, &desired.query()).await.unwrap();
    let plan = plan::plan(desired, &observed, &desired.as_it_is.offers, "fake");
    assert_eq!(plan::lint::lint(&plan), Vec::<String>::new());
    plan
}

async fn execute(vpu: &FakeVpu, sent: &impl AsRef<Payloads>, plan: &Plan) -> (Report, Vec<u64>) {
    let told = Arc::new(Told::default());
    let observer = Arc::clone(&told) as Arc<dyn Observer>;
    let report = executed(vpu, sent, plan, observer).await;
    let told = told.0.lock().unwrap().clone();
    (report, told)
}

async fn executed(
    vpu: &FakeVpu,
    sent: &impl AsRef<Payloads>,
    plan: &Plan,
    observer: Arc<dyn Observer>,
) -> Report {
    let (_sender, interrupts) = watch::channel(0);
    let payloads = sent.as_ref();
    let options = Options {
        rollback: true,
        lock: None,
        who: "",
        confirm_within: None,
    };
    let log = Log::none();
    apply::execute(vpu, plan, payloads, options, &log, observer, interrupts).await
}

/// Executes a plan, which must succeed without falling back.
async fn applied(vpu: &FakeVpu, sent: &impl AsRef<Payloads>, plan: &Plan) {
    let (report, fell_back) = execute(vpu, sent, plan).await;
    assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
    assert_eq!(fell_back, Vec::<u64>::new());
}

/// Returns the detail of the step of `name`, and its bytes.
fn load(plan: &Plan, name: &str) -> Option<(String, u64)> {
    let address = format!("image.{name}");
    let step = plan
        .steps
        .iter()
        .find(|step| step.address == address.as_str())?;
    Some((step.detail.clone()?, step.bytes_to_send))
}

const BASE: (&str, usize) = ("base", 300_000);
const DEPS: (&str, usize) = ("deps", 200_000);

#[tokio::test]
async fn only_missing_layers_are_sent() {
    let files = tempfile::tempdir().unwrap();
    let vpu = FakeVpu::new(World::default());
    let first = desired(vec![image(&files, "app:1", &[BASE, DEPS, ("app", 1000)])]);
    let plan = plan_for(&vpu, &first).await;
    let (said, _) = load(&plan, "app:1").unwrap();
    assert_eq!(
        said,
        "load, 3 of 3 layers missing, 498 KiB of 498 KiB to send"
    );
    applied(&vpu, &first, &plan).await;

    let next = desired(vec![image(&files, "app:2", &[BASE, DEPS, ("app", 1001)])]);
    let plan = plan_for(&vpu, &next).await;
    let (said, bytes) = load(&plan, "app:2").unwrap();
    assert_eq!(
        said,
        "load, 1 of 3 layers missing, 6.00 KiB of 498 KiB to send"
    );
    assert_eq!(bytes, 6144);
    applied(&vpu, &next, &plan).await;
    assert!(plan_for(&vpu, &next).await.is_empty());

    // The same layers with another configuration: no layer is sent.
    let renamed = desired(vec![image(&files, "other:1", &[BASE, DEPS, ("app", 1001)])]);
    let plan = plan_for(&vpu, &renamed).await;
    let (said, _) = load(&plan, "other:1").unwrap();
    assert!(said.starts_with("load, all layers present"), "{said}");
    applied(&vpu, &renamed, &plan).await;
    assert!(plan_for(&vpu, &renamed).await.is_empty());
}

/// Whoever brought it there, under any tag.
#[tokio::test]
async fn an_earlier_image_of_the_same_repository_may_be_the_base() {
    let files = tempfile::tempdir().unwrap();
    let vpu = FakeVpu::new(World::default());
    let first = desired(vec![image(&files, "app:1", &[BASE, DEPS])]);
    applied(&vpu, &first, &plan_for(&vpu, &first).await).await;
    vpu.world(|world| {
        for image in world.images.values_mut() {
            image.tags.retain(|tag| tag == "app:1");
        }
    });
    let rebuilt = [("base", 300_001), ("deps", 200_001)];
    let next = desired(vec![
        image(&files, "app:2", &rebuilt),
        image(&files, "app-tool:1", &rebuilt),
    ]);
    let observed = observe(&vpu, &next.query()).await.unwrap();
    let bases = plan::delta_bases(&next, &observed.facts);
    assert_eq!(bases["app:2"].len(), 1);
    assert_eq!(bases["app-tool:1"], []);
}

#[tokio::test]
async fn images_of_one_release_share_layers() {
    let files = tempfile::tempdir().unwrap();
    let vpu = FakeVpu::new(World::default());
    let both = desired(vec![
        image(&files, "app:1", &[BASE, DEPS, ("app", 1000)]),
        image(&files, "tool:1", &[BASE, DEPS, ("tool", 2000)]),
    ]);
    let plan = plan_for(&vpu, &both).await;
    let (said, _) = load(&plan, "tool:1").unwrap();
    assert!(said.starts_with("load, 1 of 3 layers missing"), "{said}");
    applied(&vpu, &both, &plan).await;
    assert!(plan_for(&vpu, &both).await.is_empty());
}

#[tokio::test]
async fn a_layer_that_vanishes_after_the_plan_is_sent() {
    let files = tempfile::tempdir().unwrap();
    let vpu = FakeVpu::new(World::default());
    let first = desired(vec![image(&files, "app:1", &[BASE, DEPS, ("app", 1000)])]);
    applied(&vpu, &first, &plan_for(&vpu, &first).await).await;
    let next = desired(vec![image(&files, "app:2", &[BASE, DEPS, ("app", 1001)])]);
    let plan = plan_for(&vpu, &next).await;
    insta::assert_snapshot!(render::text(&plan, render::Style::default()), @"
    fake (serial 000012345678, firmware 1.4.30-5230, arm64, docker 20.10.24)

    stage (does not touch running containers)
      + create  image.app:2
                load, 1 of 3 layers missing, 6.00 KiB of 498 KiB to send

    legend: -v shows 2 internal steps
    Plan: 1 to create
    ");
    vpu.world(|world| world.images.clear());
    let (report, fell_back) = execute(&vpu, &next, &plan).await;
    assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
    let layers = next.images[0].content.as_ref().unwrap().diff_ids();
    let whole = &next.as_it_is.offers.images["app:2"];
    assert_eq!(fell_back, [whole.archive_bytes(&layers)]);
    assert!(plan_for(&vpu, &next).await.is_empty());
}
