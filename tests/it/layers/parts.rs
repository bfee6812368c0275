//! A large image is sent in parts, and resumed after a lost connection.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use o3r_deploy::internal::{
    apply::{Event, Observer, Outcome},
    compression::{Codec, Compression},
    image::{ImageSender, LayerCache, Making, Manner},
    observe::{Disk, Observed, observe},
    offers::PART_REPOSITORY,
    plan::{self, Plan},
    prepare::{Division, Payloads, Preparation, Sizes},
    render,
    resolve::Resolved,
};
use o3r_testing::vpu::{FakeVpu, Fault, World};

use super::{BASE, DEPS, Ready, Wanted, applied, desired, execute, executed, image, load};

/// Divides into a part for each layer.
const EACH: Division = Division {
    part_bytes: 1,
    long_seconds: 10,
};

/// Bytes a second at which no layer of these tests takes 10 seconds.
const QUICK: u64 = 1_000_000;

/// Bytes a second at which every layer does.
pub(super) const SLOW: u64 = 100;

/// Returns the plan for a link of this speed, and what it was made from.
async fn planned(
    vpu: &FakeVpu,
    desired: &Wanted,
    files: &tempfile::TempDir,
    link: u64,
) -> (Ready, Plan) {
    divided(vpu, desired, files, link, (EACH, Sizes::Exact)).await
}

async fn divided(
    vpu: &FakeVpu,
    desired: &Wanted,
    files: &tempfile::TempDir,
    link: u64,
    (division, sizes): (Division, Sizes),
) -> (Ready, Plan) {
    let mut observed = observe(vpu, &desired.query()).await.unwrap();
    observed.readings.speeds.link = Some(link);
    let prepared = prepare(desired, &observed, files, (division, sizes));
    let plan = plan::plan(desired, &observed, &prepared.0.offers, "fake");
    assert_eq!(plan::lint::lint(&plan), Vec::<String>::new());
    (prepared, plan)
}

fn prepare(
    wanted: &Wanted,
    observed: &Observed,
    files: &tempfile::TempDir,
    (division, sizes): (Division, Sizes),
) -> Ready {
    let cache = LayerCache::new(files.path().join("cache").to_str().unwrap());
    let preparation = Preparation {
        division,
        ..Preparation::new(cache, sizes)
    };
    let Resolved { desired, images } = &wanted.resolved;
    let prepared = preparation.prepare(desired, images, observed, &|_, _| {});
    Ready(prepared.unwrap())
}

fn three_layers(files: &tempfile::TempDir) -> Wanted {
    desired(vec![image(files, "app:1", &[BASE, DEPS, ("app", 1000)])])
}

/// Returns the number of parts that the VPU has, each of them an image.
fn parts_there(vpu: &FakeVpu) -> usize {
    vpu.world(|world| {
        let tags = world.images.values().flat_map(|image| &image.tags);
        tags.filter(|tag| tag.starts_with(PART_REPOSITORY)).count()
    })
}

fn files_there(vpu: &FakeVpu) -> Vec<usize> {
    vpu.world(|world| {
        let files = world.files.iter();
        let arriving = files.filter(|(path, _)| path.contains("/arriving/"));
        arriving.map(|(_, file)| file.bytes.len()).collect()
    })
}

/// Layers follow one another in the payload, and nothing else in it is large.
fn layers_are_all_of(plan: &Plan, sent: &impl AsRef<Payloads>) {
    let commands = plan.steps.iter().flat_map(|step| &step.actions);
    for payload in commands.filter_map(|command| command.stdin.as_ref()) {
        let spans = sent.as_ref().layers(payload);
        let mut at = 0;
        for span in &spans {
            assert!(at <= span.bytes.start, "{spans:?}");
            assert!(span.bytes.start < span.bytes.end, "{spans:?}");
            at = span.bytes.end;
        }
        assert!(at <= payload.bytes, "{spans:?} of {}", payload.bytes);
        if payload.parts().iter().all(|part| part.received_bytes == 0) {
            let layers = payload.layers().map_or(0, BTreeSet::len);
            assert_eq!(spans.len(), layers, "{spans:?}");
        }
    }
}

/// Returns a VPU with or without the zstd program.
pub(super) fn vpu(zstd: bool) -> FakeVpu {
    FakeVpu::new(World {
        zstd,
        ..World::default()
    })
}

#[tokio::test]
async fn every_part_is_loaded_and_none_is_left() {
    for (link, zstd) in [(QUICK, false), (SLOW, false), (QUICK, true), (SLOW, true)] {
        let files = tempfile::tempdir().unwrap();
        let vpu = vpu(zstd);
        let wanted = three_layers(&files);
        let (prepared, plan) = planned(&vpu, &wanted, &files, link).await;
        let payload = plan.steps[0].actions[0].stdin.as_ref().unwrap();
        assert_eq!(payload.parts().len(), 3);
        assert_eq!(payload.bytes, plan.steps[0].bytes_to_send);
        layers_are_all_of(&plan, &prepared);
        applied(&vpu, &prepared, &plan).await;
        let loads = match (link, zstd) {
            (_, true) => "o3r-load-zstd",
            (QUICK, _) => "o3r-load-image",
            _ => "o3r-load-part",
        };
        let commands = vpu.commands();
        let count = commands
            .iter()
            .filter(|command| command.contains(loads))
            .count();
        assert_eq!(count, 3, "{commands:#?}");
        assert_eq!(parts_there(&vpu), 0);
        assert_eq!(files_there(&vpu), [] as [usize; 0]);
        let (_, again) = planned(&vpu, &wanted, &files, link).await;
        assert!(again.is_empty(), "{again:?}");
    }
}

#[tokio::test]
async fn small_layers_on_top_do_not_get_their_own_part() {
    let files = tempfile::tempdir().unwrap();
    let vpu = vpu(false);
    let layers = [("a", 30_000), ("b", 40_000), ("c", 500), ("d", 600)];
    let wanted = desired(vec![image(&files, "app:1", &layers)]);
    let division = Division {
        part_bytes: 20_000,
        ..EACH
    };
    // So fast that they are sent uncompressed.
    let (prepared, plan) = divided(&vpu, &wanted, &files, 1 << 30, (division, Sizes::Exact)).await;
    let payload = plan.steps[0].actions[0].stdin.as_ref().unwrap();
    let counts: Vec<_> = payload
        .parts()
        .iter()
        .map(|p| (p.layer_count, p.layers.len()))
        .collect();
    assert_eq!(counts, [(1, 1), (4, 3)]);
    applied(&vpu, &prepared, &plan).await;
    assert_eq!(parts_there(&vpu), 0);
}

/// Faults before, in and after each command.
fn links_lost() -> impl Iterator<Item = Fault> {
    (0..6).flat_map(|at| {
        [
            Fault::LinkLostBefore(at),
            Fault::LinkLostInside(at),
            Fault::LinkLostAfter(at),
        ]
    })
}

/// Wherever the connection is lost, the next apply sends
/// less than everything, and nothing is left behind.
#[tokio::test]
async fn what_arrived_is_not_sent_again() {
    let links = [(QUICK, false), (SLOW, true), (QUICK, true), (SLOW, false)];
    for (link, zstd) in o3r_testing::variants(links, 2) {
        for fault in links_lost() {
            let files = tempfile::tempdir().unwrap();
            let vpu = vpu(zstd);
            let wanted = three_layers(&files);
            let (prepared, plan) = planned(&vpu, &wanted, &files, link).await;
            let (_, all) = load(&plan, "app:1").unwrap();
            vpu.inject(Some(fault));
            let (report, _) = execute(&vpu, &prepared, &plan).await;
            assert!(matches!(report.outcome, Outcome::Failed(_)), "{report:?}");
            vpu.inject(None);
            let arrived: usize = files_there(&vpu).iter().sum();
            let parts = parts_there(&vpu);
            let (prepared, plan) = planned(&vpu, &wanted, &files, link).await;
            layers_are_all_of(&plan, &prepared);
            let left = load(&plan, "app:1").map_or(0, |(_, bytes)| bytes);
            if arrived + parts > 0 {
                assert!(left < all, "{fault:?}: {left} of {all}");
            }
            // If no part is left, the image may be complete.
            if parts == 0 && left > 0 {
                assert_eq!(left, all - arrived as u64, "{fault:?}");
            }
            applied(&vpu, &prepared, &plan).await;
            assert_eq!(parts_there(&vpu), 0, "{fault:?}");
            assert_eq!(files_there(&vpu), [] as [usize; 0], "{fault:?}");
            let (_, again) = planned(&vpu, &wanted, &files, link).await;
            assert!(again.is_empty(), "{fault:?}: {again:?}");
        }
    }
}

/// Starts sending over a slow link, which breaks in the first part; returns the bytes of all parts,
/// and those that arrived.
async fn cut_off(vpu: &FakeVpu, wanted: &Wanted, files: &tempfile::TempDir) -> (u64, u64) {
    let (prepared, plan) = planned(vpu, wanted, files, SLOW).await;
    let (_, all) = load(&plan, "app:1").unwrap();
    vpu.inject(Some(Fault::LinkLostInside(0)));
    drop(execute(vpu, &prepared, &plan).await);
    vpu.inject(None);
    let arrived: usize = files_there(vpu).iter().sum();
    assert!(arrived > 0);
    (all, arrived as u64)
}

/// However fast the link seems to be by then.
#[tokio::test]
async fn what_arrived_over_a_slow_link_is_used_on_a_fast_one() {
    let files = tempfile::tempdir().unwrap();
    let vpu = vpu(false);
    let wanted = three_layers(&files);
    let (all, arrived) = cut_off(&vpu, &wanted, &files).await;
    let (prepared, plan) = planned(&vpu, &wanted, &files, QUICK).await;
    let (_, left) = load(&plan, "app:1").unwrap();
    assert_eq!(left, all - arrived);
    applied(&vpu, &prepared, &plan).await;
    assert_eq!(files_there(&vpu), [] as [usize; 0]);
    let (_, again) = planned(&vpu, &wanted, &files, QUICK).await;
    assert!(again.is_empty(), "{again:?}");
}

#[tokio::test]
async fn bytes_of_another_image_are_sent_again() {
    let files = tempfile::tempdir().unwrap();
    let vpu = FakeVpu::new(World::default());
    let wanted = three_layers(&files);
    let (all, _) = cut_off(&vpu, &wanted, &files).await;
    vpu.world(|world| {
        let mut files = world.files.iter_mut();
        let (_, file) = files.find(|(path, _)| path.contains("/arriving/")).unwrap();
        file.bytes[100] ^= 1;
    });
    let (prepared, plan) = planned(&vpu, &wanted, &files, SLOW).await;
    let (_, left) = load(&plan, "app:1").unwrap();
    assert_eq!(left, all);
    applied(&vpu, &prepared, &plan).await;
    let (_, again) = planned(&vpu, &wanted, &files, SLOW).await;
    assert!(again.is_empty(), "{again:?}");
}

/// They are rebuilt when what has arrived is compared with them.
#[tokio::test]
async fn corrupt_layers_of_the_cache_are_rebuilt() {
    let files = tempfile::tempdir().unwrap();
    let vpu = vpu(false);
    let wanted = three_layers(&files);
    let (all, _) = cut_off(&vpu, &wanted, &files).await;
    // Some bytes of the layer itself arrived.
    let (prepared, _) = planned(&vpu, &wanted, &files, SLOW).await;
    let content = wanted.images[0].content.as_ref().unwrap();
    let image = wanted.resolved.images.get(content.config_digest).unwrap();
    let part = &prepared.0.offers.images["app:1"].parts[0].part;
    let cache = LayerCache::new(files.path().join("cache").to_str().unwrap());
    let mut image = ImageSender::new(Arc::clone(image)).with_cache(&cache);
    let making = Making {
        compression: Some(Compression::GZIP_SMALL),
        manner: Manner::Whole,
    };
    image.prepare_layers(&part.layers, making, &|_| {}).unwrap();
    let in_layer = image.part_layers(&content.staging_tag, part)[0].bytes.start + 100;
    let mut bytes = vec![];
    image
        .write_part(&content.staging_tag, part, &mut bytes)
        .unwrap();
    bytes.truncate(usize::try_from(in_layer).unwrap());
    vpu.world(|world| {
        let mut files = world.files.iter_mut();
        let (_, file) = files.find(|(path, _)| path.contains("/arriving/")).unwrap();
        file.bytes = bytes;
    });
    let mut damaged = 0;
    for entry in files.path().join("cache/layers").read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|form| form == "idx") {
            continue;
        }
        // As a full disk leaves it.
        std::fs::write(&path, b"").unwrap();
        damaged += 1;
    }
    assert_eq!(damaged, 3);
    let (prepared, plan) = planned(&vpu, &wanted, &files, SLOW).await;
    let (_, left) = load(&plan, "app:1").unwrap();
    assert_eq!(left, all - in_layer);
    // Layers that were not compared are found corrupt when they are sent, which ends that attempt.
    drop(execute(&vpu, &prepared, &plan).await);
    for _ in 0..2 * damaged {
        let (prepared, plan) = planned(&vpu, &wanted, &files, SLOW).await;
        if plan.is_empty() {
            return;
        }
        drop(execute(&vpu, &prepared, &plan).await);
    }
    panic!("not applied");
}

/// Parts of an image that is no longer wanted are removed.
#[tokio::test]
async fn parts_of_another_image_are_removed() {
    for link in [QUICK, SLOW] {
        let files = tempfile::tempdir().unwrap();
        let vpu = FakeVpu::new(World::default());
        let wanted = three_layers(&files);
        let (prepared, plan) = planned(&vpu, &wanted, &files, link).await;
        let at = if link == QUICK { 2 } else { 4 };
        vpu.inject(Some(Fault::LinkLostInside(at)));
        drop(execute(&vpu, &prepared, &plan).await);
        vpu.inject(None);
        assert!(parts_there(&vpu) + files_there(&vpu).len() > 0);
        let other = desired(vec![image(&files, "other:1", &[("other", 500)])]);
        let (prepared, plan) = planned(&vpu, &other, &files, link).await;
        applied(&vpu, &prepared, &plan).await;
        assert_eq!(parts_there(&vpu), 0);
        assert_eq!(files_there(&vpu), [] as [usize; 0]);
        let (_, again) = planned(&vpu, &other, &files, link).await;
        assert!(again.is_empty(), "{again:?}");
    }
}

/// A part whose lower layers are gone cannot be loaded, so the image is sent whole.
#[tokio::test]
async fn a_lower_layer_that_vanishes_is_sent() {
    for link in [QUICK, SLOW] {
        let files = tempfile::tempdir().unwrap();
        let vpu = FakeVpu::new(World::default());
        let first = desired(vec![image(&files, "app:1", &[BASE, ("old", 1000)])]);
        let (prepared, plan) = planned(&vpu, &first, &files, link).await;
        applied(&vpu, &prepared, &plan).await;
        let next = desired(vec![image(&files, "app:2", &[BASE, DEPS, ("app", 1000)])]);
        let (prepared, plan) = planned(&vpu, &next, &files, link).await;
        assert!(
            load(&plan, "app:2")
                .unwrap()
                .0
                .contains("2 of 3 layers missing")
        );
        vpu.world(|world| world.images.clear());
        let (report, fell_back) = execute(&vpu, &prepared, &plan).await;
        assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
        assert_eq!(fell_back.len(), 1);
        let (_, again) = planned(&vpu, &next, &files, link).await;
        let left = again.steps.iter().map(|step| step.address.to_string());
        let left: Vec<_> = left.collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(files_there(&vpu), [] as [usize; 0]);
    }
}

/// Layers so large that they are compressed while they are sent, to some kilobytes each.
fn large(files: &tempfile::TempDir) -> Wanted {
    let layers = [("base", 9_000_000), ("deps", 8_000_000), ("app", 1000)];
    desired(vec![image(files, "app:1", &layers)])
}

/// Returns the plan of an apply, with estimated sizes.
pub(super) async fn about(
    vpu: &FakeVpu,
    desired: &Wanted,
    files: &tempfile::TempDir,
    link: u64,
) -> (Ready, Plan) {
    divided(vpu, desired, files, link, (EACH, Sizes::About)).await
}

/// For any link, with and without zstd; the second time, the sizes are known.
#[tokio::test]
async fn large_layers_are_compressed_while_they_are_sent() {
    let archives = tempfile::tempdir().unwrap();
    let wanted = large(&archives);
    for (link, zstd) in [(QUICK, false), (SLOW, false), (QUICK, true), (SLOW, true)] {
        let files = tempfile::tempdir().unwrap();
        let vpu = vpu(zstd);
        let (prepared, plan) = about(&vpu, &wanted, &files, link).await;
        let (said, _) = load(&plan, "app:1").unwrap();
        assert!(
            said.starts_with("load, 3 of 3 layers missing, about "),
            "{said}"
        );
        assert!(plan.is_estimated());
        let style = render::Style {
            verbose: true,
            ..Default::default()
        };
        let text = render::text(&plan, style);
        assert!(text.contains("; about "), "{text}");
        let payload = plan.steps[0].actions[0].stdin.as_ref().unwrap();
        assert_eq!(payload.parts().len(), 3);
        // A second observation, as after a question to the user, gives the same plan.
        let (_, again) = about(&vpu, &wanted, &files, link).await;
        assert!(again.does_the_same(&plan));
        applied(&vpu, &prepared, &plan).await;
        assert_eq!(parts_there(&vpu), 0);
        assert_eq!(files_there(&vpu), [] as [usize; 0]);
        let (_, again) = about(&vpu, &wanted, &files, link).await;
        assert!(again.is_empty(), "{again:?}");

        let (_, known) = about(&self::vpu(zstd), &wanted, &files, link).await;
        assert!(!known.is_estimated());
        let sent = known.steps[0].bytes_to_send;
        let guess = plan.steps[0].bytes_to_send;
        // With a compression to a thousandth, most of the size is the overhead of each piece.
        assert!((sent / 4..sent * 4).contains(&guess), "{guess} {sent}");
    }
}

/// A plan that is shown beforehand knows all bytes.
#[tokio::test]
async fn exact_plans_know_what_is_sent() {
    let files = tempfile::tempdir().unwrap();
    let wanted = large(&files);
    let (_, plan) = planned(&vpu(false), &wanted, &files, QUICK).await;
    assert!(!plan.is_estimated());
    let (said, _) = load(&plan, "app:1").unwrap();
    assert!(!said.contains("about"), "{said}");
}

/// Wherever the connection is lost while layers are
/// compressed, the apply resumes, and nothing is left behind.
#[tokio::test]
async fn what_arrived_of_streamed_layers_is_not_sent_again() {
    let archives = tempfile::tempdir().unwrap();
    let wanted = large(&archives);
    for (link, zstd) in o3r_testing::variants([(QUICK, false), (SLOW, true)], 1) {
        for fault in links_lost() {
            let files = tempfile::tempdir().unwrap();
            let vpu = vpu(zstd);
            let (prepared, plan) = about(&vpu, &wanted, &files, link).await;
            vpu.inject(Some(fault));
            let (report, _) = execute(&vpu, &prepared, &plan).await;
            assert!(matches!(report.outcome, Outcome::Failed(_)), "{report:?}");
            vpu.inject(None);
            let arrived: usize = files_there(&vpu).iter().sum();
            let (prepared, plan) = about(&vpu, &wanted, &files, link).await;
            if let Some(step) = plan.steps.iter().find(|step| step.detail.is_some())
                && arrived > 0
            {
                assert!(!plan.is_estimated());
                let payload = step.actions[0].stdin.as_ref().unwrap();
                let have: u64 = payload.parts().iter().map(|part| part.received_bytes).sum();
                assert_eq!(have, arrived as u64, "{fault:?}");
            }
            applied(&vpu, &prepared, &plan).await;
            assert_eq!(parts_there(&vpu), 0, "{fault:?}");
            assert_eq!(files_there(&vpu), [] as [usize; 0], "{fault:?}");
            let (_, again) = about(&vpu, &wanted, &files, link).await;
            assert!(again.is_empty(), "{fault:?}: {again:?}");
        }
    }
}

/// Docker stores what it decompresses while receiving; with
/// little room, layers are compressed one by one.
#[tokio::test]
async fn without_room_docker_does_not_decompress_while_receiving() {
    let files = tempfile::tempdir().unwrap();
    let vpu = vpu(false);
    let wanted = large(&files);
    let mut observed = observe(&vpu, &wanted.query()).await.unwrap();
    observed.readings.speeds.link = Some(QUICK);
    let mut with = |free| {
        observed.readings.docker_disk = Some(Disk {
            free,
            ..Disk::default()
        });
        let prepared = prepare(&wanted, &observed, &files, (EACH, Sizes::About));
        let plan = plan::plan(&wanted, &observed, &prepared.0.offers, "fake");
        assert_eq!(plan.blocked, []);
        (
            prepared.0.offers.images["app:1"].framing,
            plan.is_estimated(),
        )
    };
    assert_eq!(with(60_000_000), (Some(Codec::Gzip), true));
    assert_eq!(with(40_000_000), (None, false));
    assert_eq!(with(60_000_000), (Some(Codec::Gzip), false));
}

/// Progress reports all bytes, for an image in one part as well.
#[tokio::test]
async fn progress_ends_at_the_actual_number_of_bytes() {
    for layers in [
        vec![("one", 18_000_000)],
        vec![("base", 9_000_000), ("deps", 8_000_000)],
    ] {
        let files = tempfile::tempdir().unwrap();
        let vpu = vpu(false);
        let wanted = desired(vec![image(&files, "app:1", &layers)]);
        let (prepared, plan) = about(&vpu, &wanted, &files, QUICK).await;
        let payload = plan.steps[0].actions[0].stdin.as_ref().unwrap();
        assert_eq!(payload.parts().is_empty(), layers.len() == 1);
        let told = Arc::new(All::default());
        let observer = Arc::clone(&told) as Arc<dyn Observer>;
        let report = executed(&vpu, &prepared, &plan, observer).await;
        assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
        let told = told.0.lock().unwrap().clone();
        let (_, known) = about(&self::vpu(false), &wanted, &files, QUICK).await;
        assert_eq!(told.last().copied(), Some(known.steps[0].bytes_to_send));
        let first = told[0];
        assert!(first > 0, "an estimate comes first");
    }
}

/// The reported totals of an image's bytes: first an estimate, at the end the actual number.
#[derive(Default)]
struct All(Mutex<Vec<u64>>);

impl Observer for All {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Image { bytes, .. } | Event::SentAll(bytes) => {
                self.0.lock().unwrap().push(bytes);
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_files_of_layers_are_counted_where_the_disk_may_lack_inodes() {
    let counted = async |inodes: Option<u64>| {
        let files = tempfile::tempdir().unwrap();
        let desired = three_layers(&files);
        let mut observed = observe(&FakeVpu::new(World::default()), &desired.query())
            .await
            .unwrap();
        observed.readings.docker_disk = Some(Disk {
            total: 1 << 30,
            free: 1 << 30,
            inodes,
            ..Disk::default()
        });
        let prepared = prepare(&desired, &observed, &files, (EACH, Sizes::Exact));
        let offers = prepared.0.offers.images.values();
        let layers = offers.flat_map(|offer| &offer.layers);
        layers.map(|layer| layer.inodes).collect::<Vec<_>>()
    };
    assert_eq!(counted(None).await, [None; 3]);
    assert_eq!(counted(Some(1_000_000)).await, [None; 3]);
    assert_eq!(counted(Some(1)).await, [Some(1); 3]);
}
