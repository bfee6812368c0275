//! Judges whether a boot unit starts what is deployed. ifm does not publish the units, so they are
//! read on every VPU.

use super::call::{Call, absolute, expand, words};
use crate::{
    desired::{COMPOSE_FILE, Project},
    facts::Unit,
    names::escape,
    plan::{
        Note, NoteCode,
        obstacle::{BlockCode, Obstacle},
    },
    remote::COMPOSE_ROOT,
};

/// The first docker-compose that reads `.env` from the directory of a compose file given by `-f`.
const ENV_BESIDE_FILE: (u32, u32) = (1, 28);

/// Returns notes about a unit that starts the project, or why it does not start it. `compose` is
/// docker-compose's version.
pub(super) fn judge(
    unit: &Unit,
    project: &Project,
    compose: Option<&str>,
    home: &str,
) -> Result<Vec<Note>, Obstacle> {
    let name = super::unit_name(&project.name);
    if unit.wanted_by.is_empty() {
        return Err(Obstacle::new(
            BlockCode::UnitDiffers,
            format!("{name} has no WantedBy=, so it cannot be enabled"),
            remedy("on the VPU, add WantedBy=default.target below [Install]"),
        ));
    }
    let mut notes = vec![];
    if !unit.wanted_by.contains("default.target") {
        let targets: Vec<&str> = unit.wanted_by.iter().map(String::as_str).collect();
        let text = format!(
            "{name} is started by {}, not by default.target: whether it starts at boot could not be determined",
            targets.join(", ")
        );
        notes.push(Note::new(NoteCode::BootTargetUnknown, text));
    }
    let expand = |text: &str| expand(text, &project.name, home);
    let mut lines = unit.exec_start.iter().map(|line| words(&expand(line)));
    let Some(call) = lines.find_map(|words| Call::parse(&words)) else {
        let runs = match unit.exec_start.join("; ") {
            nothing if nothing.is_empty() => "nothing".to_owned(),
            lines => format!("`{}`", escape(&lines)),
        };
        let text = format!(
            "{name} runs {runs}, not plain docker-compose up: whether it starts the project could not be determined"
        );
        notes.push(Note::new(NoteCode::BootCommandUnknown, text));
        return Ok(notes);
    };
    if let Some(other) = call
        .project_name
        .as_deref()
        .filter(|other| *other != project.name)
    {
        return Err(Obstacle::new(
            BlockCode::UnitDiffers,
            format!("{name} starts another project: {other}"),
            remedy("on the VPU, remove --project-name from the unit"),
        ));
    }
    let runs_in = expand(unit.working_directory.trim_start_matches('-'));
    let note = compose_file(&call, runs_in.trim_end_matches('/'), project, compose)?;
    notes.extend(note);
    Ok(notes)
}

fn remedy(what: &str) -> String {
    format!("{what}: systemctl --user edit oem-dc@.service; or leave `autostart` out")
}

/// Checks that the call, run in a directory, starts the deployed compose file; returns a note if it
/// does so in an unknown form.
fn compose_file(
    call: &Call,
    runs_in: &str,
    project: &Project,
    compose: Option<&str>,
) -> Result<Option<Note>, Obstacle> {
    let name = super::unit_name(&project.name);
    let wanted = project.directory();
    let set_directory = || {
        remedy(&format!(
            "on the VPU, set WorkingDirectory={COMPOSE_ROOT}/%i"
        ))
    };
    if call.files.is_empty() {
        let directory = call.directory.as_deref().unwrap_or(runs_in);
        if directory.trim_end_matches('/') == wanted {
            return Ok(None);
        }
        let place = if directory.is_empty() {
            "the root directory"
        } else {
            directory
        };
        return Err(Obstacle::new(
            BlockCode::UnitDiffers,
            format!("{name} starts the compose file of {place}, but {wanted} is deployed"),
            set_directory(),
        ));
    }
    let deployed = format!("{wanted}/{COMPOSE_FILE}");
    if !call
        .files
        .iter()
        .all(|file| absolute(file, runs_in) == deployed)
    {
        return Err(Obstacle::new(
            BlockCode::UnitDiffers,
            format!(
                "{name} starts {}, but {deployed} is deployed",
                call.files.join(" and ")
            ),
            remedy("on the VPU, remove -f from the unit"),
        ));
    }
    let has_env = project.files.iter().any(|file| file.relative == ".env");
    if runs_in != wanted && has_env && !compose.is_some_and(reads_env_beside_file) {
        return Err(Obstacle::new(
            BlockCode::UnitDiffers,
            format!(
                "{name} names the compose file with -f and runs in another directory, where docker-compose {} does \
                 not read the project's .env",
                compose.unwrap_or("of this version")
            ),
            set_directory(),
        ));
    }
    let place = if runs_in == wanted {
        String::new()
    } else {
        format!(" and runs in {runs_in}/")
    };
    let text = format!(
        "{name} names the compose file with -f{place}, unlike ifm's known units; it is the deployed one"
    );
    Ok(Some(Note::new(NoteCode::BootCommandUnknown, text)))
}

fn reads_env_beside_file(version: &str) -> bool {
    let mut numbers = version
        .trim_start_matches('v')
        .split('.')
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= ENV_BESIDE_FILE,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::desired::{ProjectFile, ProjectState};

    fn project(files: &[&str]) -> Project {
        let file = |relative: &&str| ProjectFile {
            relative: (*relative).to_owned(),
            local: (*relative).into(),
            sha256: crate::digest::Digest::of(b""),
            bytes: 0,
            mode: 0o644,
        };
        Project {
            name: "app".into(),
            state: ProjectState::Running,
            files: files.iter().map(file).collect(),
            services: BTreeMap::new(),
            read: [].into(),
            networks: vec![],
            volumes: vec![],
            refused_by_old_compose: None,
            undeclared: false,
            health: crate::health::HealthGate::default(),
            autostart: Some(true),
            source: None,
        }
    }

    fn judged(directory: &str, exec: &str, wanted_by: &str, compose: &str) -> String {
        let unit = Unit {
            working_directory: directory.into(),
            exec_start: exec
                .split(" ;; ")
                .filter(|l| !l.is_empty())
                .map(str::to_owned)
                .collect(),
            wanted_by: wanted_by.split_whitespace().map(str::to_owned).collect(),
        };
        let project = project(&[COMPOSE_FILE, ".env"]);
        match judge(&unit, &project, Some(compose), "/home/oem") {
            Ok(notes) if notes.is_empty() => "works".to_owned(),
            Ok(notes) => {
                let notes: Vec<_> = notes.iter().map(ToString::to_string).collect();
                format!("note: {}", notes.join(" | "))
            }
            Err(Obstacle { reason, remedy, .. }) => format!("blocked: {reason}; help: {remedy}"),
        }
    }

    #[test]
    fn units_are_judged_by_what_they_start() {
        const DIR: &str = "/usr/share/oem/docker/compose/%i";
        const UP: &str = "/usr/bin/docker-compose up -d";
        for (directory, exec, wanted) in [
            (DIR, UP, "works"),
            (
                "-/usr/share/oem/docker/compose/%I/",
                "-docker-compose --ansi never up",
                "works",
            ),
            (DIR, "/bin/true ;; /usr/bin/docker compose up", "works"),
            (DIR, "docker-compose -p %i up", "works"),
            (
                "/",
                "docker-compose --project-directory /usr/share/oem/docker/compose/%i up",
                "works",
            ),
            (DIR, "docker-compose -f docker-compose.yml up", "note: "),
            (
                "",
                "docker-compose --file=/usr/share/oem/docker/compose/%i/docker-compose.yml up -d",
                "note: ",
            ),
            (DIR, "/usr/libexec/oem-dc %i", "note: "),
            (DIR, "sh -c 'docker-compose up'", "note: "),
            (DIR, "docker-compose start", "note: "),
            (DIR, "", "note: "),
            ("/home/oem/%i", UP, "blocked: "),
            ("~/compose/%i", UP, "blocked: "),
            ("", UP, "blocked: "),
            (DIR, "docker-compose -f other.yml up", "blocked: "),
            (
                DIR,
                "docker-compose -f docker-compose.yml -f more.yml up",
                "blocked: ",
            ),
            (DIR, "docker-compose -p oem up", "blocked: "),
        ] {
            let found = judged(directory, exec, "default.target", "1.29.2");
            assert!(found.starts_with(wanted), "{directory} {exec}: {found}");
        }
    }

    #[test]
    fn messages_name_the_unit_the_reason_and_the_remedy() {
        let exec = "docker-compose -f /usr/share/oem/docker/compose/%i/docker-compose.yml up";
        let said = [
            judged(
                "/home/oem/apps/%i",
                "docker-compose up",
                "default.target",
                "1.29.2",
            ),
            judged("/", exec, "default.target", "1.29.2"),
            judged("/", exec, "default.target", "1.25.4"),
            judged("/", "/usr/libexec/oem-dc %i", "multi-user.target", "1.29.2"),
            judged("/", exec, "", "1.29.2"),
        ];
        insta::assert_snapshot!(said.join("\n"), @r"
        blocked: oem-dc@app.service starts the compose file of /home/oem/apps/app, but /usr/share/oem/docker/compose/app is deployed; help: on the VPU, set WorkingDirectory=/usr/share/oem/docker/compose/%i: systemctl --user edit oem-dc@.service; or leave `autostart` out
        note: oem-dc@app.service names the compose file with -f and runs in /, unlike ifm's known units; it is the deployed one
        blocked: oem-dc@app.service names the compose file with -f and runs in another directory, where docker-compose 1.25.4 does not read the project's .env; help: on the VPU, set WorkingDirectory=/usr/share/oem/docker/compose/%i: systemctl --user edit oem-dc@.service; or leave `autostart` out
        note: oem-dc@app.service is started by multi-user.target, not by default.target: whether it starts at boot could not be determined | oem-dc@app.service runs `/usr/libexec/oem-dc %i`, not plain docker-compose up: whether it starts the project could not be determined
        blocked: oem-dc@app.service has no WantedBy=, so it cannot be enabled; help: on the VPU, add WantedBy=default.target below [Install]: systemctl --user edit oem-dc@.service; or leave `autostart` out
        ");
    }

    #[test]
    fn a_unit_that_runs_elsewhere_is_right_for_a_project_without_env_file() {
        let judged = |directory: &str, files: &[&str]| {
            let exec =
                format!("docker-compose -f /usr/share/oem/docker/compose/%i/{COMPOSE_FILE} up");
            let unit = Unit {
                working_directory: directory.into(),
                exec_start: vec![exec],
                wanted_by: ["default.target".to_owned()].into(),
            };
            // This docker-compose reads `.env` where it runs.
            judge(&unit, &project(files), Some("1.25.4"), "/home/oem").is_ok()
        };
        let own = "/usr/share/oem/docker/compose/%i";
        assert!(!judged("/", &[COMPOSE_FILE, ".env"]));
        assert!(judged("/", &[COMPOSE_FILE, "a.conf"]));
        assert!(judged(own, &[COMPOSE_FILE, ".env"]));
    }

    #[test]
    fn a_unit_without_commands_runs_nothing() {
        let said = judged("/", "", "default.target", "1.29.2");
        assert!(said.contains("oem-dc@app.service runs nothing, "), "{said}");
    }
}
