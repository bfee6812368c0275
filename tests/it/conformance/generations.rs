//! Releases that a VPU keeps: `keep_generation`, what `record_release` removes, `stage_kept`, `from_store`, and the questions `history`,
//! `show_generation`, `show_recorded` and `whole_files`.

use std::fmt::Write as _;

use o3r_deploy::internal::{
    digest::Digest,
    remote::{self, PreviousFile, State},
};

use super::*;

const THERE: &[&str] = &[
    "share/a",
    "share/sub/b c",
    "app/docker-compose.yml",
    ".o3r-deploy/store/new",
    ".o3r-deploy/generations/app/new",
];

/// What is on the VPU, and what a release says of it.
#[derive(Debug, Clone)]
enum Do {
    /// Keeps a release of these files, by number in [`THERE`], and others.
    Keep(Vec<usize>, u32),
    /// Changes a file.
    Write(usize, String),
    /// Stages the contents that were these, once.
    Stage(String),
    /// Writes a file from contents that are kept.
    Put(String),
}

fn commands() -> impl Strategy<Value = Do> {
    let files = || prop::collection::vec(0..3_usize, 0..3);
    prop_oneof![
        3 => (files(), 0..2_u32).prop_map(|(files, keep)| Do::Keep(files, keep)),
        2 => (0..3_usize, text()).prop_map(|(file, text)| Do::Write(file, text)),
        1 => text().prop_map(Do::Stage),
        1 => text().prop_map(Do::Put),
    ]
}

/// The text of a release that has these files with their present contents.
fn release(both: &Both, files: &[usize]) -> String {
    let mut text = String::new();
    let now = seen(&both.sandbox.home());
    for (directory, kind) in [("share", "t"), ("app", "p")] {
        let _ = writeln!(text, "{kind} {}", both.at(directory));
        for file in files {
            let path = THERE[*file];
            let Some(name) = path.strip_prefix(&format!("{directory}/")) else {
                continue;
            };
            let Some(Node::File(_, bytes)) = now.get(path) else {
                continue;
            };
            let sha256 = Digest::of(bytes).hex();
            let _ = writeln!(text, "f {sha256} 0644 {} {name}", bytes.len());
        }
    }
    let desired = Digest::of(&text);
    format!("{{\"format\":1,\"desired\":\"{desired}\"}}\n{text}")
}

proptest! {
    #![proptest_config(config(8))]

    #[test]
    fn releases_are_kept_the_same(
        there in tree(THERE),
        commands in prop::collection::vec(commands(), 1..7),
    ) {
        run(async {
            for kind in o3r_testing::variants(KINDS, 1) {
                let both = Both::new(kind, &there);
                for one in &commands {
                    step(&both, one).await?;
                }
                ask(&both).await?;
            }
            Ok(())
        })?;
    }
}

async fn step(both: &Both, one: &Do) -> TestCaseResult {
    let state = State { home: &both.home };
    match one {
        Do::Keep(files, keep) => {
            let text = release(both, files);
            let command = remote::keep_generation("app");
            both.run(&command, text.as_bytes()).await?;
            // Its first line has what the record has.
            let line = text.split_inclusive('\n').next().unwrap_or_default();
            let recording = remote::Recording {
                keep: *keep,
                stamp: Some((both.at("notes"), "{\"release\":\"app\"}".to_owned())),
                ..remote::Recording::default()
            };
            let record = remote::record_release(&state.history("app"), recording, []);
            both.run(&record, line.as_bytes()).await?;
        }
        Do::Write(file, text) => both.plant(THERE[*file], &Node::File(0o644, text.clone())),
        Do::Stage(text) => {
            let sha256 = Digest::of(text).hex();
            let list =
                format!("d 0755 0\nd 0700 0/sub\nf {sha256} 0640 0/sub/a b\nl 0/link\tsub\n");
            let command = remote::stage_kept(&state.staging(), &state.store());
            both.attempt(&command, list.as_bytes()).await?;
        }
        Do::Put(text) => {
            let sha256 = Digest::of(text);
            let (path, kept) = (
                both.at("put/file"),
                both.at(".o3r-deploy/previous/app/file"),
            );
            let put = remote::put_file(
                &path,
                (sha256, text.len() as u64),
                0o640,
                (&kept, PreviousFile::None),
                "",
            );
            let command = remote::from_store(&state.stored(&sha256), &put);
            both.attempt(&command, b"").await?;
        }
    }
    Ok(())
}

/// Both answer the questions about it the same.
async fn ask(both: &Both) -> TestCaseResult {
    let state = State { home: &both.home };
    let list = ["", "one\n", "two\n", "no end"].map(|text| {
        let sha256 = Digest::of(text);
        format!("{} {}\n", sha256.hex(), state.stored(&sha256))
    });
    let list = list.concat();
    let history = both.sandbox.run(&remote::history("w"), b"").await;
    let history = String::from_utf8_lossy(&history.stdout).into_owned();
    let header = history.split_once("\"desired\":\"").map(|(_, rest)| rest);
    let digest = header.and_then(|rest| rest.split_once('"')?.0.parse().ok());
    let digest = digest.unwrap_or(Digest::of("none"));
    let questions = [
        (remote::show_recorded("w", "app", &digest, false), ""),
        (remote::show_recorded("w", "app", &digest, true), ""),
        (
            remote::show_recorded("w", "app", &Digest::of("other"), true),
            "",
        ),
        (remote::history("w"), ""),
        (remote::show_generation("w", "app", 1), ""),
        (remote::whole_files("w"), list.as_str()),
    ];
    for (question, stdin) in questions {
        let real = both.sandbox.run(&question, stdin.as_bytes()).await;
        let memory = both.vpu.run(&question, Stdin::Bytes(stdin.into()));
        let memory = memory.await.unwrap();
        if real.success() {
            prop_assert_eq!(
                String::from_utf8_lossy(&real.stdout),
                String::from_utf8_lossy(&memory.stdout)
            );
        }
    }
    Ok(())
}
