//! The lock, and which remains of a dead apply are ended or waited for when it is taken.

use std::{
    ops::Deref,
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use o3r_deploy::internal::{
    host::Held,
    remote::{Holder, How},
};

use super::*;

const WHO: &str = r#""at":"now","by":"me@here""#;

pub(crate) const TOKEN: &str = "o3r-1";

/// The default holder.
pub(crate) fn holder(who: &str) -> Holder {
    Holder {
        token: TOKEN.into(),
        client: "boot pid:[1] 2 3".into(),
        who: who.into(),
        silence: 60,
    }
}

/// Why the lock was not taken.
#[derive(Debug)]
struct Refused {
    code: i32,
    said: Vec<String>,
}

/// A sandbox whose lock is taken.
struct Vpu(Sandbox);

impl Deref for Vpu {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.0
    }
}

impl Vpu {
    fn new(shell: &[&str]) -> Self {
        Self(sandbox(shell, &[]))
    }

    async fn hold_as(&self, holder: &Holder, claim: &Claim) -> Result<Held, Refused> {
        let command = remote::lock(holder, claim);
        let said = Mutex::new(vec![]);
        let note = |line: &str| said.lock().unwrap().push(line.to_owned());
        let held = self.host.hold(&command, &holder.token, &note).await;
        held.unwrap().map_err(|output| Refused {
            code: output.code,
            said: said.into_inner().unwrap(),
        })
    }

    async fn taken(&self, claim: Claim) -> Held {
        self.hold_as(&holder(WHO), &claim).await.unwrap()
    }

    async fn refused(&self, claim: Claim) -> Refused {
        self.hold_as(&holder(WHO), &claim).await.err().unwrap()
    }

    /// Starts a process of this script, as on a VPU.
    fn start(&self, script: &str, name: &str, args: &[&str]) -> Child {
        self.spawn(&Argv::script(script, name, args.iter().copied()))
    }

    fn spawn(&self, command: &Argv) -> Child {
        let path = self.bin();
        let mut process = Command::new(path.join("sh"));
        process.args(&command.words()[1..]);
        process.stdin(Stdio::piped()).env("PATH", &path);
        process.env("HOME", self.home()).stdout(Stdio::null());
        process.spawn().unwrap()
    }

    /// Starts a command of the apply with the lock `token` that runs `script`.
    fn works(&self, token: &str, how: How, script: &str) -> Child {
        let command = Argv::script(script, "o3r-work", ["/a project"]);
        let child = self.spawn(&remote::run(token, how, None, &command));
        // Until it has checked the lock.
        std::thread::sleep(Duration::from_millis(200));
        child
    }

    /// Returns the file that a client leaves if it is killed
    /// while its link is frozen: somebody may take its lock.
    fn owner(&self) -> PathBuf {
        self.home().join(".o3r-deploy/lock/owner")
    }
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until a released lock is free.
async fn freed() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

fn boot() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    boot.trim().to_owned()
}

#[tokio::test]
async fn the_lock_is_held_by_one_and_released_by_any_end() {
    for shell in shells() {
        let fixture = Vpu::new(shell);
        let owner = fixture.owner();
        let first = fixture.taken(Claim::Wait).await;
        assert_eq!(first.token(), TOKEN);
        let refused = fixture.refused(Claim::Wait).await;
        assert_eq!(refused.code, remote::LOCKED);
        let said = [format!("busy {WHO}"), "owner o3r-1 boot pid:[1] 2 3".into()];
        assert_eq!(refused.said, said);

        let taken = fixture.taken(Claim::Break).await;
        // The first holder is notified.
        first.lost().await;
        drop(first);
        freed().await;
        assert!(
            owner.exists(),
            "the end of a broken lock's holder frees the new one's"
        );
        assert!(!taken.is_lost());
        drop(taken);
        let base = fixture.home().join(".o3r-deploy");
        for _ in 0..50 {
            if !base.exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!owner.exists(), "the lock outlives its holder");
        assert!(!base.exists(), "a lock for nothing leaves a directory");
    }
}

/// Its holder is slowly removing it while another one takes it over.
#[tokio::test]
async fn a_lock_that_is_taken_over_while_it_is_released_is_the_new_holders() {
    // busybox has rm built in.
    let fixture = Vpu::new(SHELLS[0]);
    let rm = format!(
        "#!/bin/sh\n[ -e \"$HOME/slow\" ] || {{ : >\"$HOME/slow\"; sleep 0.6; }}\nexec {} rm \"$@\"\n",
        needed("busybox").display()
    );
    let first = fixture.taken(Claim::Wait).await;
    fixture.program("rm", &rm);
    drop(first);
    let slow = fixture.home().join("slow");
    for _ in 0..400 {
        if slow.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(slow.exists());
    let taken = fixture.taken(Claim::Break).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(fixture.owner().exists());
    assert!(!taken.is_lost());
}

/// Left by a process that is gone, by another boot, by a number that another process has now, by a
/// full disk; and one that an older version of this tool holds.
#[tokio::test]
async fn a_lock_is_stale_when_its_process_is_not_the_one_that_took_it() {
    let check = async |shell: &'static [&'static str]| {
        let fixture = Vpu::new(shell);
        let (owner, base) = (fixture.owner(), fixture.home().join(".o3r-deploy"));
        let process = fixture.start("read -r line", "sh", &[]);
        let began = std::time::SystemTime::now();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
        let started = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19);
        let (pid, started) = (process.id(), started.unwrap());
        let boot = boot();
        for (text, stale) in [
            (format!("999999999\n{boot}\nx\n"), true),
            ("1\nanother-boot\nx\n".to_owned(), true),
            (format!("{pid}\n{boot}\nx\n{started}\nt\nc\n"), false),
            (format!("{pid}\n{boot}\nx\n1{started}\nt\nc\n"), true),
            (String::new(), true),
            // From an older version, which did not note
            // when it started: as old as its file, or not.
            (format!("{pid}\n{boot}\nx\n"), false),
            (format!("1\n{boot}\nx\n"), true),
        ] {
            std::fs::create_dir_all(owner.parent().unwrap()).unwrap();
            std::fs::write(&owner, &text).unwrap();
            // As old as the process, however slow this machine is.
            let file = std::fs::File::options().append(true).open(&owner);
            file.unwrap().set_modified(began).unwrap();
            let held = fixture.hold_as(&holder(WHO), &Claim::Try).await;
            assert_eq!(held.is_ok(), stale, "{shell:?} {text:?}");
            let kept = base.join("kept");
            std::fs::write(&kept, "").unwrap();
            let was_held = held.is_ok();
            drop(held);
            freed().await;
            assert!(kept.exists() && owner.exists() != was_held);
        }
        end(process);
    };
    tokio::join!(check(SHELLS[0]), check(SHELLS[1]));
}

/// The client of a frozen link is silent; on its own machine, it is known to be dead.
#[tokio::test]
async fn the_lock_ends_if_its_client_is_silent_and_may_be_taken_from_a_dead_one() {
    let check = async |shell: &'static [&'static str]| {
        let fixture = Vpu::new(shell);
        let silent = Holder {
            silence: 5,
            ..holder(WHO)
        };
        let mut process = fixture.spawn(&remote::lock(&silent, &Claim::Wait));
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(fixture.refused(Claim::Wait).await.code, remote::LOCKED);
        let other = fixture.refused(Claim::Take("o3r-2".into())).await;
        assert_eq!(other.code, remote::LOCKED, "it is another's by now");
        // An occasional line is a sign of life.
        for _ in 0..8 {
            use std::io::Write as _;
            process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(process.try_wait().unwrap().is_none(), "{shell:?}");
        assert!(fixture.owner().exists());
        for _ in 0..80 {
            if process.try_wait().unwrap().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(process.try_wait().unwrap().is_some(), "{shell:?}");
        drop(fixture.taken(Claim::Try).await);
        freed().await;

        let mut frozen = fixture.spawn(&remote::lock(&holder(WHO), &Claim::Wait));
        let has_it = |owner: String| owner.contains(TOKEN);
        while !std::fs::read_to_string(fixture.owner()).is_ok_and(has_it) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let next = Holder {
            token: "o3r-2".into(),
            ..holder(WHO)
        };
        let taken = fixture.hold_as(&next, &Claim::Take(TOKEN.into())).await;
        assert!(frozen.wait().is_ok(), "it ends");
        freed().await;
        assert!(fixture.owner().exists());
        drop(taken);
        freed().await;
    };
    tokio::join!(check(SHELLS[0]), check(SHELLS[1]));
}

/// A full disk is not reported as another apply.
#[tokio::test]
async fn a_lock_that_cannot_be_written_says_why() {
    for shell in shells() {
        let fixture = Vpu::new(shell);
        std::fs::write(fixture.home().join(".o3r-deploy"), "").unwrap();
        let refused = fixture.refused(Claim::Wait).await;
        assert_eq!(refused.code, 1);
        let said = &refused.said[0];
        assert!(said.starts_with("failed mkdir: "), "{refused:?}");
    }
    // busybox has these two built in.
    let real = needed("busybox");
    let full = |fixture: &Vpu, name: &str, fails: &str| {
        let text = format!(
            "#!/bin/sh\n{fails}\nexec {} {name} \"$@\"\n",
            real.display()
        );
        fixture.program(name, &text);
    };
    let fixture = Vpu::new(SHELLS[0]);
    let fails = "case $* in *lock*) echo \"mkdir: cannot create directory '$2': No space left on device\" >&2; exit 1 ;; esac";
    full(&fixture, "mkdir", fails);
    let refused = fixture.refused(Claim::Wait).await;
    assert!(refused.said[0].ends_with("lock': No space left on device"));

    // There is room for a directory, but not for a file.
    let fixture = Vpu::new(SHELLS[0]);
    let fails = "[ $# != 0 ] || { echo 'cat: write error: No space left on device' >&2; exit 1; }";
    full(&fixture, "cat", fails);
    for claim in [Claim::Wait, Claim::Break] {
        let refused = fixture.refused(claim).await;
        assert_eq!(refused.code, 1, "{refused:?}");
        let said = "failed cat: write error: No space left on device";
        assert_eq!(refused.said, [said]);
        assert!(!fixture.owner().parent().unwrap().exists());
    }
}

/// All processes that an apply started are recognised, whatever their names.
#[tokio::test]
async fn the_lock_waits_only_for_what_a_dead_apply_left_running() {
    for shell in shells() {
        let fixture = Vpu::new(shell);
        // A name that an application's container may have,
        // and a command that searches for such names.
        let others = [
            fixture.start("read -r line", "o3r-inspector.sh", &[]),
            fixture.start("read -r line; : the word o3r-run in a text", "sh", &[]),
            fixture.start("read -r line; :", "o3r-run", &["brings:me; ls"]),
        ];
        let held = fixture.taken(Claim::Wait).await;
        for mut other in others {
            assert!(other.try_wait().unwrap().is_none());
            end(other);
        }

        let mut ours = fixture.works(TOKEN, How::Works, "sleep 3; :");
        let stale = fixture.works(TOKEN, How::Brings, "read -r line; :");
        drop(held);
        freed().await;
        let refused = fixture.refused(Claim::Try).await;
        assert_eq!(refused.code, remote::LEFTOVER, "{refused:?}");
        let named = format!("leftover {} o3r-work '/a project'", ours.id());
        assert_eq!(refused.said, [named]);
        let held = fixture.taken(Claim::Wait).await;
        assert!(ours.try_wait().unwrap().unwrap().success(), "{shell:?}");
        assert_eq!(stale.wait_with_output().unwrap().status.code(), None);

        // Breaking the lock does not wait.
        let mut ours = fixture.works(TOKEN, How::Works, "read -r line; :");
        drop(held);
        freed().await;
        drop(fixture.taken(Claim::Break).await);
        assert!(ours.try_wait().unwrap().is_none(), "{shell:?}");
        // Its standard input is closed, so it ends.
        drop(ours.stdin.take());
        end(ours);
        freed().await;
    }
}

/// The children of a run.sh that was killed are recognised by their environment.
#[tokio::test]
async fn the_lock_recognises_what_outlives_the_shell_that_started_it() {
    for shell in shells() {
        let fixture = Vpu::new(shell);
        let held = fixture.taken(Claim::Wait).await;
        let mut parent = fixture.works(TOKEN, How::Loads, "sleep 3; : >\"$HOME/done\"");
        parent.kill().unwrap();
        parent.wait().unwrap();
        drop(held);
        freed().await;
        let refused = fixture.refused(Claim::Try).await;
        assert_eq!(refused.code, remote::LEFTOVER, "{refused:?}");
        drop(fixture.taken(Claim::Break).await);
        assert!(fixture.home().join("done").exists(), "{shell:?}");
        freed().await;
    }
}

/// A client that dies ends neither the command nor its output.
#[tokio::test]
async fn a_command_completes_without_a_client_and_does_not_run_without_the_lock() {
    for shell in shells() {
        let fixture = Vpu::new(shell);
        let script = "sleep 1; i=0; while [ $i -lt 3000 ]; do printf '%s\\n' \"line $i of what it says\" || exit; \
                      echo more >&2 || exit; i=$((i + 1)); done; : >\"$HOME/done\"";
        let work = Argv::script(script, "o3r-work", ["x"]);
        let run = remote::run(TOKEN, How::Works, None, &work);
        let output = fixture.run(&run, b"").await;
        assert_eq!(output.code, remote::LOST, "{output:?}");
        assert_eq!(output.tail(1), "o3r-1 lost");
        let held = fixture.taken(Claim::Wait).await;
        let other = fixture
            .run(&remote::run("o3r-2", How::Works, None, &work), b"")
            .await;
        assert_eq!(other.code, remote::LOST);
        assert!(!fixture.home().join("done").exists());

        let output = fixture.run(&run, b"").await;
        assert!(output.success(), "{output:?}");
        assert!(output.stdout.ends_with(b"line 2999 of what it says\n"));
        assert_eq!(output.stderr.len(), 3000 * 5);
        std::fs::remove_file(fixture.home().join("done")).unwrap();

        let mut child = Command::new(fixture.path().join("bin/sh"))
            .args(&run.words()[1..])
            .env("PATH", fixture.bin())
            .env("HOME", fixture.home())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        tokio::time::sleep(Duration::from_millis(500)).await;
        Command::new("kill")
            .args(["-s", "HUP", &child.id().to_string()])
            .status()
            .unwrap();
        let status = child.wait().unwrap();
        assert!(fixture.home().join("done").exists(), "{shell:?} {status:?}");
        drop(held);
        freed().await;
    }
}

/// After a power cut, for example.
#[tokio::test]
async fn the_lock_removes_what_dead_applies_left() {
    for shell in shells() {
        let fixture = Vpu::new(shell);
        fixture.program("docker", "#!/bin/sh\necho \"$*\" >>\"$HOME/docker\"\n");
        let base = fixture.home().join(".o3r-deploy");
        drop(fixture.taken(Claim::Wait).await);
        freed().await;
        std::fs::create_dir_all(base.join("delta/old/etc")).unwrap();
        let (new, other) = (fixture.home().join("a b.o3r-new"), fixture.home().join("c"));
        std::fs::write(&new, "half").unwrap();
        std::fs::write(&other, "someone's").unwrap();
        let list = format!("{}\n{}\n/nowhere/x.o3r-new\n", text(&new), text(&other));
        std::fs::write(base.join("unfinished"), list).unwrap();
        fixture.program("sync", "#!/bin/sh\necho sync >>\"$HOME/docker\"\n");
        let loading = base.join("loading");
        std::fs::create_dir_all(&loading).unwrap();
        std::fs::write(loading.join(format!("{}.7", boot())), "").unwrap();
        drop(fixture.taken(Claim::Wait).await);
        freed().await;
        assert!(!new.exists() && other.exists(), "{shell:?}");
        assert!(!base.exists(), "{shell:?}");
        let docker = std::fs::read_to_string(fixture.home().join("docker")).unwrap();
        let did: Vec<&str> = docker
            .lines()
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        // Busybox's shell has sync built in.
        let all = if shell == SHELLS[0] {
            &["info", "sync", "rm"][..]
        } else {
            &["info", "rm"]
        };
        assert_eq!(did, all);
        // That of another boot stays: what was loaded may be damaged.
        std::fs::create_dir_all(&loading).unwrap();
        std::fs::write(loading.join("another.7"), "").unwrap();
        drop(fixture.taken(Claim::Wait).await);
        freed().await;
        assert!(loading.join("another.7").exists(), "{shell:?}");
    }
}

/// Two docker-compose on one project fail.
#[tokio::test]
async fn the_lock_waits_for_the_boot_to_start_its_containers() {
    for shell in shells() {
        let fixture = Vpu::new(shell);
        fixture.program(
            "systemctl",
            "#!/bin/sh\n[ -n \"$XDG_RUNTIME_DIR\" ] || exit 1\necho x >>\"$HOME/asked\"\n\
             [ \"$(grep -c x \"$HOME/asked\")\" -ge 3 ] || echo 'oem-dc@app.service loaded activating start start x'\n",
        );
        drop(fixture.taken(Claim::Wait).await);
        let asked = std::fs::read_to_string(fixture.home().join("asked")).unwrap_or_default();
        assert_eq!(asked, "x\nx\nx\n", "{shell:?}");
        freed().await;
    }
}
