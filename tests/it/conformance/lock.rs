//! The lock (`lock`): who gets it, what the others are told, and which remains of dead applies are
//! ended, waited for and removed; and commands under `run` with and without it.

use std::{
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use o3r_deploy::internal::{
    digest::Digest,
    host::{Held, Host},
    remote::{self, Claim, Holder, How, PreviousFile, State},
};

use o3r_testing::vpu::Ends;

use super::*;

/// Files of a dead apply, or of somebody else.
const NAMES: &[&str] = &[
    "a b.o3r-new",
    "deep/it's c.o3r-new",
    "somebody's",
    "directory.o3r-new",
    "link.o3r-new",
];

#[derive(Debug, Clone)]
enum Do {
    /// This client claims it.
    Claim(usize, Claim),
    /// This client releases it, if it has it.
    Free(usize),
    /// This client runs something under the lock, if it has it.
    Run(usize, How, Work),
}

#[derive(Debug, Clone, Copy)]
enum Work {
    MakeDirectory,
    Fail,
    PutFile,
    InTurn,
    Restored,
    Record,
}

fn token(client: usize) -> String {
    format!("o3r-{client}")
}

fn hows() -> impl Strategy<Value = How> {
    prop::sample::select(vec![How::Brings, How::Reads, How::Works, How::Loads])
}

fn claims(clients: std::ops::Range<usize>) -> impl Strategy<Value = Claim> {
    prop_oneof![
        Just(Claim::Try),
        Just(Claim::Wait),
        Just(Claim::Break),
        clients.prop_map(|client| Claim::Take(token(client))),
    ]
}

fn steps() -> impl Strategy<Value = Do> {
    let client = || 0..3_usize;
    let work = prop::sample::select(vec![
        Work::MakeDirectory,
        Work::Fail,
        Work::PutFile,
        Work::InTurn,
        Work::Restored,
        Work::Record,
    ]);
    prop_oneof![
        3 => (client(), claims(client())).prop_map(|(client, claim)| Do::Claim(client, claim)),
        1 => client().prop_map(Do::Free),
        3 => (client(), hows(), work).prop_map(|(client, how, work)| Do::Run(client, how, work)),
    ]
}

/// The remains of dead applies on the disk.
#[derive(Debug, Clone)]
struct Found {
    /// Which of `NAMES` exist.
    there: Tree,
    /// Which of `NAMES` are noted as unfinished.
    noted: Option<Vec<&'static str>>,
    /// Whether the end of the note is missing.
    cut: bool,
    /// The directory in which a delta was built.
    delta: bool,
    /// The former holder: the number of a process, and whether it is from this boot.
    owner: Option<(u32, bool)>,
    /// Whether a file is in the place of the state directory.
    blocked: bool,
}

fn found() -> impl Strategy<Value = Found> {
    let owner = prop::sample::select(vec![(1, false), (999_999_999, true)]);
    (
        tree(NAMES),
        prop::option::of(prop::sample::subsequence(NAMES, 0..=NAMES.len())),
        any::<bool>(),
        any::<bool>(),
        prop::option::of(owner),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(mut there, noted, cut, delta, owner, blocked)| {
            for (name, node) in [
                ("directory.o3r-new", Node::Directory(0o755)),
                ("link.o3r-new", Node::Link("somebody's".to_owned())),
            ] {
                if there.contains_key(name) {
                    there.insert(name.to_owned(), node);
                }
            }
            Found {
                there,
                noted,
                cut,
                delta,
                owner,
                blocked,
            }
        })
}

impl Found {
    fn plant(&self, both: &Both) {
        let file = |text: String| Node::File(0o600, text);
        if self.blocked {
            return both.plant(".o3r-deploy", &file(String::new()));
        }
        if let Some(noted) = &self.noted {
            let lines = noted.iter().map(|name| format!("{}\n", both.at(name)));
            let mut note: String = lines.collect();
            if self.cut {
                note.pop();
            }
            both.plant(".o3r-deploy/unfinished", &file(note));
        }
        if self.delta {
            both.plant(".o3r-deploy/delta/old/etc", &file(String::new()));
        }
        if let Some((process, is_this_boot)) = self.owner {
            let boot = if is_this_boot {
                boot_id()
            } else {
                "x".to_owned()
            };
            let owner = format!("{process}\n{boot}\nx\n1\no3r-9\nc\n");
            both.plant(".o3r-deploy/lock/owner", &file(owner));
        }
    }
}

/// Returns the lock, or the exit code and output without
/// process numbers. Calls `waits` once it waits.
async fn claim(
    host: &impl Host,
    client: usize,
    claim: &Claim,
    patience: Option<u32>,
    waits: &(dyn Fn() + Sync),
) -> Result<Held, (i32, Vec<String>)> {
    let holder = Holder {
        token: token(client),
        client: format!("boot pid:[1] {client} 3"),
        who: format!(r#""at":"now","by":"client {client}""#),
        silence: 60,
    };
    let said = Mutex::new(vec![]);
    let note = |line: &str| match line.split_once(' ') {
        Some(("waits", _)) => waits(),
        Some((word @ "leftover", rest)) => {
            let (_, words) = rest.split_once(' ').unwrap_or_default();
            said.lock().unwrap().push(format!("{word} {words}"));
        }
        // The rest of the line is mkdir's.
        Some((word @ "failed", _)) => said.lock().unwrap().push(word.to_owned()),
        _ => said.lock().unwrap().push(line.to_owned()),
    };
    let mut words = remote::lock(&holder, claim).words().to_vec();
    if let Some(patience) = patience {
        words[8] = patience.to_string();
    }
    let command = Argv::new(&words[0]).args(words[1..].iter().cloned());
    let held = host.hold(&command, &holder.token, &note).await.unwrap();
    held.map_err(|output| (output.code, said.into_inner().unwrap()))
}

/// Claims the lock on both.
async fn claim_both(
    both: &Both,
    client: usize,
    how: &Claim,
    patience: Option<u32>,
    waits: &(dyn Fn() + Sync),
) -> Result<Option<(Held, Held)>, TestCaseError> {
    let real = claim(&both.sandbox.host, client, how, patience, waits).await;
    let memory = claim(&both.vpu, client, how, patience, &|| ()).await;
    match (real, memory) {
        (Ok(real), Ok(memory)) => Ok(Some((real, memory))),
        (Err(real), Err(memory)) => {
            prop_assert_eq!(real, memory, "{:?}", how);
            Ok(None)
        }
        (real, memory) => Err(TestCaseError::fail(format!("{how:?}: {real:?} {memory:?}"))),
    }
}

/// Removes what differs each time: numbers and ages of processes.
fn comparable(mut tree: Tree) -> Tree {
    if let Some(Node::File(_, text)) = tree.get_mut(".o3r-deploy/lock/owner") {
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(number, _)| *number != 0 && *number != 3);
        let lines: Vec<&str> = lines.map(|(_, line)| line).collect();
        *text = lines.join("\n");
    }
    tree
}

/// Both have the same state as soon as no process works on the lock.
async fn same_soon(both: &Both, after: &str) -> TestCaseResult {
    let memory = both.vpu.world(|world| remembered(world, &both.home));
    let memory = comparable(memory);
    let mut real = None;
    for _ in 0..200 {
        real = seen_now(&both.sandbox.home()).map(comparable);
        if real.as_ref() == Some(&memory) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    prop_assert_eq!(real.as_ref(), Some(&memory), "after {}", after);
    Ok(())
}

impl Work {
    fn command(self, both: &Both, number: usize) -> (Argv, &'static [u8]) {
        let path = |name: &str| both.at(&format!("made {number}/{name}"));
        let fail = remote::change_mode(&path("nowhere"), 0o700);
        let command = match self {
            Self::MakeDirectory => remote::make_directory(&path("")),
            Self::Fail => fail,
            Self::PutFile => {
                let kept = State { home: &both.home }.kept("app", "file");
                let text = b"text\n";
                let put = remote::put_file(
                    &path("file"),
                    (Digest::of(text), text.len() as u64),
                    0o640,
                    (&kept, PreviousFile::Whatever),
                    &both.at("record"),
                );
                return (put, text);
            }
            Self::InTurn => {
                let make = |name| remote::make_directory(&path(name));
                remote::in_turn(&[make("one"), fail, make("two")])
            }
            Self::Record => {
                let history = State { home: &both.home }.history("app");
                let record = remote::record_release(&history, remote::Recording::default(), []);
                return (record, b"{\"version\":\"1\"}\n");
            }
            Self::Restored => remote::restored([both.at("kept")]),
        };
        (command, b"")
    }
}

async fn follow(both: &Both, steps: &[Do]) -> TestCaseResult {
    // Both locks of the current holder.
    let mut has: Option<(usize, Held, Held)> = None;
    for (number, step) in steps.iter().enumerate() {
        let shown = format!("{step:?}, number {number} of {steps:?}");
        match step {
            Do::Claim(client, how) => {
                if let Some((real, memory)) = claim_both(both, *client, how, None, &|| ()).await? {
                    if let Some((_, old, remembered)) = has.take() {
                        // Each former holder is notified.
                        let told = async { tokio::join!(old.lost(), remembered.lost()) };
                        let told = tokio::time::timeout(Duration::from_secs(5), told).await;
                        prop_assert!(told.is_ok(), "not told of {shown}");
                    }
                    has = Some((*client, real, memory));
                }
            }
            Do::Free(client) => has = has.filter(|(holder, ..)| holder != client),
            Do::Run(client, how, work) => {
                // A lock that was just released may still exist.
                same_soon(both, &shown).await?;
                let (command, stdin) = work.command(both, number);
                let command = remote::run(&token(*client), *how, None, &command);
                let real = both.sandbox.run(&command, stdin).await;
                let memory = both.vpu.run(&command, Stdin::Bytes(stdin.to_vec()));
                let memory = memory.await.unwrap();
                prop_assert_eq!(real.code, memory.code, "{}: {:?}", shown, real);
                if real.code == remote::LOST {
                    prop_assert_eq!(real.tail(1), memory.tail(1));
                }
            }
        }
        same_soon(both, &shown).await?;
    }
    drop(has);
    same_soon(both, "the end").await
}

/// Every case waits for seconds.
fn slow(all: u32) -> ProptestConfig {
    ProptestConfig {
        max_shrink_iters: 20,
        ..config(all)
    }
}

/// Both, with the programs that the lock's script and those that it runs need.
fn both(kind: (&[&str], Tools), tree: &Tree) -> Both {
    let both = Both::new(kind, tree);
    both.sandbox.link("date", &needed("busybox"));
    both
}

proptest! {
    #![proptest_config(slow(8))]

    #[test]
    fn locks_are_the_same(found in found(), steps in prop::collection::vec(steps(), 1..8)) {
        run(async {
            let one = async |kind| {
                let both = both(kind, &found.there);
                found.plant(&both);
                follow(&both, &steps).await
            };
            let (dash, busybox) = tokio::join!(one(KINDS[0]), one(KINDS[1]));
            dash.and(busybox)
        })?;
    }
}

/// Renames a container once a file exists.
const SLOW_DOCKER: &str = "#!/bin/sh\n\
    [ \"$1 $2\" = 'container rename' ] || exit 0\n\
    : >\"$HOME/../began-$3\"\n\
    until [ -e \"$HOME/../go-$3\" ] || [ ! -d \"$HOME\" ]; do sleep 0.05; done\n\
    [ ! -d \"$HOME\" ] || : >\"$HOME/../done-$3\"\n";

/// An apply that died, and the next one.
#[derive(Debug, Clone)]
struct Dead {
    /// The commands that it left running.
    left: Vec<How>,
    /// Whether these end while they are waited for.
    ends: bool,
    /// Whether the lock is still held, as over a frozen link.
    frozen: bool,
    claim: Claim,
}

fn dead() -> impl Strategy<Value = Dead> {
    (
        prop::collection::vec(hows(), 1..4),
        any::<bool>(),
        prop::bool::weighted(0.3),
        claims(0..2),
    )
        .prop_map(|(left, ends, frozen, claim)| Dead {
            left,
            ends,
            frozen,
            claim,
        })
}

impl Dead {
    /// The seconds of patience, if not the script's default.
    fn patience(&self) -> Option<u32> {
        if self.ends {
            return None;
        }
        // Loading gets five times as long.
        let is_short = self.claim == Claim::Try || self.left.contains(&How::Loads);
        Some(u32::from(!is_short))
    }

    /// Starts the remaining commands on both.
    async fn leave(&self, both: &Both) -> Vec<Child> {
        let mut children = vec![];
        for (index, how) in self.left.iter().enumerate() {
            let id = index.to_string();
            let container = super::records::container(&id, &format!("before {id}"));
            both.vpu
                .world(|world| world.containers.insert(id.clone(), container));
            let rename = remote::rename_container(&id, &format!("after {id}"));
            let command = remote::run(&token(0), *how, None, &rename);
            let ends = if self.ends {
                Ends::WaitedFor
            } else {
                Ends::Never
            };
            both.vpu.leave(&command, ends);
            let child = Command::new(both.sandbox.bin().join("sh"))
                .args(&command.words()[1..])
                .env_clear()
                .env("PATH", both.sandbox.bin())
                .env("HOME", both.sandbox.home())
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            children.push(child.unwrap());
            let began = both.sandbox.path().join(format!("began-{id}"));
            for _ in 0..500 {
                if began.exists() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(began.exists(), "{self:?}");
        }
        children
    }

    /// Lets the remaining commands end, except those that read from the link.
    fn go(&self, both: &Both) {
        for (index, how) in self.left.iter().enumerate() {
            if self.ends && *how != How::Brings {
                fs::write(both.sandbox.path().join(format!("go-{index}")), "").unwrap();
            }
        }
    }

    /// Whether a remaining command completed, on both.
    fn is_done(both: &Both, index: usize) -> (bool, bool) {
        let done = both.sandbox.path().join(format!("done-{index}"));
        let name = both
            .vpu
            .world(|world| world.containers[&index.to_string()].name.clone());
        (done.exists(), name.starts_with("after"))
    }

    async fn follow(&self, kind: (&[&str], Tools)) -> TestCaseResult {
        let both = both(kind, &Tree::new());
        both.sandbox.program("docker", SLOW_DOCKER);
        let mut held = claim_both(&both, 0, &Claim::Try, None, &|| ()).await?;
        let mut children = self.leave(&both).await;
        if !self.frozen {
            held = None;
            same_soon(&both, "its end").await?;
        }
        // Commands that are not waited for do not end before.
        let waits = || self.go(&both);
        let next = claim_both(&both, 1, &self.claim, self.patience(), &waits).await?;
        same_soon(&both, &format!("{self:?}")).await?;
        for (index, how) in self.left.iter().enumerate() {
            // A plain command is not waited for if the lock is broken or held by another apply.
            let is_free = self.claim == Claim::Break && *how == How::Works;
            if next.is_some() && !is_free {
                let (real, memory) = Self::is_done(&both, index);
                prop_assert_eq!(real, memory, "number {} of {:?}", index, self);
            }
        }
        drop((held, next));
        if self.ends {
            self.go(&both);
            same_soon(&both, "the end of all").await?;
            let last = claim_both(&both, 2, &Claim::Wait, None, &|| ()).await?;
            prop_assert!(last.is_some(), "{:?}", self);
            for index in 0..self.left.len() {
                let (real, memory) = Self::is_done(&both, index);
                prop_assert_eq!(real, memory, "at last, number {} of {:?}", index, self);
            }
        }
        for child in &mut children {
            let _ = child.kill();
            child.wait().unwrap();
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(slow(4))]

    #[test]
    fn commands_left_by_dead_applies_are_settled_the_same(
        // All at once, as they wait.
        dead in prop::collection::vec(dead(), 3),
    ) {
        run(async {
            let mut all = tokio::task::JoinSet::new();
            for one in dead {
                for kind in o3r_testing::variants(KINDS, 1) {
                    let one = one.clone();
                    all.spawn(async move { one.follow(kind).await });
                }
            }
            for result in all.join_all().await {
                result?;
            }
            Ok(())
        })?;
    }
}
