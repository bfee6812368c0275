//! Renders a plan as text.

use std::{collections::BTreeSet, fmt::Write as _};

use anstyle::{AnsiColor, Style as Ansi};

use super::{
    Details,
    changes::{changes, has_diff},
    essential::{Essential, release_line, shows_bytes},
    sign::Sign,
    units,
    wrap::line,
};
use crate::plan::{Address, Cause, Phase, Plan, ResourceKind, Restart, Step, Summary, Verb, Vpu};
use o3r_core::names::escape;

/// How to render.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Whether to use ANSI colours.
    pub color: bool,
    /// Whether to use only ASCII signs.
    pub ascii: bool,
    /// Whether to show everything: internal steps, commands, digests, small sizes, and all changes of files.
    pub verbose: bool,
    /// Columns of the terminal; longer lines are wrapped. `None`: no wrapping.
    pub width: Option<usize>,
}

/// Colours `text` if `color` is set.
pub fn paint(color: bool, style: Ansi, text: &str) -> String {
    if color {
        format!("{style}{text}{style:#}")
    } else {
        text.to_owned()
    }
}

pub(super) const BOLD: Ansi = Ansi::new().bold();
pub(super) const DIM: Ansi = Ansi::new().dimmed();
pub(super) const RED: Ansi = AnsiColor::Red.on_default();
pub(super) const GREEN: Ansi = AnsiColor::Green.on_default();

/// Renders the whole plan.
pub fn text(plan: &Plan, style: Style) -> String {
    text_with(plan, style, &Details::new())
}

/// Renders the whole plan with text diffs of files.
pub fn text_with(plan: &Plan, style: Style, details: &Details) -> String {
    let harmless = super::harmless(plan);
    let plan = harmless.as_ref().unwrap_or(plan);
    let mut out = String::new();
    let essential = Essential::of(plan, style.verbose);
    let heading = heading(&plan.vpu);
    line(&mut out, style, 2, &paint(style.color, BOLD, &heading));
    if let Some(release) = release_line(plan) {
        line(&mut out, style, 2, &release);
    }
    for phase in [Phase::Stage, Phase::Switch, Phase::Settle] {
        let steps = essential.steps().filter(|step| step.phase == phase);
        let steps: Vec<&Step> = steps.collect();
        if steps.is_empty() {
            continue;
        }
        out.push('\n');
        let heading = paint(style.color, DIM, phase_heading(phase));
        line(&mut out, style, 2, &heading);
        for step in steps {
            self::step(&mut out, step, &essential, style, details);
        }
    }
    for blocked in &plan.blocked {
        let sign = style.sign(Sign::Bad);
        let address = paint(style.color, BOLD, &blocked.address.to_string());
        let reason = indented(&blocked.reason, "    ");
        let what = format!("{sign} {address} is blocked: {reason}");
        out.push('\n');
        line(&mut out, style, 4, &what);
        let help = format!("  help: {}", indented(&blocked.remedy, "        "));
        line(&mut out, style, 8, &help);
        let _ = writeln!(out, "  code: {}", blocked.code);
    }
    let notes = plan.notes.iter();
    let notes = notes.filter(|note| style.verbose || !note.code.is_transport());
    let mut notes = notes.peekable();
    if notes.peek().is_some() || !plan.not_restorable.is_empty() || !plan.unmanaged.is_empty() {
        out.push('\n');
    }
    for note in notes {
        line(&mut out, style, 6, &format!("note: {note} [{}]", note.code));
    }
    for resource in &plan.not_restorable {
        let reason = indented(&resource.reason, "    ");
        let what = format!(
            "note: if a step fails, {} cannot be restored: {reason}",
            resource.address
        );
        line(&mut out, style, 6, &what);
    }
    unmanaged(&mut out, &plan.unmanaged, style);
    out.push('\n');
    if let Some(legend) = essential.legend(style, out.contains(" -> ")) {
        line(&mut out, style, 2, &paint(style.color, DIM, &legend));
    }
    line(&mut out, style, 2, &count_line(&essential, style));
    out
}

/// Adds a note for each kind of resource that earlier applies left, with the command that removes
/// one.
fn unmanaged(out: &mut String, addresses: &[Address], style: Style) {
    let kinds: BTreeSet<ResourceKind> = addresses.iter().map(Address::kind).collect();
    for kind in kinds {
        let of_kind: Vec<String> = addresses
            .iter()
            .filter(|address| address.kind() == kind)
            .map(ToString::to_string)
            .collect();
        let remedy = match kind {
            // Our tag of an image is its ID; by the ID, it is removed with all of its names.
            ResourceKind::Image => {
                let ids = of_kind
                    .iter()
                    .filter_map(|name| Some(name.rsplit_once(':')?.1));
                let ids: Vec<&str> = ids.collect();
                let ids = ids.join(" ");
                format!(" (on the VPU, `docker image rm --force {ids}` removes what is unused)")
            }
            ResourceKind::Volume => {
                " (on the VPU, `docker volume rm NAME` removes one with its data; the directory of a bind volume stays)".to_owned()
            }
            ResourceKind::Compose | ResourceKind::Transfer => {
                " (without `orphans = \"keep\"` in [release], it is removed)".to_owned()
            }
            ResourceKind::Autostart => " (`disable` in [autostart] turns one off)".to_owned(),
            _ => String::new(),
        };
        let names = of_kind.join(", ");
        let what = format!("note: no longer declared, and kept: {names}{remedy}");
        line(out, style, 6, &what);
    }
}

/// Formats `agv-17-front (192.168.0.69, serial …, firmware …, arm64, docker …)`.
pub(super) fn heading(vpu: &Vpu) -> String {
    let name = if vpu.name.is_empty() {
        &vpu.host
    } else {
        &vpu.name
    };
    let facts = [
        ("", vpu.host.as_str()),
        ("serial ", &vpu.serial),
        ("firmware ", &vpu.firmware),
        ("", vpu.arch.as_str()),
        ("docker ", &vpu.docker),
    ];
    let facts: Vec<String> = facts
        .iter()
        .filter(|(_, value)| !value.is_empty() && *value != name.as_str())
        .map(|(what, value)| format!("{what}{value}"))
        .collect();
    escape(&format!("{name} ({})", facts.join(", ")))
}

fn phase_heading(phase: Phase) -> &'static str {
    match phase {
        Phase::Stage => "stage (does not touch running containers)",
        Phase::Switch => "switch",
        Phase::Settle => "settle",
    }
}

fn step(out: &mut String, step: &Step, essential: &Essential<'_>, style: Style, details: &Details) {
    let mut title = step_title(Verb::of_step(step), &step.address, style);
    // A detail also has the bytes to send.
    if step.detail.is_none() && shows_bytes(step.bytes_to_send, style.verbose) {
        let _ = write!(title, "  ({} to send)", units::bytes(step.bytes_to_send));
    }
    line(out, style, BELOW, &title);
    for text in causes(step, essential, style, details) {
        line(out, style, BELOW, &below(&text));
    }
    if let Some(detail) = &step.detail {
        line(out, style, BELOW, &below(detail));
    }
    if !step.restarts.is_empty() {
        let services: Vec<String> = step.restarts.iter().map(restart).collect();
        let text = format!("recreates {}", services.join(", "));
        line(out, style, BELOW, &below(&text));
    }
    changes(out, step, style, details);
    if style.verbose {
        for command in &step.commands {
            let command = format!("$ {}", indented(command, "              "));
            let _ = writeln!(out, "            {}", paint(style.color, DIM, &command));
        }
    }
}

/// Returns why a step is needed: a line for each difference, and one for all resources whose change leads to it.
fn causes(step: &Step, essential: &Essential<'_>, style: Style, details: &Details) -> Vec<String> {
    let causes = std::iter::once(&step.cause).chain(&step.further_causes);
    let (mut texts, mut because) = (vec![], vec![]);
    for cause in causes {
        match cause {
            // If a release is destroyed, that is why.
            Cause::Undeclared if essential.plan.manifest.destroyed().is_some() => {}
            Cause::DependsOn { address } if !style.verbose => {
                because.extend(essential.stands_for(address));
            }
            // The diff, or the list of files, says it.
            Cause::Differs { attribute, .. }
                if ["content", "size"].contains(&attribute.as_str())
                    && !style.verbose
                    && (has_diff(step, details) || !step.changes.is_empty()) => {}
            cause => texts.extend(cause_text(cause, style)),
        }
    }
    because.sort();
    because.dedup();
    let mut names: Vec<String> = because.iter().map(ToString::to_string).collect();
    if names.len() > MOST_REASONS + 1 {
        let more = names.split_off(MOST_REASONS).len();
        names.push(format!("{more} more"));
    }
    if !names.is_empty() {
        texts.push(format!("because of {}", names.join(", ")));
    }
    texts
}

/// The number of resources that are named as reasons; `-v` names all.
const MOST_REASONS: usize = 3;

/// Formats `web (down 0.9 s the last time)`.
fn restart(restart: &Restart) -> String {
    let service = &restart.service;
    let down = restart.milliseconds.map(units::time);
    down.map_or_else(
        || service.clone(),
        |down| format!("{service} (down {down} the last time)"),
    )
}

/// The indentation of text below a step.
pub(super) const BELOW: usize = 12;

/// Indents text below a step.
pub(super) fn below(text: &str) -> String {
    format!("{}{text}", " ".repeat(BELOW))
}

/// Formats `  + create  directory.~/share`.
pub(super) fn step_title(verb: Verb, address: &Address, style: Style) -> String {
    let address = paint(style.color, BOLD, &address.to_string());
    format!("{} {:<7} {address}", style.step_sign(verb), verb.name())
}

/// Formats a cause on one line; `None` if the action implies it.
pub(super) fn cause_text(cause: &Cause, style: Style) -> Option<String> {
    match cause {
        Cause::Missing => None,
        Cause::Differs {
            attribute,
            found,
            wanted,
        } => Some(
            match (is_digest(attribute, found), is_digest(attribute, wanted)) {
                // Shown only if nothing else changes: the record of the release.
                (true, true) if !style.verbose && attribute == "declared" => {
                    "declared: changed; nothing else differs".to_owned()
                }
                (true, true) if !style.verbose => format!("{attribute}: changed"),
                (false, true) if !style.verbose => {
                    format!("{attribute}: {}", shortened(found, style))
                }
                _ => format!(
                    "{attribute}: {} -> {}",
                    shortened(found, style),
                    shortened(wanted, style)
                ),
            },
        ),
        Cause::DependsOn { address } => Some(format!("because of {address}")),
        Cause::Undeclared => Some("no longer declared".to_owned()),
    }
}

/// Whether a value is the first part of a digest: people learn nothing from it. Versions, names and settings may look like
/// one.
fn is_digest(attribute: &str, value: &str) -> bool {
    let is_shown = matches!(attribute, "version" | "name" | "mode") || attribute.starts_with('/');
    !is_shown && value.len() == 12 && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The milliseconds from which the time that sending takes is worth a mention.
const WORTH_SAYING: u64 = 2000;

/// Formats `Plan: 3 to create, 1 to update, 5 unchanged; 448 MiB to send (40.0 s at 94 Mbit/s)`.
fn count_line(essential: &Essential<'_>, style: Style) -> String {
    let plan = essential.plan;
    let line = summary_line(&essential.summary(), essential.steps().map(Verb::of_step));
    if plan.is_empty() {
        return line;
    }
    let mut line = format!("Plan: {line}");
    let bytes = plan.bytes_to_send();
    if shows_bytes(bytes, style.verbose) {
        let about = if plan.is_estimated() { "about " } else { "" };
        let _ = write!(line, "; {about}{} to send", units::bytes(bytes));
    }
    let takes = plan.speeds.sending(bytes);
    if plan.speeds.link.is_some() && takes >= WORTH_SAYING {
        let speed = plan.speeds.link_text();
        let _ = write!(line, " ({} at {speed})", units::time(takes));
    }
    line
}

/// Formats `3 to create, 1 to update, 5 unchanged`, or that there is nothing to do.
pub(super) fn summary_line(summary: &Summary, verbs: impl Iterator<Item = Verb>) -> String {
    let Summary {
        create,
        update,
        replace,
        remove,
        run,
        unchanged,
        blocked,
    } = *summary;
    if create + update + replace + remove + run + blocked == 0 {
        return format!("Nothing to do: {unchanged} unchanged");
    }
    let renamed = verbs.filter(|verb| *verb == Verb::Rename).count();
    let counts = [
        (create, "to create"),
        (update, "to update"),
        (replace, "to replace"),
        (renamed, "to rename"),
        (remove.saturating_sub(renamed), "to remove"),
        (run, "to run"),
        (unchanged, "unchanged"),
        (blocked, "blocked"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    counts.join(", ")
}

/// Indents all lines but the first.
pub(super) fn indented(text: &str, indent: &str) -> String {
    text.trim_end().replace('\n', &format!("\n{indent}"))
}

/// The most characters of a value that are shown.
const VALUE_WIDTH: usize = 60;

/// Shortens a long value in the middle, because differences are mostly at an end. The JSON document
/// has the whole value.
fn shortened(value: &str, style: Style) -> String {
    let length = value.chars().count();
    if length <= VALUE_WIDTH {
        return value.to_owned();
    }
    let half = VALUE_WIDTH / 2;
    let head: String = value.chars().take(half).collect();
    let tail: String = value.chars().skip(length - half + 1).collect();
    let between = if style.ascii { "..." } else { "…" };
    format!("{head}{between}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_keep_both_ends() {
        let shortened = |value: &str| super::shortened(value, Style::default());
        assert_eq!(shortened("a short one"), "a short one");
        let long = format!("/start/{}/end", "é".repeat(100));
        let shown = shortened(&long);
        assert_eq!(shown.chars().count(), VALUE_WIDTH);
        assert!(
            shown.starts_with("/start/") && shown.ends_with("/end"),
            "{shown}"
        );
    }

    #[test]
    fn a_version_or_a_serial_number_is_no_digest() {
        let shown = |attribute: &str, wanted: &str| {
            let cause = Cause::differs(attribute, "202611300930", wanted);
            cause_text(&cause, Style::default()).unwrap()
        };
        assert_eq!(
            shown("version", "202612010930"),
            "version: 202611300930 -> 202612010930"
        );
        assert_eq!(
            shown("name", "000018988497"),
            "name: 202611300930 -> 000018988497"
        );
        assert_eq!(
            shown("/ports/port0/x", "000018988497"),
            "/ports/port0/x: 202611300930 -> 000018988497"
        );
        assert_eq!(shown("content", "000018988497"), "content: changed");
        assert_eq!(
            shown("declared", "000018988497"),
            "declared: changed; nothing else differs"
        );
    }
}
