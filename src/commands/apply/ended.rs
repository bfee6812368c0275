//! Reports an apply that did not complete: the exit code, what was touched, and what to do next.

use std::fmt::Write as _;

use o3r_core::trouble::Trouble;

use super::super::{CommandError, ErrorCode};
use crate::{
    apply::{Failure, FailureReason, Locked, Log, Restored},
    host::HostError,
    plan::{Phase, Plan, space},
};

pub(super) fn locked(error: Locked, log: &Log) -> CommandError {
    log.line(&error.to_string());
    match error {
        Locked::Host(error) => error.into(),
        Locked::Busy { .. } => CommandError::message(
            ErrorCode::Locked,
            format!("{error}; nothing was done"),
            Some(
                "wait for it with --lock-wait 5m; its lock is released within a minute after its client or connection \
                 dies; if you are sure that it is dead: o3r-deploy apply --break-lock"
                    .into(),
            ),
        ),
        Locked::Leftover { ref pid, .. } => CommandError::message(
            ErrorCode::Locked,
            format!("{error}; nothing was done"),
            Some(format!("wait for it, or stop it on the VPU: kill {pid}")),
        ),
        Locked::Failed(ref reason) => {
            let help = if Trouble::of(reason) == Trouble::DiskFull {
                "free disk space on the VPU: df -h ~; o3r-deploy plan shows what is no longer used"
            } else {
                "check on the VPU: ls -la ~/.o3r-deploy; df -h ~"
            };
            CommandError::message(
                ErrorCode::LockUnavailable,
                format!("{error}; nothing was done"),
                Some(help.into()),
            )
        }
    }
}

/// Returns the command that a plan is for: a release that the VPU keeps has no manifest.
pub(super) fn command(plan: &Plan) -> String {
    match plan.manifest.destroyed() {
        Some(release) => format!("destroy {release}"),
        None if plan.manifest.is_kept() => "rollback".to_owned(),
        None => "apply".to_owned(),
    }
}

pub(super) fn interrupted(at: &str, begun: bool, completed: usize, plan: &Plan) -> CommandError {
    let total = plan.steps.len();
    let state = if begun {
        format!("in the middle of {at}, after {completed} of {total} steps")
    } else {
        format!("before {at}, after {completed} of {total} steps")
    };
    let touched = plan.steps[..completed + usize::from(begun)]
        .iter()
        .any(|step| step.phase != Phase::Stage);
    let what = if touched {
        "completed steps are not undone"
    } else {
        "no running container was touched"
    };
    CommandError::message(
        ErrorCode::Interrupted,
        format!("interrupted {state}; {what}"),
        Some(match &plan.watchdog {
            Some(watchdog) if touched => format!(
                "run `{}` again to resume where it stopped; otherwise the VPU rolls back to {} automatically in {} s",
                command(plan),
                plan.way_back(),
                watchdog.seconds
            ),
            _ => format!("run `{}` again to resume where it stopped", command(plan)),
        }),
    )
}

/// Says what a failure left, with the code of the error.
fn what_is_left(restored: &Restored, plan: &Plan) -> (ErrorCode, String) {
    let way_back = plan.way_back();
    match restored {
        Restored::NotNeeded => (
            ErrorCode::StepFailed,
            "no running container was touched".to_owned(),
        ),
        Restored::Recorded if plan.manifest.destroyed().is_some() => (
            ErrorCode::StepFailed,
            "nothing of the release runs, but something that it made was not removed".to_owned(),
        ),
        Restored::Recorded => (
            ErrorCode::StepFailed,
            "the new release runs and is recorded, but something that it replaced was not removed"
                .to_owned(),
        ),
        Restored::NotWanted => (
            ErrorCode::StepFailed,
            "nothing was restored (--no-rollback)".to_owned(),
        ),
        Restored::Previous => (ErrorCode::RolledBack, format!("{way_back} was restored")),
        Restored::OutOfReach => (
            ErrorCode::StepFailed,
            "nothing could be restored, because the VPU cannot be reached".to_owned(),
        ),
        Restored::Undecided {
            seconds,
            confirming: false,
        } => (
            ErrorCode::Undecided,
            format!("the VPU rolls back to {way_back} automatically within {seconds} s"),
        ),
        Restored::Undecided { seconds, .. } => (
            ErrorCode::Undecided,
            format!(
                "it is unknown whether the VPU received the confirmation; otherwise it rolls back to {way_back} \
                 automatically within {seconds} s"
            ),
        ),
        Restored::Failed { address, reason } => (
            ErrorCode::StepFailed,
            format!("{way_back} could not be restored: {address}: {reason}"),
        ),
    }
}

/// Returns the error of a failed apply. `now` is what runs now, if that differs from before;
/// `plan` is what was applied.
pub(super) fn failed(failure: &Failure, now: Option<&str>, plan: &Plan, log: &Log) -> CommandError {
    let (is_first, command) = (plan.is_first_release(), command(plan));
    let (code, mut restored) = what_is_left(&failure.restored, plan);
    let is_undecided = matches!(failure.restored, Restored::Undecided { .. });
    let is_lock_lost = matches!(failure.reason, FailureReason::Host(HostError::LockLost));
    if is_undecided && is_lock_lost {
        restored = format!(
            "another apply took the lock and decides what runs; if it ends without a change, the VPU rolls back to {} \
             automatically",
            plan.way_back()
        );
    }
    let (reason, hint) = match &failure.reason {
        FailureReason::Exit {
            code: exit_code,
            tail,
        } => {
            let mut command = format!("failed at: {}", failure.command);
            // 1 says nothing more, and a container's exit code may stand beside it.
            if *exit_code != 1 {
                let _ = write!(command, " (exit code {exit_code})");
            }
            let reason = match tail.trim() {
                "" => format!("no output\n{command}"),
                said => format!("{said}\n{command}"),
            };
            (reason, None)
        }
        FailureReason::Host(error) => (super::super::error::chain(error), error.help()),
        FailureReason::Device(error) => (error.to_string(), error.help()),
    };
    log.line(&format!("{} failed: {reason}; {restored}", failure.address));
    let connection_lost = matches!(
        failure.reason,
        FailureReason::Host(HostError::Disconnected { .. })
    );
    let refused = matches!(failure.reason, FailureReason::Device(_));
    let logged = format!("run `{command}` again; full log: {}", log.path());
    let again = if failure.reason.is_docker_full() {
        format!(
            "docker's disk on the VPU is full: {}\nthen {logged}",
            space::REMEDY
        )
    } else if matches!(failure.restored, Restored::NotWanted) && !is_first {
        format!(
            "fix the problem and run `{command}` again, or return to the previous release with: o3r-deploy rollback; full \
             log: {}",
            log.path()
        )
    } else {
        format!("fix the problem and {logged}")
    };
    let again = if reason.contains("exec format error") {
        let verify = "the program is damaged, or built for another architecture: `o3r-deploy status --verify` compares the \
                      files of the images";
        format!("{verify}\n{again}")
    } else {
        again
    };
    let help = match hint {
        _ if is_undecided && is_lock_lost => format!(
            "wait for the other apply, then see what runs: o3r-deploy status; full log: {}",
            log.path()
        ),
        _ if is_undecided => format!(
            "once the VPU answers, `o3r-deploy status` shows the outcome; to complete the new release instead, run \
             `{command}` again before that; full log: {}",
            log.path()
        ),
        Some(_) if failure.restored == Restored::OutOfReach => {
            let or_back = if is_first {
                ""
            } else {
                ", or apply the previous one"
            };
            format!(
                "once the VPU answers, `o3r-deploy status` shows what runs; run `{command}` again to complete \
                 the new release{or_back}; full log: {}",
                log.path()
            )
        }
        Some(hint) if connection_lost => hint,
        Some(hint) if refused => format!("{hint}\n{again}"),
        _ => again,
    };
    let mut message = format!("{} failed; {restored}\n{reason}", failure.address);
    if let Some(now) = now {
        log.line(now);
        message.push('\n');
        message.push_str(now);
    }
    CommandError::message(code, message, Some(help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Action;

    /// A plan of a release, which may be the first.
    fn plan(is_first: bool) -> Plan {
        let text = include_bytes!("../../../tests/fixtures/plan/format-2.json");
        let mut plan = Plan::read(text).unwrap();
        let action = if is_first {
            Action::Create
        } else {
            Action::Update
        };
        for step in plan.steps.iter_mut().filter(|step| step.is_record()) {
            step.action = action;
        }
        plan
    }

    #[test]
    fn regression_a_full_disk_of_docker_gets_the_help_of_the_plan() {
        let help = |tail: &str| {
            let failure = Failure {
                address: "image.app:1".to_owned(),
                phase: Phase::Stage,
                command: "docker load".to_owned(),
                reason: FailureReason::Exit {
                    code: 1,
                    tail: tail.to_owned(),
                },
                restored: Restored::NotNeeded,
            };
            format!("{:?}", failed(&failure, None, &plan(false), &Log::none()))
        };
        let full = "Error processing tar file(exit status 1): write /z12: no space left on device";
        let full = help(full);
        assert!(full.contains("docker's disk on the VPU is full"), "{full}");
        assert!(full.contains("docker system df"), "{full}");
        assert!(!help("invalid diffID").contains("disk"));
    }

    #[test]
    fn a_link_lost_in_the_switch_is_not_reported_as_a_failed_restore() {
        let failure = Failure {
            address: "compose.app".to_owned(),
            phase: Phase::Switch,
            command: "docker-compose up -d".to_owned(),
            reason: FailureReason::Host(HostError::Disconnected { host: "vpu".into() }),
            restored: Restored::OutOfReach,
        };
        let said = format!(
            "{:?}",
            failed(&failure, Some("known"), &plan(false), &Log::none())
        );
        for words in [
            "compose.app failed; nothing could be restored, because the VPU cannot be reached",
            "the connection to vpu was lost",
            "known",
            "o3r-deploy status",
            "run `apply` again to complete",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let first = format!("{:?}", failed(&failure, None, &plan(true), &Log::none()));
        assert!(
            said.contains("previous") && !first.contains("previous"),
            "{first}"
        );
    }

    #[test]
    fn with_a_watchdog_a_lost_link_is_undecided() {
        let failure = Failure {
            address: "compose.app".to_owned(),
            phase: Phase::Switch,
            command: "docker-compose up -d".to_owned(),
            reason: FailureReason::Host(HostError::Disconnected { host: "vpu".into() }),
            restored: Restored::Undecided {
                seconds: 120,
                confirming: false,
            },
        };
        let error = failed(&failure, None, &plan(false), &Log::none());
        assert_eq!(error.code(), Some(ErrorCode::Undecided));
        let said = format!("{error:?}");
        for words in [
            "the VPU rolls back to the previous release automatically within 120 s",
            "`o3r-deploy status` shows the outcome",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }

    #[test]
    fn a_failure_on_terminals() {
        let failure = Failure {
            address: "compose.app".to_owned(),
            phase: Phase::Switch,
            command: "docker-compose -p app up -d".to_owned(),
            reason: FailureReason::Exit {
                code: 1,
                tail: "service web: the container exited with 3, 0.4 s after it was started\n  | cannot open /data/map.db"
                    .to_owned(),
            },
            restored: Restored::Previous,
        };
        let error = failed(&failure, None, &plan(false), &Log::none());
        let shown = |columns, ascii| {
            let style = crate::render::Style {
                ascii,
                ..Default::default()
            };
            crate::ui::report_text(error.report().unwrap(), style, Some(columns))
        };
        let (wide, narrow, ascii) = (shown(80, false), shown(40, false), shown(80, true));
        assert!(ascii.is_ascii(), "{ascii}");
        insta::assert_snapshot!(format!(
            "80 columns\n\n{wide}\n40 columns\n\n{narrow}\nASCII\n\n{ascii}"
        ));
    }

    #[test]
    fn a_lock_that_cannot_be_taken_and_a_log_with_gaps_have_codes() {
        let full = Locked::Failed("No space left on device".into());
        let error = locked(full, &Log::none());
        assert_eq!(error.code(), Some(ErrorCode::LockUnavailable));
        let log = Log::on_a_full_disk();
        log.line("lost");
        let error = super::super::logged(crate::commands::Exit::Done, &log).unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::LogIncomplete));
    }
}
