//! Resolves the services that services extend, in their own file and in others.

use super::{Reader, Refusal, joined};
use crate::compose::{
    Place, merge,
    node::{Map, Node, Value},
};

/// The maximum depth of extended services.
const MAX_EXTENDS: usize = 16;

impl Reader<'_> {
    /// Returns a service merged with what it extends; `document` is the index of its file.
    pub(super) fn extended(
        &mut self,
        service: &Map,
        document: usize,
        format: &str,
        seen: &mut Vec<(String, String)>,
    ) -> Option<Map> {
        let (key, node) = service.entry("extends")?;
        let place = key.place;
        let name = node.text().or_else(|| node.get("service")?.text())?;
        let own_name = self.documents[document].name.clone();
        let directory = parent_of(&own_name);
        let (document, file) = match node.get("file").and_then(Node::text) {
            Some(file) => {
                let path = joined(directory, file);
                if path == own_name {
                    (document, own_name.clone())
                } else {
                    (self.extended_file(&path, file, node.place, format)?, path)
                }
            }
            None => (document, own_name.clone()),
        };
        let step = (file.clone(), name.to_owned());
        if seen.contains(&step) || seen.len() > MAX_EXTENDS {
            self.refuse(
                Some(place),
                format!("extends the service `{name}` in a cycle"),
                "extend a service that does not extend any of these",
            );
            return None;
        }
        let base = self.documents[document].section("services");
        let Some(base) = base.get(name).and_then(Node::as_map).cloned() else {
            self.refuse(
                Some(place),
                format!("extends the service `{name}`, which is not in `{file}`"),
                format!("name a service of `{file}`"),
            );
            return None;
        };
        seen.push(step);
        self.extendable(&base, name, place);
        // Both paths are relative to the compose file's directory.
        let base = match base.get("extends") {
            Some(_) => self.extended(&base, document, format, seen)?,
            None => relocated(base, parent_of(&file)),
        };
        let mut merged = merge::service(&base, &relocated(service.clone(), directory));
        merged.remove("extends");
        Some(merged)
    }

    /// Returns the document of a file whose services are extended.
    fn extended_file(
        &mut self,
        path: &str,
        written: &str,
        place: Place,
        format: &str,
    ) -> Option<usize> {
        if let Some(at) = self.documents.iter().position(|known| known.name == path) {
            return Some(at);
        }
        if self.reading.files.iter().any(|file| file.name == path) {
            return None; // already read and refused
        }
        let Some(text) = (self.find)(path) else {
            let help = if path.starts_with("../") || path.starts_with(['/', '~']) {
                "move it beside the compose file, and list it in `extra_files`".to_owned()
            } else {
                format!("add `\"{path}\"` to `extra_files`")
            };
            let message =
                format!("extends a service of `{written}`, which is not among the `extra_files`");
            let refusal = Refusal::new(Some(place), message, help);
            self.reading.refusals.push(refusal.without(path));
            return None;
        };
        let index = self.file(path, text);
        let at = self.document(index)?;
        if self.documents[at].format != format {
            let other = self.documents[at].format.clone();
            self.refuse(
                Some(place),
                format!(
                    "extends a service of `{written}`, whose version is `{other}`, not `{format}`"
                ),
                "give both files the same `version:`",
            );
            return None;
        }
        Some(at)
    }

    /// Checks that a service may be extended: docker-compose refuses one that depends on others.
    fn extendable(&mut self, base: &Map, name: &str, place: Place) {
        let mode = base.get("network_mode").and_then(Node::text);
        let is_tied = mode.is_some_and(|mode| mode.starts_with("service:"));
        let tied = ["links", "volumes_from", "depends_on"]
            .into_iter()
            .find(|key| base.get(key).is_some())
            .or(is_tied.then_some("network_mode: service:"));
        if let Some(key) = tied {
            self.refuse(
                Some(place),
                format!("extends the service `{name}`, which has `{key}`"),
                format!("move `{key}` from `{name}` to the services that extend it"),
            );
        }
    }
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Returns a service of a file in another directory, with its relative paths rewritten for the
/// compose file's directory.
fn relocated(mut service: Map, directory: &str) -> Map {
    if directory.is_empty() {
        return service;
    }
    let moved = |path: &str| format!("./{}", joined(directory, path));
    let is_relative = |path: &str| path.starts_with('.');
    if let Some(node) = service.get_mut("env_file") {
        let place = node.place;
        let entries = node.one_or_many().map(|entry| match entry.text() {
            Some(path) if !path.starts_with(['/', '~']) => Node::string(moved(path), entry.place),
            _ => entry.clone(),
        });
        let value = Value::List(entries.collect());
        *node = Node { value, place };
    }
    if let Some(Value::List(list)) = service.get_mut("volumes").map(|node| &mut node.value) {
        for entry in list {
            if let Value::Map(long) = &mut entry.value {
                if let Some(source) = long.get_mut("source")
                    && let Some(path) = source.text().filter(|path| is_relative(path))
                {
                    *source = Node::string(moved(path), source.place);
                }
            } else if let Some((source, rest)) = entry.text().and_then(|text| text.split_once(':'))
                && is_relative(source)
            {
                *entry = Node::string(format!("{}:{rest}", moved(source)), entry.place);
            }
        }
    }
    service
}
