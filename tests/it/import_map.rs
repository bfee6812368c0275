//! The imports between the folders of each crate: no folder
//! is in a cycle, and a new dependency shows in a diff.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

/// The folders and files at the top of a crate, and which of the others each imports.
type Map = BTreeMap<String, BTreeSet<String>>;

/// Folders below `src` that are separate crates.
const CRATES: [&str; 2] = ["core", "transfer"];

/// Returns the imports of the crate whose root is this
/// directory. Tests within modules may import anything.
fn map(root: &Path, others: &[&str]) -> Map {
    let mut map = Map::new();
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap();
        let Some((top, _)) = path.split_once(['/', '.']) else {
            continue;
        };
        let is_code = Path::new(path).extension().is_some_and(|end| end == "rs")
            && !path.ends_with("/tests.rs");
        if !is_code || others.contains(&top) || ["lib.rs", "main.rs"].contains(&path) {
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap();
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let imports = map.entry(top.to_owned()).or_default();
        for (at, word) in code.match_indices("crate::") {
            let rest = &code[at + word.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                imports.extend(heads(group));
            } else {
                imports.insert(head(rest));
            }
        }
        imports.remove(top);
    }
    map
}

/// Returns the first name of a path.
fn head(path: &str) -> String {
    let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
    path.chars().take_while(is_name).collect()
}

/// Returns the first names of the paths of a group, up to its closing brace.
fn heads(group: &str) -> BTreeSet<String> {
    let mut heads = BTreeSet::new();
    let (mut depth, mut begins) = (0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            c if c.is_whitespace() => {}
            _ if begins => {
                heads.insert(head(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    heads
}

/// Returns a folder that is imported by something that it imports, with the whole cycle.
fn cycle(map: &Map) -> Option<Vec<String>> {
    fn visit(map: &Map, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        let at = way.last().unwrap().clone();
        for next in map.get(&at).into_iter().flatten() {
            let is_closed = way.contains(next);
            if !is_closed && done.contains(next) {
                continue;
            }
            way.push(next.clone());
            if is_closed || visit(map, way, done) {
                return true;
            }
            way.pop();
        }
        done.insert(at);
        false
    }
    let mut done = BTreeSet::new();
    map.keys().find_map(|from| {
        let mut way = vec![from.clone()];
        visit(map, &mut way, &mut done).then_some(way)
    })
}

#[test]
fn no_folder_is_in_a_cycle_and_the_map_is_the_committed_one() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut text = String::new();
    for (name, root, others) in [
        ("o3r-core", src.join("core"), &[][..]),
        ("o3r-transfer", src.join("transfer"), &[]),
        ("o3r-deploy", src.clone(), &CRATES),
    ] {
        let mut map = map(&root, others);
        // A re-export of another crate at the root is not a folder of this one.
        let own: BTreeSet<String> = map.keys().cloned().collect();
        for imports in map.values_mut() {
            imports.retain(|import| own.contains(import));
        }
        assert_eq!(cycle(&map), None, "in {name}");
        let _ = writeln!(text, "{name}");
        for (folder, imports) in &map {
            let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
            let _ = writeln!(text, "  {folder}: {}", imports.join(" "));
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn cycles_are_found() {
    let map = |arrows: &[(&str, &str)]| {
        let mut map = Map::new();
        for (from, to) in arrows {
            map.entry((*from).to_owned())
                .or_default()
                .insert((*to).to_owned());
        }
        map
    };
    assert_eq!(cycle(&map(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    let found = cycle(&map(&[("a", "b"), ("b", "c"), ("c", "b")])).unwrap();
    assert_eq!(found, ["a", "b", "c", "b"]);
    let names = ["a", "b", "d"].map(str::to_owned);
    assert_eq!(heads("a::{x, y}, b,\n    d::E};"), BTreeSet::from(names));
}
