//! Renders the manifest of a survey.

use std::fmt::Write as _;

use super::{Copied, Project, Survey};
use crate::scaffold::quoted;
use o3r_core::{
    health::{HealthGate, SETTLE},
    names::Duration,
};

/// Renders a survey; `host` is where it was made, `schema` the path of the manifest's schema.
pub(crate) fn text(survey: &Survey, host: &str, schema: &str) -> String {
    let mut out = format!(
        "#:schema {schema}\n\n# What runs on {host}, as found there.\n\
         # `o3r-deploy check` validates this file, `plan` shows what `apply` would change on the VPU.\n\n[vpu]\n"
    );
    if !survey.vpu_name.is_empty() {
        let _ = writeln!(out, "name = {}", quoted(&survey.vpu_name));
    }
    if let Some(arch) = &survey.arch {
        let _ = writeln!(out, "arch = {}", quoted(arch));
    }
    let _ = write!(out, "\n[release]\nname = {}\n", quoted(&survey.release));
    if !survey.version.is_empty() || !survey.is_recorded {
        let version = if survey.version.is_empty() {
            "0.1.0"
        } else {
            &survey.version
        };
        let _ = writeln!(out, "version = {}", quoted(version));
    }
    if let Some((file, network, save)) = &survey.device {
        let _ = write!(out, "\n[device]\nconfig = {}\n", quoted(file));
        for (key, value, default) in [("save", *save, true), ("network", *network, false)] {
            if value != default {
                let _ = writeln!(out, "{key} = {value}");
            }
        }
    }
    for (path, mode) in &survey.directories {
        let _ = write!(out, "\n[[directories]]\npath = {}\n", quoted(path));
        if let Some(mode) = mode {
            let _ = writeln!(out, "mode = \"{mode:04o}\"");
        }
    }
    for (name, path) in &survey.volumes {
        let _ = write!(
            out,
            "\n[[volumes]]\nname = {}\npath = {}\n",
            quoted(name),
            quoted(path)
        );
    }
    if !survey.images.is_empty() {
        out.push_str("\n# Without a source, an image must be on the VPU already: to deploy another version, add `archive` or `engine`.\n");
    }
    let images = survey.images.iter();
    let images: Vec<String> = images
        .map(|name| format!("[[images]]\nname = {}\n", quoted(name)))
        .collect();
    out.push_str(&images.join("\n"));
    for copied in &survey.transfers {
        transfer(&mut out, copied);
    }
    for each in &survey.projects {
        project(&mut out, each);
    }
    if !survey.disabled.is_empty() {
        let _ = write!(out, "\n[autostart]\ndisable = {}\n", list(&survey.disabled));
    }
    out
}

fn list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(", "))
}

fn transfer(out: &mut String, copied: &Copied) {
    let (src, dst) = (quoted(&copied.src), quoted(&copied.dst));
    let _ = write!(out, "\n[[transfers]]\nsrc = {src}\ndst = {dst}\n");
    if let Some(mode) = copied.mode {
        let _ = writeln!(out, "mode = \"{mode:04o}\"");
    }
    if copied.delete {
        out.push_str("delete = true\n");
    }
    for (key, words) in [("exclude", &copied.exclude), ("restart", &copied.restart)] {
        if !words.is_empty() {
            let _ = writeln!(out, "{key} = {}", list(words));
        }
    }
}

fn project(out: &mut String, project: &Project) {
    let (name, file) = (quoted(&project.name), quoted(&project.file));
    let _ = write!(out, "\n[[compose]]\nname = {name}\nfile = {file}\n");
    if !project.extra_files.is_empty() {
        let _ = writeln!(out, "extra_files = {}", list(&project.extra_files));
    }
    if !project.is_running {
        out.push_str("state = \"stopped\"\n");
    }
    if let Some(autostart) = project.autostart {
        let _ = writeln!(out, "autostart = {autostart}");
    }
    if !project.health.is_empty() {
        let _ = write!(out, "[compose.health]\n{}\n", project.health.join("\n"));
    }
}

/// Returns the lines of a `[compose.health]`: what differs from the default.
pub(super) fn health(gate: &HealthGate) -> Vec<String> {
    let time = |time: std::time::Duration| quoted(&Duration::from_secs(time.as_secs()).to_string());
    let mut lines = vec![];
    if let Some(timeout) = gate.timeout {
        lines.push(format!("timeout = {}", time(timeout)));
    }
    if gate.settle != SETTLE {
        lines.push(format!("settle = {}", time(gate.settle)));
    }
    if let Some(text) = &gate.log_contains {
        lines.push(format!("log_contains = {}", quoted(text)));
    }
    if !gate.command.is_empty() {
        lines.push(format!("command = {}", list(&gate.command)));
    }
    if let Some(service) = &gate.service {
        lines.push(format!("service = {}", quoted(service)));
    }
    lines
}
