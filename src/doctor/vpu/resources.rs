//! Judges space, memory, flash, load and clock.

use std::time::{Duration, SystemTime};

use crate::doctor::{Area, Check, Extra, extra::Flash};
use crate::observe::{Disk, Readings};
use o3r_core::units;

/// A part of a disk's space, 1/10, below which it is reported.
const LITTLE: u64 = 10;

/// Free bytes below which hardly anything can be deployed.
const NO_SPACE: u64 = 64 << 20;

/// Free inodes below which files may not be created.
const FEW_INODES: u64 = 1000;

/// Available bytes of RAM below which containers are killed.
const LITTLE_MEMORY: u64 = 256 << 20;

/// Seconds that clocks may differ.
const MAX_CLOCK_DIFFERENCE: u64 = 120;

/// A use of the flash's life, in steps of 10 %, from which it is reported.
const WORN: u32 = 8;

pub(super) fn disks(readings: &Readings) -> Vec<Check> {
    let (home, docker) = (&readings.home_disk, &readings.docker_disk);
    let is_same = matches!((home, docker), (Some(a), Some(b)) if a.is_same(b));
    let judged = |name: &str, disk: &Option<Disk>| disk.as_ref().map(|disk| space(name, disk));
    if is_same {
        judged("disk", home).into_iter().collect()
    } else {
        let both = [judged("home-disk", home), judged("docker-disk", docker)];
        both.into_iter().flatten().collect()
    }
}

fn space(name: &str, disk: &Disk) -> Check {
    let fix = "o3r-deploy status lists what is deployed; on the VPU: docker system df, and docker image prune";
    let found = format!(
        "{} free of {} on {} at {}",
        units::bytes(disk.free),
        units::bytes(disk.total),
        disk.device,
        disk.mount
    );
    if disk.free < NO_SPACE {
        return Check::problem(Area::Vpu, name, found, "nothing more fits", fix);
    }
    if let Some(inodes) = disk.inodes.filter(|inodes| *inodes < FEW_INODES) {
        return Check::problem(
            Area::Vpu,
            name,
            format!("{found}, but only {inodes} more files"),
            "images with many files do not fit",
            fix,
        );
    }
    if disk.free < disk.total / LITTLE {
        return Check::warning(
            Area::Vpu,
            name,
            found,
            "a new image may not fit beside the current one",
            fix,
        );
    }
    Check::ok(Area::Vpu, name, found)
}

pub(super) fn memory(readings: &Readings) -> Option<Check> {
    let (total, available) = (readings.memory_total?, readings.memory_available?);
    let found = format!(
        "{} available of {}",
        units::bytes(available),
        units::bytes(total)
    );
    if available >= LITTLE_MEMORY {
        return Some(Check::ok(Area::Vpu, "memory", found));
    }
    Some(Check::warning(
        Area::Vpu,
        "memory",
        found,
        "the kernel ends containers when memory runs out",
        "see what uses it on the VPU: docker stats --no-stream; limit it with `mem_limit` in the compose file",
    ))
}

pub(super) fn flash(flash: &Flash) -> Check {
    let Flash {
        device,
        reserved,
        used,
    } = flash;
    let life = match used {
        11.. => "more than its whole life is used".to_owned(),
        used => format!("up to {} % of its life is used", used * 10),
    };
    let found = match reserved {
        2 => format!("{device}: {life}; 80 % of its reserved blocks are used"),
        3.. => format!("{device}: {life}; 90 % of its reserved blocks are used"),
        _ => format!("{device}: {life}"),
    };
    if *used < WORN && *reserved < 2 {
        return Check::ok(Area::Vpu, "flash", found);
    }
    Check::warning(
        Area::Vpu,
        "flash",
        found,
        "the flash becomes read-only or loses data when it is worn out",
        "plan to replace the VPU; write less: bound logs, and keep databases on other storage",
    )
}

pub(super) fn load(extra: &Extra) -> Option<Check> {
    let (load, processors) = (extra.load?, extra.processors?);
    let found = format!("{load:.2} with {processors} processors");
    #[expect(clippy::cast_precision_loss, reason = "a VPU has few")]
    let is_high = load > processors as f32 * 2.0;
    if !is_high {
        return Some(Check::ok(Area::Vpu, "load", found));
    }
    Some(Check::warning(
        Area::Vpu,
        "load",
        found,
        "applies take longer, and health checks may time out",
        "see what runs on the VPU: top; docker stats --no-stream",
    ))
}

pub(super) fn clock(readings: &Readings, extra: &Extra, now: SystemTime) -> Option<Check> {
    let theirs = Duration::from_secs(readings.clock?);
    let ours = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let difference = ours.abs_diff(theirs);
    let side = if theirs < ours { "behind" } else { "ahead of" };
    let synchronized = match extra.is_synchronized {
        Some(true) => ", synchronized",
        Some(false) => ", not synchronized",
        None => "",
    };
    if difference.as_secs() < MAX_CLOCK_DIFFERENCE {
        return Some(Check::ok(
            Area::Vpu,
            "clock",
            format!("as on this machine{synchronized}"),
        ));
    }
    Some(Check::warning(
        Area::Vpu,
        "clock",
        format!(
            "{} {side} this machine{synchronized}",
            units::age(difference)
        ),
        "times in its logs are wrong, and TLS certificates may count as invalid; deploying works",
        "set a time server: config = { device = { clock = { sntp = { active = true, availableServers = [\"ADDRESS\"] } } } } \
         in [device]",
    ))
}
