//! The section on containers, by project.

use std::fmt::Write as _;

use o3r_core::facts::ContainerState;

use super::{age, listed};
use crate::{
    render::{
        sign::Sign,
        text::{BOLD, Style, paint},
        wrap::line,
    },
    status::{AfterBoot, Condition, ContainerStatus, Project},
};

/// Writes each project with its containers, in columns.
pub(super) fn write(out: &mut String, projects: Option<&[Project]>, style: Style) {
    let containers = projects.into_iter().flatten().flat_map(|p| &p.containers);
    let widths = containers.fold((0, 0), |(name, state), container| {
        let characters = |text: &str| text.chars().count();
        (
            name.max(characters(&container.name)),
            state.max(characters(&self::state(container))),
        )
    });
    // On a narrow terminal lines are wrapped anyway, and columns would only add space.
    let narrow = style.width.is_some_and(|columns| columns < 80);
    let widths = if narrow { (0, 0) } else { widths };
    listed(out, projects, |out, project| {
        self::project(out, project, widths, style);
    });
}

fn project(
    out: &mut String,
    project: &Project,
    (name_width, state_width): (usize, usize),
    style: Style,
) {
    let name = match project.name.as_str() {
        "" => "without a project".to_owned(),
        name => paint(style.color, BOLD, name),
    };
    let owner = match &project.release {
        Some(release) if *release != project.name || project.unrecorded => {
            format!(", of release {release}")
        }
        Some(_) => String::new(),
        None if project.name.is_empty() => String::new(),
        None if project.incomplete => ", left by an incomplete apply".to_owned(),
        None => ", not managed by o3r-deploy".to_owned(),
    };
    let boot = match project.after_boot {
        Some(AfterBoot::Starts) => ", starts at boot",
        Some(AfterBoot::StartsInPart) => ", starts partly at boot",
        Some(AfterBoot::StaysDown) => ", does not start at boot",
        None => "",
    };
    line(out, style, 4, &format!("  {name}{owner}{boot}"));
    for container in &project.containers {
        let sign = style.sign_in_column(match container.condition() {
            Condition::Runs => Sign::Good,
            Condition::Ended => Sign::Ended,
            Condition::Failing => Sign::Bad,
        });
        let ContainerStatus { name, image, .. } = container;
        let state = state(container);
        let what = format!("    {sign} {name:<name_width$}  {state:<state_width$}  {image}");
        line(out, style, 8, &what);
    }
    if project.containers.is_empty() {
        let sign = style.sign_in_column(Sign::Bad);
        let _ = writeln!(out, "    {sign} has no containers");
    }
}

/// Formats `running for 3 min 05 s, healthy`, `exited with code 1`, `created`.
fn state(container: &ContainerStatus) -> String {
    let mut text = container.state.to_string();
    match (&container.state, container.uptime_seconds) {
        (ContainerState::Exited | ContainerState::Dead, _) => {
            let _ = write!(text, " with code {}", container.exit_code);
        }
        (ContainerState::Restarting, _) => {
            let _ = write!(text, ", exit code {}", container.exit_code);
        }
        // Docker reports when a container was started, not when it was paused.
        (ContainerState::Running, Some(seconds)) => {
            let _ = write!(text, " for {}", age(seconds));
        }
        _ => {}
    }
    if let Some(health) = &container.health
        && container.state == ContainerState::Running
    {
        let _ = write!(text, ", {health}");
    }
    if container.restarts > 0 {
        let _ = write!(text, ", restarted {}×", container.restarts);
    }
    text
}
