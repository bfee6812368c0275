//! The in-memory VPU does what the real scripts do. The same commands run through the scripts on
//! this machine, by dash with this machine's tools and by busybox with its own, and through the
//! in-memory VPU. The resulting state and the exit codes are the same, whatever the state was
//! before and however often a command runs.
//!
//! Covered are the builders of [`o3r_deploy::internal::remote`]: directories, permissions and
//! removals (`make_directory`, `change_mode`, `remove_paths`, `remove_files`), a project's files
//! (`put_file`, `remove_file`, `restore_file`, `set_aside`, `restored`), transfers (`stage_files`,
//! `move_files`, with the lists of real plans), records (`record_release`, `recorded`, and
//! `record_started` with a docker that only lists containers), parts of images that arrive
//! (`receive_part`), releases that are kept (`keep_generation` and its kin), large files (`block_sums`, `patch_file`), `in_turn`, the lock with how it
//! settles dead applies and with commands under it (`lock`, `run`), and containers, volumes,
//! networks and names of images (in `docker`); and the questions about paths, projects' files,
//! records and trees, with `contents`. In `docker`, scripts call a docker whose state is that of an
//! in-memory VPU: the calls that a script makes are compared, not what docker does at each of them.
//! That is written once (`docker.rs` in `tests/support/vpu`), after the observed behaviour of
//! docker 20.10, and the tests on the twin run the scripts against a real one.
//!
//! `builders` has the list of all builders. Not covered:
//! - what docker unpacks (`load_image` and similar) and what docker-compose does with a project
//!   (`compose`, `recreate`): the tests on the twin have real ones;
//! - containers that change while a script runs, such as one that restarts during `wait_healthy`:
//!   `shells::health` has a scripted docker for them; containers in the namespaces of others; image
//!   stores other than docker's own;
//! - parts of the lock that the in-memory VPU lacks: clients that fall silent, a full disk, two
//!   that take the lock at once, and commands that outlive the shell that started them:
//!   `shells::lock` has them;
//! - `systemctl` and `device_api`, which need a systemd and a device;
//! - times, owners and hard links, which the in-memory VPU does not have, and `sync`, which has no
//!   visible effect.

mod builders;
mod docker;
mod generations;
mod large_files;
mod lock;
mod parts;
mod project_files;
mod questions;
mod records;
mod transfers;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use o3r_deploy::internal::{
    host::{Host as _, Output, Stdin},
    shell::Argv,
};
use o3r_testing::{
    sandbox::{Sandbox, Tools, needed},
    vpu::{FakeVpu, File, World},
};
use proptest::{prelude::*, test_runner::TestCaseResult};

/// The shells and tools of the scripts: each is another kind of VPU.
const KINDS: [(&[&str], Tools); 2] = [
    (&["dash"], Tools::Machine),
    (&["busybox", "sh"], Tools::Busybox),
];

const PROGRAMS: &[&str] = &[
    "cat",
    "chmod",
    "cmp",
    "cp",
    "dd",
    "df",
    "find",
    "grep",
    "gzip",
    "head",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mktemp",
    "mv",
    "od",
    "printf",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "tail",
    "tar",
    "tr",
    "uname",
    "uniq",
    "wc",
    "xargs",
];

/// A docker that has nothing, except the containers that `$HOME/../containers` lists.
const DOCKER: &str = "#!/bin/sh\n\
    case \"$1 $2\" in\n\
    'container ls') [ ! -e \"$HOME/../containers\" ] || cat \"$HOME/../containers\" ;;\n\
    info*) echo '{\"version\":\"20.10.25\",\"arch\":\"aarch64\",\"status\":null,\"root\":\"/\"}' ;;\n\
    esac\n";

/// The node at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Directory(u32),
    File(u32, String),
    Link(String),
}

/// What is below the home directory, by path.
type Tree = BTreeMap<String, Node>;

/// The same VPU, real and in memory.
struct Both {
    sandbox: Sandbox,
    vpu: FakeVpu,
    home: String,
}

impl Both {
    fn new((shell, tools): (&[&str], Tools), tree: &Tree) -> Self {
        let sandbox = Sandbox::new(shell, tools, PROGRAMS.iter().copied());
        // Independent of the umask of the user who runs the tests.
        let sandbox = sandbox.with_profile("umask 022");
        // It has no visible effect, and takes long if much is unwritten.
        sandbox.link("sync", &needed("true"));
        sandbox.program("docker", DOCKER);
        sandbox.program("docker-compose", "#!/bin/sh\necho 1.29.2\n");
        let home = sandbox.home().to_str().unwrap().to_owned();
        let mut world = World {
            home: home.clone(),
            boot_id: boot_id(),
            ..World::default()
        };
        world.make_directory(&home);
        let vpu = FakeVpu::new(world);
        let both = Self { sandbox, vpu, home };
        for (name, node) in tree {
            both.plant(name, node);
        }
        both
    }

    /// Creates something below the home directory, with the directories above it.
    fn plant(&self, name: &str, node: &Node) {
        plant(&self.sandbox.home().join(name), node);
        let path = self.at(name);
        self.vpu.world(|world| {
            world.make_directory(path.rsplit_once('/').unwrap().0);
            match node {
                Node::Directory(mode) => drop(world.directories.insert(path, (*mode, 989))),
                Node::File(mode, text) => world.write(&path, text.as_bytes(), *mode),
                Node::Link(target) => drop(world.links.insert(path, target.clone())),
            }
        });
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.home)
    }

    /// Runs a command on both, and compares.
    async fn run(&self, command: &Argv, stdin: &[u8]) -> Result<Output, TestCaseError> {
        self.compare(command, stdin, false).await
    }

    /// The same for a command that a tool ends with an exit code of its own instead of 0.
    async fn attempt(&self, command: &Argv, stdin: &[u8]) -> Result<Output, TestCaseError> {
        self.compare(command, stdin, true).await
    }

    async fn compare(
        &self,
        command: &Argv,
        stdin: &[u8],
        is_tools: bool,
    ) -> Result<Output, TestCaseError> {
        let before = seen(&self.sandbox.home());
        let real = self.sandbox.run(command, stdin).await;
        let memory = self.vpu.run(command, Stdin::Bytes(stdin.to_vec()));
        let memory = memory.await.unwrap();
        let shown = command.to_display();
        prop_assert!(
            real.code == memory.code || (is_tools && real.success() == memory.success()),
            "{shown} before {before:#?}: {real:?} {memory:?}"
        );
        self.same(&format!("{shown}\nbefore {before:#?}"))?;
        Ok(real)
    }

    fn same(&self, after: &str) -> TestCaseResult {
        let real = seen(&self.sandbox.home());
        let memory = self.vpu.world(|world| remembered(world, &self.home));
        for name in real.keys().chain(memory.keys()) {
            let (real, memory) = (real.get(name), memory.get(name));
            prop_assert_eq!(real, memory, "{} after {}", name, after);
        }
        Ok(())
    }
}

fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    text.trim().to_owned()
}

/// Creates something, with the directories above it.
fn plant(path: &Path, node: &Node) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match node {
        Node::Link(target) => return symlink(target, path).unwrap(),
        Node::Directory(_) => fs::create_dir_all(path).unwrap(),
        Node::File(_, text) => fs::write(path, text).unwrap(),
    }
    let (Node::Directory(mode) | Node::File(mode, _)) = node else {
        return;
    };
    fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
}

/// Returns the real state.
fn seen(home: &Path) -> Tree {
    seen_now(home).unwrap()
}

/// The same; `None` if it changes meanwhile.
fn seen_now(home: &Path) -> Option<Tree> {
    let mut tree = Tree::new();
    for entry in walkdir::WalkDir::new(home).min_depth(1) {
        let entry = entry.ok()?;
        // The messages of the tools in this file differ.
        if entry.path() == home.join(".o3r-deploy/staging/said") {
            continue;
        }
        let name = entry.path().strip_prefix(home).unwrap();
        let mode = entry.metadata().ok()?.permissions().mode() & 0o7777;
        let node = if entry.path_is_symlink() {
            let target = fs::read_link(entry.path()).ok()?;
            Node::Link(target.to_str().unwrap().to_owned())
        } else if entry.file_type().is_dir() {
            Node::Directory(mode)
        } else {
            let bytes = fs::read(entry.path()).ok()?;
            Node::File(mode, String::from_utf8_lossy(&bytes).into_owned())
        };
        tree.insert(name.to_str().unwrap().to_owned(), node);
    }
    Some(tree)
}

/// Returns the state in memory.
fn remembered(world: &World, home: &str) -> Tree {
    let prefix = format!("{home}/");
    let own = |path: &String| path.strip_prefix(&prefix).map(str::to_owned);
    let file = |file: &File| {
        let text = String::from_utf8_lossy(&file.bytes).into_owned();
        Node::File(file.mode, text)
    };
    let directories = world.directories.iter();
    let directories = directories.map(|(path, (mode, _))| (path, Node::Directory(*mode)));
    let files = world.files.iter().map(|(path, f)| (path, file(f)));
    let links = world.links.iter();
    let links = links.map(|(path, target)| (path, Node::Link(target.clone())));
    let all = directories.chain(files).chain(links);
    all.filter_map(|(path, node)| Some((own(path)?, node)))
        .collect()
}

/// Runs a future to its end: proptest has no async tests.
fn run(case: impl Future<Output = TestCaseResult>) -> TestCaseResult {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(case)
}

/// A number of cases that takes about ten seconds in all; each run generates others, and failing
/// ones are recorded and retried.
fn config(all: u32) -> ProptestConfig {
    ProptestConfig {
        cases: o3r_testing::cases(all),
        // Each step starts hundreds of processes.
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    }
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "one\n", "two\n", "no end"]).prop_map(str::to_owned)
}

fn mode() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0o600, 0o640, 0o644, 0o755])
}

/// Some of these paths, each with a node.
fn tree(paths: &'static [&'static str]) -> impl Strategy<Value = Tree> {
    let node = (mode(), text()).prop_map(|(mode, text)| Node::File(mode, text));
    let some = prop::collection::vec(prop::option::of(node), paths.len());
    some.prop_map(|nodes| {
        let named = paths.iter().zip(nodes);
        let there = named.filter_map(|(path, node)| Some(((*path).to_owned(), node?)));
        there.collect()
    })
}
