//! Renders a VPU's status as text, and generates its schema.

use std::{fmt::Write as _, time::Duration};

use super::{
    sign::Sign,
    text::{
        BELOW, BOLD, DIM, Style, below, cause_text, heading, indented, paint, step_title,
        summary_line,
    },
    units,
    wrap::line,
};
use crate::status::{
    AfterBoot, Autostart, Change, Condition, ContainerStatus, Disk, Drift, Memory, Project,
    Release, StartedBy, Status,
};
use o3r_core::{
    facts::{ContainerState, Watchdog},
    plan::{BlockCode, Verb},
};

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
    listed(&mut out, status.releases.as_deref(), |out, release| {
        let release = match status.watchdogs.get(&release.name) {
            Some(watchdog @ Watchdog::Unconfirmed { .. }) => waiting(release, watchdog, style),
            _ => release_line(release, style),
        };
        line(out, style, 4, &format!("  {release}"));
    });
    if let Some(apply) = &status.applying {
        let text = format!("  apply in progress: by {}", apply.describe());
        line(&mut out, style, 4, &text);
    }
    for (release, watchdog) in &status.watchdogs {
        let sign = match watchdog {
            // The release's line says so.
            Watchdog::Unconfirmed { .. } if has_record(status, release) => continue,
            // No failure.
            Watchdog::Unconfirmed { .. } | Watchdog::Armed { .. } => String::new(),
            _ => format!("{} ", style.sign(Sign::Bad)),
        };
        let text = format!("  {sign}{release}: {}", watchdog.describe());
        line(&mut out, style, 4, &text);
    }
    section(&mut out, style, "containers");
    let projects = status.projects.as_deref();
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
    listed(&mut out, projects, |out, project| {
        self::project(out, project, widths, style);
    });
    if let Some(autostart) = &status.autostart {
        section(&mut out, style, "autostart");
        let starts = |project: &Project| {
            matches!(
                project.after_boot,
                Some(AfterBoot::Starts | AfterBoot::StartsInPart)
            )
        };
        let some_start = projects.is_some_and(|projects| projects.iter().any(starts));
        self::autostart(&mut out, autostart, some_start, style);
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
    section(&mut out, style, "drift");
    drift(&mut out, &status.drift, style);
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

fn has_record(status: &Status, name: &str) -> bool {
    let mut releases = status.releases.iter().flatten();
    releases.any(|release| release.name == name)
}

/// Formats `hello 1.1.0  waits for confirmation, 1790 s left; …`, for a release of which this is the recorded version.
fn waiting(release: &Release, watchdog: &Watchdog, style: Style) -> String {
    let Watchdog::Unconfirmed {
        version,
        seconds_left,
    } = watchdog
    else {
        return release_line(release, style);
    };
    let name = paint(style.color, BOLD, &release.name);
    let title = format!("{name} {version}");
    let previous = match release.version.as_str() {
        "" => "the previous release".to_owned(),
        version => version.to_owned(),
    };
    format!(
        "{}  waits for confirmation, {seconds_left} s left (o3r-deploy confirm TOKEN, with the token that `apply` \
         printed); unconfirmed, the VPU rolls back to {previous} automatically",
        title.trim_end()
    )
}

/// Formats `hello 1.0.0  applied 2026-11-23T01:20:00Z by you@pc`.
fn release_line(release: &Release, style: Style) -> String {
    let Release {
        name,
        version,
        at,
        by,
        projects,
        removed,
    } = release;
    let name = paint(style.color, BOLD, name);
    let mut line = format!("{name} {version}").trim_end().to_owned();
    // Nothing of it runs any more.
    let is_gone = projects.is_empty() && !removed.is_empty();
    let verb = if is_gone { "removed" } else { "applied" };
    if !at.is_empty() {
        let _ = write!(line, "  {verb} {at}");
        if !by.is_empty() {
            let _ = write!(line, " by {by}");
        }
    }
    if is_gone {
        let _ = write!(
            line,
            "; {} {} removed",
            if removed.len() == 1 {
                "project"
            } else {
                "projects"
            },
            removed.join(", ")
        );
    }
    line
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
        Some(release) if *release != project.name => format!(", of release {release}"),
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

/// `some_start`: whether any project starts when the VPU boots, by any mechanism.
fn autostart(out: &mut String, autostart: &Autostart, some_start: bool, style: Style) {
    match autostart.by {
        Some(StartedBy::Units) => {
            let names: Vec<&str> = autostart.enabled.iter().map(String::as_str).collect();
            let names = match (names.is_empty(), some_start) {
                (false, _) => format!("enabled: {}", names.join(", ")),
                (true, false) => "none enabled".to_owned(),
                (true, true) => {
                    "none enabled; docker starts containers by their restart policy".to_owned()
                }
            };
            line(out, style, 4, &format!("  units oem-dc@NAME, {names}"));
        }
        Some(StartedBy::RestartPolicies { enabled: true }) => {
            let what = "  by restart policies, oem-dc-autostart is enabled";
            line(out, style, 4, what);
        }
        Some(StartedBy::RestartPolicies { enabled: false }) => {
            let what = "  oem-dc-autostart is disabled: docker does not start at boot";
            line(out, style, 4, what);
        }
        None => out.push_str("  this firmware has none\n"),
    }
    if autostart.lingering == Some(false) {
        let sign = style.sign(Sign::Bad);
        let what = format!("  {sign} lingering is off: units start only when someone logs in");
        line(out, style, 4, &what);
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

/// The most causes shown of a difference; the plan shows all.
const CAUSES: usize = 3;

fn drift(out: &mut String, drift: &Drift, style: Style) {
    let (manifest, not_deployed, summary, changes, blocked) = match drift {
        Drift::Unknown { reason } => {
            let reason = indented(reason, "    ");
            line(out, style, 4, &format!("  not compared: {reason}"));
            return;
        }
        Drift::Known {
            manifest,
            not_deployed,
            summary,
            changes,
            blocked,
        } => (manifest, not_deployed, summary, changes, blocked),
    };
    if changes.is_empty() && blocked.is_empty() {
        let unchanged = summary.unchanged;
        let none = format!("  none: the VPU matches {manifest}, {unchanged} unchanged");
        line(out, style, 4, &none);
        return;
    }
    if let Some(release) = not_deployed {
        let what = format!("  release {release} is not deployed yet; see: o3r-deploy plan");
        line(out, style, 4, &what);
    }
    for change in changes.iter().filter(|_| not_deployed.is_none()) {
        let title = step_title(verb(change), &change.address, style);
        line(out, style, BELOW, &title);
        let causes = change.causes.iter();
        let causes: Vec<String> = causes
            .filter_map(|cause| cause_text(cause, style))
            .collect();
        for cause in causes.iter().take(CAUSES) {
            line(out, style, BELOW, &below(cause));
        }
        if causes.len() > CAUSES {
            let more = causes.len() - CAUSES;
            let more = format!("and {more} more: o3r-deploy plan");
            line(out, style, BELOW, &below(&more));
        }
    }
    for blocked in blocked {
        // The release's line says what it waits for.
        if blocked.code == BlockCode::Unconfirmed {
            let what = "  no apply until the release is confirmed or rolled back [unconfirmed]";
            line(out, style, 4, what);
            continue;
        }
        let sign = style.sign(Sign::Bad);
        let address = paint(style.color, BOLD, &blocked.address.to_string());
        let reason = indented(&blocked.reason, "    ");
        let what = format!("  {sign} {address} is blocked: {reason} [{}]", blocked.code);
        line(out, style, 4, &what);
    }
    let verbs = changes.iter().map(verb);
    let what = format!("  {}", summary_line(summary, verbs));
    line(out, style, 4, &what);
}

fn verb(change: &Change) -> Verb {
    Verb::of(change.action, change.causes.first())
}

fn age(seconds: u64) -> String {
    units::age(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use o3r_core::facts;

    use super::{drift, status_text};
    use crate::{
        observe::{Observed, Probed, Query, parse},
        plan::{Action, BlockCode, Blocked, Summary},
        render::Style,
        status::{Change, Drift, status},
    };

    const NONCE: &str = "n";

    /// The probe's output of a VPU that runs a project of ours, a foreign project and a container
    /// without a project. `docker` is the exit code of docker's section.
    fn observed(docker: i32) -> Observed {
        observed_with(docker, "")
    }

    /// As [`observed`], with further records of earlier applies.
    fn observed_with(docker: i32, records: &str) -> Observed {
        let container = |pid: u32,
                         id: &str,
                         project: &str,
                         state: &str,
                         code: i32,
                         health: &str| {
            format!(
                "{{\"pid\":{pid},\"id\":\"{id}\",\"name\":\"/{id}\",\"image\":\"sha256:{}\",\"status\":\"{state}\",\
                 \"image_ref\":\"{}\",\"exit_code\":{code},\"health\":{health},\"restart_policy\":\"no\",\"project\":\"{project}\",\
                 \"service\":\"web\",\"working_dir\":\"\",\"one_off\":\"\",\"volumes\":[]}}\n",
                "ab".repeat(32),
                if id == "hello_web_1" {
                    "docker.io/library/hello:1.0"
                } else {
                    "gone:7"
                },
            )
        };
        let containers = [
            container(7, "hello_web_1", "hello", "running", 0, "\"healthy\""),
            container(0, "hello_job_1", "hello", "exited", 0, "null"),
            container(0, "demo_web_1", "demo", "restarting", 139, "null"),
            container(8, "sick", "", "running", 0, "\"unhealthy\""),
        ];
        let image = format!(
            "{{\"id\":\"sha256:{}\",\"tags\":[\"hello:1.0\",\"a-name:2\",\"o3r-deploy/hello:abab\"],\"layers\":[],\"arch\":\"arm64\",\"os\":\"linux\"}}",
            "ab".repeat(32)
        );
        let release = format!(
            "{records}release hello\n{{\"at\":\"2026-11-23T01:20:00Z\",\"by\":\"you@pc\",\"version\":\"1.0\",\"desired\":\"sha256:{}\",\"projects\":[\"gone\",\"hello\"]}}\n.\n",
            "cd".repeat(32)
        );
        let autostart =
            "file oem-dc@.service indirect\nlingering yes\nenabled own hello\nenabled own old-demo";
        let system = "home=/home/oem\nuid=989\nmachine=aarch64\nboot_id=b\nuptime=90061.5\nsha256=sha256sum\n\
                      home_kb=8000000\nhome_free_kb=5000000\ndocker_kb=16000000\ndocker_free_kb=9000000\n\
                      memory_kb=3800000\nmemory_available_kb=1900000\n";
        let mut text = String::new();
        for (name, content, code) in [
            ("compose", "1.29.2", 0),
            ("images", image.as_str(), 0),
            (
                "containers",
                &format!(
                    "{}started 7 8987600\nstarted 8 9000000\n",
                    containers.concat()
                ),
                docker,
            ),
            ("volumes", "", 0),
            (
                "docker",
                "{\"version\":\"20.10.25\",\"arch\":\"aarch64\"}",
                0,
            ),
            ("system", system, 0),
            ("listeners", "tcp", 0),
            ("autostart", autostart, 0),
            ("paths", "", 0),
            ("records", release.as_str(), 0),
        ] {
            let _ = write!(
                text,
                "{NONCE} begin {name}\n{content}\n{NONCE} end {name} {code}\n"
            );
        }
        parse(&text, NONCE, &Query::default()).unwrap()
    }

    fn rendered(docker: i32) -> String {
        let reason = Err("there is no deploy.toml in this folder".to_owned());
        status_text(
            &status("192.168.0.69", &observed(docker), reason),
            Style::default(),
        )
    }

    #[test]
    fn the_whole_status_is_shown() {
        insta::assert_snapshot!(rendered(0), @r"
        192.168.0.69 (arm64, docker 20.10.25), up 1 d 01 h

        releases
          hello 1.0  applied 2026-11-23T01:20:00Z by you@pc

        containers
          without a project
            ✗ sick         running for 1 min 01 s, unhealthy  a-name:2
          demo, not managed by o3r-deploy, does not start at boot
            ✗ demo_web_1   restarting, exit code 139          a-name:2
          gone, of release hello, does not start at boot
            ✗ has no containers
          hello, starts at boot
            ○ hello_job_1  exited with code 0                 a-name:2
            ✓ hello_web_1  running for 3 min 05 s, healthy    hello:1.0

        autostart
          units oem-dc@NAME, enabled: hello, old-demo

        space
          home    4.77 GiB free of 7.63 GiB
          docker  8.58 GiB free of 15.3 GiB
          memory  1.81 GiB available of 3.62 GiB

        drift
          not compared: there is no deploy.toml in this folder

        ✗ device: not known: not probed
        ");
    }

    #[test]
    fn regression_a_failed_first_apply_does_not_look_foreign() {
        let begun = "added demo/%added-docker-compose.yml\n.\n";
        let reason = Err("there is no deploy.toml in this folder".to_owned());
        let status = status("192.168.0.69", &observed_with(0, begun), reason);
        let text = status_text(&status, Style::default());
        let line = "demo, left by an incomplete apply, does not start at boot";
        assert!(text.contains(line), "{text}");
        let projects = status.projects.unwrap();
        let incomplete: Vec<&str> = projects
            .iter()
            .filter(|project| project.incomplete)
            .map(|project| project.name.as_str())
            .collect();
        assert_eq!(incomplete, ["demo"]);
    }

    /// The status where the records say this of a release, its watchdog and the manifest.
    fn with(
        release: impl FnOnce(&mut facts::Release),
        watchdog: Option<facts::Watchdog>,
        drift: Option<Drift>,
    ) -> String {
        let mut observed = observed(0);
        if let Probed::Known(records) = &mut observed.facts.records {
            release(records.releases.get_mut("hello").unwrap());
        }
        let watchdog = watchdog.map(|watchdog| ("hello".to_owned(), watchdog));
        observed.readings.watchdogs = watchdog.into_iter().collect();
        let reason = Err("there is no deploy.toml in this folder".to_owned());
        let mut status = status("192.168.0.69", &observed, reason);
        if let Some(drift) = drift {
            status.drift = drift;
        }
        status_text(&status, Style::default())
    }

    #[test]
    fn a_release_that_waits_for_confirmation_is_no_failure() {
        let waits = facts::Watchdog::Unconfirmed {
            version: "1.1".into(),
            seconds_left: 90,
        };
        let drift = Drift::Known {
            manifest: "deploy.toml".to_owned(),
            not_deployed: None,
            summary: Summary::default(),
            changes: vec![],
            blocked: vec![Blocked {
                address: "vpu.confirmation".parse().unwrap(),
                code: BlockCode::Unconfirmed,
                reason: String::new(),
                remedy: String::new(),
            }],
        };
        let text = with(|_| {}, Some(waits), Some(drift));
        let line = "\n  hello 1.1  waits for confirmation, 90 s left (o3r-deploy confirm TOKEN, ";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("rolls back to 1.0 automatically"), "{text}");
        assert!(
            text.contains("no apply until the release is confirmed or rolled back [unconfirmed]"),
            "{text}"
        );
        assert!(
            !text.contains("✗ hello") && !text.contains("✗ vpu"),
            "{text}"
        );
        assert!(!text.contains("hello 1.0  applied"), "{text}");
    }

    #[test]
    fn a_failed_apply_is_reported_until_the_next_one() {
        let failed = facts::Watchdog::Ended(facts::Verdict {
            at: "2026-11-30T00:17:28Z".into(),
            by: "me@pc".into(),
            version: "1.1".into(),
            outcome: "restored".into(),
            why: facts::Verdict::STEP_FAILED.into(),
            step: Some("compose.hello".into()),
            failed: vec![],
        });
        let text = with(|_| {}, Some(failed), None);
        let line = "✗ hello: the apply of 1.1 by me@pc at 2026-11-30T00:17:28Z failed at compose.hello; it was rolled \
                    back to the previous release";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_release_whose_projects_were_removed_is_not_called_applied() {
        let text = with(
            |release| {
                release.projects.clear();
                release.removed = ["hello".to_owned()].into();
            },
            None,
            None,
        );
        let line = "hello 1.0  removed 2026-11-23T01:20:00Z by you@pc; project hello removed";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("applied"), "{text}");
    }

    #[test]
    fn a_first_deployment_is_no_drift() {
        let change = Change {
            action: Action::Create,
            address: "directory.~/share".parse().unwrap(),
            causes: vec![],
        };
        let first = Drift::Known {
            manifest: "deploy.toml".to_owned(),
            not_deployed: Some("hello".to_owned()),
            summary: Summary {
                create: 1,
                ..Summary::default()
            },
            changes: vec![change],
            blocked: vec![],
        };
        let mut text = String::new();
        drift(&mut text, &first, Style::default());
        assert_eq!(
            text,
            "  release hello is not deployed yet; see: o3r-deploy plan\n  1 to create\n"
        );
    }

    #[test]
    fn no_drift_is_reported_as_none() {
        let none = Drift::Known {
            manifest: "deploy.toml".to_owned(),
            not_deployed: None,
            summary: Summary {
                unchanged: 8,
                ..Summary::default()
            },
            changes: vec![],
            blocked: vec![],
        };
        let mut text = String::new();
        drift(&mut text, &none, Style::default());
        assert_eq!(text, "  none: the VPU matches deploy.toml, 8 unchanged\n");
    }

    #[test]
    fn unknown_containers_are_not_reported_as_absent() {
        let text = rendered(1);
        assert!(
            text.contains("✗ containers: not known: docker container inspect"),
            "{text}"
        );
        assert!(!text.contains("has no containers"), "{text}");
    }
}
