//! Tests of how the parts of a transfer's plan fit together.

use std::collections::BTreeMap;

use super::*;
use crate::{
    desired::FileEntry,
    exclude::Exclude,
    facts::{Access, Node, Records, Tree},
    offers::Offers,
    testing,
};

#[test]
fn what_applies_that_were_cut_off_left_is_removed() {
    let desired = testing::desired(vec![]);
    let mut observed = testing::observed();
    observed.facts.trees.left = ["/home/oem/old", "/home/oem/used"]
        .map(str::to_owned)
        .into();
    let offers = Offers::default();
    let removed = |cleared: &[&str]| {
        let mut builder = Builder::new(&desired, &observed, &offers);
        let cleared: Vec<String> = cleared.iter().map(|path| (*path).to_owned()).collect();
        leftovers(&mut builder, &cleared.iter().collect());
        let steps = builder.finish("host").steps;
        let actions = steps.into_iter().flat_map(|step| step.actions);
        actions.collect::<Vec<_>>()
    };
    let old = remote::remove_paths(["/home/oem/old".to_owned()]);
    assert_eq!(removed(&["/home/oem/used"]), [Command::new(old)]);
    assert_eq!(removed(&["/home/oem/used", "/home/oem/old"]), []);
}

#[test]
fn files_that_are_on_their_way_show_an_apply_that_was_cut_off() {
    let desired = testing::desired(vec![]);
    let offers = Offers::default();
    let is_cut_off = |moved: &[&str]| {
        let mut observed = testing::observed();
        observed.facts.records = Probed::Known(Records {
            moved: moved.iter().map(|mark| (*mark).to_owned()).collect(),
            ..Records::default()
        });
        cut_off(&Builder::new(&desired, &observed, &offers))
    };
    assert!(is_cut_off(&["0123456789ab"]));
    assert!(!is_cut_off(&[]));
}

#[test]
fn what_a_plan_stages_is_cleaned_up() {
    let (desired, observed) = (testing::desired(vec![]), testing::observed());
    let offers = Offers::default();
    let steps = |used: &[&str]| {
        let mut builder = Builder::new(&desired, &observed, &offers);
        let used = used.iter().map(|path| (*path).to_owned()).collect();
        clean(&mut builder, used);
        builder.finish("host").steps.len()
    };
    assert_eq!(steps(&[]), 0);
    assert_eq!(steps(&["/home/oem/staging"]), 1);
}

fn transfer(target: &str, secret: bool) -> Transfer {
    let entry = FileEntry {
        local: "a".into(),
        sha256: Digest::of(b"a"),
        bytes: 1,
        mode: 0o644,
        secret,
    };
    Transfer {
        target: target.parse().unwrap(),
        entries: [("a".to_owned(), Entry::File(entry))].into(),
        delete: false,
        exclude: Exclude::default(),
        gone: [].into(),
        restart: vec![],
        source: None,
    }
}

/// What a plan stages in, and whether it removes what was left at `left`; of transfers by their mounts.
fn staged(transfers: [(Transfer, &str); 2], left: &[String]) -> (BTreeSet<String>, bool) {
    let trees = transfers.iter().map(|(transfer, mount)| {
        let tree = Tree {
            parent: transfer.name(),
            access: Access::Full,
            mount: (*mount).to_owned(),
            nodes: [].into(),
            others: [].into(),
            odd: [].into(),
        };
        (transfer.name(), Probed::Known(tree))
    });
    let mut observed = testing::observed();
    observed.facts.trees.targets = trees.collect();
    observed.facts.trees.left = left.iter().cloned().collect();
    let mut desired = testing::desired(vec![]);
    desired.transfers = transfers
        .into_iter()
        .map(|(transfer, _)| transfer)
        .collect();
    let offers = Offers::default();
    let mut builder = Builder::new(&desired, &observed, &offers);
    let mut used = plan(&mut builder);
    used.remove(&builder.state().moved());
    let leftovers = Address::new(ResourceKind::Staging, "leftovers");
    (used, builder.changes(&leftovers))
}

#[test]
fn files_are_staged_on_the_file_system_that_they_are_for() {
    let pair = |second| {
        [
            (transfer("~/a", false), "/"),
            (transfer("/data/b", false), second),
        ]
    };
    assert_eq!(staged(pair("/"), &[]).0.len(), 1);
    assert_eq!(staged(pair("/data"), &[]).0.len(), 2);
}

#[test]
fn what_was_left_where_an_archive_is_unpacked_goes_with_it() {
    let pair = |secret| ["~/a", "~/b"].map(|target| (transfer(target, secret), "/"));
    let staging: Vec<String> = staged(pair(false), &[]).0.into_iter().collect();
    assert!(!staged(pair(false), &staging).1);
    assert!(staged(pair(true), &staging).1, "secrets have no archive");
}

#[test]
fn files_are_moved_in_place_after_they_arrived() {
    let (desired, observed) = (testing::desired(vec![]), testing::observed());
    let offers = Offers::default();
    let transfer = transfer("~/share", false);
    let waits = |members: &[&str], secrets: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let change = Change {
            path: "a".into(),
            change: ChangeKind::Changed,
            found: None,
            wanted: None,
        };
        let one = Planned {
            number: 0,
            transfer: &transfer,
            diff: Diff {
                changes: vec![change],
                members: names(members),
                secrets: names(secrets),
                ..Diff::default()
            },
            patched: vec![],
            staging: "/home/oem/staging".into(),
            mount: "/",
        };
        let mut builder = Builder::new(&desired, &observed, &offers);
        switch(&mut builder, &one);
        let step = builder.finish("host").steps.pop().unwrap();
        step.depends_on.contains(&upload_address())
    };
    assert!(waits(&["a"], &[]));
    assert!(waits(&[], &["a"]));
    assert!(waits(&["directory"], &[]));
    assert!(!waits(&[], &[]));
}

#[test]
fn a_file_replaces_a_directory_below_the_target_where_deletion_is_allowed() {
    let is_blocked = |delete: bool, name: &str| {
        let mut transfer = transfer("~/share", false);
        let entry = transfer.entries.remove("a").unwrap();
        transfer.entries.insert(name.to_owned(), entry);
        transfer.delete = delete;
        let directory = Node::Directory {
            mode: 0o755,
            uid: testing::observed().facts.system.uid,
            readable: true,
            writable: true,
        };
        let there = ["", name].map(|name| (name.to_owned(), Probed::Known(directory.clone())));
        let tree = Tree {
            parent: transfer.name(),
            access: Access::Full,
            mount: "/".into(),
            nodes: there.into(),
            others: [].into(),
            odd: [].into(),
        };
        let mut observed = testing::observed();
        let target = (transfer.name(), Probed::Known(tree));
        observed.facts.trees.targets = [target].into();
        let mut desired = testing::desired(vec![]);
        desired.transfers = vec![transfer];
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        plan(&mut builder);
        !builder.finish("host").blocked.is_empty()
    };
    assert!(is_blocked(false, "a"));
    assert!(!is_blocked(true, "a"));
    assert!(is_blocked(true, ""), "the target itself stays");
}

#[test]
fn what_the_deployed_release_transferred_is_noted_if_it_is_unknown_or_kept() {
    let noted = |orphans: Orphans, is_unknown: bool| {
        let mut desired = testing::desired(vec![]);
        desired.orphans = orphans;
        let mut observed = testing::observed();
        observed.facts.undeclared.unknown = is_unknown.then(|| "why".to_owned());
        let transfers = &mut observed.facts.undeclared.transfers;
        transfers.insert("~/models".to_owned(), BTreeMap::new());
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        plan(&mut builder);
        let plan = builder.finish("host");
        let notes = plan.notes.iter().map(|note| note.code);
        (notes.collect::<Vec<_>>(), plan.unmanaged.len())
    };
    assert_eq!(noted(Orphans::Remove, false), (vec![], 0));
    assert_eq!(noted(Orphans::Keep, false), (vec![], 1));
    let unknown = vec![NoteCode::FormerFilesUnknown];
    assert_eq!(noted(Orphans::Remove, true), (unknown, 0));
}
