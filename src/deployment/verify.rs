//! Compares the files of the declared images with what the VPU has on its disk.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    desired::Desired,
    host::{Host, HostError},
    image::{ImageSender, LayerCache},
    observe::{self, Facts, Probed, Verified},
    plan,
    resolve::Resolved,
};

/// What was found of each image, by its declared name.
pub(crate) type AllVerified = BTreeMap<String, Probed<Verified>>;

/// Compares each declared image that is on the VPU and has a source on this machine; by its declared name. Says which one
/// it compares, because that reads all of its files.
///
/// # Errors
/// The connection failed.
pub(crate) async fn verify<H: Host>(
    host: &H,
    resolved: &Resolved,
    facts: &Facts,
    cache: &LayerCache,
    note: &(dyn Fn(&str) + Sync),
) -> Result<AllVerified, HostError> {
    let mut verified = AllVerified::new();
    let Some(images) = facts.images.known() else {
        return Ok(verified);
    };
    let home = &facts.system.home;
    for image in &resolved.desired.images {
        let Some(content) = &image.content else {
            continue;
        };
        let id = content.config_digest.to_string();
        let (Some(found), Some(local)) =
            (images.get(&id), resolved.images.get(content.config_digest))
        else {
            continue;
        };
        // In a containerd store, images have other IDs; without any name, this one does no harm.
        let mut names = [&image.name, &content.staging_tag].into_iter();
        let reference = names.find(|name| found.tags.contains(*name)).unwrap_or(&id);
        note(&format!("comparing the files of {} on the VPU", image.name));
        let sender = ImageSender::new(Arc::clone(local)).with_cache(cache);
        let listed = tokio::task::spawn_blocking(move || sender.listing(&|_| {})).await;
        let found =
            match listed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
                Ok(Some(listing)) => observe::verify_image(host, home, reference, &listing).await?,
                Ok(None) => Err("its layers are too unusual to be listed".to_owned()),
                Err(error) => Err(format!("its source cannot be read: {error}")),
            };
        verified.insert(image.name.clone(), found.into());
    }
    Ok(verified)
}

/// Images are in doubt as well if docker cannot inspect one that an apply loaded, or that is to be loaded: a power cut
/// damaged its layers, and others may have them.
pub(crate) fn doubt_unusable(desired: &Desired, facts: &mut Facts) {
    let declared = |name: &String| desired.images.iter().any(|image| image.name == *name);
    let mut names = facts.unusable_images.values().flatten();
    facts.system.load_interrupted |= names.any(|name| plan::is_ours(name) || declared(name));
}

/// After a load that was interrupted, an image that cannot be compared counts as missing unless a container uses it:
/// docker cannot even mount it, and it is loaded again.
pub(crate) fn forget_unusable(desired: &Desired, facts: &mut Facts) {
    if !facts.system.load_interrupted {
        return;
    }
    let (Probed::Known(images), Probed::Known(containers)) = (&mut facts.images, &facts.containers)
    else {
        return;
    };
    for image in &desired.images {
        let Some(content) = &image.content else {
            continue;
        };
        let id = content.config_digest.to_string();
        let is_unknown = matches!(facts.verified.get(&image.name), Some(Probed::Unknown(_)));
        let is_used = containers.values().any(|container| container.image == id);
        if is_unknown && !is_used {
            images.remove(&id);
            facts.verified.remove(&image.name);
        }
    }
}
