//! Plans images: loaded under a staging name while the old image runs, and tagged in the switch.

mod damaged;
mod delta;
mod layers;
mod leftovers;
mod load;

use std::collections::{BTreeMap, BTreeSet};

use self::layers::Chains;
pub use self::{
    delta::bases as delta_bases,
    leftovers::{is_ours, release_of},
};
use super::{
    Action, Address, Cause, Command, NoteCode, Phase, ResourceKind,
    builder::{Builder, Draft},
};
use crate::{
    compression::Compression,
    desired::{self, Desired, ImageContent},
    digest::Digest,
    facts::{self, Facts},
    plan::obstacle::{BlockCode, Obstacle},
    remote,
    units::bytes,
};

pub(super) fn address(name: &str) -> Address {
    Address::new(ResourceKind::Image, name)
}

/// Returns the address of an image's name.
pub(super) fn tag_address(name: &str) -> Address {
    Address::new(ResourceKind::Tag, name)
}

pub(super) fn plan(builder: &mut Builder<'_>) {
    let images = match builder.facts.images.as_result() {
        Ok(images) => images,
        Err(reason) => {
            for image in &builder.desired.images {
                let remedy = "check on the VPU: docker image ls";
                builder.block(address(&image.name), Obstacle::unknown(reason, remedy));
            }
            return;
        }
    };
    unmanaged(builder, images);
    leftovers::unusable(builder);
    let to_send = layers_to_send(builder.desired, builder.facts);
    for image in &builder.desired.images {
        match &image.content {
            None => already_there(builder, image, images),
            Some(content) => {
                let missing = to_send.get(&image.name);
                wanted(builder, image, content, images, missing);
            }
        }
    }
    leftovers::plan(builder, images, &to_send);
    if !to_send.is_empty() && !takes_parts(builder.facts) {
        let who = if is_podman(builder.facts) {
            "docker on the VPU is podman"
        } else {
            "docker on the VPU keeps images in the containerd store"
        };
        builder.note(
            NoteCode::WholeImages,
            format!("{who}, which loads only complete images: images are sent whole"),
        );
    }
    let packed = |image: &desired::Image| {
        let offer = builder.offers.images.get(&image.name);
        offer.is_some_and(|offer| offer.packed)
    };
    let mut sent = builder.desired.images.iter();
    let speeds = builder.readings.speeds;
    if let Some(link) = speeds.link
        && sent.any(|image| to_send.contains_key(&image.name) && packed(image))
    {
        let how = match Compression::best(speeds, builder.readings.zstd) {
            None if speeds.cpu.is_some() => {
                "uncompressed, as decompression on the VPU would take longer"
            }
            None => "uncompressed",
            Some(Compression::GZIP_FAST) => "compressed",
            Some(Compression::GZIP_SMALL) => "compressed at level 6",
            Some(Compression::ZSTD_FAST) => "compressed with zstd",
            Some(Compression::ZSTD_SMALL) => "compressed with zstd at level 6",
        };
        builder.note(
            NoteCode::LinkSpeed,
            format!(
                "link throughput is {}/s: layers are sent {how}",
                bytes(link)
            ),
        );
    }
}

/// Whether docker on the VPU loads an image without the layers that it has.
pub fn takes_parts(facts: &Facts) -> bool {
    let docker = facts.docker.known();
    docker.is_none_or(|docker| !docker.containerd_store && docker.podman.is_none())
}

/// Whether image IDs on the VPU are the configurations'
/// digests, so that they are known before loading.
fn knows_ids(facts: &Facts) -> bool {
    let docker = facts.docker.known();
    docker.is_none_or(|docker| !docker.containerd_store)
}

fn is_podman(facts: &Facts) -> bool {
    let docker = facts.docker.known();
    docker.is_some_and(|docker| docker.podman.is_some())
}

/// Returns an image's name, and the reference by which docker on the VPU finds the image with this
/// ID: `NAME=IMAGE`. In a containerd store, which has other IDs, an image that was not loaded by
/// o3r-deploy is known by its name alone.
pub(super) fn name_and_reference(facts: &Facts, name: &str, id: &str) -> String {
    let known = reference(facts, id);
    let by_name = known == id && !knows_ids(facts);
    format!("{name}={}", if by_name { name } else { known })
}

/// Returns the reference by which docker on the VPU finds the image with this ID.
pub(super) fn reference<'a>(facts: &'a Facts, id: &'a str) -> &'a str {
    let image = facts.images.known().and_then(|images| images.get(id));
    let mut tags = image.iter().flat_map(|image| &image.tags);
    let staged = tags.find(|tag| tag.starts_with("o3r-deploy/"));
    // In a containerd store, an image is found by its staging name.
    staged
        .filter(|_| !knows_ids(facts))
        .map_or(id, String::as_str)
}

/// Returns the layers that have to be sent, by the names of the images that have to be loaded. Two
/// names of one image are loaded once, and layers that an earlier image brings are not sent again.
pub fn layers_to_send(desired: &Desired, facts: &Facts) -> BTreeMap<String, BTreeSet<Digest>> {
    let Some(images) = facts.images.known() else {
        return BTreeMap::new();
    };
    let mut there: BTreeSet<String> = images.keys().cloned().collect();
    let mut chains = Chains::of(images.values().map(|image| image.layers.as_slice()));
    let mut to_send = BTreeMap::new();
    for image in &desired.images {
        let Some(content) = &image.content else {
            continue;
        };
        if there.insert(content.config_digest.to_string()) {
            let missing = if takes_parts(facts) {
                chains.missing(&content.layers)
            } else {
                content.diff_ids()
            };
            to_send.insert(image.name.clone(), missing);
            chains.add(&content.layers);
        }
    }
    to_send
}

/// Reports images of releases before the last one, or of a failed apply, that o3r-deploy loaded.
fn unmanaged(builder: &mut Builder<'_>, images: &BTreeMap<String, facts::Image>) {
    let desired = builder.desired;
    let contents = desired.images.iter().filter_map(|i| i.content.as_ref());
    let wanted: BTreeSet<String> = contents.map(|c| c.config_digest.to_string()).collect();
    let made = builder.previous().made.values();
    // Images that a failure would roll back to.
    let last: BTreeSet<&String> = made.flat_map(|made| made.inputs.values()).collect();
    let old = images
        .iter()
        .filter(|(id, _)| !wanted.contains(*id) && !last.contains(id));
    let records = builder.facts.records.known();
    let held = |tag: &String| records.is_some_and(|records| records.held_images.contains(tag));
    let containers = builder.facts.containers.known();
    let is_used = |id: &String| {
        let mut all = containers.into_iter().flat_map(BTreeMap::values);
        all.any(|container| container.image == *id)
    };
    for (_, image) in old.filter(|(id, _)| !is_used(id)) {
        let tags = image.tags.iter();
        let tags = tags.filter(|tag| desired.release.staged(tag) && !held(tag));
        builder.unmanaged.extend(tags.map(|tag| address(tag)));
    }
}

/// Checks that an image without a source is on the VPU.
fn already_there(
    builder: &mut Builder<'_>,
    image: &desired::Image,
    images: &BTreeMap<String, facts::Image>,
) {
    match images
        .values()
        .find(|found| found.tags.contains(&image.name))
    {
        // Some builders leave the architecture empty.
        Some(found) if found.arch.may_run_on(&builder.desired.guards.arch) => {
            builder.unchanged();
        }
        Some(found) => builder.block(
            address(&image.name),
            Obstacle::new(
                BlockCode::ImageArchitecture,
                format!("the image on the VPU is for {}", found.arch),
                "add an `archive`, `engine` or `rootfs` of the right architecture",
            ),
        ),
        None => builder.block(
            address(&image.name),
            Obstacle::new(
                BlockCode::ImageMissing,
                "it is not on the VPU, and the manifest names no source for it",
                "add an `archive`, `engine` or `rootfs`",
            ),
        ),
    }
}

fn wanted(
    builder: &mut Builder<'_>,
    image: &desired::Image,
    content: &ImageContent,
    images: &BTreeMap<String, facts::Image>,
    missing: Option<&BTreeSet<Digest>>,
) {
    let id = content.config_digest.to_string();
    let found = images.get(&id);
    if found.is_some_and(|found| found.tags.contains(&image.name)) {
        // Two resources: the image, and its name.
        if !damaged::plan(builder, image, content) {
            builder.unchanged();
        }
        return builder.unchanged();
    }
    let old = images
        .iter()
        .find(|(_, found)| found.tags.contains(&image.name));
    let cause = match old {
        Some((old, _)) => Cause::differs("content", short(old), content.config_digest.short()),
        None => Cause::Missing,
    };
    let action = if old.is_some() {
        Action::Update
    } else {
        Action::Create
    };
    let load = address(&image.name);
    let mut after = vec![];
    if let Some(missing) = missing {
        if builder.desired.contents.are_on_vpu() {
            let what = "the image of this release is no longer";
            return builder.block(load, Obstacle::not_kept(BlockCode::ImageMissing, what));
        }
        let Some(offer) = builder.offers.images.get(&image.name) else {
            let obstacle = Obstacle::unknown("its size is unknown", "report this as a bug");
            return builder.block(load, obstacle);
        };
        let sent = (content, offer);
        let mut commands = load::commands(image, sent, missing, builder.state()).into_iter();
        let (first, detail) = (commands.next(), load::detail(content, offer, missing));
        let Some(first) = first else { return };
        let (command, detail) = delta::choose(builder, image, sent, missing, (first, detail));
        let draft = Draft::new(load.clone(), action, Phase::Stage, cause.clone())
            .source(image.source.as_ref())
            .detail(detail);
        let verify = damaged::verify(builder, image, sent);
        builder.step(draft.run([command]).run(commands).run(verify));
        after.push(load);
    } else if found.is_some() {
        // An apply that was cut off loaded it.
        if damaged::plan(builder, image, content) {
            after.push(load);
        }
    } else {
        // Another name of an image that this plan loads.
        let same = |other: &&desired::Image| {
            let content_of_other = other.content.as_ref();
            content_of_other.is_some_and(|c| c.config_digest == content.config_digest)
        };
        let loaded = builder.desired.images.iter().find(same);
        after.extend(loaded.map(|image| address(&image.name)));
    }
    let draft = Draft::new(tag_address(&image.name), action, Phase::Switch, cause);
    let draft = draft.source(image.source.as_ref()).after(after);
    let loaded = if knows_ids(builder.facts) {
        &id
    } else {
        &content.staging_tag
    };
    let draft = draft.run([Command::new(remote::tag_image(loaded, &image.name))]);
    let old = old.map(|(old, _)| old.as_str());
    let draft = restorable(builder, &image.name, old, images, draft);
    builder.step(draft);
}

/// Adds the undo command that gives the name back to the image that had it in the previous release
/// or, if none of its projects used the name, to the one that has it now.
fn restorable(
    builder: &mut Builder<'_>,
    name: &str,
    now: Option<&str>,
    images: &BTreeMap<String, facts::Image>,
    draft: Draft,
) -> Draft {
    let recorded = builder.previous_input(&facts::Input::Image(name.to_owned()));
    let undo = match recorded.or(now) {
        Some(old) if images.contains_key(old) => {
            remote::tag_image(reference(builder.facts, old), name)
        }
        Some(_) => {
            let reason = "the image of the previous release no longer exists on the VPU";
            builder.not_restorable(tag_address(name), reason);
            return draft;
        }
        None => remote::untag_image(name),
    };
    let rollback_always = recorded.is_some() && recorded != now;
    draft
        .undo([Command::new(undo)])
        .rollback_always(rollback_always)
}

/// Returns a name without its tag.
fn repository(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(name, _)| name)
}

/// The first 12 digits of docker's ID, as people know it.
fn short(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        facts::{self, Probed},
        offers::{ImageOffer, Offers},
        testing,
    };

    #[test]
    fn an_image_is_known_by_its_name_where_ids_are_the_stores_own() {
        let named = |containerd_store, tags: &[&str]| {
            let mut facts = testing::observed().facts;
            facts.docker = Probed::Known(facts::Docker {
                version: "20.10.24".into(),
                arch: "arm64".into(),
                containerd_store,
                podman: None,
                runtimes: [].into(),
            });
            let image = facts::Image {
                tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
                layers: vec![],
                arch: "arm64".into(),
                os: "linux".into(),
            };
            facts.images = Probed::Known([("sha256:a".to_owned(), image)].into());
            name_and_reference(&facts, "web:1", "sha256:a")
        };
        let ours = "o3r-deploy/app:1";
        assert_eq!(named(false, &["web:1", ours]), "web:1=sha256:a");
        assert_eq!(named(true, &["web:1"]), "web:1=web:1");
        assert_eq!(named(true, &["web:1", ours]), format!("web:1={ours}"));
    }

    #[test]
    fn a_name_is_rolled_back_always_where_it_is_not_the_releases_image_before() {
        let image = facts::Image {
            tags: [].into(),
            layers: vec![],
            arch: "arm64".into(),
            os: "linux".into(),
        };
        let images = ["sha256:a", "sha256:b"].map(|id| (id.to_owned(), image.clone()));
        let images: BTreeMap<String, facts::Image> = images.into();
        let desired = testing::desired(vec![]);
        let is_always = |recorded: Option<&str>, now: Option<&str>| {
            let mut observed = testing::observed();
            let input = facts::Input::Image("web:1".into());
            let made = facts::Made {
                running: true,
                inputs: recorded
                    .map(|id| (input, id.to_owned()))
                    .into_iter()
                    .collect(),
            };
            let release = testing::release("web", made);
            observed.facts.records = Probed::Known(facts::Records {
                releases: [("app".to_owned(), release)].into(),
                ..facts::Records::default()
            });
            let offers = Offers::default();
            let mut builder = Builder::new(&desired, &observed, &offers);
            let address = tag_address("web:1");
            let draft = Draft::new(address, Action::Update, Phase::Switch, Cause::Missing);
            let draft = restorable(&mut builder, "web:1", now, &images, draft);
            builder.step(draft);
            let step = builder.finish("host").steps.pop().unwrap();
            assert_eq!(step.undo.len(), 1);
            step.rollback_always
        };
        let (a, b) = (Some("sha256:a"), Some("sha256:b"));
        assert!(is_always(a, b));
        assert!(is_always(a, None));
        assert!(!is_always(a, a));
        assert!(!is_always(None, b), "no project of the release used it");
        assert!(!is_always(None, None));
    }

    #[test]
    fn an_id_is_shortened_as_docker_does() {
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
    }

    /// The notes where the image `web:1` has to be sent, by the bytes a second of the link and the processor.
    fn notes(
        docker: (bool, Option<facts::Podman>),
        link: (u64, Option<u64>),
        is_packed: bool,
    ) -> String {
        let mut desired = testing::desired(vec![]);
        desired.images = vec![desired::Image {
            name: "web:1".into(),
            content: Some(desired::ImageContent {
                config_digest: Digest::of(b"web"),
                layers: vec![Digest::of(b"a")],
                staging_tag: "o3r-deploy/app:1".into(),
            }),
            found: None,
            source: None,
        }];
        let mut observed = testing::observed();
        observed.facts.docker = Probed::Known(facts::Docker {
            version: "20.10.24".into(),
            arch: "arm64".into(),
            containerd_store: docker.0,
            podman: docker.1,
            runtimes: [].into(),
        });
        observed.readings.speeds.link = Some(link.0);
        observed.readings.speeds.cpu = link.1;
        let offer = ImageOffer {
            packed: is_packed,
            ..ImageOffer::default()
        };
        let offers = Offers {
            images: [("web:1".to_owned(), offer)].into(),
            ..Offers::default()
        };
        let mut builder = Builder::new(&desired, &observed, &offers);
        plan(&mut builder);
        let notes = builder.finish("host").notes;
        let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
        notes.join("\n")
    }

    #[test]
    fn how_packed_layers_are_sent_is_noted_with_the_reason() {
        let docker = (false, None);
        let slow_cpu = notes(docker, (25_000_000, Some(40_000_000)), true);
        assert!(
            slow_cpu.ends_with("uncompressed, as decompression on the VPU would take longer"),
            "{slow_cpu}"
        );
        let fast_link = notes(docker, (10_000_000_000, None), true);
        assert!(fast_link.ends_with("uncompressed"), "{fast_link}");
        assert_eq!(notes(docker, (25_000_000, None), false), "");
    }

    #[test]
    fn who_takes_complete_images_only_is_noted() {
        let link = (25_000_000, None);
        let whole = notes((true, None), link, false);
        assert!(
            whole.contains("keeps images in the containerd store"),
            "{whole}"
        );
        let podman = notes((false, Some(facts::Podman::Service)), link, false);
        assert!(podman.contains("is podman"), "{podman}");
        assert_eq!(notes((false, None), link, false), "");
    }

    #[test]
    fn a_second_name_of_an_image_is_given_when_the_image_is_loaded() {
        let image = |name: &str, content: &str| desired::Image {
            name: name.into(),
            content: Some(desired::ImageContent {
                config_digest: Digest::of(content),
                layers: vec![Digest::of(content)],
                staging_tag: "o3r-deploy/app:1".into(),
            }),
            found: None,
            source: None,
        };
        let mut desired = testing::desired(vec![]);
        desired.images = vec![
            image("a:1", "other"),
            image("b:1", "web"),
            image("c:1", "web"),
        ];
        let observed = testing::observed();
        let offer = || ImageOffer::default();
        let offers = Offers {
            images: ["a:1", "b:1", "c:1"]
                .map(|name| (name.to_owned(), offer()))
                .into(),
            ..Offers::default()
        };
        let mut builder = Builder::new(&desired, &observed, &offers);
        plan(&mut builder);
        let steps = builder.finish("host").steps;
        let tags = steps
            .iter()
            .filter(|step| step.address == tag_address("c:1"));
        let depends_on: Vec<&[Address]> = tags.map(|step| &step.depends_on[..]).collect();
        assert_eq!(depends_on, [[address("b:1")]]);
    }
}
