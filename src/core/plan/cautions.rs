//! Notes on what a plan may break in an application that runs.

use std::collections::BTreeSet;

use super::{NoteCode, builder::Builder, compose, transfer};
use crate::{desired::ProjectState, units};

/// Adds the notes; the steps are planned.
pub(super) fn plan(builder: &mut Builder<'_>) {
    if builder.desired.destroys {
        return;
    }
    let notes: Vec<(NoteCode, String)> = another_application(builder)
        .into_iter()
        .chain(emptied_mounts(builder))
        .chain(restarting(builder))
        .collect();
    for (code, text) in notes {
        builder.note(code, text);
    }
}

/// A manifest that declares none of the deployed release's projects may be that of another application.
fn another_application(builder: &Builder<'_>) -> Option<(NoteCode, String)> {
    let name = builder.desired.release.name.as_str();
    let record = builder.facts.records.known()?.releases.get(name)?;
    let projects = builder.desired.projects.iter();
    let declared: BTreeSet<&str> = projects
        .filter(|project| !project.undeclared)
        .map(|project| project.name.as_str())
        .collect();
    let deployed: Vec<&str> = record.projects.iter().map(String::as_str).collect();
    let is_other = !declared.is_empty()
        && !deployed.is_empty()
        && !deployed.iter().any(|project| declared.contains(project));
    is_other.then(|| {
        let declared: Vec<&str> = declared.into_iter().collect();
        let text = format!(
            "release {name} has {} on the VPU, and this manifest has {} instead: if it is another application, give it \
             another `name` in [release]",
            deployed.join(", "),
            declared.join(", "),
        );
        (NoteCode::OtherProjects, text)
    })
}

/// Services mount what a transfer that is no longer declared removes.
fn emptied_mounts<'a>(builder: &'a Builder<'_>) -> impl Iterator<Item = (NoteCode, String)> + 'a {
    let removed = builder.desired.transfers.iter().filter(|transfer| {
        transfer.is_undeclared() && builder.changes(&transfer::address(transfer))
    });
    removed.flat_map(move |transfer| {
        let running = builder.desired.projects.iter();
        let running = running.filter(|project| project.state == ProjectState::Running);
        running.filter_map(move |project| {
            let mut services = project.services.iter();
            let (service, _) =
                services.find(|(_, service)| compose::uses(builder, transfer, service))?;
            let text = format!(
                "service {service} of project {} still mounts {}, whose files are removed",
                project.name,
                transfer.name()
            );
            Some((NoteCode::MountLosesFiles, text))
        })
    })
}

/// Containers that docker had to restart, of projects that this plan leaves running.
fn restarting<'a>(builder: &'a Builder<'_>) -> impl Iterator<Item = (NoteCode, String)> + 'a {
    let containers = builder.facts.containers.known().into_iter().flatten();
    containers.filter_map(|(id, container)| {
        let count = *builder.readings.restarts.get(id)?;
        let mut projects = builder.desired.projects.iter();
        let project = projects.find(|project| project.name == container.project)?;
        let stays = !project.undeclared && !builder.changes(&compose::address(&project.name));
        let name = &container.name;
        let times = units::times(count);
        stays.then(|| {
            (
                NoteCode::ContainerRestarts,
                format!("container {name} was restarted {times} since it was started: see `docker logs --tail 100 {name}` on the VPU"),
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        desired::{Service, Transfer},
        exclude::Exclude,
        facts::{Container, Probed},
        offers::Offers,
        plan::{Action, Cause, Phase, builder::Draft},
        testing,
    };

    fn codes(builder: &mut Builder<'_>) -> Vec<NoteCode> {
        plan(builder);
        builder.noted().iter().map(|note| note.code).collect()
    }

    #[test]
    fn a_release_with_none_of_its_projects_may_be_another_application() {
        let mut observed = testing::observed();
        if let Probed::Known(records) = &mut observed.facts.records {
            let mut release = testing::release("shop", crate::facts::Made::default());
            release.projects.insert("shop".to_owned());
            records.releases.insert("app".to_owned(), release);
        }
        let offers = Offers::default();
        for (projects, is_noted) in [
            (vec!["store"], true),
            (vec!["shop", "store"], false),
            (vec![], false),
        ] {
            let projects = projects.iter().map(|name| testing::project(name, []));
            let desired = testing::desired(projects.collect());
            let mut builder = Builder::new(&desired, &observed, &offers);
            let noted = codes(&mut builder);
            assert_eq!(noted == [NoteCode::OtherProjects], is_noted, "{noted:?}");
        }
    }

    #[test]
    fn a_container_that_docker_restarts_is_noted_while_it_stays() {
        let mut observed = testing::observed();
        let container = serde_json::json!({
            "name": "app_web_1", "project": "app", "image": "sha256:1", "status": "running", "exit_code": 0,
            "restart_policy": "always"
        });
        let container: Container = serde_json::from_value(container).unwrap();
        observed.facts.containers = Probed::Known([("1".to_owned(), container)].into());
        observed.readings.restarts = [("1".to_owned(), 5)].into();
        let offers = Offers::default();
        let desired = testing::desired(vec![testing::project("app", [])]);
        let mut builder = Builder::new(&desired, &observed, &offers);
        assert_eq!(codes(&mut builder), [NoteCode::ContainerRestarts]);
        let text = builder.noted()[0].text.clone();
        assert!(
            text.contains("app_web_1 was restarted 5 times since it was started"),
            "{text}"
        );
        let mut builder = Builder::new(&desired, &observed, &offers);
        let cause = Cause::Missing;
        builder.step(Draft::new(
            compose::address("app"),
            Action::Update,
            Phase::Switch,
            cause,
        ));
        assert_eq!(codes(&mut builder), []);
    }

    #[test]
    fn a_mount_of_removed_files_is_noted() {
        let observed = testing::observed();
        let transfer = Transfer {
            target: "~/share/config".parse().unwrap(),
            entries: BTreeMap::new(),
            delete: false,
            exclude: Exclude::new(&[]),
            gone: BTreeMap::new(),
            restart: vec![],
            source: None,
        };
        let home = observed.facts.system.home.clone();
        let offers = Offers::default();
        for (bind, is_noted) in [
            (format!("{home}/share/config/app.toml"), true),
            ("~/share".to_owned(), true),
            (format!("{home}/share/configs"), false),
        ] {
            let service = Service {
                binds: vec![bind.clone()],
                ..Service::default()
            };
            let mut desired = testing::desired(vec![testing::project("app", [("web", service)])]);
            desired.transfers.push(transfer.clone());
            let mut builder = Builder::new(&desired, &observed, &offers);
            let address = transfer::address(&transfer);
            builder.step(Draft::new(
                address,
                Action::Remove,
                Phase::Switch,
                Cause::Missing,
            ));
            assert_eq!(
                codes(&mut builder) == [NoteCode::MountLosesFiles],
                is_noted,
                "{bind}"
            );
        }
    }
}
