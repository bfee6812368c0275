//! Transfers: real plans stage (`stage_files`), move
//! (`move_files`) and undo, each command perhaps twice.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use o3r_deploy::internal::{
    desired::Desired,
    digest::Digest,
    image::LayerCache,
    manifest,
    observe::{Former, observe},
    offers::Offers,
    plan::{self, Command},
    prepare::{Payloads, unprepared},
    resolve::{LocalImages, resolve},
};

use super::*;

const TARGET: &str = "share/config";

/// Paths on this machine and on the VPU, below the transferred directory.
const NAMES: &[&str] = &[
    "a",
    "b",
    "sub/c",
    "sub/d",
    "sub/deep/e",
    "new/it's f",
    "swap",
    "swap/g",
];

const RECORD: &str = ".o3r-deploy/started/app";

/// Files and links; a path below one that is not a directory is left out.
fn some_tree() -> impl Strategy<Value = Tree> {
    let link = prop::sample::select(vec!["a", "nowhere"]);
    let node = prop_oneof![
        5 => (mode(), text()).prop_map(|(mode, text)| Node::File(mode, text)),
        1 => link.prop_map(|target| Node::Link(target.to_owned())),
        1 => prop::sample::select(vec![0o755, 0o750]).prop_map(Node::Directory),
    ];
    let some = prop::collection::vec(prop::option::of(node), NAMES.len());
    some.prop_map(|nodes| {
        let mut tree = Tree::new();
        for (name, node) in NAMES.iter().zip(nodes) {
            let above = name.rsplit_once('/').and_then(|(above, _)| tree.get(above));
            if let Some(node) = node
                && matches!(above, None | Some(Node::Directory(_)))
            {
                tree.insert((*name).to_owned(), node);
            }
        }
        tree
    })
}

/// What happens to a plan's commands.
#[derive(Debug, Clone)]
struct Course {
    /// The number of commands that run, if there are as many.
    run: usize,
    /// Which of them run twice.
    twice: Vec<bool>,
    /// Whether the commands that ran are undone, and whether twice.
    back: Option<bool>,
    /// Whether half of the first one's payload is lost.
    cut: bool,
}

fn course() -> impl Strategy<Value = Course> {
    let twice = prop::collection::vec(any::<bool>(), 8);
    (
        1..9_usize,
        twice,
        any::<Option<bool>>(),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(run, twice, back, cut)| Course {
            run,
            twice,
            back,
            cut,
        })
}

fn desired(site: &Path, delete: bool) -> Desired {
    let text = format!(
        "[release]\nname = \"app\"\nversion = \"1\"\n\
         [[directories]]\npath = \"~/data\"\nmode = \"0750\"\n\
         [[transfers]]\nsrc = \"config/\"\ndst = \"~/{TARGET}\"\ndelete = {delete}\n\
         [[transfers]]\nsrc = \"one\"\ndst = \"~/share/single\"\nmode = \"0600\"\n"
    );
    fs::write(site.join("deploy.toml"), text).unwrap();
    let path = Utf8PathBuf::from_path_buf(site.join("deploy.toml")).unwrap();
    let loaded = manifest::load(&path).unwrap();
    let cache = LayerCache::new(path.parent().unwrap().join("scratch"));
    resolve(&loaded, &cache).unwrap().desired
}

/// The node as an earlier release has it.
fn former(node: &Node) -> Former {
    match node {
        Node::File(_, text) => Former::File {
            sha256: Digest::of(text),
            bytes: text.len() as u64,
        },
        Node::Link(target) => Former::Symlink {
            target: target.clone(),
        },
        Node::Directory(_) => Former::Directory,
    }
}

/// Returns the payload of a command.
fn stdin(payloads: &Payloads, command: &Command) -> Vec<u8> {
    let mut bytes = vec![];
    if let Some(payload) = &command.stdin {
        payloads.open(payload, |_| {}).unwrap()(&mut bytes).unwrap();
    }
    bytes
}

/// Adds a record that the moves remove and restore, as for a project that uses the moved files.
fn with_record(both: &Both, command: &Command) -> Argv {
    let argv = command.argv.clone();
    if argv.script_name() == Some("o3r-move-files") {
        return argv.arg(both.at(RECORD));
    }
    argv
}

async fn follow(both: &Both, desired: &Desired, course: &Course) -> TestCaseResult {
    let payloads = unprepared(desired, &LocalImages::default()).payloads;
    let mut observed = observe(&both.sandbox.host, &desired.query()).await.unwrap();
    // Independent of the machine that runs the tests.
    observed.facts.system.arch = "arm64".into();
    let plan = plan::plan(desired, &observed, &Offers::default(), "here");
    let steps = || plan.steps.iter().filter(|step| !step.is_record());
    let mut cut = course.cut;
    let mut undo = vec![];
    'steps: for (step, twice) in steps().zip(&course.twice).take(course.run) {
        undo.push(&step.undo);
        for command in &step.actions {
            let argv = with_record(both, command);
            let mut bytes = stdin(&payloads, command);
            if cut && !bytes.is_empty() {
                bytes.truncate(bytes.len() / 2);
                cut = false;
            }
            for _ in 0..=usize::from(*twice) {
                // An apply ends at this point as well.
                if !both.run(&argv, &bytes).await?.success() {
                    break 'steps;
                }
            }
        }
    }
    let Some(twice) = course.back else {
        return Ok(());
    };
    for command in undo.into_iter().rev().flatten() {
        for _ in 0..=usize::from(twice) {
            both.run(&with_record(both, command), &stdin(&payloads, command))
                .await?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(7))]

    #[test]
    fn transfers_are_the_same(
        (here, there) in (some_tree(), some_tree()),
        single in prop::option::of((mode(), text())),
        record in any::<bool>(),
        delete in any::<bool>(),
        was_declared in any::<bool>(),
        courses in prop::collection::vec(course(), 1..3),
    ) {
        let site = tempfile::tempdir().unwrap();
        fs::create_dir(site.path().join("config")).unwrap();
        fs::write(site.path().join("one"), "one").unwrap();
        for (name, node) in &here {
            plant(&site.path().join("config").join(name), node);
        }
        let gone = there.iter().filter(|_| was_declared);
        let gone: BTreeMap<String, Former> =
            gone.map(|(name, node)| (name.clone(), former(node))).collect();
        let mut all = Tree::new();
        all.extend(there.into_iter().map(|(name, node)| (format!("{TARGET}/{name}"), node)));
        if let Some((mode, text)) = single {
            all.insert("share/single".to_owned(), Node::File(mode, text));
        }
        if record {
            all.insert(RECORD.to_owned(), Node::File(0o600, "image 1\n".to_owned()));
        }
        let mut desired = desired(site.path(), delete);
        let transfer = &mut desired.transfers[0];
        let is_gone = |name: &String| !transfer.entries.contains_key(name);
        transfer.gone = gone.into_iter().filter(|(name, _)| is_gone(name)).collect();
        run(async {
            for kind in o3r_testing::variants(KINDS, 1) {
                let both = Both::new(kind, &all);
                for course in &courses {
                    follow(&both, &desired, course).await?;
                }
            }
            Ok(())
        })?;
    }
}
