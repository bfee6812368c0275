//! Builds the commands that send an image and load it.

use std::collections::BTreeSet;

use crate::{
    compression::Codec,
    desired::{Image, ImageContent},
    digest::Digest,
    offers::{Arriving, ImageOffer, PartOffer},
    plan::{Command, Part, Payload, PayloadSource},
    remote::{self, State},
    units::bytes,
};

/// Returns the commands that load the image without the layers that the VPU
/// has, in parts if it is divided, and then remove the parts. They fall
/// back to the whole image if one of those layers was removed meanwhile.
pub(super) fn commands(
    image: &Image,
    (content, offer): (&ImageContent, &ImageOffer),
    missing: &BTreeSet<Digest>,
    state: State<'_>,
) -> Vec<Command> {
    let payload = |source, bytes, spool_bytes| Payload {
        estimated: offer.estimated,
        spool_bytes,
        ..Payload::new(source, content.config_digest, bytes)
    };
    let zstd = offer.framing == Some(Codec::Zstd);
    let all = content.diff_ids();
    let load_image = if zstd {
        remote::load_zstd(None)
    } else {
        remote::load_image()
    };
    let whole = Command::with(load_image.clone(), whole(image, (content, offer)));
    if *missing == all && offer.parts.is_empty() {
        return vec![whole];
    }
    let parts: Vec<Part> = offer
        .parts
        .iter()
        .map(|part| planned(part, offer.estimated, zstd, state))
        .collect();
    let spooled = parts.iter().map(|part| offer.spooled_bytes(&part.layers));
    let payload = match spooled.max() {
        None => {
            let (bytes, spooled) = (offer.archive_bytes(missing), offer.spooled_bytes(missing));
            let source = PayloadSource::Image {
                name: image.name.clone(),
                layers: Some(missing.clone()),
            };
            payload(source, bytes, spooled)
        }
        Some(spooled) => {
            let bytes = parts.iter().map(Part::bytes_to_send).sum();
            let source = PayloadSource::ImageParts {
                name: image.name.clone(),
                layers: missing.clone(),
                parts,
            };
            payload(source, bytes, spooled)
        }
    };
    let load = Command::with(load_image, payload).or_else(whole);
    let tags = offer.parts.iter().filter_map(|part| part.tag.as_deref());
    let tags: Vec<&str> = tags.collect();
    let forget = (!tags.is_empty()).then(|| remote::forget_parts(tags));
    let arriving = offer.parts.iter().filter_map(|part| part.arriving.as_ref());
    let files: Vec<String> = arriving.map(|arriving| path(state, arriving)).collect();
    let remove = (!files.is_empty()).then(|| remote::remove_paths(files));
    let after = forget.into_iter().chain(remove).map(Command::new);
    [load].into_iter().chain(after).collect()
}

/// Returns the command that removes the image and loads all of it: layers that no other image has are loaded afresh.
pub(super) fn again(image: &Image, (content, offer): (&ImageContent, &ImageOffer)) -> Command {
    let zstd = offer.framing == Some(Codec::Zstd);
    let load = remote::load_again(&content.staging_tag, zstd);
    Command::with(load, whole(image, (content, offer)))
}

/// Returns the payload of the whole image.
fn whole(image: &Image, (content, offer): (&ImageContent, &ImageOffer)) -> Payload {
    let source = PayloadSource::Image {
        name: image.name.clone(),
        layers: None,
    };
    let all = content.diff_ids();
    Payload {
        estimated: offer.estimated,
        spool_bytes: offer.spooled_bytes(&all),
        ..Payload::new(source, content.config_digest, offer.archive_bytes(&all))
    }
}

fn path(state: State<'_>, arriving: &Arriving) -> String {
    format!("{}/{}", state.arriving(), arriving.name)
}

fn planned(part: &PartOffer, about: bool, zstd: bool, state: State<'_>) -> Part {
    let (have, receive, load) = match &part.arriving {
        Some(arriving) => {
            let (path, have) = (path(state, arriving), arriving.have);
            let bytes = (!about).then_some(part.bytes);
            let receive = remote::receive_part(&path, have, bytes);
            let load = if zstd {
                remote::load_zstd(Some(&path))
            } else {
                remote::load_part(&path)
            };
            (have, Some(receive), load)
        }
        None if zstd => (0, None, remote::load_zstd(None)),
        None => (0, None, remote::load_image()),
    };
    Part {
        layer_count: part.part.up_to,
        layers: part.part.layers.clone(),
        bytes: part.bytes,
        received_bytes: have,
        receive,
        load,
    }
}

/// `load, 1 of 7 layers missing, 2.0 MiB of 448 MiB to send`; `load, all layers present, 4.0 KiB to send`.
pub(super) fn detail(
    content: &ImageContent,
    offer: &ImageOffer,
    missing: &BTreeSet<Digest>,
) -> String {
    let all = content.diff_ids();
    let about = if offer.estimated { "about " } else { "" };
    let plural = if all.len() == 1 { "" } else { "s" };
    let arriving = offer.parts.iter().filter_map(|part| part.arriving.as_ref());
    let have: u64 = arriving.map(|arriving| arriving.have).sum();
    let again = if have == 0 {
        String::new()
    } else {
        format!(", {} already transferred", bytes(have))
    };
    let to_send = bytes(offer.archive_bytes(missing).saturating_sub(have));
    if missing.is_empty() {
        return format!("load, all layers present, {about}{to_send} to send");
    }
    format!(
        "load, {} of {} layer{plural} missing, {about}{to_send} of {} to send{again}",
        missing.len(),
        all.len(),
        bytes(offer.whole_bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offers::LayerOffer;

    #[test]
    fn a_whole_image_says_what_docker_writes_down_of_it_and_whether_it_is_estimated() {
        let layer = LayerOffer {
            diff_id: Digest::of(b"a"),
            bytes: 100,
            unpacked: None,
            spooled: 300,
            inodes: None,
        };
        let content = ImageContent {
            config_digest: Digest::of(b"web"),
            layers: vec![layer.diff_id],
            staging_tag: "o3r-deploy/app:1".into(),
        };
        let image = Image {
            name: "web:1".into(),
            content: Some(content.clone()),
            found: None,
            source: None,
        };
        for estimated in [true, false] {
            let offer = ImageOffer {
                layers: vec![layer],
                base_bytes: 5,
                estimated,
                ..ImageOffer::default()
            };
            let state = State { home: "/home/oem" };
            let commands = commands(&image, (&content, &offer), &content.diff_ids(), state);
            let [command] = &commands[..] else {
                panic!("{commands:?}")
            };
            let payload = command.stdin.as_ref().unwrap();
            assert_eq!((payload.spool_bytes, payload.estimated), (305, estimated));
        }
    }
}
