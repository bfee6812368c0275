//! Checks a finished plan for what must hold of every plan, whatever made it.

use std::collections::BTreeSet;

use crate::shell::Argv;

use super::{Action, Address, PayloadSource, Phase, Plan, Step, Transport};

/// Everything that is wrong with a plan; empty for every plan that this crate makes.
pub fn lint(plan: &Plan) -> Vec<String> {
    let mut findings = vec![];
    let addresses: BTreeSet<&Address> = plan.steps.iter().map(|step| &step.address).collect();
    let mut done = BTreeSet::new();
    let mut phase = Phase::Stage;
    for (index, step) in plan.steps.iter().enumerate() {
        if step.id != index + 1 {
            findings.push(format!("step {} has id {}", index + 1, step.id));
        }
        if step.phase < phase {
            findings.push(format!(
                "{}: {:?} comes after {phase:?}",
                step.address, step.phase
            ));
        }
        phase = step.phase;
        if step.actions.is_empty() {
            findings.push(format!("{}: no command", step.address));
        }
        for needed in &step.depends_on {
            if !done.contains(needed) {
                findings.push(format!("{} runs before {needed}", step.address));
            }
        }
        if !done.insert(&step.address) {
            findings.push(format!("{} is planned twice", step.address));
        }
        findings.extend(step_findings(step));
    }
    for blocked in &plan.blocked {
        if addresses.contains(&blocked.address) {
            findings.push(format!("{} is blocked and planned", blocked.address));
        }
    }
    findings
}

/// Whether docker is told to remove something.
fn removes(argv: &Argv) -> bool {
    let words = argv.words();
    words.first().is_some_and(|word| word == "docker") && words.iter().any(|word| word == "rm")
}

fn step_findings(step: &Step) -> Vec<String> {
    let mut findings = vec![];
    for command in step.actions.iter().chain(&step.undo) {
        let words = command.argv.words();
        let is_call = matches!(words.first().map(String::as_str), Some("set" | "saveInit"))
            && command.stdin.is_none();
        if command.transport != Transport::Shell && !is_call {
            findings.push(format!(
                "{}: the device's API takes no {}",
                step.address,
                command.to_display()
            ));
        }
        // The device takes an empty list for everything that is set now.
        if command.transport != Transport::Shell && words.len() < 2 {
            findings.push(format!("{}: saves everything", step.address));
        }
        let together = command.argv.in_turn().unwrap_or_default();
        let mut all = std::iter::once(&command.argv).chain(&together);
        let destructive = all.any(removes);
        let allowed = matches!(step.action, Action::Replace | Action::Remove);
        if destructive && !allowed && step.actions.contains(command) {
            findings.push(format!(
                "{}: {:?} removes something",
                step.address, step.action
            ));
        }
        // sshd runs the command as one word of a shell's, of which 128 KiB is the limit on Linux.
        if command.argv.to_shell().len() >= 128 << 10 {
            findings.push(format!("{}: a command of 128 KiB or more", step.address));
        }
        if let Some(payload) = &command.stdin
            && let PayloadSource::Inline { text } = &payload.source
            && (text.len() as u64 != payload.bytes)
        {
            findings.push(format!(
                "{}: an inline payload of another length",
                step.address
            ));
        }
    }
    findings
}
