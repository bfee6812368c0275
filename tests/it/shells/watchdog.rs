//! The watchdog: the program on the VPU that rolls back if an apply falls silent.

use std::{
    fs,
    time::{Duration, Instant},
};

use o3r_deploy::{
    Speeds, Summary,
    internal::{
        desired::{ManifestRef, Permits},
        observe::{Verdict, Watchdog},
        plan::{
            Action, Address, Armed, Cause, Command, Payload, Phase, Plan, ResourceKind, Step, Vpu,
        },
        remote::Answer,
    },
};

use super::*;

const NONCE: &str = "o3r-n1";

const MORE: &[&str] = &["env", "ln", "mkfifo", "setsid", "tail", "timeout", "wc"];

fn vpu(shell: &[&str]) -> Sandbox {
    let sandbox = sandbox(shell, MORE);
    sandbox.program("docker", "#!/bin/sh\nexit 0\n");
    sandbox
}

/// A step of the switch whose undo commands are these scripts.
fn step(id: usize, name: &str, undo: &[&str]) -> Step {
    let undo = undo.iter().map(|script| {
        let argv = Argv::script(script, "o3r-test", ["it's"]);
        Command::with(argv, Payload::inline(format!("payload of '{name}'\n")))
    });
    Step {
        id,
        address: Address::new(ResourceKind::Compose, name),
        action: Action::Update,
        phase: Phase::Switch,
        cause: Cause::Missing,
        further_causes: vec![],
        detail: None,
        depends_on: vec![],
        source: None,
        changes: vec![],
        restarts: vec![],
        actions: vec![],
        commands: vec![],
        bytes_to_send: 0,
        undo: undo.collect(),
        rollback_always: false,
    }
}

fn plan(steps: Vec<Step>) -> Plan {
    Plan {
        format: 2,
        tool: String::new(),
        vpu: Vpu::default(),
        manifest: ManifestRef::default(),
        fingerprint: Digest::of(b""),
        steps,
        blocked: vec![],
        notes: vec![],
        speeds: Speeds::default(),
        unmanaged: vec![],
        not_restorable: vec![],
        permits: Permits::default(),
        watchdog: None,
        summary: Summary::default(),
    }
}

/// The apply with this lock.
fn armed(token: &str) -> Armed<'_> {
    Armed {
        release: "app",
        nonce: NONCE,
        token,
        who: r#""by":"me@pc","at":"now""#,
    }
}

/// Arms the watchdog of a plan; it fires after N seconds.
async fn arm(vpu: &Sandbox, plan: &Plan, seconds: u64) {
    let program = armed("o3r-dead").undo_program(plan);
    let arm = remote::arm("app", NONCE, seconds, "o3r-dead", false, program.len());
    let armed = vpu.run(&arm, program.as_bytes()).await;
    assert!(armed.success(), "{armed:?}");
}

/// What the apply does when a step begins.
fn begin(vpu: &Sandbox, step: usize) {
    let mark = vpu
        .home()
        .join(".o3r-deploy/watchdog")
        .join(remote::mark("app", NONCE));
    fs::write(mark, format!("{step:<6}\n")).unwrap();
}

async fn readings(vpu: &Sandbox) -> Readings {
    let observed = observe::observe(&vpu.host, &Query::default())
        .await
        .unwrap();
    observed.readings
}

async fn verdict(vpu: &Sandbox) -> Verdict {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(Watchdog::Ended(verdict)) = readings(vpu).await.watchdogs.remove("app") {
            return verdict;
        }
        assert!(Instant::now() < end, "no verdict: {:?}", files(vpu));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What is left of the watchdog.
fn files(vpu: &Sandbox) -> Vec<String> {
    let Ok(entries) = fs::read_dir(vpu.home().join(".o3r-deploy/watchdog/app")) else {
        return vec![];
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn undone(vpu: &Sandbox) -> String {
    fs::read_to_string(vpu.home().join("undone")).unwrap_or_default()
}

const NOTE: &str = r#"{ printf '%s: ' "$1"; cat; } >>"$HOME/undone""#;

#[tokio::test]
async fn a_silent_apply_is_rolled_back_up_to_the_step_that_began() {
    for shell in shells() {
        let vpu = vpu(shell);
        let mut always = step(3, "always", &[NOTE]);
        always.rollback_always = true;
        let steps = [
            step(1, "first", &[NOTE]),
            step(2, "second", &[NOTE, NOTE]),
            always,
            step(4, "not begun", &[NOTE]),
        ];
        arm(&vpu, &plan(steps.to_vec()), 1).await;
        begin(&vpu, 2);
        let verdict = verdict(&vpu).await;
        assert_eq!(
            undone(&vpu),
            "it's: payload of 'first'\nit's: payload of 'second'\nit's: payload of 'second'\nit's: payload of 'always'\n"
        );
        assert_eq!(
            (verdict.outcome.as_str(), verdict.why.as_str()),
            ("restored", "silence")
        );
        assert_eq!(verdict.step.as_deref(), Some("compose.second"));
        assert_eq!((verdict.by.as_str(), verdict.failed.len()), ("me@pc", 0));
        // The lock is free a moment later.
        let lock = vpu.home().join(".o3r-deploy/lock");
        let end = Instant::now() + Duration::from_secs(20);
        while lock.exists() {
            assert!(Instant::now() < end);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(files(&vpu), [format!("{NONCE}.log"), "verdict".to_owned()]);
    }
}

#[tokio::test]
async fn a_confirmed_release_stays_and_nothing_is_left() {
    for shell in shells() {
        let vpu = vpu(shell);
        arm(&vpu, &plan(vec![step(1, "first", &[NOTE])]), 2).await;
        begin(&vpu, 1);
        let Some(Watchdog::Interrupted { seconds_left }) =
            readings(&vpu).await.watchdogs.remove("app")
        else {
            panic!("not armed: {:?}", files(&vpu))
        };
        assert!(seconds_left <= 2);
        let disarm = remote::disarm("app", NONCE);
        assert!(vpu.run(&disarm, b"").await.success());
        assert!(vpu.run(&disarm, b"").await.success(), "its answer was lost");
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(undone(&vpu), "");
        assert!(!vpu.home().join(".o3r-deploy/watchdog").exists());
        assert!(
            !vpu.home()
                .join(".config/systemd/user/o3r-deploy-watchdog.service")
                .exists()
        );
    }
}

#[tokio::test]
async fn what_cannot_be_restored_is_named_and_the_rest_is_restored() {
    for shell in shells() {
        let vpu = vpu(shell);
        let fails = "echo 'no \"such\" image: a\\b' >&2; exit 3";
        let removed = step(2, "removed", &[]);
        let steps = vec![
            step(1, "first", &[fails, NOTE]),
            removed,
            step(3, "third", &[NOTE]),
        ];
        arm(&vpu, &plan(steps), 1).await;
        begin(&vpu, 3);
        let verdict = verdict(&vpu).await;
        assert_eq!(undone(&vpu), "it's: payload of 'third'\n");
        assert_eq!(verdict.outcome, "failed");
        let failed = verdict
            .failed
            .iter()
            .map(|one| (one.address.as_str(), one.said.as_str()));
        let failed: Vec<_> = failed.collect();
        assert_eq!(
            failed,
            [
                ("compose.first", "no \"such\" image: a\\b"),
                ("compose.removed", "the removed resource cannot be restored"),
            ]
        );
    }
}

#[tokio::test]
async fn a_heartbeat_of_the_lock_extends_the_deadline_even_on_a_full_disk() {
    for shell in shells() {
        let vpu = vpu(shell);
        arm(&vpu, &plan(vec![step(1, "first", &[NOTE])]), 600).await;
        let deadline = vpu.home().join(".o3r-deploy/watchdog/app/deadline");
        // Not over yet: the watchdog would roll back.
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let uptime: u64 = uptime.split('.').next().unwrap().parse().unwrap();
        let soon = format!("{:>10} {:>6}\n", uptime + 120, 600);
        fs::write(&deadline, &soon).unwrap();
        let length = fs::metadata(&deadline).unwrap().len();
        let lock = remote::lock(&lock::holder(r#""by":"me""#), &Claim::Wait);
        vpu.run(&lock, b"\n").await;
        let text = fs::read_to_string(&deadline).unwrap();
        let words: Vec<u64> = text
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        let [until, seconds] = words[..] else {
            panic!("{text:?}")
        };
        assert!(until > uptime + 500 && seconds == 600, "{text:?}");
        // Not where a person has to confirm.
        let waits = deadline.with_file_name("nonce.waits");
        fs::write(&waits, "1.0\n").unwrap();
        fs::write(&deadline, &soon).unwrap();
        vpu.run(&lock, b"\n").await;
        let text = fs::read_to_string(&deadline).unwrap();
        assert_eq!(text, soon);
        fs::remove_file(waits).unwrap();
        // Nothing is allocated for it.
        assert_eq!(text.len() as u64, length);
        assert!(vpu.run(&remote::disarm("app", NONCE), b"").await.success());
    }
}

#[tokio::test]
async fn a_restart_rolls_back_and_a_new_login_does_not() {
    for shell in shells() {
        let vpu = vpu(shell);
        let mut file = step(2, "file", &[NOTE]);
        file.address = Address::new(ResourceKind::File, "app/app.env");
        let steps = vec![step(1, "first", &[NOTE]), file, step(3, "second", &[NOTE])];
        arm(&vpu, &plan(steps), 600).await;
        begin(&vpu, 1);
        let directory = vpu.home().join(".o3r-deploy/watchdog/app");
        let program = directory.join(format!("{NONCE}.sh"));
        let after_boot = Argv::new("sh").args([text(&program), "after-boot"]);
        // In the same boot, it keeps watching.
        let watching = vpu.run(&after_boot, b"");
        let watching = tokio::time::timeout(Duration::from_secs(2), watching).await;
        assert!(watching.is_err() && undone(&vpu).is_empty());
        fs::write(directory.join(format!("{NONCE}.armed")), "another boot\n").unwrap();
        assert!(vpu.run(&after_boot, b"").await.success());
        let verdict = verdict(&vpu).await;
        assert_eq!(
            (verdict.outcome.as_str(), verdict.why.as_str()),
            ("restored", "restart")
        );
        // The boot may have started what did not begin, from files that are restored by now.
        assert_eq!(
            undone(&vpu),
            "it's: payload of 'first'\nit's: payload of 'second'\n"
        );
    }
}

#[tokio::test]
async fn a_rollback_that_was_cut_off_is_completed_after_a_restart() {
    for shell in shells() {
        let vpu = vpu(shell);
        arm(&vpu, &plan(vec![step(1, "first", &[NOTE])]), 600).await;
        begin(&vpu, 1);
        let directory = vpu.home().join(".o3r-deploy/watchdog/app");
        let file = |kind: &str| directory.join(format!("{NONCE}.{kind}"));
        fs::rename(file("armed"), file("reverting")).unwrap();
        assert_eq!(
            readings(&vpu).await.watchdogs.get("app"),
            Some(&Watchdog::RollingBack)
        );
        let refused = vpu.run(&remote::disarm("app", NONCE), b"").await;
        assert_eq!(refused.code, remote::DECIDED);
        let after_boot = Argv::new("sh").args([text(&file("sh")), "after-boot"]);
        assert!(vpu.run(&after_boot, b"").await.success());
        assert_eq!(verdict(&vpu).await.outcome, "restored");
    }
}

#[tokio::test]
async fn a_confirmation_and_the_deadline_in_one_instant_have_one_outcome() {
    let runs: u32 = std::env::var("O3R_WATCHDOG_RACES").map_or(6, |runs| runs.parse().unwrap());
    let (mut confirmed, mut reverted) = (0, 0);
    for run in 0..runs {
        let vpu = vpu(SHELLS[run as usize % 2]);
        arm(&vpu, &plan(vec![step(1, "first", &[NOTE])]), 600).await;
        begin(&vpu, 1);
        let directory = vpu.home().join(".o3r-deploy/watchdog/app");
        fs::write(directory.join(format!("{NONCE}.armed")), "another boot\n").unwrap();
        let program = directory.join(format!("{NONCE}.sh"));
        let after_boot = Argv::new("sh").args([text(&program), "after-boot"]);
        let disarm = remote::disarm("app", NONCE);
        // Up to 20 ms apart, in both orders.
        let (early, late) = if run % 4 < 2 {
            (Duration::from_millis(u64::from(run % 21)), Duration::ZERO)
        } else {
            (Duration::ZERO, Duration::from_millis(u64::from(run % 21)))
        };
        let (_, disarmed) = tokio::join!(
            async {
                tokio::time::sleep(early).await;
                vpu.run(&after_boot, b"").await
            },
            async {
                tokio::time::sleep(late).await;
                vpu.run(&disarm, b"").await
            }
        );
        if disarmed.success() {
            confirmed += 1;
            assert_eq!(undone(&vpu), "", "confirmed and rolled back");
            assert!(!directory.exists());
        } else {
            reverted += 1;
            assert_eq!(disarmed.code, remote::DECIDED);
            assert_eq!(undone(&vpu), "it's: payload of 'first'\n");
            assert_eq!(verdict(&vpu).await.outcome, "restored");
        }
    }
    println!("{confirmed} confirmed, {reverted} rolled back");
}

#[tokio::test]
async fn a_new_apply_takes_over_from_one_that_was_cut_off() {
    for shell in shells() {
        let vpu = vpu(shell);
        let old = plan(vec![step(1, "old", &[NOTE])]);
        arm(&vpu, &old, 600).await;
        begin(&vpu, 1);
        let newer = Armed {
            release: "app",
            nonce: "o3r-n2",
            token: "o3r-other",
            who: r#""by":"me""#,
        };
        let program = newer.undo_program(&old);
        let arm = remote::arm("app", "o3r-n2", 600, "o3r-other", false, program.len());
        assert!(vpu.run(&arm, program.as_bytes()).await.success());
        assert!(
            !files(&vpu).iter().any(|file| file.starts_with(NONCE)),
            "{:?}",
            files(&vpu)
        );
        let refused = vpu.run(&remote::disarm("app", NONCE), b"").await;
        assert_eq!(
            refused.code,
            remote::DECIDED,
            "it is not the one that is armed"
        );
        assert!(
            vpu.run(&remote::disarm("app", "o3r-n2"), b"")
                .await
                .success()
        );
    }
}

/// A plan whose record writes a file, and that waits to be confirmed.
async fn waiting(shell: &[&str]) -> Sandbox {
    let vpu = vpu(shell);
    let mut record = step(2, "app", &[]);
    record.address = Address::new(ResourceKind::Release, "app");
    record.phase = Phase::Settle;
    let argv = Argv::script(r#"cat >>"$HOME/recorded""#, "o3r-test", [] as [&str; 0]);
    record.actions = vec![Command::with(
        argv,
        Payload::inline("recorded\n".to_owned()),
    )];
    arm(&vpu, &plan(vec![step(1, "first", &[NOTE]), record]), 600).await;
    begin(&vpu, 1);
    let awaits = vpu
        .run(&remote::await_answer("app", NONCE, 1800, "1.1.0"), b"")
        .await;
    assert!(awaits.success(), "{awaits:?}");
    let watchdog = readings(&vpu).await.watchdogs.remove("app");
    let Some(Watchdog::Unconfirmed {
        version,
        seconds_left,
    }) = watchdog
    else {
        panic!("{watchdog:?}")
    };
    assert_eq!(version, "1.1.0");
    assert!((1700..=1800).contains(&seconds_left), "{seconds_left}");
    vpu
}

fn recorded(vpu: &Sandbox) -> String {
    fs::read_to_string(vpu.home().join("recorded")).unwrap_or_default()
}

/// Begins the history of applies; returns its path.
fn attempts(vpu: &Sandbox) -> std::path::PathBuf {
    let path = vpu.home().join(".o3r-deploy/attempts/app.jsonl");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "").unwrap();
    path
}

#[tokio::test]
async fn a_person_confirms_and_the_vpu_does_the_rest() {
    for shell in shells() {
        let vpu = waiting(shell).await;
        let answer = |token: &str| remote::answer(Answer::Confirm, token);
        let unknown = vpu.run(&answer("abc"), b"").await;
        assert_eq!(unknown.code, remote::UNKNOWN_TOKEN);
        let noted = attempts(&vpu);
        let confirmed = vpu.run(&answer(NONCE), b"").await;
        assert!(confirmed.success(), "{confirmed:?}");
        assert_eq!(
            (recorded(&vpu).as_str(), undone(&vpu).as_str()),
            ("recorded\n", "")
        );
        let noted = fs::read_to_string(noted).unwrap();
        let token = format!(r#""result":"confirmed","token":"{NONCE}""#);
        assert!(noted.contains(&token), "{noted}");
        assert!(!vpu.home().join(".o3r-deploy/watchdog").exists());
        assert!(!vpu.home().join(".o3r-deploy/lock").exists());
        let again = vpu.run(&answer(NONCE), b"").await;
        assert_eq!(again.code, remote::UNKNOWN_TOKEN);
    }
}

#[tokio::test]
async fn a_person_cancels_and_the_vpu_rolls_back() {
    for shell in shells() {
        let vpu = waiting(shell).await;
        let noted = attempts(&vpu);
        let cancelled = vpu.run(&remote::answer(Answer::Cancel, NONCE), b"").await;
        assert!(cancelled.success(), "{cancelled:?}");
        let told: Verdict = serde_json::from_slice(&cancelled.stdout).unwrap();
        assert_eq!(
            (told.outcome.as_str(), told.why.as_str()),
            ("restored", "cancel")
        );
        assert_eq!(
            (recorded(&vpu), undone(&vpu)),
            (String::new(), "it's: payload of 'first'\n".to_owned())
        );
        let noted = fs::read_to_string(noted).unwrap();
        let token = format!(r#""result":"cancelled","token":"{NONCE}""#);
        assert!(noted.contains(&token), "{noted}");
        let late = vpu.run(&remote::answer(Answer::Confirm, NONCE), b"").await;
        assert_eq!(late.code, remote::DECIDED);
    }
}

#[tokio::test]
async fn a_release_that_nobody_confirms_is_rolled_back() {
    for shell in shells() {
        let vpu = waiting(shell).await;
        let awaits = vpu
            .run(&remote::await_answer("app", NONCE, 0, ""), b"")
            .await;
        assert!(awaits.success());
        assert_eq!(verdict(&vpu).await.why, "unconfirmed");
        assert_eq!(recorded(&vpu), "");
    }
}

/// Of a client that dies while it sends: a power cut then would leave a watchdog that never decides.
#[tokio::test]
async fn a_program_that_does_not_arrive_whole_is_not_armed() {
    for shell in shells() {
        let vpu = vpu(shell);
        let program = armed("o3r-dead").undo_program(&plan(vec![step(1, "first", &[NOTE])]));
        let arm = remote::arm("app", NONCE, 600, "o3r-dead", false, program.len());
        for arrives in [0, 3000, program.len() - 1] {
            let ran = vpu.run(&arm, &program.as_bytes()[..arrives]).await;
            assert!(
                !ran.success() && ran.tail(1).contains("was cut short"),
                "{ran:?}"
            );
            assert!(!vpu.home().join(".o3r-deploy/watchdog").exists());
        }
    }
}

#[tokio::test]
async fn the_unit_for_a_restart_is_there_as_long_as_the_watchdog() {
    for shell in shells() {
        let vpu = vpu(shell);
        let plan = plan(vec![step(1, "first", &[NOTE])]);
        let program = armed("o3r-dead").undo_program(&plan);
        let arm = remote::arm("app", NONCE, 600, "o3r-dead", true, program.len());
        assert!(vpu.run(&arm, program.as_bytes()).await.success());
        let units = vpu.home().join(".config/systemd/user");
        let link = units.join("default.target.wants/o3r-deploy-watchdog.service");
        assert!(fs::read_to_string(&link).unwrap().contains("after-boot"));
        assert!(vpu.run(&remote::disarm("app", NONCE), b"").await.success());
        assert!(!link.exists() && !units.join("o3r-deploy-watchdog.service").exists());
        // Where it cannot be written, no release is started.
        fs::remove_dir_all(&units).unwrap();
        fs::write(&units, "").unwrap();
        let refused = vpu.run(&arm, program.as_bytes()).await;
        assert!(
            !refused.success() && refused.tail(1).contains("cannot be written"),
            "{refused:?}"
        );
        assert!(!vpu.home().join(".o3r-deploy/watchdog/app").exists());
    }
}

/// `status` says that the last apply failed until the next one succeeds.
#[tokio::test]
async fn the_verdict_of_a_client_that_rolled_back_stays() {
    for shell in shells() {
        let vpu = vpu(shell);
        arm(&vpu, &plan(vec![step(1, "first", &[NOTE])]), 600).await;
        let disarm = remote::disarm_with_verdict("app", NONCE);
        let told = concat!(
            r#"{"by":"me@pc","at":"2026-11-30T00:17:28Z","why":"step-failed","outcome":"restored"}"#,
            "\n"
        );
        for _ in ["first", "its answer was lost"] {
            let ended = vpu.run(&disarm, told.as_bytes()).await;
            assert!(ended.success(), "{ended:?}");
            let verdict = verdict(&vpu).await;
            assert!(verdict.is_of_client(), "{verdict:?}");
        }
        let ended = format!("{NONCE}.ended");
        assert_eq!(files(&vpu), [ended, "verdict".to_owned()]);
        // The next apply.
        arm(&vpu, &plan(vec![step(1, "first", &[NOTE])]), 600).await;
        let watchdog = readings(&vpu).await.watchdogs.remove("app");
        assert!(
            !matches!(watchdog, Some(Watchdog::Ended(_))),
            "{watchdog:?}"
        );
        assert!(vpu.run(&remote::disarm("app", NONCE), b"").await.success());
        assert!(!vpu.home().join(".o3r-deploy/watchdog").exists());
    }
}

/// A step whose beginning cannot be noted would not be undone: it does not begin.
#[tokio::test]
async fn a_step_that_cannot_be_noted_does_not_begin() {
    for shell in shells() {
        let vpu = vpu(shell);
        let command = remote::lock(&lock::holder(r#""by":"me""#), &Claim::Wait);
        let held = vpu.host.hold(&command, lock::TOKEN, &|_| ()).await.unwrap();
        let _held = held.unwrap();
        let mark = remote::mark("app", NONCE);
        let touch = Argv::script(r#": >"$HOME/began""#, "o3r-test", [] as [&str; 0]);
        let run = remote::run(lock::TOKEN, remote::How::Works, Some((1, &mark)), &touch);
        let refused = vpu.run(&run, b"").await;
        assert!(
            refused.tail(1).contains("which the watchdog needs"),
            "{refused:?}"
        );
        assert!(!refused.success() && !vpu.home().join("began").exists());
        arm(&vpu, &plan(vec![step(1, "first", &[NOTE])]), 600).await;
        assert!(vpu.run(&run, b"").await.success());
        assert!(vpu.home().join("began").exists());
        assert!(vpu.run(&remote::disarm("app", NONCE), b"").await.success());
    }
}
