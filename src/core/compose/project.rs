//! Reads a project's files as one release of docker-compose does: the compose file, an override
//! file, and extended services, with everything that the release refuses.

mod extends;

use super::{
    At, ComposeError, ComposeFile, Environment, Place, Release, environment,
    interpolate::{self, Problem},
    merge,
    node::{Key, Map, Node, Value},
    normalise, rules, schema, yaml,
};
use crate::names::is_within;

/// Names of override files, in the order in which docker-compose looks for them.
const OVERRIDES: &[&str] = &[
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];
/// Further names that 1.29.2 accepts.
const OVERRIDES_NEWER: &[&str] = &["compose.override.yml", "compose.override.yaml"];
/// The compose file's name on a VPU.
const COMPOSE_FILE: &str = "docker-compose.yml";
/// The file that sets a compose file's variables.
const ENV_FILE: &str = ".env";
/// Returns the names under which a release reads an override file next to the compose file.
pub fn override_names(release: Release) -> impl Iterator<Item = &'static str> {
    let newer: &[&str] = match release {
        Release::V1_25 => &[],
        Release::V1_29 => OVERRIDES_NEWER,
    };
    OVERRIDES.iter().chain(newer).copied()
}

/// One of a project's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectFile {
    /// The path relative to the compose file's directory.
    pub name: String,
    /// The contents.
    pub text: String,
    /// Whether it sets variables, whose values may be secret.
    pub is_environment: bool,
}

/// A reason for which a release of docker-compose refuses the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The place, if it is a single one.
    pub place: Option<Place>,
    /// What the file does, completing "docker-compose.yml:4 …".
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// Whether `docker-compose config` refuses it; otherwise starting does.
    pub by_config: bool,
    /// Whether it does not apply if the VPU's login sets a variable that no file sets.
    pub unless_login_sets: bool,
    /// The missing file, relative to the compose file's directory.
    pub missing_file: Option<String>,
}

impl Refusal {
    pub(super) fn new(
        place: Option<Place>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            place,
            message: message.into(),
            help: help.into(),
            by_config: true,
            unless_login_sets: false,
            missing_file: None,
        }
    }

    /// Marks that docker-compose finds it only when it starts the project.
    pub(super) fn at_start(mut self) -> Self {
        self.by_config = false;
        self
    }

    /// Sets the missing file.
    fn without(mut self, file: &str) -> Self {
        self.missing_file = Some(file.to_owned());
        self
    }

    /// Marks that it does not apply if the VPU's login sets a variable.
    fn unless_login_sets(mut self) -> Self {
        self.unless_login_sets = true;
        self
    }
}

/// A project as a release of docker-compose reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The merged contents of the files; incomplete if something is refused.
    pub file: ComposeFile,
    /// The files that were read, indexed by [`Place::file`].
    pub files: Vec<ProjectFile>,
    /// What the release refuses.
    pub refusals: Vec<Refusal>,
    /// What it accepts, but not with the effect that the file suggests.
    pub warnings: Vec<Refusal>,
}

/// Reads a project: the compose file, and the files next to it by `find`: `.env`, an override file,
/// environment files, and files of extended services. `find` returns the text of a file by its path
/// relative to the compose file's directory. `login` is the environment that docker-compose runs
/// in; it takes precedence over `.env`.
pub fn read_project(
    text: String,
    login: &Environment,
    release: Release,
    find: &dyn Fn(&str) -> Option<String>,
) -> Reading {
    let mut reader = Reader {
        environment: Environment::new(),
        release,
        find,
        reading: Reading::default(),
        documents: Vec::new(),
    };
    let main = reader.file(COMPOSE_FILE, text);
    if let Some(text) = find(ENV_FILE) {
        let index = reader.file(ENV_FILE, text);
        reader.environment = reader.env_file(index);
    }
    reader
        .environment
        .extend(login.iter().map(|(k, v)| (k.clone(), v.clone())));
    reader.document(main);
    let overrides: Vec<(&str, String)> = override_names(release)
        .filter_map(|name| Some((name, find(name)?)))
        .collect();
    if let [(first, _), (second, _), ..] = overrides.as_slice() {
        let message = format!("has two override files beside it, `{first}` and `{second}`");
        reader.refuse(None, message, "remove one of the two");
    }
    for (name, text) in overrides.into_iter().take(1) {
        let index = reader.file(name, text);
        reader.document(index);
    }
    reader.merge();
    reader.env_files();
    reader.reading.refusals.sort_by_key(|refusal| refusal.place);
    reader.reading.refusals.dedup();
    reader.reading
}

/// Whether a message of the YAML reader is about indentation; it has no codes for that.
fn is_of_indentation(message: &str) -> bool {
    let words = [
        "indent",
        "tabs disallowed",
        "did not find expected key",
        "did not find expected '-' indicator",
        "simple key expected",
        "mapping values are not allowed",
    ];
    words.iter().any(|words| message.contains(words))
}

/// A processed file.
struct Document {
    name: String,
    root: Map,
    /// The format whose schema it is validated against.
    format: String,
}

impl Document {
    fn section(&self, name: &str) -> Map {
        let section = self.root.get(name).and_then(Node::as_map);
        section.cloned().unwrap_or_default()
    }
}

struct Reader<'a> {
    environment: Environment,
    release: Release,
    find: &'a dyn Fn(&str) -> Option<String>,
    reading: Reading,
    documents: Vec<Document>,
}

impl Reader<'_> {
    fn refuse(
        &mut self,
        place: Option<Place>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let refusal = Refusal::new(place, message, help);
        self.reading.refusals.push(refusal);
    }

    /// Adds a file; returns its index.
    fn file(&mut self, name: &str, text: String) -> usize {
        self.reading.files.push(ProjectFile {
            name: name.to_owned(),
            text,
            is_environment: false,
        });
        self.reading.files.len() - 1
    }

    /// Reads an environment file, and records what docker-compose refuses in it.
    fn env_file(&mut self, index: usize) -> Environment {
        self.reading.files[index].is_environment = true;
        let text = &self.reading.files[index].text;
        let read = environment::read_env(text, self.release);
        for problem in read.problems {
            let refusal = Refusal::new(
                Some(line_of(text, index, problem.line)),
                problem.message,
                "write `NAME=value`, without blanks around the `=` and without `export`",
            );
            if problem.refuses {
                self.reading.refusals.push(refusal);
            } else {
                self.reading.warnings.push(refusal);
            }
        }
        read.values
    }

    /// Checks that all environment files exist: nothing starts without them.
    fn env_files(&mut self) {
        let services = self.reading.file.services.clone();
        for entry in services.iter().flat_map(|service| &service.env_files) {
            let path = joined("", &entry.value);
            if path.starts_with(['/', '~']) {
                continue;
            }
            if self.reading.files.iter().any(|file| file.name == path) {
                continue;
            }
            if let Some(text) = (self.find)(&path) {
                let index = self.file(&path, text);
                self.env_file(index);
                continue;
            }
            let message = format!("reads `{path}`, which is not among the `extra_files`");
            let help = if path.starts_with("../") {
                format!(
                    "move `{path}` beside the compose file, or place it with [[transfers]] and name its absolute path"
                )
            } else {
                format!("add `\"{path}\"` to `extra_files`")
            };
            let refusal = Refusal::new(Some(entry.place), message, help);
            self.reading.refusals.push(refusal.without(&path));
        }
    }

    /// Reads and processes a file; returns its index among the documents.
    fn document(&mut self, index: usize) -> Option<usize> {
        let text = self.reading.files[index].text.clone();
        let name = self.reading.files[index].name.clone();
        let mut root = match yaml::parse(&text, index) {
            Ok(root) => root,
            Err(error) => {
                self.unreadable(&error);
                return None;
            }
        };
        let Value::Map(map) = &root.value else {
            self.refuse(
                Some(root.place),
                format!("is {}, not a table", root.what()),
                "a compose file has `services:`",
            );
            return None;
        };
        let format = self.format(map)?;
        if !self.sections(map) {
            return None;
        }
        let outcome = interpolate::process(&mut root, &self.environment, self.release);
        self.reading.file.unset.extend(outcome.unset);
        for problem in outcome.problems {
            self.problem(problem);
        }
        let refusals = schema::validate(&root, self.release, &format);
        self.reading.refusals.extend(refusals);
        let Value::Map(root) = root.value else {
            return None;
        };
        self.documents.push(Document { name, root, format });
        Some(self.documents.len() - 1)
    }

    fn unreadable(&mut self, error: &ComposeError) {
        let help = match error {
            ComposeError::Duplicate { .. } => "remove one of the two",
            ComposeError::Yaml { message, .. } if is_of_indentation(message) => {
                "correct the indentation of this line or of one above it: indent the keys of a table to the same \
                 column, with spaces, not tabs"
            }
            _ => "correct the file; `docker-compose config` shows what it reads",
        };
        self.refuse(error.place(), format!("cannot be read: {error}"), help);
    }

    /// Returns the format that a file declares, as the schemas are called.
    fn format(&mut self, root: &Map) -> Option<String> {
        const HELP: &str = "write `version: \"2.4\"`, which every firmware supports";
        let version = root.get("version");
        let is_given =
            version.is_some_and(|version| self.release == Release::V1_25 || !version.is_falsy());
        let Some(version) = version.filter(|_| is_given) else {
            let has_sections = ["services", "networks", "volumes"]
                .iter()
                .any(|section| root.get(section).is_some_and(|node| !node.is_falsy()));
            if self.release == Release::V1_25 {
                self.refuse(None, "has no `version:`", HELP);
                return None;
            }
            if !has_sections {
                self.refuse(None, "declares no services", "add `services:`");
                return None;
            }
            return Some("spec".to_owned());
        };
        let place = Some(version.place);
        let Some(text) = version.as_string() else {
            let written = version.text().unwrap_or("it");
            let message = format!("gives the version {written} as {}", version.what());
            self.refuse(place, message, format!("write `version: \"{written}\"`"));
            return None;
        };
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        let digits = match self.release {
            Release::V1_25 => '2'..='9',
            Release::V1_29 => '1'..='3',
        };
        let is_version = !major.is_empty()
            && major.chars().all(|c| digits.contains(&c))
            && !minor.is_empty()
            && minor.chars().all(|c| c.is_ascii_digit());
        let format = match self.release {
            Release::V1_25 => format!("{major}.{minor}"),
            Release::V1_29 => "spec".to_owned(),
        };
        let is_known = match self.release {
            Release::V1_25 => schema::formats().any(|known| known == format),
            Release::V1_29 => !major.starts_with('1'),
        };
        if !is_version || !is_known {
            self.refuse(place, format!("has the version `{text}`"), HELP);
            return None;
        }
        Some(format)
    }

    /// Checks that every section is a table of tables whose names are strings.
    fn sections(&mut self, root: &Map) -> bool {
        let before = self.reading.refusals.len();
        for section in ["services", "volumes", "networks", "secrets", "configs"] {
            let Some(node) = root.get(section) else {
                continue;
            };
            let Value::Map(entries) = &node.value else {
                let is = node.what();
                self.refuse(
                    Some(node.place),
                    format!("has `{section}` as {is}; expected a table"),
                    format!("name each under `{section}:`, or remove the key"),
                );
                continue;
            };
            for (key, node) in entries.iter() {
                if !key.is_string {
                    let message =
                        format!("has the name {} in `{section}` without quotes", key.name);
                    self.refuse(
                        Some(key.place),
                        message,
                        format!("write `\"{}\":`", key.name),
                    );
                }
                if !matches!(node.value, Value::Map(_) | Value::Null) {
                    let message = format!(
                        "has `{section}.{}` as {}; expected a table",
                        key.name,
                        node.what()
                    );
                    self.refuse(Some(node.place), message, "put its keys below it, indented");
                }
                if self.release == Release::V1_25 {
                    self.string_keys(node);
                }
            }
        }
        self.reading.refusals.len() == before
    }

    /// Checks that all keys are strings: 1.25.4 crashes on others.
    fn string_keys(&mut self, node: &Node) {
        match &node.value {
            Value::Map(map) => {
                for (key, node) in map.iter() {
                    if !key.is_string {
                        let message = format!("has the key {} without quotes", key.name);
                        self.refuse(
                            Some(key.place),
                            message,
                            format!("write `\"{}\":`", key.name),
                        );
                    }
                    self.string_keys(node);
                }
            }
            Value::List(list) => list.iter().for_each(|node| self.string_keys(node)),
            _ => {}
        }
    }

    fn problem(&mut self, problem: At<Problem>) {
        let place = Some(problem.place);
        match problem.value {
            Problem::Invalid { text } => {
                let message = format!("has an invalid `$` in `{text}`");
                self.refuse(place, message, "write `$$` for a dollar sign");
            }
            Problem::Required { name, said } => {
                let said = said.trim();
                let said = if said.is_empty() {
                    String::new()
                } else {
                    format!(" (\"{said}\")")
                };
                let message = format!(
                    "requires the variable `{name}`{said}, which no file of the project sets: docker-compose \
                     rejects that unless the VPU's login sets it"
                );
                let help = "set it in a `.env` file listed in `extra_files`, or in `env`";
                let refusal = Refusal::new(place, message, help).unless_login_sets();
                self.reading.refusals.push(refusal);
            }
            Problem::Type { key, wanted, text } => {
                let message = format!("gives `{key}` the value `{text}`; expected {wanted}");
                self.refuse(place, message, format!("write {wanted}"));
            }
        }
    }

    /// Merges the override file into the compose file, and resolves extended services.
    fn merge(&mut self) {
        let Some(main) = self.documents.first() else {
            return;
        };
        let mut services = main.section("services");
        let mut sections: Vec<(&str, Map)> = ["volumes", "networks", "secrets", "configs"]
            .into_iter()
            .filter(|section| {
                self.documents
                    .iter()
                    .any(|document| document.root.get(section).is_some())
            })
            .map(|section| (section, main.section(section)))
            .collect();
        let format = main.format.clone();
        for over in &self.documents[1..] {
            for (key, node) in over.section("services").0 {
                let merged = match (services.get(&key.name), node.as_map()) {
                    (Some(base), Some(over)) => {
                        let base = base.as_map().cloned().unwrap_or_default();
                        Value::Map(merge::service(&base, over))
                    }
                    _ => node.value,
                };
                let place = node.place;
                let value = merged;
                services.set(key, Node { value, place });
            }
            for (section, merged) in &mut sections {
                for (key, node) in over.section(section).0 {
                    merged.set(key, node);
                }
            }
        }
        for over in &self.documents[1..] {
            if over.format != format {
                let place = over.root.get("version").map(|version| version.place);
                let message = format!("has another version than the compose file, `{format}`");
                let refusal = Refusal::new(place, message, "give both the same `version:`");
                self.reading.refusals.push(refusal);
            }
        }
        let names: Vec<Key> = services.iter().map(|(key, _)| key.clone()).collect();
        for key in &names {
            let service = services.get(&key.name).and_then(Node::as_map).cloned();
            let Some(service) = service.filter(|service| service.get("extends").is_some()) else {
                continue;
            };
            let main = self.documents[0].name.clone();
            let mut seen = vec![(main, key.name.clone())];
            if let Some(merged) = self.extended(&service, 0, &format, &mut seen)
                && let Some(node) = services.get_mut(&key.name)
            {
                node.value = Value::Map(merged);
            }
        }
        let mut root = self.documents[0].root.clone();
        let top = Key {
            name: String::new(),
            place: Place::default(),
            is_string: true,
        };
        for (name, map) in sections.into_iter().chain([("services", services)]) {
            let place = root.get(name).map(|node| node.place).unwrap_or_default();
            let value = Value::Map(map);
            let key = root.entry(name).map(|(key, _)| key.clone());
            let key = key.unwrap_or_else(|| Key {
                name: name.to_owned(),
                ..top.clone()
            });
            root.set(key, Node { value, place });
        }
        rules::check(&root, self.release, &format, &mut self.reading);
        let root = Node {
            value: Value::Map(root),
            place: Place::default(),
        };
        let unset = std::mem::take(&mut self.reading.file.unset);
        match ComposeFile::of(&root, unset) {
            Ok(file) => self.reading.file = file,
            Err(error) => self.unreadable(&error),
        }
    }
}

/// Returns the place of a whole line, counted from 1.
fn line_of(text: &str, file: usize, line: usize) -> Place {
    let mut lines = text.split_inclusive('\n').take(line);
    let last = lines.clone().last().unwrap_or_default().trim_end().len();
    let start: usize = lines.by_ref().take(line - 1).map(str::len).sum();
    Place {
        file,
        line,
        start,
        end: start + last,
    }
}

/// Joins a path to a directory, both relative to the compose file's directory.
pub(super) fn joined(directory: &str, path: &str) -> String {
    if path.starts_with(['/', '~']) {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(path.split('/')) {
        match (part, parts.last()) {
            ("" | ".", _) => {}
            ("..", Some(&last)) if last != ".." => drop(parts.pop()),
            (part, _) => parts.push(part),
        }
    }
    parts.join("/")
}

/// Whether a path relative to the compose file's directory
/// is one of the files that are sent with it.
pub fn is_placed<'a>(path: &str, mut extra_files: impl Iterator<Item = &'a str>) -> bool {
    let path = normalise(path);
    extra_files.any(|extra| is_within(&path, &normalise(extra)))
}
