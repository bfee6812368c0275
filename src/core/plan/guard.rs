//! Rejects a VPU that is not the intended one, or whose docker does not answer.

use std::time::{Duration, UNIX_EPOCH};

use super::{
    Action, Address, Cause, Command, NoteCode, Phase, ResourceKind,
    builder::{Builder, Draft},
    obstacle::{BlockCode, Obstacle},
};
use crate::{
    facts::{Facts, Podman, Watchdog},
    remote,
    trouble::Trouble,
};

/// 2021-01-01, in Unix seconds: a VPU without a time server starts at 2020-02-07 at every boot.
const CLOCK_IS_SET: u64 = 1_609_459_200;

pub(super) fn plan(builder: &mut Builder<'_>) {
    let facts = builder.facts;
    let guards = &builder.desired.guards;
    if facts.system.arch != guards.arch {
        vpu(
            builder,
            "arch",
            BlockCode::WrongArchitecture,
            format!(
                "the VPU is {}, but the manifest is for {}",
                facts.system.arch, guards.arch
            ),
            format!(
                "check [vpu].host; if it is the right VPU, set `arch = \"{}\"` in [vpu]",
                facts.system.arch
            ),
        );
    }
    device(builder);
    clock(builder);
    let uses_docker = !builder.desired.volumes.is_empty()
        || !builder.desired.images.is_empty()
        || !builder.desired.projects.is_empty();
    if uses_docker && let Err(reason) = facts.docker.as_result() {
        vpu(
            builder,
            "docker",
            BlockCode::DockerUnavailable,
            reason,
            docker_help(reason),
        );
    }
    if !builder.desired.projects.is_empty()
        && let Err(reason) = facts.compose.as_result()
    {
        vpu(
            builder,
            "docker-compose",
            BlockCode::ComposeUnavailable,
            reason,
            "check on the VPU: docker-compose version",
        );
    }
    let podman = facts.docker.known().and_then(|docker| docker.podman);
    if !builder.desired.projects.is_empty() && podman == Some(Podman::Program) {
        vpu(
            builder,
            "docker-compose",
            BlockCode::ComposeUnavailable,
            "`docker` on the VPU is podman's program, but docker-compose talks to another engine, with other images \
             and containers",
            "on the VPU, install docker, or docker's program (docker-cli) with podman's service on \
             /var/run/docker.sock",
        );
    }
    if uses_docker {
        other_docker(builder);
    }
    if let Err(reason) = facts.records.as_result() {
        vpu(
            builder,
            "records",
            BlockCode::RecordsUnreadable,
            reason,
            "make ~/.o3r-deploy on the VPU readable, or move it away",
        );
    }
}

/// Adds a block of the VPU itself.
fn vpu(
    builder: &mut Builder<'_>,
    name: &str,
    code: BlockCode,
    reason: impl Into<String>,
    remedy: impl Into<String>,
) {
    let address = Address::new(ResourceKind::Vpu, name);
    builder.block(address, Obstacle::new(code, reason, remedy));
}

/// Notes a login environment that redirects docker or
/// docker-compose: what starts at boot may not follow it.
fn other_docker(builder: &mut Builder<'_>) {
    let environment = &builder.facts.system.environment;
    for name in ["DOCKER_HOST", "DOCKER_CONTEXT"] {
        if let Some(value) = environment.get(name).filter(|value| !value.is_empty()) {
            builder.note(NoteCode::OtherDocker, format!(
                "the login on the VPU sets {name}={value}: o3r-deploy uses that docker, but what starts at boot may \
                 use another one"
            ));
        }
    }
}

/// Returns the remedy for a docker that does not answer.
fn docker_help(reason: &str) -> &'static str {
    match Trouble::of(reason) {
        Trouble::NotPermitted => {
            "the login's user is not in the group docker; on the VPU, as root: usermod -aG docker USER"
        }
        Trouble::NotRunning => {
            "start docker on the VPU; check with: systemctl status docker; journalctl -u docker"
        }
        _ => "check on the VPU: docker info; journalctl -u docker",
    }
}

/// Blocks a home that takes no files, if there is anything
/// to do: the lock and the record are written into it.
pub(super) fn home(builder: &mut Builder<'_>) {
    let release = builder.desired.release.name.as_str();
    if let Some(watchdog @ Watchdog::Unconfirmed { .. }) = builder.readings.watchdogs.get(release)
        && builder.has_steps()
    {
        vpu(
            builder,
            "confirmation",
            BlockCode::Unconfirmed,
            format!("release {release}: {}", watchdog.describe()),
            "to keep the release: o3r-deploy confirm TOKEN; to roll back: o3r-deploy cancel TOKEN",
        );
    }
    if let Some(reason) = &builder.facts.system.home_refuses
        && builder.has_steps()
    {
        vpu(
            builder,
            "home",
            BlockCode::HomeNotWritable,
            reason,
            "check on the VPU: ls -ld ~ ~/.o3r-deploy; findmnt -T ~; df -i ~; dmesg; if ~/.o3r-deploy is not a \
             directory, move it away",
        );
    }
}

/// Ends the watchdog of an interrupted apply where this plan arms none of its own: else the VPU would roll back what has
/// converged.
pub(super) fn take_over(builder: &mut Builder<'_>) {
    let release = builder.desired.release.name.as_str();
    let watchdog = builder.readings.watchdogs.get(release);
    if !matches!(watchdog, Some(Watchdog::Interrupted { .. }))
        || builder.has_steps_in(Phase::Switch)
    {
        return;
    }
    let cause = Cause::differs("armed", "by an interrupted apply", "no");
    let address = Address::new(ResourceKind::Vpu, "watchdog");
    let draft = Draft::new(address, Action::Update, Phase::Settle, cause);
    builder.step(draft.run([Command::new(remote::disarm(release, ""))]));
}

/// Ends the doubt about images that a power cut during a load leaves: this plan was made after their files were compared,
/// and repairs them.
pub(super) fn trust_images(builder: &mut Builder<'_>) {
    let none_compared = builder.facts.verified.is_empty() && builder.offers.sums.is_empty();
    if !builder.facts.system.load_interrupted || none_compared {
        return;
    }
    let cause = Cause::differs("images", "in doubt after a power cut", "compared");
    let address = Address::new(ResourceKind::Vpu, "images");
    let draft = Draft::new(address, Action::Update, Phase::Settle, cause);
    builder.step(draft.run([Command::new(remote::trust_images())]));
}

/// Notes a wrong clock. No step depends on the VPU's clock, but people read dates in its logs.
fn clock(builder: &mut Builder<'_>) {
    if let Some(seconds) = builder
        .readings
        .clock
        .filter(|seconds| *seconds < CLOCK_IS_SET)
    {
        let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds));
        let date: String = time.to_string().chars().take(10).collect();
        builder.note(NoteCode::WrongClock, format!(
            "the VPU's clock says {date}: dates in its logs and in docker's lists are wrong until \
             it has a time server"
        ));
    }
}

/// Returns the remedy for a device API that failed to answer.
pub(super) fn api_help(facts: &Facts, port: u16) -> String {
    facts.device_help.clone().unwrap_or_else(|| {
        format!("check whether the device answers on port {port} (`api_port` in [vpu])")
    })
}

/// Checks serial number and firmware.
fn device(builder: &mut Builder<'_>) {
    let guards = &builder.desired.guards;
    let device = match builder.facts.device.as_result() {
        Ok(device) => device,
        Err(reason) => {
            let asked = [
                ("serial", guards.serial.is_some()),
                ("firmware", guards.firmware.is_some()),
            ];
            for (name, _) in asked.into_iter().filter(|(_, asked)| *asked) {
                vpu(
                    builder,
                    name,
                    BlockCode::DeviceUnknown,
                    format!("{name} cannot be checked: {reason}"),
                    format!(
                        "{}; or leave `{name}` out of the manifest",
                        api_help(builder.facts, guards.api_port)
                    ),
                );
            }
            builder.note(
                NoteCode::DeviceUnknown,
                format!("name, serial and firmware are unknown: {reason}"),
            );
            return;
        }
    };
    if guards.serial.is_some() && device.serial.is_empty() {
        vpu(
            builder,
            "serial",
            BlockCode::DeviceUnknown,
            "serial cannot be checked: the device does not report its serial number",
            "restart the device and try again; leave `serial` out of the manifest if you are sure that it is \
             the right device",
        );
    } else if let Some(serial) = &guards.serial
        && device.serial != *serial
    {
        vpu(
            builder,
            "serial",
            BlockCode::WrongSerial,
            format!(
                "this is the VPU with serial {}, not {serial}",
                device.serial
            ),
            "check the cable and [vpu].host; every VPU ships with the same address",
        );
    }
    if let Some(range) = &guards.firmware {
        if device.firmware.is_empty() {
            return vpu(
                builder,
                "firmware",
                BlockCode::DeviceUnknown,
                "firmware cannot be checked: the device does not report it",
                "leave `firmware` out of the manifest if you are sure that it is the right device",
            );
        }
        match device.firmware.parse() {
            Ok(version) if range.matches(&version) => {}
            Ok(_) => vpu(
                builder,
                "firmware",
                BlockCode::WrongFirmware,
                format!(
                    "firmware is {}, but the manifest requires {range}",
                    device.firmware
                ),
                "update the firmware, or widen `firmware` in [vpu] once it is tested",
            ),
            Err(error) => vpu(
                builder,
                "firmware",
                BlockCode::DeviceUnknown,
                format!("firmware cannot be checked: {error}"),
                "the device reports it in an unknown form; leave `firmware` out of the \
                 manifest",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::{self, Desired},
        facts::{Device, Observed, Probed},
        offers::Offers,
        testing,
    };

    #[test]
    fn what_to_do_about_docker_depends_on_why_it_does_not_answer() {
        for (reason, help) in [
            (
                "dial unix /var/run/docker.sock: connect: permission denied",
                "usermod -aG docker",
            ),
            (
                "Cannot connect to the Docker daemon",
                "start docker on the VPU",
            ),
            ("exec format error", "docker info"),
        ] {
            assert!(docker_help(reason).contains(help), "{reason}");
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_noted() {
        let (desired, mut observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let mut is_noted = |seconds: u64| {
            observed.readings.clock = Some(seconds);
            let mut builder = Builder::new(&desired, &observed, &offers);
            clock(&mut builder);
            !builder.finish("host").notes.is_empty()
        };
        assert!(is_noted(CLOCK_IS_SET - 1));
        assert!(!is_noted(CLOCK_IS_SET));
    }

    /// The addresses that are blocked.
    fn blocked(desired: &Desired, observed: &Observed, check: fn(&mut Builder<'_>)) -> String {
        let offers = Offers::default();
        let mut builder = Builder::new(desired, observed, &offers);
        check(&mut builder);
        let blocked = builder.finish("host").blocked;
        let blocked = blocked.iter().map(|blocked| blocked.address.to_string());
        blocked.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn docker_and_docker_compose_have_to_answer_where_they_are_used() {
        let mut observed = testing::observed();
        // Docker does not answer there, either.
        observed.facts.compose = Probed::Unknown("it was not asked".into());
        let blocked = |change: fn(&mut Desired)| {
            let mut desired = testing::desired(vec![]);
            change(&mut desired);
            blocked(&desired, &observed, plan)
        };
        assert_eq!(blocked(|_| {}), "");
        let volume = |desired: &mut Desired| {
            desired.volumes = vec![desired::Volume {
                name: "share".parse().unwrap(),
                path: "~/share".parse().unwrap(),
                replace: false,
                source: None,
            }];
        };
        assert_eq!(blocked(volume), "vpu.docker");
        let image = |desired: &mut Desired| {
            desired.images = vec![desired::Image {
                name: "web:1".into(),
                content: None,
                found: None,
                source: None,
            }];
        };
        assert_eq!(blocked(image), "vpu.docker");
        let project = |desired: &mut Desired| desired.projects = vec![testing::project("app", [])];
        assert_eq!(blocked(project), "vpu.docker vpu.docker-compose");
    }

    #[test]
    fn the_serial_number_is_checked_where_it_is_declared() {
        let is_blocked = |declared: Option<&str>, found: &str| {
            let mut desired = testing::desired(vec![]);
            desired.guards.serial = declared.map(|serial| serial.parse().unwrap());
            let mut observed = testing::observed();
            observed.facts.device = Probed::Known(Device {
                name: "camera".into(),
                serial: found.into(),
                firmware: "1.4.30-5230".into(),
                saved: None,
                settings: std::collections::BTreeMap::new(),
            });
            blocked(&desired, &observed, device)
        };
        assert_eq!(is_blocked(Some("000201234160"), "000201234160"), "");
        assert_eq!(
            is_blocked(Some("000201234160"), "000201234161"),
            "vpu.serial"
        );
        assert_eq!(is_blocked(Some("000201234160"), ""), "vpu.serial");
        assert_eq!(is_blocked(None, ""), "");
    }
}
