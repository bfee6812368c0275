//! Renders a plan's undo commands as a shell program that the VPU runs automatically if the apply
//! falls silent.

use std::fmt::Write as _;

use super::{Command, PayloadSource, Phase, Plan, ResourceKind, Step, Transport};
use crate::{
    remote,
    shell::{Argv, quote},
};

/// The apply that a watchdog is armed for.
#[derive(Debug, Clone, Copy)]
pub struct Armed<'a> {
    /// `[release].name`.
    pub release: &'a str,
    /// Identifies the apply: a word of `a-z0-9-`.
    pub nonce: &'a str,
    /// The token of its lock.
    pub token: &'a str,
    /// Who applies and when, as members of a JSON object.
    pub who: &'a str,
}

impl Armed<'_> {
    /// Returns the program for [`remote::arm`], which rolls back as a client does: it runs the undo
    /// commands of the steps of the switch that began, and of those with `rollback_always`, in the
    /// order of the steps. After a restart, it also undoes the steps of compose projects that did not begin: the
    /// autostart may have started containers from the files that were there.
    pub fn undo_program(&self, plan: &Plan) -> String {
        let ids = |wanted: &dyn Fn(&Step) -> bool| {
            let steps = plan.steps.iter().filter(|step| wanted(step));
            let ids: Vec<String> = steps.map(|step| step.id.to_string()).collect();
            quote(&ids.join(" ")).into_owned()
        };
        let undoes = |step: &Step| step.phase == Phase::Switch || !step.undo.is_empty();
        let missing = plan.not_restorable.iter().map(|resource| {
            format!(
                "{{\"address\":{},\"said\":{}}}",
                json(&resource.address.to_string()),
                json(&resource.reason)
            )
        });
        let missing: Vec<String> = missing.collect();
        let variables = [
            ("release", quote(self.release).into_owned()),
            ("nonce", quote(self.nonce).into_owned()),
            ("token", quote(self.token).into_owned()),
            ("who", quote(self.who).into_owned()),
            ("missing", quote(&missing.join(",")).into_owned()),
            ("steps", ids(&|step| !step.is_record() && undoes(step))),
            ("always", ids(&|step| step.rollback_always)),
            (
                "projects",
                ids(&|step| step.address.kind() == ResourceKind::Compose && undoes(step)),
            ),
            ("records", ids(&|step| step.is_record())),
            ("settles", ids(&|step| step.phase == Phase::Settle)),
        ];
        let mut program = String::new();
        for (name, value) in variables {
            let _ = writeln!(program, "{name}={value}");
        }
        let _ = writeln!(
            program,
            "lock() {{\n{} \"$@\"\n}}",
            remote::lock_program().to_shell()
        );
        for step in &plan.steps {
            let address = json(&step.address.to_string());
            let _ = writeln!(
                program,
                "address_{}() {{ printf %s {}; }}",
                step.id,
                quote(&address)
            );
            if step.phase == Phase::Settle {
                let _ = writeln!(program, "settle_{}() {{\n{}}}", step.id, does(step));
            }
            if undoes(step) || step.is_record() {
                let _ = writeln!(program, "undo_{}() {{\n{}}}", step.id, undo_of(plan, step));
            }
        }
        program.push_str(remote::WATCHDOG);
        program
    }
}

/// Returns the lines that undo a step.
fn undo_of(plan: &Plan, step: &Step) -> String {
    let is_known = || {
        let mut known = plan.not_restorable.iter();
        known.any(|resource| resource.address == step.address)
    };
    if step.undo.is_empty() && step.phase == Phase::Switch && !is_known() {
        return "lost 'the removed resource cannot be restored'\n".to_owned();
    }
    let commands = step.undo.iter().map(|command| {
        let unless = if remote::only_forgets(&command.argv) {
            "[ -n \"$failed$missing\" ] || "
        } else {
            ""
        };
        format!("{unless}{} || return\n", shell(command))
    });
    let end = std::iter::once(":\n".to_owned());
    commands.chain(end).collect()
}

/// Returns the lines that do a step of the settle phase.
fn does(step: &Step) -> String {
    let mut lines = String::new();
    for command in &step.actions {
        let _ = writeln!(lines, "{} || return", shell(command));
    }
    lines
}

/// Renders a command and its fallback as one line of shell.
fn shell(command: &Command) -> String {
    let argv = match command.transport {
        Transport::Shell => command.argv.clone(),
        Transport::DeviceApi { port } => remote::device_api(port, command.argv.words()),
    };
    let text = run(&argv);
    let text = match command.stdin.as_ref().map(|payload| &payload.source) {
        Some(PayloadSource::Inline { text: input }) => {
            format!("printf %s {} | {text}", quote(input))
        }
        _ => format!("{text} </dev/null"),
    };
    match &command.fallback {
        Some(fallback) => format!("{{ {text} || {}; }}", shell(fallback)),
        None => text,
    }
}

fn run(argv: &Argv) -> String {
    format!("run {} {}", quote(&remote::purpose(argv)), argv.to_shell())
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
