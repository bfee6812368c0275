//! The records of a release and of its containers.

use o3r_deploy::internal::{
    digest::Digest,
    remote::{self, State},
};
use o3r_testing::vpu::{Container, Details};

use super::*;

const THERE: &[&str] = &[
    ".o3r-deploy/previous/app/.env",
    ".o3r-deploy/previous/other/.env",
    ".o3r-deploy/unfinished",
];

#[derive(Debug, Clone)]
enum Do {
    Release(u32),
    Recorded(u32),
    Started(&'static str),
    TakeOver(&'static str),
}

impl Do {
    fn command(&self, both: &Both) -> (Argv, Vec<u8>) {
        let state = State { home: &both.home };
        let history = state.history("app");
        let kept = [state.kept_directory("app")];
        let line = |number: u32| format!("{{\"version\":\"{number}\"}}\n").into_bytes();
        match self {
            // Without docker-compose's version, which the in-memory VPU does not note, and without
            // projects, whose containers would be asked of docker.
            Self::Release(number) => (
                remote::record_release(&history, remote::Recording::default(), kept),
                line(*number),
            ),
            Self::Recorded(number) => (remote::recorded(&history, kept), line(*number)),
            Self::Started(inputs) => (
                remote::record_started("app", &state.started("app")),
                inputs.as_bytes().to_vec(),
            ),
            Self::TakeOver(projects) => (
                remote::take_over(&state.taken("app")),
                projects.as_bytes().to_vec(),
            ),
        }
    }
}

fn commands() -> impl Strategy<Value = Do> {
    prop_oneof![
        2 => (0..3_u32).prop_map(Do::Release),
        2 => (0..3_u32).prop_map(Do::Recorded),
        1 => prop::sample::select(vec!["", "image 1\n", "image 1\nfile 2\n"]).prop_map(Do::Started),
        2 => prop::sample::select(vec!["", "web\n", "web\nlog\n"]).prop_map(Do::TakeOver),
    ]
}

pub(super) fn container(id: &str, name: &str) -> Container {
    Container {
        name: name.to_owned(),
        image: String::new(),
        status: "running".to_owned(),
        restart_policy: "no".to_owned(),
        project: "app".to_owned(),
        service: "main".to_owned(),
        working_dir: String::new(),
        volumes: [].into(),
        host_network: false,
        config_hash: Digest::of(id),
        made_from: [].into(),
        mounted: [].into(),
        details: Details::default(),
    }
}

proptest! {
    #![proptest_config(config(10))]

    #[test]
    fn records_are_the_same(
        there in tree(THERE),
        old_lines in prop::sample::select(vec![0_usize, 1, 50, 60]),
        // Whether each was renamed.
        containers in prop::collection::vec(any::<bool>(), 0..3),
        commands in prop::collection::vec(commands(), 1..6),
    ) {
        let mut there = there;
        if old_lines > 0 {
            let history = (0..old_lines).map(|number| format!("{{\"version\":\"old {number}\"}}\n"));
            let history = Node::File(0o600, history.collect());
            there.insert(".o3r-deploy/releases/app.jsonl".to_owned(), history);
        }
        run(async {
            for kind in o3r_testing::variants(KINDS, 1) {
                let both = Both::new(kind, &there);
                let mut list = String::new();
                for (number, is_aside) in containers.iter().enumerate() {
                    let id = format!("{number:064}");
                    let aside = if *is_aside { format!("{}_", &id[..12]) } else { String::new() };
                    let container = container(&id, &format!("{aside}app_main_{number}"));
                    let hash = container.config_hash.hex();
                    list.extend([&id, " ", &container.name, " ", &hash, "\n"]);
                    both.vpu.world(|world| world.containers.insert(id, container));
                }
                fs::write(both.sandbox.path().join("containers"), list).unwrap();
                for (command, stdin) in commands.iter().map(|one| one.command(&both)) {
                    both.run(&command, &stdin).await?;
                }
            }
            Ok(())
        })?;
    }
}
