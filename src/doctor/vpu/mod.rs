//! Judges what was observed of a VPU.

mod applications;
mod resources;

use std::time::SystemTime;

use super::{Area, Check, Extra};
use crate::observe::{Autostart, Facts, Generation, Observed, Probed, Readings};

/// Judges an observation; `now` is this machine's time.
pub(crate) fn vpu(observed: &Observed, extra: &Extra, now: SystemTime) -> Vec<Check> {
    let Observed { facts, readings } = observed;
    let mut checks = vec![
        device(facts),
        docker(facts),
        compose(facts),
        tools(readings),
    ];
    checks.push(home(facts));
    checks.extend(resources::disks(readings));
    checks.extend(resources::memory(readings));
    checks.extend(extra.flash.iter().map(resources::flash));
    checks.extend(resources::load(extra));
    checks.extend(resources::clock(readings, extra, now));
    checks.push(autostart(&facts.autostart));
    checks.push(ports(facts));
    checks.push(applications::containers(observed));
    checks.push(applications::releases(observed));
    checks.extend(applications::environment(facts));
    checks.extend(applications::leftovers(facts, extra));
    checks
}

fn unknown(name: &str, reason: &str) -> Check {
    Check::warning(
        Area::Vpu,
        name,
        format!("not known: {reason}"),
        "a plan that depends on it is blocked",
        "",
    )
}

fn device(facts: &Facts) -> Check {
    match facts.device.as_result() {
        Err(reason) => Check {
            fix: facts.device_help.clone(),
            ..unknown("device", reason)
        },
        Ok(device) => {
            let part = |label: &str, value: &str| match value {
                "" => format!("no {label}"),
                value => format!("{label} {value}"),
            };
            let parts = [
                part("name", &device.name),
                part("serial", &device.serial),
                part("firmware", &device.firmware),
            ];
            Check::ok(Area::Vpu, "device", parts.join(", "))
        }
    }
}

fn docker(facts: &Facts) -> Check {
    match facts.docker.as_result() {
        Err(reason) => Check::problem(
            Area::Vpu,
            "docker",
            reason,
            "nothing can be deployed",
            "on the VPU: systemctl status docker; journalctl -u docker; then restart the VPU",
        ),
        Ok(docker) if facts.system.load_interrupted => Check::problem(
            Area::Vpu,
            "docker",
            format!(
                "{}; the VPU lost power while it loaded an image",
                docker.version
            ),
            "files of images may be damaged",
            "o3r-deploy apply --verify",
        ),
        Ok(docker) if docker.podman.is_some() => Check::warning(
            Area::Vpu,
            "docker",
            format!("podman {} answers", docker.version),
            "o3r-deploy is tested with docker",
            "",
        ),
        Ok(docker) => Check::ok(
            Area::Vpu,
            "docker",
            format!("{}, {}", docker.version, docker.arch.as_str()),
        ),
    }
}

fn compose(facts: &Facts) -> Check {
    match facts.compose.as_result() {
        Ok(version) => Check::ok(Area::Vpu, "compose", format!("docker-compose {version}")),
        Err(reason) => Check::problem(
            Area::Vpu,
            "compose",
            reason,
            "compose projects cannot be started",
            "install docker-compose on the VPU: firmware 1.0 and later has it",
        ),
    }
}

fn tools(readings: &Readings) -> Check {
    match (readings.sha256_tool, readings.zstd) {
        (false, _) => Check::warning(
            Area::Vpu,
            "tools",
            "none of sha256sum, openssl and busybox",
            "files are compared slowly, and interrupted transfers start again",
            "",
        ),
        (true, true) => Check::ok(Area::Vpu, "tools", "sha256, zstd"),
        (true, false) => Check::ok(Area::Vpu, "tools", "sha256; no zstd: images travel as gzip"),
    }
}

fn home(facts: &Facts) -> Check {
    let home = &facts.system.home;
    match &facts.system.home_refuses {
        None => Check::ok(Area::Vpu, "home", format!("{home} is writable")),
        Some(reason) => Check::problem(
            Area::Vpu,
            "home",
            reason,
            "no release can be recorded",
            "give the directory to the login user; if its file system is read-only, check it on the VPU: dmesg | tail",
        ),
    }
}

fn autostart(autostart: &Probed<Autostart>) -> Check {
    let autostart = match autostart.as_result() {
        Ok(autostart) => autostart,
        Err(reason) => return unknown("autostart", reason),
    };
    match autostart.generation() {
        None => Check::warning(
            Area::Vpu,
            "autostart",
            "the firmware has neither oem-dc@.service nor oem-dc-autostart.service",
            "`autostart = true` cannot be applied",
            "",
        ),
        Some(Generation::Units(_)) => {
            let names: Vec<&str> = autostart.enabled.iter().map(String::as_str).collect();
            let enabled = match names.as_slice() {
                [] => "none enabled".to_owned(),
                names => format!("enabled: {}", names.join(", ")),
            };
            let found = format!("by units oem-dc@NAME, {enabled}");
            if autostart.lingering == Some(false) && !names.is_empty() {
                return Check::problem(
                    Area::Vpu,
                    "autostart",
                    found,
                    "nothing starts at boot until somebody logs in: the user's services do not linger",
                    "on the VPU, as root: loginctl enable-linger oem",
                );
            }
            Check::ok(Area::Vpu, "autostart", found)
        }
        Some(Generation::RestartPolicies(_)) => Check::ok(
            Area::Vpu,
            "autostart",
            "by restart policies: `restart: unless-stopped` or `always` in the compose file",
        ),
    }
}

fn ports(facts: &Facts) -> Check {
    match facts.listeners.as_result() {
        Err(reason) => unknown("ports", reason),
        Ok(listeners) => {
            let ports: Vec<String> = listeners.iter().map(ToString::to_string).collect();
            Check::ok(Area::Vpu, "ports", format!("in use: {}", ports.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests;
