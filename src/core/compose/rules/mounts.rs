//! Rules about a service's mounts.

use super::{Firsts, Rules};
use crate::compose::{
    Place,
    node::{Map, Node, Value},
};

/// A mount as docker-compose splits it.
struct Mount {
    /// The path in the container.
    target: String,
    /// The volume that it names.
    volume: Option<String>,
    place: Place,
}

pub(super) fn check(rules: &mut Rules<'_>, name: &str, service: &Map) {
    let mut targets = Firsts::new();
    let entries = service.get("volumes").into_iter().flat_map(Node::elements);
    for entry in entries {
        let mount = match &entry.value {
            Value::String(text) => short(rules, name, text, entry.place),
            Value::Map(map) => long(rules, name, map, entry.place),
            _ => None,
        };
        let Some(mount) = mount else { continue };
        if targets.insert(mount.target.clone(), mount.place).is_some() {
            let message = format!("mounts two things at `{}` in `{name}`", mount.target);
            rules.refuse(mount.place, message, "give one of them another target");
        }
        if let Some(volume) = mount.volume {
            declared(rules, name, &volume, mount.place);
        }
    }
}

fn declared(rules: &mut Rules<'_>, name: &str, volume: &str, place: Place) {
    if rules
        .root
        .get("volumes")
        .and_then(Node::as_map)
        .is_some_and(|volumes| volumes.get(volume).is_some())
    {
        return;
    }
    let message = format!("mounts the volume `{volume}` into `{name}`, which it does not declare");
    let help = if volume.contains('/') {
        format!("write `./{volume}` for a path beside the compose file")
    } else {
        rules.declare("volumes", volume, "{}")
    };
    rules.refuse(place, message, help);
}

/// Normalises a path like Python's `os.path.normpath`.
fn normal(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let parts = crate::compose::project::joined("", path.trim_start_matches('/'));
    match (is_absolute, parts.is_empty()) {
        (true, _) => format!("/{parts}"),
        (false, true) => ".".to_owned(),
        (false, false) => parts,
    }
}

fn short(rules: &mut Rules<'_>, name: &str, text: &str, place: Place) -> Option<Mount> {
    const HELP: &str = "write `SOURCE:TARGET` or `SOURCE:TARGET:ro`";
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [target] => (None, *target, None),
        [source, target] => (Some(*source), *target, None),
        [source, target, mode] => (Some(*source), *target, Some(*mode)),
        _ => {
            let message = format!("mounts `{text}` into `{name}`, which has too many `:`");
            rules.refuse(place, message, HELP);
            return None;
        }
    };
    if let Some(word) = mode.filter(|mode| !mode.is_empty()).and_then(unknown_mode) {
        let message = format!("mounts `{text}` into `{name}`, and `{word}` is not a mode");
        rules.refuse_at_start(place, message, "write `ro` or `rw`");
    }
    if !target.starts_with('/') {
        let message =
            format!("mounts `{text}` into `{name}`, whose target is not an absolute path");
        rules.refuse_at_start(place, message, HELP);
    }
    let volume = source.filter(|source| !source.is_empty());
    let volume = volume.filter(|source| !source.starts_with(['.', '/', '~']));
    Some(Mount {
        target: normal(target),
        volume: volume.map(normal),
        place,
    })
}

fn long(rules: &mut Rules<'_>, name: &str, map: &Map, place: Place) -> Option<Mount> {
    let text = |key: &str| map.get(key).and_then(Node::text);
    let kind = text("type").unwrap_or_default();
    let source = text("source").filter(|source| !source.is_empty());
    if kind == "tmpfs" && source.is_some() {
        let message = format!("gives a tmpfs of `{name}` a source");
        rules.refuse(place, message, "remove `source:`");
    }
    if !matches!(kind, "volume" | "bind" | "tmpfs" | "npipe" | "") {
        let message = format!("mounts something of the type `{kind}` into `{name}`");
        rules.refuse_at_start(place, message, "write `bind`, `volume` or `tmpfs`");
    }
    if kind == "bind" && source.is_none() {
        let message = format!("mounts a directory into `{name}` without saying which");
        rules.refuse_at_start(place, message, "add `source:`");
    }
    let volume = source.filter(|_| kind == "volume").map(normal);
    let Some(target) = text("target") else {
        let message = format!("mounts something into `{name}` without saying where");
        rules.refuse_at_start(place, message, "add `target:`");
        return None;
    };
    Some(Mount {
        target: normal(target),
        volume,
        place,
    })
}

/// Returns a word of a mount's mode that docker does not know.
fn unknown_mode(mode: &str) -> Option<&str> {
    mode.split(',').find(|word| {
        !matches!(
            *word,
            "ro" | "rw"
                | "z"
                | "Z"
                | "nocopy"
                | "consistent"
                | "cached"
                | "delegated"
                | "private"
                | "rprivate"
                | "shared"
                | "rshared"
                | "slave"
                | "rslave"
        )
    })
}
