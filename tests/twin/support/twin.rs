//! Starts and ends twins through `twin.sh`, one for each test.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use super::process::{Ran, run};

/// The firmware that a twin imitates; see README.md.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Profile {
    /// `oem-dc@NAME` units, key login, or the password `oem`.
    Fw1_1_30,
    /// `oem-dc@NAME` units, key login.
    Fw1_4_30,
    /// Containers come back by restart policy; dockerd starts on demand.
    Fw1_21_16,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Fw1_1_30 => "fw1.1.30",
            Self::Fw1_4_30 => "fw1.4.30",
            Self::Fw1_21_16 => "fw1.21.16",
        }
    }
}

/// A twin of this test alone, taken down when this is dropped.
pub(crate) struct Twin {
    name: String,
    pub(crate) address: String,
    pub(crate) key: String,
    pub(crate) host_key: String,
    pub(crate) serial: String,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Twin {
    /// Starts a twin with firmware 1.4.30.
    pub(crate) fn up() -> Self {
        Self::of(Profile::Fw1_4_30)
    }

    /// Starts a twin with this firmware.
    pub(crate) fn of(profile: Profile) -> Self {
        sweep();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("t-{}-{number}", std::process::id());
        let ran = run(script().args(["up", &name, "--profile", profile.name()]));
        let ran = ran.exits(0);
        let value = |key: &str| {
            let line = ran.stdout.lines().find_map(|line| {
                let (name, value) = line.split_once('=')?;
                (name == key).then_some(value)
            });
            let value = line.unwrap_or_else(|| panic!("no {key} in {}", ran.stdout));
            value.trim_matches('\'').to_owned()
        };
        Self {
            address: value("ADDRESS"),
            key: value("KEY"),
            host_key: value("HOST_KEY"),
            serial: value("SERIAL"),
            name,
        }
    }

    /// Runs a command line as oem; returns its standard output without trailing whitespace.
    pub(crate) fn oem(&self, command: &str) -> String {
        self.try_oem(command).exits(0).stdout.trim_end().to_owned()
    }

    /// Runs a command line as oem.
    pub(crate) fn try_oem(&self, command: &str) -> Ran {
        run(script().args(["ssh", &self.name, command]))
    }

    /// Runs a command line as root; returns its standard output without trailing whitespace.
    pub(crate) fn root(&self, command: &str) -> String {
        let ran = run(script().args(["root", &self.name, "sh", "-c", command]));
        ran.exits(0).stdout.trim_end().to_owned()
    }

    /// Reboots it.
    pub(crate) fn reboot(&self) {
        run(script().args(["reboot", &self.name])).exits(0);
    }

    /// Panics if something of an apply is left that is only needed meanwhile.
    #[track_caller]
    pub(crate) fn has_no_remains(&self) {
        let left = self.oem(
            "cd .o3r-deploy; ls -d previous staging moved arriving unfinished watchdog/*/*.armed watchdog/*/*.reverting 2>/dev/null; \
             docker image ls -q o3r-deploy-part",
        );
        assert_eq!(left, "");
    }

    /// Cuts its power and starts it again.
    pub(crate) fn power_cut(&self) {
        run(script().args(["power-cut", &self.name])).exits(0);
    }

    /// Copies a local directory's contents to a directory as oem.
    pub(crate) fn copy(&self, from: &Path, to: &str) {
        let archive = Command::new("tar")
            .arg("-C")
            .arg(from)
            .args(["-c", "."])
            .output()
            .unwrap();
        assert!(archive.status.success(), "tar: {archive:?}");
        let mut put = script();
        put.args([
            "ssh",
            &self.name,
            &format!("mkdir -p {to} && tar -C {to} -x"),
        ]);
        super::process::feed(&mut put, &archive.stdout).exits(0);
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        let down = || run(script().args(["down", &self.name]));
        let mut ran = down();
        if ran.code != Some(0) {
            // Paused containers cannot be killed.
            let unpause = "docker ps -q --filter status=paused | xargs -r docker unpause";
            let _ = run(script().args(["root", &self.name, "sh", "-c", unpause]));
            ran = down();
        }
        // A second panic would hide the first one.
        if ran.code != Some(0) {
            eprintln!("{} was not taken down: {ran:?}", self.name);
        }
    }
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/twin/twin.sh"))
}

/// Takes down twins that a killed test run left.
fn sweep() {
    let list = run(script().arg("ls")).exits(0);
    for line in list.stdout.lines() {
        let Some(name) = line.split_whitespace().next() else {
            continue;
        };
        let pid = name
            .strip_prefix("t-")
            .and_then(|rest| rest.split('-').next());
        let gone = |pid: &str| {
            pid.parse::<u32>().is_ok() && !PathBuf::from(format!("/proc/{pid}")).exists()
        };
        if pid.is_some_and(gone) {
            // Another test may have taken it down meanwhile.
            let _ = run(script().args(["down", name]));
        }
    }
}
