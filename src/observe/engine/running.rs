//! Reads what the kernel knows about running containers: when their processes started, and whether
//! their mounts still show the content of their source.
//!
//! Docker reports the path from which a mount was created, but not what became of it. The kernel
//! reports that to any user: `/proc/PID/mountinfo` has the current path of the mounted directory,
//! with `//deleted` appended if it has none.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    super::{Disk, Shown, parse::find},
    lines::{Lines, VolumeLine},
};
use crate::{
    host::{Host, HostError, Stdin},
    shell::Argv,
};

/// The script, for any POSIX shell.
const SCRIPT: &str = concat!(include_str!("../disk.sh"), include_str!("running.sh"));

/// The script's `$0`, by which an in-memory VPU recognises it.
pub const RUNNING_NAME: &str = "o3r-running";

/// The suffix that the kernel appends to the path of a deleted directory entry.
const DELETED: &str = "//deleted";

/// The kernel's answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Running {
    /// The file system where docker keeps images.
    pub(super) disk: Option<Disk>,
    /// Seconds from boot to each process's start, by process ID.
    pub(super) started: BTreeMap<u32, u64>,
    /// The mounts of each process.
    mounts: BTreeMap<u32, Vec<Entry>>,
    /// The mounts of the login.
    host: Vec<Entry>,
    /// The resolved paths on the VPU.
    real: BTreeMap<String, Real>,
}

/// A line of `/proc/PID/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Major and minor number.
    device: String,
    /// The mounted directory or file of that device.
    root: String,
    /// The mount point.
    point: String,
}

/// The state of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Real {
    /// It exists; its path without symbolic links.
    Is(String),
    /// It does not exist.
    Gone,
}

/// What to query.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    root: Option<String>,
    pids: BTreeSet<u32>,
    paths: BTreeSet<String>,
}

/// Queries the running containers.
///
/// # Errors
/// The connection is lost.
pub(super) async fn ask<H: Host>(
    host: &H,
    nonce: &str,
    lines: &Lines,
) -> Result<Running, HostError> {
    let asked = Asked::of(lines);
    if asked == Asked::default() {
        return Ok(Running::default());
    }
    let command = Argv::script(SCRIPT, RUNNING_NAME, [nonce]);
    let stdin = Stdin::Bytes(asked.lines().into_bytes());
    let output = host.run(&command, stdin).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    // Without the section these facts are unknown, which every plan accepts.
    let section = find(&text, nonce, "running");
    Ok(section.map_or_else(Running::default, |section| {
        let mut running = Running::of(section.text);
        running.name_paths(&asked.paths, section.text);
        running
    }))
}

impl Asked {
    fn of(lines: &Lines) -> Self {
        let bound: BTreeMap<String, String> = lines.bound_volumes().collect();
        let containers = lines.containers.iter().flatten();
        let running: Vec<_> = containers.filter(|line| line.pid > 0).collect();
        let mounts = running.iter().flat_map(|line| &line.mounts);
        let paths = mounts.filter_map(|mount| match mount.kind.as_str() {
            "bind" => Some(mount.source.clone()),
            _ => bound.get(&mount.name).cloned(),
        });
        let root = lines.docker.as_ref().ok().map(|line| line.root.clone());
        Self {
            root: root.filter(|root| is_plain(root)),
            pids: running.iter().map(|line| line.pid).collect(),
            paths: paths.filter(|path| is_plain(path)).collect(),
        }
    }

    /// The script's stdin.
    fn lines(&self) -> String {
        let mut lines = String::new();
        if let Some(root) = &self.root {
            let _ = writeln!(lines, "root {root}");
        }
        for pid in &self.pids {
            let _ = writeln!(lines, "pid {pid}");
        }
        for path in &self.paths {
            let _ = writeln!(lines, "path {path}");
        }
        lines
    }
}

/// Whether a path is absolute and has no control characters.
fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !path.contains(char::is_control)
}

impl Lines {
    /// Returns the directories that volumes are bound to, by the volume's name.
    pub(super) fn bound_volumes(&self) -> impl Iterator<Item = (String, String)> {
        let volumes = self.volumes.iter().flatten();
        volumes.filter_map(|line| Some((line.name.clone(), line.bound_to()?.to_owned())))
    }
}

impl VolumeLine {
    /// Returns the directory on the VPU that the volume is bound to.
    fn bound_to(&self) -> Option<&str> {
        let mut options = self.options.get("o")?.split(',');
        let is_bound = options.any(|option| matches!(option.trim(), "bind" | "rbind"));
        let device = self.options.get("device").map(String::as_str);
        device.filter(|_| is_bound && self.driver == "local")
    }
}

impl Running {
    /// Parses lines `started PID TICKS`, `docker DISK`, `mount PID DEVICE ROOT POINT` and
    /// `host DEVICE ROOT POINT`; ignores others.
    pub(super) fn of(text: &str) -> Self {
        /// Ticks of the clock that Linux exposes to programs, whatever the kernel's own.
        const TICKS_PER_SECOND: u64 = 100;
        let mut running = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["started", pid, ticks] => {
                    if let (Ok(pid), Ok(ticks)) = (pid.parse(), ticks.parse::<u64>()) {
                        running.started.insert(pid, ticks / TICKS_PER_SECOND);
                    }
                }
                ["docker", ..] => {
                    running.disk = line.split_once(' ').and_then(|(_, disk)| Disk::parse(disk));
                }
                ["mount", pid, device, root, point] => {
                    if let Ok(pid) = pid.parse() {
                        let entry = Entry::new(device, root, point);
                        running.mounts.entry(pid).or_default().push(entry);
                    }
                }
                ["host", device, root, point] => {
                    running.host.push(Entry::new(device, root, point));
                }
                _ => {}
            }
        }
        running
    }

    /// Parses lines `path INDEX is REAL` and `path INDEX gone` of the queried paths.
    fn name_paths(&mut self, paths: &BTreeSet<String>, text: &str) {
        let paths: Vec<&String> = paths.iter().collect();
        for line in text.lines() {
            let answer = || {
                let (index, said) = line.strip_prefix("path ")?.split_once(' ')?;
                let path = *paths.get(index.parse::<usize>().ok()?)?;
                let real = match said.strip_prefix("is ") {
                    Some(real) => Real::Is(real.to_owned()),
                    None if said == "gone" => Real::Gone,
                    None => return None,
                };
                Some((path.clone(), real))
            };
            self.real.extend(answer());
        }
    }

    /// Whether the process's mount at `destination` shows the current content of `source`.
    pub(super) fn shown(&self, pid: u32, destination: &str, source: &str) -> Shown {
        let mut entries = self.mounts.get(&pid).into_iter().flatten();
        // The last mount at a point hides the others.
        let Some(entry) = entries.rfind(|entry| entry.point == destination) else {
            return Shown::Unknown;
        };
        if entry.root.ends_with(DELETED) {
            return Shown::Stale;
        }
        let path = match self.real.get(source) {
            Some(Real::Is(path)) => path,
            Some(Real::Gone) => return Shown::Stale,
            // We cannot read docker's own directories; docker does not replace them.
            None => return Shown::Unknown,
        };
        let on = self.host.iter().filter(|mount| mount.covers(path));
        let Some(on) = on.max_by_key(|mount| mount.point.len()) else {
            return Shown::Unknown;
        };
        let below = path.strip_prefix(on.point.trim_end_matches('/'));
        let wanted = format!(
            "{}{}",
            on.root.trim_end_matches('/'),
            below.unwrap_or_default()
        );
        let wanted = if wanted.is_empty() { "/" } else { &wanted };
        if entry.device == on.device && entry.root == wanted {
            return Shown::Same;
        }
        // A device that the login has not mounted cannot be compared.
        if self.host.iter().any(|mount| mount.device == entry.device) {
            Shown::Stale
        } else {
            Shown::Unknown
        }
    }
}

impl Entry {
    fn new(device: &str, root: &str, point: &str) -> Self {
        Self {
            device: device.to_owned(),
            root: unescaped(root),
            point: unescaped(point),
        }
    }

    /// Whether a path is at or below the mount point.
    fn covers(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.point.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Decodes spaces, tabs, newlines and backslashes, which the kernel writes as `\040`.
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let octal = rest.get(..3).filter(|_| *first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            out.push(byte);
            bytes = &rest[3..];
        } else {
            out.push(*first);
            bytes = rest;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded on a twin: home is on the root file system, and `~/usb` was mounted later.
    const TEXT: &str = "docker 200 100 9 /dev/mmcblk0p6 /var/lib/docker\nstarted 7 4200\n\
        mount 7 0:55 / /\nmount 7 0:39 /home/oem/data /bind\nmount 7 0:39 /home/oem/gone//deleted /gone\n\
        mount 7 0:39 /home/oem/old\\040name /moved\nmount 7 0:39 /home/oem/usb /usb\n\
        mount 7 8:1 /logs /logs\nmount 7 99:9 / /other\nmount 7 0:39 /home/oem/below /twice\nmount 7 0:39 /home/oem/data /twice\n\
        path 0 is /home/oem/data\npath 1 is /home/oem/gone\npath 2 gone\npath 3 is /home/oem/name\n\
        path 4 unknown\npath 5 is /home/oem/usb\npath 6 is /home/oem/usb/logs\n\
        host 0:39 / /\nhost 0:42 / /proc\nhost 8:1 / /home/oem/usb\n";

    #[test]
    fn a_mount_is_compared_with_its_source() {
        let names = ["data", "gone", "moved", "name", "secret", "usb", "usb/logs"];
        let paths: BTreeSet<String> = names.iter().map(|name| format!("~/{name}")).collect();
        let mut running = Running::of(TEXT);
        running.name_paths(&paths, TEXT);
        assert_eq!(running.started, BTreeMap::from([(7, 42)]));
        let disk = running.disk.as_ref().unwrap();
        assert_eq!(
            (disk.total, disk.free, disk.inodes),
            (200 << 10, 100 << 10, Some(9))
        );
        for (destination, source, expected) in [
            ("/bind", "~/data", Shown::Same),
            ("/twice", "~/data", Shown::Same),
            ("/gone", "~/gone", Shown::Stale),
            ("/moved", "~/moved", Shown::Stale),
            ("/moved", "~/name", Shown::Stale),
            // The USB stick was mounted after the container had started.
            ("/usb", "~/usb", Shown::Stale),
            ("/logs", "~/usb/logs", Shown::Same),
            ("/bind", "~/secret", Shown::Unknown),
            ("/bind", "/var/lib/docker/volumes/x/_data", Shown::Unknown),
            ("/none", "~/data", Shown::Unknown),
            ("/other", "~/data", Shown::Unknown),
        ] {
            let shown = running.shown(7, destination, source);
            assert_eq!(shown, expected, "{destination} of {source}");
        }
        assert_eq!(running.shown(8, "/bind", "~/data"), Shown::Unknown);
        assert_eq!(
            Running::default().shown(7, "/bind", "~/data"),
            Shown::Unknown
        );
    }

    #[test]
    fn the_kernel_s_escapes_are_decoded() {
        assert_eq!(unescaped("/a\\040b\\134c\\01"), "/a b\\c\\01");
        assert_eq!(unescaped("/\\303\\251"), "/é");
    }

    #[test]
    fn bound_volumes_are_recognised() {
        let bound = |options: &[(&str, &str)], driver: &str| {
            let options = options
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            let line = VolumeLine {
                driver: driver.to_owned(),
                options: options.collect(),
                ..VolumeLine::default()
            };
            line.bound_to().map(str::to_owned)
        };
        let device = ("device", "/home/oem/share");
        let share = Some("/home/oem/share".to_owned());
        assert_eq!(
            bound(&[device, ("o", "bind"), ("type", "none")], "local"),
            share
        );
        assert_eq!(bound(&[device, ("o", "rw,rbind")], "local"), share);
        assert_eq!(
            bound(&[device, ("o", "size=1m"), ("type", "tmpfs")], "local"),
            None
        );
        assert_eq!(bound(&[device, ("o", "bind")], "nfs"), None);
        assert_eq!(bound(&[], "local"), None);
    }
}
