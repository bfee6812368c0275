//! Transfers on this machine, end to end except for ssh: with dash and coreutils, with nothing but
//! busybox, and with as few tools as a VPU may have.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use camino::Utf8PathBuf;
use o3r_deploy::internal::{
    apply::{self, Log, Options, Outcome, Report},
    desired::Desired,
    host::{Host as _, Stdin},
    image::LayerCache,
    manifest,
    observe::observe,
    offers::Offers,
    plan::{self, Plan},
    prepare::{Payloads, unprepared},
    resolve::{LocalImages, resolve},
};
use o3r_testing::{
    Silent,
    sandbox::{Sandbox, Tools},
};
use tokio::sync::watch;

mod patches;

/// Returns the payloads if no images were prepared.
fn payloads(desired: &Desired) -> Payloads {
    unprepared(desired, &LocalImages::default()).payloads
}

/// The tools that always exist.
const TOOLS: &[&str] = &[
    "cat", "chmod", "cksum", "cp", "dd", "df", "find", "grep", "gzip", "id", "ln", "ls", "mkdir",
    "mktemp", "mv", "od", "printf", "rm", "rmdir", "sed", "sh", "sleep", "split", "sync", "tail",
    "tar", "tr", "uname", "wc",
];

/// A shell, the source of its tools, and the tools that exist besides `TOOLS`.
#[derive(Debug, Clone, Copy)]
struct Kind {
    shell: &'static [&'static str],
    busybox: bool,
    more: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind {
        shell: &["dash"],
        busybox: false,
        more: &["head", "readlink", "sha256sum", "stat", "xargs"],
    },
    Kind {
        shell: &["busybox", "sh"],
        busybox: true,
        more: &["head", "readlink", "sha256sum", "stat", "xargs"],
    },
    Kind {
        shell: &["dash"],
        busybox: true,
        more: &["busybox"],
    },
    // The shell has its own tools; the next one has none.
    Kind {
        shell: &["busybox", "sh"],
        busybox: true,
        more: &[],
    },
    Kind {
        shell: &["dash"],
        busybox: true,
        more: &[],
    },
];

impl Kind {
    /// Whether any tool hashes.
    fn hashes(self) -> bool {
        !self.more.is_empty() || self.shell[0] == "busybox"
    }
}

/// A name with every character that a shell or a listing could misinterpret.
const ODD: &str = "it's $(touch canary) \"*\" \\ \u{e9};&|<> -> x";

/// A site, a home directory to deploy to, and a host that runs commands in it.
struct Bench {
    sandbox: Sandbox,
}

impl Bench {
    fn new(kind: Kind) -> Self {
        let tools = if kind.busybox {
            Tools::Busybox
        } else {
            Tools::Machine
        };
        let programs = TOOLS.iter().chain(kind.more).copied();
        // A login that prints one and a half lines before every command.
        let sandbox =
            Sandbox::new(kind.shell, tools, programs).with_profile("printf 'Hello\\nhalf'");
        Self { sandbox }
    }

    fn site(&self, relative: &str) -> PathBuf {
        self.sandbox.path().join("site").join(relative)
    }

    fn there(&self, relative: &str) -> PathBuf {
        self.sandbox.home().join(relative)
    }

    fn write(path: &Path, bytes: impl AsRef<[u8]>) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn desired(&self, transfers: &str) -> Desired {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            _ => "arm64",
        };
        let text = format!(
            "[vpu]\narch = \"{arch}\"\n[release]\nname = \"app\"\nversion = \"1\"\n{transfers}"
        );
        Self::write(&self.site("deploy.toml"), text);
        let path = Utf8PathBuf::from_path_buf(self.site("deploy.toml")).unwrap();
        let loaded = manifest::load(&path).unwrap();
        let cache = LayerCache::new(path.parent().unwrap().join("scratch"));
        resolve(&loaded, &cache).unwrap().desired
    }

    async fn plan(&self, desired: &Desired) -> Plan {
        let observed = observe(&self.sandbox.host, &desired.query()).await.unwrap();
        plan::plan(desired, &observed, &Offers::default(), "here")
    }

    async fn execute(&self, desired: &Desired, plan: &Plan) -> Report {
        self.execute_sending(&payloads(desired), plan).await
    }

    async fn execute_sending(&self, payloads: &Payloads, plan: &Plan) -> Report {
        let (_sender, interrupts) = watch::channel(0);
        let log = Log::none();
        let options = Options {
            rollback: true,
            lock: None,
            who: "",
            confirm_within: None,
        };
        let observer = Arc::new(Silent);
        apply::execute(
            &self.sandbox.host,
            plan,
            payloads,
            options,
            &log,
            observer,
            interrupts,
        )
        .await
    }

    /// Applies; returns the addresses of the completed steps.
    async fn apply(&self, desired: &Desired) -> Vec<String> {
        let plan = self.plan(desired).await;
        assert_eq!(plan.blocked, vec![]);
        let report = self.execute(desired, &plan).await;
        assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
        let after = self.plan(desired).await;
        assert!(
            after.is_empty(),
            "{:?}",
            after.steps.iter().map(|s| &s.changes).collect::<Vec<_>>()
        );
        assert!(!self.there(".o3r-deploy/staging").exists());
        plan.steps
            .iter()
            .map(|step| step.address.to_string())
            .collect()
    }
}

/// Returns everything below a directory: permissions and contents, or a link's target.
fn tree(directory: &Path) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    for entry in walkdir::WalkDir::new(directory).min_depth(1) {
        let entry = entry.unwrap();
        let name = entry.path().strip_prefix(directory).unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
        let what = if entry.path_is_symlink() {
            format!("-> {}", fs::read_link(entry.path()).unwrap().display())
        } else if entry.file_type().is_dir() {
            format!("{mode:o} directory")
        } else {
            format!("{mode:o} {}", fs::read_to_string(entry.path()).unwrap())
        };
        seen.insert(name.display().to_string(), what);
    }
    seen
}

#[tokio::test]
async fn a_tree_arrives_changes_and_is_mirrored_with_every_set_of_tools() {
    for kind in o3r_testing::variants(KINDS, 2) {
        let bench = Bench::new(*kind);
        let here = |name: &str| bench.site(&format!("config/{name}"));
        let there = |name: &str| bench.there(&format!("share/config/{name}"));
        for (name, bytes) in [
            ("a", "one"),
            ("sub/b", ""),
            ("keep.tmp", "no"),
            (ODD, "odd"),
        ] {
            Bench::write(&here(name), bytes);
            Bench::write(&here(&format!("deep/{ODD}/{name}")), bytes);
        }
        Bench::write(&here("secret.env"), "S=1");
        Bench::write(&here(&"n".repeat(200)), "long");
        Bench::write(&here("large"), "x".repeat((1 << 20) + 1));
        fs::set_permissions(here("a"), fs::Permissions::from_mode(0o755)).unwrap();
        // If only busybox's `ls` can read a link, its target is shown in ASCII.
        Bench::write(&here("a -> b"), "");
        symlink("a -> b", here("link")).unwrap();
        fs::create_dir(here("empty")).unwrap();
        let transfers = "[[transfers]]\nsrc = \"config/\"\ndst = \"~/share/config\"\ndelete = true\n\
                         exclude = [\"*.tmp\"]\n[[transfers]]\nsrc = \"config/a\"\ndst = \"~/\"\nmode = \"0600\"\n";
        let desired = bench.desired(transfers);
        let done = bench.apply(&desired).await;
        assert_eq!(
            done,
            [
                "upload.files",
                "transfer.~/share/config",
                "transfer.~/a",
                "release.app"
            ],
            "{kind:?}"
        );
        let mut wanted = tree(&bench.site("config"));
        wanted.retain(|name, _| !name.contains("keep.tmp"));
        for (name, what) in &mut wanted {
            let mode = match name.as_str() {
                "a" => "755",
                "secret.env" => "600",
                _ if what.ends_with(" directory") => "755",
                _ if what.starts_with('-') => continue,
                _ => "644",
            };
            *what = format!("{mode} {}", what.split_once(' ').unwrap().1);
        }
        assert_eq!(tree(&bench.there("share/config")), wanted, "{kind:?}");
        let single = fs::metadata(bench.there("a")).unwrap().permissions().mode();
        assert_eq!(single & 0o7777, 0o600);

        // Drift of every kind.
        Bench::write(&there("a"), "edited");
        Bench::write(&there("large"), "y".repeat((1 << 20) + 1));
        Bench::write(&there(&format!("more/{ODD}/x")), "more");
        Bench::write(&there("sub/mine.tmp"), "kept");
        fs::remove_file(there("link")).unwrap();
        symlink("nowhere", there("link")).unwrap();
        fs::remove_dir(there("empty")).unwrap();
        Bench::write(&there("empty"), "a file");
        fs::remove_dir_all(there(&format!("deep/{ODD}"))).unwrap();
        fs::set_permissions(there(ODD), fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(there("sub"), fs::Permissions::from_mode(0o700)).unwrap();
        bench.apply(&desired).await;
        wanted.insert("sub/mine.tmp".into(), "644 kept".into());
        let mut seen = tree(&bench.there("share/config"));
        // A file that the test writes has the mode of its umask.
        seen.insert("sub/mine.tmp".into(), "644 kept".into());
        assert_eq!(seen, wanted, "{kind:?}");
        assert!(!Path::new("canary").exists() && !bench.there("canary").exists());
    }
}

#[tokio::test]
async fn the_former_files_are_restored_when_a_later_step_fails() {
    for kind in o3r_testing::variants(KINDS, 2) {
        let bench = Bench::new(*kind);
        let transfers = "[[transfers]]\nsrc = \"config/\"\ndst = \"~/config\"\ndelete = true\n\
                         [[transfers]]\nsrc = \"config/a\"\ndst = \"~/single\"\n";
        let here = |name: &str| bench.site(&format!("config/{name}"));
        Bench::write(&here("a"), "old");
        Bench::write(&here("swap/x"), "x");
        Bench::write(&here("gone/deep/y"), "y");
        Bench::write(&here(".env"), "A=old");
        bench.apply(&bench.desired(transfers)).await;
        let before = tree(&bench.there("config"));

        Bench::write(&here("a"), "new");
        fs::remove_dir_all(here("swap")).unwrap();
        Bench::write(&here("swap"), "a file now");
        fs::remove_dir_all(here("gone")).unwrap();
        Bench::write(&here("fresh/z"), "z");
        Bench::write(&here(".env"), "A=new");
        symlink("a", here("link")).unwrap();
        let desired = bench.desired(transfers);
        let mut plan = bench.plan(&desired).await;
        // The commands of the second transfer cannot run.
        let step = plan
            .steps
            .iter_mut()
            .find(|step| step.address == "transfer.~/single");
        step.unwrap().actions[0].argv = o3r_deploy::internal::shell::Argv::new("false");
        let report = bench.execute(&desired, &plan).await;
        let Outcome::Failed(failure) = report.outcome else {
            panic!("{report:?}")
        };
        assert_eq!(
            failure.restored,
            apply::Restored::Previous,
            "{kind:?}: {failure:?}"
        );
        assert_eq!(tree(&bench.there("config")), before, "{kind:?}");
        bench.apply(&desired).await;
        assert_eq!(fs::read_to_string(bench.there("single")).unwrap(), "new");
    }
}

#[tokio::test]
async fn a_damaged_payload_touches_nothing_and_leaves_nothing() {
    for kind in o3r_testing::variants(KINDS, 2) {
        let bench = Bench::new(*kind);
        Bench::write(&bench.site("config/a"), "a".repeat(3000));
        let desired = bench.desired("[[transfers]]\nsrc = \"config/\"\ndst = \"~/config\"\n");
        let plan = bench.plan(&desired).await;
        let upload = &plan.steps[0].actions[0];
        let mut archive = vec![];
        let payload = upload.stdin.as_ref().unwrap();
        payloads(&desired).open(payload, |_| {}).unwrap()(&mut archive).unwrap();
        assert_eq!(archive.len() as u64, payload.bytes);
        let cut = archive[..2048].to_vec();
        let mut changed = archive.clone();
        let at = archive
            .windows(9)
            .position(|bytes| bytes == b"aaaaaaaaa")
            .unwrap();
        changed[at] = b'b';
        for (what, bytes) in [("cut", cut), ("changed", changed), ("empty", vec![])] {
            let output = bench
                .sandbox
                .host
                .run(&upload.argv, Stdin::Bytes(bytes))
                .await
                .unwrap();
            // Without a tool that hashes, only what tar notices is found.
            let cannot_tell = what == "changed" && !kind.hashes();
            assert_eq!(
                output.code,
                i32::from(!cannot_tell),
                "{kind:?} {what}: {output:?}"
            );
            if !cannot_tell {
                assert!(!bench.there(".o3r-deploy/staging").exists(), "{what}");
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(
                    said.starts_with("the received data differs from the plan"),
                    "{said}"
                );
            }
        }
        // The local file changed after it was read.
        Bench::write(&bench.site("config/a"), "b".repeat(3000));
        let report = bench.execute(&desired, &plan).await;
        let failed = matches!(report.outcome, Outcome::Failed(_));
        assert_eq!(failed, kind.hashes(), "{kind:?}: {report:?}");
    }
}

#[tokio::test]
async fn names_that_lists_cannot_hold_block_if_they_would_be_deleted() {
    for kind in o3r_testing::variants(KINDS, 2) {
        let bench = Bench::new(*kind);
        Bench::write(&bench.site("config/a"), "a");
        let transfers = "[[transfers]]\nsrc = \"config/\"\ndst = \"~/config\"\n";
        bench.apply(&bench.desired(transfers)).await;
        Bench::write(&bench.there("config/new\nline/x"), "x");
        assert!(bench.plan(&bench.desired(transfers)).await.is_empty());
        let delete = format!("{transfers}delete = true\n");
        let plan = bench.plan(&bench.desired(&delete)).await;
        let reason = "it holds `new\\nline`, a name that cannot be handled";
        assert_eq!(plan.blocked[0].reason, reason, "{kind:?}");
        let excluded = format!("{delete}exclude = [\"new*\"]\n");
        assert!(
            bench
                .plan(&bench.desired(&excluded))
                .await
                .blocked
                .is_empty()
        );
    }
}
