//! Finds what a release put at a target and no longer declares: what goes, and what somebody changed and stays.

use super::neighbours::Protected;
use crate::{
    desired::Transfer,
    facts::{Access, Former, Node, Probed, Tree},
    names::is_within,
};

/// What is no longer declared, by path below the target.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Gone<'a> {
    /// Files and links to remove.
    pub(super) files: Vec<&'a str>,
    /// Directories to remove where they are empty then, with their permissions.
    pub(super) directories: Vec<(u32, &'a str)>,
    /// What was changed on the VPU, or cannot be removed by this user.
    pub(super) stays: Vec<&'a str>,
}

impl<'a> Gone<'a> {
    /// Compares what the release put there with what is there. `uid` is this user, `prune` also removes what was changed.
    pub(super) fn new(
        transfer: &'a Transfer,
        tree: &'a Tree,
        protected: &Protected,
        (uid, prune): (u32, bool),
    ) -> Self {
        let mut gone = Self::default();
        for (name, former) in &transfer.gone {
            let stays = match tree.nodes.get(name) {
                _ if transfer.entries.contains_key(name) => continue,
                _ if protected.keeps(name) || protected.leads(name) => continue,
                _ if !leads_through_directories(tree, name) => continue,
                None | Some(Probed::Known(Node::Special)) => continue,
                Some(Probed::Unknown(_)) => true,
                Some(Probed::Known(Node::Directory {
                    mode, uid: owner, ..
                })) => {
                    if *former == Former::Directory && *owner == uid {
                        gone.directories.push((*mode, name));
                    }
                    continue;
                }
                Some(Probed::Known(node)) => {
                    !(prune || is_as_recorded(former, node)) || !can_remove(tree, name)
                }
            };
            if stays {
                gone.stays.push(name);
            } else {
                gone.files.push(name);
            }
        }
        // Directories from which nothing goes are not ours to remove.
        let loses = |name: &str| gone.files.iter().any(|file| is_within(file, name));
        gone.directories.retain(|(_, name)| {
            loses(name) && !gone.stays.iter().any(|file| is_within(file, name))
        });
        gone
    }
}

/// Whether all that leads to the path below the target is a directory: a link leads elsewhere.
fn leads_through_directories(tree: &Tree, name: &str) -> bool {
    let above = camino::Utf8Path::new(name).ancestors().skip(1);
    let mut above = above.filter_map(|path| tree.nodes.get(path.as_str()));
    above.all(|node| matches!(node, Probed::Known(Node::Directory { .. })))
}

fn is_as_recorded(former: &Former, node: &Node) -> bool {
    match (former, node) {
        (Former::File { sha256, .. }, Node::File { sha256: found, .. }) => *found == Some(*sha256),
        (Former::Symlink { target }, Node::Symlink { target: found, .. }) => target == found,
        _ => false,
    }
}

/// Whether this user can change the directory that has the entry.
fn can_remove(tree: &Tree, name: &str) -> bool {
    let above = name.rsplit_once('/').map_or("", |(above, _)| above);
    match tree.nodes.get(above) {
        Some(Probed::Known(Node::Directory { writable, .. })) if !name.is_empty() => *writable,
        _ => tree.access == Access::Full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{digest::Digest, exclude::Exclude};

    const UID: u32 = 989;

    fn recorded(content: &str) -> Former {
        Former::File {
            sha256: Digest::of(content),
            bytes: 1,
        }
    }

    fn file(content: &str) -> Node {
        Node::File {
            mode: 0o644,
            uid: UID,
            size: 1,
            sha256: Some(Digest::of(content)),
        }
    }

    fn directory(uid: u32, writable: bool) -> Node {
        Node::Directory {
            mode: 0o750,
            uid,
            readable: true,
            writable,
        }
    }

    fn link(target: &str) -> Node {
        Node::Symlink {
            target: target.to_owned(),
            uid: UID,
        }
    }

    /// Describes what goes and what stays.
    fn gone(entries: &[(&str, Former, Option<Node>)], prune: bool) -> String {
        let transfer = Transfer {
            target: "~/share".parse().unwrap(),
            entries: [].into(),
            delete: false,
            exclude: Exclude::default(),
            gone: entries
                .iter()
                .map(|(name, former, _)| ((*name).to_owned(), former.clone()))
                .collect(),
            restart: vec![],
            source: None,
        };
        let nodes = entries
            .iter()
            .filter_map(|(name, _, node)| Some(((*name).to_owned(), Probed::Known(node.clone()?))));
        let tree = Tree {
            parent: "~/share".to_owned(),
            access: Access::Full,
            mount: "/".to_owned(),
            nodes: nodes.collect(),
            others: [].into(),
            odd: [].into(),
        };
        let gone = Gone::new(&transfer, &tree, &Protected::default(), (UID, prune));
        let directories = gone
            .directories
            .iter()
            .map(|(mode, name)| format!("{name}/ {mode:o}"));
        let directories: Vec<String> = directories.collect();
        format!(
            "{} | {} | {}",
            gone.files.join(" "),
            directories.join(" "),
            gone.stays.join(" ")
        )
    }

    #[test]
    fn what_nobody_changed_goes_with_the_directories_that_are_empty_then() {
        let entries = [
            ("", Former::Directory, Some(directory(UID, true))),
            ("conf", Former::Directory, Some(directory(UID, true))),
            ("conf/a", recorded("a"), Some(file("a"))),
            ("missing", recorded("a"), None),
            (
                "link",
                Former::Symlink {
                    target: "conf".into(),
                },
                Some(link("conf")),
            ),
            ("theirs", Former::Directory, Some(directory(0, true))),
            ("theirs/a", recorded("a"), Some(file("a"))),
        ];
        assert_eq!(
            gone(&entries, false),
            "conf/a link theirs/a | / 750 conf/ 750 | "
        );
    }

    #[test]
    fn what_was_changed_stays_unless_it_is_pruned() {
        let entries = [
            ("", Former::Directory, Some(directory(UID, true))),
            ("conf", Former::Directory, Some(directory(UID, true))),
            ("conf/a", recorded("a"), Some(file("b"))),
            ("b", recorded("b"), Some(link("b"))),
            ("c", recorded("c"), Some(directory(UID, true))),
            ("other", Former::Directory, Some(directory(UID, true))),
            ("other/a", recorded("a"), Some(file("a"))),
        ];
        assert_eq!(gone(&entries, false), "other/a | other/ 750 | b conf/a");
        assert_eq!(
            gone(&entries, true),
            "b conf/a other/a | / 750 conf/ 750 other/ 750 | "
        );
    }

    #[test]
    fn what_a_link_leads_to_is_not_ours() {
        let entries = [
            ("conf", Former::Directory, Some(link("/etc"))),
            ("conf/a", recorded("a"), Some(file("a"))),
        ];
        assert_eq!(gone(&entries, false), " |  | conf");
    }

    #[test]
    fn what_this_user_cannot_remove_stays() {
        let entries = [
            ("conf", Former::Directory, Some(directory(0, false))),
            ("conf/a", recorded("a"), Some(file("a"))),
        ];
        assert_eq!(gone(&entries, true), " |  | conf/a");
    }
}
