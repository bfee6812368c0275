//! Reports what runs after an apply that did not complete.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    apply::{Failure, Restored},
    commands::session::Session,
    deployment::Compared,
    host::{Host as _, Stdin},
    plan::{Address, Phase, Plan, ResourceKind, Step},
    remote,
};

/// The time limit for the VPU's answer.
const LIMIT: Duration = Duration::from_secs(15);

/// The number of containers that are listed at most.
const LINES: usize = 20;

/// The time limit for the comparison after a rollback: docker may be busy.
const COMPARISON: Duration = Duration::from_secs(60);

/// Says whether everything is as before, after a rollback of this plan.
async fn as_before(session: &Session, plan: &Plan) -> String {
    if plan.is_first_release() {
        return as_found(session, plan).await;
    }
    let compared = session.vpu.compare_with_recorded();
    let compared = tokio::time::timeout(COMPARISON, Box::pin(compared)).await;
    match compared {
        Ok(Compared::Same(count)) => {
            format!("the VPU matches the previous release again: all {count} resources compared")
        }
        Ok(Compared::Differs(addresses)) => {
            format!("not as in the previous release: {}", addresses.join(", "))
        }
        Ok(Compared::Not(reason)) => format!("not compared with the previous release: {reason}"),
        Err(_) => {
            "not compared with the previous release: the VPU did not answer in time".to_owned()
        }
    }
}

/// Says the same where no release was recorded: a new plan has to change the same.
async fn as_found(session: &Session, plan: &Plan) -> String {
    let compared = session.vpu.compare_with_plan(plan);
    match tokio::time::timeout(COMPARISON, Box::pin(compared)).await {
        Ok(Compared::Same(count)) => {
            format!("the VPU is as before: a new plan has the same {count} changes")
        }
        Ok(Compared::Differs(addresses)) => {
            format!("not as before this apply: {}", addresses.join(", "))
        }
        Ok(Compared::Not(reason)) => {
            format!("not compared with the state before this apply: {reason}")
        }
        Err(_) => "not compared with the state before this apply: the VPU did not answer in time"
            .to_owned(),
    }
}

/// Returns what runs now, if that differs from before, as lines for people.
pub(super) async fn what_runs(
    session: &Session,
    plan: &Plan,
    failure: &Failure,
    completed: usize,
) -> Option<String> {
    match failure.restored {
        Restored::NotNeeded => return None,
        Restored::Previous => return Some(as_before(session, plan).await),
        _ => {}
    }
    // Without a rollback, no watchdog is armed.
    let is_watched = plan.watchdog.is_some() && failure.restored != Restored::NotWanted;
    let question = remote::what_runs(projects(plan));
    let asked = session.vpu.host().run(&question, Stdin::Empty);
    let answer = tokio::time::timeout(LIMIT, asked).await;
    let Ok(Ok(output)) = answer else {
        return Some(by_progress(plan, completed, is_watched));
    };
    if !output.success() {
        return Some(by_progress(plan, completed, is_watched));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let lines = said.lines().take(LINES).map(|line| format!("  {line}"));
    let lines: Vec<String> = lines.collect();
    let now = if lines.is_empty() {
        "no container of this release is running".to_owned()
    } else {
        format!("what runs now:\n{}", lines.join("\n"))
    };
    Some(format!("{now}\n{}", files(plan, completed, is_watched)))
}

/// Returns the compose projects of a plan's steps.
fn projects(plan: &Plan) -> BTreeSet<&str> {
    let addresses = plan.steps.iter().map(|step| &step.address);
    addresses.filter_map(project).collect()
}

fn project(address: &Address) -> Option<&str> {
    let name = match address.kind() {
        ResourceKind::Compose => address.name(),
        ResourceKind::File => address.project_file()?.0,
        _ => return None,
    };
    Some(name).filter(|name| !name.is_empty())
}

/// Returns what follows from the completed steps, for a VPU that does not answer.
fn by_progress(plan: &Plan, completed: usize, is_watched: bool) -> String {
    let steps = |range: &[Step]| {
        let switch = range.iter().filter(|step| step.phase != Phase::Stage);
        let addresses: Vec<String> = switch.map(|step| step.address.to_string()).collect();
        (!addresses.is_empty()).then(|| addresses.join(", "))
    };
    let completed = completed.min(plan.steps.len());
    let (done, rest) = plan.steps.split_at(completed);
    let (running, rest) = rest.split_at(rest.len().min(1));
    let mut lines = vec!["what is known:".to_owned()];
    lines.extend(steps(done).map(|done| format!("  of the new release: {done}")));
    let of_which = if plan.is_first_release() {
        "perhaps"
    } else {
        "of either release"
    };
    lines.extend(
        steps(running)
            .map(|step| format!("  {of_which}: {step}, whose command still runs on the VPU")),
    );
    lines.extend(steps(rest).map(|rest| format!("  not started: {rest}")));
    let starts = |step: &Step| step.address.kind() == ResourceKind::Compose;
    if !done.iter().chain(running).any(starts) {
        lines.push("no container was touched".to_owned());
    }
    lines.push(files(plan, completed, is_watched));
    lines.join("\n")
}

/// Describes the files in place, from which a reboot would start.
fn files(plan: &Plan, completed: usize, is_watched: bool) -> String {
    let mut changed = plan.steps[..completed.min(plan.steps.len())]
        .iter()
        .filter(|step| step.phase == Phase::Switch);
    let begun = changed.next().is_some();
    let text = match (plan.is_first_release(), begun) {
        (true, false) => "no file of this release is in place",
        (false, false) => "files and names are those of the previous release",
        (_, true) if is_watched => {
            "files and names are partly those of the new release: after a reboot, the VPU also rolls back"
        }
        (true, true) => {
            "files and names are partly in place: until an apply succeeds, a reboot may start an incomplete release"
        }
        (false, true) => {
            "files and names are partly those of the new release: until an apply succeeds, a reboot may start a mix \
             of both"
        }
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Action;

    #[test]
    fn regression_after_a_first_release_no_earlier_one_is_mentioned() {
        let text = include_bytes!("../../../tests/fixtures/plan/format-2.json");
        let mut plan = Plan::read(text).unwrap();
        let all = plan.steps.len();
        let said = |plan: &Plan| {
            [0, all]
                .map(|done| by_progress(plan, done, false))
                .join("\n")
        };
        let set = |plan: &mut Plan, action| {
            for step in &mut plan.steps {
                if step.address.kind() == ResourceKind::Release {
                    step.action = action;
                }
            }
        };
        set(&mut plan, Action::Create);
        let first = said(&plan);
        assert!(first.contains("an incomplete release"), "{first}");
        for words in ["both", "either", "previous"] {
            assert!(!first.contains(words), "{words}: {first}");
        }
        set(&mut plan, Action::Update);
        let later = said(&plan);
        assert!(
            later.contains("a mix of both") && later.contains("of the previous"),
            "{later}"
        );
    }

    #[test]
    fn projects_are_found_by_the_addresses_of_steps() {
        for (address, wanted) in [
            ("compose.app", Some("app")),
            ("file.app/docker-compose.yml", Some("app")),
            ("file.app", None),
            ("image.app:1", None),
            ("release.app", None),
        ] {
            assert_eq!(project(&address.parse().unwrap()), wanted, "{address}");
        }
    }
}
