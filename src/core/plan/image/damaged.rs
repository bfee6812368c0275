//! Plans the repair of files that are damaged in docker's directory: a power cut can leave empty files in a layer, and
//! `docker load` keeps a layer that docker believes it has.

use super::{address, load, reference};
use crate::{
    desired::{Image, ImageContent},
    facts::{Damage, DamagedFile, Probed},
    offers::{ImageOffer, RepairOffer},
    plan::{
        Action, Cause, Command, NoteCode, Payload, PayloadSource, Phase,
        builder::{Builder, Draft},
        obstacle::{BlockCode, Obstacle},
    },
    remote,
};

/// The most files that are named.
const NAMED: usize = 3;

/// Plans the repair of an image, if its files were compared and some are damaged; returns whether they are. It is no part
/// of the switch: the files are the same before and after it, for every release.
pub(super) fn plan(builder: &mut Builder<'_>, image: &Image, content: &ImageContent) -> bool {
    let id = content.config_digest.to_string();
    let damaged = match builder.facts.verified.get(&image.name) {
        None => return false,
        Some(Probed::Unknown(reason)) => {
            let text = format!(
                "{}: its files were not compared: {reason}",
                address(&image.name)
            );
            builder.note(NoteCode::ImageNotVerified, text);
            return false;
        }
        Some(Probed::Known(verified)) if verified.damaged.is_empty() => return false,
        Some(Probed::Known(verified)) => &verified.damaged,
    };
    let Some(offers) = builder.offers.repairs.get(&image.name) else {
        let reason = format!(
            "{} files are damaged on the VPU, and its source lacks them",
            damaged.len()
        );
        let remedy = "remove the image and its containers on the VPU, and apply again";
        let obstacle = Obstacle::new(BlockCode::ImageDamaged, reason, remedy);
        builder.block(address(&image.name), obstacle);
        return true;
    };
    let commands: Vec<Command> = offers
        .iter()
        .filter_map(|offer| repair(image, content, reference(builder.facts, &id), offer))
        .collect();
    let mut causes = causes(damaged).into_iter();
    let Some(first) = causes.next() else {
        return true;
    };
    let mut draft = Draft::new(address(&image.name), Action::Update, Phase::Stage, first);
    draft.further_causes = causes.collect();
    let draft = draft.source(image.source.as_ref());
    builder.step(draft.run(commands));
    true
}

/// Returns the commands that compare the files of an image that was just loaded, if that is wanted: layers that it shares
/// with earlier images were not loaded. A load that was interrupted can leave layers that no image has, and that docker
/// cannot even mount: then the image is removed with them, and loaded again.
pub(super) fn verify(
    builder: &Builder<'_>,
    image: &Image,
    (content, sent): (&ImageContent, &ImageOffer),
) -> Vec<Command> {
    let Some(offer) = builder.offers.sums.get(&image.name) else {
        return vec![];
    };
    let source = PayloadSource::ImageSums {
        name: image.name.clone(),
    };
    let payload = Payload::new(source, offer.sha256, offer.bytes);
    let directory = builder.state().verify();
    let command = remote::verify_image(&content.staging_tag, offer.reach, &directory, None);
    let verify = Command::with(command, payload);
    if !builder.facts.system.load_interrupted {
        return vec![verify];
    }
    let again = load::again(image, (content, sent));
    vec![verify.clone().or_else(again), verify]
}

fn repair(
    image: &Image,
    content: &ImageContent,
    reference: &str,
    offer: &RepairOffer,
) -> Option<Command> {
    let at = content
        .layers
        .iter()
        .rposition(|layer| *layer == offer.layer)?;
    let from_top = content.layers.len() - 1 - at;
    let source = PayloadSource::ImageFiles {
        name: image.name.clone(),
        layer: offer.layer,
    };
    let payload = Payload::new(source, offer.sha256, offer.bytes);
    Some(Command::with(
        remote::repair_layer(reference, from_top),
        payload,
    ))
}

fn causes(damaged: &[DamagedFile]) -> Vec<Cause> {
    let whole = "as in its source";
    let named = damaged.iter().take(NAMED).map(|file| {
        let found = match file.found {
            Damage::Missing => "missing on the VPU",
            Damage::Empty => "empty on the VPU",
            Damage::Differs => "damaged on the VPU",
        };
        Cause::differs(format!("/{}", file.path), found, whole)
    });
    let mut causes: Vec<Cause> = named.collect();
    if let Some(more) = damaged.len().checked_sub(NAMED).filter(|more| *more > 0) {
        causes.push(Cause::differs(
            format!("{more} more files"),
            "damaged on the VPU",
            whole,
        ));
    }
    causes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        digest::Digest,
        facts::{self, Verified},
        offers::Offers,
        plan::{Plan, image},
        testing,
    };

    /// The plan for an image with these damaged files, of which the offer has those of the upper layer.
    fn planned(verified: Probed<Verified>, offer: bool) -> Plan {
        let layers = ["lower", "upper"].map(Digest::of);
        let content = ImageContent {
            config_digest: Digest::of(b"web"),
            layers: layers.into(),
            staging_tag: "o3r-deploy/app:1".into(),
        };
        let mut observed = testing::observed();
        let found = facts::Image {
            tags: ["web:1".to_owned()].into(),
            layers: layers.into(),
            arch: "arm64".into(),
            os: "linux".into(),
        };
        let id = content.config_digest.to_string();
        observed.facts.images = Probed::Known([(id, found)].into());
        observed.facts.verified = [("web:1".to_owned(), verified)].into();
        let mut desired = testing::desired(vec![]);
        desired.images = vec![Image {
            name: "web:1".into(),
            content: Some(content),
            found: None,
            source: None,
        }];
        let repair = RepairOffer {
            layer: layers[0],
            bytes: 2048,
            sha256: Digest::of(b"tar"),
        };
        let offers = Offers {
            repairs: if offer {
                [("web:1".to_owned(), vec![repair])].into()
            } else {
                BTreeMap::new()
            },
            ..Offers::default()
        };
        let mut builder = Builder::new(&desired, &observed, &offers);
        image::plan(&mut builder);
        builder.finish("host")
    }

    fn damaged(count: usize) -> Probed<Verified> {
        let file = |number| DamagedFile {
            path: format!("lib/{number}"),
            layer: Digest::of("lower"),
            found: Damage::Empty,
        };
        Probed::Known(Verified {
            files: 9,
            omitted: 0,
            damaged: (0..count).map(file).collect(),
        })
    }

    #[test]
    fn damaged_files_are_replaced_in_their_layer() {
        assert_eq!(planned(damaged(0), true).steps, []);
        let plan = planned(damaged(5), true);
        let [step] = &plan.steps[..] else {
            panic!("{plan:?}")
        };
        assert_eq!(step.address, address("web:1"));
        assert_eq!(step.further_causes.len(), 3, "and 2 more");
        let command = remote::repair_layer("web:1", 1);
        let id = Digest::of(b"web").to_string();
        let by_id = remote::repair_layer(&id, 1);
        assert!([&command, &by_id].contains(&&step.actions[0].argv));
        assert!(plan.verifies_images());
    }

    #[test]
    fn what_cannot_be_repaired_blocks_and_what_was_not_compared_is_noted() {
        let plan = planned(damaged(1), false);
        assert_eq!(plan.blocked[0].code, BlockCode::ImageDamaged);
        let plan = planned(Probed::Unknown("no sha256sum".into()), true);
        assert_eq!(plan.steps, []);
        assert_eq!(plan.notes[0].code, NoteCode::ImageNotVerified);
    }
}
