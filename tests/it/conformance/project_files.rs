//! A project's files: put, removed, restored and set aside,
//! from any state that an earlier apply left.

use o3r_deploy::internal::{
    digest::Digest,
    remote::{self, PreviousFile, State},
};

use super::*;

/// Paths below the project's directory.
const FILES: &[&str] = &["docker-compose.yml", ".env", "conf/deep/it's a file"];

const THERE: &[&str] = &[
    "project/docker-compose.yml",
    "project/.env",
    "project/conf/deep/it's a file",
    "project/conf/theirs",
    ".o3r-deploy/previous/app/docker-compose.yml",
    ".o3r-deploy/previous/app/.env",
    ".o3r-deploy/previous/app/conf%2Fdeep%2Fit's a file",
    ".o3r-deploy/previous/app/%added-.env",
];

const RECORD: &str = ".o3r-deploy/started/app";
const ASIDE: &str = ".o3r-deploy/previous/app/%started";
const ASIDE_SINCE: &str = ".o3r-deploy/previous/app/%boot";

#[derive(Debug, Clone)]
enum Do {
    Put(usize, String, u32, Previous),
    /// The payload is not the planned one.
    PutCut(usize, String, Previous),
    Remove(usize, Previous),
    Restore(usize, Previous),
    SetAside(usize, &'static str),
    RemoveFiles(Vec<usize>),
    RemovePaths(usize),
    MakeDirectory(&'static str),
    ChangeMode(&'static str, u32),
    Restored,
}

/// The previous release's file.
#[derive(Debug, Clone)]
enum Previous {
    Is(String),
    None,
    Whatever,
}

impl Previous {
    fn file(&self) -> PreviousFile {
        match self {
            Self::Is(text) => PreviousFile::Is(Digest::of(text)),
            Self::None => PreviousFile::None,
            Self::Whatever => PreviousFile::Whatever,
        }
    }
}

impl Do {
    fn command(&self, both: &Both) -> (Argv, Vec<u8>) {
        let path = |file: usize| both.at(&format!("project/{}", FILES[file]));
        let state = State { home: &both.home };
        let kept = |file: usize| state.kept("app", FILES[file]);
        let (record, project) = (both.at(RECORD), both.at("project"));
        let put = |file, text: &str, mode, previous: &Previous| {
            let contents = (Digest::of(text), text.len() as u64);
            let kept = kept(file);
            let kept = (kept.as_str(), previous.file());
            remote::put_file(&path(file), contents, mode, kept, &record)
        };
        let command = match self {
            Self::Put(file, text, mode, previous) => {
                return (put(*file, text, *mode, previous), text.clone().into());
            }
            Self::PutCut(file, text, previous) => {
                let planned = format!("{text} and more");
                return (
                    put(*file, &planned, 0o644, previous),
                    text.clone().into_bytes(),
                );
            }
            Self::Remove(file, previous) => {
                let kept = kept(*file);
                let kept = (kept.as_str(), previous.file());
                remote::remove_file(&path(*file), kept, &record, &project)
            }
            Self::Restore(file, previous) => {
                let kept = kept(*file);
                let (kept, stored) = ((kept.as_str(), previous.file()), both.at("stored"));
                remote::restore_file(&path(*file), kept, &record, &project, (&stored, 0o640))
            }
            Self::SetAside(file, verb) => remote::set_aside(verb, &path(*file), &record),
            Self::RemoveFiles(files) => {
                remote::remove_files(&project, files.iter().map(|file| path(*file)))
            }
            Self::RemovePaths(file) => remote::remove_paths([path(*file), both.at("nowhere")]),
            Self::MakeDirectory(name) => remote::make_directory(&both.at(name)),
            Self::ChangeMode(name, mode) => remote::change_mode(&both.at(name), *mode),
            Self::Restored => remote::restored([state.kept_directory("app")]),
        };
        (command, vec![])
    }
}

fn commands() -> impl Strategy<Value = Do> {
    let file = || 0..FILES.len();
    let previous = || {
        prop_oneof![
            3 => text().prop_map(Previous::Is),
            1 => Just(Previous::None),
            1 => Just(Previous::Whatever),
        ]
    };
    let name = || {
        prop::sample::select(vec![
            "project",
            "project/conf",
            "data/new",
            "project/.env/below",
        ])
    };
    prop_oneof![
        4 => (file(), text(), mode(), previous()).prop_map(|(f, t, m, p)| Do::Put(f, t, m, p)),
        1 => (file(), text(), previous()).prop_map(|(f, t, p)| Do::PutCut(f, t, p)),
        2 => (file(), previous()).prop_map(|(f, p)| Do::Remove(f, p)),
        4 => (file(), previous()).prop_map(|(f, p)| Do::Restore(f, p)),
        2 => (file(), prop::sample::select(vec!["do", "undo"])).prop_map(|(f, v)| Do::SetAside(f, v)),
        1 => prop::collection::vec(file(), 0..3).prop_map(Do::RemoveFiles),
        1 => file().prop_map(Do::RemovePaths),
        1 => name().prop_map(Do::MakeDirectory),
        1 => (name(), prop::sample::select(vec![0o755, 0o750, 0o700])).prop_map(|(n, m)| Do::ChangeMode(n, m)),
        1 => mode().prop_map(|mode| Do::ChangeMode("project/.env", mode)),
        1 => Just(Do::Restored),
    ]
}

/// The record of started containers, if any.
fn record() -> impl Strategy<Value = Option<String>> {
    prop::option::of(boot().prop_map(|boot| format!("image 1\nboot {boot}\n")))
}

/// This boot or another one.
fn boot() -> impl Strategy<Value = String> {
    prop_oneof![Just(boot_id()), Just("another".to_owned())]
}

/// The boot in which the record was set aside, if it is noted.
fn since() -> impl Strategy<Value = Option<String>> {
    prop::option::of(boot().prop_map(|boot| format!("{boot}\n")))
}

proptest! {
    #![proptest_config(config(14))]

    #[test]
    fn projects_files_are_the_same(
        there in tree(THERE),
        (record, aside, since) in (record(), record(), since()),
        commands in prop::collection::vec(commands(), 1..7),
        together in any::<bool>(),
    ) {
        let mut there = there;
        let records = [(RECORD, record), (ASIDE, aside), (ASIDE_SINCE, since)];
        let records = records.into_iter().filter_map(|(path, text)| Some((path, text?)));
        there.extend(records.map(|(path, text)| (path.to_owned(), Node::File(0o600, text))));
        run(async {
            for kind in o3r_testing::variants(KINDS, 1) {
                let both = Both::new(kind, &there);
                let commands: Vec<_> = commands.iter().map(|one| one.command(&both)).collect();
                for (command, stdin) in &commands {
                    both.run(command, stdin).await?;
                }
                if together {
                    let all: Vec<Argv> = commands.into_iter().map(|(command, _)| command).collect();
                    both.run(&remote::in_turn(&all), b"").await?;
                }
            }
            Ok(())
        })?;
    }
}
