//! The variables of a manifest, such as `${vars.robot_id}`: where each is declared, and its value for a VPU.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::{Map, Value, json};

use super::{
    names::{ReleaseVersion, escape},
    spans::child,
};
use crate::closest::did_you_mean;

/// What the name of a variable begins with; a `${…}` without a dot is left to the reader of the string.
const ROOTS: [&str; 4] = ["release", "vpu", "vars", "env"];

/// The keys of a VPU that are variables.
const OF_VPU: [&str; 2] = ["name", "serial"];

/// The keys of a release that are variables.
const OF_RELEASE: [&str; 2] = ["version", "name"];

/// The variable whose value has a form of its own.
const VERSION: &str = "release.version";

/// The key in `[vars]` that lists variables of this machine's environment.
const ENV: &str = "env";

/// Returns a variable of this machine's environment, if it is set.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The documents that declare variables, as written.
pub(super) struct Variables<'a> {
    manifest: Value,
    /// The `[vpus.NAME]` of the manifest and of `vpus.toml`.
    vpus: BTreeMap<String, Value>,
    /// This machine's environment; `None` if it does not matter.
    environment: Option<Environment<'a>>,
    /// The last variable of the environment that is not set, if that is no error: only where the VPU is matters then.
    unset: Option<RefCell<Option<Problem>>>,
    /// Whether the values are those of a selected VPU. Without one, a variable that only some VPUs have is no error.
    is_for_one: bool,
    chosen: Option<String>,
}

/// What a variable stands for.
pub(super) enum Meaning {
    /// Its value.
    Value(String),
    /// It is wrong, which has its own finding, or depends on the VPU.
    Unknown,
    /// It has no value.
    Missing(Problem),
}

/// Why a variable has no value, and what to do about it.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) help: String,
    /// Whether its value contains itself.
    is_cycle: bool,
}

/// Replaces a value that is unknown, so that it causes no further findings.
const PLACEHOLDER: &str = "0";

impl<'a> Variables<'a> {
    /// Takes the documents as written, and the VPU that `--vpu` selects.
    pub(super) fn new(
        manifest: Value,
        beside: &Value,
        vpu: Option<&str>,
        environment: Option<Environment<'a>>,
    ) -> Self {
        let mut vpus = BTreeMap::new();
        for document in [beside, &manifest] {
            let tables = document.get("vpus").and_then(Value::as_object);
            let tables = tables.into_iter().flatten();
            vpus.extend(tables.map(|(name, table)| (name.clone(), table.clone())));
        }
        let has_address = manifest.pointer("/vpu/host").is_some();
        let only = vpus
            .keys()
            .next()
            .filter(|_| vpus.len() == 1 && !has_address);
        let chosen = vpu.map(ToOwned::to_owned).or_else(|| only.cloned());
        Self {
            is_for_one: chosen.is_some() || has_address || vpus.is_empty(),
            manifest,
            vpus,
            environment,
            unset: None,
            chosen,
        }
    }

    /// Accepts that variables of the environment are not set, except in what says which VPU and which release is meant.
    pub(super) fn without_environment(mut self) -> Self {
        self.unset = Some(RefCell::default());
        self
    }

    /// Whether a string says which VPU or which release is meant: with another value, a command would change another one.
    fn says_which(&self, pointer: &str) -> bool {
        if pointer == "/release/name" {
            return true;
        }
        let own = self.chosen.as_ref().map(|name| child("/vpus", name));
        let tables = own.iter().map(String::as_str).chain(["/vpu"]);
        let mut keys = tables.filter_map(|table| pointer.strip_prefix(table)?.strip_prefix('/'));
        keys.any(|key| key != "vars" && !key.starts_with("vars/"))
    }

    /// Returns the VPU whose variables a string has: the selected one, but for the strings of another one's table.
    fn vpu_at<'b>(&'b self, pointer: &'b str) -> Option<&'b str> {
        let names = self.vpus.keys();
        let mut own = names.filter(|name| {
            let table = child("/vpus", name);
            pointer
                .strip_prefix(&table)
                .is_some_and(|rest| rest.starts_with('/'))
        });
        own.next().map(String::as_str).or(self.chosen.as_deref())
    }

    /// Returns a string with its variables replaced; tells `problem` about each that has no value.
    pub(super) fn replace(
        &self,
        text: &str,
        pointer: &str,
        problem: &mut dyn FnMut(Problem),
    ) -> String {
        let vpu = self.vpu_at(pointer).map(ToOwned::to_owned);
        let of_release = |name: &str| pointer == "/release/version" && name.starts_with("release.");
        let mut own = own_name(pointer, vpu.as_deref()).into_iter().collect();
        let replaced = self.replaced(text, vpu.as_deref(), &mut own, &of_release, problem);
        let unset = self.unset.as_ref().and_then(RefCell::take);
        unset.filter(|_| self.says_which(pointer)).map(problem);
        replaced
    }

    fn replaced(
        &self,
        text: &str,
        vpu: Option<&str>,
        within: &mut Vec<String>,
        is_left: &dyn Fn(&str) -> bool,
        problem: &mut dyn FnMut(Problem),
    ) -> String {
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = start(rest) {
            replaced.push_str(&rest[..at]);
            let Some(end) = rest[at..].find('}') else {
                problem(Problem {
                    message: "a variable is not closed".to_owned(),
                    help: "write `}` after its name".to_owned(),
                    is_cycle: false,
                });
                return replaced + &rest[at..];
            };
            let name = &rest[at + 2..at + end];
            if rest[..at].ends_with('$') {
                // `$$` stands for `$`, as in compose files.
                replaced.pop();
                replaced.push_str(&rest[at..=at + end]);
            } else if is_left(name) {
                replaced.push_str(&rest[at..=at + end]);
            } else {
                match self.meaning(name, vpu, within) {
                    Meaning::Value(value) => replaced.push_str(&value),
                    Meaning::Unknown => replaced.push_str(PLACEHOLDER),
                    Meaning::Missing(missing) => problem(missing),
                }
            }
            rest = &rest[at + end + 1..];
        }
        replaced + rest
    }

    /// Returns what a variable stands for on a VPU. `within` are the variables whose values it is a part of.
    fn meaning(&self, name: &str, vpu: Option<&str>, within: &mut Vec<String>) -> Meaning {
        if let Some(at) = within.iter().position(|outer| outer == name) {
            let chain = within[at..].iter().map(String::as_str).chain([name]);
            let chain = chain.collect::<Vec<_>>().join(" -> ");
            return Meaning::Missing(Problem {
                message: format!(
                    "the value of `${{{}}}` contains itself: {}",
                    escape(name),
                    escape(&chain)
                ),
                help: "give one of them a value without the other".to_owned(),
                is_cycle: true,
            });
        }
        if name.trim() != name {
            let help = format!("write it without blanks: `${{{}}}`", escape(name.trim()));
            return missing(no_variable(name), help);
        }
        let Some((root, key)) = name.split_once('.') else {
            return no_such(name, None);
        };
        if !ROOTS.contains(&root) {
            let known = self.vars(vpu).into_iter().map(|var| format!("vars.{var}"));
            let known: Vec<String> = known.chain(NAMES.map(ToOwned::to_owned)).collect();
            return no_such(name, did_you_mean(name, known.iter().map(String::as_str)));
        }
        let written = match root {
            "release" if OF_RELEASE.contains(&key) => {
                self.manifest.pointer(&child("/release", key))
            }
            "vpu" if OF_VPU.contains(&key) => self.of_vpu(vpu, key),
            "vars" if !key.is_empty() => self.var(vpu, key),
            "env" => return self.of_environment(key),
            _ => None,
        };
        match written {
            Some(Value::String(text)) => self.evaluated(text, name, vpu, within),
            Some(_) => Meaning::Unknown,
            None => self.without_value(name, root, key, vpu),
        }
    }

    fn evaluated(
        &self,
        text: &str,
        name: &str,
        vpu: Option<&str>,
        within: &mut Vec<String>,
    ) -> Meaning {
        within.push(name.to_owned());
        // What is wrong with it is found where it is declared.
        let (mut is_wrong, mut cycle) = (false, None);
        let is_left = |inner: &str| name == VERSION && inner.starts_with("release.");
        let value = self.replaced(text, vpu, within, &is_left, &mut |problem| {
            is_wrong = true;
            if problem.is_cycle {
                cycle = Some(problem);
            }
        });
        within.pop();
        if let Some(cycle) = cycle {
            return Meaning::Missing(cycle);
        }
        if name == VERSION && value.parse::<ReleaseVersion>().is_err() {
            is_wrong = true;
        }
        if is_wrong {
            Meaning::Unknown
        } else {
            Meaning::Value(value)
        }
    }

    fn without_value(&self, name: &str, root: &str, key: &str, vpu: Option<&str>) -> Meaning {
        let shown = escape(name);
        let is_known = |name: &str| format!("`${{{name}}}` is not known");
        let mut tables = self.vpus.values();
        match (root, key) {
            ("release", "version") => missing(
                is_known(name),
                "set `version` in [release], or use `--release-version`",
            ),
            // A missing name has its own finding.
            ("release", "name") => Meaning::Unknown,
            ("vpu", key) if OF_VPU.contains(&key) => {
                if !self.is_for_one && vpu.is_none() {
                    return Meaning::Unknown;
                }
                let table = vpu.map_or("[vpu]".to_owned(), |name| {
                    format!("[vpus.{}]", escape(name))
                });
                missing(is_known(name), format!("set `{key}` in {table}"))
            }
            ("vars", key) => {
                let has_it = |table: &Value| {
                    table
                        .get("vars")
                        .is_some_and(|vars| vars.get(key).is_some())
                };
                if !self.is_for_one && vpu.is_none() && tables.any(has_it) {
                    return Meaning::Unknown;
                }
                let known: Vec<String> = self
                    .vars(vpu)
                    .iter()
                    .map(|var| format!("vars.{var}"))
                    .collect();
                let meant = did_you_mean(name, known.iter().map(String::as_str));
                let help = match meant {
                    Some(meant) => format!("did you mean `${{{meant}}}`?"),
                    None => format!("declare it: `{} = \"…\"` in [vars]", escape(key)),
                };
                missing(no_variable(&shown), help)
            }
            _ => no_such(name, did_you_mean(name, NAMES)),
        }
    }

    fn of_environment(&self, key: &str) -> Meaning {
        let shown = escape(key);
        if !self.listed().contains(&key) {
            return missing(
                format!("`${{env.{shown}}}` is not listed"),
                format!("list it: `env = [\"{shown}\"]` in [vars]"),
            );
        }
        let Some(environment) = self.environment else {
            return Meaning::Unknown;
        };
        environment(key).map_or_else(|| self.not_set(&shown), Meaning::Value)
    }

    fn not_set(&self, shown: &str) -> Meaning {
        let problem = Problem {
            message: format!("`${{env.{shown}}}` is not set in this environment"),
            help: format!("set it before o3r-deploy runs: export {shown}=…"),
            is_cycle: false,
        };
        let Some(last) = &self.unset else {
            return Meaning::Missing(problem);
        };
        *last.borrow_mut() = Some(problem);
        Meaning::Unknown
    }

    /// Returns the variables of the environment that may be used.
    fn listed(&self) -> Vec<&str> {
        let listed = self.manifest.pointer(&format!("/vars/{ENV}"));
        let listed = listed.and_then(Value::as_array);
        listed
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    fn of_vpu(&self, vpu: Option<&str>, key: &str) -> Option<&Value> {
        let own = vpu.and_then(|name| self.vpus.get(name)?.get(key));
        own.or_else(|| self.manifest.get("vpu")?.get(key))
    }

    fn var(&self, vpu: Option<&str>, key: &str) -> Option<&Value> {
        let own = self.of_vpu(vpu, "vars").and_then(|vars| vars.get(key));
        let common = || self.manifest.get("vpu")?.get("vars")?.get(key);
        let all = || self.manifest.get("vars")?.get(key).filter(|_| key != ENV);
        own.or_else(common).or_else(all)
    }

    /// Returns the names of the variables in `[vars]` for a VPU.
    fn vars(&self, vpu: Option<&str>) -> BTreeSet<&str> {
        let tables = [
            self.of_vpu(vpu, "vars"),
            self.manifest.pointer("/vpu/vars"),
            self.manifest.get("vars"),
        ];
        let tables = tables.into_iter().flatten().filter_map(Value::as_object);
        let names = tables.flat_map(Map::keys).map(String::as_str);
        names.filter(|name| *name != ENV).collect()
    }

    /// Returns all that has a value on the selected VPU, for templates: `{"vars": {…}, "vpu": {…}, "release": {…}, "env": {…}}`.
    pub(super) fn context(&self) -> Value {
        let vpu = self.chosen.as_deref();
        let table = |root: &str, keys: Vec<&str>| -> Map<String, Value> {
            let values = keys.into_iter().filter_map(|key| {
                match self.meaning(&format!("{root}.{key}"), vpu, &mut vec![]) {
                    Meaning::Value(value) => Some((key.to_owned(), Value::String(value))),
                    _ => None,
                }
            });
            values.collect()
        };
        json!({
            "vars": table("vars", self.vars(vpu).into_iter().collect()),
            "vpu": table("vpu", OF_VPU.to_vec()),
            "release": table("release", OF_RELEASE.to_vec()),
            "env": table("env", self.listed()),
        })
    }
}

/// Returns the name of the variable that a string declares.
fn own_name(pointer: &str, vpu: Option<&str>) -> Option<String> {
    let table = vpu.map(|name| child("/vpus", name));
    let rest = table
        .as_deref()
        .and_then(|table| pointer.strip_prefix(table));
    let path = match rest {
        Some(rest) if rest.starts_with("/vars/") => rest.to_owned(),
        Some(rest) => format!("/vpu{rest}"),
        None => pointer.replacen("/vpu/vars/", "/vars/", 1),
    };
    let name = path.strip_prefix('/')?.replacen('/', ".", 1);
    Some(name)
}

fn missing(message: impl Into<String>, help: impl Into<String>) -> Meaning {
    Meaning::Missing(Problem {
        message: message.into(),
        help: help.into(),
        is_cycle: false,
    })
}

fn no_such(name: &str, meant: Option<&str>) -> Meaning {
    let help = meant.map_or_else(
        || help_for_variable(name),
        |meant| format!("did you mean `${{{meant}}}`?"),
    );
    missing(no_variable(name), help)
}

/// The names of variables that any manifest may have.
const NAMES: [&str; 4] = ["release.version", "release.name", "vpu.name", "vpu.serial"];

/// Returns where the first variable of a manifest starts in a string.
pub(super) fn start(text: &str) -> Option<usize> {
    let mut starts = text.match_indices("${").map(|(at, _)| at);
    starts.find(|at| {
        let name = &text[at + 2..];
        let is_closed = name.contains('}');
        let name = name.split('}').next().unwrap_or_default().trim_start();
        let Some((root, _)) = name.split_once('.') else {
            return false;
        };
        // No shell has variables with a dot in their names: what is closed is meant to be one of ours.
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        ROOTS.contains(&root) || (is_closed && !root.is_empty() && root.chars().all(is_word))
    })
}

/// Returns where the first variable of a manifest is in a text of another kind, which may have variables of its own.
pub(super) fn start_in_other(text: &str) -> Option<usize> {
    let mut starts = text.match_indices("${").map(|(at, _)| at);
    starts.find(|at| {
        let root = text[at + 2..].split('.').next().unwrap_or_default();
        ROOTS.contains(&root)
    })
}

/// Returns the name of the first variable, `version` in `app:${version}`, of a string whose variables are
/// replaced: one that is left does not exist.
pub(super) fn unknown_variable(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("${")?;
    let (name, _) = after.split_once('}')?;
    Some(name)
}

/// The message about a variable that does not exist.
pub(super) fn no_variable(name: &str) -> String {
    format!("there is no variable `${{{}}}`", escape(name))
}

/// The help for a variable that does not exist.
pub(super) fn help_for_variable(name: &str) -> String {
    let short = NAMES.map(|name| name.rsplit_once('.').map_or(name, |(_, key)| key));
    let same = NAMES
        .into_iter()
        .zip(short)
        .find(|(_, short)| *short == name);
    let meant = same.map(|(full, _)| full);
    let meant = meant.or_else(|| did_you_mean(name, NAMES));
    let meant = meant.or_else(|| did_you_mean(name, ["version"]).map(|_| NAMES[0]));
    match meant {
        Some(meant) => format!("did you mean `${{{meant}}}`?"),
        None => "there are `${release.version}`, `${release.name}`, `${vpu.name}`, `${vpu.serial}`, `${vars.NAME}` for \
                 each NAME in [vars], and `${env.NAME}` for each that `env` in [vars] lists"
            .to_owned(),
    }
}
