//! Answers queries about targets from an observation that may have been made for other targets.

use super::{HIDDEN_STAGING, LARGE, Node, Other, Probed, Tree, TreeQuery, Trees};

/// Selects from `found`, the answers to `asked`, those to `queries`. `unasked` is the reason for
/// targets that were not observed.
pub(super) fn answer(
    mut found: Trees,
    asked: &[TreeQuery],
    queries: &[TreeQuery],
    unasked: &str,
) -> Trees {
    if queries.is_empty() {
        return Trees::default();
    }
    let answers = queries.iter().map(|query| {
        let asked = asked.iter().find(|asked| asked.target == query.target);
        let answer = match (found.targets.remove(&query.target), asked) {
            (Some(Probed::Known(tree)), Some(asked)) => tree_for(tree, asked, query)
                .map_or_else(|| Probed::Unknown(unasked.to_owned()), Probed::Known),
            (Some(unknown @ Probed::Unknown(_)), _) => unknown,
            _ => Probed::Unknown(unasked.to_owned()),
        };
        (query.target.clone(), answer)
    });
    found.targets = answers.collect();
    let targets = &found.targets;
    found.left.retain(|left| {
        let place = left.strip_suffix(HIDDEN_STAGING);
        let place = place.map(|place| place.trim_end_matches('/'));
        place.is_none_or(|place| {
            targets.iter().any(|(target, tree)| {
                target == place || tree.known().is_none_or(|tree| tree.parent == place)
            })
        })
    });
    found
}

/// Reduces a tree to what a VPU would answer to `query`; `None` if `asked` did not cover that.
fn tree_for(mut tree: Tree, asked: &TreeQuery, query: &TreeQuery) -> Option<Tree> {
    if query.all && !asked.all {
        return None;
    }
    for (name, size) in &query.names {
        let size_then = asked.names.get(name)?;
        if name.is_empty() && size.is_none() != size_then.is_none() {
            // What a link points to is only probed for a directory.
            return None;
        }
        if let Some(Probed::Known(Node::File {
            size: bytes,
            sha256,
            ..
        })) = tree.nodes.get_mut(name)
        {
            match (hashes(*size, *bytes), hashes(*size_then, *bytes)) {
                (true, false) => return None,
                (true, true) => {}
                (false, _) => *sha256 = None,
            }
        }
    }
    if !query.all {
        tree.others.clear();
        tree.odd.clear();
    }
    let others = &mut tree.others;
    let mut is_told = true;
    tree.nodes.retain(|name, node| {
        let is_wanted = query.names.contains_key(name);
        if !is_wanted && query.all && !name.is_empty() {
            match other(node) {
                Some(other) => drop(others.insert(name.clone(), other)),
                None => is_told = false,
            }
        }
        is_wanted
    });
    is_told.then_some(tree)
}

/// Whether the script hashes a file of `bytes` if `size` is expected.
fn hashes(size: Option<u64>, bytes: u64) -> bool {
    size.is_some_and(|size| size == bytes || (size < LARGE && bytes <= LARGE))
}

/// Converts a node that is no longer expected.
fn other(node: &Probed<Node>) -> Option<Other> {
    Some(match node.known()? {
        Node::Directory {
            readable, writable, ..
        } => Other::Directory {
            readable: *readable,
            writable: *writable,
        },
        Node::File { .. } | Node::Symlink { .. } | Node::Special => Other::File,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{digest::Digest, facts::Access};

    const UNASKED: &str = "not looked at";

    fn query(all: bool, names: &[(&str, Option<u64>)]) -> TreeQuery {
        let names = names.iter().map(|(name, size)| ((*name).to_owned(), *size));
        TreeQuery {
            target: "~/t".into(),
            all,
            names: names.collect(),
        }
    }

    fn file(size: u64, hashed: bool) -> Probed<Node> {
        Probed::Known(Node::File {
            mode: 0o644,
            uid: 989,
            size,
            sha256: hashed.then(|| Digest::of(b"x")),
        })
    }

    /// A directory that has `a` and `large`, but not `gone`.
    fn found() -> Trees {
        let nodes = [("a", file(3, true)), ("large", file(LARGE * 2, false))];
        let tree = Tree {
            parent: "~/t".into(),
            access: Access::Full,
            mount: "/".into(),
            nodes: nodes.map(|(name, node)| (name.to_owned(), node)).into(),
            others: BTreeMap::from([("b".to_owned(), Other::File)]),
            odd: ["c\\n".to_owned()].into(),
        };
        Trees {
            home_mount: "/".into(),
            left: ["~/t/.o3r-staging".into(), "/mnt/.o3r-staging".into()].into(),
            targets: [("~/t".to_owned(), Probed::Known(tree))].into(),
        }
    }

    const NAMES: &[(&str, Option<u64>)] =
        &[("a", Some(3)), ("gone", Some(1)), ("large", Some(LARGE))];

    fn answered(asked: &[TreeQuery], query: &TreeQuery) -> Probed<Tree> {
        let queries = std::slice::from_ref(query);
        let mut trees = answer(found(), asked, queries, UNASKED);
        trees.targets.remove("~/t").unwrap()
    }

    #[test]
    fn a_target_that_was_not_queried_is_unknown() {
        let unknown = Probed::Unknown(UNASKED.to_owned());
        let some = query(false, NAMES);
        assert_eq!(answered(&[], &some), unknown);
        for now in [
            query(true, NAMES),
            query(false, &[("a", Some(3)), ("new", Some(3))]),
            query(false, &[("large", Some(LARGE * 2))]),
        ] {
            let asked = std::slice::from_ref(&some);
            assert_eq!(answered(asked, &now), unknown, "{now:?}");
        }
    }

    #[test]
    fn a_queried_target_is_answered_as_by_a_vpu() {
        let asked = [query(true, NAMES)];
        let same = answer(found(), &asked, &asked, UNASKED);
        assert_eq!(same.targets, found().targets);
        assert_eq!(same.left, ["~/t/.o3r-staging".to_owned()].into());

        let fewer = answered(&asked, &query(true, &[("a", Some(3))]));
        let others = ["b", "large"].map(|name| (name.to_owned(), Other::File));
        assert_eq!(fewer.known().unwrap().others, others.into());

        let Probed::Known(tree) = answered(&asked, &query(false, &[("a", Some(LARGE))])) else {
            unreachable!("it was asked")
        };
        assert_eq!(tree.nodes, [("a".to_owned(), file(3, false))].into());
        assert!(tree.others.is_empty() && tree.odd.is_empty());
        assert_eq!(answer(found(), &asked, &[], UNASKED), Trees::default());
    }
}
