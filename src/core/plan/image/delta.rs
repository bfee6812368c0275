//! Chooses between sending an image's missing layers and building them on the VPU.

use std::collections::{BTreeMap, BTreeSet};

use super::address;
use crate::{
    cost::image as cost,
    desired::{Desired, Image, ImageContent},
    digest::Digest,
    facts::{self, Facts},
    offers::{Base, DeltaOffer, ImageOffer},
    plan::{Command, NoteCode, Payload, PayloadSource, builder::Builder},
    remote,
    units::{bytes, time},
};

/// Returns for each image the images on the VPU that it could be built from, the most similar
/// first. They are among the facts that a plan depends on.
pub fn bases(desired: &Desired, facts: &Facts) -> BTreeMap<String, Vec<Base>> {
    let there = facts.images.known().into_iter().flatten();
    let there: Vec<(&String, &facts::Image)> = there
        .filter(|(_, found)| found.arch == desired.guards.arch)
        .collect();
    let images = desired.images.iter().filter_map(|image| {
        let content = image.content.as_ref()?;
        let mut bases: Vec<_> = there
            .iter()
            .filter_map(|(id, found)| {
                let pairs = found.layers.iter().zip(&content.layers);
                let shared = pairs.take_while(|(one, other)| one == other).count();
                let alike = found.tags.iter().map(|tag| alike(tag, &image.name));
                let alike = alike.max().unwrap_or(Alike::Other);
                let ours = found.tags.iter().any(|tag| desired.release.staged(tag));
                (shared > 0 || alike > Alike::Other || ours).then_some((
                    (shared, alike, ours),
                    *id,
                    &found.layers,
                ))
            })
            .collect();
        bases.sort_by(|(one, id, _), (other, id2, _)| other.cmp(one).then(id.cmp(id2)));
        let bases = bases.into_iter().map(|(_, id, layers)| Base {
            id: id.clone(),
            layers: layers.clone(),
        });
        Some((image.name.clone(), bases.collect()))
    });
    images.collect()
}

/// How much two image names have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alike {
    Other,
    /// The same except for the tag.
    Repository,
    Same,
}

fn alike(one: &str, other: &str) -> Alike {
    if one == other {
        Alike::Same
    } else if super::repository(one) == super::repository(other) {
        Alike::Repository
    } else {
        Alike::Other
    }
}

/// Chooses how the image is loaded and the detail of its step: by a delta if there is one, it is
/// faster, and docker has room for it; otherwise by `layers`. Notes the choice.
pub(super) fn choose(
    builder: &mut Builder<'_>,
    image: &Image,
    (content, sent): (&ImageContent, &ImageOffer),
    missing: &BTreeSet<Digest>,
    layers: (Command, String),
) -> (Command, String) {
    let Some(offer) = sent.delta.as_ref().filter(|o| o.layers == *missing) else {
        return layers;
    };
    let Some(base) = builder
        .facts
        .images
        .known()
        .and_then(|i| i.get(&offer.base))
    else {
        return layers;
    };
    let speeds = builder.readings.speeds;
    let layers_bytes = sent.archive_bytes(missing);
    let whole = cost::whole(speeds, layers_bytes, offer.archive_bytes);
    let delta = cost::delta(speeds, offer);
    let base = name(&offer.base, base, builder.desired);
    let (image_at, speed) = (address(&image.name), speeds.link_text());
    // Room for the archive, and for what is unpacked of it.
    let needed = offer.archive_bytes.saturating_mul(2);
    if builder
        .readings
        .docker_free()
        .is_some_and(|free| free < needed)
    {
        builder.note(
            NoteCode::DeltaNoSpace,
            format!(
                "{image_at}: no delta against {base}: docker's disk lacks the {} that it needs",
                bytes(needed)
            ),
        );
        return layers;
    }
    if delta >= whole {
        builder.note(NoteCode::DeltaSlower, format!(
            "{image_at}: whole layers, {}: a delta against {base} would be {} and slower (about {} \
             instead of {} at {speed})",
            bytes(layers_bytes),
            bytes(offer.bytes),
            time(delta),
            time(whole),
        ));
        return layers;
    }
    let about = if sent.estimated { "about " } else { "" };
    builder.note(NoteCode::DeltaUsed, format!(
        "{image_at}: delta against {base}: {} instead of {about}{} (about {} instead of {} at {speed})",
        bytes(offer.bytes),
        bytes(layers_bytes),
        time(delta),
        time(whole),
    ));
    let (fallback, _) = layers;
    let all = content.diff_ids().len();
    let plural = if all == 1 { "" } else { "s" };
    let detail = format!(
        "load, {} of {all} layer{plural} missing, built on the VPU from {base}, {} of {} to send",
        missing.len(),
        bytes(offer.bytes),
        bytes(sent.whole_bytes),
    );
    (command(builder, image, offer).or_else(fallback), detail)
}

fn command(builder: &Builder<'_>, image: &Image, offer: &DeltaOffer) -> Command {
    let source = PayloadSource::ImageDelta {
        name: image.name.clone(),
        layers: offer.layers.clone(),
        base: offer.base.clone(),
    };
    let mut payload = Payload::new(source, offer.sha256, offer.bytes);
    payload.spool_bytes = offer.archive_bytes;
    let directory = builder.state().delta();
    Command::with(
        remote::load_delta(&directory, &offer.base, offer.reach),
        payload,
    )
}

/// Returns the old image's name as shown to people: its own, else its staging name, else its ID.
fn name(id: &str, image: &facts::Image, desired: &Desired) -> String {
    let own = |tag: &&String| !desired.release.staged(tag);
    let mut tags = image.tags.iter();
    let tag = tags.find(own).or_else(|| image.tags.first());
    tag.cloned().unwrap_or_else(|| super::short(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        facts::Probed,
        offers::{Offers, Reach},
        shell::Argv,
        testing,
    };

    #[test]
    fn the_base_is_called_by_its_own_name_where_it_has_one() {
        let desired = testing::desired(vec![]);
        let called = |tags: &[&str]| {
            let image = facts::Image {
                tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
                layers: vec![],
                arch: "arm64".into(),
                os: "linux".into(),
            };
            name("sha256:0123456789abcdef", &image, &desired)
        };
        assert_eq!(called(&["o3r-deploy/app:0", "web:1"]), "web:1");
        assert_eq!(called(&["o3r-deploy/app:0"]), "o3r-deploy/app:0");
        assert_eq!(called(&[]), super::super::short("sha256:0123456789abcdef"));
    }

    #[test]
    fn an_image_is_a_base_for_its_layers_its_name_or_its_release() {
        let layers = |letters: &str| -> Vec<Digest> {
            letters.bytes().map(|letter| Digest::of([letter])).collect()
        };
        let mut desired = testing::desired(vec![]);
        desired.images = vec![Image {
            name: "web:2".into(),
            content: Some(ImageContent {
                config_digest: Digest::of(b"web"),
                layers: layers("abc"),
                staging_tag: "o3r-deploy/app:2".into(),
            }),
            found: None,
            source: None,
        }];
        let there = [
            ("none", "other:1", "xbc"),
            ("one layer", "other:1", "axx"),
            ("repository", "web:1", "x"),
            ("release", "o3r-deploy/app:1", "x"),
            ("two layers", "other:1", "ab"),
        ];
        let there = there.map(|(id, tag, letters)| {
            let image = facts::Image {
                tags: [tag.to_owned()].into(),
                layers: layers(letters),
                arch: "arm64".into(),
                os: "linux".into(),
            };
            (id.to_owned(), image)
        });
        let mut facts = testing::observed().facts;
        facts.images = Probed::Known(there.into());
        let bases = bases(&desired, &facts);
        let ids: Vec<&str> = bases["web:2"].iter().map(|base| base.id.as_str()).collect();
        assert_eq!(ids, ["two layers", "one layer", "repository", "release"]);
    }

    #[test]
    fn a_delta_needs_room_for_its_archive_and_what_is_unpacked_of_it() {
        let mut observed = testing::observed();
        observed.readings.speeds.link = Some(1 << 20);
        let base = facts::Image {
            tags: ["web:1".to_owned()].into(),
            layers: vec![],
            arch: "arm64".into(),
            os: "linux".into(),
        };
        observed.facts.images = Probed::Known([("sha256:0".to_owned(), base)].into());
        let desired = testing::desired(vec![]);
        let offers = Offers::default();
        let mut detail = |free: u64, layers: &str| {
            observed.readings.docker_disk = Some(facts::Disk {
                free,
                ..facts::Disk::default()
            });
            let layers: Vec<Digest> = layers.bytes().map(|letter| Digest::of([letter])).collect();
            let image = Image {
                name: "web:2".into(),
                content: Some(ImageContent {
                    config_digest: Digest::of(b"web"),
                    layers: layers.clone(),
                    staging_tag: "o3r-deploy/app:2".into(),
                }),
                found: None,
                source: None,
            };
            let missing: BTreeSet<Digest> = [layers[0]].into();
            let offer = ImageOffer {
                base_bytes: 400 << 20,
                whole_bytes: 400 << 20,
                delta: Some(DeltaOffer {
                    base: "sha256:0".into(),
                    reach: Reach::Inside,
                    bytes: 1 << 20,
                    sha256: Digest::of(b"delta"),
                    archive_bytes: 400 << 20,
                    copied_bytes: 0,
                    layers: missing.clone(),
                }),
                ..ImageOffer::default()
            };
            let mut builder = Builder::new(&desired, &observed, &offers);
            let whole = (Command::new(Argv::new("true")), "whole layers".to_owned());
            let sent = (image.content.as_ref().unwrap(), &offer);
            choose(&mut builder, &image, sent, &missing, whole).1
        };
        let of_one = detail(800 << 20, "a");
        assert!(
            of_one.starts_with("load, 1 of 1 layer missing, "),
            "{of_one}"
        );
        let of_two = detail(800 << 20, "ab");
        assert!(
            of_two.starts_with("load, 1 of 2 layers missing, "),
            "{of_two}"
        );
        assert_eq!(detail((800 << 20) - 1, "a"), "whole layers");
    }
}
