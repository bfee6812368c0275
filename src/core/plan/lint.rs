//! Checks invariants of a finished plan.

use std::collections::BTreeSet;

use crate::shell::Argv;

use super::{Action, Address, PayloadSource, Phase, Plan, Step, Transport};

/// Returns everything that is wrong with a plan; nothing for every plan that this crate makes.
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

/// Whether the command tells docker to remove something.
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
        // The device takes an empty list for all current settings.
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
        // sshd passes the command to a shell as one argument; Linux limits an argument to 128 KiB.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::ManifestRef,
        digest::Digest,
        plan::{BlockCode, Blocked, Cause, Command, FORMAT, Payload, ResourceKind, Summary, Vpu},
        remote,
        speeds::Speeds,
    };

    fn address(name: &str) -> Address {
        Address::new(ResourceKind::Volume, name)
    }

    fn echo() -> Command {
        Command::new(Argv::new("echo"))
    }

    fn step(id: usize, phase: Phase, commands: Vec<Command>) -> Step {
        Step {
            id,
            address: address(&id.to_string()),
            action: Action::Run,
            phase,
            cause: Cause::Missing,
            further_causes: vec![],
            detail: None,
            depends_on: vec![],
            source: None,
            changes: vec![],
            restarts: vec![],
            actions: commands,
            commands: vec![],
            bytes_to_send: 0,
            undo: vec![],
            rollback_always: false,
        }
    }

    fn plan(steps: Vec<Step>) -> Plan {
        Plan {
            format: FORMAT,
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
            permits: crate::desired::Permits::default(),
            watchdog: None,
            summary: Summary::default(),
        }
    }

    /// Returns the findings in a plan of one step with this command.
    fn of_command(action: Action, command: Command) -> Vec<String> {
        let mut step = step(1, Phase::Switch, vec![command]);
        step.action = action;
        lint(&plan(vec![step]))
    }

    const NONE: Vec<String> = vec![];

    #[test]
    fn steps_are_numbered_ordered_and_planned_once() {
        let (stage, switch) = (Phase::Stage, Phase::Switch);
        let one = || step(1, stage, vec![echo()]);
        let two = |phase| step(2, phase, vec![echo()]);
        assert_eq!(lint(&plan(vec![one(), two(stage)])), NONE);
        assert_eq!(lint(&plan(vec![one(), two(switch)])), NONE);
        assert_eq!(
            lint(&plan(vec![two(switch), one()])),
            [
                "step 1 has id 2",
                "step 2 has id 1",
                "volume.1: Stage comes after Switch"
            ]
        );
        let mut twice = two(switch);
        twice.address = address("1");
        assert_eq!(
            lint(&plan(vec![one(), twice])),
            ["volume.1 is planned twice"]
        );
        let idle = step(1, stage, vec![]);
        assert_eq!(lint(&plan(vec![idle])), ["volume.1: no command"]);
    }

    #[test]
    fn a_step_follows_what_it_depends_on_and_has_no_blocked_resource() {
        let one = step(1, Phase::Stage, vec![echo()]);
        let mut two = step(2, Phase::Stage, vec![echo()]);
        two.depends_on = vec![address("1")];
        let mut sound = plan(vec![one.clone(), two.clone()]);
        assert_eq!(lint(&sound), NONE);
        two.depends_on = vec![address("3")];
        assert_eq!(
            lint(&plan(vec![one, two])),
            ["volume.2 runs before volume.3"]
        );
        for (name, findings) in [
            ("3", NONE),
            ("2", vec!["volume.2 is blocked and planned".into()]),
        ] {
            sound.blocked = vec![Blocked {
                address: address(name),
                code: BlockCode::WrongKind,
                reason: String::new(),
                remedy: String::new(),
            }];
            assert_eq!(lint(&sound), findings);
        }
    }

    #[test]
    fn only_replace_and_remove_tell_docker_to_remove() {
        let remove = Argv::new("docker").args(["volume", "rm", "share"]);
        let both = remote::in_turn(&[Argv::new("echo"), remove.clone()]);
        for argv in [remove.clone(), both] {
            for action in [Action::Create, Action::Update, Action::Run] {
                let finding = format!("volume.1: {action:?} removes something");
                assert_eq!(of_command(action, Command::new(argv.clone())), [finding]);
            }
            for action in [Action::Replace, Action::Remove] {
                assert_eq!(of_command(action, Command::new(argv.clone())), NONE);
            }
        }
        for other in [["docker", "ps"], ["echo", "rm"]] {
            let other = Argv::new(other[0]).arg(other[1]);
            assert_eq!(of_command(Action::Create, Command::new(other)), NONE);
        }
        // An undo may remove what the step creates.
        let mut undone = step(1, Phase::Switch, vec![echo()]);
        undone.undo = vec![Command::new(remove)];
        assert_eq!(lint(&plan(vec![undone])), NONE);
    }

    #[test]
    fn the_device_api_is_called_by_known_methods() {
        let call = |words: &[&str]| {
            let argv = Argv::new(words[0]).args(words[1..].iter().copied());
            Command::device_api(80, argv)
        };
        let findings = |command| of_command(Action::Update, command);
        assert_eq!(findings(call(&["set", "{}"])), NONE);
        assert_eq!(findings(call(&["saveInit", "/device/info/name"])), NONE);
        assert_eq!(
            findings(call(&["reboot", "now"])),
            ["volume.1: the device's API takes no device-api:80 reboot now"]
        );
        assert_eq!(
            findings(call(&["saveInit"])),
            ["volume.1: saves everything"]
        );
        let mut with_input = call(&["set", "{}"]);
        with_input.stdin = Some(Payload::inline("text".into()));
        assert_eq!(
            findings(with_input),
            ["volume.1: the device's API takes no device-api:80 set '{}'"]
        );
    }

    #[test]
    fn a_command_and_its_payload_have_a_maximum_size() {
        let long = |length| Command::new(Argv::new("a".repeat(length)));
        let findings = |command| of_command(Action::Run, command);
        assert_eq!(findings(long((128 << 10) - 1)), NONE);
        assert_eq!(
            findings(long(128 << 10)),
            ["volume.1: a command of 128 KiB or more"]
        );
        let mut payload = Payload::inline("text".into());
        let with = |payload: &Payload| Command::with(Argv::new("cat"), payload.clone());
        assert_eq!(findings(with(&payload)), NONE);
        payload.bytes += 1;
        assert_eq!(
            findings(with(&payload)),
            ["volume.1: an inline payload of another length"]
        );
    }
}
