//! Judges whether a boot unit starts what is deployed: ifm does not publish its text, so that it is
//! read on every VPU.

use std::collections::BTreeSet;

use crate::{
    desired::{COMPOSE_FILE, Project},
    observe::Unit,
};

/// The first docker-compose that takes `.env` from beside a compose file named by `-f`.
const ENV_BESIDE_FILE: (u32, u32) = (1, 28);

/// Options of docker-compose, before its command, that take a value.
const WITH_VALUE: &[&str] = &[
    "-f",
    "--file",
    "-p",
    "--project-name",
    "--project-directory",
    "--env-file",
    "-H",
    "--host",
    "-c",
    "--context",
    "--profile",
    "--ansi",
    "--log-level",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
];

/// Why, and what to do about it.
type Refusal = (String, String);

/// What is worth saying of a unit that starts the project, or why it does not start it. `compose`
/// is docker-compose's version.
pub(super) fn judge(
    unit: &Unit,
    project: &Project,
    compose: Option<&str>,
    home: &str,
) -> Result<Vec<String>, Refusal> {
    let name = super::unit_name(&project.name);
    let mend = |what: &str| {
        format!("{what}: systemctl --user edit oem-dc@.service; or leave `autostart` out")
    };
    if unit.wanted_by.is_empty() {
        return Err((
            format!("{name} has no WantedBy=, so that it cannot be enabled"),
            mend("on the VPU, add WantedBy=default.target below [Install]"),
        ));
    }
    let mut notes = vec![];
    if !unit.wanted_by.contains("default.target") {
        let targets: Vec<&str> = unit.wanted_by.iter().map(String::as_str).collect();
        notes.push(format!(
            "{name} is started by {}, not by default.target: whether a boot reaches it cannot be told",
            targets.join(", ")
        ));
    }
    let expand = |text: &str| expand(text, &project.name, home);
    let calls: Vec<Vec<String>> = unit
        .exec_start
        .iter()
        .map(|line| words(&expand(line)))
        .collect();
    let Some(call) = calls.iter().find_map(|words| Call::parse(words)) else {
        let runs = unit.exec_start.join("; ");
        let runs = if runs.is_empty() {
            "nothing".to_owned()
        } else {
            format!("`{runs}`")
        };
        notes.push(format!(
            "{name} runs {runs}, and not plainly docker-compose up: whether it starts the project \
             cannot be told"
        ));
        return Ok(notes);
    };
    let wanted = project.directory();
    let own = expand(unit.working_directory.trim_start_matches('-'));
    let own = own.trim_end_matches('/');
    if let Some(other) = call
        .project_name
        .as_deref()
        .filter(|other| *other != project.name)
    {
        return Err((
            format!("{name} starts a project called {other}, which would be another one"),
            mend("on the VPU, take --project-name out of the unit"),
        ));
    }
    if call.files.is_empty() {
        let directory = call.directory.as_deref().unwrap_or(own);
        if directory.trim_end_matches('/') != wanted {
            let place = if directory.is_empty() {
                "no directory of its own"
            } else {
                directory
            };
            return Err((
                format!(
                    "{name} starts the compose file of {place}, and {wanted} is what is deployed"
                ),
                mend(&format!(
                    "on the VPU, set WorkingDirectory={}",
                    wanted_specifier()
                )),
            ));
        }
        return Ok(notes);
    }
    let files: BTreeSet<String> = call.files.iter().map(|file| absolute(file, own)).collect();
    if files != BTreeSet::from([format!("{wanted}/{COMPOSE_FILE}")]) {
        return Err((
            format!(
                "{name} starts {}, and {wanted}/{COMPOSE_FILE} is what is deployed",
                call.files.join(" and ")
            ),
            mend("on the VPU, take -f out of the unit"),
        ));
    }
    let has_env = project.files.iter().any(|file| file.relative == ".env");
    if own != wanted && has_env && !compose.is_some_and(reads_env_beside_file) {
        return Err((
            format!(
                "{name} names the compose file by -f and runs elsewhere, where docker-compose {} \
                 does not read the project's .env",
                compose.unwrap_or("of this version")
            ),
            mend(&format!(
                "on the VPU, set WorkingDirectory={}",
                wanted_specifier()
            )),
        ));
    }
    let place = if own == wanted {
        String::new()
    } else {
        format!(" and runs in {own}/")
    };
    notes.push(format!(
        "{name} names the compose file by -f{place}, other than ifm's units known here; it is the one \
         that is deployed"
    ));
    Ok(notes)
}

fn wanted_specifier() -> String {
    format!("{}/%i", crate::remote::COMPOSE_ROOT)
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

/// A call of `docker-compose up`.
#[derive(Default)]
struct Call {
    files: Vec<String>,
    project_name: Option<String>,
    directory: Option<String>,
}

impl Call {
    fn parse(words: &[String]) -> Option<Self> {
        let mut words = words.iter().map(String::as_str);
        // Characters before the program change how systemd runs it, not what.
        let program = words
            .next()?
            .trim_start_matches(['-', '@', ':', '+', '!', '|']);
        match program.rsplit('/').next()? {
            "docker-compose" => {}
            "docker" if words.next() == Some("compose") => {}
            _ => return None,
        }
        let mut call = Self::default();
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                return (word == "up").then_some(call);
            }
            let (option, value) = match word.split_once('=') {
                Some((option, value)) if word.starts_with("--") => (option, value),
                _ if WITH_VALUE.contains(&word) => (word, words.next()?),
                _ => continue,
            };
            let value = value.to_owned();
            match option {
                "-f" | "--file" => call.files.push(value),
                "-p" | "--project-name" => call.project_name = Some(value),
                "--project-directory" => call.directory = Some(value),
                _ => {}
            }
        }
        None
    }
}

/// The words of a command line as systemd splits it, for those that matter here.
fn words(line: &str) -> Vec<String> {
    let unquoted = |word: &str| word.trim_matches(['"', '\'']).to_owned();
    line.split_whitespace().map(unquoted).collect()
}

fn absolute(path: &str, directory: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{directory}/{path}")
    }
}

/// Replaces the specifiers that name the instance, and the home directory.
fn expand(text: &str, instance: &str, home: &str) -> String {
    let mut expanded = String::new();
    let mut rest = text
        .strip_prefix('~')
        .map_or_else(|| text.to_owned(), |rest| format!("%h{rest}"));
    while let Some(at) = rest.find('%') {
        expanded.push_str(&rest[..at]);
        let specifier = rest[at + 1..].chars().next();
        match specifier {
            Some('i' | 'I') => expanded.push_str(instance),
            Some('n') => expanded.push_str(&super::unit_name(instance)),
            Some('h') => expanded.push_str(home),
            Some('%') => expanded.push('%'),
            Some(other) => expanded.extend(['%', other]),
            None => expanded.push('%'),
        }
        rest = rest[at + 1 + specifier.map_or(0, char::len_utf8)..].to_owned();
    }
    expanded + &rest
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
            Ok(notes) => format!("note: {}", notes.join(" | ")),
            Err((reason, help)) => format!("blocked: {reason}; help: {help}"),
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
    fn what_is_said_names_unit_reason_and_remedy() {
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
        blocked: oem-dc@app.service starts the compose file of /home/oem/apps/app, and /usr/share/oem/docker/compose/app is what is deployed; help: on the VPU, set WorkingDirectory=/usr/share/oem/docker/compose/%i: systemctl --user edit oem-dc@.service; or leave `autostart` out
        note: oem-dc@app.service names the compose file by -f and runs in /, other than ifm's units known here; it is the one that is deployed
        blocked: oem-dc@app.service names the compose file by -f and runs elsewhere, where docker-compose 1.25.4 does not read the project's .env; help: on the VPU, set WorkingDirectory=/usr/share/oem/docker/compose/%i: systemctl --user edit oem-dc@.service; or leave `autostart` out
        note: oem-dc@app.service is started by multi-user.target, not by default.target: whether a boot reaches it cannot be told | oem-dc@app.service runs `/usr/libexec/oem-dc %i`, and not plainly docker-compose up: whether it starts the project cannot be told
        blocked: oem-dc@app.service has no WantedBy=, so that it cannot be enabled; help: on the VPU, add WantedBy=default.target below [Install]: systemctl --user edit oem-dc@.service; or leave `autostart` out
        ");
    }

    #[test]
    fn specifiers_are_expanded() {
        assert_eq!(expand("~/%i/%%/%q%", "a", "/h"), "/h/a/%/%q%");
        assert_eq!(expand("%n", "a", "/h"), "oem-dc@a.service");
    }
}
