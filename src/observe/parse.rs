//! Parses the probe's output; takes text, not a host.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER_PERMISSIVE;
use o3r_core::architecture::Architecture;
use serde::Deserialize;

use super::{
    AnonymousVolume, Applied, Arrived, Disk, Facts, Observed, PathFact, Probed, Query,
    READ_BY_COMPOSE, Readings, Records, Release, Started, System, Trees, Undeclared, Watchdog,
    autostart,
    engine::{Engine, Lines},
    listeners,
};
use crate::digest::Digest;

/// The most bytes of a file that are transferred instead of a hash if the VPU has no sha256 tool.
const HEX_LIMIT: usize = 64 << 20;

/// Output that the probe script cannot print.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// A section is missing or truncated.
    #[error("section {0} is missing or truncated")]
    Section(&'static str),
    /// A line that is invalid in its section.
    #[error("section {section}: unexpected line {line:?}")]
    Line {
        /// The section.
        section: &'static str,
        /// The line.
        line: String,
    },
}

/// A section of the output: its text and exit code.
pub(super) struct Section<'a> {
    pub(super) text: &'a str,
    pub(super) code: i32,
}

/// Parses the probe's output for `query`, followed by that of docker's client. The device stays
/// unknown.
///
/// # Errors
/// A section is missing or truncated.
pub fn parse(output: &str, nonce: &str, query: &Query) -> Result<Observed, ParseError> {
    find(output, nonce, "system").ok_or(ParseError::Section("system"))?;
    let lines = Lines::of_sections(|name| find(output, nonce, name));
    assemble(output, nonce, query, lines.map_err(ParseError::Section)?)
}

/// Assembles the probe's output and docker's answers.
pub(super) fn assemble(
    output: &str,
    nonce: &str,
    query: &Query,
    lines: Lines,
) -> Result<Observed, ParseError> {
    let section = |name: &'static str| find(output, nonce, name).ok_or(ParseError::Section(name));
    let mut readings = Readings::default();
    let system = system(section("system")?.text, &mut readings)?;
    let engine = Engine::of(lines, &mut readings);
    let mut arrived = BTreeMap::new();
    let facts = Facts {
        device: Probed::Unknown("not probed".into()),
        device_help: None,
        docker: engine.docker,
        compose: compose(&section("compose")?),
        paths: numbered("paths", &section("paths")?, query.paths.keys())?,
        trees: Trees::default(),
        volumes: engine.volumes,
        images: engine.images,
        unusable_images: engine.unusable_images,
        containers: engine.containers,
        networks: engine.networks,
        projects: match find(output, nonce, "projects") {
            Some(section) => projects(&section, query)?,
            None => BTreeMap::new(),
        },
        environment_files: match find(output, nonce, "environment") {
            Some(section) => numbered("environment", &section, query.environment_files.iter())?,
            None => BTreeMap::new(),
        },
        resolved: BTreeMap::new(),
        records: records(&section("records")?, &mut readings, &mut arrived).into(),
        arrived,
        kept: BTreeSet::new(),
        lost_files: BTreeSet::new(),
        undeclared: Undeclared::default(),
        data: BTreeMap::new(),
        verified: BTreeMap::new(),
        listeners: listeners::parse(section("listeners")?.text),
        autostart: autostart::autostart(&section("autostart")?, query).into(),
        system,
    };
    Ok(Observed { facts, readings })
}

pub(super) fn find<'a>(output: &'a str, nonce: &str, name: &str) -> Option<Section<'a>> {
    let begin = format!("{nonce} begin {name}\n");
    let end = format!("\n{nonce} end {name} ");
    let start = output.find(&begin)? + begin.len();
    let rest = &output[start..];
    // An empty section is `begin` and `end` with one newline between.
    let length = rest.find(&end)?;
    let code = rest[length + end.len()..]
        .lines()
        .next()?
        .trim()
        .parse()
        .ok()?;
    Some(Section {
        text: &rest[..length],
        code,
    })
}

impl Section<'_> {
    /// Why the section failed: the command's message, or its exit code.
    pub(super) fn reason(&self, what: &str) -> String {
        let said: Vec<&str> = self
            .text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty() && !l.starts_with('{'))
            .collect();
        match said.last() {
            Some(last) => format!("{what}: {last}"),
            None => format!("{what} failed with exit code {}", self.code),
        }
    }

    /// Parses the section's JSON lines. Other lines are warnings of the command.
    pub(super) fn json_lines<T: for<'de> Deserialize<'de>>(
        &self,
        what: &str,
    ) -> Result<Vec<T>, String> {
        if self.code != 0 {
            return Err(self.reason(what));
        }
        self.text
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| {
                serde_json::from_str(line).map_err(|error| format!("{what}: {error} in {line}"))
            })
            .collect()
    }
}

fn system(text: &str, readings: &mut Readings) -> Result<System, ParseError> {
    let values: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let get = |key: &str| values.get(key).copied().unwrap_or_default();
    let bad = || ParseError::Line {
        section: "system",
        line: text.to_owned(),
    };
    let kilobytes = |key: &str| {
        get(key)
            .parse::<u64>()
            .ok()
            .map(|kb| kb.saturating_mul(1024))
    };
    readings.uptime = get("uptime")
        .split('.')
        .next()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    readings.clock = get("clock").parse().ok();
    readings.sha256_tool = get("sha256") != "none";
    readings.zstd = get("zstd") == "yes";
    readings.home_disk = Disk::parse(get("home_disk"));
    readings.memory_total = kilobytes("memory_kb");
    readings.memory_available = kilobytes("memory_available_kb");
    let home = get("home");
    if !home.starts_with('/') {
        return Err(bad());
    }
    Ok(System {
        home_refuses: Some(get("home_refuses").to_owned()).filter(|reason| !reason.is_empty()),
        home: home.trim_end_matches('/').to_owned(),
        uid: get("uid").parse().map_err(|_| bad())?,
        arch: Architecture::of_machine(get("machine")),
        boot_id: get("boot_id").to_owned(),
        load_interrupted: get("load_interrupted") == "yes",
        environment_sha256: format!("sha256:{}", get("environment")).parse().ok(),
        environment: values
            .iter()
            .filter_map(|(key, value)| {
                Some((key.strip_prefix("env.")?.to_owned(), (*value).to_owned()))
            })
            .collect(),
    })
}

fn compose(section: &Section<'_>) -> Probed<String> {
    let version = section.text.lines().map(str::trim).find(|line| {
        let line = line.strip_prefix('v').unwrap_or(line);
        line.starts_with(|c: char| c.is_ascii_digit()) && line.contains('.')
    });
    match version {
        Some(version) if section.code == 0 => Probed::Known(version.to_owned()),
        _ => Probed::Unknown(section.reason("docker-compose version")),
    }
}

/// Parses lines `INDEX FACT`, one for each queried path.
fn numbered<'a>(
    name: &'static str,
    section: &Section<'_>,
    asked: impl Iterator<Item = &'a String>,
) -> Result<BTreeMap<String, Probed<PathFact>>, ParseError> {
    let mut lines = section.text.lines().filter(|line| !line.is_empty());
    let mut facts = BTreeMap::new();
    for (index, path) in asked.enumerate() {
        let line = lines.next().ok_or(ParseError::Section(name))?;
        let bad = || ParseError::Line {
            section: name,
            line: line.to_owned(),
        };
        let rest = line.strip_prefix(&format!("{index} ")).ok_or_else(bad)?;
        let fact = path_fact(rest).ok_or_else(bad)?;
        facts.insert(path.clone(), fact);
    }
    Ok(facts)
}

/// Parses lines `INDEX NAME FACT`: the index of the project in the query, and a name of
/// [`READ_BY_COMPOSE`].
fn projects(
    section: &Section<'_>,
    query: &Query,
) -> Result<BTreeMap<String, BTreeMap<String, Probed<PathFact>>>, ParseError> {
    let mut lines = section.text.lines().filter(|line| !line.is_empty());
    let mut projects = BTreeMap::new();
    for (index, project) in query.projects.iter().enumerate() {
        let mut files = BTreeMap::new();
        for name in READ_BY_COMPOSE {
            let line = lines.next().ok_or(ParseError::Section("projects"))?;
            let bad = || ParseError::Line {
                section: "projects",
                line: line.to_owned(),
            };
            let rest = line
                .strip_prefix(&format!("{index} {name} "))
                .ok_or_else(bad)?;
            let fact = path_fact(rest).ok_or_else(bad)?;
            let is_missing = matches!(
                &fact,
                Probed::Known(PathFact::Missing | PathFact::Unwritable { .. })
            );
            if !is_missing {
                files.insert((*name).to_owned(), fact);
            }
        }
        projects.insert(project.clone(), files);
    }
    Ok(projects)
}

fn path_fact(line: &str) -> Option<Probed<PathFact>> {
    let mut words = line.split(' ');
    let fact = match words.next()? {
        "missing" => PathFact::Missing,
        "other" => PathFact::Other,
        "link" => PathFact::Link {
            target: line.strip_prefix("link ")?.to_owned(),
        },
        "unwritable" => PathFact::Unwritable {
            uid: words.next()?.parse().ok()?,
            parent: line.splitn(3, ' ').nth(2)?.to_owned(),
        },
        "unknown" => return Some(Probed::Unknown(line.strip_prefix("unknown ")?.to_owned())),
        "directory" => PathFact::Directory {
            mode: permission_bits(words.next()?)?,
            uid: words.next()?.parse().ok()?,
        },
        "file" => {
            let mode = permission_bits(words.next()?)?;
            let uid = words.next()?.parse().ok()?;
            let size = words.next()?.parse().ok()?;
            let sha256 = match words.next().unwrap_or_default() {
                "-" => None,
                "" => return Some(Probed::Unknown("it could not be read".into())),
                hex if hex.starts_with('x') => Some(Digest::of(&unhex(&hex[1..])?)),
                hex => Some(format!("sha256:{hex}").parse().ok()?),
            };
            PathFact::File {
                mode,
                uid,
                size,
                sha256,
            }
        }
        _ => return None,
    };
    Some(Probed::Known(fact))
}

/// Converts `drwxr-sr-t` to `0o3755`. This is the format of `ls -l`, the only listing that every
/// VPU has.
pub(in crate::observe) fn permission_bits(text: &str) -> Option<u32> {
    let flags = text.as_bytes().get(1..10)?;
    let mut mode = 0;
    for (index, flag) in flags.iter().enumerate() {
        let bit = 1 << (8 - index);
        let special = 1 << (11 - index / 3);
        match flag {
            b'-' => {}
            b'r' | b'w' | b'x' => mode |= bit,
            b's' | b't' => mode |= bit | special,
            b'S' | b'T' => mode |= special,
            _ => return None,
        }
    }
    Some(mode)
}

pub(in crate::observe) fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() > 2 * HEX_LIMIT {
        return None;
    }
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()
}

/// Only we write records: an unreadable one counts as a failure, not as missing.
fn records(
    section: &Section<'_>,
    readings: &mut Readings,
    arrived: &mut BTreeMap<String, Arrived>,
) -> Result<Records, String> {
    if section.code != 0 {
        return Err(section.reason("reading ~/.o3r-deploy"));
    }
    let mut records = Records::default();
    let mut lines = section.text.lines();
    while let Some(head) = lines.next() {
        if head.is_empty() {
            continue;
        }
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != ".").collect();
        if head == "lock" {
            readings.applying = body.iter().find_map(|line| serde_json::from_str(line).ok());
            continue;
        }
        if head == "held" {
            records.held_images = body.iter().map(|tag| (*tag).to_owned()).collect();
            continue;
        }
        match head.split_once(' ') {
            Some(("started", project)) => {
                records.started.insert(project.to_owned(), started(&body));
            }
            Some(("release", name)) => {
                let line = body.iter().rfind(|line| !line.trim().is_empty());
                let release = line.and_then(|line| serde_json::from_str::<Release>(line).ok());
                let applied = line.and_then(|line| serde_json::from_str::<Applied>(line).ok());
                // A damaged line (after a power cut) counts as no record; the next apply records
                // again.
                if let Some(release) = release {
                    records.releases.insert(name.to_owned(), release);
                    let recorded = line.and_then(|line| serde_json::from_str(line).ok());
                    if let Some(RecordedVolumes { anonymous_volumes }) = recorded {
                        let volumes = &mut records.anonymous_volumes;
                        volumes.insert(name.to_owned(), anonymous_volumes);
                    }
                    if let Some(applied) = applied.filter(|applied| !applied.at.is_empty()) {
                        readings.applied.insert(name.to_owned(), applied);
                    }
                }
            }
            Some(("watchdog", release)) => {
                if let Some(watchdog) = watchdog(&body, readings.uptime) {
                    readings.watchdogs.insert(release.to_owned(), watchdog);
                }
            }
            Some(("taken", name)) => {
                let projects = body.iter().filter(|line| !line.is_empty());
                let projects = projects.map(|project| (*project).to_owned()).collect();
                records.taken.insert(name.to_owned(), projects);
            }
            Some(("moved", name)) => drop(records.moved.insert(name.to_owned())),
            Some(("arrived", rest)) => {
                let words: Vec<&str> = rest.split_whitespace().collect();
                if let [name, bytes, sha256] = words[..]
                    && let Ok(bytes) = bytes.parse()
                {
                    let sha256 = Digest::from_hex(sha256);
                    arrived.insert(name.to_owned(), Arrived { bytes, sha256 });
                }
            }
            Some(("added", path)) => {
                if let Some((project, name)) = path.split_once("/%added-") {
                    let relative = name.replace("%2F", "/").replace("%25", "%");
                    let added = records.added.entry(project.to_owned());
                    added.or_default().insert(relative);
                }
            }
            _ => return Err(format!("unexpected line {head:?} among the records")),
        }
    }
    records.drop_taken();
    Ok(records)
}

/// Reads what a directory of the watchdog holds; `None` if nothing that counts: an apply just ended there.
fn watchdog(body: &[&str], uptime: u64) -> Option<Watchdog> {
    let verdict = body.iter().find_map(|line| serde_json::from_str(line).ok());
    if body.contains(&"reverting") {
        return Some(Watchdog::RollingBack);
    }
    let left = |word| body.iter().find_map(|line| line.strip_prefix(word));
    let (armed, interrupted) = (left("armed "), left("interrupted "));
    if let Some(deadline) = armed.or(interrupted) {
        let deadline = deadline.split_whitespace().next();
        let deadline: u64 = deadline.and_then(|word| word.parse().ok()).unwrap_or(0);
        let seconds_left = deadline.saturating_sub(uptime);
        return Some(if let Some(version) = left("waits ") {
            let version = version.trim().to_owned();
            Watchdog::Unconfirmed {
                version,
                seconds_left,
            }
        } else if armed.is_some() {
            Watchdog::Armed { seconds_left }
        } else {
            Watchdog::Interrupted { seconds_left }
        });
    }
    verdict.map(Watchdog::Ended)
}

/// Other content of a release's record.
#[derive(Deserialize)]
struct RecordedVolumes {
    anonymous_volumes: Vec<AnonymousVolume>,
}

/// Parses lines `input NAME\tDIGEST`, `boot ID`, `container ID HASH` and `down SERVICE MILLISECONDS`. An unknown line
/// invalidates the record: nothing is assumed, and the containers are recreated.
fn started(body: &[&str]) -> Started {
    let mut started = Started::default();
    for line in body {
        match line.split_once(' ') {
            Some(("input", rest)) => match rest.rsplit_once('\t') {
                Some((name, digest)) => {
                    started
                        .inputs
                        .insert(name.to_owned().into(), digest.to_owned());
                }
                None => return Started::default(),
            },
            Some(("boot", id)) => id.clone_into(&mut started.boot_id),
            Some(("container", container)) => {
                let (id, hash) = container.split_once(' ').unwrap_or((container, ""));
                started.containers.insert(id.to_owned());
                if !hash.is_empty() {
                    started.hashes.insert(hash.to_owned());
                }
            }
            Some(("down", rest)) => {
                if let Some((service, milliseconds)) = rest.split_once(' ')
                    && let Ok(milliseconds) = milliseconds.parse()
                {
                    started.down.insert(service.to_owned(), milliseconds);
                }
            }
            _ => return Started::default(),
        }
    }
    started
}
