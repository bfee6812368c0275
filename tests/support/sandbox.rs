//! A home directory and a `PATH` of chosen programs, in which the real scripts run on this machine.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use o3r_deploy::internal::{
    host::{Host as _, LocalHost, Output, Stdin},
    shell::Argv,
};

/// The source of a sandbox's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tools {
    /// Busybox has all of them, so that the tests do not depend on this machine's tools.
    Busybox,
    /// This machine's programs; missing ones are left out.
    Machine,
}

/// A home directory, a directory of programs, and a host that has nothing else.
#[derive(Debug)]
pub struct Sandbox {
    directory: tempfile::TempDir,
    login: Vec<String>,
    /// Runs commands in the sandbox.
    pub host: LocalHost,
}

impl Sandbox {
    /// Creates a sandbox with these programs, whose login shell
    /// and `sh` is `shell`: `["dash"]` or `["busybox", "sh"]`.
    pub fn new<'a>(
        shell: &[&str],
        tools: Tools,
        programs: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let login: Vec<String> = shell.iter().map(ToString::to_string).collect();
        let mut sandbox = Self {
            host: LocalHost::default(),
            directory,
            login,
        };
        fs::create_dir_all(sandbox.bin()).unwrap();
        fs::create_dir_all(sandbox.home()).unwrap();
        for program in programs.into_iter().filter(|program| *program != "sh") {
            match tools {
                Tools::Busybox => sandbox.link(program, &needed("busybox")),
                // Some of them are built into the shell.
                Tools::Machine => drop(find(program).map(|path| sandbox.link(program, &path))),
            }
        }
        // `sh` runs scripts, whatever the login shell is.
        sandbox.link("sh", &needed(shell[0]));
        // The login shell is looked up before the environment is cleared.
        sandbox.login[0] = needed(shell[0]).to_string_lossy().into_owned();
        sandbox.with_environment([])
    }

    /// Adds variables to `PATH` and `HOME`.
    #[must_use]
    pub fn with_environment<'a>(
        mut self,
        more: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let (bin, home) = (self.bin(), self.home());
        let own = [("PATH", bin.as_os_str()), ("HOME", home.as_os_str())];
        let more = more.into_iter().map(|(name, value)| (name, value.as_ref()));
        self.host = LocalHost::with_shell(self.login.clone()).with_env(own.into_iter().chain(more));
        self
    }

    /// Makes the login shell run this before every command.
    #[must_use]
    pub fn with_profile(mut self, script: &str) -> Self {
        let run = format!("{script}; exec \"$0\" \"$@\"");
        self.login = [self.login.clone(), vec!["-c".to_owned(), run], self.login].concat();
        self.with_environment([])
    }

    /// Returns the directory that contains everything of it.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the home directory.
    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// Returns the directory of its programs.
    pub fn bin(&self) -> PathBuf {
        self.path().join("bin")
    }

    /// Adds a program of this machine, replacing the one of that name.
    pub fn link(&self, name: &str, program: &Path) {
        let path = self.bin().join(name);
        let _ = fs::remove_file(&path);
        symlink(program, path).unwrap();
    }

    /// Adds a script as a program, replacing the one of that name.
    pub fn program(&self, name: &str, text: &str) {
        let path = self.bin().join(name);
        // Never written through a link to a tool of this machine.
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a command to its end.
    pub async fn run(&self, argv: &Argv, stdin: &[u8]) -> Output {
        let stdin = Stdin::Bytes(stdin.to_vec());
        self.host.run(argv, stdin).await.unwrap()
    }
}

/// Returns the path of a program on this machine, if it exists.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|path| path.exists())
}

/// Returns the path of a program that the test cannot do without.
///
/// # Panics
/// It does not exist.
pub fn needed(program: &str) -> PathBuf {
    find(program)
        .unwrap_or_else(|| panic!("{program} is needed: apt-get install dash busybox-static"))
}
