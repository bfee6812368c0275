//! Examines this machine: what it needs to build, store and send images.

use std::{process::Stdio, time::Duration};

use camino::Utf8Path;

use super::{Area, Check, Verdict};
use crate::surroundings::program;
use o3r_core::{architecture::Architecture, units};

/// How long a program may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Free bytes below which an image may not fit into the cache.
const LITTLE_SPACE: u64 = 2 << 30;

/// The most keys of an agent that sshd tries: its `MaxAuthTries` is 6.
const MOST_KEYS: usize = 5;

/// Installs the emulation of docker's own project.
const INSTALL_EMULATION: &str = "docker run --privileged --rm tonistiigi/binfmt --install";

/// What the manifest needs of this machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    /// Whether an image comes from this machine's docker.
    pub docker: bool,
    /// The architecture of the VPU.
    pub arch: Option<Architecture>,
    /// Whether the manifest names a key.
    pub identity: bool,
}

/// Examines this machine. `cache` is where unpacked layers are kept.
pub(crate) async fn machine(needs: &Needs, cache: &Utf8Path) -> Vec<Check> {
    let (ssh, agent, docker, buildx) = tokio::join!(
        run("ssh", &["-V"]),
        run("ssh-add", &["-l"]),
        run("docker", &["version", "--format", "{{.Server.Version}}"]),
        run("docker", &["buildx", "version"]),
    );
    let mut checks = vec![ssh_client(&ssh)];
    checks.extend(keys(&agent, needs));
    checks.push(docker_here(&docker, needs));
    let has_docker = docker.is_ok();
    if has_docker {
        checks.push(builder(&buildx));
    }
    let native = Architecture::of_machine(std::env::consts::ARCH);
    let arch = needs.arch.clone().unwrap_or(Architecture::Arm64);
    checks.push(emulation(&arch, &native, &binfmt(&arch)));
    checks.push(space(cache));
    checks
}

/// Runs a program; returns its output, or why there is none.
async fn run(name: &str, words: &[&str]) -> Result<String, String> {
    let mut command = program(name);
    command.args(words).stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Err(_) => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err("not installed".to_owned());
        }
        Ok(Err(error)) => return Err(error.to_string()),
        Ok(Ok(output)) => output,
    };
    let both = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&both).trim().to_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(text)
    }
}

fn ssh_client(version: &Result<String, String>) -> Check {
    match version {
        Ok(version) => {
            let version = version.split(',').next().unwrap_or(version);
            Check::ok(Area::Machine, "ssh", version)
        }
        Err(reason) => Check::problem(
            Area::Machine,
            "ssh",
            reason,
            "the VPU cannot be reached",
            "apt-get install openssh-client",
        ),
    }
}

/// Judges the keys of the agent; nothing without one.
fn keys(listed: &Result<String, String>, needs: &Needs) -> Option<Check> {
    let count = listed.as_ref().ok()?.lines().count();
    let found = format!(
        "ssh-agent has {count} key{}",
        if count == 1 { "" } else { "s" }
    );
    if count <= MOST_KEYS || needs.identity {
        return Some(Check::ok(Area::Machine, "keys", found));
    }
    Some(Check::warning(
        Area::Machine,
        "keys",
        found,
        "sshd may reject the login before the right one is tried",
        "set `identity` in [vpu], and `IdentitiesOnly yes` for the VPU in ~/.ssh/config",
    ))
}

fn docker_here(version: &Result<String, String>, needs: &Needs) -> Check {
    match version {
        Ok(version) => Check::ok(Area::Machine, "docker", version),
        Err(reason) => {
            let reason = reason.lines().last().unwrap_or_default();
            let fix = if reason == "not installed" {
                "apt-get install docker.io"
            } else {
                "systemctl start docker; and if permission is denied: usermod -aG docker $USER, then log in again"
            };
            let check = Check::warning(
                Area::Machine,
                "docker",
                reason,
                "images can only come from archives (`archive`, `rootfs`), not from `engine`",
                fix,
            );
            let verdict = if needs.docker {
                Verdict::Problem
            } else {
                Verdict::Warning
            };
            Check { verdict, ..check }
        }
    }
}

fn builder(version: &Result<String, String>) -> Check {
    match version {
        Ok(version) => {
            let version = version.split_whitespace().nth(1).unwrap_or(version);
            Check::ok(Area::Machine, "buildx", version)
        }
        Err(_) => Check::warning(
            Area::Machine,
            "buildx",
            "not installed",
            "docker build uses the classic builder, which does not build for several platforms and caches less",
            "apt-get install docker-buildx",
        ),
    }
}

/// What the kernel does with programs of an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Binfmt {
    /// It does not run them.
    Missing,
    /// It runs them, but containers do not see the emulator (flag `F`).
    NotInContainers,
    /// It runs them.
    Enabled,
}

/// Asks the kernel.
fn binfmt(arch: &Architecture) -> Binfmt {
    let registered = arch.machines().find_map(|machine| {
        fs_err::read_to_string(format!("/proc/sys/fs/binfmt_misc/qemu-{machine}")).ok()
    });
    let Some(text) = registered else {
        return Binfmt::Missing;
    };
    let flags = text.lines().find_map(|line| line.strip_prefix("flags: "));
    match (text.starts_with("enabled"), flags) {
        (false, _) => Binfmt::Missing,
        (true, Some(flags)) if flags.contains('F') => Binfmt::Enabled,
        (true, _) => Binfmt::NotInContainers,
    }
}

fn emulation(arch: &Architecture, native: &Architecture, binfmt: &Binfmt) -> Check {
    if arch == native {
        return Check::ok(
            Area::Machine,
            "emulation",
            format!("not needed: this machine is {native}, too"),
        );
    }
    let fix =
        format!("{INSTALL_EMULATION} {arch}; or: apt-get install qemu-user-static binfmt-support");
    match binfmt {
        Binfmt::Enabled => Check::ok(
            Area::Machine,
            "emulation",
            format!("{arch} programs run on this {native} machine"),
        ),
        Binfmt::NotInContainers => Check::warning(
            Area::Machine,
            "emulation",
            format!("{arch} programs run, but not in containers (binfmt has no flag F)"),
            format!("docker build for {arch} fails at its first RUN with `exec format error`"),
            fix,
        ),
        Binfmt::Missing => Check::warning(
            Area::Machine,
            "emulation",
            format!("{arch} programs do not run on this {native} machine"),
            format!(
                "docker build for {arch} fails at its first RUN with `exec format error`; deploying works"
            ),
            fix,
        ),
    }
}

fn space(cache: &Utf8Path) -> Check {
    let used: u64 = walkdir::WalkDir::new(cache)
        .into_iter()
        .filter_map(Result::ok)
        .filter_map(|entry| entry.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|data| data.len())
        .sum();
    let mut existing = cache.ancestors().filter(|path| path.exists());
    let disk = existing
        .next()
        .and_then(|path| rustix::fs::statvfs(path.as_str()).ok());
    let used = units::bytes(used);
    let Some(disk) = disk else {
        return Check::warning(
            Area::Machine,
            "cache",
            format!("the free space of {cache} is not known"),
            "a large image may not fit",
            "",
        );
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let found = format!("{used} in {cache}, {} free", units::bytes(free));
    if free >= LITTLE_SPACE {
        return Check::ok(Area::Machine, "cache", found);
    }
    Check::warning(
        Area::Machine,
        "cache",
        found,
        "compressed images are unpacked here and may not fit",
        format!(
            "free some space, remove the cache with: rm -r {cache}, or set XDG_CACHE_HOME to another disk"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_has_its_verdict() {
        let arm = Architecture::Arm64;
        let pc = Architecture::Amd64;
        let verdict = |check: Check| check.verdict;
        assert_eq!(
            verdict(emulation(&arm, &arm, &Binfmt::Missing)),
            Verdict::Ok
        );
        assert_eq!(verdict(emulation(&arm, &pc, &Binfmt::Enabled)), Verdict::Ok);
        for state in [Binfmt::Missing, Binfmt::NotInContainers] {
            let check = emulation(&arm, &pc, &state);
            assert_eq!(check.verdict, Verdict::Warning);
            assert!(check.fix.unwrap().contains("--install arm64"));
        }
        let missing = Err("not installed".to_owned());
        assert_eq!(verdict(ssh_client(&missing)), Verdict::Problem);
        assert_eq!(
            verdict(docker_here(&missing, &Needs::default())),
            Verdict::Warning
        );
        let needs = Needs {
            docker: true,
            ..Needs::default()
        };
        assert_eq!(verdict(docker_here(&missing, &needs)), Verdict::Problem);
        assert!(
            docker_here(&missing, &needs)
                .fix
                .unwrap()
                .contains("docker.io")
        );
        let denied = Err("x\npermission denied".to_owned());
        assert!(
            docker_here(&denied, &needs)
                .fix
                .unwrap()
                .contains("usermod")
        );
        let many = Ok("k\n".repeat(6));
        assert_eq!(
            verdict(keys(&many, &Needs::default()).unwrap()),
            Verdict::Warning
        );
        let named = Needs {
            identity: true,
            ..Needs::default()
        };
        assert_eq!(verdict(keys(&many, &named).unwrap()), Verdict::Ok);
        assert_eq!(keys(&missing, &named), None);
    }

    #[tokio::test]
    async fn this_machine_is_examined() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Utf8Path::from_path(directory.path()).unwrap().join("none");
        let checks = machine(&Needs::default(), &cache).await;
        let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
        for name in ["ssh", "docker", "emulation", "cache"] {
            assert!(names.contains(&name), "{names:?}");
        }
    }
}
