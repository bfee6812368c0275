//! Renders a VPU's status as text, and generates its schema. Each section has a module.

mod autostart;
mod containers;
mod drift;
mod images;
mod releases;

use std::{fmt::Write as _, time::Duration};

use super::{
    sign::Sign,
    text::{BOLD, DIM, Style, heading, indented, paint},
    units,
    wrap::line,
};
use crate::status::{AfterBoot, Disk, Memory, Project, Status};

/// Renders the whole status.
pub fn status_text(status: &Status, style: Style) -> String {
    let harmless = super::harmless(status);
    let status = harmless.as_ref().unwrap_or(status);
    let mut out = String::new();
    let mut head = heading(&status.vpu);
    if status.uptime_seconds > 0 {
        let _ = write!(head, ", up {}", age(status.uptime_seconds));
    }
    line(&mut out, style, 2, &paint(style.color, BOLD, &head));

    section(&mut out, style, "releases");
    releases::write(&mut out, status, style);
    section(&mut out, style, "containers");
    let projects = status.projects.as_deref();
    containers::write(&mut out, projects, style);
    if let Some(autostart) = &status.autostart {
        section(&mut out, style, "autostart");
        let starts = |project: &Project| {
            matches!(
                project.after_boot,
                Some(AfterBoot::Starts | AfterBoot::StartsInPart)
            )
        };
        let some_start = projects.is_some_and(|projects| projects.iter().any(starts));
        autostart::write(&mut out, autostart, some_start, style);
    }
    if !status.disks.is_empty() || status.memory.is_some() {
        section(&mut out, style, "space");
        for Disk { holds, total, free } in &status.disks {
            let (free, total) = (units::bytes(*free), units::bytes(*total));
            let _ = writeln!(out, "  {holds:<7} {free} free of {total}");
        }
        if let Some(Memory { total, available }) = &status.memory {
            let (available, total) = (units::bytes(*available), units::bytes(*total));
            let _ = writeln!(out, "  memory  {available} available of {total}");
        }
    }
    if !status.verified.is_empty() {
        section(&mut out, style, "images");
        images::write(&mut out, &status.verified, style);
    }
    section(&mut out, style, "drift");
    drift::write(&mut out, &status.drift, style);
    if !status.unknown.is_empty() {
        out.push('\n');
    }
    for unknown in &status.unknown {
        let sign = style.sign(Sign::Bad);
        let reason = indented(&unknown.reason, "    ");
        let what = format!("{sign} {}: not known: {reason}", unknown.what);
        line(&mut out, style, 4, &what);
    }
    out
}

/// Returns the schema of the status document (JSON Schema 2020-12), with a final newline.
pub fn status_schema() -> String {
    super::schema_text::<Status>()
}

fn listed<T>(out: &mut String, items: Option<&[T]>, mut item: impl FnMut(&mut String, &T)) {
    match items {
        None => out.push_str("  not known; see below\n"),
        Some([]) => out.push_str("  none\n"),
        Some(items) => items.iter().for_each(|one| item(out, one)),
    }
}

fn section(out: &mut String, style: Style, name: &str) {
    let _ = writeln!(out, "\n{}", paint(style.color, DIM, name));
}

fn age(seconds: u64) -> String {
    units::age(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
