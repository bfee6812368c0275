//! Compares what a project's containers were started from with what they would be started from now.

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use crate::{
    desired::{Mounted, Project},
    digest::Digest,
    facts::{Autostart, Container, Generation, Input, Started},
    plan::{Cause, ResourceKind, builder::Builder, image},
};

/// What the recorded text of a volume begins with.
const VOLUME: &str = "volume ";

impl Mounted {
    /// Returns the text that is recorded for it.
    pub(super) fn to_input(&self) -> String {
        match self {
            Self::Path(path) => format!("path {path}"),
            Self::Volume(name, _) => format!("{VOLUME}{name}"),
            Self::Memory => "memory".to_owned(),
        }
    }

    /// Returns the volume in a text that is recorded for a mount.
    pub(in crate::plan) fn volume_in(input: &str) -> Option<&str> {
        input.strip_prefix(VOLUME)
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

/// Returns the names of images that the project uses and of which this plan repairs files.
pub(super) fn repaired_images(builder: &Builder<'_>, project: &Project) -> BTreeSet<String> {
    let changed = changed_images(builder, project);
    let services = project.services.values();
    let images = services.filter_map(|service| service.image.as_ref());
    images
        .filter(|name| builder.changes(&image::address(name)) && !changed.contains(*name))
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
    /// Set if nothing tells what containers were started from.
    pub(super) unrecorded: Option<Unrecorded>,
    /// The inputs that differ: recorded value, and desired value.
    pub(super) inputs: BTreeMap<Input, (String, String)>,
}

/// The containers of a project of which nothing tells what they were started from.
pub(super) enum Unrecorded {
    /// All of them, as after a firmware update that erased the home directory. Has the contents that docker-compose's own
    /// hash does not cover: nothing shows which ones a process has read.
    All(BTreeSet<Input>),
    /// The one of this name.
    One(String),
}

impl Unrecorded {
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::All(_) => Cause::differs(
                "containers",
                "no record of what they were started from",
                "recorded",
            ),
            Self::One(name) => Cause::differs(
                format!("container {name}"),
                "not created by the last apply",
                "recreated",
            ),
        }
    }
}

impl Stale {
    /// Whether all containers lack a record.
    pub(super) fn is_unrecorded(&self) -> bool {
        matches!(self.unrecorded, Some(Unrecorded::All(_)))
    }

    /// Returns the inputs that differ, or may differ.
    pub(super) fn doubtful(&self) -> impl Iterator<Item = &Input> {
        let unknown = match &self.unrecorded {
            Some(Unrecorded::All(inputs)) => Some(inputs),
            _ => None,
        };
        self.inputs.keys().chain(unknown.into_iter().flatten())
    }

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
    project: &Project,
    found: &Found<'_>,
    inputs: &BTreeMap<Input, String>,
) -> Stale {
    let mut stale = Stale::default();
    let Some(started) = found.started else {
        // The others are compared with what docker shows, or covered by docker-compose's hash.
        let is_content = |input: &&Input| match input {
            Input::File(file) => !project.is_only_environment(file),
            Input::Transfer(_) | Input::Mounted(_) => true,
            _ => false,
        };
        let contents = inputs.keys().filter(is_content).cloned();
        stale.unrecorded = Some(Unrecorded::All(contents.collect()));
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
        stale.unrecorded = Some(Unrecorded::One(container.name.clone()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired::Service, facts::Probed, offers::Offers, testing};

    #[test]
    fn containers_of_the_boots_unit_are_told_from_those_of_a_stranger() {
        let desired = testing::desired(vec![]);
        let offers = Offers::default();
        let container = Container {
            config_hash: "h".into(),
            ..Container::default()
        };
        let (new, old) = ("new".to_owned(), "old".to_owned());
        let is_strange = |boot: &str, hashes: &[&str], is_left: bool, generation: Autostart| {
            let mut observed = testing::observed();
            observed.facts.autostart = Probed::Known(generation);
            let builder = Builder::new(&desired, &observed, &offers);
            let started = Started {
                containers: [old.clone()].into(),
                hashes: hashes.iter().map(|hash| (*hash).to_owned()).collect(),
                boot_id: boot.into(),
                ..Started::default()
            };
            let found = Found {
                containers: [Some(&new), is_left.then_some(&old)]
                    .into_iter()
                    .flatten()
                    .map(|id| (id, &container))
                    .collect(),
                started: Some(&started),
            };
            stranger(&builder, &found, &started).is_some()
        };
        let units = || Autostart {
            template: Some("disabled".into()),
            ..Autostart::default()
        };
        let policies = || Autostart {
            service: Some("enabled".into()),
            ..Autostart::default()
        };
        assert!(is_strange("", &[], false, units()), "no boot since");
        assert!(
            !is_strange("", &["h"], false, units()),
            "the same definition"
        );
        assert!(
            !is_strange("before", &[], false, units()),
            "the boot's unit"
        );
        assert!(!is_strange("before", &["h"], false, units()));
        assert!(is_strange("before", &["other"], false, units()));
        assert!(is_strange("before", &[], true, units()), "they survived");
        assert!(is_strange("before", &[], false, policies()), "they survive");
    }

    #[test]
    fn digests_are_shown_short_and_other_values_whole() {
        let digest = Digest::of(b"a");
        assert_eq!(brief(&digest.to_string()), digest.short());
        assert_eq!(brief(""), "nothing");
        assert_eq!(brief("path /data"), "path /data");
    }

    #[test]
    fn what_is_told_otherwise_is_not_named() {
        let values = ("old".to_owned(), "new".to_owned());
        let (told, other) = (Input::File("a".into()), Input::File("b".into()));
        let stale = Stale {
            unrecorded: None,
            inputs: [(told.clone(), values.clone()), (other.clone(), values)].into(),
        };
        let named = stale.named(|input| *input == told);
        let named: Vec<String> = named.into_keys().collect();
        assert_eq!(named, [other.to_string()]);
    }

    #[test]
    fn containers_are_made_from_the_directories_of_their_volumes() {
        let mut desired = testing::desired(vec![]);
        desired.volumes = vec![
            testing::volume("other", "~/other"),
            testing::volume("share", "~/share"),
        ];
        let service = Service {
            volumes: ["share", "theirs"].map(str::to_owned).into(),
            ..Service::default()
        };
        let project = testing::project("app", [("main", service)]);
        let observed = testing::observed();
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let share = (Input::Volume("share".into()), "/home/oem/share".to_owned());
        assert_eq!(inputs(&builder, &project), [share].into());
    }

    #[test]
    fn a_service_is_redefined_where_the_record_has_another_definition() {
        let input = || Input::Service("main".into());
        let redefined = |was: Option<&str>| {
            let inputs = was.map(|was| (input(), was.to_owned()));
            let started = Started {
                inputs: inputs.into_iter().collect(),
                ..Started::default()
            };
            let found = Found {
                containers: BTreeMap::new(),
                started: Some(&started),
            };
            !redefined(&found, &[(input(), "now".to_owned())].into()).is_empty()
        };
        assert!(redefined(Some("before")));
        assert!(!redefined(Some("now")));
        assert!(!redefined(None), "an older version did not note it");
    }

    #[test]
    fn what_a_dependency_says_is_the_input_of_its_kind() {
        let project = testing::project("app", []);
        let covered = |kind: ResourceKind, name: &str| {
            let address = crate::plan::Address::new(kind, name);
            covered_input(&project, &Cause::DependsOn { address })
        };
        let image = Some(Input::Image("web:1".into()));
        assert_eq!(covered(ResourceKind::Tag, "web:1"), image);
        assert_eq!(covered(ResourceKind::Image, "web:1"), image);
        let volume = Some(Input::Volume("share".into()));
        assert_eq!(covered(ResourceKind::Volume, "share"), volume);
        let transfer = Some(Input::Transfer("~/a".into()));
        assert_eq!(covered(ResourceKind::Transfer, "~/a"), transfer);
        assert_eq!(covered(ResourceKind::Network, "front"), None);
        assert_eq!(covered_input(&project, &Cause::Missing), None);
    }
}
