//! Writes a desired state as the text of a generation.

use std::fmt::Write as _;

use super::{
    FORMAT, Header, KeptDirectory, KeptImage, KeptProject, KeptSettings, KeptTransfer, KeptVolume,
};
use crate::{
    desired::{Desired, Entry, Image, Project, ProjectState, Transfer, is_secret},
    facts::Facts,
};

/// Writes a desired state as the text that the VPU keeps of it. An image without a source is the one that has its name
/// there; `None` if there is none, or if docker did not answer.
pub fn document(desired: &Desired, facts: &Facts) -> Option<String> {
    let home = &facts.system.home;
    let images: Option<Vec<KeptImage>> = desired
        .images
        .iter()
        .map(|image| kept_image(desired, facts, image))
        .collect();
    let images = images?;
    let header = header(desired, images);
    // Names, numbers and lists of them always serialise.
    let mut text = serde_json::to_string(&header).unwrap_or_default();
    text.push('\n');
    for image in &header.images {
        let _ = writeln!(text, "i {} {} {}", image.id, image.staging_tag, image.name);
    }
    for transfer in transferred(desired) {
        let _ = writeln!(text, "t {}", transfer.target.resolve(home));
        for (name, entry) in &transfer.entries {
            write_entry(&mut text, name, entry);
        }
    }
    for project in present(desired) {
        let _ = writeln!(text, "p {}", project.directory());
        for file in &project.files {
            let kind = if is_secret(&file.relative) { 's' } else { 'f' };
            let (sha256, name) = (file.sha256.hex(), &file.relative);
            let _ = writeln!(
                text,
                "{kind} {sha256} {:04o} {} {name}",
                file.mode, file.bytes
            );
        }
    }
    Some(text)
}

fn present(desired: &Desired) -> impl Iterator<Item = &Project> {
    let projects = desired.projects.iter();
    projects.filter(|project| project.state != ProjectState::Absent)
}

fn transferred(desired: &Desired) -> impl Iterator<Item = &Transfer> {
    let transfers = desired.transfers.iter();
    transfers.filter(|transfer| !transfer.is_undeclared())
}

fn header(desired: &Desired, images: Vec<KeptImage>) -> Header {
    Header {
        format: FORMAT,
        release: desired.release.name.clone(),
        version: desired.release.version.clone(),
        desired: desired.digest(),
        arch: desired.guards.arch.clone(),
        api_port: desired.guards.api_port,
        directories: desired
            .directories
            .iter()
            .map(|directory| KeptDirectory {
                path: directory.path.clone(),
                mode: directory.mode,
            })
            .collect(),
        volumes: desired
            .volumes
            .iter()
            .map(|volume| KeptVolume {
                name: volume.name.clone(),
                path: volume.path.clone(),
                replace: volume.replace,
            })
            .collect(),
        images,
        transfers: transferred(desired)
            .map(|transfer| KeptTransfer {
                target: transfer.target.clone(),
                delete: transfer.delete,
                exclude: transfer.exclude.globs().to_vec(),
                restart: transfer.restart.clone(),
                entries: Some(transfer.digest()),
            })
            .collect(),
        projects: present(desired)
            .map(|project| KeptProject {
                name: project.name.clone(),
                state: project.state,
                autostart: project.autostart,
                health: project.health.clone(),
            })
            .collect(),
        device_name: desired.device_name.as_ref().map(|named| named.name.clone()),
        device_settings: desired
            .device_settings
            .as_ref()
            .map(|settings| KeptSettings {
                values: settings.values.clone(),
                save: settings.save,
                network: settings.network,
            }),
        disabled: desired.disabled.iter().map(|d| d.name.clone()).collect(),
        watchdog: desired.watchdog.map(|silence| silence.as_secs()),
        keep: desired.keep_releases,
        keep_size: desired.keep_size,
        stamp: desired.stamp.clone(),
        orphans: desired.orphans,
    }
}

fn kept_image(desired: &Desired, facts: &Facts, image: &Image) -> Option<KeptImage> {
    if let Some(content) = &image.content {
        return Some(KeptImage {
            name: image.name.clone(),
            id: content.config_digest,
            layers: content.layers.clone(),
            staging_tag: content.staging_tag.clone(),
        });
    }
    let (id, found) = facts.image_named(&image.name)?;
    Some(KeptImage {
        name: image.name.clone(),
        id,
        layers: found.layers.clone(),
        staging_tag: desired.release.staging_tag(&id),
    })
}

fn write_entry(text: &mut String, name: &str, entry: &Entry) {
    let _ = match entry {
        Entry::File(file) => {
            let kind = if file.secret { 's' } else { 'f' };
            let (sha256, mode) = (file.sha256.hex(), file.mode);
            writeln!(text, "{kind} {sha256} {mode:04o} {} {name}", file.bytes)
        }
        Entry::Directory { mode: Some(mode) } => writeln!(text, "d {mode:04o} {name}"),
        Entry::Directory { mode: None } => writeln!(text, "d - {name}"),
        Entry::Symlink { target } => writeln!(text, "l {name}\t{target}"),
    };
}
