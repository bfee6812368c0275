//! What blocks a transfer, what is removed and what is kept: plans on the in-memory VPU.

mod trees;

use std::{fs, os::unix::fs::symlink, path::Path};

use camino::Utf8PathBuf;
use o3r_deploy::internal::{
    desired::Desired,
    image::LayerCache,
    manifest::{self, names::RemotePath},
    observe::{Access, Node, Observed, Other, Probed, Tree, observe},
    offers::Offers,
    plan::{self, BlockCode, Cause, ChangeKind, PayloadSource, Plan, Step},
    resolve::resolve,
};
use o3r_testing::vpu::{FakeVpu, World};

/// A change of an observation.
type Change = Box<dyn FnOnce(&mut Tree)>;

/// A manifest and its local files.
struct Site(tempfile::TempDir);

impl Site {
    fn new(transfers: &str) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        site.write(
            "deploy.toml",
            format!("[release]\nname = \"app\"\nversion = \"1\"\n{transfers}"),
        );
        site
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, relative: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path().join(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn resolve(&self) -> Result<Desired, Vec<String>> {
        let path = Utf8PathBuf::from_path_buf(self.path().join("deploy.toml")).unwrap();
        let loaded = manifest::load(&path).unwrap();
        let cache = LayerCache::new(Utf8PathBuf::from_path_buf(self.path().into()).unwrap());
        let base = format!("{}/", self.path().display());
        let resolved = resolve(&loaded, &cache);
        resolved
            .map(|resolved| resolved.desired)
            .map_err(|findings| {
                let texts = findings.iter().map(ToString::to_string);
                texts.map(|text| text.replace(&base, "")).collect()
            })
    }

    fn desired(&self) -> Desired {
        self.resolve().unwrap()
    }
}

/// Returns the transfer of most tests.
fn transfer(more: &str) -> String {
    format!("[[transfers]]\nsrc = \"config/\"\ndst = \"~/config\"\n{more}\n")
}

async fn observed(vpu: &FakeVpu, desired: &Desired) -> Observed {
    observe(vpu, &desired.query()).await.unwrap()
}

/// Returns a VPU whose `/home/oem/config` is filled by `fill`, changed by `change`, and its plan.
async fn plan_on(
    desired: &Desired,
    fill: impl FnOnce(&mut World),
    change: impl FnOnce(&mut Tree),
) -> Plan {
    let vpu = FakeVpu::default();
    vpu.world(fill);
    let mut observed = observed(&vpu, desired).await;
    if let Some(Probed::Known(tree)) = observed.facts.trees.targets.get_mut("~/config") {
        change(tree);
    }
    let plan = plan::plan(desired, &observed, &Offers::default(), "fake");
    assert_eq!(plan::lint::lint(&plan), Vec::<String>::new());
    plan
}

fn step<'a>(plan: &'a Plan, address: &str) -> &'a Step {
    plan.steps
        .iter()
        .find(|step| step.address == address)
        .unwrap_or_else(|| panic!("no {address} in {:?}", plan.steps))
}

/// Returns the changes as `+ path`, `~ path`, `m path`, `- path`.
fn changes(step: &Step) -> Vec<String> {
    let sign = |kind| match kind {
        ChangeKind::Added => '+',
        ChangeKind::Changed => '~',
        ChangeKind::Mode => 'm',
        ChangeKind::Deleted => '-',
    };
    let changes = step.changes.iter();
    changes
        .map(|change| format!("{} {}", sign(change.change), change.path))
        .collect()
}

/// Returns the list of moves, and the list that undoes them.
fn lists(step: &Step) -> (Vec<&str>, Vec<&str>) {
    let text = |commands: &'_ [plan::Command]| match &commands[0].stdin.as_ref().unwrap().source {
        PayloadSource::Inline { text } => text.clone(),
        other => panic!("{other:?}"),
    };
    let leak = |text: String| -> Vec<&'static str> { text.leak().lines().collect() };
    (leak(text(&step.actions)), leak(text(&step.undo)))
}

fn blocked(plan: &Plan) -> (&str, &str) {
    let [blocked] = &plan.blocked[..] else {
        panic!("not one block: {:?}", plan.blocked)
    };
    assert_eq!(blocked.address.to_string(), "transfer.~/config");
    (&blocked.reason, &blocked.remedy)
}

fn nothing(_: &mut World) {}

fn as_it_is(_: &mut Tree) {}

#[tokio::test]
async fn a_new_directory_is_moved_and_removed_whole() {
    let site = Site::new(&transfer(""));
    site.write("config/a", "a");
    site.write("config/sub/b", "b");
    let plan = plan_on(&site.desired(), nothing, as_it_is).await;
    let step = step(&plan, "transfer.~/config");
    assert_eq!(changes(step), ["+ a", "+ sub/", "+ sub/b"]);
    assert_eq!(lists(step), (vec!["m "], vec!["r "]));
    let upload = &plan.steps[0].actions[0].stdin.as_ref().unwrap();
    let PayloadSource::Files { members, .. } = &upload.source else {
        panic!("{upload:?}")
    };
    assert_eq!(*members, ["0", "0/a", "0/sub", "0/sub/b"]);
}

#[tokio::test]
async fn a_directory_that_a_volume_creates_is_filled_and_never_replaced() {
    let volume = "[[volumes]]\nname = \"logs\"\npath = \"~/config/sub/logs\"\n";
    let site = Site::new(&format!("{volume}{}", transfer("")));
    site.write("config/a", "a");
    site.write("config/sub/b", "b");
    let plan = plan_on(&site.desired(), nothing, as_it_is).await;
    let (list, undo) = lists(step(&plan, "transfer.~/config"));
    assert_eq!(list, ["d 0755 ", "d 0755 sub", "m a", "m sub/b"]);
    assert_eq!(undo, ["r a", "r sub/b"]);
}

#[tokio::test]
async fn replaced_files_are_kept_and_deletions_come_last() {
    let site = Site::new(&transfer("delete = true\nexclude = [\"*.log\", \"data\"]"));
    for (name, bytes) in [("a", "new"), ("b", "b"), ("sub/c", "c"), ("x.log", "no")] {
        site.write(&format!("config/{name}"), bytes);
    }
    symlink("a", site.path().join("config/link")).unwrap();
    let fill = |world: &mut World| {
        for (name, bytes, mode) in [
            ("a", "old", 0o644),
            ("b", "b", 0o600),
            ("sub/c", "c", 0o644),
            ("sub/d.log", "kept", 0o644),
            ("gone/deep/e", "e", 0o644),
            ("gone-too", "", 0o644),
            ("half/f", "f", 0o644),
            ("half/data/g", "g", 0o644),
        ] {
            world.write(&format!("/home/oem/config/{name}"), bytes.as_bytes(), mode);
        }
        world
            .links
            .insert("/home/oem/config/link".into(), "b".into());
    };
    let plan = plan_on(&site.desired(), fill, as_it_is).await;
    let step = step(&plan, "transfer.~/config");
    let wanted = [
        "~ a",
        "m b",
        "~ link",
        "- gone/",
        "- gone-too",
        "- gone/deep/",
        "- gone/deep/e",
        "- half/f",
    ];
    assert_eq!(changes(step), wanted);
    let (list, undo) = lists(step);
    assert_eq!(
        list,
        [
            "x link",
            "k a",
            "m a",
            "m link",
            "x gone",
            "x gone-too",
            "x half/f",
            "c 0644 b"
        ]
    );
    assert_eq!(
        undo,
        [
            "c 0600 b",
            "b link",
            "b a",
            "b gone",
            "b gone-too",
            "b half/f"
        ]
    );
}

#[tokio::test]
async fn what_is_declared_above_or_at_the_target_protects_nothing_in_it() {
    const ALL: [&str; 6] = [
        "- below/",
        "- below/data",
        "- old/",
        "- old/deep/",
        "- old/deep/x",
        "- theirs",
    ];
    let on_the_way = [ALL[0], ALL[1], ALL[4], ALL[5]];
    let (directory, volume, other) = (
        "[[directories]]\npath = \"~/elsewhere\"\n",
        "[[volumes]]\nname = \"v\"\npath = \"~/elsewhere\"\n",
        "[[transfers]]\nsrc = \"other/\"\ndst = \"~/elsewhere\"\n",
    );
    let cases = [
        (directory, "~", &ALL[..]),
        (directory, "~/config", &ALL),
        (volume, "/home/oem", &ALL),
        (volume, "~/config", &ALL),
        // A file that it puts there itself is kept.
        (other, "~", &ALL[..5]),
        (directory, "~/configuration", &ALL),
        // `check` refuses these, and the planner still protects them.
        (directory, "~/config/below", &ALL[2..]),
        (volume, "~/config/below/data", &ALL[2..]),
        (other, "~/config/below", &ALL[2..]),
        // It is created before the deletion.
        (directory, "~/config/old/deep/new", &on_the_way),
    ];
    for (kind, path, wanted) in cases {
        let site = Site::new(&transfer(&format!("delete = true\n{kind}")));
        site.write("config/a", "a");
        site.write("other/config/theirs", "theirs");
        let mut desired = site.desired();
        let path: RemotePath = path.parse().unwrap();
        let directories = desired.directories.iter_mut().map(|one| &mut one.path);
        let volumes = desired.volumes.iter_mut().map(|one| &mut one.path);
        let targets = desired.transfers.iter_mut().skip(1);
        let places = directories.chain(volumes);
        for place in places.chain(targets.map(|one| &mut one.target)) {
            place.clone_from(&path);
        }
        let fill = |world: &mut World| {
            for name in ["a", "below/data", "old/deep/x", "theirs"] {
                world.write(&format!("/home/oem/config/{name}"), b"a", 0o644);
            }
        };
        let plan = plan_on(&desired, fill, as_it_is).await;
        let changes = changes(step(&plan, "transfer.~/config"));
        assert_eq!(changes, wanted, "{kind} {path}");
    }
}

#[tokio::test]
async fn without_delete_a_file_and_a_directory_do_not_replace_each_other() {
    let site = Site::new(&transfer(""));
    site.write("config/a/b", "b");
    let file = |world: &mut World| world.write("/home/oem/config/a", b"a", 0o644);
    let plan = plan_on(&site.desired(), file, as_it_is).await;
    let (reason, remedy) = blocked(&plan);
    assert_eq!(reason, "/home/oem/config/a is no directory");
    assert!(
        remedy.ends_with("or allow it with `delete = true`"),
        "{remedy}"
    );

    let site = Site::new(&transfer("delete = true\nexclude = [\"kept\"]"));
    site.write("config/a", "a");
    let directory = |name: &'static str| {
        move |world: &mut World| {
            world.write(&format!("/home/oem/config/a/{name}"), b"", 0o644);
        }
    };
    let plan = plan_on(&site.desired(), directory("b"), as_it_is).await;
    let step = step(&plan, "transfer.~/config");
    assert_eq!(changes(step), ["~ a", "- a/b"]);
    assert_eq!(lists(step), (vec!["x a", "m a"], vec!["b a"]));
    let plan = plan_on(&site.desired(), directory("kept"), as_it_is).await;
    assert_eq!(
        blocked(&plan).0,
        "/home/oem/config/a would be replaced, but contains a/kept, which must stay"
    );
    assert_eq!(plan.blocked[0].code, BlockCode::HoldsOthers);
}

#[tokio::test]
async fn files_of_others_block_with_a_remedy() {
    let site = Site::new(&transfer("delete = true"));
    site.write("config/a", "a");
    site.write("config/sub/b", "b");
    let desired = site.desired();
    let fill = |world: &mut World| {
        world.write("/home/oem/config/a", b"old", 0o644);
        world.write("/home/oem/config/sub/b", b"old", 0o644);
    };
    let roots = |sha256, size| {
        Probed::Known(Node::File {
            mode: 0o600,
            uid: 0,
            size,
            sha256,
        })
    };
    let directory = Probed::Known(Node::Directory {
        mode: 0o755,
        uid: 0,
        readable: true,
        writable: false,
    });
    let others = Other::Directory {
        readable: false,
        writable: false,
    };
    let chown = "docker run --rm -v /home/oem/config:/d IMAGE chown -R \"$(id -u):$(id -g)\" /d";
    let cases: Vec<(Change, BlockCode, &str, &str)> = vec![
        (
            Box::new(move |tree| drop(tree.nodes.insert("a".into(), roots(None, 2)))),
            BlockCode::NotOwner,
            "/home/oem/config/a belongs to user 0",
            chown,
        ),
        (
            Box::new(move |tree| drop(tree.nodes.insert("a".into(), roots(None, 1)))),
            BlockCode::NotOwner,
            "/home/oem/config/a cannot be read",
            chown,
        ),
        (
            Box::new(move |tree| drop(tree.nodes.insert("sub".into(), directory))),
            BlockCode::NotWritable,
            "no write permission for /home/oem/config/sub",
            "-v /home/oem/config/sub:/d",
        ),
        (
            Box::new(move |tree| {
                tree.others.insert("db".into(), others);
            }),
            BlockCode::NotOwner,
            "no permission to read and change /home/oem/config/db",
            "or `exclude` it",
        ),
        (
            Box::new(|tree| {
                tree.odd.insert("new\\nline".into());
            }),
            BlockCode::OddName,
            "it holds `new\\nline`, a name that cannot be handled",
            "ls -lab /home/oem/config",
        ),
        (
            Box::new(|tree| drop(tree.nodes.insert("a".into(), Probed::Known(Node::Special)))),
            BlockCode::WrongKind,
            "/home/oem/config/a is a device, socket or pipe",
            "mv /home/oem/config/a /home/oem/config/a.old",
        ),
        (
            Box::new(|tree| {
                let reason = "no permission to read it".to_owned();
                tree.nodes.insert("sub/b".into(), Probed::Unknown(reason));
            }),
            BlockCode::StateUnknown,
            "/home/oem/config/sub/b: no permission to read it",
            "ls -ld /home/oem/config/sub",
        ),
    ];
    for (change, code, reason, remedy) in cases {
        let plan = plan_on(&desired, fill, change).await;
        assert_eq!(plan.blocked[0].code, code, "{reason}");
        let (found, help) = blocked(&plan);
        assert_eq!(found, reason);
        assert!(help.contains(remedy), "{help}");
        assert!(
            plan.steps
                .iter()
                .all(|step| step.address != "transfer.~/config")
        );
    }
}

#[tokio::test]
async fn an_inaccessible_directory_above_the_target_blocks() {
    let site = Site::new(&transfer(""));
    site.write("config/a", "a");
    let desired = site.desired();
    let plan = plan_on(&desired, nothing, |tree| tree.access = Access::None).await;
    assert!(
        blocked(&plan)
            .0
            .starts_with("no write permission for /home/oem; and")
    );
    let plan = plan_on(&desired, nothing, |tree| tree.access = Access::InTheWay).await;
    assert!(blocked(&plan).0.contains("is not a directory"));
}

#[tokio::test]
async fn an_unanswered_question_and_a_lack_of_space_block() {
    let site = Site::new(&transfer(""));
    site.write("config/a", vec![b'a'; 10_000]);
    let desired = site.desired();
    let vpu = FakeVpu::default();
    let mut observed = observed(&vpu, &desired).await;
    let root = |observed: &mut Observed, free| {
        observed.readings.disks.get_mut("/").unwrap().free = free;
    };
    root(&mut observed, 8192);
    let plan = plan::plan(&desired, &observed, &Offers::default(), "fake");
    assert_eq!(plan.blocked[0].address.to_string(), "vpu.space");
    assert_eq!(
        plan.blocked[0].reason,
        "the disk of / has 8.00 KiB free, but needs 12.0 KiB: 12.0 KiB for files of transfers"
    );
    root(&mut observed, 12_288);
    assert!(
        plan::plan(&desired, &observed, &Offers::default(), "fake")
            .blocked
            .is_empty()
    );
    let unknown = Probed::Unknown("the answer is truncated".to_owned());
    observed
        .facts
        .trees
        .targets
        .insert("~/config".into(), unknown);
    let plan = plan::plan(&desired, &observed, &Offers::default(), "fake");
    assert_eq!(blocked(&plan).0, "the answer is truncated");
}

#[tokio::test]
async fn another_file_system_has_its_own_staging_directory() {
    let site = Site::new(&transfer(""));
    site.write("config/a", "a");
    let other = |tree: &mut Tree| tree.mount = "/media/stick".into();
    let plan = plan_on(&site.desired(), nothing, other).await;
    let words = plan.steps[0].actions[0].argv.words();
    assert_eq!(words.last().unwrap(), "/home/oem/.o3r-staging");
    let actions = &step(&plan, "release.app").actions;
    let is_record = |words: &&[String]| words.contains(&"o3r-record-release".to_owned());
    let mut commands = actions.iter().map(|command| command.argv.words());
    let record = commands.find(is_record).unwrap();
    assert_eq!(record.last().unwrap(), "/home/oem/.o3r-staging");
}

#[tokio::test]
async fn a_file_is_reported_to_differ_in_its_content_or_in_its_mode() {
    let site = Site::new("[[transfers]]\nsrc = \"a\"\ndst = \"~/config\"\nmode = \"0640\"\n");
    site.write("a", "a");
    let desired = site.desired();
    let there = |bytes: &'static str, mode| {
        move |world: &mut World| world.write("/home/oem/config", bytes.as_bytes(), mode)
    };
    let cause = |plan: &Plan| step(plan, "transfer.~/config").cause.clone();
    let plan = plan_on(&desired, there("a", 0o600), as_it_is).await;
    assert_eq!(cause(&plan), Cause::differs("mode", "0600", "0640"));
    let plan = plan_on(&desired, there("old", 0o640), as_it_is).await;
    let Cause::Differs { attribute, .. } = cause(&plan) else {
        panic!("{:?}", cause(&plan))
    };
    assert_eq!(attribute, "content");
}
