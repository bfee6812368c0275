//! A machine to deploy from: a directory with a manifest, a home and an ssh configuration.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Link, Twin,
    process::{Ran, Running, in_terminal, run},
};

/// A directory from which a test deploys.
pub(crate) struct Site {
    directory: tempfile::TempDir,
    /// The `[vpu]` table of its manifests.
    pub(crate) vpu: String,
    redactions: Vec<(String, &'static str)>,
}

impl Site {
    /// Creates a site that reaches `twin` through `link`.
    pub(crate) fn through(link: &Link, twin: &Twin) -> Self {
        let mut site = Self::new(twin);
        let there = format!("host = \"{}\"", twin.address);
        let here = format!("host = \"127.0.0.1\"\nport = {}", link.port);
        site.vpu = site.vpu.replace(&there, &here);
        site
    }

    /// Creates a site that may log in to `twin`.
    pub(crate) fn new(twin: &Twin) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("o3r-site-")
            .tempdir()
            .unwrap();
        let site = Self {
            vpu: format!(
                "[vpu]\nhost = \"{}\"\nidentity = \"{}\"\nhost_key = \"{}\"\narch = \"{}\"\n",
                twin.address,
                twin.key,
                twin.host_key,
                architecture()
            ),
            redactions: vec![
                (twin.address.clone(), "[ADDRESS]"),
                (twin.serial.clone(), "[SERIAL]"),
                (architecture().to_owned(), "[ARCH]"),
                (directory.path().display().to_string(), "[SITE]"),
            ],
            directory,
        };
        fs::create_dir(site.path("home")).unwrap();
        // ssh takes the home directory from the password database and ignores $HOME.
        site.write(
            "ssh_config",
            &format!(
                "UserKnownHostsFile {}\n",
                site.path("known_hosts").display()
            ),
        );
        site.write(
            "bin/ssh",
            &format!(
                "#!/bin/sh\nexec {} -F {} \"$@\"\n",
                which("ssh"),
                site.path("ssh_config").display()
            ),
        );
        fs::set_permissions(site.path("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
        site
    }

    /// Returns the absolute path of a relative one.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// Writes a file.
    pub(crate) fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes the manifest: this site's `[vpu]` and `rest`.
    pub(crate) fn manifest(&self, rest: &str) {
        self.write("deploy.toml", &format!("{}\n{rest}", self.vpu));
    }

    /// Returns the command that runs the tool.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_o3r-deploy"));
        let path = std::env::var("PATH").unwrap();
        command
            .args(args)
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("HOME", self.path("home"))
            .env("USER", "tester")
            .env("TERM", "xterm")
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs the tool, without a terminal.
    #[must_use]
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args))
    }

    /// Runs the tool on a terminal on which `typed` is typed when it shows `prompt`.
    #[must_use]
    pub(crate) fn run_in_terminal(&self, args: &[&str], prompt: &str, typed: &str) -> Ran {
        in_terminal(&self.command(args), prompt, typed)
    }

    /// Starts the tool.
    #[must_use]
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start(&mut self.command(args))
    }

    /// Applies, which must succeed.
    #[track_caller]
    pub(crate) fn apply(&self) -> Ran {
        self.run(&["apply", "--yes"]).exits(0)
    }

    /// Panics unless a plan is empty.
    #[track_caller]
    pub(crate) fn nothing_to_do(&self) {
        self.run(&["plan", "--exit-code"])
            .exits(0)
            .says("Nothing to do");
    }

    /// Returns the addresses of a plan's steps, each with its action: `update directory.~/share`.
    #[track_caller]
    #[must_use]
    pub(crate) fn steps(&self) -> Vec<String> {
        let ran = self.run(&["plan", "--format", "json"]).exits(0);
        let plan: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let steps = plan["steps"].as_array().unwrap().iter();
        let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let step = |step: &serde_json::Value| {
            format!("{} {}", word(&step["action"]), word(&step["address"]))
        };
        steps.map(step).collect()
    }

    /// Replaces what differs from run to run.
    #[must_use]
    pub(crate) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, name) in &self.redactions {
            text = text.replace(value, name);
        }
        for (pattern, name) in [
            (r"\b[0-9a-f]{64}\b", "[SHA256]"),
            (r"\b[0-9a-f]{12}\b", "[DIGEST]"),
            (r"\b[0-9.]+ (B|kB|KiB|MB|MiB)\b", "[SIZE]"),
            (r"\b[0-9.]+ (ms|s)\b", "[TIME]"),
            (r"\d{4}-\d\d-\d\dT\d\d[-:]\d\d[-:]\d\dZ", "[WHEN]"),
        ] {
            text = regex::Regex::new(pattern)
                .unwrap()
                .replace_all(&text, name)
                .into_owned();
        }
        text
    }

    /// Returns the contents of all logs of applies.
    pub(crate) fn logs(&self) -> String {
        let Ok(entries) = fs::read_dir(self.path("home/o3r_logs/Deployments")) else {
            return String::new();
        };
        entries
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect()
    }
}

/// Returns this machine's architecture, which is its twins', in docker's words.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => panic!("no VPU is {other}"),
    }
}

/// Returns the path of a program.
fn which(program: &str) -> String {
    let path = std::env::var("PATH").unwrap();
    let found = path
        .split(':')
        .map(|directory| Path::new(directory).join(program))
        .find(|path| path.is_file());
    found
        .unwrap_or_else(|| panic!("{program} is not installed"))
        .display()
        .to_string()
}
