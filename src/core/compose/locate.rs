//! Finds the line of a compose file that a message of docker-compose refers to.

use std::collections::BTreeSet;

use super::{
    node::{Node, Value},
    yaml,
};

/// Finds the keys that a message names, as in `services.web.ports` or
/// `Service "web" … "ports"`. Returns how many nested keys it names, and
/// the line of the innermost; `None` if it names nothing in this text.
pub fn line_of_words(text: &str, words: &[&str]) -> Option<(usize, usize)> {
    let root = yaml::parse(text, 0).ok()?;
    let parts = words.iter().flat_map(|word| word.split('.'));
    let named: BTreeSet<&str> = words.iter().copied().chain(parts).collect();
    let mut best = None;
    let Value::Map(sections) = &root.value else {
        return None;
    };
    // A message that names a service may leave out `services`.
    for (section, node) in sections.iter() {
        let depth = usize::from(named.contains(section.name.as_str()));
        if depth > 0 {
            take(&mut best, depth, section.place.line);
        }
        descend(node, &named, depth, &mut best);
    }
    best
}

/// Counts the named keys on the path to each node; a value that is a path names itself.
fn descend(node: &Node, named: &BTreeSet<&str>, depth: usize, best: &mut Option<(usize, usize)>) {
    match &node.value {
        Value::Map(map) => {
            for (key, node) in map.iter() {
                let deeper = depth + usize::from(named.contains(key.name.as_str()));
                if deeper > depth {
                    take(best, deeper, key.place.line);
                }
                descend(node, named, deeper, best);
            }
        }
        Value::List(list) => {
            for node in list {
                descend(node, named, depth, best);
            }
        }
        _ => {
            let text = node.text().unwrap_or_default();
            if text.contains('/') && named.contains(text) {
                take(best, depth + 1, node.place.line);
            }
        }
    }
}

fn take(best: &mut Option<(usize, usize)>, depth: usize, line: usize) {
    if best.is_none_or(|(known, _)| depth > known) {
        *best = Some((depth, line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version: '2.4'\nservices:\n  web:\n    image: app\n    ports: 8080\n    env_file: [/a/b.env]\n  db:\n    image: db\n\
                        networks:\n  front:\n    driver: x\n";

    fn line(message: &str) -> Option<usize> {
        let words: Vec<&str> = message
            .split(|c: char| !(c.is_alphanumeric() || "._-/".contains(c)))
            .collect();
        line_of_words(TEXT, &words).map(|(_, line)| line)
    }

    #[test]
    fn a_message_is_located_at_the_innermost_key_that_it_names() {
        assert_eq!(line("services.web.ports contains an invalid type"), Some(5));
        assert_eq!(line("Couldn't find env file: /a/b.env"), Some(6));
        assert_eq!(line("Service 'db' depends on service 'x'"), Some(7));
        assert_eq!(line("networks.front.driver is wrong"), Some(11));
        assert_eq!(line("something else"), None);
    }
}
