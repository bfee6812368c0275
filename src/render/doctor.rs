//! Renders the report of a doctor as text, and generates its schema.

use std::fmt::Write as _;

use super::{
    sign::Sign,
    text::{BOLD, DIM, Style, paint},
    wrap::line,
};
use crate::doctor::{Area, Check, Report, Verdict};
use o3r_core::names::escape;

/// Renders a report. Checks that are fine have one line each.
pub(crate) fn doctor_text(report: &Report, style: Style) -> String {
    let mut out = String::new();
    let width = report.checks.iter().map(|check| check.name.len()).max();
    let mut area = None;
    for check in &report.checks {
        if area != Some(check.area) {
            if area.is_some() {
                out.push('\n');
            }
            area = Some(check.area);
            let _ = writeln!(
                out,
                "{}",
                paint(style.color, BOLD, &heading(check.area, report))
            );
        }
        write(&mut out, check, width.unwrap_or(0), style);
    }
    let _ = writeln!(out, "\n{}", sum(report));
    out
}

fn heading(area: Area, report: &Report) -> String {
    match area {
        Area::Machine => "this machine".to_owned(),
        Area::Link => format!("link to {}", escape(&report.host))
            .trim_end()
            .to_owned(),
        Area::Vpu => "VPU".to_owned(),
    }
}

fn write(out: &mut String, check: &Check, width: usize, style: Style) {
    let sign = match check.verdict {
        Verdict::Ok => Sign::Good,
        Verdict::Warning => Sign::Doubtful,
        Verdict::Problem => Sign::Bad,
    };
    let sign = style.sign_in_column(sign);
    let found = escape(&check.found);
    line(
        out,
        style,
        6,
        &format!("  {sign} {:<width$}  {found}", check.name),
    );
    if let Some(meaning) = &check.meaning {
        line(out, style, 6, &format!("      {}", escape(meaning)));
    }
    if let Some(fix) = &check.fix {
        let fix = super::escape_lines(fix).replace('\n', "\n      ");
        line(
            out,
            style,
            8,
            &format!("      {} {fix}", paint(style.color, DIM, "fix:")),
        );
    }
}

/// `18 checks: 1 problem, 2 warnings`.
fn sum(report: &Report) -> String {
    let count = |verdict, what: &str| match report.count(verdict) {
        0 => None,
        1 => Some(format!("1 {what}")),
        number => Some(format!("{number} {what}s")),
    };
    let found = [
        count(Verdict::Problem, "problem"),
        count(Verdict::Warning, "warning"),
    ];
    let found: Vec<String> = found.into_iter().flatten().collect();
    let found = match found.as_slice() {
        [] => "all fine".to_owned(),
        found => found.join(", "),
    };
    format!("{} checks: {found}", report.checks.len())
}

/// Returns the schema of the report (JSON Schema 2020-12), with a final newline.
pub(crate) fn doctor_schema() -> String {
    super::schema_text::<Report>()
}
