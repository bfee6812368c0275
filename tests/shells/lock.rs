//! The lock, and what of a dead apply is ended or waited for when it is taken.

use std::process::{Child, Command, Stdio};

use o3r_deploy::host::Held;

use super::*;

const WHO: &str = r#""at":"now","by":"me@here""#;

impl Box {
    async fn hold(&self, claim: Claim) -> Result<Held, Output> {
        let command = remote::lock(WHO, claim);
        self.host.hold(&command).await.unwrap()
    }

    async fn taken(&self, claim: Claim) -> Held {
        self.hold(claim).await.unwrap()
    }

    async fn refused(&self, claim: Claim) -> Output {
        self.hold(claim).await.err().unwrap()
    }

    /// A process of this script, as ours are on a VPU.
    fn start(&self, script: &str, name: &str, args: &[&str]) -> Child {
        let path = self.directory.path().join("bin");
        let mut command = Command::new(path.join("sh"));
        command.args(["-c", script, name]).args(args);
        command.stdin(Stdio::piped()).env("PATH", &path);
        command.spawn().unwrap()
    }
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until a lock that was let go of is free.
async fn freed() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn the_lock_is_held_by_one_and_freed_by_whatever_end() {
    for shell in SHELLS {
        let fixture = Box::new(shell, &[]);
        let owner = fixture.home().join(".o3r-deploy/lock/owner");
        let first = fixture.taken(Claim::Wait).await;
        let refused = fixture.refused(Claim::Wait).await;
        assert_eq!(refused.code, remote::LOCKED);
        assert_eq!(refused.tail(1), WHO);

        let taken = fixture.taken(Claim::Break).await;
        drop(first);
        freed().await;
        assert!(
            owner.exists(),
            "the end of a broken lock's holder frees the new one's"
        );
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

        // Left behind by a process that is gone, and by another boot.
        for stale in ["999999999\nBOOT\nx\n", "1\nanother-boot\nx\n"] {
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
            std::fs::create_dir_all(owner.parent().unwrap()).unwrap();
            std::fs::write(&owner, stale.replace("BOOT", boot.trim())).unwrap();
            let held = fixture.taken(Claim::Wait).await;
            let kept = base.join("kept");
            std::fs::write(&kept, "").unwrap();
            drop(held);
            freed().await;
            assert!(kept.exists() && !owner.exists());
        }
    }
}

#[tokio::test]
async fn the_lock_waits_for_what_a_dead_apply_left_running_and_for_nothing_else() {
    for shell in SHELLS {
        let fixture = Box::new(shell, &[]);
        // As an application's container may be called, and what looks for ours.
        let others = [
            fixture.start("read -r line", "o3r-inspector.sh", &[]),
            fixture.start("read -r line; : the word o3r-in in a text", "sh", &[]),
        ];
        drop(fixture.taken(Claim::Wait).await);
        others.into_iter().for_each(end);

        let words = ["/a project", "docker-compose", "up"];
        let mut ours = fixture.start("sleep 2; :", "o3r-in", &words);
        let refused = fixture.refused(Claim::Try).await;
        assert_eq!(refused.code, remote::LEFTOVER);
        let named = format!("{} /a project docker-compose up", ours.id());
        assert_eq!(refused.tail(1).trim_end(), named);
        drop(fixture.taken(Claim::Wait).await);
        assert!(ours.try_wait().unwrap().is_some(), "{shell:?}");
        freed().await;

        // Who breaks the lock knows better.
        let ours = fixture.start("read -r line", "o3r-in", &words);
        drop(fixture.taken(Claim::Break).await);
        end(ours);
    }
}

/// After a power cut, say.
#[tokio::test]
async fn the_lock_removes_what_a_delta_was_built_in() {
    for shell in SHELLS {
        let fixture = Box::new(shell, &[]);
        fixture.program("docker", "#!/bin/sh\necho \"$*\" >>\"$HOME/docker\"\n");
        let delta = fixture.home().join(".o3r-deploy/delta");
        drop(fixture.taken(Claim::Wait).await);
        freed().await;
        std::fs::create_dir_all(delta.join("old/etc")).unwrap();
        drop(fixture.taken(Claim::Wait).await);
        freed().await;
        assert!(!delta.exists(), "{shell:?}");
        let docker = std::fs::read_to_string(fixture.home().join("docker")).unwrap();
        assert_eq!(docker, "rm -f -v o3r-deploy-delta\n");
    }
}

/// They would clean up where the next apply works.
#[tokio::test]
async fn the_lock_ends_what_lost_its_link_and_waits_for_what_loads() {
    for shell in SHELLS {
        let fixture = Box::new(shell, &[]);
        let below = |path: &str| format!("{}/.o3r-deploy/{path}", text(&fixture.home()));
        let (staging, arriving) = (below("staging"), below("arriving/x"));
        let elsewhere = format!("{}/flash/.o3r-staging", text(&fixture.home()));
        for claim in [Claim::Wait, Claim::Break] {
            let mut stale = fixture.start("read -r line; :", "o3r-stage-files", &[&staging]);
            let mut far = fixture.start("read -r line; :", "o3r-stage-files", &[&elsewhere]);
            let mut other = fixture.start("read -r line; :", "o3r-stage-files", &["/elsewhere"]);
            let held = fixture.taken(claim).await;
            assert_eq!(stale.wait().unwrap().code(), None, "{shell:?}");
            assert_eq!(far.wait().unwrap().code(), None, "{shell:?}");
            assert!(other.try_wait().unwrap().is_none(), "{shell:?}");
            end(other);
            drop(held);
            freed().await;

            let mut load = fixture.start("sleep 2; :", "o3r-load-part", &[&arriving]);
            let refused = fixture.refused(Claim::Try).await;
            assert_eq!(refused.code, remote::LEFTOVER);
            let named = format!("{} {arriving}", load.id());
            assert_eq!(refused.tail(1).trim_end(), named);
            let held = fixture.taken(claim).await;
            let ended = load.try_wait().unwrap();
            assert!(ended.is_some_and(|status| status.success()), "{shell:?}");
            drop(held);
            freed().await;
        }
    }
}
