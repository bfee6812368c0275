//! Compares the volumes of a compose file with the existing ones: docker-compose refuses one that
//! differs in the middle of the switch.

use std::collections::BTreeMap;

use crate::{
    desired::{Project, ProjectState, ProjectVolume},
    facts,
    plan::{
        builder::Builder,
        obstacle::{BlockCode, Obstacle},
    },
    shell::quote,
};

/// Returns an obstacle if docker-compose would refuse the volumes.
pub(super) fn unmet(builder: &Builder<'_>, project: &Project) -> Option<Obstacle> {
    let all = builder.facts.volumes.known()?;
    let mut volumes = project.volumes.iter();
    volumes.find_map(|volume| {
        if volume.declared.external {
            missing(builder, project, all, volume)
        } else {
            let older = volume.older_name.as_ref();
            let found = older.and_then(|name| Some((name, all.get(name)?)));
            let found = found.or_else(|| Some((&volume.name, all.get(&volume.name)?)));
            found.and_then(|(name, found)| differs(project, volume, name, found))
        }
    })
}

/// Returns an obstacle if an external volume neither exists nor is created before the project.
fn missing(
    builder: &Builder<'_>,
    project: &Project,
    all: &BTreeMap<String, facts::Volume>,
    volume: &ProjectVolume,
) -> Option<Obstacle> {
    let name = &volume.name;
    let mut declared = builder.desired.volumes.iter();
    if all.contains_key(name) || declared.any(|declared| declared.name == *name) {
        return None;
    }
    let makes = |other: &&Project| {
        let mut volumes = other.volumes.iter();
        other.state != ProjectState::Absent
            && volumes.any(|made| !made.declared.external && made.name == *name)
    };
    let projects = &builder.desired.projects;
    let mut before = projects
        .iter()
        .take_while(|other| other.name != project.name);
    if before.any(|other| makes(&other)) {
        return None;
    }
    Some(Obstacle::new(
        BlockCode::VolumeMissing,
        format!("volume {name}, which the compose file expects (`external: true`), does not exist"),
        match projects.iter().find(makes) {
            Some(other) => format!(
                "declare the project {}, which creates it, before this one",
                other.name
            ),
            None => format!(
                "declare it in [[volumes]], or create it on the VPU: docker volume create {}",
                quote(name)
            ),
        },
    ))
}

/// Returns how a volume differs from the file, compared as docker-compose does: options that only
/// the volume has count as well.
fn differs(
    project: &Project,
    volume: &ProjectVolume,
    name: &str,
    found: &facts::Volume,
) -> Option<Obstacle> {
    let driver = volume.declared.driver.as_ref();
    let driver = driver.filter(|driver| **driver != found.driver);
    let wanted = &volume.declared.options;
    let mut keys = found.options.keys().chain(wanted.keys());
    let option = keys
        .find(|key| !key.starts_with("com.docker.") && found.options.get(*key) != wanted.get(*key));
    let text = |options: &BTreeMap<String, String>, key: &str| {
        options
            .get(key)
            .cloned()
            .unwrap_or_else(|| "not set".to_owned())
    };
    let difference = match (driver, option) {
        (Some(driver), _) => {
            format!(
                "driver is {}, and the compose file says {driver}",
                found.driver
            )
        }
        (None, Some(key)) => format!(
            "option {key} is {}, and the compose file says {}",
            text(&found.options, key),
            text(wanted, key)
        ),
        (None, None) => return None,
    };
    let ours = found.owner.is_some();
    let remedy = if ours {
        "it is one of [[volumes]]: declare it `external: true` in the compose file".to_owned()
    } else {
        format!(
            "to replace it, declare it in [[volumes]] with `replace = true`, and `external: true` in the compose \
             file; or remove it, and what docker keeps in it, on the VPU: cd {} && docker-compose -p {} down && \
             docker volume rm {}",
            quote(&project.directory()),
            quote(&project.name),
            quote(name)
        )
    };
    Some(Obstacle::new(
        BlockCode::VolumeDiffers,
        format!("volume {name} exists and differs: {difference}"),
        remedy,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compose, offers::Offers, testing};

    fn volume(name: &str, external: bool) -> ProjectVolume {
        ProjectVolume {
            name: name.into(),
            older_name: None,
            declared: compose::Volume {
                key: name.into(),
                external,
                ..compose::Volume::default()
            },
        }
    }

    #[test]
    fn an_external_volume_is_missing_unless_a_project_before_creates_it() {
        let remedy = |state: ProjectState, made: &str, is_before: bool| {
            let maker = Project {
                state,
                volumes: vec![volume(made, false)],
                ..testing::project("maker", [])
            };
            let app = testing::project("app", []);
            let mut projects = vec![app.clone(), maker];
            if is_before {
                projects.reverse();
            }
            let (desired, observed) = (testing::desired(projects), testing::observed());
            let offers = Offers::default();
            let builder = Builder::new(&desired, &observed, &offers);
            let obstacle = missing(&builder, &app, &[].into(), &volume("data", true));
            obstacle.map(|obstacle| obstacle.remedy).unwrap_or_default()
        };
        let (running, absent) = (ProjectState::Running, ProjectState::Absent);
        assert_eq!(remedy(running, "data", true), "");
        let later = remedy(running, "data", false);
        assert!(later.contains("declare the project maker"), "{later}");
        for (state, made) in [(absent, "data"), (running, "other")] {
            let nowhere = remedy(state, made, true);
            assert!(nowhere.contains("docker volume create data"), "{nowhere}");
        }
    }

    #[test]
    fn an_external_volume_of_the_manifest_is_not_missing() {
        let mut desired = testing::desired(vec![]);
        desired.volumes = vec![crate::desired::Volume {
            name: "share".parse().unwrap(),
            path: "~/share".parse().unwrap(),
            replace: false,
            source: None,
        }];
        let observed = testing::observed();
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let app = testing::project("app", []);
        let is_missing =
            |name: &str| missing(&builder, &app, &[].into(), &volume(name, true)).is_some();
        assert!(!is_missing("share"));
        assert!(is_missing("other"));
    }

    #[test]
    fn a_volume_of_another_driver_differs() {
        let project = testing::project("app", []);
        let is_other = |declared: Option<&str>| {
            let mut wanted = volume("data", false);
            wanted.declared.driver = declared.map(Into::into);
            let found = facts::Volume {
                driver: "local".into(),
                options: [].into(),
                owner: None,
                project: "app".into(),
                key: "data".into(),
                anonymous: false,
            };
            differs(&project, &wanted, "data", &found).is_some()
        };
        assert!(!is_other(None));
        assert!(!is_other(Some("local")));
        assert!(is_other(Some("nfs")));
    }
}
