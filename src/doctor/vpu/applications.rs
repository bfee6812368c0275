//! Judges containers, releases, and what deployments left behind.

use super::unknown;
use crate::doctor::{Area, Check, Extra, Verdict};
use crate::observe::{Facts, Observed, Watchdog};
use o3r_core::units;

/// Judges containers: those that fail, by name.
pub(super) fn containers(observed: &Observed) -> Check {
    let Observed { facts, readings } = observed;
    let containers = match facts.containers.as_result() {
        Err(reason) => return unknown("containers", reason),
        Ok(containers) => containers,
    };
    let mut failing = vec![];
    for (id, container) in containers {
        let name = &container.name;
        if readings.out_of_memory.contains(id) {
            failing.push(format!("{name} ran out of memory"));
        } else if readings
            .health
            .get(id)
            .is_some_and(|health| health == "unhealthy")
        {
            failing.push(format!("{name} is unhealthy"));
        } else if let Some(count) = readings.restarts.get(id) {
            failing.push(format!("{name} was restarted {}", units::times(*count)));
        }
    }
    if failing.is_empty() {
        let count = containers.len();
        return Check::ok(Area::Vpu, "containers", format!("{count}, none failing"));
    }
    Check::warning(
        Area::Vpu,
        "containers",
        failing.join(", "),
        "an application does not run as it should",
        "read its output on the VPU: docker logs --tail 100 NAME",
    )
}

pub(super) fn releases(observed: &Observed) -> Check {
    let Observed { facts, readings } = observed;
    let records = match facts.records.as_result() {
        Err(reason) => return unknown("releases", reason),
        Ok(records) => records,
    };
    if let Some(holder) = &readings.applying {
        return Check::warning(
            Area::Vpu,
            "releases",
            format!("an apply runs: {}", holder.describe()),
            "another one waits or fails until it ends",
            "",
        );
    }
    let waiting = readings
        .watchdogs
        .iter()
        .find_map(|(name, watchdog)| match watchdog {
            Watchdog::Unconfirmed { seconds_left, .. } => {
                Some((name, "waits to be confirmed", *seconds_left))
            }
            Watchdog::Interrupted { seconds_left } => {
                Some((name, "was interrupted", *seconds_left))
            }
            Watchdog::RollingBack => Some((name, "is rolled back", 0)),
            Watchdog::Armed { .. } | Watchdog::Ended(_) => None,
        });
    if let Some((name, what, seconds)) = waiting {
        return Check::warning(
            Area::Vpu,
            "releases",
            format!("{name} {what}; the VPU rolls back in {seconds} s"),
            "until then, no other release can be applied",
            "o3r-deploy status",
        );
    }
    let releases = records.releases.iter();
    let names: Vec<String> = releases
        .map(|(name, release)| format!("{name} {}", release.version).trim_end().to_owned())
        .collect();
    Check::ok(
        Area::Vpu,
        "releases",
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        },
    )
}

/// Reports variables of the login that change what docker and docker-compose do.
pub(super) fn environment(facts: &Facts) -> Option<Check> {
    let names = facts.system.environment.keys().map(String::as_str);
    let names: Vec<&str> = names
        .filter(|name| name.starts_with("COMPOSE_") || name.starts_with("DOCKER_"))
        .collect();
    if names.is_empty() {
        return None;
    }
    Some(Check::warning(
        Area::Vpu,
        "environment",
        format!("the login sets {}", names.join(", ")),
        "docker and docker-compose may use another engine or other files than at boot",
        "unset them in ~/.profile or ~/.ssh/environment on the VPU",
    ))
}

/// Reports what nobody uses.
pub(super) fn leftovers(facts: &Facts, extra: &Extra) -> Vec<Check> {
    let mut checks = vec![];
    let parts: u64 = facts.arrived.values().map(|part| part.bytes).sum();
    if let Some(own) = extra.own {
        let parts = match parts {
            0 => String::new(),
            parts => format!(
                "; {} of it belong to an interrupted transfer, which resumes",
                units::bytes(parts)
            ),
        };
        let found = format!("{} in ~/.o3r-deploy{parts}", units::bytes(own));
        checks.push(Check::ok(Area::Vpu, "records", found));
    }
    let dangling = dangling(facts);
    if dangling > 0 {
        checks.push(Check::warning(
            Area::Vpu,
            "images",
            format!("{dangling} without a name that no container uses"),
            "they take space",
            "on the VPU: docker image prune",
        ));
    }
    if !extra.archives.is_empty() {
        let bytes: u64 = extra.archives.iter().map(|(_, bytes)| bytes).sum();
        let names: Vec<&str> = extra
            .archives
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        checks.push(Check::warning(
            Area::Vpu,
            "archives",
            format!(
                "{} in the home directory: {}",
                units::bytes(bytes),
                names.join(", ")
            ),
            "o3r_docker_manager leaves the archives of images there; nothing reads them any more",
            "on the VPU: rm the files that you do not need",
        ));
    }
    if let Some(link) = &extra.old_link {
        checks.push(Check {
            verdict: Verdict::Warning,
            meaning: Some(
                "o3r_docker_manager links a compose file there for its autostart".to_owned(),
            ),
            fix: Some(format!(
                "once your application is deployed with o3r-deploy: rm {link}"
            )),
            ..Check::ok(Area::Vpu, "old-autostart", link)
        });
    }
    checks
}

/// Returns how many images have no name and no container.
fn dangling(facts: &Facts) -> usize {
    let (Some(images), Some(containers)) = (facts.images.known(), facts.containers.known()) else {
        return 0;
    };
    let is_used = |id: &str| containers.values().any(|container| container.image == id);
    let unnamed = images.iter().filter(|(_, image)| image.tags.is_empty());
    unnamed.filter(|(id, _)| !is_used(id)).count()
}
