//! The script that waits until a project's containers are healthy, with a scripted docker: each
//! look at the containers gets the next answer, and the last one repeats.

use o3r_deploy::internal::health::{HealthGate, Probes};

use super::*;

const DOCKER: &str = r#"#!/bin/sh
case "$1 $2" in
'container ls') echo 'c1 app_web_1' ;;
'container inspect')
    case $4 in
    *RestartCount*)
        number=$(cat "$HOME/../looks" 2>/dev/null)
        number=$((${number:-0} + 1))
        [ -e "$HOME/../look.$number" ] || number=$((number - 1))
        echo "$number" >"$HOME/../looks"
        cat "$HOME/../look.$number"
        ;;
    *Config.Healthcheck*) cat "$HOME/../check" 2>/dev/null ;;
    *Output*) printf '%s\n\n' '7 "first"' '1 "cannot connect\n"' ;;
    esac
    ;;
'events '*) echo "$*" >>"$HOME/../asked"; printf '3\n%s\n' "$(cat "$HOME/../died" 2>/dev/null)" ;;
'logs '*) [ -e "$HOME/../silent" ] || echo its last words ;;
'exec c1') shift 2; IN_CONTAINER=yes "$@" ;;
esac
"#;

/// `ID RESTARTS START STATUS CODE OOM POLICY NAME HEALTH CHECKS`.
fn look(restarts: u32, start: u32, state: &str, policy: &str, health: &str) -> String {
    format!("c1 {restarts} 2026-01-01T00:00:0{start}Z {state} {policy} /app_web_1 {health}\n")
}

/// Returns the script's output for these looks; empty if it passes silently.
async fn said(
    shell: &'static [&'static str],
    looks: &[String],
    gate: &HealthGate,
    files: &[(&str, &str)],
) -> (bool, String) {
    let fixture = sandbox(shell, &["true", "false", "head"]);
    fixture.program("docker", DOCKER);
    let around = fixture.home().parent().unwrap().to_owned();
    for (index, look) in looks.iter().enumerate() {
        std::fs::write(around.join(format!("look.{}", index + 1)), look).unwrap();
    }
    for (name, text) in files {
        std::fs::write(around.join(name), text).unwrap();
    }
    let output = fixture.run(&remote::wait_healthy("app", gate), b"").await;
    (output.success(), output.tail(30))
}

fn gate() -> HealthGate {
    HealthGate {
        timeout: Some(Duration::from_secs(3)),
        settle: Duration::from_secs(1),
        ..HealthGate::default()
    }
}

/// The looks, whether the gate is passed, and the output.
type Case = (Vec<String>, bool, &'static str);

fn cases() -> Vec<Case> {
    let up = |health| look(0, 1, "running 0 false", "always", health);
    let done = |state, policy| vec![look(0, 1, state, policy, "none /")];
    let again = |restarts| look(restarts, 5, "running 0 false", "always", "none /");
    vec![
        (done("running 0 false", "unless-stopped"), true, ""),
        (done("exited 0 false", "no"), true, ""),
        (done("exited 0 false", "on-failure"), true, ""),
        (
            done("exited 0 false", "always"),
            false,
            "container app_web_1 exited with code 0\n",
        ),
        (
            done("exited 1 false", "no"),
            false,
            "exited with code 1\nlast output of app_web_1:\n  its last words",
        ),
        (
            done("exited 137 true", "no"),
            false,
            "exited with code 137, out of memory",
        ),
        (
            done("created 0 false", "no"),
            false,
            "container app_web_1 is created",
        ),
        (
            done("paused 0 false", "always"),
            false,
            "container app_web_1 is paused",
        ),
        (
            done("restarting 1 false", "always"),
            false,
            "not healthy after 3 s\ncontainer app_web_1 restarts after exit code 1",
        ),
        // It was restarted long ago.
        (vec![again(7)], true, ""),
        (
            vec![up("none /"), again(1)],
            true,
            "WARNING: container app_web_1 was restarted once, after exit code 3",
        ),
        // Docker does not count restarts by hand.
        (vec![up("none /"), again(0)], true, "was restarted once"),
        (
            vec![up("none /"), again(1), again(2)],
            false,
            "was restarted 2 times in ",
        ),
        (vec![up("healthy /1/fresh/")], true, ""),
        (
            vec![up("starting /"), up("starting /"), up("healthy /1/fresh/")],
            true,
            "",
        ),
        (
            vec![up("starting /")],
            false,
            "app_web_1 is starting: no health check has passed since its start",
        ),
        (
            vec![up("unhealthy /1/fresh/")],
            false,
            "is unhealthy\n  its last health check ended with exit code 1: \"cannot connect\\n\"\n",
        ),
        // A check of the previous run.
        (
            vec![up("healthy /1/")],
            false,
            "no health check has passed since its start",
        ),
        (
            vec![up("unhealthy /1/"), up("healthy /1/2/fresh/")],
            true,
            "",
        ),
        // The clock was set back: no check is newer than
        // the start, but one was made during the wait.
        (vec![up("healthy /8/"), up("healthy /8/2/")], true, ""),
        (
            vec![up("healthy /8/"), up("unhealthy /8/2/")],
            false,
            "is unhealthy",
        ),
    ]
}

#[tokio::test]
async fn a_project_is_healthy_when_docker_shows_that_it_stays_up() {
    let mut checks = tokio::task::JoinSet::new();
    for shell in shells() {
        for (looks, passes, expected) in cases() {
            // All at once: each waits for seconds.
            checks.spawn(async move {
                let (passed, text) = said(shell, &looks, &gate(), &[]).await;
                assert_eq!(passed, passes, "{looks:?}: {text}");
                assert!(text.contains(expected), "{looks:?}: {text}");
                assert_eq!(expected.is_empty(), text.is_empty(), "{looks:?}: {text}");
            });
        }
    }
    while let Some(check) = checks.join_next().await {
        check.unwrap();
    }
}

#[tokio::test]
async fn a_restart_after_a_kill_fails_at_once_with_the_reason() {
    for shell in shells() {
        let looks = [
            look(0, 1, "running 0 false", "always", "none /"),
            look(1, 2, "running 0 false", "always", "none /"),
        ];
        let files = [("died", "137"), ("silent", "")];
        let (passed, text) = said(shell, &looks, &gate(), &files).await;
        assert!(!passed);
        assert_eq!(
            text,
            "container app_web_1 was killed, as the kernel does when memory runs out, and restarted after exit code 137\n\
             app_web_1 printed nothing"
        );
    }
}

#[tokio::test]
async fn a_rollback_does_not_wait_for_health_checks() {
    for shell in shells() {
        let looks = [look(
            0,
            1,
            "running 0 false",
            "always",
            "unhealthy /1/fresh/",
        )];
        let gate = HealthGate {
            probes: Probes::Ignored,
            ..gate()
        };
        assert_eq!(said(shell, &looks, &gate, &[]).await, (true, String::new()));
    }
}

#[tokio::test]
async fn the_time_limit_grows_with_the_health_checks() {
    for shell in shells() {
        // It would fail after a minute with the default, and at once with another.
        let looks = [look(0, 1, "running 0 false", "always", "none /")];
        let gate = HealthGate {
            timeout: None,
            ..gate()
        };
        let (passed, text) = said(
            shell,
            &looks,
            &gate,
            &[("check", "0 0 0 0\n\n1000000000 1 1 2\n")],
        )
        .await;
        assert!(passed, "{text}");
    }
}

#[tokio::test]
async fn a_text_and_a_command_are_waited_for() {
    let up = || [look(0, 1, "running 0 false", "always", "none /")];
    let with = |text: Option<&str>, service: Option<&str>, command: &[&str]| HealthGate {
        settle: Duration::ZERO,
        log_contains: text.map(str::to_owned),
        service: service.map(str::to_owned),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..gate()
    };
    let script = |text: &'static str| ["sh", "-c", text];
    let later =
        script("test -e \"$HOME/../again\" || { touch=yes; : >\"$HOME/../again\"; exit 4; }");
    let cases = [
        (with(Some("last words"), None, &["true"]), ""),
        (
            with(Some("-e *"), None, &[]),
            "no log of its containers contains: -e *\nlast output of app_web_1:\n  its last words",
        ),
        (with(None, None, &later), ""),
        (
            with(None, None, &script("echo says why >&2; exit 9")),
            "health command sh -c echo says why >&2; exit 9: exit code 9\n  says why",
        ),
        (
            with(None, None, &["no-such-program"]),
            "health command no-such-program: exit code 127\n",
        ),
        (
            with(None, None, &["sleep", "60"]),
            "health command sleep 60: did not end within ",
        ),
        (
            with(
                None,
                None,
                &script(
                    "exit 3\n# a comment that is much longer than the line of a message should ever be",
                ),
            ),
            "health command sh -c exit 3 # a comment that is much longer than the line of a message shoul...: exit code 3",
        ),
        // A process that it leaves running does not count.
        (with(None, None, &script("sleep 60 & exit 0")), ""),
        (
            with(None, Some("web"), &script("test \"$IN_CONTAINER\" = yes")),
            "",
        ),
        (with(None, None, &script("test -z \"$IN_CONTAINER\"")), ""),
    ];
    let mut checks = tokio::task::JoinSet::new();
    for shell in shells() {
        for (gate, expected) in cases.clone() {
            checks.spawn(async move {
                let (passed, text) = said(shell, &up(), &gate, &[]).await;
                assert_eq!(passed, expected.is_empty(), "{gate:?}: {text}");
                assert!(text.contains(expected), "{gate:?}: {text}");
            });
        }
    }
    while let Some(check) = checks.join_next().await {
        check.unwrap();
    }
}
