//! Both answer questions the same.

use std::collections::BTreeSet;

use o3r_deploy::internal::observe::{Facts, Query, TreeQuery, contents, observe};
use serde_json::{Value, json};

use super::*;

const THERE: &[&str] = &[
    "config/a",
    "config/sub/it's b",
    "config/sub/c",
    "site/.env",
    ".o3r-deploy/started/app",
    ".o3r-deploy/previous/app/%added-.env",
    ".o3r-deploy/moved/0123",
    ".o3r-deploy/arriving/part",
    ".o3r-deploy/staging/new/0",
    "single",
];

/// Returns the facts that do not depend on the machine.
fn facts(facts: &Facts, home: &str) -> Value {
    let all = serde_json::to_value(facts).unwrap();
    let names = [
        "paths",
        "trees",
        "environment_files",
        "records",
        "projects",
        "arrived",
    ];
    let mut some = json!({});
    for name in names {
        some[name] = all[name].clone();
    }
    without_owners(&mut some);
    let text = some.to_string().replace(home, "~");
    serde_json::from_str(&text).unwrap()
}

/// Removes owners and mount points, which are this machine's.
fn without_owners(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in ["uid", "home_mount", "mount"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(without_owners);
        }
        Value::Array(values) => values.iter_mut().for_each(without_owners),
        _ => {}
    }
}

proptest! {
    #![proptest_config(config(6))]

    #[test]
    fn answers_are_the_same(
        there in tree(THERE),
        link in prop::option::of(prop::sample::select(vec!["config", "nowhere"])),
        all in any::<bool>(),
        size in 0..5_u64,
    ) {
        let mut there = there;
        if let Some(target) = link {
            there.insert("link".to_owned(), Node::Link(target.to_owned()));
        }
        there.insert(".o3r-deploy/releases/app.jsonl".to_owned(), Node::File(0o600, "{}\n{\"a\":1}\n".to_owned()));
        let names = [("", None), ("a", Some(size)), ("sub", None), ("sub/it's b", Some(4)), ("sub/none", Some(1))];
        let names = names.map(|(name, size)| (name.to_owned(), size));
        let tree = |target: &str| TreeQuery { target: target.to_owned(), all, names: names.clone().into() };
        let single = TreeQuery {
            target: "~/single".to_owned(),
            all: false,
            names: [(String::new(), Some(size))].into(),
        };
        let paths = ["~", "~/config", "~/config/a", "~/link", "~/none/x"];
        let query = Query {
            paths: paths.map(|path| (path.to_owned(), Some(size))).into(),
            environment_files: BTreeSet::from(["~/site/.env".to_owned()]),
            trees: vec![tree("~/config"), tree("~/none/deep"), tree("~/config/a/deep"), single],
            api_port: 1,
            ..Query::default()
        };
        run(async {
            for kind in o3r_testing::variants(KINDS, 1) {
                let both = Both::new(kind, &there);
                let real = observe(&both.sandbox.host, &query).await.unwrap();
                let memory = observe(&both.vpu, &query).await.unwrap();
                prop_assert_eq!(facts(&real.facts, &both.home), facts(&memory.facts, &both.home));
                let files = [both.at("config/a"), both.at("none"), both.at("site/.env")];
                for limit in [2, 100] {
                    let real = contents(&both.sandbox.host, &files, limit).await.unwrap();
                    prop_assert_eq!(real, contents(&both.vpu, &files, limit).await.unwrap());
                }
                both.same("questions")?;
            }
            Ok(())
        })?;
    }
}
