//! Compares what a project's containers were started from with what they would be started from now.

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use crate::{
    desired::{Mounted, Project},
    digest::Digest,
    facts::{Autostart, Container, Generation, Input, Started},
    plan::{Cause, ResourceKind, builder::Builder, image},
};

impl Mounted {
    /// Returns the text that is recorded for it.
    pub(super) fn to_input(&self) -> String {
        match self {
            Self::Path(path) => format!("path {path}"),
            Self::Volume(name, _) => format!("volume {name}"),
            Self::Memory => "memory".to_owned(),
        }
    }
}

/// Returns the names of images that the project uses and whose tag moves in this plan.
pub(super) fn changed_images(builder: &Builder<'_>, project: &Project) -> BTreeSet<String> {
    let images = project
        .services
        .values()
        .filter_map(|service| service.image.as_ref());
    images
        .filter(|name| builder.changes(&image::tag_address(name)))
        .cloned()
        .collect()
}

/// Returns what the project's containers are started from, as recorded once they are up.
pub(in crate::plan) fn inputs(builder: &Builder<'_>, project: &Project) -> BTreeMap<Input, String> {
    let mut inputs = super::transfers::inputs(builder, project);
    for file in &project.files {
        let input = Input::File(file.relative.clone());
        inputs.insert(input, file.sha256.to_string());
    }
    for (name, service) in &project.services {
        if let Some(definition) = service.definition {
            inputs.insert(Input::Service(name.clone()), definition.to_string());
        }
        for (destination, mounted) in &service.mounts {
            let mount = Input::Mount {
                service: name.clone(),
                destination: destination.clone(),
            };
            inputs.insert(mount, mounted.to_input());
        }
        if let Some(name) = &service.image
            && let Some(id) = image_id(builder, name)
        {
            inputs.insert(Input::Image(name.clone()), id);
        }
        for name in &service.volumes {
            let declared = builder
                .desired
                .volumes
                .iter()
                .find(|volume| volume.name == *name);
            if let Some(volume) = declared {
                let path = volume.path.resolve(&builder.facts.system.home);
                inputs.insert(Input::Volume(name.clone()), path);
            }
        }
    }
    inputs
}

/// Returns what docker-compose on the VPU makes of the services,
/// including environment files and the login's variables. It is not
/// part of a release: it differs between VPUs, and is not always known.
pub(super) fn resolved(project: &Project) -> BTreeMap<Input, String> {
    let services = project.services.iter();
    let resolved = services.filter_map(|(name, service)| {
        let digest = service.resolved?;
        Some((Input::Resolved(name.clone()), digest.to_string()))
    });
    resolved.collect()
}

/// Returns the ID that an image name has after the plan.
pub(super) fn image_id(builder: &Builder<'_>, name: &str) -> Option<String> {
    let declared = builder
        .desired
        .images
        .iter()
        .find(|image| image.name == name);
    if let Some(content) = declared.and_then(|image| image.content.as_ref()) {
        return Some(content.config_digest.to_string());
    }
    let images = builder.facts.images.known()?;
    images
        .iter()
        .find(|(_, image)| image.tags.contains(name))
        .map(|(id, _)| id.clone())
}

/// How the recorded inputs of containers differ from what they would be started from now.
#[derive(Default)]
pub(super) struct Stale {
    /// Set if there is no record of these containers.
    pub(super) record: Option<Cause>,
    /// The inputs that differ: recorded value, and desired value.
    pub(super) inputs: BTreeMap<Input, (String, String)>,
}

impl Stale {
    /// Returns the inputs that differ and are not reported otherwise, by name and in order.
    pub(super) fn named(
        &self,
        is_told: impl Fn(&Input) -> bool,
    ) -> BTreeMap<String, &(String, String)> {
        let inputs = self.inputs.iter().filter(|(input, _)| !is_told(input));
        inputs
            .map(|(input, values)| (input.to_string(), values))
            .collect()
    }
}

/// Compares the inputs with the recorded ones.
pub(super) fn stale(
    builder: &Builder<'_>,
    found: &Found<'_>,
    inputs: &BTreeMap<Input, String>,
) -> Stale {
    let mut stale = Stale::default();
    let Some(started) = found.started else {
        let no_record = Cause::differs(
            "containers",
            "no record of what they were started from",
            "recreated and recorded",
        );
        stale.record = Some(no_record);
        return stale;
    };
    // Service definitions come from the compose file and
    // `.env`, whose digests are inputs of their own.
    let compared = inputs
        .iter()
        .filter(|(input, _)| !matches!(input, Input::Service(_) | Input::Mount { .. }))
        // Not recorded if docker-compose could not be asked at the time.
        .filter(|(input, _)| !input.is_resolved() || started.inputs.contains_key(*input));
    for (input, wanted) in compared {
        let recorded = started
            .inputs
            .get(input)
            .map(String::as_str)
            .unwrap_or_default();
        if recorded != wanted {
            let values = (brief(recorded), brief(wanted));
            stale.inputs.insert(input.clone(), values);
        }
    }
    if let Some(container) = stranger(builder, found, started) {
        let attribute = format!("container {}", container.name);
        let cause = Cause::differs(attribute, "not created by the last apply", "recreated");
        stale.record = Some(cause);
    }
    stale
}

/// Returns the services whose definition differs from the one that the containers were started
/// with; none if the version that wrote the record did not store definitions.
pub(super) fn redefined(found: &Found<'_>, inputs: &BTreeMap<Input, String>) -> BTreeSet<String> {
    let Some(started) = found.started else {
        return BTreeSet::new();
    };
    let mut changed = BTreeSet::new();
    for (input, wanted) in inputs {
        if let Some(service) = input.defines()
            && started.inputs.get(input).is_some_and(|was| was != wanted)
        {
            changed.insert(service.to_owned());
        }
    }
    changed
}

/// Returns a container that did not exist when the record was written, and
/// may have been created from other files. If docker-compose's own hash is
/// one of the recorded ones, it was created from the same definition and
/// environment: by a unit that somebody restarted, or by `docker-compose up`.
///
/// A boot unit may create containers from the recorded files as well (whoever writes one of them
/// removes the record first); it recreates all of them. If the unit's environment lacks a variable
/// of the login's, the hash differs. If some recorded containers are left, containers survive
/// boots, as they all do on firmware that starts them by restart policy.
pub(super) fn stranger<'a>(
    builder: &Builder<'_>,
    found: &Found<'a>,
    started: &Started,
) -> Option<&'a Container> {
    let booted = started.boot_id != builder.facts.system.boot_id;
    let autostart = builder.facts.autostart.known();
    let generation = autostart.and_then(Autostart::generation);
    let survive = matches!(generation, Some(Generation::RestartPolicies(_)));
    let of_boot = booted
        && !survive
        && !found
            .containers
            .keys()
            .any(|id| started.containers.contains(*id));
    // Records of older versions have no hashes to compare.
    if of_boot && started.hashes.is_empty() {
        return None;
    }
    let mut containers = found.containers.iter();
    let (_, container) = containers.find(|(id, container)| {
        !started.containers.contains(**id) && !started.hashes.contains(&container.config_hash)
    })?;
    Some(container)
}

pub(in crate::plan) fn brief(digest: &str) -> String {
    match digest.parse::<Digest>() {
        Ok(digest) => digest.short(),
        Err(_) if digest.is_empty() => "nothing".to_owned(),
        Err(_) => digest.to_owned(),
    }
}

/// Returns the input that a dependency already reports.
pub(super) fn covered_input(project: &Project, cause: &Cause) -> Option<Input> {
    let Cause::DependsOn { address } = cause else {
        return None;
    };
    if let Some((_, file)) = address
        .project_file()
        .filter(|(name, _)| *name == project.name)
    {
        return Some(Input::File(file.to_owned()));
    }
    let name = address.name().to_owned();
    match address.kind() {
        // A container is created from the image that has the name.
        ResourceKind::Tag | ResourceKind::Image => Some(Input::Image(name)),
        ResourceKind::Volume => Some(Input::Volume(name)),
        ResourceKind::Transfer => Some(Input::Transfer(name)),
        _ => None,
    }
}
