//! Decides which restart policies bring a container back after a boot.

use crate::{
    desired::{COMPOSE_FILE, Project, ProjectState},
    plan::{
        Note, NoteCode,
        builder::Builder,
        obstacle::{BlockCode, Obstacle},
    },
    restart_policy::RestartPolicy,
};

/// A service that dockerd starts again after a boot.
struct ComesBack {
    service: String,
    policy: RestartPolicy,
}

impl ComesBack {
    /// Returns the service and its policy, as shown to people.
    fn text(&self) -> String {
        format!("{} (`restart: {}`)", self.service, self.policy)
    }
}

/// Returns the project's services that dockerd starts again after a boot.
fn coming_back(project: &Project) -> Vec<ComesBack> {
    let services = project.services.iter().filter(|(_, s)| s.replicas > 0);
    let with_policy = services.filter_map(|(name, service)| {
        let policy = service.restart.as_ref()?;
        // A stopped container stays stopped unless its policy is `always`.
        let comes = match project.state {
            ProjectState::Running => policy.survives_boot(),
            ProjectState::Stopped | ProjectState::Absent => *policy == RestartPolicy::Always,
        };
        comes.then(|| ComesBack {
            service: name.clone(),
            policy: policy.clone(),
        })
    });
    with_policy.collect()
}

/// Returns the path of the compose file on this machine, or else its name.
fn compose_file(project: &Project) -> &str {
    let file = project.files.iter().find(|f| f.relative == COMPOSE_FILE);
    file.map_or(COMPOSE_FILE, |file| file.local.as_str())
}

/// Returns an obstacle if services have no policy that brings them back.
pub(super) fn missing(project: &Project) -> Option<Obstacle> {
    let lacking: Vec<String> = project
        .services
        .iter()
        .filter(|(_, s)| {
            s.replicas > 0 && !s.restart.as_ref().is_some_and(RestartPolicy::survives_boot)
        })
        .map(|(name, service)| match &service.restart {
            Some(policy) => format!("{name} (`restart: {policy}`)"),
            None => name.clone(),
        })
        .collect();
    if lacking.is_empty() {
        return None;
    }
    let file = compose_file(project);
    let (what, has, it, each) = if lacking.len() == 1 {
        ("service", "has", "it", "it")
    } else {
        ("services", "have", "them", "each")
    };
    Some(Obstacle::new(
        BlockCode::NoRestartPolicy,
        format!(
            "on this firmware only a restart policy starts containers after a boot, and {what} {} in {file} {has} \
             none that starts {it}",
            lacking.join(", ")
        ),
        format!("add to {each} in {file} the line: restart: unless-stopped"),
    ))
}

/// Notes the services that start at boot although the
/// project declares `autostart = false`, and why.
pub(super) fn note_what_comes_back(builder: &mut Builder<'_>, project: &Project) {
    let back = coming_back(project);
    if back.is_empty() {
        return;
    }
    let services: Vec<String> = back.iter().map(ComesBack::text).collect();
    builder.note(NoteCode::StartsByPolicy, format!(
        "project {} has `autostart = false`, but dockerd starts {} at boot by restart policy; remove \
         `restart:` from {} to prevent that",
        project.name,
        services.join(", "),
        compose_file(project)
    ));
}

/// Returns the note for a project that has `autostart = true` and is declared as stopped.
pub(super) fn stopped_note(project: &Project) -> Note {
    let name = &project.name;
    let back = coming_back(project);
    if back.is_empty() {
        let text = format!(
            "project {name} is stopped (`state = \"stopped\"`), and `autostart = true` does not start \
             it after a boot: dockerd starts what ran before"
        );
        return Note::new(NoteCode::StoppedStaysDown, text);
    }
    let services: Vec<String> = back.iter().map(ComesBack::text).collect();
    let text = format!(
        "dockerd starts {} of project {name} after a boot (`autostart = true`), and the next apply \
         stops it again (`state = \"stopped\"`)",
        services.join(", ")
    );
    Note::new(NoteCode::StoppedStartsAtBoot, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::{ProjectFile, Service},
        digest::Digest,
        testing,
    };

    /// Services by number of containers and restart policy.
    fn project(services: [(&str, usize, Option<RestartPolicy>); 3]) -> Project {
        let services = services.map(|(name, replicas, restart)| {
            let service = Service {
                replicas,
                restart,
                ..Service::default()
            };
            (name, service)
        });
        testing::project("app", services)
    }

    #[test]
    fn a_service_without_containers_needs_no_policy_and_does_not_come_back() {
        let policy = || Some(RestartPolicy::Always);
        let none = project([("a", 1, policy()), ("b", 0, None), ("c", 0, policy())]);
        assert!(missing(&none).is_none());
        let back: Vec<String> = coming_back(&none).iter().map(ComesBack::text).collect();
        assert_eq!(back, ["a (`restart: always`)"]);
        let some = project([("a", 1, policy()), ("b", 1, None), ("c", 0, None)]);
        let reason = missing(&some).unwrap().reason;
        assert!(reason.contains("service b in "), "{reason}");
    }

    #[test]
    fn the_compose_file_is_named_as_on_this_machine() {
        let file = |relative: &str| ProjectFile {
            relative: relative.into(),
            local: format!("app/{relative}").into(),
            sha256: Digest::of(b""),
            bytes: 0,
            mode: 0o644,
        };
        let mut project = testing::project("app", []);
        assert_eq!(compose_file(&project), COMPOSE_FILE);
        project.files = vec![file(".env"), file(COMPOSE_FILE)];
        assert_eq!(compose_file(&project), format!("app/{COMPOSE_FILE}"));
    }
}
