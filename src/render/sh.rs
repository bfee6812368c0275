//! Renders a plan as a POSIX script that a user runs on the VPU, with the payloads that it expects.

use std::fmt::Write as _;

use o3r_core::architecture::Architecture;

use crate::{
    plan::{Payload, PayloadSource, Plan, Transport, Verb},
    remote,
    shell::quote,
};

/// A script and the files that it reads from the directory `payload` next to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The text.
    pub text: String,
    /// Payloads by file name below `payload/`; secrets are not among them.
    pub payloads: Vec<(String, Payload)>,
    /// Secret files, which are written only on request.
    pub secrets: Vec<SecretPayload>,
}

/// A file whose content is neither in a plan nor next to a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPayload {
    /// Its file name below `payload/`.
    pub name: String,
    /// Its path on this machine, or the file or key of the manifest that it is rendered from.
    pub local: String,
    /// Its content.
    pub payload: Payload,
}

/// Renders the plan. The script stops at the first command that fails, and can be run again.
pub fn sh(plan: &Plan) -> Script {
    let mut script = Script {
        text: String::new(),
        payloads: vec![],
        secrets: vec![],
    };
    let out = &mut script.text;
    let vpu = &plan.vpu;
    let _ = writeln!(
        out,
        "#!/bin/sh\n\
         # Made by {} from {} for the VPU with serial {}.\n\
         # Run it on the VPU as its ordinary user: sh deploy.sh\n\
         set -eu\n\
         unset COMPOSE_FILE COMPOSE_PROJECT_NAME COMPOSE_PATH_SEPARATOR COMPOSE_PROFILES COMPOSE_ENV_FILES\n\
         payload=$(dirname \"$0\")/payload\n",
        plan.tool,
        one_line(&plan.manifest.path),
        if vpu.serial.is_empty() {
            "(not known)".to_owned()
        } else {
            one_line(&vpu.serial)
        },
    );
    if vpu.arch != Architecture::Unknown {
        let machines = vpu.arch.machines().map(quote);
        let machines: Vec<_> = machines.collect();
        let refusal = format!("this script is for a VPU with {}, not for", vpu.arch);
        let _ = writeln!(
            out,
            "case $(uname -m) in\n    \
             {}) ;;\n    \
             *) printf '%s %s\\n' {} \"$(uname -m)\" >&2; exit 1 ;;\n\
             esac\n",
            machines.join(" | "),
            quote(&one_line(&refusal)),
        );
    }
    let start = out.len();
    let mut needs: Vec<(String, String)> = Vec::new();
    let total = plan.steps.len();
    for step in &plan.steps {
        let title = format!(
            "[{}/{total}] {} {}",
            step.id,
            Verb::of_step(step).name(),
            step.address
        );
        let _ = writeln!(out, "echo {}", quote(&o3r_core::names::escape(&title)));
        for command in &step.actions {
            if let Some(commands) = command.argv.in_turn() {
                for command in commands {
                    let _ = writeln!(out, "{} </dev/null", command.to_shell());
                }
                continue;
            }
            let line = match command.transport {
                Transport::Shell => command.argv.to_shell(),
                Transport::DeviceApi { port } => {
                    remote::device_api(port, command.argv.words()).to_shell()
                }
            };
            match &command.stdin {
                None => {
                    let _ = writeln!(out, "{line} </dev/null");
                }
                Some(Payload {
                    source: PayloadSource::Inline { text },
                    ..
                }) => {
                    let _ = writeln!(out, "printf '%s' {} | {line}", quote(text));
                }
                Some(payload) => {
                    let name = payload_name(payload);
                    let _ = writeln!(out, "{line} <\"$payload\"/{}", quote(&name));
                    let what = match &payload.source {
                        PayloadSource::File { path } if payload.secret => {
                            format!(
                                "{} needs {path} as this file, which holds secrets",
                                step.address
                            )
                        }
                        _ => format!(
                            "{} needs it; copy the whole folder to the VPU",
                            step.address
                        ),
                    };
                    if needs.iter().all(|(known, _)| *known != name) {
                        needs.push((name.clone(), o3r_core::names::escape(&what)));
                    }
                    keep(&mut script.payloads, &mut script.secrets, name, payload);
                }
            }
        }
        out.push('\n');
    }
    let _ = writeln!(out, "echo done");
    out.insert_str(start, &checks(&needs));
    script
}

/// Renders checks that every payload exists before the first step.
fn checks(needs: &[(String, String)]) -> String {
    if needs.is_empty() {
        return String::new();
    }
    let mut out = "missing=\n\
        need() {\n    \
        [ -e \"$payload/$1\" ] && return\n    \
        printf '%s: no such file: %s\\n' \"$payload/$1\" \"$2\" >&2\n    \
        missing=yes\n\
        }\n"
    .to_owned();
    for (name, what) in needs {
        let _ = writeln!(out, "need {} {}", quote(name), quote(what));
    }
    out.push_str("[ -z \"$missing\" ] || exit 1\n\n");
    out
}

/// Returns a file name with the content's digest, so that payloads do not collide, and with the
/// payload's name.
fn payload_name(payload: &Payload) -> String {
    let (what, ending) = match &payload.source {
        PayloadSource::File { path } => (path.as_str(), ""),
        PayloadSource::Inline { .. } => ("inline", ""),
        PayloadSource::Image { name, .. }
        | PayloadSource::ImageParts { name, .. }
        | PayloadSource::ImageDelta { name, .. }
        | PayloadSource::ImageFiles { name, .. } => (name.as_str(), ".tar"),
        PayloadSource::ImageSums { name } => (name.as_str(), ".sha256.gz"),
        PayloadSource::Files { staging, .. } | PayloadSource::FilePatch { staging, .. } => {
            (staging.as_str(), ".tar")
        }
    };
    let base = what.rsplit('/').next().unwrap_or(what);
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '_'
        }
    };
    let base: String = base.chars().map(safe).collect();
    format!("{}-{base}{ending}", payload.sha256.short())
}

fn keep(
    payloads: &mut Vec<(String, Payload)>,
    secrets: &mut Vec<SecretPayload>,
    name: String,
    payload: &Payload,
) {
    match &payload.source {
        PayloadSource::File { path } if payload.secret => {
            let secret = SecretPayload {
                name,
                local: path.clone(),
                payload: payload.clone(),
            };
            if !secrets.contains(&secret) {
                secrets.push(secret);
            }
        }
        _ if payloads.iter().any(|(known, _)| *known == name) => {}
        _ => payloads.push((name, payload.clone())),
    }
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_lists_missing_payloads_before_its_first_step() {
        let directory = std::env::temp_dir().join(format!("o3r-sh-{}", std::process::id()));
        fs_err::create_dir_all(&directory).unwrap();
        fs_err::write(directory.join("here.tar"), "").unwrap();
        let needs = ["here.tar", "1-.env", "2 it's.tar"];
        let needs = needs.map(|name| (name.to_owned(), format!("compose.a needs {name}")));
        let script = format!("set -eu\npayload=$1\n{}echo done\n", checks(&needs));
        let run = |directory: &std::path::Path| {
            let mut sh = std::process::Command::new("sh");
            sh.args(["-c", &script, "sh"]).arg(directory);
            sh.output().unwrap()
        };
        let refused = run(&directory);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
        assert!(!said.contains("here.tar"), "{said}");
        assert!(
            said.contains("/1-.env: no such file: compose.a needs 1-.env\n"),
            "{said}"
        );
        assert!(said.contains("/2 it's.tar: no such file"), "{said}");
        for (name, _) in &needs {
            fs_err::write(directory.join(name), "").unwrap();
        }
        assert_eq!(run(&directory).stdout, b"done\n");
        fs_err::remove_dir_all(&directory).unwrap();
    }
}
