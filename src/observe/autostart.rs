//! Parses the probe's section about what starts compose projects when the VPU boots.

use super::{Autostart, Probed, Query, SERVICE, TEMPLATE, Unit, parse::Section};

/// Parses the section; `query` has the requested units.
pub(super) fn autostart(section: &Section<'_>, query: &Query) -> Result<Autostart, String> {
    if section.code != 0 {
        return Err(section.reason("autostart"));
    }
    let mut found = Autostart::default();
    let mut lines = section.text.lines().peekable();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        match words.as_slice() {
            ["file", TEMPLATE, state] => found.template = Some((*state).to_owned()),
            ["file", SERVICE, state] => found.service = Some((*state).to_owned()),
            // Newer systemd also lists enabled instances as files; the links have the same
            // information.
            [""] | ["file", _, _] => {}
            ["enabled", "own", name] => drop(found.enabled.insert((*name).to_owned())),
            ["enabled", "all", name] => drop(found.enabled_for_all.insert((*name).to_owned())),
            ["lingering", word] => {
                found.lingering = match *word {
                    "yes" => Some(true),
                    "no" => Some(false),
                    _ => None,
                };
            }
            ["unit", code, name] => {
                let mut text = vec![];
                while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
                    text.push(&line[1..]);
                }
                let shown = match *code {
                    "0" => Probed::Known(unit(&text)),
                    _ => {
                        Probed::Unknown(format!("systemctl --user cat: {}", text.join(" ").trim()))
                    }
                };
                found.units.insert((*name).to_owned(), shown);
            }
            _ => return Err(format!("autostart: unexpected line {line:?}")),
        }
    }
    if found.template.is_some() {
        for name in &query.units {
            let missed = || Probed::Unknown("its text could not be read".to_owned());
            found.units.entry(name.clone()).or_insert_with(missed);
        }
    }
    Ok(found)
}

/// Parses a unit file as systemd does: an empty assignment resets earlier ones, and a `\` at the
/// end of a line continues it.
fn unit(lines: &[&str]) -> Unit {
    let mut unit = Unit::default();
    let mut section = String::new();
    let mut pending = String::new();
    for line in lines {
        let is_comment = line.trim_start().starts_with(['#', ';']);
        if is_comment {
            continue;
        }
        if let Some(start) = line.strip_suffix('\\') {
            pending.push_str(start);
            pending.push(' ');
            continue;
        }
        let line = std::mem::take(&mut pending) + line;
        let line = line.trim();
        if line.starts_with('[') {
            line.clone_into(&mut section);
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let value = value.trim();
        match (section.as_str(), key.trim()) {
            ("[Service]", "WorkingDirectory") => value.clone_into(&mut unit.working_directory),
            ("[Service]", "ExecStart") if value.is_empty() => unit.exec_start.clear(),
            ("[Service]", "ExecStart") => unit.exec_start.push(value.to_owned()),
            ("[Install]", "WantedBy" | "RequiredBy") => {
                unit.wanted_by
                    .extend(value.split_whitespace().map(str::to_owned));
            }
            _ => {}
        }
    }
    unit
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::observe::Generation;

    fn parsed(text: &str, code: i32) -> Result<Autostart, String> {
        let query = Query {
            units: BTreeSet::from(["hello".to_owned()]),
            ..Query::default()
        };
        autostart(&Section { text, code }, &query)
    }

    /// Recorded on twins of both generations, with systemd 252.
    const UNITS: &str = include_str!("../../tests/fixtures/probe/autostart-units.txt");
    const POLICIES: &str = include_str!("../../tests/fixtures/probe/autostart-policies.txt");

    #[test]
    fn the_older_generation_is_parsed() {
        let found = parsed(UNITS, 0).unwrap();
        assert_eq!(found.generation(), Some(Generation::Units("indirect")));
        assert_eq!(found.lingering, Some(true));
        assert!(found.is_enabled("hello") && !found.is_enabled("other"));
        let unit = found.units["hello"].known().unwrap();
        assert_eq!(unit.working_directory, "/usr/share/oem/docker/compose/%i");
        assert_eq!(unit.exec_start, ["/usr/bin/docker-compose up -d"]);
        assert_eq!(
            unit.wanted_by,
            BTreeSet::from(["default.target".to_owned()])
        );
    }

    #[test]
    fn the_newer_generation_is_parsed() {
        let found = parsed(POLICIES, 0).unwrap();
        let generation = Some(Generation::RestartPolicies("disabled"));
        assert_eq!(found.generation(), generation);
        assert_eq!(found.units, BTreeMap::new());
    }

    #[test]
    fn no_generation_differs_from_no_answer() {
        let none = parsed("lingering no\n", 0).unwrap();
        assert_eq!((none.generation(), none.lingering), (None, Some(false)));
        let said = "systemctl --user list-unit-files: Failed to connect to bus: No medium found";
        assert_eq!(parsed(said, 1), Err(format!("autostart: {said}")));
        assert!(
            parsed("surprise\n", 0)
                .unwrap_err()
                .contains("\"surprise\"")
        );
    }

    #[test]
    fn a_requested_unit_without_an_answer_is_unknown() {
        let found = parsed("file oem-dc@.service disabled\nlingering yes\n", 0).unwrap();
        assert!(found.units["hello"].known().is_none());
        let failed = "file oem-dc@.service bad\nunit 1 hello\n Failed to read it\nlingering yes\n";
        let found = parsed(failed, 0).unwrap();
        let wanted = Probed::Unknown("systemctl --user cat: Failed to read it".to_owned());
        assert_eq!(found.units["hello"], wanted);
    }

    #[test]
    fn drop_ins_comments_and_continued_lines_are_parsed_as_in_systemd() {
        let text = "# /a/oem-dc@.service\n[Service]\nWorkingDirectory=/old\nExecStart=/bin/one\n\
                    ;ExecStart=/bin/comment\n[Install]\nWantedBy=a.target b.target\n\n\
                    # /a/oem-dc@.service.d/x.conf\n[Service]\nWorkingDirectory = /new\nExecStart=\n\
                    ExecStart=/bin/two \\\n# between\n  --flag\nnonsense";
        let lines: Vec<&str> = text.lines().collect();
        let unit = unit(&lines);
        assert_eq!(unit.working_directory, "/new");
        assert_eq!(unit.exec_start, ["/bin/two    --flag"]);
        assert_eq!(unit.wanted_by.len(), 2);
    }
}
