//! Blocks projects that belong to other releases.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    desired::Project,
    facts::{self, Facts},
    plan::{
        builder::Builder,
        image::release_of,
        obstacle::{BlockCode, Obstacle},
    },
    remote,
};

/// Returns an obstacle if another release owns the project, unless it may be taken over.
pub(super) fn unmet(builder: &Builder<'_>, project: &Project) -> Option<Obstacle> {
    let (desired, facts) = (builder.desired, builder.facts);
    if project.undeclared || desired.permits.take_over {
        return None;
    }
    let own = desired.release.name.as_str();
    let applied = &builder.readings.applied;
    let name = &project.name;
    let (owner, since) = match facts::owner(facts, applied, name) {
        Some(owner) => {
            let applied = applied.get(owner);
            let since =
                applied.map(|applied| format!(", applied {} by {}", applied.at, applied.by));
            (owner, since.unwrap_or_default())
        }
        None => (
            *unrecorded(facts).get(name.as_str())?,
            ", whose record is gone".to_owned(),
        ),
    };
    if owner == own {
        return None;
    }
    Some(Obstacle::new(
        BlockCode::OwnedByRelease,
        format!("project {name} belongs to release {owner}{since}, and this is release {own}"),
        format!(
            "choose another `name` in [[compose]], or move the project to {own}: o3r-deploy apply --take-over"
        ),
    ))
}

/// Returns the releases without a record, by the projects that they deployed: the containers are of the project's own
/// directory, and their images have a name of that release, and of no other one.
pub fn unrecorded(facts: &Facts) -> BTreeMap<&str, &str> {
    let (Some(records), Some(images), Some(containers)) = (
        facts.records.known(),
        facts.images.known(),
        facts.containers.known(),
    ) else {
        return BTreeMap::new();
    };
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in containers.values() {
        if container.working_dir != remote::project_directory(&container.project) {
            continue;
        }
        let image = images.get(&container.image);
        let tags = image.into_iter().flat_map(|image| &image.tags);
        let releases = tags.filter_map(|tag| release_of(tag));
        let without_record = releases.filter(|release| !records.releases.contains_key(*release));
        let project = found.entry(&container.project).or_default();
        project.extend(without_record);
    }
    let only = found.into_iter().filter_map(|(project, releases)| {
        let mut releases = releases.into_iter();
        let release = releases.next()?;
        releases.next().is_none().then_some((project, release))
    });
    only.collect()
}
